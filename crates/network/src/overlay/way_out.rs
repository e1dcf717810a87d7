//! The way out of containers in overlay networks: a bridge of this host.
//!
//! An overlay leads to other containers and nowhere else. A container in one that is not internal, and
//! in no other network with a way out, gets a second interface in `docker_gwbridge`, whose containers
//! do not reach each other by it; there are its default route and published ports. It goes when
//! another network with a way out comes.

use crate::create::NetworkRequest;
use crate::endpoint::{Endpoint, EndpointRequest};
use crate::error::{Error, Result};
use crate::network::{Inner, Network, lock};
use crate::record::NetworkRecord;

/// The network's name, and its bridge's where nobody else has one of that name.
pub(crate) const GATEWAY_NETWORK: &str = "docker_gwbridge";

/// Whom the way out of a container is to serve.
fn served(
    endpoints: &[Endpoint],
    networks: impl Fn(&Endpoint) -> Option<NetworkRecord>,
) -> Option<&Endpoint> {
    let asked_for = || endpoints.iter().filter(|endpoint| !endpoint.is_way_out_only);
    if asked_for().any(|endpoint| endpoint.gateway.is_some()) {
        return None;
    }
    asked_for().find(|endpoint| {
        networks(endpoint).is_some_and(|record| record.is_swarm() && !record.internal)
    })
}

impl Network {
    /// Gives a container the way out that its overlays need, or takes one away that they no longer do.
    /// `leaving` is the id of an endpoint that is about to go.
    pub(crate) fn follow_way_out(&self, container_id: &str, leaving: Option<&str>) -> Result<()> {
        let inner = &self.inner;
        let mut endpoints = self.endpoints(container_id);
        endpoints.retain(|endpoint| Some(endpoint.id.as_str()) != leaving);
        let present = endpoints.iter().find(|endpoint| endpoint.is_way_out_only);
        let served = served(&endpoints, |endpoint| inner.record_of(endpoint).ok());
        match (served, present) {
            (Some(endpoint), None) => self.open_way_out(endpoint),
            (None, Some(present)) => {
                let _changes = inner.begin_change();
                inner.disconnect(present)
            }
            _ => Ok(()),
        }
    }

    fn open_way_out(&self, served: &Endpoint) -> Result<()> {
        let record = self.gateway_network()?;
        let request = EndpointRequest {
            container_name: served.container_name.clone(),
            ports: served.port_requests.clone(),
            ..EndpointRequest::default()
        };
        let _changes = self.inner.begin_change();
        let mut endpoint = self.inner.reserve(&served.container_id, &record, &request)?;
        endpoint.is_way_out_only = true;
        lock(&self.inner.state).endpoints.insert(endpoint.id.clone(), endpoint.clone());
        self.inner.complete(&endpoint).map(drop)
    }

    fn gateway_network(&self) -> Result<NetworkRecord> {
        let find = || {
            let state = lock(&self.inner.state);
            state.networks.values().find(|record| record.name == GATEWAY_NETWORK).cloned()
        };
        if let Some(record) = find() {
            return Ok(record);
        }
        let mut options = vec![("com.docker.network.bridge.enable_icc", "false")];
        if self.inner.is_free(GATEWAY_NETWORK) {
            options.push(("com.docker.network.bridge.name", GATEWAY_NETWORK));
        }
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let request = NetworkRequest {
            name: GATEWAY_NETWORK.to_owned(),
            options: options.into_iter().map(own).collect(),
            ..NetworkRequest::default()
        };
        match self.create(&request) {
            Ok((record, _)) => Ok(record),
            // Another container's start has made it meanwhile.
            Err(Error::NetworkExists(name)) => find().ok_or(Error::NetworkNotFound(name)),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    /// Whether an interface of that name can be made, or was made by this daemon.
    fn is_free(&self, name: &str) -> bool {
        let link = lock(&self.kernel).route.link(name);
        link.is_ok_and(|link| link.is_none_or(|it| crate::bridge::is_ours(&it, &self.config)))
    }
}

/// How such an endpoint is shown among those of its network.
pub(crate) fn shown_name(endpoint: &Endpoint) -> String {
    let id = endpoint.container_id.get(..12).unwrap_or(&endpoint.container_id);
    format!("gateway_{id}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::overlay::OverlayRecord;
    use crate::predefined::new_record;
    use crate::record::Driver;

    #[test]
    fn only_overlays_without_another_way_out_are_served() {
        let endpoint = |network: &str, has_gateway: bool| Endpoint {
            network_name: network.to_owned(),
            gateway: has_gateway.then_some("172.18.0.1".parse().unwrap()),
            is_way_out_only: network == GATEWAY_NETWORK,
            ..Endpoint::default()
        };
        let record = |name: &str| {
            let driver = if name.starts_with("ov") { Driver::Overlay } else { Driver::Bridge };
            let mut record = new_record(name, driver);
            record.internal = name.ends_with("internal");
            record.overlay =
                (driver == Driver::Overlay).then_some(OverlayRecord { vni: 4096, part: None });
            (name.to_owned(), record)
        };
        let names = ["ov", "ov-internal", "net", "net-internal", GATEWAY_NETWORK];
        let records: BTreeMap<_, _> = names.into_iter().map(record).collect();
        for (networks, expected) in [
            (vec![("ov", false)], Some("ov")),
            (vec![("ov", false), (GATEWAY_NETWORK, true)], Some("ov")),
            (vec![("ov", false), ("net", true), (GATEWAY_NETWORK, true)], None),
            (vec![("ov", false), ("net-internal", false)], Some("ov")),
            (vec![("ov-internal", false)], None),
            (vec![("net", true)], None),
            (vec![(GATEWAY_NETWORK, true)], None),
            (vec![], None),
        ] {
            let endpoints: Vec<_> =
                networks.iter().map(|(name, has)| endpoint(name, *has)).collect();
            let found = served(&endpoints, |e| records.get(&e.network_name).cloned());
            assert_eq!(found.map(|e| e.network_name.as_str()), expected, "{networks:?}");
        }
    }
}
