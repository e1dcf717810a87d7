//! The shim: one small process per container, which outlives the daemon.

pub mod client;
mod connection;
mod driver;
mod external;
mod job;
mod log;
mod names;
mod ports;
pub mod protocol;
mod remote;
mod requests;
mod seal;
mod server;
mod sink;
mod start;

pub use names::resolve;
pub use seal::SealedBinary;
pub use sink::write_log;
pub use start::run;
