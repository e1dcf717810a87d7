//! What the one who answers a container's queries must know.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Name of the file in the container's bundle. A container has a resolver once it is there.
pub const RESOLVER_FILE: &str = "resolver.json";

/// A container's view of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverConfig {
    /// [`ResolverConfig::VERSION`]; the rules of [`crate::NetworkNames::version`] hold.
    pub version: u32,
    /// Whose queries are answered: decides which links are seen.
    pub container_id: String,
    /// The files of the container's user-defined networks; a name in two of them is the one of the
    /// first.
    pub networks: Vec<PathBuf>,
    /// Whom to ask for other names (`--dns`). Empty: whom the host asks, as its `resolv.conf` says
    /// at that time.
    #[serde(default)]
    pub upstreams: Vec<IpAddr>,
    /// Whether others are asked at all. Not when every network of the container is internal.
    pub forward: bool,
    /// Whether others are asked for a name without a dot. Not when `ndots` was given: the client
    /// then comes back with a search domain appended.
    #[serde(default = "yes")]
    pub forward_single_labels: bool,
}

impl ResolverConfig {
    /// The version written by this crate.
    pub const VERSION: u32 = 1;
}

fn yes() -> bool {
    true
}
