//! The addresses that clients name for a swarm: an address or an interface, with or without a port.

use std::net::{IpAddr, SocketAddr};

use linux::netlink::{Family, Route};

use crate::error::{ApiError, ApiResult};

/// The control port unless another is named.
const PORT: u16 = 2377;

/// An interface of the host and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) is_bridge: bool,
    /// Whether this daemon, or another of its kind, made it.
    pub(crate) is_ours: bool,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Reads the host's interfaces.
pub(crate) fn interfaces() -> ApiResult<Vec<Interface>> {
    let failed =
        |error: std::io::Error| ApiError::internal(format!("list the host's interfaces: {error}"));
    let mut route = Route::open().map_err(failed)?;
    let mut addresses = Vec::new();
    for family in Family::BOTH {
        addresses.extend(route.addresses(family).map_err(failed)?);
    }
    let of_link = |index| {
        let own = addresses.iter().filter(move |address| address.link == index);
        own.map(|address| address.address).collect()
    };
    let links = route.links().map_err(failed)?;
    let interfaces = links.into_iter().map(|link| Interface {
        addresses: of_link(link.index),
        is_up: link.is_up,
        is_bridge: link.is_bridge,
        is_ours: link.alias.is_some_and(|alias| alias.starts_with("teu:")),
        name: link.name,
    });
    Ok(interfaces.collect())
}

/// Reads where the control port is to be bound. Nothing asked for is all addresses.
pub(crate) fn listen(text: &str, interfaces: &[Interface]) -> ApiResult<SocketAddr> {
    if text.is_empty() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], PORT)));
    }
    let bad = || {
        ApiError::invalid(
            "listen address must be an IP address or network interface (with optional port number)",
        )
    };
    let (host, port) = split(text).ok_or_else(bad)?;
    let address = match of_interface(host, interfaces)? {
        Some(address) => address,
        None => parse(host).ok_or_else(bad)?,
    };
    Ok(SocketAddr::new(address, port.unwrap_or(PORT)))
}

/// Reads by which address other nodes are to reach this one; nothing asked for is the only address
/// that the host has.
pub(crate) fn advertise(
    text: &str,
    listen: SocketAddr,
    interfaces: &[Interface],
) -> ApiResult<SocketAddr> {
    if text.is_empty() {
        if !listen.ip().is_unspecified() {
            return Ok(listen);
        }
        return Ok(SocketAddr::new(only_address(interfaces)?, listen.port()));
    }
    let bad = || {
        ApiError::invalid(
            "advertise address must be a non-zero IP address or network interface (with optional \
             port number)",
        )
    };
    let (host, port) = split(text).ok_or_else(bad)?;
    let address = match of_interface(host, interfaces)? {
        Some(address) => address,
        None => parse(host).filter(|address| !address.is_unspecified()).ok_or_else(bad)?,
    };
    Ok(SocketAddr::new(address, port.unwrap_or(listen.port())))
}

/// Reads by which address packets of overlays are to come; nothing asked for is `None`.
pub(crate) fn data_path(text: &str, interfaces: &[Interface]) -> ApiResult<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = match of_interface(text, interfaces)? {
        Some(address) => Some(address),
        None => parse(text).filter(|address| !address.is_unspecified()),
    };
    address.map(Some).ok_or_else(|| {
        ApiError::invalid(
            "data path address must be a non-zero IP address or network interface (without a port \
             number)",
        )
    })
}

/// The address of an interface; `None` if there is none of this name.
fn of_interface(name: &str, interfaces: &[Interface]) -> ApiResult<Option<IpAddr>> {
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        return Ok(None);
    };
    let usable = interface.addresses.iter().filter(|address| is_global(address));
    let (four, six): (Vec<&IpAddr>, Vec<&IpAddr>) = usable.partition(|address| address.is_ipv4());
    for (addresses, family) in [(&four, "IPv4"), (&six, "IPv6")] {
        if let [one, other, ..] = addresses[..] {
            return Err(ApiError::invalid(format!(
                "interface {name} has more than one {family} address ({one} and {other})"
            )));
        }
        if let Some(address) = addresses.first() {
            return Ok(Some(**address));
        }
    }
    Err(ApiError::invalid(format!("interface {name} has no usable IPv4 or IPv6 address")))
}

/// The one address that the host has besides those of bridges and of its own networks.
fn only_address(interfaces: &[Interface]) -> ApiResult<IpAddr> {
    let wires = interfaces.iter().filter(|interface| interface.is_up && !interface.is_ours);
    let (bridges, wires): (Vec<_>, Vec<_>) = wires.partition(|interface| interface.is_bridge);
    // A bridge is the way out of a host whose wire is its port.
    for candidates in [wires, bridges] {
        if let Some(address) = only_of(&candidates)? {
            return Ok(address);
        }
    }
    Err(ApiError::invalid("could not find the system's IP address"))
}

fn only_of(interfaces: &[&Interface]) -> ApiResult<Option<IpAddr>> {
    let mut found: Option<(IpAddr, &str)> = None;
    for interface in interfaces {
        let usable = interface.addresses.iter().filter(|address| is_global(address));
        let (four, six): (Vec<&IpAddr>, Vec<&IpAddr>) = usable.partition(|a| a.is_ipv4());
        // Of an interface with one of each family, that of IPv4 counts.
        let addresses = if four.is_empty() { six } else { four };
        for address in addresses {
            let Some((first, name)) = found else {
                found = Some((*address, &interface.name));
                continue;
            };
            let place = match name == interface.name {
                true => format!("interface {name} ({first} and {address})"),
                false => format!(
                    "different interfaces ({first} on {name} and {address} on {})",
                    interface.name
                ),
            };
            return Err(ApiError::invalid(format!(
                "could not choose an IP address to advertise since this system has multiple \
                 addresses on {place}"
            )));
        }
    }
    Ok(found.map(|(address, _)| address))
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

/// Splits off a port; `None` for one that is none.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    // An address of IPv6 without brackets has no port.
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}

fn parse(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        Interface {
            name: name.to_owned(),
            is_up: true,
            is_bridge: false,
            is_ours: false,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn host() -> Vec<Interface> {
        let own =
            Interface { is_ours: true, is_bridge: true, ..interface("teu0", &["172.17.0.1"]) };
        let down = Interface { is_up: false, ..interface("eth9", &["192.0.2.9"]) };
        vec![
            interface("lo", &["127.0.0.1", "::1"]),
            interface("eth0", &["192.0.2.1", "2001:db8::1", "fe80::1"]),
            interface("eth1", &["fe80::2"]),
            own,
            down,
        ]
    }

    #[test]
    fn addresses_and_interfaces_are_read() {
        let host = host();
        let any = listen("", &host).unwrap();
        assert_eq!(any.to_string(), "0.0.0.0:2377");
        assert_eq!(listen("eth0:99", &host).unwrap().to_string(), "192.0.2.1:99");
        assert_eq!(listen("[::]:2377", &host).unwrap().to_string(), "[::]:2377");
        for (text, expected) in [
            ("", "192.0.2.1:2377"),
            ("eth0", "192.0.2.1:2377"),
            ("eth0:4000", "192.0.2.1:4000"),
            ("198.51.100.1", "198.51.100.1:2377"),
            ("198.51.100.1:4000", "198.51.100.1:4000"),
            ("2001:db8::1", "[2001:db8::1]:2377"),
            ("[2001:db8::1]:4000", "[2001:db8::1]:4000"),
        ] {
            assert_eq!(advertise(text, any, &host).unwrap().to_string(), expected, "{text}");
        }
        let bound = listen("192.0.2.1:5000", &host).unwrap();
        assert_eq!(advertise("", bound, &host).unwrap(), bound);
        assert_eq!(data_path("", &host).unwrap(), None);
        assert_eq!(data_path("eth0", &host).unwrap(), Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let host = host();
        let any = listen("", &host).unwrap();
        for text in
            ["nothing", "0.0.0.0", "1.2.3.4:x", "1.2.3.4:0", "1.2.3.4:70000", ":2377", "[::"]
        {
            let refused = advertise(text, any, &host).unwrap_err().message;
            assert!(refused.starts_with("advertise address must be"), "{text}: {refused}");
        }
        assert!(listen("x:1", &host).unwrap_err().message.starts_with("listen address must be"));
        for text in ["0.0.0.0", "1.2.3.4:5", "x"] {
            assert!(data_path(text, &host).unwrap_err().message.starts_with("data path address"));
        }
        let refused = advertise("eth1", any, &host).unwrap_err().message;
        assert_eq!(refused, "interface eth1 has no usable IPv4 or IPv6 address");
        let two = [interface("eth0", &["10.0.2.15"]), interface("eth1", &["192.168.0.1"])];
        assert_eq!(
            advertise("", any, &two).unwrap_err().message,
            "could not choose an IP address to advertise since this system has multiple addresses on \
             different interfaces (10.0.2.15 on eth0 and 192.168.0.1 on eth1)"
        );
        let one = [interface("eth0", &["10.0.2.15", "192.168.0.1"])];
        assert!(advertise("", any, &one).unwrap_err().message.contains("on interface eth0 ("));
        assert!(advertise("eth0", any, &one).unwrap_err().message.contains("more than one IPv4"));
        assert!(advertise("", any, &[]).unwrap_err().message.contains("could not find"));
    }
}
