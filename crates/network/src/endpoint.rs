//! A container's place in a network, and the namespace in which it has it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::port::{PortBinding, PortRequest};

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
    /// Shown by inspect and named when somebody else wants one of its ports.
    pub container_name: String,
    pub ports: Vec<PortRequest>,
    pub mac: Option<MacAddress>,
    pub ip: Option<Ipv4Addr>,
}

/// A container's place in a network. Fields without meaning for the driver (host, none) are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub gateway: Option<Ipv4Addr>,
    pub mac: Option<MacAddress>,
    pub ports: Vec<PortBinding>,
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
}
