//! The three networks that always exist: bridge, host, none.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use linux::netlink::Route;

use crate::bridge;
use crate::cidr::Cidr;
use crate::config::Config;
use crate::error::Result;
use crate::options::{BridgeOptions, GatewayMode};
use crate::record::{Driver, NetworkRecord};
use crate::state::new_id;
use crate::store::Store;

/// Loads the three networks that always exist, creating those that do not yet.
pub(crate) fn networks(
    route: &mut Route,
    config: &Config,
    store: &Store,
) -> Result<BTreeMap<String, NetworkRecord>> {
    let mut networks: BTreeMap<_, _> =
        store.networks()?.into_iter().map(|record| (record.id.clone(), record)).collect();
    for (name, driver) in
        [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)]
    {
        if driver == Driver::Bridge && !config.has_bridge() {
            networks.retain(|_, record| record.name != name);
            continue;
        }
        let known = networks.values().find(|record| record.name == name);
        let mut record = known.cloned().unwrap_or_else(|| new_record(name, driver));
        if driver == Driver::Bridge {
            let others: Vec<Cidr> = networks
                .values()
                .filter(|other| other.id != record.id)
                .flat_map(|other| other.ipam.iter().map(|ipam| ipam.subnet))
                .collect();
            let ipam = bridge::choose_subnet(route, config, record.ipam.first(), &others)?;
            record.options = bridge_options(config);
            record.ipam = vec![ipam];
            record.interface = Some(config.bridge_name.clone());
        }
        if known != Some(&record) {
            store.put_network(&record)?;
        }
        networks.insert(record.id.clone(), record);
    }
    Ok(networks)
}

/// Tells a daemon from others on the host: its default bridge, of which there is one by that name, or
/// where it has none, the id of a network that it has for ever.
pub(crate) fn identity(config: &Config, networks: &BTreeMap<String, NetworkRecord>) -> String {
    let name = &config.bridge_name;
    let host = networks.values().find(|record| record.driver == Driver::Host);
    match host.and_then(|host| host.id.get(..12)) {
        Some(id) if !config.has_bridge() => format!("{name}-{id}"),
        _ => name.clone(),
    }
}

/// A network without anything.
pub(crate) fn new_record(name: &str, driver: Driver) -> NetworkRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    NetworkRecord {
        id: new_id(),
        name: name.to_owned(),
        driver,
        created_unix_nanos: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        interface: None,
        ipam: Vec::new(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam_options: None,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        overlay: None,
    }
}

/// What the settings of the daemon come to for its default bridge.
pub(crate) fn default_bridge(config: &Config) -> BridgeOptions {
    BridgeOptions {
        name: Some(config.bridge_name.clone()),
        masquerade: config.ip_masquerade,
        icc: config.icc,
        host_binding: Some(config.default_host_ip.into())
            .filter(|ip: &std::net::IpAddr| !ip.is_unspecified()),
        mode_ipv4: GatewayMode::Nat,
        mode_ipv6: GatewayMode::Nat,
        inhibit_ipv4: false,
        trusted_interfaces: Vec::new(),
        mtu: Some(config.mtu),
        interface_prefix: "eth".to_owned(),
        segment_limit_bytes: None,
    }
}

/// The options Docker shows on its default bridge.
fn bridge_options(config: &Config) -> BTreeMap<String, String> {
    let options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", config.ip_masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", config.default_host_ip.to_string()),
        ("com.docker.network.bridge.name", config.bridge_name.clone()),
        ("com.docker.network.driver.mtu", config.mtu.to_string()),
    ];
    options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
