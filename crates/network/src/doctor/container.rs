//! One container: its interfaces, its way out, its published ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linux::netlink::{Family, Link, RouteEntry};

use super::Finding;
use super::listeners::{Listener, listeners};
use crate::endpoint::Endpoint;
use crate::error::PortOwner;
use crate::network::{Network, lock};
use crate::port::{PortBinding, Protocol};
use crate::{gateway, owner};

/// The container's side, as the kernel has it.
#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<(u32, IpAddr)>,
    pub(super) routes: Vec<RouteEntry>,
    pub(super) listeners: Vec<Listener>,
}

impl Network {
    /// What concerns one running container with a network of its own, whose first process is
    /// `pid`.
    pub fn examine_container(&self, container_id: &str, name: &str, pid: u32) -> Vec<Finding> {
        let about = format!("container {name}");
        let endpoints = self.endpoints(container_id);
        if endpoints.is_empty() {
            let text = "is connected to no network: it reaches itself alone";
            return vec![Finding::note(&about, text)];
        }
        let host = lock(&self.inner.kernel).route.links();
        let inside = self.look_inside(container_id, pid);
        let (host, inside) = match (host, inside) {
            (Ok(host), Ok(inside)) => (host, inside),
            (Err(error), _) | (_, Err(error)) => {
                let text = format!("its interfaces cannot be read: {error}");
                return vec![Finding::problem(&about, text, "restart the container")];
            }
        };
        let mut findings = Vec::new();
        for endpoint in &endpoints {
            let record = self.inner.record_of(endpoint).ok();
            let bridge = record.and_then(|record| record.interface).unwrap_or_default();
            findings.extend(wire(&about, endpoint, &bridge, &host));
            findings.extend(interface(&about, endpoint, &inside, pid));
        }
        for family in Family::BOTH {
            findings.extend(way_out(&about, &endpoints, family, &inside, pid));
        }
        for endpoint in &endpoints {
            findings.extend(self.ports(&about, endpoint, &inside));
        }
        findings
    }

    fn look_inside(&self, container_id: &str, pid: u32) -> std::io::Result<Inside> {
        let namespace = self
            .inner
            .sandboxes
            .namespace(container_id)
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut inside = namespace.with_route(|route| {
            let mut inside = Inside { links: route.links()?, ..Inside::default() };
            for family in Family::BOTH {
                let addresses = route.addresses(family)?;
                inside.addresses.extend(addresses.iter().map(|it| (it.link, it.address)));
                inside.routes.extend(route.routes(family)?);
            }
            Ok(inside)
        })?;
        inside.listeners = listeners(pid);
        Ok(inside)
    }

    fn ports(&self, about: &str, endpoint: &Endpoint, inside: &Inside) -> Vec<Finding> {
        let mut by_port: BTreeMap<(u16, Protocol), Vec<PortBinding>> = BTreeMap::new();
        for port in endpoint.ports.iter().filter(|port| port.host_port != 0) {
            by_port.entry((port.container_port, port.protocol)).or_default().push(*port);
        }
        let mut findings = Vec::new();
        for ((port, protocol), bindings) in by_port {
            findings.push(listening(about, port, protocol, &bindings, &inside.listeners));
            for binding in bindings {
                findings.extend(self.shadowed(about, endpoint, binding));
            }
        }
        findings
    }

    /// A process of the host that has the published port as well, and does not get its packets.
    fn shadowed(&self, about: &str, endpoint: &Endpoint, binding: PortBinding) -> Option<Finding> {
        if lock(&self.inner.claims).is_held(&endpoint.container_id, &binding) {
            return None;
        }
        let owner = owner::find(binding.protocol, binding.host_ip, binding.host_port);
        let PortOwner::Process { name, pid } = owner else {
            return None;
        };
        if pid == std::process::id() {
            return None;
        }
        let (port, protocol) = (binding.host_port, binding.protocol);
        let text = format!(
            "host port {port}/{protocol} is also bound by process {name}, pid {pid}, which does \
             not get its packets: they go to the container"
        );
        let remedy = format!("stop {name}, or publish another port");
        Some(Finding::problem(about, text, remedy))
    }
}

/// The host's end of the wire.
pub(super) fn wire(
    about: &str,
    endpoint: &Endpoint,
    bridge: &str,
    host: &[Link],
) -> Option<Finding> {
    let name = endpoint.host_interface.as_deref()?;
    let network = &endpoint.network_name;
    let again = format!("teu network disconnect {network} CONTAINER, then connect it again");
    let Some(link) = host.iter().find(|link| link.name == name) else {
        let text = format!("its link {name} to network {network} is missing");
        return Some(Finding::problem(about, text, again));
    };
    if !link.is_up {
        let text = format!("its link {name} to network {network} is down");
        return Some(Finding::problem(about, text, format!("ip link set {name} up")));
    }
    let master = host.iter().find(|link| link.name == bridge).map(|link| link.index);
    if master.is_some() && link.master != master {
        let text = format!("its link {name} is not a port of {bridge}, network {network}'s bridge");
        let remedy = format!("ip link set {name} master {bridge}");
        return Some(Finding::problem(about, text, remedy));
    }
    None
}

/// The container's end.
pub(super) fn interface(
    about: &str,
    endpoint: &Endpoint,
    inside: &Inside,
    pid: u32,
) -> Vec<Finding> {
    let Some(name) = endpoint.interface.as_deref() else { return Vec::new() };
    let network = &endpoint.network_name;
    let Some(link) = inside.links.iter().find(|link| link.name == name) else {
        let text = format!("its interface {name} in network {network} is missing");
        let remedy = format!("teu network disconnect {network} CONTAINER, then connect it again");
        return vec![Finding::problem(about, text, remedy)];
    };
    let mut findings = Vec::new();
    if !link.is_up {
        let text = format!("its interface {name} in network {network} is down");
        let remedy = format!("nsenter -t {pid} -n ip link set {name} up");
        findings.push(Finding::problem(about, text, remedy));
    }
    let expected = [
        (endpoint.address(Family::V4), endpoint.prefix),
        (endpoint.address(Family::V6), endpoint.prefix6),
    ];
    let mut has = Vec::new();
    for (address, prefix) in expected {
        let Some(address) = address else { continue };
        has.push(address.to_string());
        if !inside.addresses.contains(&(link.index, address)) {
            let text = format!("its interface {name} has lost the address {address}");
            let remedy =
                format!("nsenter -t {pid} -n ip address add {address}/{prefix} dev {name}");
            findings.push(Finding::problem(about, text, remedy));
        }
    }
    if findings.is_empty() {
        let has = has.join(" and ");
        findings.push(Finding::good(about, format!("{name} in network {network} has {has}")));
    }
    findings
}

/// The default route.
pub(super) fn way_out(
    about: &str,
    endpoints: &[Endpoint],
    family: Family,
    inside: &Inside,
    pid: u32,
) -> Option<Finding> {
    let Some(endpoint) = gateway::elect(endpoints, family) else {
        let has_address = endpoints.iter().any(|endpoint| endpoint.address(family).is_some());
        let text = "has no way out: its networks are internal, or have no gateway";
        return (has_address && family == Family::V4).then(|| Finding::note(about, text));
    };
    let gateway = endpoint.gateway_of(family)?;
    let mut defaults = inside.routes.iter().filter(|route| {
        route.prefix == 0 && Family::of(route.destination) == family && route.gateway.is_some()
    });
    if defaults.clone().any(|route| route.gateway == Some(gateway)) {
        let text = format!("its way out is {gateway}, in network {}", endpoint.network_name);
        return Some(Finding::good(about, text));
    }
    let text = match defaults.next().and_then(|route| route.gateway) {
        Some(other) => format!("its default route goes to {other} instead of {gateway}"),
        None => format!("its default route is missing: it reaches nothing but {}", {
            let names: Vec<_> = endpoints.iter().map(|it| it.network_name.as_str()).collect();
            names.join(", ")
        }),
    };
    let flag = if family == Family::V6 { " -6" } else { "" };
    let remedy = format!("nsenter -t {pid} -n ip{flag} route replace default via {gateway}");
    Some(Finding::problem(about, text, remedy))
}

/// Whether somebody in the container waits for what is sent to a published port.
pub(super) fn listening(
    about: &str,
    port: u16,
    protocol: Protocol,
    bindings: &[PortBinding],
    listeners: &[Listener],
) -> Finding {
    let hosts: Vec<_> = bindings.iter().map(|it| it.host_port.to_string()).collect();
    let mut hosts = hosts;
    hosts.dedup();
    let published = format!("{port}/{protocol}, published as {}", hosts.join(", "));
    if protocol == Protocol::Sctp {
        return Finding::note(about, format!("who listens on {published}, is not looked at"));
    }
    let on_port = || listeners.iter().filter(|it| it.port == port && it.protocol == protocol);
    if on_port().any(|it| !it.address.is_loopback()) {
        return Finding::good(about, format!("somebody in it listens on {published}"));
    }
    if on_port().next().is_some() {
        let text = format!("its program listens on {published}, but at 127.0.0.1 alone");
        let remedy = "let the program listen on 0.0.0.0: the container's loopback is its own";
        return Finding::problem(about, text, remedy);
    }
    let text = format!("nobody in it listens on {published}");
    let mut ports: Vec<_> = listeners.iter().filter(|it| it.protocol == protocol).collect();
    ports.sort_by_key(|it| it.port);
    let ports: Vec<_> = ports.iter().map(|it| it.port.to_string()).collect();
    let remedy = if ports.is_empty() {
        "see in the container's log why its program does not listen".to_owned()
    } else {
        format!("publish a port that it listens on: {}", ports.join(", "))
    };
    Finding::problem(about, text, remedy)
}
