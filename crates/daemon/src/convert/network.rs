//! Networks as Docker shows them.

use std::net::IpAddr;

use axum::http::StatusCode;
use docker_api::models::exact;
use network::{IpamRequest, NetworkInfo, NetworkRequest, PeerNode};
use serde_json::{Map, Value, json};

use crate::error::{ApiError, ApiResult};

/// Under which Docker shows the number of an overlay.
const VNI_LIST: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// Reads what a client asks of a network.
pub(crate) fn network_request(wire: exact::NetworkCreate) -> ApiResult<NetworkRequest> {
    let refused = |what: &str| Err(ApiError::invalid(what));
    if wire.ingress {
        return Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "a network for the published ports of services (--ingress) is not implemented: there \
             are no services",
        ));
    }
    if wire.config_only || !wire.config_from.network.is_empty() {
        return refused("networks that only configure others are not supported");
    }
    match (wire.driver.as_str(), wire.scope.as_str()) {
        (_, "") | ("overlay", "swarm") => {}
        ("overlay", _) => return refused("invalid scope: overlay networks have the scope swarm"),
        (_, "local") => {}
        (_, "swarm") => {
            return Err(ApiError::new(
                StatusCode::NOT_IMPLEMENTED,
                "a network of the swarm with another driver than overlay is not implemented",
            ));
        }
        _ => return refused("invalid scope: networks of one host have the scope local"),
    }
    Ok(NetworkRequest {
        name: wire.name,
        driver: wire.driver,
        internal: wire.internal,
        attachable: wire.attachable,
        enable_ipv4: wire.enable_ipv4,
        enable_ipv6: wire.enable_ipv6,
        ipam_driver: wire.ipam.driver,
        ipam_options: wire.ipam.options,
        ipam: wire.ipam.config.into_iter().map(pool).collect::<ApiResult<_>>()?,
        options: wire.options,
        labels: wire.labels,
    })
}

fn pool(wire: exact::IpamPool) -> ApiResult<IpamRequest> {
    let range = |text: &str| -> ApiResult<_> {
        Ok(Some(text).filter(|text| !text.is_empty()).map(str::parse).transpose()?)
    };
    let address = |text: &str| -> ApiResult<IpAddr> {
        text.parse().map_err(|_| ApiError::invalid(format!("invalid IP address: {text}")))
    };
    Ok(IpamRequest {
        subnet: range(&wire.subnet)?,
        ip_range: range(&wire.ip_range)?,
        gateway: Some(wire.gateway.as_str()).filter(|g| !g.is_empty()).map(address).transpose()?,
        aux_addresses: wire
            .auxiliary_addresses
            .iter()
            .map(|(name, text)| Ok((name.clone(), address(text)?)))
            .collect::<ApiResult<_>>()?,
    })
}

/// Whether to tell who is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoints {
    Hidden,
    Shown,
}

/// Converts a network.
pub(crate) fn network(info: &NetworkInfo, endpoints: Endpoints) -> Value {
    let record = &info.record;
    let created = jiff::Timestamp::from_nanosecond(record.created_unix_nanos.into());
    let ipam: Vec<Value> = record
        .ipam
        .iter()
        .map(|ipam| {
            let mut wire = json!({"Subnet": ipam.subnet.to_string()});
            if let Some(range) = ipam.ip_range {
                wire["IPRange"] = json!(range.to_string());
            }
            if let Some(gateway) = ipam.gateway {
                wire["Gateway"] = json!(gateway.to_string());
            }
            if !ipam.aux_addresses.is_empty() {
                wire["AuxiliaryAddresses"] = json!(ipam.aux_addresses);
            }
            wire
        })
        .collect();
    let containers = match endpoints {
        Endpoints::Hidden => Map::new(),
        Endpoints::Shown => containers(info),
    };
    let mut options = record.options.clone();
    if let Some(overlay) = &record.overlay {
        options.insert(VNI_LIST.to_owned(), overlay.vni.to_string());
    }
    let mut wire = json!({
        "Name": record.name,
        "Id": record.id,
        "Created": created.map(|created| created.to_string()).unwrap_or_default(),
        "Scope": record.scope(),
        "Driver": record.driver.to_string(),
        "EnableIPv4": record.enable_ipv4,
        "EnableIPv6": record.enable_ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": if record.is_predefined() { &None } else { &record.ipam_options },
            "Config": Some(ipam).filter(|ipam| !ipam.is_empty()),
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": options,
        "Labels": record.labels,
    });
    if endpoints == Endpoints::Shown && !info.nodes.is_empty() {
        let peer = |node: &PeerNode| json!({"Name": node.name, "IP": node.address.to_string()});
        wire["Peers"] = info.nodes.iter().map(peer).collect();
    }
    wire
}

fn containers(info: &NetworkInfo) -> Map<String, Value> {
    let convert = |endpoint: &network::Endpoint| {
        let address = endpoint.ip.map(|ip| format!("{ip}/{}", endpoint.prefix));
        let address6 = endpoint.ip6.map(|ip| format!("{ip}/{}", endpoint.prefix6));
        let wire = json!({
            "Name": endpoint.container_name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            "IPv4Address": address.unwrap_or_default(),
            "IPv6Address": address6.unwrap_or_default(),
        });
        (endpoint.container_id.clone(), wire)
    };
    info.endpoints.iter().map(convert).collect()
}
