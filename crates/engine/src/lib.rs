//! What a container is: lifecycle, exec, logs, volumes, health, restart, events, recovery.
//!
//! The crate knows no HTTP and no wire types. [`Engine`] is the door: one method per operation,
//! its types its own, on disk versioned. Where what lives:
//!
//! ```text
//! container/   configuration, record, state, policy, owner task, operations
//! exec/        further processes in a container
//! spec/        a record into an OCI runtime configuration
//! store        the state database
//! recovery     from disk and shim sockets to state
//! ```

mod config;
pub mod container;
mod error;
pub mod event;
pub mod exec;
pub mod filter;
mod ids;
pub mod logs;
pub mod volume;

use std::sync::Arc;

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
}

impl Engine {
    /// Opens the engine on its roots and brings every container to its right state.
    ///
    /// # Errors
    /// Conflict when another daemon holds the data root.
    pub async fn open(config: Config) -> Result<Self> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    /// Ends the engine's own tasks. Containers go on.
    pub async fn shutdown(&self) {}

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}
