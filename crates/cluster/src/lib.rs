//! The cluster's rules without sockets, clocks or disks: what master and agent decide.
//!
//! A driver hands in what happened and carries out what comes back:
//!
//! ```text
//! handle(now, Input) -> Output { persist, then send, then publish }
//! ```
//!
//! `persist` must be durable before anything of `send` leaves, and readers see `publish` last. A
//! driver may handle many inputs and merge their outputs, as long as it keeps that order: one
//! commit for all registry writes, then all messages in order, then all changes.
//!
//! Nothing here reads a clock, the environment or entropy: time is an argument, the shuffle takes a
//! seed, and maps have an order. The same seed and inputs give the same outputs.

pub mod agent;
pub mod allocator;
pub mod capability;
pub mod id;
pub mod judged;
pub mod master;
pub mod registry;
pub mod resources;
pub mod rng;
pub mod role;
pub mod time;
pub mod wire;
