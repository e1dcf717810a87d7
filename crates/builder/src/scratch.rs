//! What a build has on the disk while it runs, and how it is found again after a kill.
//!
//! ```text
//! <data-root>/builder/running/<build>/containers   names, each written before its container is made
//!                                    /context-N/   the context, unpacked when a step wants a file
//!                                    /…            what ADD fetched, named contexts
//! <exec-root>/build-<build>/                       secrets and agent sockets, on memory where /run is
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::Engine;
use engine::container::RemoveOptions;

use crate::{Error, Result};

/// The directories of one build; gone when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    id: String,
    dir: PathBuf,
    private: PathBuf,
    next: AtomicUsize,
}

fn running(engine: &Engine) -> PathBuf {
    engine.config().data_root.join("builder/running")
}

fn private(engine: &Engine, id: &str) -> PathBuf {
    engine.config().exec_root.join(format!("build-{id}"))
}

impl Scratch {
    pub(crate) fn create(engine: &Engine) -> Result<Self> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(Error::io("read", "/dev/urandom"))?;
        let id = format!("{:016x}", u64::from_ne_bytes(random));
        let scratch = Self {
            dir: running(engine).join(&id),
            private: private(engine, &id),
            id,
            next: AtomicUsize::new(0),
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for dir in [&scratch.dir, &scratch.dir.join("empty"), &scratch.private] {
            builder.create(dir).map_err(Error::io("create", dir.display()))?;
        }
        Ok(scratch)
    }

    /// Makes a new directory.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("{name}-{number}"));
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&dir)
            .map_err(Error::io("create", dir.display()))?;
        Ok(dir)
    }

    /// A directory with nothing in it.
    pub(crate) fn empty(&self) -> PathBuf {
        self.dir.join("empty")
    }

    /// Gives a path for a file that must not reach the disk.
    pub(crate) fn private_path(&self, name: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.private.join(format!("{name}-{number}"))
    }

    /// Draws a name for a container and notes it, so that it is removed after a kill.
    pub(crate) fn container(&self) -> Result<String> {
        let name = format!("build-{}-{}", self.id, self.next.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.join("containers");
        let noted = File::options().create(true).append(true).open(&path);
        noted
            .and_then(|mut file| writeln!(file, "{name}"))
            .map_err(Error::io("write", path.display()))?;
        Ok(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for dir in [&self.private, &self.dir] {
            if let Err(error) = fs::remove_dir_all(dir)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                // The next start of the daemon tries again.
                tracing::warn!(path = %dir.display(), %error, "files of a build left behind");
            }
        }
    }
}

/// Removes what builds left that were killed with the daemon.
pub(crate) async fn sweep(engine: &Engine) {
    let Ok(dirs) = fs::read_dir(running(engine)) else { return };
    for dir in dirs.flatten().map(|entry| entry.path()) {
        let names = fs::read_to_string(dir.join("containers")).unwrap_or_default();
        for name in names.lines() {
            let options = RemoveOptions { force: true, volumes: true, link: false };
            match engine.container_remove(name, options).await {
                Ok(()) => tracing::info!(name, "container of an interrupted build removed"),
                Err(error) if error.kind() == engine::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(name, %error, "container of an interrupted build left behind");
                }
            }
        }
        remove(&dir);
        if let Some(id) = dir.file_name().and_then(|name| name.to_str()) {
            remove(&private(engine, id));
        }
    }
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Ok(()) => tracing::info!(path = %dir.display(), "files of an interrupted build removed"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %dir.display(), %error, "files of a build left behind");
        }
    }
}
