//! The expressions of a rule, each in the encoding of linux/netfilter/nf_tables.h.
//!
//! Registers: a value of up to four bytes is in the first 32-bit register; the parts of a
//! concatenated key follow each other from there.

use std::net::Ipv4Addr;

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{ExpressionAttribute, Expressions, ListAttribute};

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
/// The 32-bit registers of a key, `NFT_REG32_00` onwards.
const REGISTERS: [u32; 3] = [8, 9, 10];

const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const NFPROTO_IPV4: u8 = 2;

impl Expression {
    /// `meta nfproto ipv4`: what follows may read an IPv4 header.
    pub fn is_ipv4() -> Vec<Self> {
        const META_NFPROTO: u32 = 15;
        vec![meta(META_NFPROTO, REGISTERS[0]), compare(CMP_EQ, &[NFPROTO_IPV4])]
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

    /// `ip saddr RANGE`; needs [`Self::is_ipv4`] before it.
    pub fn source(network: Ipv4Addr, prefix: u8) -> Vec<Self> {
        address(IP_SOURCE_OFFSET, CMP_EQ, network, prefix)
    }

    /// `ip daddr RANGE`; needs [`Self::is_ipv4`] before it.
    pub fn destination(network: Ipv4Addr, prefix: u8) -> Vec<Self> {
        address(IP_DESTINATION_OFFSET, CMP_EQ, network, prefix)
    }

    /// `ip daddr != RANGE`; needs [`Self::is_ipv4`] before it.
    pub fn not_destination(network: Ipv4Addr, prefix: u8) -> Vec<Self> {
        address(IP_DESTINATION_OFFSET, CMP_NEQ, network, prefix)
    }

    /// `fib daddr type local` and its kin.
    pub fn destination_kind(kind: AddressKind) -> Vec<Self> {
        const FIB_RESULT_ADDRTYPE: u32 = 3;
        const FIB_DESTINATION: u32 = 1 << 1;
        const RTN_LOCAL: u32 = 2;
        let fib = expression(
            "fib",
            vec![be32(1, REGISTERS[0]), be32(2, FIB_RESULT_ADDRTYPE), be32(3, FIB_DESTINATION)],
        );
        let kind = match kind {
            AddressKind::Local => RTN_LOCAL,
        };
        vec![fib, compare(CMP_EQ, &kind.to_ne_bytes())]
    }

    /// `meta l4proto PROTOCOL`.
    pub fn protocol(protocol: Transport) -> Vec<Self> {
        vec![meta(META_L4PROTO, REGISTERS[0]), compare(CMP_EQ, &[protocol.number()])]
    }

    /// `th sport PORT`; needs [`Self::protocol`] before it.
    pub fn source_port(port: u16) -> Vec<Self> {
        let load = payload(TRANSPORT_HEADER, PORT_SOURCE_OFFSET, 2, REGISTERS[0]);
        vec![load, compare(CMP_EQ, &port.to_be_bytes())]
    }

    /// `th dport PORT`; needs [`Self::protocol`] before it.
    pub fn destination_port(port: u16) -> Vec<Self> {
        let load = payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, REGISTERS[0]);
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

    /// `dnat ip to meta l4proto . th dport map @MAP`: a packet whose key is not in the map goes on
    /// to the next rule.
    pub fn dnat_by_port(map: &str) -> Vec<Self> {
        vec![
            meta(META_L4PROTO, REGISTERS[0]),
            payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, REGISTERS[1]),
            lookup(map),
            dnat(),
        ]
    }

    /// `dnat ip to meta l4proto . ip daddr . th dport map @MAP`; needs [`Self::is_ipv4`] before it.
    pub fn dnat_by_address_and_port(map: &str) -> Vec<Self> {
        vec![
            meta(META_L4PROTO, REGISTERS[0]),
            payload(NETWORK_HEADER, IP_DESTINATION_OFFSET, 4, REGISTERS[1]),
            payload(TRANSPORT_HEADER, PORT_DESTINATION_OFFSET, 2, REGISTERS[2]),
            lookup(map),
            dnat(),
        ]
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
const IP_SOURCE_OFFSET: u32 = 12;
const IP_DESTINATION_OFFSET: u32 = 16;
const PORT_SOURCE_OFFSET: u32 = 0;
const PORT_DESTINATION_OFFSET: u32 = 2;
const IFNAMSIZ: usize = 16;

fn interface(key: u32, operator: u32, name: &str) -> Vec<Expression> {
    let mut padded = [0; IFNAMSIZ];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(IFNAMSIZ - 1)) {
        *to = from;
    }
    vec![meta(key, REGISTERS[0]), compare(operator, &padded)]
}

fn address(offset: u32, operator: u32, network: Ipv4Addr, prefix: u8) -> Vec<Expression> {
    let mut expressions = vec![payload(NETWORK_HEADER, offset, 4, REGISTERS[0])];
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    if prefix < 32 {
        expressions.push(mask_register(mask.to_be_bytes()));
    }
    expressions.push(compare(operator, &(network.to_bits() & mask).to_be_bytes()));
    expressions
}

fn conntrack_bits(key: u32, bits: u32) -> Vec<Expression> {
    let load = expression("ct", vec![be32(1, REGISTERS[0]), be32(2, key)]);
    vec![load, mask_register(bits.to_ne_bytes()), compare(CMP_NEQ, &[0; 4])]
}

fn meta(key: u32, register: u32) -> Expression {
    expression("meta", vec![be32(1, register), be32(2, key)])
}

fn payload(base: u32, offset: u32, bytes: u32, register: u32) -> Expression {
    expression("payload", vec![be32(1, register), be32(2, base), be32(3, offset), be32(4, bytes)])
}

fn set_port(offset: u32, protocol: Transport, port: u16) -> Vec<Expression> {
    const CHECKSUM_INET: u32 = 1;
    let load = expression("immediate", vec![be32(1, REGISTERS[0]), value(2, &port.to_be_bytes())]);
    let write = expression(
        "payload",
        vec![
            be32(2, TRANSPORT_HEADER),
            be32(3, offset),
            be32(4, 2),
            be32(5, REGISTERS[0]),
            be32(6, CHECKSUM_INET),
            be32(7, protocol.checksum_offset()),
        ],
    );
    vec![load, write]
}

fn mask_register(mask: [u8; 4]) -> Expression {
    expression(
        "bitwise",
        vec![
            be32(1, REGISTERS[0]),
            be32(2, REGISTERS[0]),
            be32(3, 4),
            value(4, &mask),
            value(5, &[0; 4]),
        ],
    )
}

fn compare(operator: u32, with: &[u8]) -> Expression {
    expression("cmp", vec![be32(1, REGISTERS[0]), be32(2, operator), value(3, with)])
}

/// Looks the key in the registers up and leaves an address and a port in their place.
fn lookup(map: &str) -> Expression {
    expression("lookup", vec![string(1, map), be32(2, REGISTERS[0]), be32(3, REGISTERS[0])])
}

fn dnat() -> Expression {
    const NAT_DNAT: u32 = 1;
    expression(
        "nat",
        vec![
            be32(1, NAT_DNAT),
            be32(2, u32::from(NFPROTO_IPV4)),
            be32(3, REGISTERS[0]),
            be32(5, REGISTERS[1]),
        ],
    )
}

fn expression(name: &str, attributes: Vec<DefaultNla>) -> Expression {
    Expression(ListAttribute::from(Expressions::Other {
        expression_type: name.to_owned(),
        attributes,
    }))
}

fn be32(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn string(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

/// `NFTA_DATA_VALUE` inside `kind`.
fn value(kind: u16, bytes: &[u8]) -> DefaultNla {
    nested(kind, vec![DefaultNla::new(1, bytes.to_vec())])
}

fn nested(kind: u16, parts: Vec<DefaultNla>) -> DefaultNla {
    let mut bytes = vec![0; parts.as_slice().buffer_len()];
    parts.as_slice().emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}
