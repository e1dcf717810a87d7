//! The networks and endpoints in memory: the truth of this process, written through to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::overlay::{Peer, shown_name};
use crate::record::{NetworkInfo, NetworkRecord};

/// All maps are by id.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, NetworkRecord>,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// Who is in the swarm's networks on other hosts, of all that were told; none is empty.
    peers: BTreeMap<String, Vec<Peer>>,
}

impl State {
    pub(crate) fn new(
        networks: BTreeMap<String, NetworkRecord>,
        endpoints: BTreeMap<String, Endpoint>,
        peers: BTreeMap<String, Vec<Peer>>,
    ) -> Self {
        Self { networks, endpoints, peers }
    }

    /// Docker's order: the full id, then the name, then a unique prefix of an id. `others` are
    /// networks besides those here.
    pub(crate) fn resolve<'a>(
        &'a self,
        network: &str,
        others: &'a [NetworkRecord],
    ) -> Result<&'a NetworkRecord> {
        // The API's word for the default network.
        let network = if network == "default" { "bridge" } else { network };
        if let Some(record) = self.networks.get(network) {
            return Ok(record);
        }
        let all = || self.networks.values().chain(others);
        if let Some(record) = others.iter().find(|record| record.id == network) {
            return Ok(record);
        }
        let mut named = all().filter(|record| record.name == network);
        if let Some(record) = named.next() {
            // One of this host and one of the swarm may have come to the same name.
            return match named.count() {
                0 => Ok(record),
                more => Err(Error::NetworkAmbiguous(network.to_owned(), more + 1)),
            };
        }
        let mut matching = all().filter(|record| record.id.starts_with(network));
        match (matching.next(), matching.count()) {
            (Some(record), 0) if !network.is_empty() => Ok(record),
            (Some(_), more) if !network.is_empty() => {
                Err(Error::NetworkAmbiguous(network.to_owned(), more + 1))
            }
            _ => Err(Error::NetworkNotFound(network.escape_default().to_string())),
        }
    }

    pub(crate) fn info(&self, record: &NetworkRecord) -> NetworkInfo {
        let mut endpoints: Vec<_> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.network_id == record.id)
            .cloned()
            .collect();
        endpoints.sort_by(|a, b| a.container_id.cmp(&b.container_id));
        for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.is_way_out_only) {
            endpoint.container_name = shown_name(endpoint);
        }
        NetworkInfo { record: record.clone(), endpoints, nodes: Vec::new() }
    }

    /// Refuses a network that somebody here is connected to.
    pub(crate) fn check_unused(&self, record: &NetworkRecord) -> Result<()> {
        let info = self.info(record);
        if info.endpoints.is_empty() {
            return Ok(());
        }
        let name = |endpoint: &Endpoint| {
            let id = endpoint.container_id.get(..12).unwrap_or(&endpoint.container_id);
            format!("name:\"{}\" id:\"{id}\"", endpoint.container_name)
        };
        Err(Error::ActiveEndpoints {
            network: record.name.clone(),
            endpoints: info.endpoints.iter().map(name).collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether this is a network of the swarm that this host has a part of.
    pub(crate) fn is_swarm(&self, network_id: &str) -> bool {
        self.networks.get(network_id).is_some_and(NetworkRecord::is_swarm)
    }

    /// Who is in a network on other hosts.
    pub(crate) fn peers_of(&self, network_id: &str) -> &[Peer] {
        self.peers.get(network_id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn set_peers(&mut self, network_id: &str, peers: Vec<Peer>) {
        match peers.is_empty() {
            true => drop(self.peers.remove(network_id)),
            false => drop(self.peers.insert(network_id.to_owned(), peers)),
        }
    }

    pub(crate) fn has_endpoint(&self, network_id: &str, container_id: &str) -> bool {
        self.endpoints.values().any(|endpoint| {
            endpoint.network_id == network_id && endpoint.container_id == container_id
        })
    }

    pub(crate) fn addresses(&self, network_id: &str) -> BTreeSet<IpAddr> {
        self.endpoints
            .values()
            .filter(|endpoint| endpoint.network_id == network_id)
            .flat_map(Endpoint::addresses)
            .collect()
    }

    /// The endpoints of a container, in the order of their interfaces.
    pub(crate) fn endpoints_of(&self, container_id: &str) -> Vec<Endpoint> {
        let mut endpoints: Vec<_> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.container_id == container_id)
            .cloned()
            .collect();
        endpoints.sort_by(|a, b| a.interface.cmp(&b.interface));
        endpoints
    }

    /// The next name with this prefix that no interface of the container has.
    pub(crate) fn free_interface(&self, container_id: &str, prefix: &str) -> String {
        let mut names = (0_u32..).map(|number| format!("{prefix}{number}"));
        names.find(|name| !self.has_interface(container_id, name)).unwrap_or_default()
    }

    pub(crate) fn has_interface(&self, container_id: &str, name: &str) -> bool {
        self.endpoints.values().any(|endpoint| {
            endpoint.container_id == container_id && endpoint.interface.as_deref() == Some(name)
        })
    }
}

/// 64 random hexadecimal digits.
pub(crate) fn new_id() -> String {
    use std::fmt::Write as _;
    let bytes: [u8; 32] = rand::random();
    bytes.iter().fold(String::with_capacity(64), |mut id, byte| {
        let _ = write!(id, "{byte:02x}"); // writing to a String cannot fail
        id
    })
}
