//! Endpoints and published ports both ways.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use docker_api::models::exact;
use engine::container::{ContainerRecord, EndpointSettings, PublishedPort};

use crate::error::{ApiError, ApiResult};

/// The network whose endpoint the top level of `NetworkSettings` repeats.
const DEFAULT_NETWORK: &str = "bridge";

/// Reads what a client asks of an endpoint; what the endpoint has is ours to say.
pub(crate) fn endpoint_request(wire: exact::EndpointSettings) -> ApiResult<EndpointSettings> {
    let ipam = wire.ipam_config.unwrap_or_default();
    Ok(EndpointSettings {
        ipv4_address: address::<Ipv4Addr>(&ipam.ipv4_address, "IPv4")?.map(IpAddr::from),
        ipv6_address: address::<Ipv6Addr>(&ipam.ipv6_address, "IPv6")?.map(IpAddr::from),
        link_local_ips: ipam
            .link_local_ips
            .iter()
            .filter_map(|ip| address(ip, "link-local IP").transpose())
            .collect::<ApiResult<_>>()?,
        mac_address: Some(wire.mac_address).filter(|mac| !mac.is_empty()),
        aliases: wire.aliases.unwrap_or_default(),
        links: wire.links.unwrap_or_default(),
        driver_opts: wire.driver_opts.unwrap_or_default(),
        gw_priority: wire.gw_priority,
        ..EndpointSettings::default()
    })
}

fn address<Address: FromStr>(text: &str, kind: &str) -> ApiResult<Option<Address>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed =
        text.parse().map_err(|_| ApiError::invalid(format!("invalid {kind} address: {text}")))?;
    Ok(Some(parsed))
}

/// `NetworkSettings` of an inspect.
pub(super) fn settings(record: &ContainerRecord) -> exact::NetworkSettings {
    let networks = endpoints(record);
    let default = networks.get(DEFAULT_NETWORK).cloned().unwrap_or_default();
    let runs = record.state.status.has_process();
    exact::NetworkSettings {
        sandbox_id: if runs { record.id.to_string() } else { String::new() },
        sandbox_key: if runs {
            format!("/proc/{}/ns/net", record.state.pid)
        } else {
            String::new()
        },
        ports: if runs { ports(record) } else { BTreeMap::new() },
        endpoint_id: default.endpoint_id,
        gateway: default.gateway,
        global_ipv6_address: default.global_ipv6_address,
        global_ipv6_prefix_len: default.global_ipv6_prefix_len,
        ipv6_gateway: default.ipv6_gateway,
        ip_address: default.ip_address,
        ip_prefix_len: default.ip_prefix_len,
        mac_address: default.mac_address,
        networks,
        ..exact::NetworkSettings::default()
    }
}

/// The endpoints by network name.
pub(super) fn endpoints(record: &ContainerRecord) -> BTreeMap<String, exact::EndpointSettings> {
    let endpoints = record.networks.iter();
    endpoints
        .map(|(name, endpoint)| (name.clone(), endpoint_to_wire(record, name, endpoint)))
        .collect()
}

fn endpoint_to_wire(
    record: &ContainerRecord,
    name: &str,
    endpoint: &EndpointSettings,
) -> exact::EndpointSettings {
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let ipam = exact::EndpointIpam {
        ipv4_address: text(endpoint.ipv4_address),
        ipv6_address: text(endpoint.ipv6_address),
        link_local_ips: endpoint.link_local_ips.iter().map(IpAddr::to_string).collect(),
    };
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let mut wire = exact::EndpointSettings {
        ipam_config: Some(ipam).filter(|ipam| *ipam != exact::EndpointIpam::default()),
        links: list(&endpoint.links),
        aliases: list(&endpoint.aliases),
        driver_opts: Some(endpoint.driver_opts.clone()).filter(|opts| !opts.is_empty()),
        gw_priority: endpoint.gw_priority,
        mac_address: endpoint.mac_address.clone().unwrap_or_default(),
        network_id: endpoint.network_id.clone(),
        ..exact::EndpointSettings::default()
    };
    if let Some(live) = &endpoint.live {
        wire.endpoint_id.clone_from(&live.endpoint_id);
        wire.gateway = text(live.gateway);
        wire.ip_address = text(live.ip_address);
        wire.ip_prefix_len = live.ip_prefix_len.into();
        wire.ipv6_gateway = text(live.gateway6);
        wire.global_ipv6_address = text(live.ip6_address);
        wire.global_ipv6_prefix_len = live.ip6_prefix_len.into();
        wire.mac_address.clone_from(&live.mac_address);
    }
    if !matches!(name, "bridge" | "host" | "none") {
        wire.dns_names = Some(names(record, endpoint));
    }
    wire
}

/// The link address that was asked for, for the container or its first network; else empty.
pub(super) fn asked_mac(record: &ContainerRecord) -> String {
    let main = record.host_config.network_mode.network_name().unwrap_or_default();
    let is_main = |(name, endpoint): &(&String, &EndpointSettings)| {
        *name == main || (!main.is_empty() && endpoint.network_id.starts_with(main))
    };
    let of_network = record.networks.iter().find(is_main).map(|(_, endpoint)| endpoint);
    let asked = of_network.and_then(|endpoint| endpoint.mac_address.clone());
    asked.or_else(|| record.config.mac_address.clone()).unwrap_or_default()
}

/// What neighbours on the network call the container.
fn names(record: &ContainerRecord, endpoint: &EndpointSettings) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    names.extend(endpoint.aliases.iter().cloned());
    names.extend([record.id.short().to_owned(), record.config.hostname.clone()]);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Whether the container is in a network that gives it an interface.
pub(super) fn has_interfaces(record: &ContainerRecord) -> bool {
    record.networks.keys().any(|name| !matches!(name.as_str(), "host" | "none"))
}

/// Published ports of all endpoints.
pub(super) fn published(record: &ContainerRecord) -> impl Iterator<Item = &PublishedPort> {
    record.networks.values().filter_map(|endpoint| endpoint.live.as_ref()).flat_map(|l| &l.ports)
}

fn ports(record: &ContainerRecord) -> BTreeMap<String, Option<Vec<exact::PortBinding>>> {
    if !has_interfaces(record) {
        return BTreeMap::new();
    }
    let mut ports: BTreeMap<String, Option<Vec<exact::PortBinding>>> =
        record.config.exposed_ports.iter().map(|port| (port.to_string(), None)).collect();
    for port in published(record) {
        let binding = exact::PortBinding {
            host_ip: port.host_ip.to_string(),
            // Without one it is reached under the container's own address.
            host_port: Some(port.host_port)
                .filter(|port| *port != 0)
                .map_or_else(String::new, |port| port.to_string()),
        };
        let bindings = ports.entry(port.container_port.to_string()).or_default();
        bindings.get_or_insert_default().push(binding);
    }
    ports
}
