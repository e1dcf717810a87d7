//! What a container is: lifecycle, exec, logs, volumes, health, restart, events, recovery.

pub mod event;
pub mod filter;
