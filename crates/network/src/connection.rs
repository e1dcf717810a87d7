//! One endpoint's way into the kernel and out of it again.
//!
//! ```text
//! reserve addresses -> write record -> claim ports -> veth pair -> publish, default route -> names
//! names <- withdraw ports <- cut off, delete veth <- release ports <- remove record <- addresses
//! ```
//! Every step of the way out may find its work done already; so it is at once the undo of a
//! connection that failed half-way, the teardown, and the recovery from a crash at any point.

use std::collections::BTreeSet;
use std::net::IpAddr;

use linux::netlink::{Address, Family, Macvlan, MacvlanMode, Request, Route, Veth};
use rustix::io::Errno;

use crate::endpoint::{Endpoint, EndpointRequest, MacAddress};
use crate::error::{Context as _, Error, Result};
use crate::macvlan::MacvlanOptions;
use crate::network::{Inner, Kernel, lock};
use crate::options::{BridgeOptions, EndpointOptions, GatewayMode};
use crate::reaper::{StaleFlows, gone};
use crate::record::{Driver, IpamConfig, NetworkRecord};
use crate::rules::{self, BridgeRules, SubnetRules};
use crate::sandbox::Namespace;
use crate::state::new_id;
use crate::{bridge, ipam, macvlan, overlay, predefined};

/// Prefix lengths of further addresses, as Docker gives them.
const LINK_LOCAL_PREFIX: u8 = 16;
const LINK_LOCAL_PREFIX6: u8 = 64;

impl Inner {
    /// Enters the endpoint with its address, so that nobody else gets it.
    pub(crate) fn reserve(
        &self,
        container_id: &str,
        record: &NetworkRecord,
        request: &EndpointRequest,
    ) -> Result<Endpoint> {
        let mut state = lock(&self.state);
        if !state.networks.contains_key(&record.id) {
            // Removed since it was looked up.
            return Err(Error::NetworkNotFound(record.name.clone()));
        }
        let options = self.bridge_options(record);
        let wishes = EndpointOptions::parse(&request.options)?;
        let mut endpoint = Endpoint {
            id: new_id(),
            network_id: record.id.clone(),
            network_name: record.name.clone(),
            container_id: container_id.to_owned(),
            container_name: request.container_name.clone(),
            hostname: request.hostname.clone(),
            aliases: request.aliases.clone(),
            links: request.links.clone(),
            gw_priority: request.gw_priority,
            link_local: request.link_local.clone(),
            sysctls: wishes.sysctls,
            is_swarm: record.is_swarm(),
            ..Endpoint::default()
        };
        if state.has_endpoint(&record.id, container_id) {
            let container = request.container_name.clone();
            return Err(Error::AlreadyConnected { container, network: record.name.clone() });
        }
        if matches!(record.driver, Driver::Bridge | Driver::Macvlan | Driver::Overlay) {
            let used = state.addresses(&record.id);
            assign_addresses(&mut endpoint, record, &options, request, &used)?;
            let interface = match wishes.interface {
                Some(name) if state.has_interface(container_id, &name) => {
                    return Err(Error::Invalid(format!(
                        "the container has an interface {name} already"
                    )));
                }
                Some(name) => name,
                None => state.free_interface(container_id, &options.interface_prefix),
            };
            endpoint.interface = Some(interface);
        }
        if matches!(record.driver, Driver::Bridge | Driver::Overlay) {
            endpoint.port_requests.clone_from(&request.ports);
            if record.is_predefined() {
                endpoint.reaches.clone_from(&request.reaches);
                endpoint.open_to_links.clone_from(&request.open_to_links);
            }
            endpoint.host_interface = Some(format!("veth{}", &endpoint.id[..7]));
        }
        state.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        Ok(endpoint)
    }

    /// Makes the container's interface and configures it.
    pub(crate) fn attach(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(plan) = Attachment::of(endpoint) else { return Ok(()) };
        let namespace = self.sandboxes.namespace(&endpoint.container_id)?;
        let record = self.record_of(endpoint)?;
        match record.driver {
            Driver::Macvlan => self.make_macvlan(&record, &plan, &namespace)?,
            _ => self.make_veth(&record, endpoint, &plan, &namespace)?,
        }
        let action = || format!("configure {}", plan.interface);
        if endpoint.ip6.is_some() || has_ipv6(&plan.addresses) || !endpoint.sysctls.is_empty() {
            linux::namespace::in_namespace(namespace.fd(), || {
                set_sysctls(plan.interface, endpoint)
            })
            .context(action)??;
        }
        let configure = |route: &mut Route| {
            let link = route.link(plan.interface)?.ok_or(std::io::ErrorKind::NotFound)?.index;
            let mut requests: Vec<Request> = plan
                .addresses
                .iter()
                .map(|(address, prefix)| Address { link, address: *address, prefix: *prefix })
                .map(Request::add_address)
                .collect();
            requests.push(Request::raise(link));
            route.execute(requests)
        };
        namespace.with_route(configure).context(action)
    }

    fn make_veth(
        &self,
        record: &NetworkRecord,
        endpoint: &Endpoint,
        plan: &Attachment<'_>,
        namespace: &Namespace,
    ) -> Result<()> {
        let Some(host_interface) = endpoint.host_interface.as_deref() else { return Ok(()) };
        let options = self.bridge_options(record);
        let bridge = record.interface.clone().unwrap_or_default();
        let mut kernel = lock(&self.kernel);
        let action = || format!("create interface {host_interface}");
        let master = match kernel.route.link(&bridge).context(action)? {
            Some(link) => link.index,
            None => return Err(Error::BridgeMissing(bridge)),
        };
        let veth = Veth {
            name: host_interface,
            master,
            mtu: options.mtu.unwrap_or(self.config.mtu),
            peer_name: plan.interface,
            peer_mac: plan.mac.0,
            peer_namespace: namespace.fd(),
        };
        let mut requests = vec![Request::create_veth(&veth)];
        if bridge::isolates_ports(&options) {
            requests.push(Request::isolate_port(host_interface, true));
        }
        requests.push(Request::raise_port(host_interface, &self.port_alias(endpoint)));
        kernel.route.execute(requests).context(action)?;
        if let Some(bytes) = options.segment_limit_bytes {
            // The bridge takes what all of its ports do, and has none before the first.
            let limit = |name: &str| Request::set_segment_limit(name, bytes);
            let host = kernel.route.execute([limit(host_interface), limit(&bridge)]);
            let inside = namespace.with_route(|route| route.execute([limit(plan.interface)]));
            if let Err(error) = host.and(inside) {
                // Slower than it could be, and right.
                tracing::warn!(network = record.name, %error, "large segments are refused");
            }
        }
        Ok(())
    }

    fn make_macvlan(
        &self,
        record: &NetworkRecord,
        plan: &Attachment<'_>,
        namespace: &Namespace,
    ) -> Result<()> {
        let options = MacvlanOptions::parse(&record.options)?;
        let parent = macvlan::parent_of(record);
        let mut kernel = lock(&self.kernel);
        let action = || format!("create interface {} on {parent}", plan.interface);
        let link = kernel.route.link(&parent).context(action)?.ok_or_else(|| {
            Error::Invalid(format!(
                "cannot {}: interface {parent}, parent of network {}, is gone from this host",
                action(),
                record.name
            ))
        })?;
        let request = Request::create_macvlan(&Macvlan {
            name: plan.interface,
            parent: link.index,
            mode: options.mode,
            mac: (options.mode != MacvlanMode::Passthru).then_some(plan.mac.0),
            mtu: options.common.mtu,
            namespace: namespace.fd(),
        });
        let made = kernel.route.execute([request]);
        made.map_err(|error| macvlan::lacks(error, action(), "macvlan", "CONFIG_MACVLAN"))
    }

    /// Names the owner of a host interface: the bridge, hence the daemon, and the endpoint.
    pub(crate) fn port_alias(&self, endpoint: &Endpoint) -> String {
        format!("{}{}", self.port_alias_prefix(), endpoint.id)
    }

    pub(crate) fn port_alias_prefix(&self) -> String {
        format!("teu:{}:", self.identity)
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
        } else if let Some(name) = &endpoint.interface
            && let Ok(namespace) = self.sandboxes.namespace(&endpoint.container_id)
        {
            // Without a host's end it has to be taken from the container's side.
            let removed =
                namespace.with_route(|route| gone(route.execute([Request::delete_link(name)])));
            result = result.and(removed.context(|| format!("remove interface {name}")));
        }
        lock(&self.claims).release(&endpoint.container_id, &endpoint.ports);
        result = result.and(self.store.remove_endpoint(&endpoint.id));
        // Last: only now may somebody else have the address.
        lock(&self.state).endpoints.remove(&endpoint.id);
        if endpoint.is_swarm {
            let mut kernel = lock(&self.kernel);
            result = result.and(self.leave_unused(&mut kernel, &endpoint.network_id));
        }
        result = result.and(self.follow_links(endpoint));
        result.and(self.write_names(&endpoint.network_id))
    }

    /// Opens what links open, and closes what they no longer do, after an endpoint has come or gone.
    pub(crate) fn follow_links(&self, endpoint: &Endpoint) -> Result<()> {
        let concerned = !endpoint.reaches.is_empty()
            || !endpoint.open_to_links.is_empty() && {
                let state = lock(&self.state);
                state.endpoints.values().any(|other| other.reaches.contains(&endpoint.container_id))
            };
        if !concerned {
            return Ok(());
        }
        let mut kernel = lock(&self.kernel);
        let endpoints: Vec<Endpoint> = lock(&self.state).endpoints.values().cloned().collect();
        rules::apply_links(&mut kernel.nftables, &self.table, &endpoints)
            .or_else(|_| self.apply_rules(&mut kernel))
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
        let withdrawn = std::slice::from_ref(endpoint);
        let removed = rules::change_ports(&mut kernel.nftables, &self.table, withdrawn, &[]);
        let removed = removed.or_else(|_| self.apply_rules(&mut kernel));
        self.reaper.forget(StaleFlows::after(endpoint));
        removed
    }

    pub(crate) fn apply_rules(&self, kernel: &mut Kernel) -> Result<()> {
        let (bridges, endpoints) = self.expected_rules();
        if bridges.is_empty() && !self.config.has_bridge() {
            // Nothing is left of the last network of a daemon that has no bridge of its own.
            return rules::remove(&mut kernel.nftables, &self.table)
                .context(|| format!("delete nftables table inet {}", self.table));
        }
        rules::apply(&mut kernel.nftables, &self.table, &bridges, &endpoints)
            .context(|| format!("write nftables table inet {}", self.table))
    }

    /// As [`Self::apply_rules`], where networks have come or gone but no ports.
    pub(crate) fn apply_bridge_rules(&self, kernel: &mut Kernel) -> Result<()> {
        let (bridges, _) = self.expected_rules();
        if bridges.is_empty() {
            return self.apply_rules(kernel);
        }
        rules::apply_bridges(&mut kernel.nftables, &self.table, &bridges)
            .or_else(|_| self.apply_rules(kernel).map_err(std::io::Error::other))
            .context(|| format!("write nftables table inet {}", self.table))
    }

    pub(crate) fn expected_rules(&self) -> (Vec<BridgeRules>, Vec<Endpoint>) {
        let state = lock(&self.state);
        let bridges = state.networks.values().filter_map(|record| self.bridge_rules(record));
        (bridges.collect(), state.endpoints.values().cloned().collect())
    }

    fn bridge_rules(&self, record: &NetworkRecord) -> Option<BridgeRules> {
        let options = self.bridge_options(record);
        let subnet = |ipam: &IpamConfig| {
            let mode = options.mode(ipam.subnet.family());
            let translates = matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected);
            SubnetRules {
                range: ipam.subnet,
                masquerade: options.masquerade && translates && !record.internal,
                open: mode == GatewayMode::NatUnprotected && !record.internal,
                routed: mode == GatewayMode::Routed && !record.internal,
            }
        };
        // Nothing of the host's leads into an overlay, nor out of it.
        let is_swarm = record.is_swarm();
        let subnets = record.ipam.iter().filter(|_| !is_swarm);
        Some(BridgeRules {
            interface: record.interface.clone()?,
            subnets: subnets.map(subnet).collect(),
            icc: options.icc,
            internal: record.internal || is_swarm,
            trusted: options.trusted_interfaces.clone(),
        })
    }

    /// The options of a network that exists: they were checked when it was created.
    pub(crate) fn bridge_options(&self, record: &NetworkRecord) -> BridgeOptions {
        if record.is_predefined() {
            return predefined::default_bridge(&self.config);
        }
        if record.driver == Driver::Macvlan
            && let Ok(options) = MacvlanOptions::parse(&record.options)
        {
            return options.common;
        }
        if let Some(overlay) = &record.overlay
            && let Ok(options) = overlay::parse_options(&record.options)
        {
            let mtu = overlay.part.as_ref().map(|part| part.mtu).or(options.mtu);
            return BridgeOptions { mtu, ..options };
        }
        BridgeOptions::parse(&record.options).unwrap_or_else(|error| {
            tracing::warn!(network = record.name, %error, "network has options of another version");
            predefined::default_bridge(&self.config)
        })
    }

    /// Makes every network's bridge what it should be.
    pub(crate) fn ensure_bridges(&self, kernel: &mut Kernel) -> Result<()> {
        let records: Vec<_> = lock(&self.state).networks.values().cloned().collect();
        let mut result = Ok(());
        for record in &records {
            let ensured = self.ensure_bridge(kernel, record);
            // The default bridge is what a daemon cannot be without; another network's trouble is
            // that network's.
            if record.is_predefined() {
                result = result.and(ensured);
            } else if let Err(error) = ensured {
                tracing::error!(network = record.name, %error, "cannot restore a network");
            }
        }
        result
    }

    pub(crate) fn ensure_bridge(&self, kernel: &mut Kernel, record: &NetworkRecord) -> Result<()> {
        match bridge::Plan::of(record, &self.bridge_options(record), &self.config) {
            Some(plan) => bridge::ensure(&mut kernel.route, &self.config, &plan)
                .and_then(|()| self.ensure_vxlan(kernel, record)),
            None if record.driver == Driver::Macvlan => {
                macvlan::ensure_parent(&mut kernel.route, &self.config, record)
            }
            None => Ok(()),
        }
    }

    pub(crate) fn record_of(&self, endpoint: &Endpoint) -> Result<NetworkRecord> {
        let state = lock(&self.state);
        let record = state.networks.get(&endpoint.network_id).cloned();
        record.ok_or_else(|| Error::NetworkNotFound(endpoint.network_name.clone()))
    }
}

/// Chooses the endpoint's addresses, of each family that the network has.
fn assign_addresses(
    endpoint: &mut Endpoint,
    record: &NetworkRecord,
    options: &BridgeOptions,
    request: &EndpointRequest,
    used: &BTreeSet<IpAddr>,
) -> Result<()> {
    let has_gateway = |family| !record.internal && options.mode(family) != GatewayMode::Isolated;
    let wish = request.ip.map(IpAddr::V4);
    match record.subnet(Family::V4) {
        Some(ipam) => {
            let IpAddr::V4(ip) = choose(record, ipam, wish, request, used)? else {
                return Err(Error::AddressOutside(ipam.subnet.address()));
            };
            endpoint.ip = Some(ip);
            endpoint.prefix = ipam.subnet.prefix();
            endpoint.gateway = match ipam.gateway {
                Some(IpAddr::V4(gateway)) if has_gateway(Family::V4) => Some(gateway),
                _ => None,
            };
        }
        None => refuse(wish)?,
    }
    let wish = request.ip6.map(IpAddr::V6);
    if let (Some(ip), true) = (wish, request.without_ipv6) {
        return Err(Error::Invalid(format!(
            "the container cannot have the address {ip}: it has IPv6 turned off by the sysctl \
             net.ipv6.conf.all.disable_ipv6"
        )));
    }
    match record.subnet(Family::V6).filter(|_| !request.without_ipv6) {
        Some(ipam) => {
            let IpAddr::V6(ip) = choose(record, ipam, wish, request, used)? else {
                return Err(Error::AddressOutside(ipam.subnet.address()));
            };
            endpoint.ip6 = Some(ip);
            endpoint.prefix6 = ipam.subnet.prefix();
            endpoint.gateway6 = match ipam.gateway {
                Some(IpAddr::V6(gateway)) if has_gateway(Family::V6) => Some(gateway),
                _ => None,
            };
        }
        None => refuse(wish)?,
    }
    let derived = match (endpoint.ip, endpoint.ip6) {
        (Some(ip), _) => MacAddress::from_ip(ip),
        (None, Some(ip)) => MacAddress::from_ip6(ip),
        (None, None) => MacAddress::from_id(&endpoint.id),
    };
    endpoint.mac = Some(request.mac.unwrap_or(derived));
    Ok(())
}

fn refuse(wish: Option<IpAddr>) -> Result<()> {
    wish.map_or(Ok(()), |ip| Err(Error::AddressOutside(ip)))
}

fn choose(
    record: &NetworkRecord,
    ipam: &IpamConfig,
    wish: Option<IpAddr>,
    request: &EndpointRequest,
    used: &BTreeSet<IpAddr>,
) -> Result<IpAddr> {
    match wish {
        Some(ip) if !ipam.subnet.contains(ip) => Err(Error::AddressOutside(ip)),
        Some(ip) if used.contains(&ip) || !ipam::is_assignable(ipam, ip) => {
            Err(Error::AddressInUse(ip))
        }
        Some(ip) => Ok(ip),
        None => {
            let taken: BTreeSet<IpAddr> = used.union(&request.reserved).copied().collect();
            ipam::lowest_free(ipam, &taken).ok_or_else(|| Error::AddressesExhausted {
                network: record.name.clone(),
                subnet: ipam.ip_range.unwrap_or(ipam.subnet).to_string(),
            })
        }
    }
}

fn has_ipv6(addresses: &[(IpAddr, u8)]) -> bool {
    addresses.iter().any(|(address, _)| address.is_ipv6())
}

/// Runs in the container's namespace. The interface is there, and down.
fn set_sysctls(interface: &str, endpoint: &Endpoint) -> Result<()> {
    let set = |name: &str, value: &str| {
        let path = format!("/proc/sys/{name}");
        std::fs::write(&path, value).context(|| format!("set {path} to {value}"))
    };
    let link_local = endpoint.link_local.iter().any(IpAddr::is_ipv6);
    if endpoint.ip6.is_some() || link_local {
        set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    }
    for (name, value) in &endpoint.sysctls {
        set(&name.replace("IFNAME", interface), value)?;
    }
    Ok(())
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
    addresses: Vec<(IpAddr, u8)>,
    mac: MacAddress,
}

impl<'a> Attachment<'a> {
    fn of(endpoint: &'a Endpoint) -> Option<Self> {
        let own = endpoint.ip.map(|ip| (IpAddr::V4(ip), endpoint.prefix));
        let own6 = endpoint.ip6.map(|ip| (IpAddr::V6(ip), endpoint.prefix6));
        let link_local = endpoint
            .link_local
            .iter()
            .map(|ip| (*ip, if ip.is_ipv4() { LINK_LOCAL_PREFIX } else { LINK_LOCAL_PREFIX6 }));
        Some(Self {
            interface: endpoint.interface.as_deref()?,
            addresses: own.into_iter().chain(own6).chain(link_local).collect(),
            mac: endpoint.mac?,
        })
    }
}
