//! From an OCI config to a process, and the shim that looks after it.
//!
//! [`shim::protocol`] is what the engine speaks with `teu-shim`; everything else is the shim's own
//! work: namespaces, mounts, cgroups, seccomp, stdio, logs, exit status. No tokio, no HTTP.

pub mod cgroup;
mod copy;
mod failure;
mod hooks;
mod init;
mod mount_options;
pub mod seccomp;
pub mod shim;
mod spawn;

/// The static binary that `--init` binds into a container as `/sbin/docker-init`. Its arguments
/// are `-- PROGRAM ARG…`.
pub const CONTAINER_INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docker-init"));
