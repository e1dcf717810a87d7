//! One endpoint's way into the kernel and out of it again.
//!
//! ```text
//! reserve address -> claim ports -> write record -> veth pair -> publish
//! withdraw ports <- cut off, delete veth <- release ports <- remove record <- free address
//! ```
//! Every step of the way out may find its work done already; so it is at once the undo of a
//! connection that failed half-way, the teardown, and the recovery from a crash at any point.

use std::net::Ipv4Addr;

use linux::netlink::nft::ElementChange;
use linux::netlink::{Address, Request, Route, Veth};
use rustix::io::Errno;

use crate::claim::Claimant;
use crate::endpoint::{Endpoint, EndpointRequest, MacAddress};
use crate::error::{Context as _, Error, Result};
use crate::network::{Inner, Kernel, lock};
use crate::reaper::{StaleFlows, gone};
use crate::record::NetworkRecord;
use crate::rules::{self, BridgeRules};
use crate::state::new_id;
use crate::{bridge, ipam};

impl Inner {
    /// Enters the endpoint with its address, so that nobody else gets it.
    pub(crate) fn reserve(
        &self,
        container_id: &str,
        network: &str,
        request: &EndpointRequest,
    ) -> Result<Endpoint> {
        let mut state = lock(&self.state);
        let record = state.resolve(network)?.clone();
        let mut endpoint = Endpoint {
            id: new_id(),
            network_id: record.id.clone(),
            network_name: record.name.clone(),
            container_id: container_id.to_owned(),
            container_name: request.container_name.clone(),
            interface: None,
            host_interface: None,
            ip: None,
            prefix: 0,
            gateway: None,
            mac: None,
            ports: Vec::new(),
        };
        if state.has_endpoint(&record.id, container_id) {
            let container = request.container_name.clone();
            return Err(Error::AlreadyConnected { container, network: record.name });
        }
        if let Some(ipam) = record.ipam.first() {
            let used = state.addresses(&record.id);
            let ip = match request.ip {
                Some(ip) if !ipam::is_assignable(ipam, ip) => {
                    return Err(Error::AddressOutside(ip.into()));
                }
                Some(ip) if used.contains(&ip) => return Err(Error::AddressInUse(ip.into())),
                Some(ip) => ip,
                None => ipam::lowest_free(ipam, &used).ok_or_else(|| {
                    let subnet = ipam.subnet.to_string();
                    Error::AddressesExhausted { network: record.name.clone(), subnet }
                })?,
            };
            endpoint.ip = Some(ip);
            endpoint.prefix = ipam.subnet.prefix();
            endpoint.gateway = Some(ipam.gateway);
            endpoint.mac = Some(request.mac.unwrap_or_else(|| MacAddress::from_ip(ip)));
            endpoint.interface = Some(state.free_interface(container_id));
            endpoint.host_interface = Some(format!("veth{}", &endpoint.id[..7]));
        }
        state.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        Ok(endpoint)
    }

    pub(crate) fn claim_ports(
        &self,
        endpoint: &mut Endpoint,
        request: &EndpointRequest,
    ) -> Result<()> {
        if endpoint.ip.is_none() || request.ports.is_empty() {
            return Ok(());
        }
        let claimed = lock(&self.claims).claim_all(
            claimant(endpoint),
            &request.ports,
            self.config.default_host_ip,
        );
        endpoint.ports = claimed.map_err(|refusal| {
            refusal.into_error(|container_id| self.container_name(container_id))
        })?;
        lock(&self.state).endpoints.insert(endpoint.id.clone(), endpoint.clone());
        Ok(())
    }

    fn container_name(&self, container_id: &str) -> String {
        let state = lock(&self.state);
        let endpoint = state.endpoints.values().find(|e| e.container_id == container_id);
        match endpoint.map(|endpoint| endpoint.container_name.as_str()) {
            Some("") | None => container_id.to_owned(),
            Some(name) => name.to_owned(),
        }
    }

    /// Makes the veth pair and configures the container's end.
    pub(crate) fn attach(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(plan) = Attachment::of(endpoint) else { return Ok(()) };
        let namespace = self.sandboxes.namespace(&endpoint.container_id)?;
        let bridge = self.bridge_of(endpoint)?;
        {
            let mut kernel = lock(&self.kernel);
            let action = || format!("create interface {}", plan.host_interface);
            let master = match kernel.route.link(&bridge).context(action)? {
                Some(link) => link.index,
                None => return Err(Error::BridgeMissing(bridge)),
            };
            let veth = Veth {
                name: plan.host_interface,
                master,
                mtu: self.config.mtu,
                peer_name: plan.interface,
                peer_mac: plan.mac.0,
                peer_namespace: namespace.fd(),
            };
            let requests = [
                Request::create_veth(&veth),
                Request::raise_port(plan.host_interface, &self.port_alias(endpoint)),
            ];
            kernel.route.execute(requests).context(action)?;
        }
        let configure = |route: &mut Route| {
            let link = route.link(plan.interface)?.ok_or(std::io::ErrorKind::NotFound)?.index;
            let address = Address { link, address: plan.ip, prefix: endpoint.prefix };
            let mut requests = vec![Request::add_address(address), Request::raise(link)];
            // The first interface has the way out.
            if plan.interface == "eth0" {
                requests.extend(plan.gateway.map(|gw| Request::add_default_route(link, gw)));
            }
            route.execute(requests)
        };
        namespace.with_route(configure).context(|| format!("configure {}", plan.interface))
    }

    /// Names the owner of a host interface: the bridge, hence the daemon, and the endpoint.
    pub(crate) fn port_alias(&self, endpoint: &Endpoint) -> String {
        format!("{}{}", self.port_alias_prefix(), endpoint.id)
    }

    pub(crate) fn port_alias_prefix(&self) -> String {
        format!("teu:{}:", self.config.bridge_name)
    }

    pub(crate) fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut kernel = lock(&self.kernel);
        let added =
            rules::change_ports(&mut kernel.nftables, &self.table, ElementChange::Add, endpoint);
        if let Err(error) = added {
            // Somebody changed the table: put it right as a whole.
            tracing::debug!(%error, table = self.table, "replacing the rules");
            self.apply_rules(&mut kernel)?;
        }
        self.reaper.forget(StaleFlows::before(endpoint));
        Ok(())
    }

    /// Removes everything of an endpoint; each part may be gone already.
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    pub(crate) fn remove_endpoint(&self, endpoint: &Endpoint, interface: Interface) -> Result<()> {
        let mut result = self.withdraw(endpoint);
        if let Some(name) = &endpoint.host_interface {
            let request = match interface {
                Interface::Delete => Request::delete_link(name),
                Interface::CutOff => Request::silence_port(name),
            };
            let removed = match lock(&self.kernel).route.execute([request]) {
                // Somebody took it out of its bridge: it is cut off.
                Err(error)
                    if interface == Interface::CutOff
                        && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
                {
                    Ok(())
                }
                removed => gone(removed),
            };
            result = result.and(removed.context(|| format!("remove interface {name}")));
        }
        lock(&self.claims).release(&endpoint.id, &endpoint.ports);
        result = result.and(self.store.remove_endpoint(&endpoint.id));
        // Last: only now may somebody else have the address.
        lock(&self.state).endpoints.remove(&endpoint.id);
        result
    }

    fn withdraw(&self, endpoint: &Endpoint) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut kernel = lock(&self.kernel);
        // Not among those that a replacement of the rules publishes.
        if let Some(known) = lock(&self.state).endpoints.get_mut(&endpoint.id) {
            known.ports.clear();
        }
        let removed =
            rules::change_ports(&mut kernel.nftables, &self.table, ElementChange::Delete, endpoint);
        let removed = removed.or_else(|_| self.apply_rules(&mut kernel));
        self.reaper.forget(StaleFlows::after(endpoint));
        removed
    }

    pub(crate) fn apply_rules(&self, kernel: &mut Kernel) -> Result<()> {
        if !self.config.has_bridge() {
            return Ok(());
        }
        let (bridges, endpoints) = self.expected_rules();
        rules::apply(&mut kernel.nftables, &self.table, &bridges, &endpoints)
            .context(|| format!("write nftables table inet {}", self.table))
    }

    pub(crate) fn expected_rules(&self) -> (Vec<BridgeRules>, Vec<Endpoint>) {
        let state = lock(&self.state);
        let bridge = |record: &NetworkRecord| {
            Some(BridgeRules {
                interface: record.interface.clone()?,
                subnet: record.ipam.first()?.subnet,
                masquerade: self.config.ip_masquerade,
                icc: self.config.icc,
            })
        };
        let bridges = state.networks.values().filter_map(bridge).collect();
        (bridges, state.endpoints.values().cloned().collect())
    }

    /// Makes every network's bridge what it should be; answers whether one had to be changed.
    pub(crate) fn ensure_bridges(&self, kernel: &mut Kernel) -> Result<()> {
        let records: Vec<_> = lock(&self.state).networks.values().cloned().collect();
        for record in &records {
            if let (Some(interface), Some(ipam)) = (&record.interface, record.ipam.first()) {
                bridge::ensure(&mut kernel.route, &self.config, interface, ipam)?;
            }
        }
        Ok(())
    }

    pub(crate) fn bridge_of(&self, endpoint: &Endpoint) -> Result<String> {
        let state = lock(&self.state);
        let record = state.networks.get(&endpoint.network_id);
        record
            .and_then(|record| record.interface.clone())
            .ok_or_else(|| Error::NetworkNotFound(endpoint.network_name.clone()))
    }
}

/// What becomes of the host's end of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// It is gone when the call returns.
    Delete,
    /// Nothing is sent to it any more when the call returns; the reaper deletes it.
    CutOff,
}

/// An endpoint that has an interface.
struct Attachment<'a> {
    interface: &'a str,
    host_interface: &'a str,
    ip: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    mac: MacAddress,
}

impl<'a> Attachment<'a> {
    fn of(endpoint: &'a Endpoint) -> Option<Self> {
        Some(Self {
            interface: endpoint.interface.as_deref()?,
            host_interface: endpoint.host_interface.as_deref()?,
            ip: endpoint.ip?,
            gateway: endpoint.gateway,
            mac: endpoint.mac?,
        })
    }
}

pub(crate) fn claimant(endpoint: &Endpoint) -> Claimant<'_> {
    Claimant { container_id: &endpoint.container_id, endpoint_id: &endpoint.id }
}
