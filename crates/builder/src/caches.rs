//! Directories of `RUN --mount=type=cache`, kept between builds.
//!
//! ```text
//! <data-root>/builder/mounts/<digest of the id>/id     the id; its time is that of the last use
//!                                             /data/   the directory
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
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
        Self { root, locks: Mutex::default() }
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
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("id"), id))
            .map_err(Error::io("create", dir.display()))?;
        Ok(dir.join("data"))
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
