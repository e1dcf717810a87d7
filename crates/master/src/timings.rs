//! How long things took, who listens and how many came, for the metrics: the driver notes, whoever asks reads.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use endpoints::timer::Timer;

use crate::messages::Messages;

/// The timers of a master.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// Runs of the allocator, with the offers that came of them.
    pub(crate) allocation: Timer,
    /// From when something may be offered until the allocator runs.
    pub(crate) allocation_latency: Timer,
    /// Reading the registry.
    pub(crate) fetch: Timer,
    /// Writing changes of the registry.
    pub(crate) store: Timer,
    /// Operators that listen to changes now.
    pub(crate) listening: AtomicUsize,
    /// How often somebody began to prove who it is.
    pub(crate) authentications: AtomicU64,
    /// What drivers of the older kind have sent.
    pub(crate) messages: Messages,
}
