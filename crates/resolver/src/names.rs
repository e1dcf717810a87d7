//! Who is in a network, and by which names others in it may call them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the files are, below the exec root.
pub const NAMES_DIRECTORY: &str = "network/names";

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNames {
    /// [`NetworkNames::VERSION`]. Readers outlive upgrades of the writer: a field may be added with
    /// a default, never changed or removed within a version.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub network_id: String,
    /// `web` is also found as `web.<network name>`.
    pub network_name: String,
    /// Endpoints of running containers.
    pub entries: Vec<NameEntry>,
}

impl NetworkNames {
    /// The version written by this crate.
    pub const VERSION: u32 = 1;

    /// A network without anybody in it.
    #[must_use]
    pub fn new(network_id: &str, network_name: &str) -> Self {
        Self {
            version: Self::VERSION,
            network_id: network_id.to_owned(),
            network_name: network_name.to_owned(),
            entries: Vec::new(),
        }
    }
}

/// One container's endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameEntry {
    /// 64 hexadecimal digits; its first twelve are a name as well.
    pub container_id: String,
    /// The container's name, without a slash. It is what an address resolves to.
    pub name: String,
    /// The container's hostname, if it was given one (the default one is the short id).
    #[serde(default)]
    pub hostname: Option<String>,
    /// `--network-alias`, and what compose adds. Several endpoints may share one: each answer
    /// then has them all, in another order.
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// `--link`: names that this container alone sees, each for a container in this network, by its
    /// id, or by one of its names where it did not exist when the link was made.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

/// The file of a network.
#[must_use]
pub fn names_path(exec_root: &Path, network_id: &str) -> PathBuf {
    exec_root.join(NAMES_DIRECTORY).join(format!("{network_id}.json"))
}
