//! Why packets do not arrive, in words: what the kernel has is compared with what should be there.
//!
//! Looking changes nothing. What is said has three levels: as it should be, worth knowing, wrong.

mod container;
mod listeners;

use std::net::IpAddr;

use linux::netlink::{Family, Link, RouteEntry};

use crate::cidr::Cidr;
use crate::network::{Kernel, Network, lock};
use crate::overlay::{self, Sight};
use crate::record::{Driver, NetworkRecord};
use crate::{macvlan, rules};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// Meant so, but good to know.
    Note,
    /// Packets are lost here.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// `host`, `network NAME` or `container NAME`.
    pub about: String,
    pub text: String,
    /// What to do, often a command.
    pub remedy: Option<String>,
}

impl Finding {
    pub fn good(about: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Good, about, text, None)
    }

    pub fn note(about: &str, text: impl Into<String>) -> Self {
        Self::new(Level::Note, about, text, None)
    }

    pub fn problem(about: &str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Problem, about, text, Some(remedy.into()))
    }

    fn new(level: Level, about: &str, text: impl Into<String>, remedy: Option<String>) -> Self {
        Self { level, about: about.to_owned(), text: text.into(), remedy }
    }
}

/// Subject of what concerns all containers.
const HOST: &str = "host";

impl Network {
    /// What concerns every container: forwarding, our rules, and the rules of others.
    pub fn examine_host(&self) -> Vec<Finding> {
        let (bridges, endpoints) = self.inner.expected_rules();
        if bridges.is_empty() {
            return vec![Finding::note(HOST, "no network has a bridge")];
        }
        let mut findings =
            vec![forwarding("net.ipv4.ip_forward", read_sysctl("ipv4/ip_forward").as_deref())];
        let table = &self.inner.table;
        {
            let mut kernel = lock(&self.inner.kernel);
            let intact = rules::is_intact(&mut kernel.nftables, table, &bridges, &endpoints);
            findings.push(rules_finding(table, intact));
            let counts = kernel.nftables.rule_counts(table).unwrap_or_default();
            let own = counts.iter().find(|(chain, count)| chain == "TEU-USER" && *count > 0);
            findings.extend(own.map(|(chain, count)| {
                let text = format!(
                    "chain {chain} has {count} rules of yours, which see forwarded packets first"
                );
                Finding::note(HOST, text)
            }));
            // Its chains accept by default and refuse by their last rules, which nobody else sees.
            if !kernel.nftables.chains("firewalld").unwrap_or_default().is_empty() {
                let text = format!(
                    "firewalld is at work: its zones decide what containers reach (firewall-cmd \
                     --permanent --zone=trusted --add-interface={} lets them out), and let every \
                     published port through",
                    bridges[0].interface
                );
                findings.push(Finding::note(HOST, text));
            }
        }
        findings.extend(self.warnings().iter().map(|warning| {
            let (text, remedy) = warning.split_once(". To let them: ").unwrap_or((warning, ""));
            Finding::problem(HOST, text, remedy)
        }));
        findings
    }

    /// What concerns one network: its bridge, addresses, routes.
    ///
    /// # Errors
    /// If there is no such network.
    pub fn examine_network(&self, network: &str) -> crate::Result<Vec<Finding>> {
        let record = self.inspect(network)?.record;
        let about = format!("network {}", record.name);
        if record.driver == Driver::Macvlan {
            let parent = macvlan::parent_of(&record);
            let link = lock(&self.inner.kernel).route.link(&parent);
            return Ok(vec![parent_finding(&about, &parent, link.ok().flatten().as_ref())]);
        }
        if record.is_swarm() {
            let peers = lock(&self.inner.state).peers_of(&record.id).to_vec();
            let mut kernel = lock(&self.inner.kernel);
            let guards = kernel.nftables.dropping_input_chains().unwrap_or_default();
            return Ok(match Seen::of(&mut kernel) {
                Ok(Seen { links, addresses, .. }) => {
                    let (links, addresses, guards) = (&links, &addresses, &guards);
                    overlay::findings(
                        &about,
                        &record,
                        Sight { links, addresses, guards, peers: &peers },
                    )
                }
                Err(error) => vec![unreadable(&about, &error)],
            });
        }
        if record.driver != Driver::Bridge {
            return Ok(vec![Finding::note(&about, format!("has no bridge ({})", record.driver))]);
        }
        let mut findings = Vec::new();
        if record.internal {
            let text = "is internal: its containers reach nothing outside, and are not reached";
            findings.push(Finding::note(&about, text));
        }
        let mut kernel = lock(&self.inner.kernel);
        match Seen::of(&mut kernel) {
            Ok(seen) => findings.extend(bridge_findings(&about, &record, &seen)),
            Err(error) => findings.push(unreadable(&about, &error)),
        }
        Ok(findings)
    }
}

fn unreadable(about: &str, error: &std::io::Error) -> Finding {
    let text = format!("interfaces and routes cannot be read: {error}");
    Finding::problem(about, text, "start the daemon again")
}

/// The host's side, as the kernel has it.
#[derive(Debug, Default)]
struct Seen {
    links: Vec<Link>,
    addresses: Vec<(u32, IpAddr)>,
    routes: Vec<RouteEntry>,
}

impl Seen {
    fn of(kernel: &mut Kernel) -> std::io::Result<Self> {
        let mut seen = Self { links: kernel.route.links()?, ..Self::default() };
        for family in Family::BOTH {
            let addresses = kernel.route.addresses(family)?;
            seen.addresses.extend(addresses.iter().map(|it| (it.link, it.address)));
            seen.routes.extend(kernel.route.routes(family)?);
        }
        Ok(seen)
    }

    fn name_of(&self, link: Option<u32>) -> &str {
        let found = self.links.iter().find(|it| Some(it.index) == link);
        found.map_or("another interface", |link| link.name.as_str())
    }
}

fn bridge_findings(about: &str, record: &NetworkRecord, seen: &Seen) -> Vec<Finding> {
    let name = record.interface.as_deref().unwrap_or_default();
    let Some(bridge) = seen.links.iter().find(|link| link.name == name) else {
        let text = format!("its bridge {name} is missing");
        return vec![Finding::problem(about, text, "start the daemon again: it makes the bridge")];
    };
    let mut findings = Vec::new();
    if !bridge.is_up {
        let text = format!("its bridge {name} is down");
        findings.push(Finding::problem(about, text, format!("ip link set {name} up")));
    }
    for ipam in &record.ipam {
        let subnet = ipam.subnet.network();
        if let Some(gateway) = ipam.gateway
            && !seen.addresses.contains(&(bridge.index, gateway))
        {
            let text = format!("its bridge {name} does not have the gateway's address {gateway}");
            let remedy = format!("ip address add {gateway}/{} dev {name}", subnet.prefix());
            findings.push(Finding::problem(about, text, remedy));
        }
        findings.extend(clashes(about, subnet, bridge.index, seen));
    }
    if findings.is_empty() {
        findings.push(Finding::good(about, format!("bridge {name} is up and has its addresses")));
    }
    findings
}

fn parent_finding(about: &str, parent: &str, link: Option<&Link>) -> Finding {
    match link {
        None => Finding::problem(
            about,
            format!("its parent interface {parent} is missing"),
            "bring the interface back, or make the network anew with another -o parent=…",
        ),
        Some(link) if !link.is_up => Finding::problem(
            about,
            format!("its parent interface {parent} is down"),
            format!("ip link set {parent} up"),
        ),
        Some(_) => Finding::good(
            about,
            format!(
                "is on the wire of {parent}; host and containers do not reach each other by it"
            ),
        ),
    }
}

/// Routes of others into the subnet: a VPN that came after the network was made.
fn clashes(about: &str, subnet: Cidr, bridge: u32, seen: &Seen) -> Vec<Finding> {
    let others = seen.routes.iter().filter(|route| {
        let range = Cidr::new(route.destination, route.prefix);
        let is_specific = route.prefix > 0 && route.link != Some(bridge) && !route.is_local;
        is_specific && range.is_some_and(|range| range.overlaps(subnet))
    });
    let finding = |route: &RouteEntry| {
        let other = seen.name_of(route.link);
        let text = format!(
            "its subnet {subnet} clashes with {}/{}, which is reached by {other}",
            route.destination, route.prefix
        );
        let remedy = "create the network anew with a --subnet that nobody else uses";
        Finding::problem(about, text, remedy)
    };
    others.map(finding).collect()
}

fn rules_finding(table: &str, intact: std::io::Result<bool>) -> Finding {
    match intact {
        Ok(true) => Finding::good(HOST, format!("the rules in table inet {table} are complete")),
        Ok(false) => Finding::problem(
            HOST,
            format!("the rules in table inet {table} are not what they should be"),
            "the daemon puts them back within a moment; if this stays, `nft monitor` shows who \
             deletes them",
        ),
        Err(error) => Finding::problem(
            HOST,
            format!("the rules in table inet {table} cannot be read: {error}"),
            "start the daemon again",
        ),
    }
}

fn forwarding(key: &str, value: Option<&str>) -> Finding {
    if value == Some("1") {
        return Finding::good(HOST, format!("packets are forwarded ({key} is 1)"));
    }
    let shown = value.unwrap_or("unknown");
    let text = format!(
        "packets are not forwarded ({key} is {shown}): containers reach nothing outside, and \
         nobody reaches their published ports from there"
    );
    let remedy = format!("sysctl -w {key}=1; then find out who turned it off, in /etc/sysctl.d");
    Finding::problem(HOST, text, remedy)
}

fn read_sysctl(key: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/{key}")).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
