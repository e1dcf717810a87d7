//! What a container is: lifecycle, exec, logs, volumes, health, restart, events, recovery.
//!
//! The crate knows no HTTP and no wire types. [`Engine`] is the door: one method per operation,
//! its types its own, on disk versioned. Where what lives:
//!
//! ```text
//! container/   configuration, record, state, policy, owner task, operations
//! exec/        further processes in a container
//! apparmor     which profile a container has, and that it is loaded
//! spec/        a record into an OCI runtime configuration
//! store        the state database
//! recovery     from disk and shim sockets to state
//! ```

mod apparmor;
pub mod archive;
mod config;
pub mod container;
mod doctor;
mod error;
pub mod event;
pub mod exec;
pub mod filter;
mod health;
mod ids;
pub mod image_ops;
pub mod info;
pub mod logs;
mod network_ops;
mod prune;
mod recovery;
mod shim;
mod spec;
pub mod stats;
mod store;
pub mod top;
pub mod volume;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Config, NetworkConfig, RuntimeEntry};
pub use error::{Error, ErrorKind, Result};

/// The engine; clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the operations share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) events: event::EventBus,
    pub(crate) volumes: volume::VolumeStore,
    pub(crate) images: images::Store,
    pub(crate) network: network::Network,
    pub(crate) host: spec::HostFacts,
    pub(crate) store: store::Store,
    pub(crate) registry: container::handle::Registry,
    pub(crate) execs: exec::Execs,
    pub(crate) filters: container::seccomp::FilterCache,
    /// Made at the first start; `None` where the kernel refused.
    pub(crate) shim: std::sync::OnceLock<Option<runtime::shim::SealedBinary>>,
    pub(crate) users: spec::user::UserCache,
    /// One at a time reads a hosts file and writes it changed.
    pub(crate) hosts_files: std::sync::Mutex<()>,
    pub(crate) id_reservations: container::userns::Reservations,
    /// Every task of the engine's own; `shutdown` waits for them.
    pub(crate) tasks: TaskTracker,
    /// Tells the owner tasks to leave their containers alone and end.
    pub(crate) stopping: CancellationToken,
    /// Keeps other daemons off the data root. After the databases, and so let go after they are
    /// closed: whoever gets the lock can open them.
    _lock: linux::fs::FileLock,
}

/// Runs `work`, which blocks, where that holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(format!("operation was cut off: {error}")))?
}

impl Engine {
    /// Opens the engine on its roots and brings every container to its right state.
    ///
    /// # Errors
    /// Conflict when another daemon holds the data root.
    pub async fn open(config: Config) -> Result<Self> {
        recovery::open(config).await
    }

    /// Ends the engine's own tasks. Containers go on.
    pub async fn shutdown(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let inner = Arc::clone(&self.inner);
        let closed = blocking(move || {
            inner.store.close();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "state database not closed");
        }
    }

    /// The images. Its calls block.
    #[must_use]
    pub fn images(&self) -> &images::Store {
        &self.inner.images
    }

    /// The networks. Its calls block.
    #[must_use]
    pub fn network(&self) -> &network::Network {
        &self.inner.network
    }

    /// Marks a step of an operation, after which the process may have been killed.
    pub(crate) fn step(&self, name: &str) {
        if self.inner.config.crash_at.as_deref() == Some(name) {
            let own = rustix::process::getpid();
            // Nothing runs after this; an error would mean that it did not work.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
    }

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}
