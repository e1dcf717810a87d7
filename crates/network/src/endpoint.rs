//! A container's place in a network, and the namespace in which it has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use linux::netlink::Family;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::options::EndpointOptions;
use crate::port::{PortBinding, PortRequest, Protocol};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// 02:42 and the four bytes of the address: the same container address always has the same
    /// MAC, so neighbour caches never go stale when an address is used again.
    pub fn from_ip(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The same for an address of IPv6, which does not fit in: 02:42 and a hash of it.
    pub(crate) fn from_ip6(ip: Ipv6Addr) -> Self {
        Self::from_bytes(&ip.octets())
    }

    /// 02:42 and a hash of the bytes (FNV-1a).
    fn from_bytes(bytes: &[u8]) -> Self {
        let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let [a, b, c, d] = bytes.iter().fold(0x811c_9dc5, mix).to_be_bytes();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// One of this host's own making, for an interface without an address: from an id of random
    /// digits, hexadecimal ones as they are.
    pub(crate) fn from_id(id: &str) -> Self {
        let hex = id.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let Some(hex) = hex else { return Self::from_bytes(id.as_bytes()) };
        let [a, b, c, d] = hex.to_be_bytes();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The link-local address that an interface makes of it, RFC 4291 appendix A.
    pub(crate) fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        let word = |high, low| high << 8 | low;
        Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Invalid(format!("invalid MAC address: {}", text.escape_default()));
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let is_hex = |part: &&str| {
                part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            };
            let part = parts.next().filter(is_hex).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        // A group address cannot be an interface's own.
        if parts.next().is_some() || bytes[0] & 1 == 1 { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// A network namespace for one container: `lo` is up, nothing else is in it yet.
///
/// It lives as long as the [`crate::Network`] holds it or a process runs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    pub container_id: String,
    /// Opens as the namespace from any process of this host while this daemon lives. A started
    /// container is in `/proc/<its pid>/ns/net`.
    pub netns_path: PathBuf,
}

/// What a container wants of a network.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// Shown by inspect, named when somebody else wants one of its ports, and found by neighbours.
    pub container_name: String,
    /// The container's own, where it was given one; neighbours find it as well.
    pub hostname: Option<String>,
    /// Further names in this network.
    pub aliases: Vec<String>,
    /// Names that this container alone sees, each for a container id.
    pub links: BTreeMap<String, String>,
    /// Ids of containers whose ports are open to this one even where neighbours do not reach each
    /// other.
    pub reaches: Vec<String>,
    /// The ports that are.
    pub open_to_links: Vec<(Protocol, u16)>,
    /// Ports of the container, published by whichever endpoint is its way out.
    pub ports: Vec<PortRequest>,
    pub mac: Option<MacAddress>,
    pub ip: Option<Ipv4Addr>,
    pub ip6: Option<Ipv6Addr>,
    /// The container has IPv6 turned off: it gets no address of it.
    pub without_ipv6: bool,
    /// Further addresses of the interface.
    pub link_local: Vec<IpAddr>,
    /// The endpoint with the highest is the container's way out.
    pub gw_priority: i64,
    /// `--driver-opt`.
    pub options: BTreeMap<String, String>,
    /// Addresses that containers which do not run now asked for: not to be given to others.
    pub reserved: BTreeSet<IpAddr>,
}

/// A container's place in a network. Fields without meaning for the driver (host, none) are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    pub network_id: String,
    pub network_name: String,
    pub container_id: String,
    pub container_name: String,
    /// Inside the container: `eth0`.
    pub interface: Option<String>,
    /// The other end, on the host.
    pub host_interface: Option<String>,
    pub ip: Option<Ipv4Addr>,
    /// Prefix length of the subnet; 0 without an address.
    pub prefix: u8,
    /// `None` in an internal network: there is no way out.
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub ip6: Option<Ipv6Addr>,
    #[serde(default)]
    pub prefix6: u8,
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    pub mac: Option<MacAddress>,
    /// What is published through this endpoint now.
    pub ports: Vec<PortBinding>,
    /// What is to be published when this endpoint is the way out.
    #[serde(default)]
    pub port_requests: Vec<PortRequest>,
    #[serde(default)]
    pub gw_priority: i64,
    #[serde(default)]
    pub hostname: Option<String>,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Ids of containers whose `open_to_links` it reaches, in the default network.
    #[serde(default)]
    pub reaches: Vec<String>,
    #[serde(default)]
    pub open_to_links: Vec<(Protocol, u16)>,
    /// Asked for by nobody: it is there because an overlay has no way out of its own.
    #[serde(default)]
    pub is_way_out_only: bool,
    /// In a network of the swarm, which gave the address and wants it back.
    #[serde(default)]
    pub is_swarm: bool,
}

impl Endpoint {
    /// The address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ip.map(IpAddr::V4),
            Family::V6 => self.ip6.map(IpAddr::V6),
        }
    }

    /// The gateway of a family.
    pub fn gateway_of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.gateway.map(IpAddr::V4),
            Family::V6 => self.gateway6.map(IpAddr::V6),
        }
    }

    /// All addresses that nobody else in the network may have.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        Family::BOTH.into_iter().filter_map(|family| self.address(family))
    }
}

/// Checks what can be wrong in an endpoint's settings by themselves.
///
/// # Errors
/// If a text is no link address, an address is none of a link alone, or an option is unknown.
pub fn check_endpoint(
    mac: Option<&str>,
    link_local: &[IpAddr],
    options: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if let Some(mac) = mac {
        mac.parse::<MacAddress>()?;
    }
    let is_link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if let Some(ip) = link_local.iter().find(|ip| !is_link_local(ip)) {
        return Err(Error::Invalid(format!("invalid link-local IP address: {ip}")));
    }
    EndpointOptions::parse(options).map(drop)
}

/// A container that runs, as the engine knows after its own recovery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Live {
    pub container_id: String,
    /// Its init: the network namespace is opened through it.
    pub pid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_read_strictly() {
        for (text, shown) in [
            ("02:42:AC:11:00:02", Some("02:42:ac:11:00:02")),
            ("02-42-ac-11-00-02", Some("02:42:ac:11:00:02")),
            ("01:42:ac:11:00:02", None),
            ("02:42:ac:11:00", None),
            ("02:42:ac:11:00:02:03", None),
            ("02:42:ac:11:00:+2", None),
            ("02:42:ac:11:00:2", None),
            ("", None),
        ] {
            let parsed = text.parse::<MacAddress>().ok().map(|mac| mac.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
        let derived = MacAddress::from_ip(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(derived.to_string(), "02:42:ac:11:00:02");
    }

    #[test]
    fn ids_of_all_kinds_give_different_addresses() {
        let of = |id: &str| MacAddress::from_id(id).to_string();
        assert_eq!(of("0123456789abcdef"), "02:42:01:23:45:67");
        assert_ne!(of("ayoaicoiwyijy17qh5p1wny4i"), of("7s1bd4adh2c1emh6dc6a4w8qk"));
        assert!(of("ayoaicoiwyijy17qh5p1wny4i").starts_with("02:42:"));
    }
}
