//! The registry client: pull, push, login, search and distribution inspect; and plain downloads.
//!
//! Owns everything between a reference and the bytes behind it: which addresses to try, authorization, manifests,
//! downloads that resume, uploads. Owns no content: blobs, layers and names live in the [`Store`]. Talks the
//! distribution specification (registry API v2).
//!
//! ```text
//! pull:  hosts -> session -> manifest (index -> platform) -> config -> layers -> register
//!                                                                     | fetch (3 at once, resumable) -> unpack |
//! push:  layers: exists? mount? upload  -> config -> manifest
//! ```
//! A mirror that fails in any way is passed over for the next host. Dropping a future stops the work and keeps what a
//! later pull can resume with.

mod auth;
mod backoff;
mod challenge;
mod config;
mod download;
mod error;
mod fetch;
mod http;
mod inspect;
mod login;
pub(crate) mod manifest;
mod platform;
mod pull;
mod push;
mod repository;
mod search;
mod session;
mod slots;
mod upload;

use std::sync::Arc;

pub use auth::AuthConfig;
pub use config::{InsecureRegistries, Mirror, ProxyConfig, RegistryConfig, Timeouts};
pub use error::{ApiError, RegistryError};
pub use fetch::Fetched;
pub use inspect::Inspected;
pub use login::LoggedIn;
pub use manifest::Descriptor;
pub use platform::{InvalidPlatform, Platform};
pub use pull::{PullOptions, Pulled};
pub use push::{PushOptions, PushedImage};
pub use search::Found;

use crate::{Progress, Store};

/// Where pull and push tell how far they are. Called often, from several tasks; must not block.
pub type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Reaches registries on behalf of a store. Clones share downloads under way.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
    config: Arc<RegistryConfig>,
    slots: Arc<slots::Slots>,
}

impl Registry {
    /// Makes a client that pulls into and pushes from `store`.
    pub fn new(store: Store, config: RegistryConfig) -> Self {
        Self { store, config: Arc::new(config), slots: Arc::default() }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &RegistryConfig {
        &self.config
    }
}

/// Runs a blocking call of the store on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::Error> + Send + 'static,
) -> Result<T, RegistryError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(RegistryError::Store),
        Err(error) => Err(crate::Error::Internal(format!("store thread: {error}")).into()),
    }
}
