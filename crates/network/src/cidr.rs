//! Ranges of addresses, of either family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use linux::netlink::Family;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// An address with a prefix length; host bits are kept, as in `--bip 172.17.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// `None` when the prefix is longer than an address.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Option<Self> {
        let address = address.into();
        (u32::from(prefix) <= width(address)).then_some(Self { address, prefix })
    }

    pub fn address(self) -> IpAddr {
        self.address
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// The same range with the host bits cleared.
    pub fn network(self) -> Self {
        let address = from_bits(self.address, bits(self.address) & !self.host_mask());
        Self { address, prefix: self.prefix }
    }

    /// The highest address; in IPv4 the one for broadcasts.
    pub fn last(self) -> IpAddr {
        from_bits(self.address, bits(self.address) | self.host_mask())
    }

    /// The address `offset` above the lowest; `None` beyond the range.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        let first = bits(self.network().address);
        let address = first.checked_add(offset)?;
        (address <= bits(self.last())).then(|| from_bits(self.address, address))
    }

    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family()
            && bits(address) & !self.host_mask() == bits(self.network().address)
    }

    /// Whether every address of `other` is in this range.
    pub fn covers(self, other: Self) -> bool {
        self.contains(other.network().address) && self.contains(other.last())
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
    }

    fn host_mask(self) -> u128 {
        let host_bits = width(self.address) - u32::from(self.prefix);
        1_u128.checked_shl(host_bits).map_or(u128::MAX, |bit| bit - 1)
    }
}

/// Bits of an address of this one's family.
fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// An address of the same family as `like`.
fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        // The arithmetic above stays within the family's bits.
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            // The integer's own parser would take a sign.
            let digits = prefix.bytes().all(|digit| digit.is_ascii_digit());
            let address: IpAddr = address.parse().ok()?;
            Self::new(address, prefix.parse().ok().filter(|_| digits)?)
        });
        parsed.ok_or_else(|| {
            Error::Invalid(format!("invalid CIDR address: {}", text.escape_default()))
        })
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_know_their_bounds() {
        let range = cidr("172.17.3.1/16");
        assert_eq!(range.to_string(), "172.17.3.1/16");
        assert_eq!(range.network().to_string(), "172.17.0.0/16");
        assert_eq!(range.last().to_string(), "172.17.255.255");
        let all = cidr("0.0.0.0/0");
        assert!(all.contains(Ipv4Addr::BROADCAST.into()));
        assert!(all.overlaps(range) && range.overlaps(all));
        assert!(all.covers(range) && !range.covers(all));
        let one = cidr("172.18.0.1/32");
        assert!(one.contains(one.address()) && !one.overlaps(range));
        for text in
            ["172.17.0.0", "172.17.0.0/33", "172.17.0.0/+8", "172.17.0/16", "/16", "x/16", "::/129"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn families_do_not_meet() {
        let six = cidr("fd00:1::7/64");
        assert_eq!(six.network().to_string(), "fd00:1::/64");
        assert_eq!(six.last().to_string(), "fd00:1::ffff:ffff:ffff:ffff");
        assert_eq!(six.nth(1).unwrap().to_string(), "fd00:1::1");
        assert_eq!(cidr("10.0.0.0/30").nth(4), None);
        let all = cidr("0.0.0.0/0");
        assert!(!cidr("::/0").overlaps(all) && !all.contains(six.address()));
        assert!(cidr("::/0").contains(six.address()));
    }
}
