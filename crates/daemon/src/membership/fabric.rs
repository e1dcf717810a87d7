//! The swarm as the host's overlay networks ask it.

use std::net::IpAddr;
use std::sync::Arc;

use network::{
    AttachRequest, Attachment, Cidr, ErrorKind, Fabric, FabricError, MacAddress, OverlayNetwork,
    OverlayRequest, Peer, Underlay,
};
use swarm::{Code, Network, NetworkRequest, Subnet, Swarm};

/// The swarm of this host, for crate `network`.
#[derive(Debug)]
pub(crate) struct SwarmFabric {
    swarm: Swarm,
    hostname: String,
}

impl SwarmFabric {
    pub(crate) fn new(swarm: Swarm) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { swarm, hostname }
    }
}

impl Fabric for SwarmFabric {
    fn underlay(&self) -> Option<Underlay> {
        let (address, port) = self.swarm.vtep()?;
        let id = self.swarm.node_id()?;
        let node_name = swarm::node_name(&self.hostname, &id);
        Some(Underlay { address, port, node_name })
    }

    fn networks(&self) -> Vec<Arc<OverlayNetwork>> {
        let networks = self.swarm.networks();
        networks.iter().map(|view| Arc::new(overlay(&view.network))).collect()
    }

    fn create(&self, request: &OverlayRequest) -> Result<Arc<OverlayNetwork>, FabricError> {
        let request = NetworkRequest {
            name: request.name.clone(),
            subnet: request.subnet.map(subnet).transpose()?,
            gateway: request.gateway,
            ip_range: request.ip_range.map(subnet).transpose()?,
            aux_addresses: request.aux_addresses.clone(),
            attachable: request.attachable,
            internal: request.internal,
            labels: request.labels.clone(),
            options: request.options.clone(),
            // What is of IPv6 is in no pool's way.
            avoid: request.avoid.iter().filter_map(|cidr| subnet(*cidr).ok()).collect(),
        };
        let network = self.swarm.create_network(request).map_err(forbidden)?;
        Ok(Arc::new(overlay(&network)))
    }

    fn remove(&self, network_id: &str) -> Result<(), FabricError> {
        self.swarm.remove_network(network_id).map_err(forbidden)
    }

    fn attach(&self, request: &AttachRequest) -> Result<Attachment, FabricError> {
        let ipv4 = self.swarm.attach(attach_request(request)).map_err(refused)?;
        Ok(Attachment { ipv4, mac: MacAddress::from_ip(ipv4) })
    }

    fn rename(&self, request: &AttachRequest) -> Result<(), FabricError> {
        self.swarm.rename(attach_request(request)).map_err(refused)
    }

    fn detach(&self, network_id: &str, container_id: &str) {
        self.swarm.detach(network_id, container_id);
    }
}

/// Converts what a container of this host asks for.
pub(super) fn attach_request(request: &AttachRequest) -> swarm::AttachRequest {
    swarm::AttachRequest {
        network_id: request.network_id.clone(),
        container_id: request.container_id.clone(),
        container_name: request.container_name.clone(),
        hostname: request.hostname.clone(),
        aliases: request.aliases.clone(),
        ipv4: request.ipv4,
    }
}

/// Converts a container of another host.
pub(super) fn peer(peer: swarm::Peer) -> Peer {
    Peer {
        ipv4: peer.ipv4,
        mac: MacAddress::from_ip(peer.ipv4),
        vtep: peer.vtep,
        node_name: peer.node_name,
        container_id: peer.container_id,
        container_name: peer.container_name,
        hostname: peer.hostname,
        aliases: peer.aliases,
    }
}

fn overlay(network: &Network) -> OverlayNetwork {
    OverlayNetwork {
        id: network.id.clone(),
        name: network.name.clone(),
        vni: network.vni,
        subnet: cidr(network.subnet),
        gateway: network.gateway,
        ip_range: network.ip_range.map(cidr),
        aux_addresses: network.aux_addresses.clone(),
        attachable: network.attachable,
        internal: network.internal,
        labels: network.labels.clone(),
        options: network.options.clone(),
        created_unix_nanos: i64::try_from(network.created.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

fn cidr(subnet: Subnet) -> Cidr {
    Cidr::new(subnet.address(), subnet.prefix()).expect("a subnet's prefix is one of IPv4")
}

fn subnet(cidr: Cidr) -> Result<Subnet, FabricError> {
    let refused = || FabricError {
        kind: ErrorKind::InvalidParameter,
        message: format!("invalid subnet {cidr}: networks of a swarm have addresses of IPv4"),
    };
    match cidr.address() {
        IpAddr::V4(address) => Subnet::new(address, cidr.prefix()).ok_or_else(refused),
        IpAddr::V6(_) => Err(refused()),
    }
}

/// What only a manager does, and only with a network that nobody is in.
fn forbidden(error: swarm::Error) -> FabricError {
    let is_forbidden = matches!(error.code, Code::Unavailable | Code::FailedPrecondition);
    let refused = refused(error);
    if is_forbidden { FabricError { kind: ErrorKind::Forbidden, ..refused } } else { refused }
}

fn refused(error: swarm::Error) -> FabricError {
    let kind = match error.code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            ErrorKind::InvalidParameter
        }
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Conflict,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unavailable | Code::DeadlineExceeded => ErrorKind::Unavailable,
        Code::ResourceExhausted | Code::Internal => ErrorKind::Internal,
    };
    FabricError { kind, message: error.message }
}
