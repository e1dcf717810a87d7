//! Names of containers on user-defined networks: the files that say who is called what, and the
//! process that answers queries at 127.0.0.11 by them.
//!
//! The process has one thread and the container's fate: `teu-shim` starts it at the first query
//! ([`serve`]), in the container's network, and it knows the daemon by the files below alone. What
//! it does with a query is decided without sockets or clock (`core`), from names that are ours
//! (`index`), answers that are kept (`cache`), or by asking others (`forward`).
//!
//! ```text
//! <exec-root>/network/names/<network id>.json   NetworkNames    written by the network
//! <bundle>/resolver.json                        ResolverConfig  written by the engine
//! ```
//! Both are replaced as a whole (temporary file, rename) whenever what they say changes, and read
//! again by whoever answers queries as soon as they are others. They are as short-lived as the
//! containers they describe, so nothing is synced.

mod cache;
mod config;
mod core;
mod file;
mod forward;
mod index;
mod message;
mod names;
mod probe;
mod serve;
#[cfg(test)]
mod tests;
mod view;
mod watched;

pub use config::{RESOLVER_FILE, ResolverConfig};
pub use file::{remove_names, write_atomically};
pub use names::{NAMES_DIRECTORY, NameEntry, NetworkNames, names_path};
pub use probe::{Probe, probe};
pub use serve::{Sockets, serve};
pub use view::{ADDRESS, Upstream, upstreams_of};

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Never short of so few bytes once the host is up, which it is.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
