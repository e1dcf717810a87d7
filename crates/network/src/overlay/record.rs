//! What this host has to remember of an overlay network.
//!
//! ```text
//! <exec-root>/network/overlays/<id>.json   a network that containers of this host are in: its
//!                                          record and who else is in it, as short-lived as the
//!                                          interfaces that it describes
//! ```
//! So a process that comes after another, or one that has to make an interface anew, needs nobody's
//! help: the swarm may be out of reach then.

use serde::{Deserialize, Serialize};

use super::fabric::{OverlayNetwork, Peer, Underlay};
use crate::record::{Driver, IpamConfig, NetworkRecord};

/// What makes a network an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    /// Which VXLAN it is.
    pub vni: u32,
    /// `None` while no container of this host is in it.
    pub part: Option<Part>,
}

/// This host's part of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub underlay: Underlay,
    /// Of its interfaces here, in containers and outside.
    pub mtu: u32,
}

/// A network that containers of this host are in, and the containers of other hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) record: NetworkRecord,
    pub(crate) peers: Vec<Peer>,
}

/// The swarm's network as one of this host's.
pub(crate) fn record_of(network: &OverlayNetwork) -> NetworkRecord {
    NetworkRecord {
        id: network.id.clone(),
        name: network.name.clone(),
        driver: Driver::Overlay,
        created_unix_nanos: network.created_unix_nanos,
        interface: Some(format!("br-{}", network.id.get(..12).unwrap_or(&network.id))),
        ipam: vec![IpamConfig {
            subnet: network.subnet,
            gateway: network.gateway.map(Into::into),
            ip_range: network.ip_range,
            aux_addresses: network.aux_addresses.clone(),
        }],
        enable_ipv4: true,
        enable_ipv6: false,
        ipam_options: None,
        internal: network.internal,
        attachable: network.attachable,
        options: network.options.clone(),
        labels: network.labels.clone(),
        overlay: Some(OverlayRecord { vni: network.vni, part: None }),
    }
}
