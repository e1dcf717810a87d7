//! The options of an overlay network, as `-o` gives them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::options::{BridgeOptions, GatewayMode};

const MTU: &str = "com.docker.network.driver.mtu";
const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
const KNOWN: [&str; 2] = [MTU, INTERFACE_PREFIX];
const ENCRYPTED: &str = "encrypted";
const VNI_LIST: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// What Docker's overlays have, and what every wire that carries 1500 bytes leaves. All hosts of a
/// network have to agree: between them nobody tells a sender that his packets are too large.
const DEFAULT_MTU: u32 = 1450;
/// The least that IPv4 takes.
const LEAST_MTU: u32 = 68;

/// Reads the options into those of the bridge that the network has on each host: one without an
/// address, that nothing leaves but by VXLAN.
///
/// # Errors
/// If one is unknown or has a value that it cannot have.
pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<BridgeOptions> {
    if options.contains_key(ENCRYPTED) {
        return Err(Error::NotImplemented("an encrypted overlay network (option \"encrypted\")"));
    }
    if options.contains_key(VNI_LIST) {
        return Err(Error::NotImplemented(
            "choosing the VXLAN number of an overlay network (option \
             \"com.docker.network.driver.overlay.vxlanid_list\")",
        ));
    }
    if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(Error::Invalid(format!(
            "invalid option \"{}\" for an overlay network: known are {}",
            unknown.escape_default(),
            KNOWN.join(", ")
        )));
    }
    Ok(BridgeOptions {
        mode_ipv4: GatewayMode::Isolated,
        mode_ipv6: GatewayMode::Isolated,
        masquerade: false,
        ..BridgeOptions::parse(options)?
    })
}

/// What containers' packets may have: as asked, else Docker's 1450, or what the wire below leaves
/// where that is less.
pub(crate) fn mtu(asked: Option<u32>, local: IpAddr, wire: Option<u32>) -> u32 {
    let room = |wire: u32| wire.saturating_sub(overhead(local)).max(LEAST_MTU);
    asked.unwrap_or_else(|| wire.map_or(DEFAULT_MTU, room).min(DEFAULT_MTU))
}

/// What VXLAN puts around a packet: an Ethernet header of its own, VXLAN's, UDP's and IP's.
pub(crate) fn overhead(local: IpAddr) -> u32 {
    let ip = if local.is_ipv4() { 20 } else { 40 };
    14 + 8 + 8 + ip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_every_host() {
        let parse = |name: &str, value: &str| {
            super::parse(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(parse(MTU, "1400").unwrap().mtu, Some(1400));
        for (name, value) in [
            ("encrypted", ""),
            (VNI_LIST, "4097"),
            (MTU, "12"),
            ("com.docker.network.bridge.name", "br0"),
            ("colour", "red"),
        ] {
            let error = parse(name, value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn packets_fit_into_the_wire() {
        let (four, six) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        for (asked, local, wire, expected) in [
            (None, four, Some(1500), 1450),
            (None, four, None, 1450),
            (None, four, Some(9000), 1450),
            (None, four, Some(1400), 1350),
            (None, six, Some(1500), 1430),
            (Some(8950), four, Some(9000), 8950),
            (None, four, Some(60), 68),
        ] {
            assert_eq!(mtu(asked, local, wire), expected, "{asked:?} {local} {wire:?}");
        }
    }
}
