//! Builds: a Dockerfile and a context into an image.
//!
//! Text becomes instructions that know where they stand ([`syntax`]), instructions a graph of stages
//! ([`plan`]); both are pure. Each stage then goes from state to state (`state`): a step's key is a
//! digest over all that goes into it, and a step whose key is known is not done again. What is left
//! to do is done by `stage`, `run` and `layer`.
//!
//! The crate knows no HTTP requests and no wire types: a build is a [`Request`], and tells [`Event`]s.

mod apply;
mod archive;
mod build;
mod cache_image;
mod caches;
mod context;
mod device;
pub mod diagnostic;
mod error;
pub mod expand;
mod fetch;
mod gc;
mod held;
mod inputs;
mod layer;
mod lint;
mod mount;
mod mounts;
mod outline;
mod owner;
pub mod plan;
mod request;
mod run;
mod scratch;
mod select;
mod sources;
mod stage;
mod state;
pub mod syntax;
mod transfer;
mod tree;

use std::sync::Arc;

use engine::Engine;
use images::ImageId;
use images::registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use error::{Error, ErrorKind, Result};
pub use gc::{CacheEntry, GcPolicy, GcRule, PruneOptions, Pruned};
pub use request::{
    Call, ContextSource, Credentials, Event, Events, NamedContext, Options, Request, Secret,
};

/// Builds images, one cache for all of them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Builder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) caches: Arc<caches::CacheMounts>,
    pub(crate) inputs: inputs::Inputs,
    pub(crate) policy: GcPolicy,
    /// Holds collections back while builds use what they would remove.
    pub(crate) building: tokio::sync::RwLock<()>,
    /// When the cache was looked through last, in seconds since the epoch.
    collected_at: std::sync::atomic::AtomicI64,
}

/// Time between two looks through the cache.
const COLLECTION_SECS: i64 = 300;

impl Inner {
    fn collection_is_due(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let now = state::now();
        let last = self.collected_at.load(Relaxed);
        now - last >= COLLECTION_SECS
            && self.collected_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }
}

impl Builder {
    /// Makes the builder of an engine, and removes what builds left that were killed with a daemon.
    pub async fn open(engine: Engine, registry: Registry, policy: GcPolicy) -> Self {
        scratch::sweep(&engine).await;
        let mounts = engine.config().data_root.join("builder/mounts");
        let caches = Arc::new(caches::CacheMounts::new(mounts));
        let inputs = inputs::Inputs::open(engine.config().data_root.join("builder/inputs"));
        let building = tokio::sync::RwLock::default();
        Self {
            inner: Arc::new(Inner {
                engine,
                registry,
                caches,
                inputs,
                policy,
                building,
                collected_at: std::sync::atomic::AtomicI64::new(0),
            }),
        }
    }

    /// Builds an image. Dropping the answer cancels the build; its containers and files go in any
    /// case.
    ///
    /// # Errors
    /// Syntax and Invalid for the Dockerfile, Command for a RUN that fails, and what the engine and
    /// the stores say.
    pub async fn build(&self, request: Request, events: Events) -> Result<Option<ImageId>> {
        let cancel = CancellationToken::new();
        let _cancel: DropGuard = cancel.clone().drop_guard();
        let builder = self.clone();
        // A task of its own, so that what is cancelled is also cleaned up.
        let task = tokio::spawn(async move {
            let _building = builder.inner.building.read().await;
            build::run(&builder, request, events, cancel).await
        });
        let built = task.await.map_err(|_| Error::Cancelled)??;
        if built.is_some() && self.inner.collection_is_due() {
            let builder = self.clone();
            tokio::spawn(async move { builder.collect_garbage().await });
        }
        Ok(built)
    }
}

/// Runs `work`, which blocks, where that holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}
