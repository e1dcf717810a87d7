//! The networks and endpoints in memory: the truth of this process, written through to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::record::{NetworkInfo, NetworkRecord};

/// Both maps are by id.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, NetworkRecord>,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
}

impl State {
    /// Docker's order: the full id, then the name, then a unique prefix of an id.
    pub(crate) fn resolve(&self, network: &str) -> Result<&NetworkRecord> {
        // The API's word for the default network.
        let network = if network == "default" { "bridge" } else { network };
        if let Some(record) = self.networks.get(network) {
            return Ok(record);
        }
        if let Some(record) = self.networks.values().find(|record| record.name == network) {
            return Ok(record);
        }
        let mut matching = self.networks.values().filter(|record| record.id.starts_with(network));
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
        NetworkInfo { record: record.clone(), endpoints }
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
