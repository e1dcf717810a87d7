//! Our one nftables table: what is in it, and how it is replaced without a gap.
//!
//! ```text
//! table inet teu {
//!   map ports          { proto . port           : container address . port }   bound to 0.0.0.0
//!   map address_ports  { proto . address . port : container address . port }   bound to one address
//!   map ports6, address_ports6   the same in IPv6
//!   map port_ranges    { proto . first-last     : container address }          ports that keep their number
//!   map address_port_ranges, port_ranges6, address_port_ranges6   likewise
//!   set routed, routed6 { container address . proto . port }   published without translation
//!   set linked { address . address . proto . port }   who reaches whose open port by a legacy link
//!   set bridges, internal, … { interface }                     which bridge is of what kind
//!   set icc, trusted   { from . to }                            who passes without being published
//!   chain TEU-USER     the administrator's: run for every forwarded packet before ours
//!   chain guard        prerouting, raw:  containers cannot reach the host's loopback
//!   chain prerouting   dstnat:           published ports, from outside and from containers
//!   chain output       dstnat:           published ports, from the host itself
//!   chain publish, publish6              the lookups
//!   chain postrouting  srcnat:           masquerade of what leaves a bridge's network
//!   chain forward      filter:           into a bridge only answers, published ports, neighbours
//! }
//! ```
//! Bridges are in sets, so that a forwarded packet passes the same few rules however many there are.
//! Ten thousand published ports are ten thousand map elements behind two rules, or one element where
//! they are neighbours and keep their numbers. All rules and
//! elements are replaced in one transaction, so that a live connection or port never sees a gap;
//! TEU-USER is made once and never flushed. A verdict to accept ends only our own chains: whatever
//! another table drops stays dropped.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linux::netlink::Family;
use linux::netlink::nft::{
    AddressKind, BaseChain, Batch, ChainKind, CtState, Element, ElementChange, Expression as E,
    ForeignChain, Hook, Map, Nftables, Verdict,
};

use crate::cidr::Cidr;
use crate::endpoint::Endpoint;
use crate::port::PortBinding;

const USER: &str = "TEU-USER";

/// Data types as the `nft` tool numbers them.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;
const IFNAME: u32 = 41;

const PORTS: Map<'_> = Map {
    name: "ports",
    key_type: (INET_PROTO << 6) | INET_SERVICE,
    key_bytes: 8,
    data: Some(((IPV4_ADDR << 6) | INET_SERVICE, 8)),
    parts: &[],
};
const ADDRESS_PORTS: Map<'_> = Map {
    name: "address_ports",
    key_type: (INET_PROTO << 12) | (IPV4_ADDR << 6) | INET_SERVICE,
    key_bytes: 12,
    ..PORTS
};
const PORTS6: Map<'_> =
    Map { name: "ports6", data: Some(((IPV6_ADDR << 6) | INET_SERVICE, 20)), ..PORTS };
const ADDRESS_PORTS6: Map<'_> = Map {
    name: "address_ports6",
    key_type: (INET_PROTO << 12) | (IPV6_ADDR << 6) | INET_SERVICE,
    key_bytes: 24,
    ..PORTS6
};
const PORT_RANGES: Map<'_> =
    Map { name: "port_ranges", data: Some((IPV4_ADDR, 4)), parts: &[1, 2], ..PORTS };
const ADDRESS_PORT_RANGES: Map<'_> = Map {
    name: "address_port_ranges",
    data: Some((IPV4_ADDR, 4)),
    parts: &[1, 4, 2],
    ..ADDRESS_PORTS
};
const PORT_RANGES6: Map<'_> =
    Map { name: "port_ranges6", data: Some((IPV6_ADDR, 16)), ..PORT_RANGES };
const ADDRESS_PORT_RANGES6: Map<'_> = Map {
    name: "address_port_ranges6",
    data: Some((IPV6_ADDR, 16)),
    parts: &[1, 16, 2],
    ..ADDRESS_PORTS6
};
const ROUTED: Map<'_> = Map {
    name: "routed",
    key_type: (IPV4_ADDR << 12) | (INET_PROTO << 6) | INET_SERVICE,
    key_bytes: 12,
    data: None,
    parts: &[],
};
const ROUTED6: Map<'_> = Map {
    name: "routed6",
    key_type: (IPV6_ADDR << 12) | (INET_PROTO << 6) | INET_SERVICE,
    key_bytes: 24,
    data: None,
    parts: &[],
};
/// Filled from the endpoints.
const PORT_MAPS: [&Map<'_>; 10] = [
    &PORTS,
    &ADDRESS_PORTS,
    &PORTS6,
    &ADDRESS_PORTS6,
    &PORT_RANGES,
    &ADDRESS_PORT_RANGES,
    &PORT_RANGES6,
    &ADDRESS_PORT_RANGES6,
    &ROUTED,
    &ROUTED6,
];

/// Filled from pairs of endpoints.
const LINKED: Map<'_> = Map {
    name: "linked",
    key_type: (IPV4_ADDR << 18) | (IPV4_ADDR << 12) | (INET_PROTO << 6) | INET_SERVICE,
    key_bytes: 16,
    data: None,
    parts: &[],
};

const fn interfaces(name: &'static str) -> Map<'static> {
    Map { name, key_type: IFNAME, key_bytes: 16, data: None, parts: &[] }
}

const fn pairs(name: &'static str) -> Map<'static> {
    Map { name, key_type: (IFNAME << 6) | IFNAME, key_bytes: 32, data: None, parts: &[] }
}

const BRIDGES: Map<'_> = interfaces("bridges");
const INTERNAL: Map<'_> = interfaces("internal");
const OPEN: Map<'_> = interfaces("open");
const OPEN6: Map<'_> = interfaces("open6");
const PINGED: Map<'_> = interfaces("pinged");
const PINGED6: Map<'_> = interfaces("pinged6");
const ICC: Map<'_> = pairs("icc");
const TRUSTED: Map<'_> = pairs("trusted");
/// Filled from the networks.
const BRIDGE_SETS: [&Map<'_>; 8] =
    [&BRIDGES, &INTERNAL, &OPEN, &OPEN6, &PINGED, &PINGED6, &ICC, &TRUSTED];

const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
const LOOPBACK6: (IpAddr, u8) = (IpAddr::V6(Ipv6Addr::LOCALHOST), 128);

/// A subnet behind a bridge, and how it meets the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubnetRules {
    pub(crate) range: Cidr,
    /// What leaves gets the host's address.
    pub(crate) masquerade: bool,
    /// Every port is reached by who has a route.
    pub(crate) open: bool,
    /// Containers are reached under their own addresses, and so answer a ping.
    pub(crate) routed: bool,
}

/// What the rules need to know of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    pub(crate) interface: String,
    pub(crate) subnets: Vec<SubnetRules>,
    pub(crate) icc: bool,
    /// Nothing passes between it and the world.
    pub(crate) internal: bool,
    /// Interfaces from which its containers are reached directly.
    pub(crate) trusted: Vec<String>,
}

/// The table's name: two daemons are called differently, hence have two tables.
pub(crate) fn table_name(identity: &str) -> String {
    if identity == "teu0" { "teu".to_owned() } else { format!("teu-{identity}") }
}

/// An element, and of which map.
type Member = (&'static str, Element);

fn single(map: &Map<'static>, key: Vec<u8>, data: Vec<u8>) -> Member {
    (map.name, Element { key, key_end: None, data })
}

/// Replaces everything but TEU-USER by exactly these bridges and endpoints.
pub(crate) fn apply(
    nftables: &mut Nftables,
    table: &str,
    bridges: &[BridgeRules],
    endpoints: &[Endpoint],
) -> io::Result<()> {
    let mut batch = Batch::new(table);
    batch.add_table();
    for map in PORT_MAPS {
        batch.add_map(map);
        batch.flush_map(map.name);
    }
    batch.add_map(&LINKED);
    replace_links(&mut batch, endpoints);
    replace_bridges(&mut batch, bridges);
    change(&mut batch, ElementChange::Add, &elements_of_all(endpoints));
    nftables.commit(&batch)
}

/// Replaces what links open. Fails where the table is not as [`apply`] left it.
pub(crate) fn apply_links(
    nftables: &mut Nftables,
    table: &str,
    endpoints: &[Endpoint],
) -> io::Result<()> {
    let mut batch = Batch::new(table);
    replace_links(&mut batch, endpoints);
    nftables.commit(&batch)
}

fn replace_links(batch: &mut Batch, endpoints: &[Endpoint]) {
    batch.flush_map(LINKED.name);
    let links = links_between(endpoints);
    if !links.is_empty() {
        batch.change_elements(
            ElementChange::Add,
            LINKED.name,
            links.iter().map(|(_, element)| element),
        );
    }
}

/// From each endpoint to the open ports of those that it is linked to, in one network.
fn links_between(endpoints: &[Endpoint]) -> Vec<Member> {
    let mut links = BTreeSet::new();
    for from in endpoints.iter().filter(|endpoint| !endpoint.reaches.is_empty()) {
        let targets = endpoints.iter().filter(|to| {
            to.network_id == from.network_id && from.reaches.contains(&to.container_id)
        });
        for to in targets {
            let (Some(source), Some(destination)) = (from.ip, to.ip) else { continue };
            for (protocol, port) in &to.open_to_links {
                let mut key = [source.octets(), destination.octets()].concat();
                key.extend([protocol.number(), 0, 0, 0]);
                key.extend([port.to_be_bytes(), [0, 0]].concat());
                links.insert(key);
            }
        }
    }
    links.into_iter().map(|key| single(&LINKED, key, Vec::new())).collect()
}

/// Replaces what the bridges come to, and leaves published ports as they are. Fails where the table
/// is not as [`apply`] left it.
pub(crate) fn apply_bridges(
    nftables: &mut Nftables,
    table: &str,
    bridges: &[BridgeRules],
) -> io::Result<()> {
    let mut batch = Batch::new(table);
    replace_bridges(&mut batch, bridges);
    nftables.commit(&batch)
}

/// Takes the table away, unless the administrator has rules in it.
pub(crate) fn remove(nftables: &mut Nftables, table: &str) -> io::Result<()> {
    if nftables.chains(table)?.is_empty()
        || nftables.rule_counts(table)?.iter().any(|(chain, _)| chain == USER)
    {
        return Ok(());
    }
    let mut batch = Batch::new(table);
    batch.delete_table();
    nftables.commit(&batch)
}

fn replace_bridges(batch: &mut Batch, bridges: &[BridgeRules]) {
    for set in BRIDGE_SETS {
        batch.add_map(set);
        batch.flush_map(set.name);
    }
    batch.add_chain(USER, None);
    for (chain, base) in CHAINS {
        batch.add_chain(chain, base);
        batch.flush_chain(chain);
    }
    for (chain, rule) in rules(bridges) {
        batch.add_rule(chain, rule);
    }
    change(batch, ElementChange::Add, &members_of(bridges));
}

/// Withdraws and publishes in one step; a port in both lists never is without a container.
pub(crate) fn change_ports(
    nftables: &mut Nftables,
    table: &str,
    withdrawn: &[Endpoint],
    published: &[Endpoint],
) -> io::Result<()> {
    let mut batch = Batch::new(table);
    change(&mut batch, ElementChange::Delete, &elements_of_all(withdrawn));
    change(&mut batch, ElementChange::Add, &elements_of_all(published));
    nftables.commit(&batch)
}

/// Whether the table holds what [`apply`] would put there: the same number of rules in each chain,
/// and the same keys.
pub(crate) fn is_intact(
    nftables: &mut Nftables,
    table: &str,
    bridges: &[BridgeRules],
    endpoints: &[Endpoint],
) -> io::Result<bool> {
    let chains = nftables.chains(table)?;
    if !CHAINS.iter().all(|(chain, _)| chains.iter().any(|found| found == chain)) {
        return Ok(false);
    }
    let found = nftables.rule_counts(table)?;
    let expected = rules(bridges);
    for (chain, _) in CHAINS {
        let count = found.iter().find(|(name, _)| name == chain).map_or(0, |(_, count)| *count);
        if count != expected.iter().filter(|(name, _)| *name == chain).count() {
            return Ok(false);
        }
    }
    let mut elements = elements_of_all(endpoints);
    elements.extend(members_of(bridges));
    elements.extend(links_between(endpoints));
    for map in PORT_MAPS.into_iter().chain(BRIDGE_SETS).chain([&LINKED]) {
        let of_map = elements.iter().filter(|(name, _)| *name == map.name);
        let mut expected: Vec<_> =
            of_map.map(|(_, element)| (element.key.clone(), element.key_end.clone())).collect();
        let mut keys = nftables.keys(table, map.name)?;
        expected.sort();
        keys.sort();
        if keys != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says in words, and in commands, what a foreign chain does to a bridge of ours.
pub(crate) fn forward_warning(chain: &ForeignChain, bridge: &str) -> String {
    let ForeignChain { family, table, name } = chain;
    let command = |direction: &str| match *family {
        "ip" => format!("iptables -I {name} -{direction} {bridge} -j ACCEPT"),
        _ => format!("nft insert rule {family} {table} {name} {direction}ifname {bridge} accept"),
    };
    format!(
        "chain {name} of table {family} {table} drops forwarded packets by default: containers on \
         {bridge} reach nothing outside, and nobody outside their published ports. To let them: \
         {}; {}",
        command("i"),
        command("o")
    )
}

const CHAINS: [(&str, Option<BaseChain>); 7] = [
    ("guard", base(ChainKind::Filter, Hook::Prerouting, RAW)),
    ("publish", None),
    ("publish6", None),
    ("prerouting", base(ChainKind::Nat, Hook::Prerouting, DSTNAT)),
    ("output", base(ChainKind::Nat, Hook::Output, DSTNAT)),
    ("postrouting", base(ChainKind::Nat, Hook::Postrouting, SRCNAT)),
    ("forward", base(ChainKind::Filter, Hook::Forward, FILTER)),
];

const fn base(kind: ChainKind, hook: Hook, priority: i32) -> Option<BaseChain> {
    Some(BaseChain { kind, hook, priority })
}

type Rule = (&'static str, Vec<E>);

fn rule(chain: &'static str, parts: impl IntoIterator<Item = Vec<E>>) -> Rule {
    (chain, parts.into_iter().flatten().collect())
}

fn accept() -> Vec<E> {
    vec![E::verdict(Verdict::Accept)]
}

fn drop() -> Vec<E> {
    vec![E::verdict(Verdict::Drop)]
}

fn jump(chain: &str) -> Vec<E> {
    vec![E::verdict(Verdict::Jump(chain))]
}

fn rules(bridges: &[BridgeRules]) -> Vec<Rule> {
    let mut rules = publishing();
    rules.extend(forwarding());
    rules.extend(bridges.iter().flat_map(masquerading));
    rules
}

fn publishing() -> Vec<Rule> {
    let (v4, v6) = (|| E::is_family(Family::V4), || E::is_family(Family::V6));
    let local = || E::destination_kind(AddressKind::Local);
    let (loopback, prefix) = LOOPBACK;
    // A packet from the wire to 127.0.0.1 must not find a port published there: without this it
    // would be sent on to the container before the routing code could refuse it. One to ::1 is
    // refused before any rule sees it.
    let not_loopback = E::not_destination(loopback, prefix);
    // IPv6 has no such way back: nothing that comes in by another interface is taken for ::1.
    let not_loopback6 = E::not_destination(LOOPBACK6.0, LOOPBACK6.1);
    // route_localnet lets answers back to a client on 127.0.0.1; new packets have no business there.
    let to_loopback = E::destination(loopback, prefix);
    vec![
        rule("guard", [v4(), to_loopback, E::in_interface_of(BRIDGES.name), drop()]),
        rule("prerouting", [v4(), not_loopback, local(), jump("publish")]),
        rule("prerouting", [v6(), local(), jump("publish6")]),
        rule("output", [v4(), local(), jump("publish")]),
        rule("output", [v6(), not_loopback6, local(), jump("publish6")]),
        // The more specific binding first.
        rule("publish", [v4(), E::dnat_by_address_and_port(Family::V4, ADDRESS_PORTS.name)]),
        rule(
            "publish",
            [v4(), E::dnat_by_address_and_port_range(Family::V4, ADDRESS_PORT_RANGES.name)],
        ),
        rule("publish", [v4(), E::dnat_by_port(Family::V4, PORTS.name)]),
        rule("publish", [v4(), E::dnat_by_port_range(Family::V4, PORT_RANGES.name)]),
        rule("publish6", [v6(), E::dnat_by_address_and_port(Family::V6, ADDRESS_PORTS6.name)]),
        rule(
            "publish6",
            [v6(), E::dnat_by_address_and_port_range(Family::V6, ADDRESS_PORT_RANGES6.name)],
        ),
        rule("publish6", [v6(), E::dnat_by_port(Family::V6, PORTS6.name)]),
        rule("publish6", [v6(), E::dnat_by_port_range(Family::V6, PORT_RANGES6.name)]),
    ]
}

fn forwarding() -> Vec<Rule> {
    let (v4, v6) = (|| E::is_family(Family::V4), || E::is_family(Family::V6));
    let into = E::out_interface_of;
    let forward = |parts: Vec<Vec<E>>| rule("forward", parts);
    vec![
        forward(vec![jump(USER)]),
        forward(vec![E::ct_state(CtState::ESTABLISHED_OR_RELATED), accept()]),
        forward(vec![E::interfaces_of(ICC.name), accept()]),
        forward(vec![v4(), into(BRIDGES.name), E::between(LINKED.name), accept()]),
        forward(vec![E::in_interface_of(INTERNAL.name), drop()]),
        forward(vec![into(INTERNAL.name), drop()]),
        forward(vec![into(BRIDGES.name), E::ct_is_dnat(), accept()]),
        forward(vec![
            v4(),
            into(BRIDGES.name),
            E::destination_of(Family::V4, ROUTED.name),
            accept(),
        ]),
        forward(vec![
            v6(),
            into(BRIDGES.name),
            E::destination_of(Family::V6, ROUTED6.name),
            accept(),
        ]),
        forward(vec![E::is_protocol(ICMP), into(PINGED.name), accept()]),
        forward(vec![E::is_protocol(ICMPV6), into(PINGED6.name), accept()]),
        forward(vec![v4(), into(OPEN.name), accept()]),
        forward(vec![v6(), into(OPEN6.name), accept()]),
        forward(vec![E::interfaces_of(TRUSTED.name), accept()]),
        forward(vec![into(BRIDGES.name), drop()]),
    ]
}

fn masquerading(bridge: &BridgeRules) -> Vec<Rule> {
    let mut rules = Vec::new();
    for subnet in &bridge.subnets {
        let family = subnet.range.family();
        let (network, prefix) = (subnet.range.network().address(), subnet.range.prefix());
        let is_family = || E::is_family(family);
        let from = || E::source(network, prefix);
        let masquerade = || vec![E::masquerade()];
        if family == Family::V4 {
            // A client on the host's loopback: the container could not answer that address.
            let out = E::out_interface(&bridge.interface);
            let from_loopback = E::source(LOOPBACK.0, LOOPBACK.1);
            rules.push(rule("postrouting", [out, is_family(), from_loopback, masquerade()]));
        }
        // Hairpin: a neighbour would answer directly, past the translation.
        let to = E::destination(network, prefix);
        rules.push(rule("postrouting", [is_family(), from(), to, E::ct_is_dnat(), masquerade()]));
        if subnet.masquerade {
            let leaving = E::not_out_interface(&bridge.interface);
            rules.push(rule("postrouting", [leaving, is_family(), from(), masquerade()]));
        }
    }
    rules
}

/// The members of the sets of bridges.
fn members_of(bridges: &[BridgeRules]) -> Vec<Member> {
    let mut members = Vec::new();
    let mut add = |set: &Map<'static>, key: Vec<u8>| members.push(single(set, key, Vec::new()));
    for bridge in bridges {
        let name = interface_key(&bridge.interface);
        add(&BRIDGES, name.clone());
        if bridge.internal {
            add(&INTERNAL, name.clone());
        }
        if bridge.icc {
            add(&ICC, [name.clone(), name.clone()].concat());
        }
        for subnet in &bridge.subnets {
            let (open, pinged) = match subnet.range.family() {
                Family::V4 => (&OPEN, &PINGED),
                Family::V6 => (&OPEN6, &PINGED6),
            };
            if subnet.open {
                add(open, name.clone());
            }
            if subnet.routed {
                add(pinged, name.clone());
            }
        }
        for from in &bridge.trusted {
            add(&TRUSTED, [interface_key(from), name.clone()].concat());
        }
    }
    members
}

fn interface_key(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(16, 0);
    key
}

fn elements_of_all(endpoints: &[Endpoint]) -> Vec<Member> {
    endpoints.iter().flat_map(elements_of).collect()
}

/// Neighbouring ports that keep their numbers are one element.
fn elements_of(endpoint: &Endpoint) -> Vec<Member> {
    let mut ports = endpoint.ports.clone();
    ports.sort_unstable_by_key(|port| (port.host_ip, port.protocol, port.host_port));
    let follows = |a: &PortBinding, b: &PortBinding| {
        let keeps_number = |port: &PortBinding| port.host_port == port.container_port;
        let same = (a.host_ip, a.protocol) == (b.host_ip, b.protocol);
        same && keeps_number(a)
            && keeps_number(b)
            && a.host_port.checked_add(1) == Some(b.host_port)
    };
    let mut elements = Vec::new();
    for run in ports.chunk_by(follows) {
        let [first, ..] = run else { continue };
        let Some(container) = endpoint.address(Family::of(first.host_ip)) else { continue };
        elements.push(element_of(container, first, run.last().filter(|_| run.len() > 1)));
    }
    elements
}

/// Parts of a key and of data are padded to four bytes each.
fn element_of(container: IpAddr, port: &PortBinding, last: Option<&PortBinding>) -> Member {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let number = |port: u16| [port.to_be_bytes(), [0, 0]].concat();
    let protocol = || vec![port.protocol.number(), 0, 0, 0];
    let is_v4 = container.is_ipv4();
    let choose = |four, six| if is_v4 { four } else { six };
    if port.host_port == 0 {
        let key = [octets(container), protocol(), number(port.container_port)].concat();
        return single(choose(&ROUTED, &ROUTED6), key, Vec::new());
    }
    let any = port.host_ip.is_unspecified();
    let key = |host_port: u16| match any {
        true => [protocol(), number(host_port)].concat(),
        false => [protocol(), octets(port.host_ip), number(host_port)].concat(),
    };
    let Some(last) = last else {
        let map = match any {
            true => choose(&PORTS, &PORTS6),
            false => choose(&ADDRESS_PORTS, &ADDRESS_PORTS6),
        };
        let data = [octets(container), number(port.container_port)].concat();
        return single(map, key(port.host_port), data);
    };
    let map = match any {
        true => choose(&PORT_RANGES, &PORT_RANGES6),
        false => choose(&ADDRESS_PORT_RANGES, &ADDRESS_PORT_RANGES6),
    };
    let key_end = Some(key(last.host_port));
    (map.name, Element { key: key(port.host_port), key_end, data: octets(container) })
}

fn change(batch: &mut Batch, what: ElementChange, elements: &[Member]) {
    for map in PORT_MAPS.into_iter().chain(BRIDGE_SETS) {
        let of_map = elements.iter().filter(|(name, _)| *name == map.name);
        let mut of_map = of_map.map(|(_, element)| element).peekable();
        if of_map.peek().is_some() {
            batch.change_elements(what, map.name, of_map);
        }
    }
}

#[cfg(test)]
mod tests;
