//! The errors of this crate, worded as Docker words them where Docker has the case.

use std::fmt;
use std::net::IpAddr;

use crate::cidr::Cidr;
use crate::overlay::FabricError;
use crate::port::Protocol;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an error, from which the edge derives its status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    Conflict,
    InvalidParameter,
    Forbidden,
    Unavailable,
    /// Nobody can have it here yet.
    NotImplemented,
    Internal,
}

/// Who holds a port that somebody else asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// Another container of ours; its name, or its id where it has none.
    Container(String),
    Process {
        name: String,
        pid: u32,
    },
    /// A socket of no process that can be seen: the kernel's own, or another pid namespace's.
    Unknown,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "by container {name}"),
            Self::Process { name, pid } => write!(f, "by process {name}, pid {pid}"),
            Self::Unknown => f.write_str("by a socket whose process cannot be seen"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("network {0} not found")]
    NetworkNotFound(String),
    #[error("network {0} is ambiguous ({1} matches found on name or id prefix)")]
    NetworkAmbiguous(String, usize),
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    #[error("operation is not permitted on predefined {0} network")]
    PredefinedName(String),
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    #[error("only one instance of \"{0}\" network is allowed")]
    OneInstance(&'static str),
    #[error("plugin \"{0}\" not found")]
    DriverNotFound(String),
    #[error("invalid subnet {given}: it should be {wanted}")]
    HostBits { given: Cidr, wanted: Cidr },
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: \
         {subnet} with {other} of network {network}"
    )]
    SubnetTaken { subnet: Cidr, other: Cidr, network: String },
    #[error("cannot create network {network}: bridge {bridge} is that of network {other}")]
    BridgeTaken { network: String, bridge: String, other: String },
    #[error("network {network} is already using parent interface {parent}")]
    ParentTaken { network: String, parent: String },
    #[error("error while removing network: network {network} has active endpoints ({endpoints})")]
    ActiveEndpoints { network: String, endpoints: String },
    #[error(
        "cannot publish a port on {0}: the container has no address of that family with a way \
         out; connect it to a network created with --ipv6, or publish on an IPv4 address"
    )]
    FamilyMissing(IpAddr),
    #[error("container {container_id} has no sandbox")]
    NoSandbox { container_id: String },
    #[error("container {container_id} is not connected to the network {network}")]
    NotConnected { container_id: String, network: String },
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected { container: String, network: String },
    #[error("Bind for {host_ip}:{port} failed: port is already allocated ({owner})")]
    PortAllocated { host_ip: IpAddr, port: u16, protocol: Protocol, owner: PortOwner },
    #[error(
        "Bind for {host_ip}:{first}-{last} failed: all ports are allocated; \
         publish to another range or free a port of this one"
    )]
    PortsExhausted { host_ip: IpAddr, first: u16, last: u16 },
    #[error("cannot bind {host_ip}:{port}/{protocol}: {source}")]
    PortUnusable { host_ip: IpAddr, port: u16, protocol: Protocol, source: std::io::Error },
    #[error(
        "no available IPv4 addresses on this network's address pools: {network} ({subnet}); \
         remove containers or give the network a larger subnet"
    )]
    AddressesExhausted { network: String, subnet: String },
    #[error("Address already in use: {0}")]
    AddressInUse(IpAddr),
    #[error("no configured subnet contains IP address {0}")]
    AddressOutside(IpAddr),
    #[error(
        "all predefined address pools have been fully subnetted, or overlap routes of this host: \
         remove networks nobody uses (network prune), name a free range (network create --subnet, \
         daemon --bip), or give the daemon more (--default-address-pool)"
    )]
    PoolsExhausted,
    #[error("bridge {bridge} belongs to the daemon of {owner}; choose another with --bridge")]
    BridgeOwned { bridge: String, owner: String },
    #[error("{0} is a network interface, but not a bridge; choose another name with --bridge")]
    NotABridge(String),
    #[error("bridge {0} is gone; it comes back with the next repair or restart of the daemon")]
    BridgeMissing(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    #[error("{0} is not implemented")]
    NotImplemented(&'static str),
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again."
    )]
    NotManager,
    #[error(
        "cannot connect to network {network}: it is one of a swarm, and this host is in none; join \
         the swarm again (swarm join)"
    )]
    NoSwarm { network: String },
    #[error("Could not attach to network {network}: {source}")]
    NotAttached { network: String, source: FabricError },
    #[error(transparent)]
    Swarm(FabricError),
    #[error("network: {action}: {source}")]
    Kernel { action: String, source: std::io::Error },
    #[error("network state {path}: {message}")]
    State { path: String, message: String },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NetworkNotFound(_) | Self::NotConnected { .. } => ErrorKind::NotFound,
            Self::DriverNotFound(_) => ErrorKind::NotFound,
            Self::NetworkExists(_) => ErrorKind::Conflict,
            Self::Predefined(_)
            | Self::PredefinedName(_)
            | Self::OneInstance(_)
            | Self::SubnetTaken { .. }
            | Self::BridgeTaken { .. }
            | Self::ParentTaken { .. }
            | Self::ActiveEndpoints { .. }
            | Self::AlreadyConnected { .. } => ErrorKind::Forbidden,
            Self::NetworkAmbiguous(..)
            | Self::AddressOutside(_)
            | Self::HostBits { .. }
            | Self::FamilyMissing(_)
            | Self::Invalid(_)
            | Self::Unsupported(_) => ErrorKind::InvalidParameter,
            // Docker answers 500 to a taken port; the text is what its clients look at.
            Self::PortAllocated { .. }
            | Self::PortsExhausted { .. }
            | Self::PortUnusable { .. }
            | Self::NoSandbox { .. }
            | Self::BridgeOwned { .. }
            | Self::NotABridge(_)
            | Self::BridgeMissing(_)
            | Self::Kernel { .. }
            | Self::State { .. } => ErrorKind::Internal,
            Self::NotManager => ErrorKind::Forbidden,
            Self::NoSwarm { .. } => ErrorKind::Unavailable,
            Self::NotImplemented(_) => ErrorKind::NotImplemented,
            Self::NotAttached { source, .. } | Self::Swarm(source) => source.kind,
            Self::AddressInUse(_) => ErrorKind::Forbidden,
            Self::AddressesExhausted { .. } | Self::PoolsExhausted => ErrorKind::Unavailable,
        }
    }
}
/// Names what was being done when the kernel refused.
pub(crate) trait Context<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Kernel { action: action(), source: source.into() })
    }
}
