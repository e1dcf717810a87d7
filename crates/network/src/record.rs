//! What a network is: the record that is kept, and the view with its endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::error::Error;

/// An IPv4 address with a prefix length; host bits are kept, as in `--bip 172.17.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// `None` when the prefix is longer than an address.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then_some(Self { address, prefix })
    }

    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// The same range with the host bits cleared.
    pub fn network(self) -> Self {
        Self { address: self.address & self.mask(), prefix: self.prefix }
    }

    pub fn broadcast(self) -> Ipv4Addr {
        self.address | !self.mask()
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.network().address
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
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
            Self::new(address.parse().ok()?, prefix.parse().ok().filter(|_| digits)?)
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

/// What implements a network. User-defined kinds (macvlan, overlay) join here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Host,
    Null,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        })
    }
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    pub subnet: Cidr,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    pub ip_range: Option<Cidr>,
    pub aux_addresses: BTreeMap<String, Ipv4Addr>,
}

/// A network as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub driver: Driver,
    /// Nanoseconds since the epoch.
    pub created_unix_nanos: i64,
    /// Name of the bridge; `None` for drivers without one.
    pub interface: Option<String>,
    pub ipam: Vec<IpamConfig>,
    pub internal: bool,
    pub attachable: bool,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

impl NetworkRecord {
    /// Whether this is one of `bridge`, `host` and `none`, which nobody can remove.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }
}

pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// A network with the endpoints in it, in the order of their container ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    pub record: NetworkRecord,
    pub endpoints: Vec<Endpoint>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_bounds() {
        let cidr: Cidr = "172.17.3.1/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "172.17.3.1/16");
        assert_eq!(cidr.network().to_string(), "172.17.0.0/16");
        assert_eq!(cidr.broadcast(), Ipv4Addr::new(172, 17, 255, 255));
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.overlaps(cidr) && cidr.overlaps(all));
        let one: Cidr = "172.18.0.1/32".parse().unwrap();
        assert!(one.contains(one.address()) && !one.overlaps(cidr));
        for text in ["172.17.0.0", "172.17.0.0/33", "172.17.0.0/+8", "172.17.0/16", "/16", "x/16"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
