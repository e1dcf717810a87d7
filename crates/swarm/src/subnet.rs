//! Ranges of IPv4 addresses, and which one a network or a container gets.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

/// A range of addresses, such as 10.0.1.0/24; host bits are never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    /// The range of `prefix` bits that an address is in; `None` for more than 32 bits.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self { first: address.to_bits() & mask(prefix), prefix })
    }

    /// The lowest address.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// Bits that all addresses have in common.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The highest address.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first | !mask(self.prefix))
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.first
    }

    /// Whether there is an address that both have.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address()) || other.contains(self.address())
    }

    /// Whether it has all of another's addresses.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address())
    }

    /// Whether an address is one that hosts can have: neither the range's own nor the broadcast's.
    pub(crate) fn is_usable(self, address: Ipv4Addr) -> bool {
        let edges = [self.address(), self.last()];
        self.contains(address) && (self.prefix >= 31 || !edges.contains(&address))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text
            .split_once('/')
            .and_then(|(address, prefix)| Self::new(address.parse().ok()?, prefix.parse().ok()?));
        parsed.ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("invalid CIDR address: {text}"))
        })
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// Chooses a subnet of `prefix` bits from the pools, in their order, that shares nothing with those
/// taken. The very first one is left alone: it is the one of Docker's routing mesh.
pub(crate) fn choose_subnet(pools: &[Subnet], prefix: u8, taken: &[Subnet]) -> Option<Subnet> {
    let mut at = 0;
    for pool in pools.iter().filter(|pool| pool.prefix <= prefix) {
        let mut next = Some(pool.first);
        while let Some(first) = next {
            let subnet = Subnet { first, prefix };
            let mesh = at == 0;
            at += 1;
            let obstacle =
                taken.iter().filter(|taken| taken.overlaps(subnet)).max_by_key(|t| t.last());
            match obstacle {
                None if !mesh => return Some(subnet),
                None => next = after(subnet, subnet.last()),
                // Whatever is in the way is passed as a whole.
                Some(obstacle) => next = after(subnet, obstacle.last().max(subnet.last())),
            }
            next = next.filter(|first| pool.contains(Ipv4Addr::from_bits(*first)));
        }
    }
    None
}

/// The first address of the next range as large as `subnet` beyond an address.
fn after(subnet: Subnet, last: Ipv4Addr) -> Option<u32> {
    let beyond = last.to_bits().checked_add(1)?;
    let down = beyond & mask(subnet.prefix);
    if down == beyond {
        Some(beyond)
    } else {
        down.checked_add(!mask(subnet.prefix))?.checked_add(1)
    }
}

/// Chooses an address of a range that nobody has: the next after the one given last, so that one
/// that was just given back is not somebody else's at once.
pub(crate) fn choose_address(
    subnet: Subnet,
    range: Subnet,
    taken: &BTreeSet<Ipv4Addr>,
    given_last: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let (first, last) = (range.first, range.last().to_bits());
    let begin = given_last
        .map(|address| address.to_bits().wrapping_add(1))
        .filter(|next| (first..=last).contains(next))
        .unwrap_or(first);
    let all = (begin..=last).chain(first..begin).map(Ipv4Addr::from_bits);
    all.into_iter().find(|address| subnet.is_usable(*address) && !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_read_and_compared() {
        assert_eq!(subnet("10.1.2.3/24").to_string(), "10.1.2.0/24");
        assert_eq!(subnet("0.0.0.0/0").last(), Ipv4Addr::BROADCAST);
        assert!(subnet("10.0.0.0/8").covers(subnet("10.9.0.0/16")));
        assert!(!subnet("10.9.0.0/16").covers(subnet("10.0.0.0/8")));
        assert!(subnet("10.9.0.0/16").overlaps(subnet("10.0.0.0/8")));
        assert!(!subnet("10.0.1.0/24").overlaps(subnet("10.0.2.0/24")));
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/0", "10.0.0.0/-1", "a/b"] {
            let error = text.parse::<Subnet>().unwrap_err();
            assert_eq!(error.message, format!("invalid CIDR address: {text}"));
        }
    }

    #[test]
    fn networks_get_the_next_free_subnet() {
        let pools = [subnet("10.0.0.0/8")];
        for (taken, expected) in [
            (&[][..], Some("10.0.1.0/24")),
            (&["10.0.1.0/24"], Some("10.0.2.0/24")),
            (&["10.0.2.0/24"], Some("10.0.1.0/24")),
            (&["10.0.0.0/16"], Some("10.1.0.0/24")),
            (&["10.0.0.0/16", "10.1.0.128/25", "10.1.2.0/24"], Some("10.1.1.0/24")),
            (&["0.0.0.0/1"], None),
            (&["192.168.0.0/16"], Some("10.0.1.0/24")),
        ] {
            let taken: Vec<Subnet> = taken.iter().map(|text| subnet(text)).collect();
            let chosen = choose_subnet(&pools, 24, &taken).map(|chosen| chosen.to_string());
            assert_eq!(chosen.as_deref(), expected, "{taken:?}");
        }
        let small = [subnet("10.9.0.0/24"), subnet("10.20.0.0/23")];
        let next = |taken: &[Subnet]| choose_subnet(&small, 24, taken).map(|s| s.to_string());
        assert_eq!(next(&[]).as_deref(), Some("10.20.0.0/24"));
        assert_eq!(next(&[subnet("10.20.0.0/24")]).as_deref(), Some("10.20.1.0/24"));
        assert_eq!(next(&[subnet("10.20.0.0/23")]), None);
        assert_eq!(choose_subnet(&small, 22, &[]), None);
    }

    #[test]
    fn the_last_of_all_addresses_ends_the_search() {
        let pools = [subnet("255.255.255.0/24")];
        assert_eq!(choose_subnet(&pools, 24, &[]), None);
        let next = choose_subnet(&pools, 25, &[]).unwrap();
        assert_eq!(choose_subnet(&pools, 25, &[next]), None);
    }

    #[test]
    fn addresses_go_round() {
        let net = subnet("10.0.1.0/29");
        let gateway: Ipv4Addr = "10.0.1.1".parse().unwrap();
        let mut taken = BTreeSet::from([gateway]);
        let mut last = None;
        for expected in 2..=6 {
            let address = choose_address(net, net, &taken, last).unwrap();
            assert_eq!(address.octets()[3], expected);
            taken.insert(address);
            last = Some(address);
        }
        assert_eq!(choose_address(net, net, &taken, last), None);
        taken.remove(&"10.0.1.3".parse().unwrap());
        let again = choose_address(net, net, &taken, last).unwrap();
        assert_eq!(again.to_string(), "10.0.1.3");
        let range = subnet("10.0.1.4/30");
        let taken = BTreeSet::from([gateway]);
        assert_eq!(choose_address(net, range, &taken, None).unwrap().octets()[3], 4);
        assert_eq!(
            choose_address(net, range, &taken, Some("10.0.1.6".parse().unwrap())).unwrap().octets()
                [3],
            4
        );
    }
}
