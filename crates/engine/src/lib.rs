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

pub mod archive;
mod config;
pub mod container;
mod error;
pub mod event;
pub mod exec;
pub mod filter;
#[cfg_attr(not(test), expect(dead_code, reason = "its driver follows"))]
mod health;
mod ids;
pub mod image_ops;
pub mod info;
pub mod logs;
mod prune;
pub mod stats;
pub mod top;
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
    pub(crate) events: event::EventBus,
    pub(crate) volumes: volume::VolumeStore,
    pub(crate) images: images::Store,
    pub(crate) network: network::Network,
}

/// Runs `work`, which blocks, where that holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(format!("operation was cut off: {error}")))?
}

/// What an operation answers whose body is not there yet.
fn pending<T>() -> Result<T> {
    Err(Error::Unavailable("not available yet".to_owned()))
}

impl Engine {
    /// Opens the engine on its roots and brings every container to its right state.
    ///
    /// # Errors
    /// Conflict when another daemon holds the data root.
    pub async fn open(config: Config) -> Result<Self> {
        let volumes = volume::VolumeStore::open(&config.data_root)?;
        let events = event::EventBus::open(&config.data_root.join("events.jsonl"));
        let (data_root, network) = (config.data_root.clone(), config.network_config()?);
        let (images, network) = blocking(move || {
            let images = images::Store::open(&data_root)
                .map_err(|error| Error::Internal(format!("open the image store: {error}")))?;
            let network = network::Network::open(network)
                .map_err(|error| Error::Internal(format!("open the networks: {error}")))?;
            Ok((images, network))
        })
        .await?;
        Ok(Self { inner: Arc::new(Inner { config, events, volumes, images, network }) })
    }

    /// Ends the engine's own tasks. Containers go on.
    pub async fn shutdown(&self) {}

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

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}
