//! Our one nftables table: what is in it, and how it is replaced without a gap.
//!
//! ```text
//! table inet teu {
//!   map ports          { proto . port           : container address . port }   bound to 0.0.0.0
//!   map address_ports  { proto . address . port : container address . port }   bound to one address
//!   chain TEU-USER     the administrator's: run for every forwarded packet before ours
//!   chain guard        prerouting, raw:  containers cannot reach the host's loopback
//!   chain prerouting   dstnat:           published ports, from outside and from containers
//!   chain output       dstnat:           published ports, from the host itself
//!   chain publish      the two lookups
//!   chain postrouting  srcnat:           masquerade of what leaves the bridge's network
//!   chain forward      filter:           into a bridge only answers, published ports, neighbours
//! }
//! ```
//! Ten thousand published ports are ten thousand map elements behind two rules. All rules and
//! elements are replaced in one transaction, so that a live connection or port never sees a gap;
//! TEU-USER is made once and never flushed. A verdict to accept ends only our own chains: whatever
//! another table drops stays dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use linux::netlink::nft::{
    AddressKind, BaseChain, Batch, ChainKind, CtState, ElementChange, Expression as E,
    ForeignChain, Hook, Map, Nftables, Verdict,
};

use crate::endpoint::Endpoint;
use crate::port::PortBinding;
use crate::record::Cidr;

const USER: &str = "TEU-USER";
const PORTS: Map<'_> = Map {
    name: "ports",
    key_type: (INET_PROTO << 6) | INET_SERVICE,
    key_bytes: 8,
    data_type: (IPV4_ADDR << 6) | INET_SERVICE,
    data_bytes: 8,
};
const ADDRESS_PORTS: Map<'_> = Map {
    name: "address_ports",
    key_type: (INET_PROTO << 12) | (IPV4_ADDR << 6) | INET_SERVICE,
    key_bytes: 12,
    ..PORTS
};
/// Data types as the `nft` tool numbers them.
const IPV4_ADDR: u32 = 7;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;

const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

/// What the rules need to know of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    pub(crate) interface: String,
    pub(crate) subnet: Cidr,
    pub(crate) masquerade: bool,
    pub(crate) icc: bool,
}

/// The table's name: two daemons have two bridges, hence two tables.
pub(crate) fn table_name(bridge: &str) -> String {
    if bridge == "teu0" { "teu".to_owned() } else { format!("teu-{bridge}") }
}

/// A map element: which map, key, data.
type Element = (&'static str, (Vec<u8>, Vec<u8>));

/// Replaces everything but TEU-USER by exactly these bridges and endpoints.
pub(crate) fn apply(
    nftables: &mut Nftables,
    table: &str,
    bridges: &[BridgeRules],
    endpoints: &[Endpoint],
) -> io::Result<()> {
    let mut batch = Batch::new(table);
    batch.add_table();
    for map in [&PORTS, &ADDRESS_PORTS] {
        batch.add_map(map);
        batch.flush_map(map.name);
    }
    batch.add_chain(USER, None);
    for (chain, base) in CHAINS {
        batch.add_chain(chain, base);
        batch.flush_chain(chain);
    }
    for (chain, rule) in rules(bridges) {
        batch.add_rule(chain, rule);
    }
    let elements: Vec<Element> = endpoints.iter().flat_map(elements_of).collect();
    change(&mut batch, ElementChange::Add, &elements);
    nftables.commit(&batch)
}

/// Publishes or withdraws one endpoint's ports.
pub(crate) fn change_ports(
    nftables: &mut Nftables,
    table: &str,
    what: ElementChange,
    endpoint: &Endpoint,
) -> io::Result<()> {
    let elements: Vec<Element> = elements_of(endpoint).collect();
    let mut batch = Batch::new(table);
    change(&mut batch, what, &elements);
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
    let elements: Vec<Element> = endpoints.iter().flat_map(elements_of).collect();
    for map in [PORTS.name, ADDRESS_PORTS.name] {
        let mut expected: Vec<_> =
            elements.iter().filter(|(name, _)| *name == map).map(|(_, (key, _))| key).collect();
        let keys = nftables.keys(table, map)?;
        let mut keys: Vec<_> = keys.iter().collect();
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

const CHAINS: [(&str, Option<BaseChain>); 6] = [
    ("guard", base(ChainKind::Filter, Hook::Prerouting, RAW)),
    ("publish", None),
    ("prerouting", base(ChainKind::Nat, Hook::Prerouting, DSTNAT)),
    ("output", base(ChainKind::Nat, Hook::Output, DSTNAT)),
    ("postrouting", base(ChainKind::Nat, Hook::Postrouting, SRCNAT)),
    ("forward", base(ChainKind::Filter, Hook::Forward, FILTER)),
];

const fn base(kind: ChainKind, hook: Hook, priority: i32) -> Option<BaseChain> {
    Some(BaseChain { kind, hook, priority })
}

fn rules(bridges: &[BridgeRules]) -> Vec<(&'static str, Vec<E>)> {
    let (loopback, loopback_prefix) = LOOPBACK;
    let to_loopback = || E::destination(loopback, loopback_prefix);
    let mut rules = Vec::new();
    let mut rule = |chain, parts: Vec<Vec<E>>| rules.push((chain, parts.concat()));

    // A packet from the wire to 127.0.0.1 must not find a port published there: without this it
    // would be sent on to the container before the routing code could refuse it.
    let not_loopback = || E::not_destination(loopback, loopback_prefix);
    let local = || E::destination_kind(AddressKind::Local);
    let jump = |chain| vec![E::verdict(Verdict::Jump(chain))];
    rule("prerouting", vec![E::is_ipv4(), not_loopback(), local(), jump("publish")]);
    rule("output", vec![E::is_ipv4(), local(), jump("publish")]);
    // The more specific binding first.
    rule("publish", vec![E::is_ipv4(), E::dnat_by_address_and_port(ADDRESS_PORTS.name)]);
    rule("publish", vec![E::is_ipv4(), E::dnat_by_port(PORTS.name)]);
    rule("forward", vec![jump(USER)]);

    let accept = || vec![E::verdict(Verdict::Accept)];
    let drop = || vec![E::verdict(Verdict::Drop)];
    for bridge in bridges {
        let out = || E::out_interface(&bridge.interface);
        let subnet = || E::source(bridge.subnet.network().address(), bridge.subnet.prefix());
        let into_subnet =
            || E::destination(bridge.subnet.network().address(), bridge.subnet.prefix());
        // route_localnet lets answers back to a client on 127.0.0.1; new packets have no business
        // there.
        let inside = E::in_interface(&bridge.interface);
        rule("guard", vec![inside.clone(), E::is_ipv4(), to_loopback(), drop()]);
        // A client on the host's loopback: the container could not answer that address.
        let from_loopback = E::source(loopback, loopback_prefix);
        rule("postrouting", vec![out(), E::is_ipv4(), from_loopback, vec![E::masquerade()]]);
        // Hairpin: a neighbour would answer directly, past the translation.
        let parts = vec![E::is_ipv4(), subnet(), into_subnet(), E::ct_is_dnat()];
        rule("postrouting", [parts, vec![vec![E::masquerade()]]].concat());
        if bridge.masquerade {
            let leaving = E::not_out_interface(&bridge.interface);
            rule("postrouting", vec![leaving, E::is_ipv4(), subnet(), vec![E::masquerade()]]);
        }
        let answers = E::ct_state(CtState::ESTABLISHED_OR_RELATED);
        rule("forward", vec![out(), answers, accept()]);
        rule("forward", vec![out(), E::ct_is_dnat(), accept()]);
        if bridge.icc {
            rule("forward", vec![out(), inside, accept()]);
        }
        rule("forward", vec![out(), drop()]);
    }
    rules
}

fn elements_of(endpoint: &Endpoint) -> impl Iterator<Item = Element> + '_ {
    endpoint
        .ip
        .into_iter()
        .flat_map(|ip| endpoint.ports.iter().filter_map(move |port| element_of(ip, port)))
}

/// Parts of a key and of data are padded to four bytes each.
fn element_of(container: Ipv4Addr, port: &PortBinding) -> Option<Element> {
    let IpAddr::V4(host) = port.host_ip else { return None };
    let number = |port: u16| [port.to_be_bytes(), [0, 0]].concat();
    let protocol = [port.protocol.number(), 0, 0, 0];
    let data = [container.octets().to_vec(), number(port.container_port)].concat();
    if host.is_unspecified() {
        return Some((PORTS.name, ([protocol.to_vec(), number(port.host_port)].concat(), data)));
    }
    let key = [protocol.to_vec(), host.octets().to_vec(), number(port.host_port)].concat();
    Some((ADDRESS_PORTS.name, (key, data)))
}

fn change(batch: &mut Batch, what: ElementChange, elements: &[Element]) {
    for map in [PORTS.name, ADDRESS_PORTS.name] {
        let of_map = elements.iter().filter(|(name, _)| *name == map).map(|(_, element)| element);
        batch.change_elements(what, map, of_map);
    }
}
