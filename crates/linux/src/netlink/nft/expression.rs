//! The expressions of a rule, each in the encoding of linux/netfilter/nf_tables.h.
//!
//! Registers: a value of up to four bytes is in the first 32-bit register; the parts of a
//! concatenated key follow each other from there.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{ExpressionAttribute, Expressions, ListAttribute};

use crate::netlink::Family;

/// One expression; a rule is a list of them, left at the first that does not match.
#[derive(Debug, Clone)]
pub struct Expression(pub(super) ListAttribute<ExpressionAttribute>);

/// Where a rule sends the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    Accept,
    Drop,
    Jump(&'a str),
}

/// Conntrack states as a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtState(u32);

impl CtState {
    pub const ESTABLISHED_OR_RELATED: Self = Self(0b110);
}

/// Whose an address is, as the routing table knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// One of the host's own.
    Local,
}

/// A protocol with ports and a checksum over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    fn checksum_offset(self) -> u32 {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

const VERDICT_REGISTER: u32 = 0;
/// The first of sixteen 32-bit registers, `NFT_REG32_00`.
const FIRST: u32 = 8;

const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

impl Expression {
    /// `meta nfproto …`: what follows may read a header of that family.
    pub fn is_family(family: Family) -> Vec<Self> {
        const META_NFPROTO: u32 = 15;
        vec![meta(META_NFPROTO, FIRST), compare(CMP_EQ, &[nfproto(family)])]
    }

    /// `meta nfproto ipv4`.
    pub fn is_ipv4() -> Vec<Self> {
        Self::is_family(Family::V4)
    }

    /// `meta l4proto NUMBER`.
    pub fn is_protocol(number: u8) -> Vec<Self> {
        vec![meta(META_L4PROTO, FIRST), compare(CMP_EQ, &[number])]
    }

    /// `iifname @SET`.
    pub fn in_interface_of(set: &str) -> Vec<Self> {
        vec![meta(META_IIFNAME, FIRST), is_in(set)]
    }

    /// `oifname @SET`.
    pub fn out_interface_of(set: &str) -> Vec<Self> {
        vec![meta(META_OIFNAME, FIRST), is_in(set)]
    }

    /// `iifname . oifname @SET`.
    pub fn interfaces_of(set: &str) -> Vec<Self> {
        vec![meta(META_IIFNAME, FIRST), meta(META_OIFNAME, FIRST + 4), is_in(set)]
    }

    /// `daddr . meta l4proto . th dport @SET`; needs [`Self::is_family`] before it.
    pub fn destination_of(family: Family, set: &str) -> Vec<Self> {
        let after = FIRST + words(family);
        vec![
            payload(NETWORK_HEADER, destination_offset(family), bytes(family), FIRST),
            meta(META_L4PROTO, after),
            payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, after + 1),
            is_in(set),
        ]
    }

    /// `ip saddr . ip daddr . meta l4proto . th dport @SET`; needs [`Self::is_ipv4`] before it.
    pub fn between(set: &str) -> Vec<Self> {
        let address = |offset, register| payload(NETWORK_HEADER, offset, 4, register);
        vec![
            address(source_offset(Family::V4), FIRST),
            address(destination_offset(Family::V4), FIRST + 1),
            meta(META_L4PROTO, FIRST + 2),
            payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, FIRST + 3),
            is_in(set),
        ]
    }

    /// `iifname NAME`.
    pub fn in_interface(name: &str) -> Vec<Self> {
        interface(META_IIFNAME, CMP_EQ, name)
    }

    /// `oifname NAME`.
    pub fn out_interface(name: &str) -> Vec<Self> {
        interface(META_OIFNAME, CMP_EQ, name)
    }

    /// `oifname != NAME`.
    pub fn not_out_interface(name: &str) -> Vec<Self> {
        interface(META_OIFNAME, CMP_NEQ, name)
    }

    /// `saddr RANGE`; needs [`Self::is_family`] before it.
    pub fn source(network: impl Into<IpAddr>, prefix: u8) -> Vec<Self> {
        let network = network.into();
        address(source_offset(Family::of(network)), CMP_EQ, network, prefix)
    }

    /// `daddr RANGE`; needs [`Self::is_family`] before it.
    pub fn destination(network: impl Into<IpAddr>, prefix: u8) -> Vec<Self> {
        let network = network.into();
        address(destination_offset(Family::of(network)), CMP_EQ, network, prefix)
    }

    /// `daddr != RANGE`; needs [`Self::is_family`] before it.
    pub fn not_destination(network: impl Into<IpAddr>, prefix: u8) -> Vec<Self> {
        let network = network.into();
        address(destination_offset(Family::of(network)), CMP_NEQ, network, prefix)
    }

    /// `fib daddr type local` and its kin.
    pub fn destination_kind(kind: AddressKind) -> Vec<Self> {
        const FIB_RESULT_ADDRTYPE: u32 = 3;
        const FIB_DESTINATION: u32 = 1 << 1;
        const RTN_LOCAL: u32 = 2;
        let fib = expression(
            "fib",
            vec![be32(1, FIRST), be32(2, FIB_RESULT_ADDRTYPE), be32(3, FIB_DESTINATION)],
        );
        let kind = match kind {
            AddressKind::Local => RTN_LOCAL,
        };
        vec![fib, compare(CMP_EQ, &kind.to_ne_bytes())]
    }

    /// `meta l4proto PROTOCOL`.
    pub fn protocol(protocol: Transport) -> Vec<Self> {
        vec![meta(META_L4PROTO, FIRST), compare(CMP_EQ, &[protocol.number()])]
    }

    /// `th sport PORT`; needs [`Self::protocol`] before it.
    pub fn source_port(port: u16) -> Vec<Self> {
        let load = payload(TRANSPORT_HEADER, PORT_SOURCE_OFFSET, 2, FIRST);
        vec![load, compare(CMP_EQ, &port.to_be_bytes())]
    }

    /// `th dport PORT`; needs [`Self::protocol`] before it.
    pub fn destination_port(port: u16) -> Vec<Self> {
        let load = payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, FIRST);
        vec![load, compare(CMP_EQ, &port.to_be_bytes())]
    }

    /// `th sport set PORT`, in the packet alone: no connection is tracked.
    pub fn set_source_port(protocol: Transport, port: u16) -> Vec<Self> {
        set_port(PORT_SOURCE_OFFSET, protocol, port)
    }

    /// `th dport set PORT`, in the packet alone: no connection is tracked.
    pub fn set_destination_port(protocol: Transport, port: u16) -> Vec<Self> {
        set_port(PORT_DESTINATION_OFFSET, protocol, port)
    }

    /// `ct state …`.
    pub fn ct_state(state: CtState) -> Vec<Self> {
        const CT_STATE: u32 = 0;
        conntrack_bits(CT_STATE, state.0)
    }

    /// `ct status dnat`: the packet's connection was sent elsewhere than it asked for.
    pub fn ct_is_dnat() -> Vec<Self> {
        const CT_STATUS: u32 = 2;
        const IPS_DST_NAT: u32 = 1 << 5;
        conntrack_bits(CT_STATUS, IPS_DST_NAT)
    }

    /// `dnat to meta l4proto . th dport map @MAP`: a packet whose key is not in the map goes on to
    /// the next rule. Needs [`Self::is_family`] before it.
    pub fn dnat_by_port(family: Family, map: &str) -> Vec<Self> {
        vec![
            meta(META_L4PROTO, FIRST),
            payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, FIRST + 1),
            lookup(map),
            dnat(family),
        ]
    }

    /// `dnat to meta l4proto . daddr . th dport map @MAP`; needs [`Self::is_family`] before it.
    pub fn dnat_by_address_and_port(family: Family, map: &str) -> Vec<Self> {
        let after = FIRST + 1 + words(family);
        vec![
            meta(META_L4PROTO, FIRST),
            payload(NETWORK_HEADER, destination_offset(family), bytes(family), FIRST + 1),
            payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, after),
            lookup(map),
            dnat(family),
        ]
    }

    /// As [`Self::dnat_by_port`] with a map of ranges to addresses: the port stays as it is.
    pub fn dnat_by_port_range(family: Family, map: &str) -> Vec<Self> {
        let mut rule = Self::dnat_by_port(family, map);
        rule.pop();
        rule.push(dnat_address(family));
        rule
    }

    /// As [`Self::dnat_by_address_and_port`], likewise.
    pub fn dnat_by_address_and_port_range(family: Family, map: &str) -> Vec<Self> {
        let mut rule = Self::dnat_by_address_and_port(family, map);
        rule.pop();
        rule.push(dnat_address(family));
        rule
    }

    /// `masquerade`.
    pub fn masquerade() -> Self {
        expression("masq", vec![])
    }

    pub fn verdict(verdict: Verdict<'_>) -> Self {
        let (code, chain) = match verdict {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
        };
        let mut parts = vec![DefaultNla::new(1, i32::to_be_bytes(code).to_vec())];
        parts.extend(chain.map(|chain| string(2, chain)));
        const DATA_VERDICT: u16 = 2;
        let data = nested(2, vec![nested(DATA_VERDICT, parts)]);
        expression("immediate", vec![be32(1, VERDICT_REGISTER), data])
    }
}

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const PORT_SOURCE_OFFSET: u32 = 0;
const PORT_DESTINATION_OFFSET: u32 = 2;
const IFNAMSIZ: usize = 16;

fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    }
}

fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

fn destination_offset(family: Family) -> u32 {
    source_offset(family) + bytes(family)
}

/// Bytes of an address.
fn bytes(family: Family) -> u32 {
    words(family) * 4
}

/// Registers that an address takes.
fn words(family: Family) -> u32 {
    match family {
        Family::V4 => 1,
        Family::V6 => 4,
    }
}

fn interface(key: u32, operator: u32, name: &str) -> Vec<Expression> {
    let mut padded = [0; IFNAMSIZ];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(IFNAMSIZ - 1)) {
        *to = from;
    }
    vec![meta(key, FIRST), compare(operator, &padded)]
}

fn address(offset: u32, operator: u32, network: IpAddr, prefix: u8) -> Vec<Expression> {
    let octets = match network {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mask: Vec<u8> = (0..octets.len())
        .map(|at| {
            let bits = usize::from(prefix).saturating_sub(at * 8).min(8);
            // The upper `bits` bits.
            !u8::MAX.checked_shr(u32::try_from(bits).unwrap_or(8)).unwrap_or(0)
        })
        .collect();
    let masked: Vec<u8> = octets.iter().zip(&mask).map(|(octet, mask)| octet & mask).collect();
    let length = u32::try_from(octets.len()).unwrap_or(0);
    let mut expressions = vec![payload(NETWORK_HEADER, offset, length, FIRST)];
    if usize::from(prefix) < octets.len() * 8 {
        expressions.push(mask_register(&mask));
    }
    expressions.push(compare(operator, &masked));
    expressions
}

fn conntrack_bits(key: u32, bits: u32) -> Vec<Expression> {
    let load = expression("ct", vec![be32(1, FIRST), be32(2, key)]);
    vec![load, mask_register(&bits.to_ne_bytes()), compare(CMP_NEQ, &[0; 4])]
}

fn meta(key: u32, register: u32) -> Expression {
    expression("meta", vec![be32(1, register), be32(2, key)])
}

fn payload(base: u32, offset: u32, bytes: u32, register: u32) -> Expression {
    expression("payload", vec![be32(1, register), be32(2, base), be32(3, offset), be32(4, bytes)])
}

fn set_port(offset: u32, protocol: Transport, port: u16) -> Vec<Expression> {
    const CHECKSUM_INET: u32 = 1;
    let load = expression("immediate", vec![be32(1, FIRST), value(2, &port.to_be_bytes())]);
    let write = expression(
        "payload",
        vec![
            be32(2, TRANSPORT_HEADER),
            be32(3, offset),
            be32(4, 2),
            be32(5, FIRST),
            be32(6, CHECKSUM_INET),
            be32(7, protocol.checksum_offset()),
        ],
    );
    vec![load, write]
}

fn mask_register(mask: &[u8]) -> Expression {
    let length = u32::try_from(mask.len()).unwrap_or(0);
    expression(
        "bitwise",
        vec![
            be32(1, FIRST),
            be32(2, FIRST),
            be32(3, length),
            value(4, mask),
            value(5, &vec![0; mask.len()]),
        ],
    )
}

fn compare(operator: u32, with: &[u8]) -> Expression {
    expression("cmp", vec![be32(1, FIRST), be32(2, operator), value(3, with)])
}

/// Looks the key in the registers up and leaves an address and a port in their place.
fn lookup(map: &str) -> Expression {
    expression("lookup", vec![string(1, map), be32(2, FIRST), be32(3, FIRST)])
}

/// Goes on where the key in the registers is in the set.
fn is_in(set: &str) -> Expression {
    expression("lookup", vec![string(1, set), be32(2, FIRST)])
}

const NAT_DNAT: u32 = 1;

fn dnat_address(family: Family) -> Expression {
    let family = be32(2, u32::from(nfproto(family)));
    expression("nat", vec![be32(1, NAT_DNAT), family, be32(3, FIRST)])
}

fn dnat(family: Family) -> Expression {
    expression(
        "nat",
        vec![
            be32(1, NAT_DNAT),
            be32(2, u32::from(nfproto(family))),
            be32(3, FIRST),
            be32(5, FIRST + words(family)),
        ],
    )
}

fn expression(name: &str, attributes: Vec<DefaultNla>) -> Expression {
    Expression(ListAttribute::from(Expressions::Other {
        expression_type: name.to_owned(),
        attributes,
    }))
}

pub(super) fn be32(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn string(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

/// `NFTA_DATA_VALUE` inside `kind`.
fn value(kind: u16, bytes: &[u8]) -> DefaultNla {
    nested(kind, vec![DefaultNla::new(1, bytes.to_vec())])
}

pub(super) fn nested(kind: u16, parts: Vec<DefaultNla>) -> DefaultNla {
    let mut bytes = vec![0; parts.as_slice().buffer_len()];
    parts.as_slice().emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}
