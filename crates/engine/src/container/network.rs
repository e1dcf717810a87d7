//! A container's namespaces, endpoints and name files, as its modes ask for them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ::network::{DnsOptions, EndpointRequest, ExtraHost, HostsOptions, PortRequest};

use super::config::{ContainerPort, Protocol};
use super::mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UtsMode};
use super::record::{ContainerRecord, EndpointSettings, LiveEndpoint, PublishedPort};
use super::request::ContainerPaths;
use crate::spec::{Namespace, Namespaces};
use crate::{Engine, Error, Result};

/// What [`connect`] made.
pub(super) struct Connected {
    pub(super) namespaces: Namespaces,
    /// The record's endpoints, with what they have now.
    pub(super) networks: BTreeMap<String, EndpointSettings>,
    /// Whose name files the container sees.
    pub(super) name_paths: ContainerPaths,
}

/// Makes network namespace, endpoints and name files. What it made before an error is taken down
/// by the caller, as after any failed start.
pub(super) fn connect(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
) -> Result<Connected> {
    let mut networks = record.networks.clone();
    networks.values_mut().for_each(|endpoint| endpoint.live = None);
    let mut name_paths = paths.clone();
    let network = match &record.host_config.network_mode {
        NetworkMode::Host => Namespace::Host,
        NetworkMode::Container(other) => {
            let (pid, other_paths) = running(engine, other, "network")?;
            name_paths = other_paths;
            Namespace::Path(format!("/proc/{pid}/ns/net").into())
        }
        _ => {
            let sandbox = engine
                .inner
                .network
                .create_sandbox(record.id.as_str())
                .map_err(|error| setup_failed(&error.to_string()))?;
            Namespace::Path(sandbox.netns_path)
        }
    };
    if record.host_config.network_mode.has_endpoint() && !record.config.network_disabled {
        for (name, endpoint) in &mut networks {
            join(engine, record, name, endpoint)?;
        }
    }
    if name_paths == *paths {
        write_name_files(engine, record, paths, &networks)?;
    }
    Ok(Connected { namespaces: namespaces(engine, record, network)?, networks, name_paths })
}

fn setup_failed(reason: &str) -> Error {
    Error::Internal(format!("failed to set up container networking: {reason}"))
}

fn join(
    engine: &Engine,
    record: &ContainerRecord,
    name: &str,
    endpoint: &mut EndpointSettings,
) -> Result<()> {
    let mac = endpoint.mac_address.as_ref().or(record.config.mac_address.as_ref());
    let request = EndpointRequest {
        container_name: record.name.clone(),
        ports: port_requests(record)?,
        mac: mac
            .map(|mac| mac.parse())
            .transpose()
            .map_err(|error: ::network::Error| Error::InvalidParameter(error.to_string()))?,
        ip: match endpoint.ipv4_address {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        },
    };
    let made = engine.inner.network.connect(record.id.as_str(), name, &request);
    let made = made.map_err(|error| match error {
        ::network::Error::PortAllocated { .. }
        | ::network::Error::PortsExhausted { .. }
        | ::network::Error::PortUnusable { .. } => setup_failed(&format!(
            "driver failed programming external connectivity on endpoint {} ({}): {error}",
            record.name, record.id
        )),
        error => Error::from(error),
    })?;
    live_endpoint(endpoint, made);
    Ok(())
}

/// Takes over what the network gave.
pub(crate) fn live_endpoint(settings: &mut EndpointSettings, made: ::network::Endpoint) {
    settings.network_id = made.network_id;
    settings.live = Some(LiveEndpoint {
        endpoint_id: made.id,
        ip_address: made.ip.map(IpAddr::V4),
        ip_prefix_len: made.prefix,
        gateway: made.gateway.map(IpAddr::V4),
        mac_address: made.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ports: made.ports.iter().map(published).collect(),
    });
}

fn published(binding: &::network::PortBinding) -> PublishedPort {
    let protocol = match binding.protocol {
        ::network::Protocol::Tcp => Protocol::Tcp,
        ::network::Protocol::Udp => Protocol::Udp,
        ::network::Protocol::Sctp => Protocol::Sctp,
    };
    PublishedPort {
        container_port: ContainerPort { port: binding.container_port, protocol },
        host_ip: binding.host_ip,
        host_port: binding.host_port,
    }
}

/// Translates `-p` and `-P`.
///
/// # Errors
/// InvalidParameter for a malformed host port.
pub(super) fn port_requests(record: &ContainerRecord) -> Result<Vec<PortRequest>> {
    let host_config = &record.host_config;
    let mut requests = Vec::new();
    let request = |port: &ContainerPort, host_ip, host_ports| PortRequest {
        container_port: port.port,
        protocol: match port.protocol {
            Protocol::Tcp => ::network::Protocol::Tcp,
            Protocol::Udp => ::network::Protocol::Udp,
            Protocol::Sctp => ::network::Protocol::Sctp,
        },
        host_ip,
        host_ports,
    };
    for (port, bindings) in &host_config.port_bindings {
        if bindings.is_empty() {
            requests.push(request(port, None, None));
        }
        for binding in bindings {
            requests.push(request(port, binding.host_ip, host_ports(&binding.host_port)?));
        }
    }
    if host_config.publish_all_ports {
        let bound = &host_config.port_bindings;
        let rest = record.config.exposed_ports.iter().filter(|port| !bound.contains_key(port));
        requests.extend(rest.map(|port| request(port, None, None)));
    }
    Ok(requests)
}

/// Reads ``, `0`, `8000` or `8000-8010`.
pub(super) fn host_ports(text: &str) -> Result<Option<std::ops::RangeInclusive<u16>>> {
    let invalid = || {
        Error::InvalidParameter(format!(
            "invalid port specification: \"{}\"",
            text.escape_default()
        ))
    };
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = number(first).zip(number(last)).ok_or_else(invalid)?;
    if first > last { Err(invalid()) } else { Ok(Some(first..=last)) }
}

/// Finds a container whose namespace is to be joined.
fn running(engine: &Engine, name: &str, noun: &str) -> Result<(i32, ContainerPaths)> {
    let container = engine.inner.registry.find(name)?;
    let record = container.record();
    if !record.state.status.has_process() {
        let verb = if noun == "network" { "join network of" } else { "join" };
        return Err(Error::Conflict(format!(
            "cannot {verb} a non running container: {}",
            record.id
        )));
    }
    Ok((record.state.pid, container.paths.as_ref().clone()))
}

fn namespaces(engine: &Engine, record: &ContainerRecord, network: Namespace) -> Result<Namespaces> {
    let host_config = &record.host_config;
    let of = |name: &str, file: &str, noun: &str| -> Result<Namespace> {
        let (pid, _) = running(engine, name, noun)?;
        Ok(Namespace::Path(PathBuf::from(format!("/proc/{pid}/ns/{file}"))))
    };
    let ipc = match &host_config.ipc_mode {
        IpcMode::Host => Namespace::Host,
        IpcMode::Container(name) => of(name, "ipc", "IPC")?,
        _ => Namespace::New,
    };
    let pid = match &host_config.pid_mode {
        PidMode::Private => Namespace::New,
        PidMode::Host => Namespace::Host,
        PidMode::Container(name) => of(name, "pid", "PID")?,
    };
    let private_cgroup = match host_config.cgroupns_mode {
        CgroupnsMode::Private => true,
        CgroupnsMode::Host => false,
        CgroupnsMode::Unset => engine.inner.host.cgroup_v2,
    };
    let uts = match host_config.uts_mode {
        UtsMode::Host => Namespace::Host,
        UtsMode::Private => Namespace::New,
    };
    let cgroup = if private_cgroup { Namespace::New } else { Namespace::Host };
    Ok(Namespaces { network, pid, ipc, uts, cgroup })
}

/// The host directory behind a `/dev/shm` that several containers see, or the host's own.
pub(super) fn shared_shm(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    is_builtin: bool,
) -> Result<Option<PathBuf>> {
    match &record.host_config.ipc_mode {
        IpcMode::Host => Ok(Some(PathBuf::from("/dev/shm"))),
        // A memory file system of its own size in its own mount namespace, where others find it.
        IpcMode::Shareable if is_builtin => Ok(None),
        IpcMode::Shareable => {
            use std::os::unix::fs::PermissionsExt;
            let directory = paths.bundle.join("shm");
            let made = std::fs::create_dir_all(&directory).and_then(|()| {
                // Not through the mode of mkdir, which the process's mask would cut.
                std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o1777))
            });
            made.map_err(Error::io("create", &directory))?;
            Ok(Some(directory))
        }
        IpcMode::Container(name) => {
            let donor = engine.inner.registry.find(name)?;
            match donor.record().host_config.ipc_mode {
                IpcMode::Shareable => {
                    let directory = donor.paths.bundle.join("shm");
                    if directory.exists() {
                        return Ok(Some(directory));
                    }
                    if !is_builtin {
                        return Err(Error::Conflict(format!(
                            "can't join IPC of container {}: it has another runtime",
                            donor.id
                        )));
                    }
                    let (pid, _) = running(engine, name, "IPC")?;
                    Ok(Some(PathBuf::from(format!("/proc/{pid}/root/dev/shm"))))
                }
                IpcMode::Host => Ok(Some(PathBuf::from("/dev/shm"))),
                _ => Err(Error::Conflict(format!(
                    "can't join IPC of container {}: non-shareable IPC \
                     (hint: use IpcMode:shareable for the donor container)",
                    donor.id
                ))),
            }
        }
        _ => Ok(None),
    }
}

/// Writes hosts, hostname and resolv.conf.
fn write_name_files(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    networks: &BTreeMap<String, EndpointSettings>,
) -> Result<()> {
    let config = engine.config();
    let host_config = &record.host_config;
    let write =
        |path: &Path, text: &str| std::fs::write(path, text).map_err(Error::io("write", path));
    let servers = if host_config.dns.is_empty() {
        config.dns.clone()
    } else {
        host_config.dns.iter().filter_map(|server| server.parse().ok()).collect()
    };
    let or = |own: &Vec<String>, default: &Vec<String>| {
        if own.is_empty() { default.clone() } else { own.clone() }
    };
    let dns = DnsOptions {
        servers,
        search: or(&host_config.dns_search, &config.dns_search),
        options: or(&host_config.dns_options, &config.dns_options),
    };
    let shares_host = host_config.network_mode == NetworkMode::Host;
    let resolv = if shares_host && dns == DnsOptions::default() {
        // With the host's network its loopback resolvers answer as well.
        std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
    } else {
        ::network::resolv_conf(&::network::host_resolv_conf(), &dns)?
    };
    write(&paths.resolv_conf, &resolv)?;

    let live = networks.values().filter_map(|endpoint| endpoint.live.as_ref());
    let addresses: Vec<IpAddr> = live.clone().filter_map(|live| live.ip_address).collect();
    let gateway = live.filter_map(|live| live.gateway).next();
    let extra_hosts: Vec<ExtraHost> = host_config
        .extra_hosts
        .iter()
        .map(|text| ExtraHost::parse(text))
        .collect::<Result<_, _>>()?;
    let hosts = if shares_host && extra_hosts.is_empty() {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        ::network::hosts_file(&HostsOptions {
            hostname: if addresses.is_empty() { "" } else { &record.config.hostname },
            domainname: &record.config.domainname,
            addresses: &addresses,
            extra_hosts: &extra_hosts,
            host_gateway: config.host_gateway_ips.first().copied().or(gateway),
        })?
    };
    write(&paths.hosts, &hosts)?;
    write(&paths.hostname, &::network::hostname_file(&record.config.hostname)?)
}
