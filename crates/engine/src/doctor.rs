//! Why a container is not reached or reaches nobody: what the network finds, and whether names
//! resolve. Asking changes nothing.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ::network::{Driver, Finding};
use linux::namespace::in_namespace;
use resolver::{Probe, RESOLVER_FILE, ResolverConfig, Upstream};

use crate::container::NetworkMode;
use crate::container::handle::Container;
use crate::{Engine, Error, Result};

/// How long a name server may take; clients wait five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
const REFUSED: u8 = 5;

impl Engine {
    /// Examines a container or a network with its containers; without a name, everything. What
    /// concerns the host is always said.
    ///
    /// # Errors
    /// NotFound when nothing is called so.
    pub async fn network_doctor(&self, name: Option<&str>) -> Result<Vec<Finding>> {
        let (engine, name) = (self.clone(), name.map(str::to_owned));
        crate::blocking(move || {
            let patients = Patients::named(&engine, name.as_deref())?;
            let mut findings = engine.inner.network.examine_host();
            for network in &patients.networks {
                findings.extend(engine.inner.network.examine_network(network)?);
            }
            for container in &patients.containers {
                findings.extend(examine(&engine, container));
            }
            Ok(findings)
        })
        .await
    }
}

/// Whom to examine.
struct Patients {
    networks: Vec<String>,
    containers: Vec<Container>,
}

impl Patients {
    fn named(engine: &Engine, name: Option<&str>) -> Result<Self> {
        let (registry, network) = (&engine.inner.registry, &engine.inner.network);
        let Some(name) = name else {
            let has_wire =
                |driver| matches!(driver, Driver::Bridge | Driver::Macvlan | Driver::Overlay);
            let networks = network.list().into_iter().map(|info| info.record);
            let networks = networks.filter(|record| has_wire(record.driver));
            let mut containers = registry.all();
            containers.retain(|it| it.record().state.status.has_process());
            containers.sort_by_key(|it| it.record().name.clone());
            return Ok(Self { networks: networks.map(|it| it.id).collect(), containers });
        };
        if let Ok(container) = registry.find(name) {
            let endpoints = network.endpoints(container.id.as_str());
            let networks = endpoints.into_iter().map(|endpoint| endpoint.network_id).collect();
            return Ok(Self { networks, containers: vec![container] });
        }
        let info = network.inspect(name).map_err(|error| match error.kind() {
            ::network::ErrorKind::NotFound => {
                Error::NotFound(format!("No such container or network: {name}"))
            }
            _ => error.into(),
        })?;
        let containers = info.endpoints.iter();
        let containers = containers.filter_map(|it| registry.find(&it.container_id).ok());
        Ok(Self { networks: vec![info.record.id], containers: containers.collect() })
    }
}

fn examine(engine: &Engine, container: &Container) -> Vec<Finding> {
    let record = container.record();
    let about = format!("container {}", record.name);
    if !record.state.status.has_process() {
        let text = format!("does not run (it is {}): it has no network now", record.state.status);
        return vec![Finding::note(&about, text)];
    }
    match &record.host_config.network_mode {
        NetworkMode::Host => {
            return vec![Finding::note(&about, "has the host's own network: nothing is between")];
        }
        NetworkMode::Container(other) => {
            let text = format!("has the network of container {other}: examine that one");
            return vec![Finding::note(&about, text)];
        }
        _ => {}
    }
    let Ok(pid) = u32::try_from(record.state.pid) else { return Vec::new() };
    let mut findings =
        engine.inner.network.examine_container(record.id.as_str(), &record.name, pid);
    if engine.inner.network.endpoints(record.id.as_str()).is_empty() {
        return findings;
    }
    match linux::netlink::network_namespace_of(pid) {
        Ok(network) => {
            let inside = Inside { about, network };
            findings.extend(inside.examine_names(container, record.id.short()));
        }
        // It has just ended.
        Err(_) => findings.push(Finding::note(&about, "has just ended")),
    }
    findings
}

/// A container's network, to ask from.
struct Inside {
    about: String,
    network: OwnedFd,
}

impl Inside {
    fn examine_names(&self, container: &Container, own_name: &str) -> Vec<Finding> {
        let Some(config) = read_config(&container.paths.bundle.join(RESOLVER_FILE)) else {
            let text = std::fs::read_to_string(&container.paths.resolv_conf).unwrap_or_default();
            let servers = nameservers(&text);
            let upstream = |address| Upstream { address, on_host: false };
            return self.examine_upstreams(servers.into_iter().map(upstream).collect());
        };
        let mut findings = Vec::new();
        if !config.networks.is_empty() {
            findings.push(self.examine_resolver(own_name));
        }
        if config.forward {
            findings.extend(self.examine_upstreams(resolver::upstreams_of(&config)));
        }
        findings
    }

    /// Whether the container's own name resolves at its own resolver.
    fn examine_resolver(&self, own_name: &str) -> Finding {
        let address = IpAddr::V4(resolver::ADDRESS);
        match self.ask(Upstream { address, on_host: false }, own_name) {
            Ok(probe) if probe.has_data => {
                Finding::good(&self.about, format!("names of neighbours resolve at {address}"))
            }
            Ok(_) => Finding::problem(
                &self.about,
                format!("{address} answers, but does not know the container's own name"),
                "start the daemon again: it writes the names anew",
            ),
            Err(error) => Finding::problem(
                &self.about,
                format!("nobody answers for names at {address}: {error}"),
                "restart the container; if that does not help, its own firewall drops what is \
                 sent to its loopback",
            ),
        }
    }

    /// Asks all at once.
    fn examine_upstreams(&self, upstreams: Vec<Upstream>) -> Vec<Finding> {
        if upstreams.is_empty() {
            let remedy = "name some: in the host's /etc/resolv.conf, or with --dns";
            return vec![Finding::problem(&self.about, "has no name server to ask", remedy)];
        }
        std::thread::scope(|scope| {
            let asking: Vec<_> = upstreams
                .into_iter()
                .map(|upstream| (upstream, scope.spawn(move || self.ask(upstream, ""))))
                .collect();
            let asked = asking.into_iter().map(|(upstream, thread)| {
                let panicked = |_| Err(std::io::Error::other("the asking thread panicked"));
                self.upstream_finding(upstream.address, &thread.join().unwrap_or_else(panicked))
            });
            asked.collect()
        })
    }

    fn upstream_finding(&self, server: IpAddr, asked: &std::io::Result<Probe>) -> Finding {
        let remedy = format!(
            "see whether {server} can be reached from the container's network, or name others: \
             --dns, the daemon's \"dns\", the host's /etc/resolv.conf"
        );
        match asked {
            Ok(probe) if probe.rcode == REFUSED => {
                let text = format!("name server {server} refuses to answer");
                Finding::problem(&self.about, text, remedy)
            }
            Ok(probe) => {
                let elapsed = probe.elapsed.as_millis();
                Finding::good(&self.about, format!("name server {server} answers in {elapsed} ms"))
            }
            Err(error) => {
                let text = format!("name server {server} does not answer: {error}");
                Finding::problem(&self.about, text, remedy)
            }
        }
    }

    fn ask(&self, server: Upstream, name: &str) -> std::io::Result<Probe> {
        let ask = || resolver::probe(server.address, name, PATIENCE);
        if server.on_host { ask() } else { in_namespace(self.network.as_fd(), ask)? }
    }
}

fn read_config(path: &Path) -> Option<ResolverConfig> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let lines = resolv_conf.lines().filter_map(|line| line.strip_prefix("nameserver "));
    lines.filter_map(|address| address.trim().parse().ok()).collect()
}
