//! Names of containers on user-defined networks: the files that say who is called what.
//!
//! ```text
//! <exec-root>/network/names/<network id>.json   NetworkNames    written by the network
//! <bundle>/resolver.json                        ResolverConfig  written by the engine
//! ```
//! Both are replaced as a whole (temporary file, rename) whenever what they say changes, and read
//! again by whoever answers queries as soon as they are others. They are as short-lived as the
//! containers they describe, so nothing is synced.

mod config;
mod file;
mod names;
#[cfg(test)]
mod tests;

pub use config::{RESOLVER_FILE, ResolverConfig};
pub use file::{remove_names, write_atomically};
pub use names::{NAMES_DIRECTORY, NameEntry, NetworkNames, names_path};
