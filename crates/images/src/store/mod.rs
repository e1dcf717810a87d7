//! The store: its directories, what is held against removal, and opening it.

mod compress;
pub(crate) mod content;
pub(crate) mod database;
pub(crate) mod delete;
mod gc;
pub(crate) mod layers;
mod list;
pub(crate) mod names;
mod quota;
mod register;
mod remove;
mod rw;
mod skeleton;
mod steps;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{ReadTransaction, WriteTransaction};

pub use content::Ingest;
pub use gc::Fault;
pub use layers::UnpackedLayer;
pub use steps::StepRecord;

use crate::{Digest, Error, Result};

/// The images of one data root. Clones share everything; all methods may be called from any thread,
/// and block.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) paths: Paths,
    database: database::Handle,
    /// Held for a few table look-ups at most, never while files are read or written. Taken inside of
    /// a write transaction where both are needed.
    state: Mutex<State>,
    /// Deletes what was found to be garbage at open. Held only to put or take the handle.
    sweep: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Held while a container's layer gets a project of the file system.
    projects: Mutex<()>,
}

/// What is in use now and must not be removed although no image refers to it.
#[derive(Default)]
pub(crate) struct State {
    /// Blobs and layers, by digest, with the number of holders.
    pins: HashMap<Digest, usize>,
    /// Layers whose removal is decided and not yet to be seen in the database. A pin comes too late
    /// for them; should the removal fail, they only are unpacked once more.
    going: HashSet<Digest>,
    /// Layers whose files may not be on the disk yet: no image or step may name them before.
    unsynced: HashSet<Digest>,
    /// Blobs being taken in.
    ingests: HashSet<Digest>,
    /// Layers of each container, lowest first.
    rw: HashMap<String, Vec<Digest>>,
}

/// Where things are under the data root.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
    pub(crate) blobs: PathBuf,
    pub(crate) ingest: PathBuf,
    pub(crate) layers: PathBuf,
    pub(crate) rw: PathBuf,
}

impl Paths {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blobs: root.join("content/blobs/sha256"),
            ingest: root.join("content/ingest"),
            layers: root.join("layers"),
            rw: root.join("rw"),
        }
    }

    fn create(&self) -> Result<()> {
        for dir in [&self.blobs, &self.ingest, &self.layers, &self.rw] {
            std::fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
        }
        // Containers' files may be set-user-id: only root gets near them.
        for dir in [&self.layers, &self.rw, &self.root.join("content")] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(dir, mode)
                .map_err(|source| Error::io("set mode of", dir, source))?;
        }
        Ok(())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    pub(crate) fn layer(&self, cache_id: &str) -> PathBuf {
        self.layers.join(cache_id)
    }

    pub(crate) fn diff(&self, cache_id: &str) -> PathBuf {
        self.layers.join(cache_id).join("diff")
    }
}

impl Store {
    /// Opens the store of a data root, makes what is missing and removes what an interrupted
    /// operation left over.
    ///
    /// # Errors
    /// `Database` when another process has the store open, `Io`.
    pub fn open(data_root: &Path) -> Result<Self> {
        let paths = Paths::new(data_root);
        paths.create()?;
        let database = database::Handle::open(data_root.join("images.redb"))?;
        let rw::Recorded { rw, half_deleted } = rw::recorded(&paths)?;
        if let Err(error) = quota::sweep(&paths) {
            // Numbers that stay taken are passed over.
            tracing::warn!(path = %paths.rw.display(), %error, "quotas not swept");
        }
        let state = Mutex::new(State { rw, ..State::default() });
        let sweep = Mutex::default();
        let projects = Mutex::default();
        let store = Self(Arc::new(Inner { paths, database, state, sweep, projects }));
        store.collect_garbage(half_deleted)?;
        Ok(store)
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction> {
        self.0.database.read()
    }

    pub(crate) fn write(&self) -> Result<WriteTransaction> {
        self.0.database.write()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves the maps whole: every change of them is one call.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.0.paths
    }

    /// Waits until what [`Store::open`] found to be garbage is deleted.
    pub fn wait_swept(&self) {
        let sweep = self.0.sweep.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = sweep
            && thread.join().is_err()
        {
            tracing::error!("the deletion of leftovers panicked");
        }
    }

    /// Holds a blob or layer against removal.
    pub(crate) fn pin(&self, digest: Digest) -> Pin {
        *self.state().pins.entry(digest).or_default() += 1;
        Pin { store: self.clone(), digest }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.0.paths.root).finish()
    }
}

/// Holds a blob or layer against removal until dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    store: Store,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.store.state();
        if let Some(count) = state.pins.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.pins.remove(&self.digest);
            }
        }
    }
}

/// Returns the time now, RFC 3339, UTC, as Docker writes it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
pub(crate) mod tests;
