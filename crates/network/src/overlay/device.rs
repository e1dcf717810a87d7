//! The VXLAN interface by which a host's part of an overlay network reaches the others.
//!
//! Ours carries the alias `teu-vxlan:<data-root>`. It lies in the host's own network namespace, so
//! that it outlives the daemon, as the bridge does whose port it is. What it knows of the other hosts
//! is compared with what it should know and put right, whoever told it what it knows.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use linux::netlink::{Family, Forwarding, Link, Neighbour, Request, Route, Vxlan};
use rustix::io::Errno;

use super::fabric::Peer;
use super::record::OverlayRecord;
use crate::bridge;
use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::macvlan::lacks;

/// What the interface should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// Whose port it is.
    pub(crate) bridge: String,
    pub(crate) vxlan: Vxlan,
    pub(crate) mtu: u32,
}

impl Plan {
    /// `None` for a network that this host has no part of.
    pub(crate) fn of(network_id: &str, bridge: &str, overlay: &OverlayRecord) -> Option<Self> {
        let part = overlay.part.as_ref()?;
        Some(Self {
            name: name_of(network_id),
            bridge: bridge.to_owned(),
            vxlan: Vxlan {
                vni: overlay.vni,
                local: part.underlay.address,
                port: part.underlay.port,
            },
            mtu: part.mtu,
        })
    }
}

/// Of the VXLAN interface of a network; 15 letters at most.
pub(crate) fn name_of(network_id: &str) -> String {
    format!("vx-{}", network_id.get(..12).unwrap_or(network_id))
}

/// Makes the interface what it should be, and tells it of the others. Changes nothing that is right.
pub(crate) fn ensure(
    route: &mut Route,
    config: &Config,
    plan: &Plan,
    peers: &[Peer],
) -> Result<()> {
    let name = &plan.name;
    let action = || format!("look for interface {name}");
    let master = route.link(&plan.bridge).context(action)?;
    let master = master.ok_or_else(|| Error::BridgeMissing(plan.bridge.clone()))?.index;
    let present = route.link(name).context(action)?;
    let link = match present {
        Some(link) if is_unmarked(&link, &plan.vxlan) => mark(route, config, name, link)?,
        Some(link) if !is_ours(&link, config) => {
            return Err(Error::Invalid(format!(
                "interface {name}, which an overlay network needs, is there already and another's: \
                 see `ip -d link show {name}`, and delete or rename it"
            )));
        }
        // Where packets leave from and what is around them cannot be changed.
        Some(link) if link.vxlan != Some(plan.vxlan) => {
            route
                .execute([Request::delete_link(name)])
                .context(|| format!("replace interface {name}"))?;
            create(route, config, plan, master)?
        }
        Some(link) => link,
        None => create(route, config, plan, master)?,
    };
    if link.master != Some(master) {
        let action = || format!("put interface {name} into bridge {}", plan.bridge);
        route.execute([Request::set_master(link.index, master)]).context(action)?;
    }
    for interface in [name, &plan.bridge] {
        bridge::turn_ipv6_off(interface)?;
    }
    if !link.is_up {
        raise(route, plan, link.index)?;
    }
    tell(route, link.index, peers).context(|| format!("tell interface {name} of other hosts"))
}

fn create(route: &mut Route, config: &Config, plan: &Plan, master: u32) -> Result<Link> {
    let Plan { name, vxlan, mtu, .. } = plan;
    let action = || format!("create interface {name} for VXLAN {}", vxlan.vni);
    match route.execute([Request::create_vxlan(name, vxlan, master, *mtu)]) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Invalid(format!(
                "cannot {}: another interface of this host has the number {} on UDP port {} \
                 already; `ip -d link show type vxlan` shows which, delete it",
                action(),
                vxlan.vni,
                vxlan.port
            )));
        }
        created => created.map_err(|error| lacks(error, action(), "VXLAN", "CONFIG_VXLAN"))?,
    }
    let link = route.link(name).context(action)?;
    let link = link.ok_or(io::ErrorKind::NotFound).map_err(io::Error::from).context(action)?;
    // Whose it is, before anything else is done with it.
    mark(route, config, name, link)
}

fn mark(route: &mut Route, config: &Config, name: &str, link: Link) -> Result<Link> {
    let alias = alias(config);
    let action = || format!("mark interface {name}");
    route.execute([Request::set_alias(link.index, &alias)]).context(action)?;
    Ok(Link { alias: Some(alias), ..link })
}

/// Whether a process was killed between making the interface and marking it: it is what the record
/// of our network says, under a name with that network's id.
fn is_unmarked(link: &Link, vxlan: &Vxlan) -> bool {
    link.alias.as_deref().unwrap_or_default().is_empty() && link.vxlan.as_ref() == Some(vxlan)
}

/// Opens the UDP port.
fn raise(route: &mut Route, plan: &Plan, link: u32) -> Result<()> {
    let action = || format!("raise interface {}", plan.name);
    match route.execute([Request::raise(link)]) {
        Err(error) if error.raw_os_error() == Some(Errno::ADDRINUSE.raw_os_error()) => {
            Err(Error::Invalid(format!(
                "cannot {}: UDP port {} is taken by a process (`ss -lunp`); stop it, or give the \
                 swarm another port (swarm init --data-path-port)",
                action(),
                plan.vxlan.port
            )))
        }
        raised => raised.context(action),
    }
}

/// Makes what the interface knows exactly what these say.
fn tell(route: &mut Route, link: u32, peers: &[Peer]) -> io::Result<()> {
    let forwardings = route.forwardings(link)?;
    let neighbours = route.permanent_neighbours(link, Family::V4)?;
    let requests = changes(link, peers, &forwardings, &neighbours);
    if requests.is_empty() {
        return Ok(());
    }
    match route.execute(requests) {
        // What is to be forgotten had been forgotten.
        Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(()),
        done => done,
    }
}

/// What is to be said, given what is known. New things first: a container that moved to another host
/// is never nowhere.
fn changes(
    link: u32,
    peers: &[Peer],
    forwardings: &[Forwarding],
    neighbours: &[Neighbour],
) -> Vec<Request> {
    let to = |peer: &Peer| Forwarding { mac: peer.mac.0, vtep: peer.vtep };
    let has = |peer: &Peer| Neighbour { address: IpAddr::V4(peer.ipv4), mac: peer.mac.0 };
    let wanted_forwardings: BTreeSet<Forwarding> = peers.iter().map(to).collect();
    let wanted_neighbours: BTreeSet<Neighbour> = peers.iter().map(has).collect();
    let known_forwardings: BTreeSet<Forwarding> = forwardings.iter().copied().collect();
    let known_neighbours: BTreeSet<Neighbour> = neighbours.iter().copied().collect();
    let news: Vec<&Forwarding> = wanted_forwardings.difference(&known_forwardings).collect();
    let new_neighbours: Vec<&Neighbour> = wanted_neighbours.difference(&known_neighbours).collect();
    // What is replaced goes with its replacement.
    let replaced: BTreeSet<[u8; 6]> = news.iter().map(|it| it.mac).collect();
    let renewed: BTreeSet<IpAddr> = new_neighbours.iter().map(|it| it.address).collect();
    let gone = known_forwardings.difference(&wanted_forwardings);
    let gone = gone.filter(|it| !replaced.contains(&it.mac));
    let gone_neighbours = known_neighbours.difference(&wanted_neighbours);
    let gone_neighbours = gone_neighbours.filter(|it| !renewed.contains(&it.address));
    let mut requests = Vec::new();
    requests.extend(news.iter().map(|it| Request::set_forwarding(link, it)));
    requests.extend(new_neighbours.iter().map(|it| Request::set_neighbour(link, it)));
    requests.extend(gone.map(|it| Request::delete_forwarding(link, it)));
    requests.extend(gone_neighbours.map(|it| Request::delete_neighbour(link, it)));
    requests
}

/// Deletes an interface of ours; another's stays.
pub(crate) fn delete(route: &mut Route, config: &Config, plan: &Plan) -> Result<()> {
    let name = &plan.name;
    let action = || format!("delete interface {name}");
    match route.link(name).context(action)? {
        Some(link) if is_ours(&link, config) || is_unmarked(&link, &plan.vxlan) => {
            crate::reaper::gone(route.execute([Request::delete_link(name)])).context(action)
        }
        _ => Ok(()),
    }
}

/// Whether a daemon with this data-root made the interface.
pub(crate) fn is_ours(link: &Link, config: &Config) -> bool {
    link.vxlan.is_some() && link.alias.as_deref() == Some(alias(config).as_str())
}

fn alias(config: &Config) -> String {
    let bridge = bridge::alias(config);
    format!("teu-vxlan:{}", bridge.strip_prefix("teu:").unwrap_or(&bridge))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::endpoint::MacAddress;

    fn peer(last: u8, vtep: u8) -> Peer {
        let ipv4 = Ipv4Addr::new(10, 0, 1, last);
        Peer {
            ipv4,
            mac: MacAddress::from_ip(ipv4),
            vtep: Ipv4Addr::new(192, 0, 2, vtep).into(),
            node_name: "host".to_owned(),
            container_id: "id".to_owned(),
            container_name: "name".to_owned(),
            hostname: None,
            aliases: Vec::new(),
        }
    }

    fn shown(requests: &[Request]) -> Vec<String> {
        let mut kinds: Vec<String> = requests
            .iter()
            .map(|request| {
                let text = format!("{request:?}");
                let verb = if text.contains("NewNeighbour") { "set" } else { "delete" };
                let what = if text.contains("family: Bridge") { "forwarding" } else { "neighbour" };
                format!("{verb} {what}")
            })
            .collect();
        kinds.dedup();
        kinds
    }

    #[test]
    fn only_differences_are_said_and_news_first() {
        let known = |peers: &[Peer]| {
            let forwardings: Vec<_> =
                peers.iter().map(|it| Forwarding { mac: it.mac.0, vtep: it.vtep }).collect();
            let neighbours: Vec<_> = peers
                .iter()
                .map(|it| Neighbour { address: it.ipv4.into(), mac: it.mac.0 })
                .collect();
            (forwardings, neighbours)
        };
        let check = |before: &[Peer], after: &[Peer], expected: &[&str]| {
            let (forwardings, neighbours) = known(before);
            assert_eq!(shown(&changes(7, after, &forwardings, &neighbours)), expected);
        };
        check(&[], &[], &[]);
        check(&[peer(2, 1)], &[peer(2, 1)], &[]);
        check(&[], &[peer(2, 1)], &["set forwarding", "set neighbour"]);
        check(&[peer(2, 1)], &[], &["delete forwarding", "delete neighbour"]);
        // Moved: the entry is replaced, and nothing is deleted.
        check(&[peer(2, 1)], &[peer(2, 9)], &["set forwarding"]);
        check(
            &[peer(2, 1)],
            &[peer(3, 1)],
            &["set forwarding", "set neighbour", "delete forwarding", "delete neighbour"],
        );
    }
}
