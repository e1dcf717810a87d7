//! The options of a bridge network and of an endpoint in one, as `-o` and `--driver-opt` give them.
//!
//! Unknown ones are refused: an option that does nothing is a promise that is not kept.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linux::netlink::Family;

use crate::error::{Error, Result};

const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
const MTU: &str = "com.docker.network.driver.mtu";
const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
/// Ours alone, hence the prefix.
const SEGMENT_LIMIT: &str = "teu.bridge.gso_max_size";
const KNOWN: [&str; 12] = [
    BRIDGE_NAME,
    MASQUERADE,
    ICC,
    HOST_BINDING,
    MODE_IPV4,
    MODE_IPV6,
    INHIBIT_IPV4,
    DEFAULT_BRIDGE,
    TRUSTED,
    MTU,
    INTERFACE_PREFIX,
    SEGMENT_LIMIT,
];

const ENDPOINT_INTERFACE: &str = "com.docker.network.endpoint.ifname";
const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// How containers of a network and the world reach each other, in one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GatewayMode {
    /// Leaving packets get the host's address; only published ports are reached, through a port of
    /// the host.
    #[default]
    Nat,
    /// As `Nat`, and every port of a container is reached by who has a route to it.
    NatUnprotected,
    /// No translation: published ports are reached under the container's own address.
    Routed,
    /// The host has no address in the network; for internal networks.
    Isolated,
}

/// The options of a bridge network with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    /// The bridge's name, where it was given.
    pub(crate) name: Option<String>,
    pub(crate) masquerade: bool,
    /// Containers of the network reach each other.
    pub(crate) icc: bool,
    /// Where ports are published that name no address; `None`: the daemon's default.
    pub(crate) host_binding: Option<IpAddr>,
    pub(crate) mode_ipv4: GatewayMode,
    pub(crate) mode_ipv6: GatewayMode,
    /// The bridge gets no IPv4 address, because somebody else is the gateway.
    pub(crate) inhibit_ipv4: bool,
    /// Interfaces of the host from which containers are reached directly.
    pub(crate) trusted_interfaces: Vec<String>,
    pub(crate) mtu: Option<u32>,
    /// Of interfaces in containers: `eth`.
    pub(crate) interface_prefix: String,
    /// How large a packet of TCP may be before it is cut for the wire; `None`: the kernel's 64 KiB.
    pub(crate) segment_limit_bytes: Option<u32>,
}

impl BridgeOptions {
    /// Reads the options.
    ///
    /// # Errors
    /// If one is unknown or has a value that it cannot have.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::Invalid(format!(
                "invalid option \"{}\" for a bridge network: known are {}",
                unknown.escape_default(),
                KNOWN.join(", ")
            )));
        }
        let text = |name: &str| options.get(name).map(String::as_str);
        let flag = |name: &str, default: bool| match text(name) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(invalid(name, other, "true or false")),
        };
        let name = text(BRIDGE_NAME).filter(|name| !name.is_empty());
        if let Some(name) = name {
            check_interface(BRIDGE_NAME, name)?;
        }
        if flag(DEFAULT_BRIDGE, false)? {
            return Err(Error::Invalid(
                "default bridge network is not allowed to be created a second time".to_owned(),
            ));
        }
        let host_binding = text(HOST_BINDING)
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(|_| invalid(HOST_BINDING, text, "an IP address")))
            .transpose()?;
        let mtu = match text(MTU) {
            None | Some("" | "0") => None,
            Some(text) => match text.parse() {
                Ok(mtu @ 68..=65535) => Some(mtu),
                _ => return Err(invalid(MTU, text, "a number from 68 to 65535")),
            },
        };
        let segment_limit_bytes = match text(SEGMENT_LIMIT) {
            None | Some("" | "0") => None,
            Some(text) => match text.parse() {
                Ok(bytes @ 65_536..=524_280) => Some(bytes),
                _ => return Err(invalid(SEGMENT_LIMIT, text, "a number from 65536 to 524280")),
            },
        };
        let prefix = text(INTERFACE_PREFIX).filter(|text| !text.is_empty()).unwrap_or("eth");
        // Digits follow.
        check_interface(INTERFACE_PREFIX, &format!("{prefix}000"))?;
        let trusted = text(TRUSTED).unwrap_or("").split(':').filter(|name| !name.is_empty());
        let trusted: Vec<String> = trusted.map(str::to_owned).collect();
        trusted.iter().try_for_each(|name| check_interface(TRUSTED, name))?;
        Ok(Self {
            name: name.map(str::to_owned),
            masquerade: flag(MASQUERADE, true)?,
            icc: flag(ICC, true)?,
            host_binding,
            mode_ipv4: mode(MODE_IPV4, text(MODE_IPV4))?,
            mode_ipv6: mode(MODE_IPV6, text(MODE_IPV6))?,
            inhibit_ipv4: flag(INHIBIT_IPV4, false)?,
            trusted_interfaces: trusted,
            mtu,
            interface_prefix: prefix.to_owned(),
            segment_limit_bytes,
        })
    }

    pub(crate) fn mode(&self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.mode_ipv4,
            Family::V6 => self.mode_ipv6,
        }
    }
}

fn mode(name: &str, text: Option<&str>) -> Result<GatewayMode> {
    match text {
        None | Some("" | "nat") => Ok(GatewayMode::Nat),
        Some("nat-unprotected") => Ok(GatewayMode::NatUnprotected),
        Some("routed") => Ok(GatewayMode::Routed),
        Some("isolated") => Ok(GatewayMode::Isolated),
        Some(other) => Err(invalid(name, other, "nat, nat-unprotected, routed or isolated")),
    }
}

fn invalid(name: &str, value: &str, wanted: &str) -> Error {
    Error::Invalid(format!(
        "invalid value \"{}\" for option {name}: it should be {wanted}",
        value.escape_default()
    ))
}

/// What the kernel and nftables take for an interface's name.
pub(crate) fn check_interface(option: &str, name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = (1..=15).contains(&name.len()) && name.bytes().all(allowed);
    if is_name && name != "." && name != ".." {
        return Ok(());
    }
    Err(invalid(option, name, "at most 15 letters, digits, '-', '_' and '.'"))
}

/// The options of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EndpointOptions {
    /// Name of the interface in the container.
    pub(crate) interface: Option<String>,
    /// Path below /proc/sys with `IFNAME` for the interface, and value.
    pub(crate) sysctls: Vec<(String, String)>,
}

impl EndpointOptions {
    /// Reads the options.
    ///
    /// # Errors
    /// As [`BridgeOptions::parse`].
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name.as_str() {
                ENDPOINT_INTERFACE => {
                    check_interface(name, value)?;
                    parsed.interface = Some(value.clone());
                }
                ENDPOINT_SYSCTLS => {
                    for entry in value.split(',').filter(|entry| !entry.is_empty()) {
                        parsed.sysctls.push(sysctl(entry)?);
                    }
                }
                _ => {
                    return Err(Error::Invalid(format!(
                        "invalid driver option \"{}\" for an endpoint: known are \
                         {ENDPOINT_INTERFACE} and {ENDPOINT_SYSCTLS}",
                        name.escape_default()
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

/// Reads `net.ipv4.conf.IFNAME.log_martians=1`. Only settings of the interface itself: others are
/// those of the container.
fn sysctl(entry: &str) -> Result<(String, String)> {
    let refused = || {
        Error::Invalid(format!(
            "invalid endpoint sysctl \"{}\": it should be net.X.Y.IFNAME.Z=VALUE, where IFNAME \
             stands for the interface",
            entry.escape_default()
        ))
    };
    let (name, value) = entry.split_once('=').ok_or_else(refused)?;
    let parts: Vec<&str> = name.split('.').collect();
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match parts.as_slice() {
        ["net", family @ ("ipv4" | "ipv6" | "mpls"), group @ ("conf" | "neigh"), place, key]
            if place.eq_ignore_ascii_case("IFNAME")
                && word(key)
                && !value.chars().any(char::is_control) =>
        {
            Ok((format!("net/{family}/{group}/IFNAME/{key}"), value.to_owned()))
        }
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_are_dockers() {
        let parsed = BridgeOptions::parse(&BTreeMap::new()).unwrap();
        assert!(parsed.masquerade && parsed.icc && !parsed.inhibit_ipv4);
        assert_eq!(parsed.mode(Family::V6), GatewayMode::Nat);
        assert_eq!(parsed.interface_prefix, "eth");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (name, value) in [
            ("com.docker.network.bridge.enable_icc", "maybe"),
            ("com.docker.network.bridge.name", "a/b"),
            ("com.docker.network.bridge.name", "sixteen-bytes-xx"),
            ("com.docker.network.bridge.host_binding_ipv4", "1.2.3"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "natted"),
            ("com.docker.network.driver.mtu", "12"),
            ("teu.bridge.gso_max_size", "65535"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0:a b"),
            ("com.docker.network.container_iface_prefix", "a-very-long-one"),
            ("parent", "eth0"),
        ] {
            let error = BridgeOptions::parse(&options(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn endpoint_sysctls_are_of_the_interface_alone() {
        let parse = |text: &str| EndpointOptions::parse(&options(&[(ENDPOINT_SYSCTLS, text)]));
        let parsed = parse("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.mtu=1300");
        assert_eq!(
            parsed.unwrap().sysctls,
            [
                ("net/ipv4/conf/IFNAME/log_martians".to_owned(), "1".to_owned()),
                ("net/ipv6/conf/IFNAME/mtu".to_owned(), "1300".to_owned()),
            ]
        );
        let small = parse("net.ipv4.conf.ifname.forwarding=1").unwrap().sysctls;
        assert_eq!(small[0].0, "net/ipv4/conf/IFNAME/forwarding");
        for text in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.conf.IFNAME.../x=1",
            "kernel.conf.x.IFNAME.y=1",
            "net.ipv4.conf.IFNAME.x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
