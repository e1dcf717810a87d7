//! Which endpoint is a container's way out, and so carries its default route and published ports.
//!
//! Docker's order: the highest priority, then the name of the network. Each family has a way out of
//! its own. The ports follow it: they are moved in one transaction where the next endpoint
//! publishes as the last one did, else given back and claimed anew.

use std::net::IpAddr;

use linux::netlink::{Family, Request, Route};

use crate::claim::Claimant;
use crate::endpoint::Endpoint;
use crate::error::{Context as _, Error, Result};
use crate::network::{Inner, lock};
use crate::options::GatewayMode;
use crate::port::PortBinding;
use crate::reaper::StaleFlows;
use crate::rules;

/// The way out of a family among a container's endpoints.
pub(crate) fn elect(endpoints: &[Endpoint], family: Family) -> Option<&Endpoint> {
    endpoints.iter().filter(|endpoint| endpoint.gateway_of(family).is_some()).min_by(|a, b| {
        // What somebody asked for, then the highest priority; among equal ones the lower name.
        let asked_for = a.is_way_out_only.cmp(&b.is_way_out_only);
        asked_for
            .then_with(|| b.gw_priority.cmp(&a.gw_priority))
            .then_with(|| a.network_name.cmp(&b.network_name))
    })
}

/// Ports in places where they no longer belong, after a crash in the middle of a move: those of each
/// family stay with its way out alone.
pub(crate) fn untangle(endpoints: &mut [Endpoint]) {
    for family in Family::BOTH {
        let publishes = |endpoint: &Endpoint| ports_of(&endpoint.ports, family).next().is_some();
        if endpoints.iter().filter(|endpoint| publishes(endpoint)).count() < 2 {
            continue;
        }
        let keeper = elect(endpoints, family).map(|endpoint| endpoint.id.clone());
        let mut ports: Vec<PortBinding> =
            endpoints.iter().flat_map(|e| ports_of(&e.ports, family)).collect();
        ports.sort_unstable();
        ports.dedup();
        for endpoint in endpoints.iter_mut() {
            endpoint.ports.retain(|port| Family::of(port.host_ip) != family);
            if Some(&endpoint.id) == keeper.as_ref() {
                endpoint.ports.append(&mut ports);
            }
        }
    }
}

/// Whether these can go on with a way out of that mode.
fn suit(ports: &[PortBinding], routed: bool) -> bool {
    !ports.is_empty() && ports.iter().all(|port| (port.host_port == 0) == routed)
}

fn ports_of(ports: &[PortBinding], family: Family) -> impl Iterator<Item = PortBinding> + '_ {
    ports.iter().copied().filter(move |port| Family::of(port.host_ip) == family)
}

/// What is to change in the kernel for a container's ways out.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Endpoints with the ports that leave them.
    withdrawn: Vec<Endpoint>,
    /// Endpoints with the ports that come to them.
    published: Vec<Endpoint>,
}

impl Inner {
    /// Claims and releases ports so that each family's are with its way out, and records that.
    /// `leaving` is an endpoint that is about to go. On an error nothing has changed.
    pub(crate) fn plan_gateways(
        &self,
        container_id: &str,
        leaving: Option<&str>,
    ) -> Result<Change> {
        let before = lock(&self.state).endpoints_of(container_id);
        let mut after = before.clone();
        let staying: Vec<Endpoint> = before
            .iter()
            .filter(|endpoint| Some(endpoint.id.as_str()) != leaving)
            .cloned()
            .collect();
        let together = self.claim_together(&before, &staying)?;
        let mut claimed = together.clone().unwrap_or_default();
        let mut released = Vec::new();
        for family in Family::BOTH {
            let keeper = elect(&staying, family);
            let ports: Vec<PortBinding> =
                before.iter().flat_map(|e| ports_of(&e.ports, family)).collect();
            for endpoint in &mut after {
                endpoint.ports.retain(|port| Family::of(port.host_ip) != family);
            }
            let Some(keeper) = keeper else {
                released.extend(ports);
                continue;
            };
            let routed = self.mode_of(keeper, family) == GatewayMode::Routed;
            let ports = if suit(&ports, routed) {
                ports
            } else if let Some(together) = &together {
                released.extend(ports);
                ports_of(together, family).collect()
            } else {
                released.extend(ports);
                // Those of the other family, which get the same numbers; routed ones have none.
                let present = after.iter().flat_map(|e| e.ports.iter().copied());
                let present: Vec<_> = present.filter(|port| port.host_port != 0).collect();
                match self.claim_families(keeper, &[family], routed, &present) {
                    Ok(new) => {
                        claimed.extend(new.iter().copied());
                        new
                    }
                    Err(error) => {
                        lock(&self.claims).release(container_id, &claimed);
                        return Err(error);
                    }
                }
            };
            if let Some(keeper) = after.iter_mut().find(|endpoint| endpoint.id == keeper.id) {
                keeper.ports.extend(ports);
            }
        }
        if let Err(error) = self.record_ports(&before, &after) {
            lock(&self.claims).release(container_id, &claimed);
            return Err(error);
        }
        lock(&self.claims).release(container_id, &released);
        Ok(Change::between(&before, &after))
    }

    /// Where one endpoint gets ports of both families anew, they are claimed at once: a number that
    /// is free in one may be somebody's in the other, and then another is.
    fn claim_together(
        &self,
        before: &[Endpoint],
        staying: &[Endpoint],
    ) -> Result<Option<Vec<PortBinding>>> {
        let anew = |family: Family| {
            let keeper = elect(staying, family)?;
            let ports: Vec<PortBinding> =
                before.iter().flat_map(|e| ports_of(&e.ports, family)).collect();
            let routed = self.mode_of(keeper, family) == GatewayMode::Routed;
            (!routed && !suit(&ports, false)).then_some(keeper)
        };
        match (anew(Family::V4), anew(Family::V6)) {
            (Some(keeper), Some(other)) if keeper.id == other.id => {
                self.claim_families(keeper, &Family::BOTH, false, &[]).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn claim_families(
        &self,
        endpoint: &Endpoint,
        families: &[Family],
        routed: bool,
        present: &[PortBinding],
    ) -> Result<Vec<PortBinding>> {
        if routed {
            let bindings = families.iter().flat_map(|family| routed_bindings(endpoint, *family));
            return Ok(bindings.collect());
        }
        let default_ip = self.host_binding_of(endpoint);
        let claimant =
            Claimant { container_id: &endpoint.container_id, families, default_ip, present };
        let claimed = lock(&self.claims).claim_all(claimant, &endpoint.port_requests);
        claimed
            .map_err(|refusal| refusal.into_error(|container_id| self.container_name(container_id)))
    }

    /// The gaining endpoints first: a crash in between leaves ports in two places, which
    /// [`untangle`] sorts out, rather than in none.
    fn record_ports(&self, before: &[Endpoint], after: &[Endpoint]) -> Result<()> {
        let mut changed: Vec<&Endpoint> = before
            .iter()
            .zip(after)
            .filter(|(before, after)| before.ports != after.ports)
            .map(|(_, after)| after)
            .collect();
        changed.sort_by_key(|endpoint| endpoint.ports.is_empty());
        for endpoint in &changed {
            self.store.put_endpoint(endpoint)?;
        }
        let mut state = lock(&self.state);
        for endpoint in changed {
            if let Some(known) = state.endpoints.get_mut(&endpoint.id) {
                known.ports.clone_from(&endpoint.ports);
            }
        }
        Ok(())
    }

    /// Carries a change out, and sets the default routes.
    pub(crate) fn apply_gateways(
        &self,
        container_id: &str,
        leaving: Option<&str>,
        change: &Change,
    ) -> Result<()> {
        if !change.is_empty() {
            let mut kernel = lock(&self.kernel);
            let Change { withdrawn, published } = change;
            let changed =
                rules::change_ports(&mut kernel.nftables, &self.table, withdrawn, published);
            if let Err(error) = changed {
                // Somebody changed the table: put it right as a whole.
                tracing::debug!(%error, table = self.table, "replacing the rules");
                self.apply_rules(&mut kernel)?;
            }
            drop(kernel);
            withdrawn.iter().for_each(|endpoint| self.reaper.forget(StaleFlows::after(endpoint)));
            published.iter().for_each(|endpoint| self.reaper.forget(StaleFlows::before(endpoint)));
        }
        let mut endpoints = lock(&self.state).endpoints_of(container_id);
        endpoints.retain(|endpoint| Some(endpoint.id.as_str()) != leaving);
        self.set_routes(container_id, &endpoints)
    }

    /// Makes the ways out the default routes. Where there is none, there is no route either: the
    /// last one leaves with its interface.
    pub(crate) fn set_routes(&self, container_id: &str, endpoints: &[Endpoint]) -> Result<()> {
        let wanted: Vec<(&str, IpAddr)> = Family::BOTH
            .into_iter()
            .filter_map(|family| {
                let endpoint = elect(endpoints, family)?;
                Some((endpoint.interface.as_deref()?, endpoint.gateway_of(family)?))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let namespace = self.sandboxes.namespace(container_id)?;
        let set = |route: &mut Route| {
            let mut requests = Vec::new();
            for (interface, gateway) in &wanted {
                let link = route.link(interface)?.ok_or(std::io::ErrorKind::NotFound)?.index;
                requests.push(Request::set_default_route(link, *gateway));
            }
            route.execute(requests)
        };
        namespace
            .with_route(set)
            .context(|| format!("set the default route of container {container_id}"))
    }

    fn mode_of(&self, endpoint: &Endpoint, family: Family) -> GatewayMode {
        let state = lock(&self.state);
        let record = state.networks.get(&endpoint.network_id);
        record.map_or(GatewayMode::Nat, |record| self.bridge_options(record).mode(family))
    }

    fn host_binding_of(&self, endpoint: &Endpoint) -> IpAddr {
        let state = lock(&self.state);
        let record = state.networks.get(&endpoint.network_id);
        let own = record.and_then(|record| self.bridge_options(record).host_binding);
        own.unwrap_or(self.config.publish_default_address)
    }

    fn container_name(&self, container_id: &str) -> String {
        let state = lock(&self.state);
        let endpoint = state.endpoints.values().find(|e| e.container_id == container_id);
        match endpoint.map(|endpoint| endpoint.container_name.as_str()) {
            Some("") | None => container_id.to_owned(),
            Some(name) => name.to_owned(),
        }
    }
}

impl Change {
    fn between(before: &[Endpoint], after: &[Endpoint]) -> Self {
        let mut change = Self::default();
        for (before, after) in before.iter().zip(after) {
            let gone: Vec<_> = difference(&before.ports, &after.ports);
            let come: Vec<_> = difference(&after.ports, &before.ports);
            if !gone.is_empty() {
                change.withdrawn.push(Endpoint { ports: gone, ..before.clone() });
            }
            if !come.is_empty() {
                change.published.push(Endpoint { ports: come, ..after.clone() });
            }
        }
        change
    }

    fn is_empty(&self) -> bool {
        self.withdrawn.is_empty() && self.published.is_empty()
    }
}

fn difference(ports: &[PortBinding], others: &[PortBinding]) -> Vec<PortBinding> {
    let others: std::collections::BTreeSet<&PortBinding> = others.iter().collect();
    ports.iter().filter(|port| !others.contains(port)).copied().collect()
}

/// Ports reached under the container's own address.
fn routed_bindings(endpoint: &Endpoint, family: Family) -> Vec<PortBinding> {
    let Some(address) = endpoint.address(family) else { return Vec::new() };
    let any = match family {
        Family::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let of_family = |ip: &Option<IpAddr>| ip.is_none_or(|ip| Family::of(ip) == Family::of(address));
    let requests = endpoint.port_requests.iter().filter(|request| of_family(&request.host_ip));
    let mut bindings: Vec<PortBinding> = requests
        .map(|request| PortBinding {
            container_port: request.container_port,
            protocol: request.protocol,
            host_ip: any,
            host_port: 0,
        })
        .collect();
    bindings.sort_unstable();
    bindings.dedup();
    bindings
}

/// An address that is to be published, of a family in which the container has no way out.
pub(crate) fn check_families(endpoints: &[Endpoint]) -> Result<()> {
    let has = |family| elect(endpoints, family).is_some();
    if Family::BOTH.into_iter().all(|family| !has(family)) {
        return Ok(()); // internal networks publish nothing
    }
    let requests = endpoints.iter().flat_map(|endpoint| &endpoint.port_requests);
    match requests.filter_map(|request| request.host_ip).find(|ip| !has(Family::of(*ip))) {
        Some(ip) => Err(Error::FamilyMissing(ip)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Protocol;

    fn endpoint(network: &str, priority: i64, gateway: bool) -> Endpoint {
        Endpoint {
            id: network.to_owned(),
            network_name: network.to_owned(),
            gw_priority: priority,
            gateway: gateway.then_some("10.0.0.1".parse().unwrap()),
            ..Endpoint::default()
        }
    }

    #[test]
    fn priority_then_name_decides() {
        for (endpoints, elected) in [
            (vec![endpoint("b", 0, true), endpoint("a", 0, true)], Some("a")),
            (vec![endpoint("b", 1, true), endpoint("a", 0, true)], Some("b")),
            (vec![endpoint("b", 0, true), endpoint("a", -1, true)], Some("b")),
            (vec![endpoint("b", 0, true), endpoint("a", 9, false)], Some("b")),
            (vec![endpoint("a", 0, false)], None),
            (vec![], None),
        ] {
            let found = elect(&endpoints, Family::V4).map(|endpoint| endpoint.id.as_str());
            assert_eq!(found, elected, "{endpoints:?}");
            assert_eq!(elect(&endpoints, Family::V6), None);
        }
    }

    #[test]
    fn ports_in_two_places_stay_with_the_way_out() {
        let port = PortBinding {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
        };
        let mut endpoints = [endpoint("b", 0, true), endpoint("a", 0, true)];
        endpoints.iter_mut().for_each(|endpoint| endpoint.ports.push(port));
        untangle(&mut endpoints);
        assert_eq!((endpoints[0].ports.len(), endpoints[1].ports.len()), (0, 1));
        // In one place they stay, whoever it is: a later connection moves them.
        let mut endpoints = [endpoint("b", 0, true), endpoint("a", 0, true)];
        endpoints[0].ports.push(port);
        untangle(&mut endpoints);
        assert_eq!(endpoints[0].ports.len(), 1);
    }
}
