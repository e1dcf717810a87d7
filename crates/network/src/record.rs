//! What a network is: the record that is kept, and the view with its endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use linux::netlink::Family;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::endpoint::Endpoint;
use crate::overlay::{GATEWAY_NETWORK, OverlayRecord, PeerNode};

/// What implements a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Macvlan,
    Host,
    Null,
    Overlay,
}

impl Driver {
    /// In the order of their names.
    pub const ALL: [Self; 5] = [Self::Bridge, Self::Host, Self::Macvlan, Self::Null, Self::Overlay];
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Host => "host",
            Self::Null => "null",
            Self::Overlay => "overlay",
        })
    }
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    pub subnet: Cidr,
    /// The bridge's own address, in an overlay nobody's. `None` in a network that has no way to the host.
    pub gateway: Option<IpAddr>,
    pub ip_range: Option<Cidr>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// A network as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits; of a network of the swarm 25 digits of base 36.
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
    /// `None` for networks of this host alone.
    #[serde(default)]
    pub overlay: Option<OverlayRecord>,
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
        !self.is_predefined() && self.name != GATEWAY_NETWORK
    }

    /// Whether all hosts of a swarm have it.
    pub fn is_swarm(&self) -> bool {
        self.overlay.is_some()
    }

    /// In Docker's words: `swarm` where all hosts of a swarm have it, else `local`.
    pub fn scope(&self) -> &'static str {
        if self.is_swarm() { "swarm" } else { "local" }
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
    /// The hosts that have containers in it, in the order of their names; empty unless this one has,
    /// and for networks of this host alone.
    pub nodes: Vec<PeerNode>,
}
