//! What may be wrong with an overlay network on this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use linux::netlink::Link;
use linux::netlink::nft::ForeignChain;

use super::device::{Plan, name_of};
use super::fabric::Peer;
use super::options::overhead;
use super::record::Part;
use crate::doctor::Finding;
use crate::record::NetworkRecord;

/// The host, as the kernel and the swarm have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) links: &'a [Link],
    pub(crate) addresses: &'a [(u32, IpAddr)],
    /// Chains that let in only what a rule of theirs names.
    pub(crate) guards: &'a [ForeignChain],
    pub(crate) peers: &'a [Peer],
}

/// Examines a host's part of a network: its interfaces, and the way to the other hosts.
pub(crate) fn findings(about: &str, record: &NetworkRecord, sight: Sight<'_>) -> Vec<Finding> {
    let Sight { links, addresses, guards, peers } = sight;
    let overlay = record.overlay.as_ref();
    let Some((overlay, part)) = overlay.and_then(|it| Some((it, it.part.as_ref()?))) else {
        let text = "is an overlay that no container of this host is in: nothing of it is here";
        return vec![Finding::note(about, text)];
    };
    let bridge = record.interface.as_deref().unwrap_or_default();
    let plan = Plan::of(&record.id, bridge, overlay);
    let mut findings = Vec::new();
    for name in [bridge, &name_of(&record.id)] {
        match links.iter().find(|link| link.name == name) {
            None => findings.push(Finding::problem(
                about,
                format!("its interface {name} is missing"),
                "the daemon puts it back within a moment; if this stays, its log says why",
            )),
            Some(link) if !link.is_up => findings.push(Finding::problem(
                about,
                format!("its interface {name} is down"),
                format!("ip link set {name} up"),
            )),
            Some(link)
                if link.vxlan.is_some() && link.vxlan != plan.as_ref().map(|it| it.vxlan) =>
            {
                findings.push(Finding::problem(
                    about,
                    format!("its interface {name} is for another VXLAN, address or port"),
                    "start the daemon again: it makes the interface anew",
                ));
            }
            Some(_) => {}
        }
    }
    findings.extend(underlay(about, part, links, addresses));
    let mut hosts: Vec<IpAddr> = peers.iter().map(|peer| peer.vtep).collect();
    hosts.sort_unstable();
    hosts.dedup();
    findings.extend(hosts.iter().filter_map(|host| unreachable(about, *host, part)));
    if findings.is_empty() {
        let text = format!(
            "VXLAN {} to {} other host{}, from {} by UDP port {}, which firewalls have to let in, and \
             packets of {} bytes",
            overlay.vni,
            hosts.len(),
            if hosts.len() == 1 { "" } else { "s" },
            part.underlay.address,
            part.underlay.port,
            part.mtu
        );
        findings.push(Finding::good(about, text));
    }
    findings.extend(guards.iter().map(|chain| guarded(about, chain, part.underlay.port)));
    findings
}

/// Which rules a chain has for the port is not looked at: there are too many ways to say it.
fn guarded(about: &str, chain: &ForeignChain, port: u16) -> Finding {
    let ForeignChain { family, table, name } = chain;
    let rule = match *family {
        "ip" => format!("iptables -I {name} -p udp --dport {port} -s ADDRESS -j ACCEPT"),
        _ => format!(
            "nft insert rule {family} {table} {name} ip saddr ADDRESS udp dport {port} accept"
        ),
    };
    let text = format!(
        "chain {name} of table {family} {table} drops what no rule of it lets in: UDP port {port} \
         has to be among that, from each other host (`{rule}`)"
    );
    Finding::note(about, text)
}

/// The address that packets leave from, and the wire they go on.
fn underlay(
    about: &str,
    part: &Part,
    links: &[Link],
    addresses: &[(u32, IpAddr)],
) -> Option<Finding> {
    let address = part.underlay.address;
    let Some((wire, _)) = addresses.iter().find(|(_, it)| *it == address) else {
        return Some(Finding::problem(
            about,
            format!("packets to other hosts leave from {address}, which this host does not have"),
            "give the address back to the host, or leave the swarm and join it with another \
             --advertise-addr",
        ));
    };
    let wire = links.iter().find(|link| link.index == *wire)?;
    let room = wire.mtu.saturating_sub(overhead(address));
    (part.mtu > room).then(|| {
        Finding::problem(
            about,
            format!(
                "its packets may have {} bytes, but {} leaves room for {room}: large ones to other \
                 hosts are cut or lost",
                part.mtu, wire.name
            ),
            format!(
                "make the network anew with -o com.docker.network.driver.mtu={room}, or raise the \
                 MTU of {} on all hosts",
                wire.name
            ),
        )
    })
}

/// Whether there is no route to another host. Nothing is sent.
fn unreachable(about: &str, host: IpAddr, part: &Part) -> Option<Finding> {
    let any: IpAddr = match host {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    let error = socket.connect(SocketAddr::new(host, part.underlay.port)).err()?;
    Some(Finding::problem(
        about,
        format!("host {host}, which has containers in it, cannot be reached: {error}"),
        format!("`ip route get {host}` has to name a way"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::overlay::{OverlayRecord, Underlay};
    use crate::predefined::new_record;
    use crate::record::Driver;

    fn link(index: u32, name: &str, mtu: u32) -> Link {
        Link {
            index,
            name: name.to_owned(),
            is_bridge: false,
            is_up: true,
            master: None,
            alias: None,
            mac: Vec::new(),
            mtu,
            vxlan: None,
        }
    }

    #[test]
    fn what_is_missing_or_too_small_is_found() {
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        let mut record = new_record("ov", Driver::Overlay);
        record.interface = Some("br-ov".to_owned());
        let underlay = Underlay { address, port: 4789, node_name: "one".to_owned() };
        record.overlay =
            Some(OverlayRecord { vni: 4096, part: Some(Part { underlay, mtu: 1450 }) });
        let vxlan = name_of(&record.id);
        let links = |mtu| vec![link(1, "wan0", mtu), link(2, "br-ov", 1450), link(3, &vxlan, 1450)];
        let check = |links: &[Link], addresses: &[(u32, IpAddr)], expected: &[&str]| {
            let guard =
                ForeignChain { family: "ip", table: "filter".to_owned(), name: "INPUT".to_owned() };
            let sight = Sight { links, addresses, guards: &[guard], peers: &[] };
            let found = findings("network ov", &record, sight);
            let note = found.last().unwrap();
            assert!(note.level == Level::Note && note.text.contains("--dport 4789"), "{note:?}");
            let problems: Vec<_> =
                found.iter().filter(|it| it.level == Level::Problem).map(|it| &it.text).collect();
            assert_eq!(problems.len(), expected.len(), "{found:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.contains(expected), "{problem}");
            }
        };
        let here = [(1, address)];
        check(&links(1500), &here, &[]);
        check(&links(1400), &here, &["wan0 leaves room for 1350"]);
        check(&links(1500), &[], &["which this host does not have"]);
        check(&links(1500)[..2], &here, &["vx-"]);
    }
}
