//! What a swarm gives a host's overlay networks, as a trait: who implements it knows how hosts speak
//! with each other, and nothing of interfaces; this crate knows the reverse.
//!
//! ```text
//! network --Fabric--> swarm              networks, addresses: asked for, answered
//! swarm --Network::overlay_changed-->    who else is in a network: told whenever it changes
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::endpoint::MacAddress;
use crate::error::ErrorKind;

/// The swarm that this host may be in. Calls block, each for at most 20 seconds. None is made while a
/// lock of this crate is held, so an implementor may call [`crate::Network::overlay_changed`] with
/// locks of its own.
pub trait Fabric: fmt::Debug + Send + Sync {
    /// This host's place among the others; `None` while it is in no swarm.
    fn underlay(&self) -> Option<Underlay>;

    /// All networks of the swarm, as far as this host knows, which it does after a restart as well,
    /// before it has reached a manager again; empty while it is in none.
    fn networks(&self) -> Vec<Arc<OverlayNetwork>>;

    /// Makes a network.
    ///
    /// # Errors
    /// If this host is no manager, the name or the subnet is taken, or something cannot be.
    fn create(&self, request: &OverlayRequest) -> Result<Arc<OverlayNetwork>, FabricError>;

    /// Removes a network, by its whole id, that nobody on any host is attached to.
    ///
    /// # Errors
    /// If this host is no manager, there is no such network, or it is in use.
    fn remove(&self, network_id: &str) -> Result<(), FabricError>;

    /// Reserves an address in a network for a container of this host, and tells the other hosts of it.
    /// Asking again for the same container answers the same address.
    ///
    /// # Errors
    /// If the network is not there or not attachable, the address is taken or none is left, or the
    /// manager cannot be reached.
    fn attach(&self, request: &AttachRequest) -> Result<Attachment, FabricError>;

    /// Says what a container with a place is called now. Waits for no manager: one that is away is told
    /// when it is back.
    ///
    /// # Errors
    /// If this host is in no swarm, or cannot write it down as its manager.
    fn rename(&self, request: &AttachRequest) -> Result<(), FabricError>;

    /// Gives the address back. Remembered, and repeated until the manager has heard of it; unknown
    /// ones are fine.
    fn detach(&self, network_id: &str, container_id: &str);
}

/// Where this host is on the wire below the overlays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underlay {
    /// The address to which the other hosts send VXLAN packets, one of this host's own.
    pub address: IpAddr,
    /// The UDP port of all hosts for them, 4789 unless the swarm was given another.
    pub port: u16,
    /// Shown where hosts of a network are listed: the hostname, `-` and 12 digits of the node's id.
    pub node_name: String,
}

/// A network of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayNetwork {
    /// 25 digits of base 36.
    pub id: String,
    pub name: String,
    /// Which VXLAN it is, 24 bits.
    pub vni: u32,
    /// One of IPv4.
    pub subnet: Cidr,
    /// Given to no container; nobody has it.
    pub gateway: Option<Ipv4Addr>,
    pub ip_range: Option<Cidr>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// Whether containers that no service made may join.
    pub attachable: bool,
    /// Whether its containers have no way out.
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// Nanoseconds since the epoch.
    pub created_unix_nanos: i64,
}

/// A network to be made. Its options were checked by this crate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayRequest {
    pub name: String,
    /// `None`: the next from the swarm's pools.
    pub subnet: Option<Cidr>,
    /// Within `subnet`. `None`: the first address that is nobody's.
    pub gateway: Option<Ipv4Addr>,
    /// Within `subnet`: where addresses of containers are taken from.
    pub ip_range: Option<Cidr>,
    /// Addresses that no container gets.
    pub aux_addresses: BTreeMap<String, IpAddr>,
    pub attachable: bool,
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// What this host has routes into or local networks of, not to be chosen from the pools.
    pub avoid: Vec<Cidr>,
}

/// A container of this host that wants to be in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachRequest {
    pub network_id: String,
    pub container_id: String,
    pub container_name: String,
    /// The container's own, where it was given one.
    pub hostname: Option<String>,
    /// Further names in this network.
    pub aliases: Vec<String>,
    /// `None`: any.
    pub ipv4: Option<Ipv4Addr>,
}

/// A container's place in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    pub ipv4: Ipv4Addr,
    /// Derived from the address ([`MacAddress::from_ip`]).
    pub mac: MacAddress,
}

/// A container of another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub ipv4: Ipv4Addr,
    pub mac: MacAddress,
    /// Where its host takes VXLAN packets.
    pub vtep: IpAddr,
    /// As [`Underlay::node_name`] of its host.
    pub node_name: String,
    pub container_id: String,
    pub container_name: String,
    pub hostname: Option<String>,
    pub aliases: Vec<String>,
}

/// Why the swarm did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FabricError {
    pub kind: ErrorKind,
    /// In Docker's words where it has the case, without what was asked for: `rpc error: code =
    /// PermissionDenied desc = network x not manually attachable`.
    pub message: String,
}
