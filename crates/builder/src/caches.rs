//! Directories of `RUN --mount=type=cache`, kept between builds.
//!
//! ```text
//! <data-root>/builder/mounts/<digest of the id>/id     the id; its time is that of the last use
//!                                             /data/   the directory
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use images::Digest;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::{Error, Result};

/// How many builds may have a private directory of the same id at a time.
const MAX_PRIVATE: usize = 64;

/// The cache mounts of a data root.
#[derive(Debug)]
pub(crate) struct CacheMounts {
    root: PathBuf,
    /// Who uses which. Held for a lookup or an insertion.
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
    /// Held while a directory is made: those who share one may come at the same time.
    making: Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheMount {
    /// Its id.
    pub(crate) id: String,
    /// Its name on disk.
    pub(crate) key: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since the epoch.
    pub(crate) created_at: i64,
    /// Seconds since the epoch.
    pub(crate) last_used_at: i64,
    /// A build uses it.
    pub(crate) in_use: bool,
}

impl CacheMounts {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, locks: Mutex::default(), making: Mutex::default() }
    }

    fn lock_of(&self, id: &str) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(id.to_owned()).or_default())
    }

    /// Takes a directory beside others.
    pub(crate) async fn shared(&self, id: &str) -> Result<(OwnedRwLockReadGuard<()>, PathBuf)> {
        let guard = self.lock_of(id).read_owned().await;
        Ok((guard, self.directory(id)?))
    }

    /// Takes a directory alone: waits for it, or takes another.
    pub(crate) async fn alone(
        &self,
        id: &str,
        waits: bool,
    ) -> Result<(OwnedRwLockWriteGuard<()>, PathBuf)> {
        if waits {
            let guard = self.lock_of(id).write_owned().await;
            return Ok((guard, self.directory(id)?));
        }
        for number in 0..MAX_PRIVATE {
            let own = if number == 0 { id.to_owned() } else { format!("{id}#{number}") };
            if let Ok(guard) = self.lock_of(&own).try_write_owned() {
                return Ok((guard, self.directory(&own)?));
            }
        }
        Err(Error::Unavailable(format!("cache mount {id}: {MAX_PRIVATE} builds use it already")))
    }

    fn directory(&self, id: &str) -> Result<PathBuf> {
        let dir = self.root.join(Digest::of(id.as_bytes()).hex());
        let directory = dir.join("data");
        let making = self.making_of(&directory);
        let _one = making.lock().unwrap_or_else(PoisonError::into_inner);
        mark(&dir, id).map_err(Error::io("create", dir.display()))?;
        Ok(directory)
    }

    fn making_of(&self, directory: &Path) -> Arc<Mutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(making.entry(directory.to_owned()).or_default())
    }

    /// Makes the directory that [`Self::shared`] or [`Self::alone`] gave where it is not there yet:
    /// `fill` gets an empty one, which nobody sees before it is whole. Blocks.
    pub(crate) fn fill(
        &self,
        directory: &Path,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let making = self.making_of(directory);
        let _one = making.lock().unwrap_or_else(PoisonError::into_inner);
        if directory.exists() {
            return Ok(());
        }
        let fresh = directory.with_extension("fresh");
        let _ = fs::remove_dir_all(&fresh); // Left by a kill, if at all.
        fs::create_dir_all(&fresh).map_err(Error::io("create", fresh.display()))?;
        fill(&fresh)?;
        fs::rename(&fresh, directory).map_err(Error::io("rename", fresh.display()))
    }

    /// Lists them.
    pub(crate) fn list(&self) -> Vec<CacheMount> {
        let Ok(dirs) = fs::read_dir(&self.root) else { return Vec::new() };
        let seconds = |time: std::io::Result<std::time::SystemTime>| {
            let since = time.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
        };
        let mounts = dirs.flatten().filter_map(|entry| {
            let dir = entry.path();
            let id = fs::read_to_string(dir.join("id")).ok()?;
            let used = fs::metadata(dir.join("id")).ok()?;
            let made = fs::metadata(dir.join("data")).and_then(|data| data.created());
            Some(CacheMount {
                in_use: self.lock_of(&id).try_write_owned().is_err(),
                id,
                key: entry.file_name().to_string_lossy().into_owned(),
                size: crate::mounts::size_of(&dir.join("data")),
                created_at: seconds(made),
                last_used_at: seconds(used.modified()),
            })
        });
        mounts.collect()
    }

    /// Removes one that nobody uses; returns its bytes.
    pub(crate) fn remove(&self, mount: &CacheMount) -> Result<u64> {
        let Ok(_guard) = self.lock_of(&mount.id).try_write_owned() else { return Ok(0) };
        let dir = self.root.join(&mount.key);
        fs::remove_dir_all(&dir).map_err(Error::io("remove", dir.display()))?;
        Ok(mount.size)
    }
}

/// Writes down whose the directory is and that it is used now. A list made meanwhile reads a whole
/// id: by part of one it would take a directory that is in use for one that is not.
fn mark(dir: &Path, id: &str) -> std::io::Result<()> {
    let file = dir.join("id");
    if fs::read(&file).is_ok_and(|there| there == id.as_bytes()) {
        return fs::File::options()
            .write(true)
            .open(&file)?
            .set_modified(std::time::SystemTime::now());
    }
    fs::create_dir_all(dir)?;
    let fresh = dir.join("id.fresh");
    fs::write(&fresh, id)?;
    fs::rename(&fresh, &file)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[test]
    fn those_who_come_at_once_share_what_one_has_filled() {
        let root = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let caches = CacheMounts::new(root.path().to_owned());
            let (together, filled) = (Barrier::new(4), AtomicU32::new(0));
            let comer = || {
                let directory = caches.directory(&round.to_string()).unwrap();
                together.wait();
                let filling = caches.fill(&directory, |fresh| {
                    filled.fetch_add(1, Ordering::Relaxed);
                    fs::write(fresh.join("file"), "whole").map_err(Error::io("write", "file"))
                });
                filling.unwrap();
                assert_eq!(fs::read(directory.join("file")).unwrap(), b"whole");
            };
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(comer);
                }
            });
            assert_eq!(filled.into_inner(), 1);
        }
    }

    #[test]
    fn a_list_made_while_one_is_taken_has_whole_ids() {
        let root = tempfile::tempdir().unwrap();
        let (caches, done) = (CacheMounts::new(root.path().to_owned()), AtomicBool::new(false));
        let id = "a-long-id".repeat(1000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(caches.list().iter().all(|mount| mount.id == id));
                }
            });
            for _ in 0..2000 {
                caches.directory(&id).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
