//! Legacy links: names that one container on the default network has for another.
//!
//! ```text
//! --link db:store   DB's address under "store", its host name and its own name in /etc/hosts
//!                   STORE_PORT_5432_TCP_ADDR=…, STORE_ENV_USER=… in the environment
//!                   its exposed ports open where neighbours do not reach each other (icc=false)
//!                   db goes by /web/store as well
//! ```
//! On user-defined networks links are names of the resolver's instead, and none of this. A link goes
//! by the id of the other, so it follows renames and restarts, and ends with either container.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use ::network::HostLine;
use serde::{Deserialize, Serialize};

use super::config::{ContainerConfig, ContainerPort, Protocol};
use super::handle::Registry;
use super::host_config::HostConfig;
use super::mode::NetworkMode;
use super::network::owner;
use super::record::{ContainerId, ContainerRecord, EndpointSettings};
use super::request::ContainerPaths;
use super::state::Status;
use crate::{Engine, Error, Result};

/// The network in which there are links.
const NETWORK: &str = "bridge";

/// One link of a container, as its record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// To whom.
    pub container: ContainerId,
    /// Under what name.
    pub alias: String,
}

/// Who is linked to, while he runs.
#[derive(Debug)]
struct Target {
    alias: String,
    name: String,
    config: Arc<ContainerConfig>,
    ports: Vec<ContainerPort>,
    address: IpAddr,
}

impl Target {
    fn new(alias: &str, record: &ContainerRecord, address: IpAddr) -> Self {
        Self {
            alias: alias.to_owned(),
            name: record.name.clone(),
            config: Arc::clone(&record.config),
            ports: exposed(record),
            address,
        }
    }

    fn line(&self) -> HostLine {
        let mut names = vec![self.alias.clone(), self.config.hostname.clone()];
        if self.name != self.alias {
            names.push(self.name.clone());
        }
        HostLine { address: self.address, names }
    }
}

/// Reads `name`, `name:alias`, or what inspect shows: `/name:/parent/alias`.
fn parse(text: &str) -> Result<(&str, &str)> {
    let bad =
        || Error::InvalidParameter(format!("bad format for links: {}", text.escape_default()));
    if text.is_empty() {
        return Err(Error::InvalidParameter("empty string specified for links".to_owned()));
    }
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let (name, alias) = match name.strip_prefix('/') {
        Some(name) => (name, alias.rsplit('/').next().unwrap_or_default()),
        None => (name, alias),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let valid = (1..=255).contains(&alias.len()) && alias.bytes().all(is_name);
    if name.is_empty() || !valid { Err(bad()) } else { Ok((name, alias)) }
}

/// Checks the links of a new container, and finds whom they mean.
///
/// # Errors
/// InvalidParameter: never NotFound, which clients take for the image's.
pub(super) fn resolve(engine: &Engine, host_config: &HostConfig) -> Result<Vec<Link>> {
    let invalid = |text: String| Err(Error::InvalidParameter(text));
    let mut links: Vec<Link> = Vec::new();
    for text in &host_config.links {
        let (name, alias) = parse(text)?;
        let find = |name: &str| engine.inner.registry.find(name);
        let unknown =
            |name: &str| format!("could not get container for {name}: No such container: {name}");
        let Ok(target) = find(name) else {
            return invalid(unknown(&name.escape_default().to_string()));
        };
        // Who lives in another's network is reached where that one is.
        let target = match owner(engine, target) {
            Ok(target) => target,
            Err(gone) => return invalid(unknown(&gone)),
        };
        if target.record().host_config.network_mode == NetworkMode::Host {
            return invalid(
                "conflicting options: host type networking can't be used with links. This would \
                 result in undefined behavior"
                    .to_owned(),
            );
        }
        let link = Link { container: target.id.clone(), alias: alias.to_owned() };
        match links.iter().find(|other| other.alias == link.alias) {
            Some(same) if *same == link => {}
            Some(_) => return invalid(format!("links: the alias {alias} is given twice")),
            None => links.push(link),
        }
    }
    Ok(links)
}

/// The links of a new container on a user-defined network are that network's.
pub(super) fn move_to_network(
    host_config: &mut HostConfig,
    networks: &mut BTreeMap<String, EndpointSettings>,
) {
    if let NetworkMode::User(name) = &host_config.network_mode {
        let links = std::mem::take(&mut host_config.links);
        if !links.is_empty() {
            networks.entry(name.clone()).or_default().links.extend(links);
        }
    }
}

/// What a start or an exec takes of a container's links.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    targets: Vec<Target>,
}

impl Linked {
    /// Checks those of a container that is about to start.
    ///
    /// # Errors
    /// Conflict where one does not run, or is not on the default network.
    pub(super) fn check(engine: &Engine, record: &ContainerRecord) -> Result<()> {
        for link in &record.links {
            // It ends with who was linked to.
            let Ok(container) = engine.inner.registry.find(link.container.as_str()) else {
                continue;
            };
            let other = container.record();
            if !other.state.status.has_process() {
                return Err(Error::Conflict(format!(
                    "Cannot link to a non running container: /{} AS /{}/{}",
                    other.name, record.name, link.alias
                )));
            }
            if address(&other).is_none() {
                return Err(Error::Conflict(format!(
                    "Cannot link to /{}, as it does not belong to the default network",
                    other.name
                )));
            }
        }
        Ok(())
    }

    /// Whoever is there.
    pub(crate) fn present(engine: &Engine, record: &ContainerRecord) -> Self {
        let target = |link: &Link| {
            let other = engine.inner.registry.find(link.container.as_str()).ok()?.record();
            let address = address(&other).filter(|_| other.state.status.has_process())?;
            Some(Target::new(&link.alias, &other, address))
        };
        Self { targets: record.links.iter().filter_map(target).collect() }
    }

    /// Lines for the hosts file.
    pub(super) fn hosts(&self) -> Vec<HostLine> {
        self.targets.iter().map(Target::line).collect()
    }

    /// Variables for the environment of `record`'s processes.
    pub(crate) fn environment(&self, record: &ContainerRecord) -> Vec<String> {
        self.targets.iter().flat_map(|target| variables(&record.name, target)).collect()
    }
}

/// Where a container is on the default network.
fn address(record: &ContainerRecord) -> Option<IpAddr> {
    record.networks.get(NETWORK)?.live.as_ref()?.ip_address
}

/// Ports that a container says others may use.
fn exposed(record: &ContainerRecord) -> Vec<ContainerPort> {
    let config = record.config.exposed_ports.iter();
    let mut ports: Vec<_> =
        config.chain(record.host_config.port_bindings.keys()).copied().collect();
    ports.sort_by_key(|port| (port.port, port.protocol.to_string() != "tcp"));
    ports.dedup();
    ports
}

/// What an endpoint's neighbours may reach of it if they are linked.
pub(super) fn open_ports(record: &ContainerRecord) -> Vec<(::network::Protocol, u16)> {
    let protocol = |port: &ContainerPort| match port.protocol {
        Protocol::Tcp => ::network::Protocol::Tcp,
        Protocol::Udp => ::network::Protocol::Udp,
        Protocol::Sctp => ::network::Protocol::Sctp,
    };
    exposed(record).iter().map(|port| (protocol(port), port.port)).collect()
}

/// Docker's variables, in its order.
fn variables(parent: &str, target: &Target) -> Vec<String> {
    let name = target.alias.to_uppercase().replace('-', "_");
    let address = target.address;
    let ports = &target.ports;
    let mut variables = Vec::new();
    let url = |port: &ContainerPort| format!("{}://{address}:{}", port.protocol, port.port);
    let of = |port: &ContainerPort| {
        format!("{name}_PORT_{}_{}", port.port, port.protocol.to_string().to_uppercase())
    };
    if let Some(first) = ports.first() {
        variables.push(format!("{name}_PORT={}", url(first)));
    }
    for run in ports.chunk_by(|a, b| a.protocol == b.protocol && a.port + 1 == b.port) {
        if let [first, .., last] = run {
            let (first_of, last_of) = (of(first), of(last));
            variables.push(format!("{first_of}_START={}", url(first)));
            variables.push(format!("{first_of}_PORT_START={}", first.port));
            variables.push(format!("{last_of}_END={}", url(last)));
            variables.push(format!("{first_of}_PORT_END={}", last.port));
        }
    }
    for port in ports {
        let of = of(port);
        variables.push(format!("{of}={}", url(port)));
        variables.push(format!("{of}_ADDR={address}"));
        variables.push(format!("{of}_PORT={}", port.port));
        variables.push(format!("{of}_PROTO={}", port.protocol));
    }
    variables.push(format!("{name}_NAME=/{parent}/{}", target.alias));
    for (key, value) in target.config.env.iter().filter_map(|entry| entry.split_once('=')) {
        // Those say something of the other container's file system alone.
        if !matches!(key, "HOME" | "PATH") {
            variables.push(format!("{name}_ENV_{key}={value}"));
        }
    }
    variables
}

/// Writes where a container is now into the hosts files of those that are linked to it.
pub(super) fn tell_linked(
    engine: &Engine,
    target: &ContainerRecord,
    networks: &BTreeMap<String, EndpointSettings>,
) {
    let live = networks.get(NETWORK).and_then(|settings| settings.live.as_ref());
    let Some(address) = live.and_then(|live| live.ip_address) else { return };
    for container in engine.inner.registry.all() {
        let record = container.record();
        if !record.state.status.has_process() {
            continue;
        }
        let links = record.links.iter().filter(|link| link.container == target.id);
        for link in links {
            let target = Target::new(&link.alias, target, address);
            tell(engine, &record, &container.paths, &target);
        }
    }
}

/// Tells a container that has started, and the others know it, where those are now that it is
/// linked to. One that started meanwhile did not find this one running, and told it nothing.
pub(super) fn catch_up(engine: &Engine, record: &ContainerRecord, paths: &ContainerPaths) {
    for target in &Linked::present(engine, record).targets {
        tell(engine, record, paths, target);
    }
}

fn tell(engine: &Engine, record: &ContainerRecord, paths: &ContainerPaths, target: &Target) {
    if let Err(error) = rewrite(engine, paths, &target.alias, Some(&target.line())) {
        tracing::warn!(container_id = %record.id, %error, "a link keeps its old address");
    }
}

/// Puts a line in the place of that which begins with the alias, or takes it out.
fn rewrite(
    engine: &Engine,
    paths: &ContainerPaths,
    alias: &str,
    line: Option<&HostLine>,
) -> std::io::Result<()> {
    let _one = engine.inner.hosts_files.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(&paths.hosts)?;
    let changed = ::network::replace_host_line(&text, alias, line);
    // In place: the container has the file mounted.
    if changed == text { Ok(()) } else { std::fs::write(&paths.hosts, changed) }
}

/// Takes a link out of what a running container has of it.
pub(super) fn undo(engine: &Engine, record: &ContainerRecord, paths: &ContainerPaths, link: &Link) {
    if let Err(error) = rewrite(engine, paths, &link.alias, None) {
        tracing::warn!(container_id = %record.id, %error, "a removed link stays in the hosts file");
    }
    let ids = reached(record);
    if let Err(error) = engine.inner.network.set_reached(record.id.as_str(), ids) {
        tracing::warn!(container_id = %record.id, %error, "a removed link stays open");
    }
}

/// Whether somebody linked to is about to come back: a start before that would fail.
pub(super) fn awaits(engine: &Engine, record: &ContainerRecord) -> bool {
    record.links.iter().any(|link| {
        let target = engine.inner.registry.find(link.container.as_str());
        target.is_ok_and(|target| target.record().state.status == Status::Restarting)
    })
}

/// Ids of those whose exposed ports the container reaches.
pub(super) fn reached(record: &ContainerRecord) -> Vec<String> {
    record.links.iter().map(|link| link.container.to_string()).collect()
}

/// Takes `web/db` apart, with or without a slash before it.
pub(crate) fn split(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix('/').unwrap_or(name).rsplit_once('/')
}

/// A container's links in inspect's words.
pub(super) fn shown(registry: &Registry, record: &ContainerRecord) -> Vec<String> {
    let shown = record.links.iter().filter_map(|link| {
        let target = registry.find(link.container.as_str()).ok()?.record();
        Some(format!("/{}:/{}/{}", target.name, record.name, link.alias))
    });
    shown.collect()
}

/// The names that containers have from others' links.
pub(super) fn names(registry: &Registry) -> BTreeMap<ContainerId, Vec<String>> {
    let mut names: BTreeMap<ContainerId, Vec<String>> = BTreeMap::new();
    for container in registry.all() {
        let record = container.record();
        for link in &record.links {
            let name = format!("/{}/{}", record.name, link.alias);
            names.entry(link.container.clone()).or_default().push(name);
        }
    }
    names.values_mut().for_each(|names| names.sort());
    names
}

#[cfg(test)]
mod tests;
