//! Containers.

mod api_socket;
pub(crate) mod body;
pub(crate) mod checks;
pub(crate) mod copy;
pub(crate) mod devices;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod flags;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod look;
pub(crate) mod mounts;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod run;
pub(crate) mod security;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod unpack;
