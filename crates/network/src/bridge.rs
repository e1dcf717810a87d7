//! The bridge of a network: made where it is missing, adopted where it is ours or the
//! administrator's, left alone where it is another daemon's.
//!
//! Ours carries the alias `teu:<data-root>`; that, never the name, says whose it is.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use linux::netlink::{Address, Link, Request, Route};

use crate::config::Config;
use crate::endpoint::MacAddress;
use crate::error::{Context as _, Error, Result};
use crate::ipam;
use crate::record::{Cidr, IpamConfig};

const ALIAS_PREFIX: &str = "teu:";

/// Says whose the default bridge of this configuration is.
pub(crate) fn alias(config: &Config) -> String {
    let root = fs::canonicalize(&config.data_root).unwrap_or_else(|_| config.data_root.clone());
    format!("{ALIAS_PREFIX}{}", root.display())
}

/// Chooses the default bridge's subnet: the configured one, else what an existing bridge has, else
/// the remembered one unless the host has since got a route into it, else the first free pool.
pub(crate) fn choose_subnet(
    route: &mut Route,
    config: &Config,
    remembered: Option<&IpamConfig>,
) -> Result<IpamConfig> {
    if let Some(bip) = config.bip {
        return Ok(ipam_of(bip));
    }
    let ask = || "list addresses and routes".to_owned();
    let bridge = route.link(&config.bridge_name).context(ask)?;
    if let Some(bridge) = &bridge {
        check_owner(bridge, &alias(config))?;
        let addresses = route.addresses().context(ask)?;
        let own = addresses.iter().find(|address| address.link == bridge.index);
        if let Some(cidr) = own.and_then(|own| Cidr::new(own.address, own.prefix)) {
            return Ok(ipam_of(cidr));
        }
    }
    let index = bridge.map(|bridge| bridge.index);
    let routes = route.routes().context(ask)?;
    let taken: Vec<Cidr> = routes
        .iter()
        .filter(|route| route.prefix > 0 && (index.is_none() || route.link != index))
        .filter_map(|route| Cidr::new(route.destination, route.prefix))
        .collect();
    if let Some(remembered) = remembered
        && !taken.iter().any(|other| other.overlaps(remembered.subnet))
    {
        return Ok(remembered.clone());
    }
    let network = ipam::first_free_network(&config.default_address_pools, &taken)
        .ok_or(Error::PoolsExhausted)?;
    let gateway = Ipv4Addr::from_bits(network.address().to_bits() + 1);
    Cidr::new(gateway, network.prefix()).map(ipam_of).ok_or(Error::PoolsExhausted)
}

fn ipam_of(gateway: Cidr) -> IpamConfig {
    IpamConfig {
        subnet: gateway.network(),
        gateway: gateway.address(),
        ip_range: None,
        aux_addresses: BTreeMap::new(),
    }
}

/// Makes the bridge what it should be and answers its index. Changes nothing that is right.
pub(crate) fn ensure(
    route: &mut Route,
    config: &Config,
    name: &str,
    ipam: &IpamConfig,
) -> Result<u32> {
    let link = match route.link(name).context(|| format!("look for bridge {name}"))? {
        Some(link) => link,
        None => create(route, config, name, ipam)?,
    };
    check_owner(&link, &alias(config))?;
    ensure_address(route, &link, ipam, link.alias.is_some())?;
    if !link.is_up {
        route.execute([Request::raise(link.index)]).context(|| format!("raise bridge {name}"))?;
    }
    ensure_sysctls(name, config)?;
    Ok(link.index)
}

fn create(route: &mut Route, config: &Config, name: &str, ipam: &IpamConfig) -> Result<Link> {
    // A fixed address: otherwise a bridge takes its ports' lowest, which changes under its users.
    let mac = MacAddress::from_ip(ipam.gateway);
    let action = || format!("create bridge {name}");
    route.execute([Request::create_bridge(name, mac.0, config.mtu)]).context(action)?;
    let link = route.link(name).context(action)?.ok_or_else(|| Error::Kernel {
        action: action(),
        source: std::io::ErrorKind::NotFound.into(),
    })?;
    let alias = alias(config);
    route.execute([Request::set_alias(link.index, &alias)]).context(action)?;
    Ok(Link { alias: Some(alias), ..link })
}

fn check_owner(link: &Link, ours: &str) -> Result<()> {
    if !link.is_bridge {
        return Err(Error::NotABridge(link.name.clone()));
    }
    match link.alias.as_deref() {
        Some(alias) if alias.starts_with(ALIAS_PREFIX) && alias != ours => {
            Err(Error::BridgeOwned {
                bridge: link.name.clone(),
                owner: alias[ALIAS_PREFIX.len()..].to_owned(),
            })
        }
        _ => Ok(()),
    }
}

fn ensure_address(route: &mut Route, link: &Link, ipam: &IpamConfig, is_ours: bool) -> Result<()> {
    let action = || format!("give bridge {} its address", link.name);
    let wanted = Address { link: link.index, address: ipam.gateway, prefix: ipam.subnet.prefix() };
    let addresses = route.addresses().context(action)?;
    let (right, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .filter(|address| address.link == link.index)
        .partition(|address| *address == wanted);
    let mut requests = Vec::new();
    if right.is_empty() {
        requests.push(Request::add_address(wanted));
    }
    if is_ours {
        requests.extend(others.into_iter().map(Request::delete_address));
    }
    if requests.is_empty() { Ok(()) } else { route.execute(requests).context(action) }
}

fn ensure_sysctls(bridge: &str, config: &Config) -> Result<()> {
    if config.ip_forward {
        set_sysctl("ipv4/ip_forward", "1")?;
    }
    // Answers to a client on 127.0.0.1 come back through the bridge.
    set_sysctl(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    // A container must not be able to reroute the host.
    let ipv6 = format!("ipv6/conf/{bridge}/accept_ra");
    if fs::exists(format!("/proc/sys/net/{ipv6}")).unwrap_or(false) {
        set_sysctl(&ipv6, "0")?;
    }
    Ok(())
}

/// Writes only where the value differs: under a read-only /proc/sys the right value is enough.
fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).context(|| format!("set {path} to {value}"))
}
