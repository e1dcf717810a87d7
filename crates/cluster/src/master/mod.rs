//! The master: who is in the cluster, what is offered to whom, and what runs where.
//!
//! ```text
//! Master::new(config, registry, now) -> Master
//! master.handle(now, Input) -> Output { persist, then send, then publish }
//! master.next_wake() -> Option<Time>       when Input::Tick is due; may lie in the past
//! master.snapshot() -> Snapshot            immutable, for readers; cheap to make
//! ```
//!
//! Offers are made on a tick only: a driver that takes all waiting inputs before it ticks gets one
//! allocation for all of them.

mod config;
mod input;
mod output;

pub use config::Config;
pub use input::{Input, RequestId, Scheduler};
pub use output::{Change, Output, Reply, Send};
