//! The shim: one small process per container, which outlives the daemon.

pub mod client;
pub mod protocol;
