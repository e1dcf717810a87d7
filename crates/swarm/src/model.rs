//! The objects of a swarm, as managers keep them and tell nodes of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::ca::Role;
use crate::subnet::Subnet;
use crate::token::Secret;

/// The UDP port of VXLAN packets unless the swarm was given another.
pub const DEFAULT_DATA_PATH_PORT: u16 = 4789;

/// What clients can change of a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// How many ended tasks of services are remembered; kept for clients, as there are no services.
    pub task_history_limit: i64,
    /// How often nodes tell that they live.
    pub heartbeat_period_nanos: u64,
    /// How long nodes' certificates are valid.
    pub cert_expiry_nanos: u64,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            labels: BTreeMap::new(),
            task_history_limit: 5,
            heartbeat_period_nanos: 5_000_000_000,
            cert_expiry_nanos: 90 * 24 * 3600 * 1_000_000_000,
        }
    }
}

/// A swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: String,
    /// Raised by every change; who changes a swarm names the version he has seen.
    pub version: u64,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub spec: ClusterSpec,
    /// Where networks' subnets are taken from.
    pub pools: Vec<Subnet>,
    /// Bits of the prefix of these subnets.
    pub subnet_size: u8,
    pub data_path_port: u16,
    pub(crate) worker_secret: Secret,
    pub(crate) manager_secret: Secret,
}

/// Whether a node gets tasks of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    #[default]
    Active,
    Pause,
    Drain,
}

impl Availability {
    /// The word of the Engine API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

/// What clients can change of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Empty for all that were not given one; the hostname is shown then.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub role: Role,
    pub availability: Availability,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    pub hostname: String,
    /// `x86_64`
    pub architecture: String,
    /// `linux`
    pub os: String,
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    pub engine_version: String,
    pub engine_labels: BTreeMap<String, String>,
    /// Type and name, such as `Network` and `overlay`.
    pub plugins: Vec<(String, String)>,
    /// What the host has routes into, and so no network may take.
    pub routes: Vec<Subnet>,
}

/// A member of a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: String,
    pub version: u64,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub spec: NodeSpec,
    pub description: NodeDescription,
    /// Where it takes VXLAN packets; `None` until it was heard of.
    pub vtep: Option<IpAddr>,
    /// What tells its key from others', so that a node that asks twice is one node.
    pub(crate) key: String,
}

/// Whether a node is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Not since the manager began.
    Unknown,
    /// Not for three heartbeats.
    Down,
    Ready,
    Disconnected,
}

impl NodeState {
    /// The word of the Engine API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
        }
    }
}

/// A node with what is not kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    pub node: Node,
    pub state: NodeState,
    /// Why it is not ready.
    pub message: String,
    /// Where it was heard from.
    pub address: String,
    /// Of the leader: the address of its control port.
    pub manager_address: Option<String>,
}

/// A network of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: String,
    pub name: String,
    pub version: u64,
    pub created: Timestamp,
    /// Which VXLAN it is.
    pub vni: u32,
    pub subnet: Subnet,
    /// Given to no container.
    pub gateway: Option<Ipv4Addr>,
    /// Where containers' addresses are taken from; `None`: all of the subnet.
    pub ip_range: Option<Subnet>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
    pub attachable: bool,
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// A network to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    pub name: String,
    /// `None`: the next from the pools.
    pub subnet: Option<Subnet>,
    /// `None`: the first address.
    pub gateway: Option<Ipv4Addr>,
    pub ip_range: Option<Subnet>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
    pub attachable: bool,
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// Not to be chosen from the pools.
    pub avoid: Vec<Subnet>,
}

/// A container that wants to be in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    pub network_id: String,
    pub container_id: String,
    pub container_name: String,
    pub hostname: Option<String>,
    /// Further names in this network.
    pub aliases: Vec<String>,
    /// `None`: any.
    pub ipv4: Option<Ipv4Addr>,
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub node_id: String,
    pub ipv4: Ipv4Addr,
    /// Of what was asked for, the names are those of the last time.
    pub request: AttachRequest,
}

/// An attachment as other nodes need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub node_id: String,
    /// The hostname, `-` and 12 digits of the node's id.
    pub node_name: String,
    /// Where the node takes VXLAN packets.
    pub vtep: IpAddr,
    pub ipv4: Ipv4Addr,
    pub container_id: String,
    pub container_name: String,
    pub hostname: Option<String>,
    pub aliases: Vec<String>,
}

/// A network with everybody in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    pub network: Network,
    pub peers: Vec<Peer>,
}

/// All that nodes know of a swarm's networks, by id.
pub(crate) type View = BTreeMap<String, Arc<NetworkView>>;

/// How a node is named where the hosts of a network are listed.
pub fn node_name(hostname: &str, node_id: &str) -> String {
    format!("{hostname}-{}", node_id.get(..12).unwrap_or(node_id))
}
