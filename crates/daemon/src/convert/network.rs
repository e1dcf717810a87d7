//! Networks as Docker shows them.

use network::NetworkInfo;
use serde_json::{Map, Value, json};

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
            let mut wire = json!({
                "Subnet": ipam.subnet.to_string(),
                "Gateway": ipam.gateway.to_string(),
            });
            if let Some(range) = ipam.ip_range {
                wire["IPRange"] = json!(range.to_string());
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
    json!({
        "Name": record.name,
        "Id": record.id,
        "Created": created.map(|created| created.to_string()).unwrap_or_default(),
        "Scope": "local",
        "Driver": record.driver.to_string(),
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {
            "Driver": "default",
            "Options": null,
            "Config": Some(ipam).filter(|ipam| !ipam.is_empty()),
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": record.options,
        "Labels": record.labels,
    })
}

fn containers(info: &NetworkInfo) -> Map<String, Value> {
    let convert = |endpoint: &network::Endpoint| {
        let address = endpoint.ip.map(|ip| format!("{ip}/{}", endpoint.prefix));
        let wire = json!({
            "Name": endpoint.container_name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            "IPv4Address": address.unwrap_or_default(),
            "IPv6Address": "",
        });
        (endpoint.container_id.clone(), wire)
    };
    info.endpoints.iter().map(convert).collect()
}
