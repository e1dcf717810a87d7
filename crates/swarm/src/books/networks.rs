//! Networks: which subnet and which VXLAN each gets.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{Books, Change};
use crate::error::{Code, Error, Result};
use crate::model::{Network, NetworkRequest};
use crate::subnet::{Subnet, choose_subnet};

/// The first VXLAN; the lower ones are left to others on the same wire.
const FIRST_VNI: u32 = 4096;
const LAST_VNI: u32 = (1 << 24) - 1;

impl Books {
    /// Makes a network.
    pub(crate) fn create_network(
        &self,
        request: NetworkRequest,
        now: Timestamp,
    ) -> Result<(Network, Vec<Change>)> {
        if self.networks.values().any(|network| network.name == request.name) {
            return Err(Error::new(
                Code::AlreadyExists,
                format!("network with name {} already exists", request.name),
            ));
        }
        let subnet = self.subnet_for(&request)?;
        let network = Network {
            id: crate::id::random_id(),
            version: self.next_version(),
            created: now,
            vni: self.free_vni()?,
            gateway: Some(gateway_for(&request, subnet)?),
            ip_range: range_for(&request, subnet)?,
            name: request.name,
            subnet,
            aux_addresses: request.aux_addresses,
            attachable: request.attachable,
            internal: request.internal,
            labels: request.labels,
            options: request.options,
        };
        Ok((network.clone(), vec![Change::Network(Box::new(network))]))
    }

    /// Removes a network that nobody is in.
    pub(crate) fn remove_network(&self, id: &str) -> Result<Vec<Change>> {
        let network = self.network(id)?;
        if let Some(attachment) = self.attached_to(id).next() {
            let node = self.nodes.get(&attachment.node_id);
            let host = node.map_or(attachment.node_id.as_str(), |node| &node.description.hostname);
            return Err(Error::answer(
                Code::FailedPrecondition,
                format!(
                    "network {} is in use by container {} on node {host}",
                    network.name, attachment.request.container_name
                ),
            ));
        }
        Ok(vec![Change::NetworkGone(id.to_owned())])
    }

    pub(crate) fn network(&self, id: &str) -> Result<&Network> {
        let missing = || Error::answer(Code::NotFound, format!("network {id} not found"));
        self.networks.get(id).ok_or_else(missing)
    }

    fn subnet_for(&self, request: &NetworkRequest) -> Result<Subnet> {
        let taken = self.networks.values().map(|network| network.subnet);
        let Some(subnet) = request.subnet else {
            let routed = self.nodes.values().flat_map(|node| node.description.routes.iter());
            let taken: Vec<Subnet> =
                taken.chain(routed.copied()).chain(request.avoid.iter().copied()).collect();
            let size = self.cluster.subnet_size;
            return choose_subnet(&self.cluster.pools, size, &taken).ok_or_else(|| {
                Error::answer(
                    Code::ResourceExhausted,
                    "no subnet of the swarm's address pools is left: remove networks, or name one \
                     with --subnet",
                )
            });
        };
        if subnet.prefix() > 30 {
            return Err(Error::answer(
                Code::InvalidArgument,
                format!("invalid subnet {subnet}: it has no addresses for containers"),
            ));
        }
        match self.networks.values().find(|network| network.subnet.overlaps(subnet)) {
            None => Ok(subnet),
            Some(other) => Err(Error::answer(
                Code::InvalidArgument,
                format!(
                    "Pool overlaps with other one on this address space: {subnet} with {} of \
                     network {}",
                    other.subnet, other.name
                ),
            )),
        }
    }

    fn free_vni(&self) -> Result<u32> {
        let highest = self.networks.values().map(|network| network.vni).max();
        let is_free = |vni: &u32| self.networks.values().all(|network| network.vni != *vni);
        // Upwards first, so that a VXLAN that just ended is not another network's at once.
        let next = highest.map_or(FIRST_VNI, |highest| highest + 1);
        let mut all = (next..=LAST_VNI).chain(FIRST_VNI..=LAST_VNI);
        all.find(is_free)
            .ok_or_else(|| Error::answer(Code::ResourceExhausted, "no VXLAN number is left"))
    }
}

fn gateway_for(request: &NetworkRequest, subnet: Subnet) -> Result<std::net::Ipv4Addr> {
    if let Some(gateway) = request.gateway {
        return match subnet.is_usable(gateway) {
            true => Ok(gateway),
            false => Err(Error::answer(
                Code::InvalidArgument,
                format!("no matching subnet for gateway {gateway}"),
            )),
        };
    }
    let first = subnet.address().to_bits();
    let aux: Vec<&IpAddr> = request.aux_addresses.values().collect();
    let mut all = (first..=subnet.last().to_bits()).map(std::net::Ipv4Addr::from_bits);
    let free = all.find(|ip| subnet.is_usable(*ip) && !aux.contains(&&IpAddr::V4(*ip)));
    free.ok_or_else(|| {
        Error::answer(
            Code::InvalidArgument,
            format!("no address of {subnet} is left for a gateway"),
        )
    })
}

fn range_for(request: &NetworkRequest, subnet: Subnet) -> Result<Option<Subnet>> {
    match request.ip_range {
        Some(range) if !subnet.covers(range) => Err(Error::answer(
            Code::InvalidArgument,
            format!("no matching subnet for range {range}"),
        )),
        range => Ok(range),
    }
}
