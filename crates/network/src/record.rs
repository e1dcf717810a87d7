//! What a network is: the record that is kept, and the view with its endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use linux::netlink::Family;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::endpoint::Endpoint;

/// What implements a network. Other kinds (overlay) join here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Macvlan,
    Host,
    Null,
}

impl Driver {
    /// In the order of their names.
    pub const ALL: [Self; 4] = [Self::Bridge, Self::Host, Self::Macvlan, Self::Null];
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Host => "host",
            Self::Null => "null",
        })
    }
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    pub subnet: Cidr,
    /// The bridge's own address. `None` in a network that has no way to the host.
    pub gateway: Option<IpAddr>,
    pub ip_range: Option<Cidr>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// A network as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub driver: Driver,
    /// Nanoseconds since the epoch.
    pub created_unix_nanos: i64,
    /// Name of the bridge; `None` for drivers without one.
    pub interface: Option<String>,
    /// At most one of each family.
    pub ipam: Vec<IpamConfig>,
    #[serde(default = "yes")]
    pub enable_ipv4: bool,
    #[serde(default)]
    pub enable_ipv6: bool,
    #[serde(default)]
    pub ipam_options: Option<BTreeMap<String, String>>,
    pub internal: bool,
    pub attachable: bool,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

impl NetworkRecord {
    /// Whether this is one of `bridge`, `host` and `none`, which nobody can remove.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// Whether containers find each other by name in it.
    pub fn has_names(&self) -> bool {
        !self.is_predefined()
    }

    /// The subnet of a family.
    pub fn subnet(&self, family: Family) -> Option<&IpamConfig> {
        self.ipam.iter().find(|ipam| ipam.subnet.family() == family)
    }
}

pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// A network with the endpoints in it, in the order of their container ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    pub record: NetworkRecord,
    pub endpoints: Vec<Endpoint>,
}
