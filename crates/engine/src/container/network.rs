//! A container's namespaces and endpoints, as its modes and networks ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ::network::{Endpoint, EndpointRequest, PortRequest};

use runtime::shim::protocol::{Held, HeldPort};

use super::config::{ContainerPort, Protocol};
use super::handle::Container;
use super::links::{self, Linked};
use super::mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UtsMode};
use super::name_files;
use super::namespaces::OwnedNamespaces;
use super::record::{ContainerId, ContainerRecord, EndpointSettings, LiveEndpoint, PublishedPort};
use super::request::ContainerPaths;
use crate::shim::Shim;
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
    owned: Option<&OwnedNamespaces>,
) -> Result<Connected> {
    // First of all: whoever is linked to has to run.
    Linked::check(engine, record)?;
    let mut networks = record.networks.clone();
    networks.values_mut().for_each(|endpoint| endpoint.live = None);
    let mut name_paths = paths.clone();
    let network = match &record.host_config.network_mode {
        NetworkMode::Host => Namespace::Host,
        NetworkMode::Container(other) => {
            let joined = running(engine, other, "network")?;
            let pid = joined.record().state.pid;
            let owner = owner(engine, joined).map_err(|gone| {
                Error::Conflict(format!("cannot join the network of container {gone}: it is gone"))
            })?;
            name_paths = owner.paths.as_ref().clone();
            Namespace::Path(format!("/proc/{pid}/ns/net").into())
        }
        mode => {
            let network = &engine.inner.network;
            let id = record.id.as_str();
            let sandbox = match owned {
                None => network.create_sandbox(id),
                Some(owned) => {
                    let namespace = owned.network().map_err(|e| setup_failed(&e.to_string()))?;
                    network.create_sandbox_in(id, namespace)
                }
            };
            let sandbox = sandbox.map_err(|error| setup_failed(&error.to_string()))?;
            if !record.config.network_disabled {
                // Disconnected from everything, it comes back to where it was made for.
                if let Some(main) = mode.network_name().filter(|_| networks.is_empty()) {
                    networks.insert(main.to_owned(), EndpointSettings::default());
                }
                join_all(engine, record, &mut networks)?;
            }
            Namespace::Path(sandbox.netns_path)
        }
    };
    if name_paths == *paths {
        name_files::write(engine, record, paths, &networks)?;
    }
    let namespaces = namespaces(engine, record, network, owned)?;
    Ok(Connected { namespaces, networks, name_paths })
}

fn setup_failed(reason: &str) -> Error {
    Error::Internal(format!("failed to set up container networking: {reason}"))
}

/// Joins the container's networks, that of its mode first: its interface is `eth0`.
fn join_all(
    engine: &Engine,
    record: &ContainerRecord,
    networks: &mut BTreeMap<String, EndpointSettings>,
) -> Result<()> {
    let first = networks.iter().find(|(name, settings)| is_main(record, name, settings));
    let first = first.map(|(name, _)| name.clone());
    let mut names: Vec<String> = networks.keys().cloned().collect();
    names.sort_by_key(|name| Some(name) != first.as_ref());
    for name in names.iter().filter(|name| !matches!(name.as_str(), "none" | "host")) {
        if let Some(settings) = networks.get(name) {
            join(engine, record, name, settings)?;
        }
    }
    refresh(engine, record.id.as_str(), networks);
    engine.inner.network.check_published(record.id.as_str())?;
    Ok(())
}

/// Whether a network is that of the container's mode.
fn is_main(record: &ContainerRecord, name: &str, settings: &EndpointSettings) -> bool {
    let main = record.host_config.network_mode.network_name().unwrap_or_default();
    name == main || (!main.is_empty() && settings.network_id.starts_with(main))
}

/// Gives the container an endpoint in a network.
pub(crate) fn join(
    engine: &Engine,
    record: &ContainerRecord,
    name: &str,
    settings: &EndpointSettings,
) -> Result<Endpoint> {
    let request = endpoint_request(engine, record, name, settings)?;
    let made = engine.inner.network.connect(record.id.as_str(), name, &request);
    made.map_err(|error| match error {
        ::network::Error::PortAllocated { .. }
        | ::network::Error::PortsExhausted { .. }
        | ::network::Error::PortUnusable { .. } => setup_failed(&format!(
            "driver failed programming external connectivity on endpoint {} ({}): {error}",
            record.name, record.id
        )),
        error => Error::from(error),
    })
}

fn endpoint_request(
    engine: &Engine,
    record: &ContainerRecord,
    name: &str,
    settings: &EndpointSettings,
) -> Result<EndpointRequest> {
    // The container's own is that of its first interface alone.
    let own = record.config.mac_address.as_ref().filter(|_| is_main(record, name, settings));
    let mac = settings.mac_address.as_ref().or(own);
    let hostname = &record.config.hostname;
    Ok(EndpointRequest {
        container_name: record.name.clone(),
        hostname: Some(hostname.clone()).filter(|hostname| hostname != record.id.short()),
        aliases: settings.aliases.clone(),
        links: linked(engine, &settings.links),
        reaches: links::reached(record),
        open_to_links: links::open_ports(record),
        ports: port_requests(record)?,
        mac: mac
            .map(|mac| mac.parse())
            .transpose()
            .map_err(|error: ::network::Error| Error::InvalidParameter(error.to_string()))?,
        ip: match settings.ipv4_address {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        },
        ip6: match settings.ipv6_address {
            Some(IpAddr::V6(ip)) => Some(ip),
            _ => None,
        },
        without_ipv6: without_ipv6(record),
        link_local: settings.link_local_ips.clone(),
        gw_priority: settings.gw_priority,
        options: settings.driver_opts.clone(),
        reserved: reserved(engine, record, name),
    })
}

/// Whether a sysctl turns IPv6 off, once the container begins.
pub(super) fn without_ipv6(record: &ContainerRecord) -> bool {
    const KEY: &str = "net.ipv6.conf.all.disable_ipv6";
    let mut sysctls = record.host_config.sysctls.iter();
    sysctls.any(|(key, value)| key.replace('/', ".") == KEY && value.trim() == "1")
}

/// Aliases to container ids, or to the names of containers that are yet to come.
fn linked(engine: &Engine, links: &[String]) -> BTreeMap<String, String> {
    let link = |link: &String| {
        let (name, alias) = link.split_once(':').unwrap_or((link, link));
        let container = engine.inner.registry.find(name);
        let target = container.map_or_else(|_| name.to_owned(), |it| it.id.to_string());
        (alias.to_owned(), target)
    };
    links.iter().map(link).collect()
}

/// The addresses that other containers asked for in a network. Those that run have them; to those
/// that do not they are kept.
fn reserved(engine: &Engine, record: &ContainerRecord, name: &str) -> BTreeSet<IpAddr> {
    let containers = engine.inner.registry.all();
    let others = containers.iter().filter(|container| container.id != record.id);
    others
        .flat_map(|other| {
            let other = other.record();
            let asked = other.networks.get(name).map(|e| [e.ipv4_address, e.ipv6_address]);
            asked.into_iter().flatten().flatten()
        })
        .collect()
}

/// Takes over what the container's endpoints have now: one that comes or goes moves the published
/// ports of others.
pub(crate) fn refresh(
    engine: &Engine,
    container_id: &str,
    networks: &mut BTreeMap<String, EndpointSettings>,
) {
    networks.values_mut().for_each(|settings| settings.live = None);
    let endpoints = engine.inner.network.endpoints(container_id);
    let (unasked, asked): (Vec<_>, Vec<_>) =
        endpoints.into_iter().partition(|endpoint| endpoint.is_way_out_only);
    let served = asked.iter().find(|endpoint| endpoint.is_swarm).map(|it| it.network_name.clone());
    for endpoint in asked {
        if let Some(settings) = networks.get_mut(&endpoint.network_name) {
            live_endpoint(settings, endpoint);
        }
    }
    // Nobody sees the way out of an overlay: what it publishes is shown as the overlay's.
    let served = served.and_then(|name| networks.get_mut(&name)?.live.as_mut());
    if let Some(live) = served {
        live.ports.extend(unasked.iter().flat_map(|endpoint| &endpoint.ports).map(published));
    }
}

/// Takes over what the network gave.
pub(crate) fn live_endpoint(settings: &mut EndpointSettings, made: Endpoint) {
    settings.network_id = made.network_id;
    settings.live = Some(LiveEndpoint {
        endpoint_id: made.id,
        ip_address: made.ip.map(IpAddr::V4),
        ip_prefix_len: made.prefix,
        gateway: made.gateway.map(IpAddr::V4),
        ip6_address: made.ip6.map(IpAddr::V6),
        ip6_prefix_len: made.prefix6,
        gateway6: made.gateway6.map(IpAddr::V6),
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

/// Has the container's shim keep its published ports bound, so that they stay taken while no daemon
/// runs. Where it does not, this process keeps them as long as it lives.
pub(crate) async fn hold_ports(engine: &Engine, container_id: &ContainerId, shim: &Shim) {
    let (network, id) = (engine.inner.network.clone(), container_id.to_string());
    let (ports, sockets) = network.published(&id);
    let held = |port: &::network::PortBinding| HeldPort {
        protocol: port.protocol.number(),
        address: SocketAddr::new(port.host_ip, port.host_port),
    };
    match shim.hold_ports(ports.iter().map(held).collect(), sockets).await {
        Ok(Held { missing }) => {
            let missing: BTreeSet<HeldPort> = missing.into_iter().collect();
            let is_held = |port: &::network::PortBinding| !missing.contains(&held(port));
            let (kept, lost): (Vec<_>, Vec<_>) = ports.into_iter().partition(is_held);
            network.hand_over(&id, &kept);
            network.not_held(&id, &lost);
        }
        Err(error) => {
            tracing::warn!(container_id = id, %error, "published ports are held by the daemon alone");
        }
    }
}

/// Whether any endpoint publishes something.
pub(crate) fn publishes(networks: &BTreeMap<String, EndpointSettings>) -> bool {
    networks
        .values()
        .filter_map(|settings| settings.live.as_ref())
        .any(|live| !live.ports.is_empty())
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
fn running(engine: &Engine, name: &str, noun: &str) -> Result<Container> {
    let container = engine.inner.registry.find(name)?;
    let record = container.record();
    if !record.state.status.has_process() {
        let verb = if noun == "network" { "join network of" } else { "join" };
        return Err(Error::Conflict(format!(
            "cannot {verb} a non running container: {}",
            record.id
        )));
    }
    Ok(container)
}

/// The container whose network another has: itself, or the last of those that share one.
///
/// # Errors
/// The id of one among them that is gone.
pub(super) fn owner(
    engine: &Engine,
    container: Container,
) -> std::result::Result<Container, String> {
    let mut owner = container;
    while let NetworkMode::Container(other) = &owner.record().host_config.network_mode {
        owner = engine.inner.registry.find(other).map_err(|_| other.clone())?;
    }
    Ok(owner)
}

fn namespaces(
    engine: &Engine,
    record: &ContainerRecord,
    network: Namespace,
    owned: Option<&OwnedNamespaces>,
) -> Result<Namespaces> {
    let host_config = &record.host_config;
    let of = |name: &str, file: &str, noun: &str| -> Result<Namespace> {
        let pid = running(engine, name, noun)?.record().state.pid;
        Ok(Namespace::Path(PathBuf::from(format!("/proc/{pid}/ns/{file}"))))
    };
    let ipc = match &host_config.ipc_mode {
        IpcMode::Host => Namespace::Host,
        IpcMode::Container(name) => of(name, "ipc", "IPC")?,
        _ => owned.map_or(Namespace::New, |owned| owned.ipc()),
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
        UtsMode::Private => owned.map_or(Namespace::New, |owned| owned.uts()),
    };
    let cgroup = if private_cgroup { Namespace::New } else { Namespace::Host };
    let user = owned.map_or(Namespace::Host, |owned| owned.user());
    Ok(Namespaces { user, network, pid, ipc, uts, cgroup })
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
                    let pid = running(engine, name, "IPC")?.record().state.pid;
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
