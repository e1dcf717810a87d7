//! What a container is told of names: hosts, hostname, resolv.conf, and what answers its queries.
//!
//! They are written at the start. While the container runs, a network that comes or goes changes
//! its own lines alone: the container may have changed the others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ::network::{DnsOptions, ExtraHost, HostsOptions};
use resolver::{RESOLVER_FILE, ResolverConfig, names_path, write_atomically};

use super::links::Linked;
use super::mode::NetworkMode;
use super::record::{ContainerRecord, EndpointSettings, LiveEndpoint};
use super::request::ContainerPaths;
use crate::{Engine, Error, Result};

type Networks = BTreeMap<String, EndpointSettings>;

/// Writes all of them.
pub(super) fn write(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    networks: &Networks,
) -> Result<()> {
    let resolver = resolver_config(engine, record, networks)?;
    if let Some(resolver) = &resolver {
        write_resolver(paths, resolver)?;
    }
    write_file(&paths.resolv_conf, &resolv_conf(engine, record, resolver.is_some())?)?;
    write_file(&paths.hosts, &hosts(engine, record, networks)?)?;
    write_file(&paths.hostname, &::network::hostname_file(&record.config.hostname)?)
}

/// Brings them up to date in a container that runs. Answers whether names are to be answered that
/// were not before.
pub(super) fn update(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    before: &Networks,
    after: &Networks,
) -> Result<bool> {
    let was = resolver_config(engine, record, before)?.is_some();
    let resolver = resolver_config(engine, record, after)?;
    // One that leaves its last network of that kind keeps who answers, and asks him no more.
    if let Some(resolver) = resolver.clone().or_else(|| was.then(|| nobody(record))) {
        write_resolver(paths, &resolver)?;
    }
    let is = resolver.is_some();
    if is != was {
        let mine = resolv_conf(engine, record, was)?;
        let now = std::fs::read_to_string(&paths.resolv_conf).unwrap_or_default();
        if now == mine {
            write_file(&paths.resolv_conf, &resolv_conf(engine, record, is)?)?;
        }
    }
    let text = std::fs::read_to_string(&paths.hosts).map_err(Error::io("read", &paths.hosts))?;
    let own = &record.config;
    let updated = ::network::replace_own_addresses(
        &text,
        &addresses(before),
        &addresses(after),
        &own.hostname,
        &own.domainname,
    );
    if updated != text {
        write_file(&paths.hosts, &updated)?;
    }
    Ok(is && !was)
}

/// In place: the container has the file mounted.
fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io("write", path))
}

fn write_resolver(paths: &ContainerPaths, resolver: &ResolverConfig) -> Result<()> {
    let path = paths.bundle.join(RESOLVER_FILE);
    write_atomically(&path, resolver).map_err(Error::io("write", &path))
}

/// Who answers the container's queries; `None` without a network that has names.
fn resolver_config(
    engine: &Engine,
    record: &ContainerRecord,
    networks: &Networks,
) -> Result<Option<ResolverConfig>> {
    let mut config = nobody(record);
    config.upstreams = dns_options(engine, record).servers;
    let options = dns_options(engine, record).options;
    config.forward_single_labels = !options.iter().any(|option| option.starts_with("ndots:"));
    for settings in networks.values().filter(|settings| settings.live.is_some()) {
        let info = engine.inner.network.inspect(&settings.network_id)?;
        config.forward |= !info.record.internal;
        if info.record.has_names() {
            config.networks.push(names_path(&engine.config().exec_root, &info.record.id));
        }
    }
    Ok(Some(config).filter(|config| !config.networks.is_empty()))
}

fn nobody(record: &ContainerRecord) -> ResolverConfig {
    ResolverConfig {
        version: ResolverConfig::VERSION,
        container_id: record.id.to_string(),
        networks: Vec::new(),
        upstreams: Vec::new(),
        forward: false,
        forward_single_labels: true,
    }
}

fn dns_options(engine: &Engine, record: &ContainerRecord) -> DnsOptions {
    let (config, host_config) = (engine.config(), &record.host_config);
    let or = |own: &Vec<String>, default: &Vec<String>| {
        if own.is_empty() { default.clone() } else { own.clone() }
    };
    DnsOptions {
        servers: if host_config.dns.is_empty() {
            config.dns.clone()
        } else {
            host_config.dns.iter().filter_map(|server| server.parse().ok()).collect()
        },
        search: or(&host_config.dns_search, &config.dns_search),
        options: or(&host_config.dns_options, &config.dns_options),
    }
}

fn resolv_conf(engine: &Engine, record: &ContainerRecord, has_resolver: bool) -> Result<String> {
    let dns = dns_options(engine, record);
    let host = ::network::host_resolv_conf();
    if has_resolver {
        return Ok(::network::resolv_conf_of_resolver(&host, &dns)?);
    }
    if record.host_config.network_mode == NetworkMode::Host && dns == DnsOptions::default() {
        // With the host's network its loopback resolvers answer as well.
        return Ok(std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    }
    Ok(::network::resolv_conf(&host, &dns)?)
}

fn live(networks: &Networks) -> impl Iterator<Item = &LiveEndpoint> {
    networks.values().filter_map(|endpoint| endpoint.live.as_ref())
}

fn addresses(networks: &Networks) -> Vec<IpAddr> {
    live(networks).flat_map(|live| [live.ip_address, live.ip6_address]).flatten().collect()
}

fn hosts(engine: &Engine, record: &ContainerRecord, networks: &Networks) -> Result<String> {
    let extra_hosts: Vec<ExtraHost> = record
        .host_config
        .extra_hosts
        .iter()
        .map(|text| ExtraHost::parse(text))
        .collect::<Result<_, _>>()?;
    let shares_host = record.host_config.network_mode == NetworkMode::Host;
    if shares_host && extra_hosts.is_empty() {
        return Ok(std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    }
    let neighbours = Linked::present(engine, record).hosts();
    let addresses = addresses(networks);
    let gateway = live(networks).find_map(|live| live.gateway);
    // That of an overlay is where nobody asked for one.
    let all = engine.inner.network.endpoints(record.id.as_str());
    let gateway = gateway.or_else(|| all.iter().find_map(|it| it.gateway).map(IpAddr::V4));
    Ok(::network::hosts_file(&HostsOptions {
        hostname: if addresses.is_empty() { "" } else { &record.config.hostname },
        domainname: &record.config.domainname,
        addresses: &addresses,
        extra_hosts: &extra_hosts,
        neighbours: &neighbours,
        host_gateway: engine.config().host_gateway_ips.first().copied().or(gateway),
        without_ipv6: super::network::without_ipv6(record),
    })?)
}
