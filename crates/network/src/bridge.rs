//! The bridge of a network: made where it is missing, adopted where it is ours or the
//! administrator's, left alone where it is another daemon's.
//!
//! Ours carries the alias `teu:<data-root>`; that, never the name, says whose it is.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use linux::netlink::{Address, Family, Link, Request, Route};

use crate::cidr::Cidr;
use crate::config::Config;
use crate::endpoint::MacAddress;
use crate::error::{Context as _, Error, Result};
use crate::ipam;
use crate::options::{BridgeOptions, GatewayMode};
use crate::record::{IpamConfig, NetworkRecord};

const ALIAS_PREFIX: &str = "teu:";

/// Says whose the bridges of this configuration are.
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
    others: &[Cidr],
) -> Result<IpamConfig> {
    if let Some(bip) = config.bip {
        return Ok(ipam_of(bip));
    }
    let ask = || "list addresses and routes".to_owned();
    let bridge = route.link(&config.bridge_name).context(ask)?;
    if let Some(bridge) = &bridge {
        check_owner(bridge, &alias(config))?;
        let addresses = route.addresses(Family::V4).context(ask)?;
        let own = addresses.iter().find(|address| address.link == bridge.index);
        if let Some(cidr) = own.and_then(|own| Cidr::new(own.address, own.prefix)) {
            return Ok(ipam_of(cidr));
        }
    }
    let mut taken = routed_networks(route, Family::V4, bridge.map(|bridge| bridge.index))?;
    taken.extend(others);
    if let Some(remembered) = remembered
        && !taken.iter().any(|other| other.overlaps(remembered.subnet))
    {
        return Ok(remembered.clone());
    }
    let network = ipam::first_free_network(&config.default_address_pools, Family::V4, "", &taken)
        .ok_or(Error::PoolsExhausted)?;
    let gateway = network.nth(1).ok_or(Error::PoolsExhausted)?;
    Cidr::new(gateway, network.prefix()).map(ipam_of).ok_or(Error::PoolsExhausted)
}

/// Where the host has a way to already, but for the interface `except`.
pub(crate) fn routed_networks(
    route: &mut Route,
    family: Family,
    except: Option<u32>,
) -> Result<Vec<Cidr>> {
    let routes = route.routes(family).context(|| "list routes".to_owned())?;
    let taken = routes
        .iter()
        .filter(|route| route.prefix > 0 && (except.is_none() || route.link != except))
        .filter_map(|route| Cidr::new(route.destination, route.prefix));
    Ok(taken.collect())
}

fn ipam_of(gateway: Cidr) -> IpamConfig {
    IpamConfig {
        subnet: gateway.network(),
        gateway: Some(gateway.address()),
        ip_range: None,
        aux_addresses: BTreeMap::new(),
    }
}

/// What a bridge should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    name: String,
    mac: MacAddress,
    mtu: u32,
    /// The gateways, and the link-local address where one of them is of IPv6.
    addresses: Vec<Cidr>,
    has_ipv6: bool,
    /// Neighbours do not reach each other.
    keeps_apart: bool,
}

impl Plan {
    /// `None` for a network without a bridge.
    pub(crate) fn of(
        record: &NetworkRecord,
        options: &BridgeOptions,
        config: &Config,
    ) -> Option<Self> {
        let has_address = |ipam: &&IpamConfig| {
            let family = ipam.subnet.family();
            options.mode(family) != GatewayMode::Isolated
                && !(family == Family::V4 && options.inhibit_ipv4)
        };
        let gateways = record.ipam.iter().filter(has_address);
        let mut addresses: Vec<Cidr> =
            gateways.filter_map(|ipam| Cidr::new(ipam.gateway?, ipam.subnet.prefix())).collect();
        let first = addresses.iter().find_map(|cidr| match cidr.address() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        let mac = first.map_or_else(|| MacAddress::from_id(&record.id), MacAddress::from_ip);
        // The kernel gives this one by itself, but seconds after the first port is up, and asks for
        // the neighbours of packets that it forwards from no other: until then they were lost.
        if addresses.iter().any(|cidr| cidr.family() == Family::V6) {
            addresses.extend(Cidr::new(mac.link_local(), 64));
        }
        Some(Self {
            name: record.interface.clone()?,
            mac,
            mtu: options.mtu.unwrap_or(config.mtu),
            addresses,
            has_ipv6: record.enable_ipv6,
            keeps_apart: !options.icc,
        })
    }
}

/// Makes the bridge what it should be. Changes nothing that is right.
pub(crate) fn ensure(route: &mut Route, config: &Config, plan: &Plan) -> Result<()> {
    let name = &plan.name;
    let link = match route.link(name).context(|| format!("look for bridge {name}"))? {
        Some(link) => link,
        None => create(route, config, plan)?,
    };
    check_owner(&link, &alias(config))?;
    // Before its addresses: turning IPv6 off takes them away.
    ensure_sysctls(plan, config)?;
    ensure_addresses(route, &link, plan, is_ours(&link, config))?;
    if plan.keeps_apart && filters_bridged() {
        route
            .execute([Request::filter_bridge(name)])
            .context(|| format!("filter what passes bridge {name}"))?;
    }
    if !link.is_up {
        route.execute([Request::raise(link.index)]).context(|| format!("raise bridge {name}"))?;
    }
    Ok(())
}

/// Whether rules for forwarded packets can see those between the ports of one bridge.
fn filters_bridged() -> bool {
    fs::exists("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap_or(false)
}

/// Whether ports must be kept apart by the bridge itself. Where rules can do it they do: they let a
/// neighbour's published port through, which then comes straight from port to port as well. Else
/// what rules let through goes by the host.
pub(crate) fn isolates_ports(options: &BridgeOptions) -> bool {
    !options.icc && !filters_bridged()
}

/// Refuses packets beyond 64 KiB where the kernel has them in IPv6 alone, or not at all.
pub(crate) fn check_segments() -> Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if has_large_segments(&release) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "teu.bridge.gso_max_size needs Linux 6.3 or newer, and this is {release}"
    )))
}

fn has_large_segments(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 3)
}

/// Deletes a bridge of ours; another's stays, and so does one that is no bridge.
pub(crate) fn delete(route: &mut Route, config: &Config, name: &str) -> Result<()> {
    let action = || format!("delete bridge {name}");
    match route.link(name).context(action)? {
        Some(link) if is_ours(&link, config) => {
            crate::reaper::gone(route.execute([Request::delete_link(name)])).context(action)
        }
        _ => Ok(()),
    }
}

/// Whether a daemon with this data-root made the bridge.
pub(crate) fn is_ours(link: &Link, config: &Config) -> bool {
    link.is_bridge && link.alias.as_deref() == Some(alias(config).as_str())
}

fn create(route: &mut Route, config: &Config, plan: &Plan) -> Result<Link> {
    // A fixed address: otherwise a bridge takes its ports' lowest, which changes under its users.
    let name = &plan.name;
    let action = || format!("create bridge {name}");
    route.execute([Request::create_bridge(name, plan.mac.0, plan.mtu)]).context(action)?;
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

fn ensure_addresses(route: &mut Route, link: &Link, plan: &Plan, is_ours: bool) -> Result<()> {
    let action = || format!("give bridge {} its addresses", link.name);
    let mut requests = Vec::new();
    for family in Family::BOTH {
        let wanted: Vec<Address> = plan
            .addresses
            .iter()
            .filter(|cidr| cidr.family() == family)
            .map(|cidr| Address {
                link: link.index,
                address: cidr.address(),
                prefix: cidr.prefix(),
            })
            .collect();
        if wanted.is_empty() && family == Family::V6 {
            continue;
        }
        let present: Vec<Address> = route
            .addresses(family)
            .context(action)?
            .into_iter()
            .filter(|address| address.link == link.index)
            // The kernel's own is nobody's business, unless it was asked for.
            .filter(|address| !is_link_local(address.address) || wanted.contains(address))
            .collect();
        let missing = wanted.iter().filter(|address| !present.contains(address));
        requests.extend(missing.map(|address| Request::add_address(*address)));
        if is_ours {
            let others = present.iter().filter(|address| !wanted.contains(address));
            requests.extend(others.map(|address| Request::delete_address(*address)));
        }
    }
    if requests.is_empty() { Ok(()) } else { route.execute(requests).context(action) }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn ensure_sysctls(plan: &Plan, config: &Config) -> Result<()> {
    let bridge = &plan.name;
    if config.ip_forward {
        set_sysctl("ipv4/ip_forward", "1")?;
    }
    // Answers to a client on 127.0.0.1 come back through the bridge.
    set_sysctl(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    if plan.keeps_apart && !filters_bridged() {
        // The bridge isolates its ports. With its own link address it answers those who look for a
        // neighbour, so that what they send comes this way, where rules let linked ones through.
        set_sysctl(&format!("ipv4/conf/{bridge}/proxy_arp_pvlan"), "1")?;
    }
    // A container must not be able to reroute the host.
    let ipv6 = format!("ipv6/conf/{bridge}/accept_ra");
    if !fs::exists(format!("/proc/sys/net/{ipv6}")).unwrap_or(false) {
        return Ok(());
    }
    set_sysctl(&ipv6, "0")?;
    if plan.has_ipv6 {
        set_sysctl(&format!("ipv6/conf/{bridge}/disable_ipv6"), "0")?;
        if config.ip_forward {
            forward_ipv6()?;
        }
    }
    Ok(())
}

/// Turns forwarding on without cutting the host off: with it on, an interface believes its router's
/// advertisements only where `accept_ra` is 2.
fn forward_ipv6() -> Result<()> {
    const FORWARDING: &str = "ipv6/conf/all/forwarding";
    if fs::read_to_string(format!("/proc/sys/net/{FORWARDING}")).is_ok_and(|on| on.trim() == "1") {
        return Ok(());
    }
    let interfaces = fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    for name in interfaces.filter_map(|entry| entry.file_name().into_string().ok()) {
        let path = format!("ipv6/conf/{name}/accept_ra");
        let believes =
            fs::read_to_string(format!("/proc/sys/net/{path}")).is_ok_and(|on| on.trim() == "1");
        if believes && name != "all" {
            set_sysctl(&path, "2")?;
        }
    }
    set_sysctl(FORWARDING, "1")
}

/// Leaves an interface no address of its own making either: nobody speaks to the host by it.
pub(crate) fn turn_ipv6_off(interface: &str) -> Result<()> {
    let name = format!("ipv6/conf/{interface}/disable_ipv6");
    match fs::exists(format!("/proc/sys/net/{name}")) {
        Ok(true) => set_sysctl(&name, "1"),
        _ => Ok(()),
    }
}

/// Writes only where the value differs: under a read-only /proc/sys the right value is enough.
fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).context(|| format!("set {path} to {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_segments_came_with_linux_6_3() {
        for (release, has) in [
            ("6.3.0", true),
            ("6.18.44-x", true),
            ("7.0-rc1", true),
            ("6.2.16", false),
            ("5.10.0-28-amd64", false),
        ] {
            assert_eq!(has_large_segments(release), has, "{release}");
        }
    }
}
