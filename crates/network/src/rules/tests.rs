//! Which elements published ports come to.

use super::*;
use crate::port::Protocol;

/// `host_ip host_port container_port`, separated by commas; answers maps with first and last ports.
fn elements(ports: &str) -> Vec<(&'static str, u16, Option<u16>)> {
    let binding = |text: &str| {
        let mut words = text.split_whitespace();
        let mut next = || words.next().unwrap();
        PortBinding {
            protocol: Protocol::Tcp,
            host_ip: next().parse().unwrap(),
            host_port: next().parse().unwrap(),
            container_port: next().parse().unwrap(),
        }
    };
    let endpoint = Endpoint {
        ip: Some(Ipv4Addr::new(172, 17, 0, 2)),
        ip6: Some("fd00::2".parse().unwrap()),
        ports: ports.split(',').map(binding).collect(),
        ..Endpoint::default()
    };
    let port = |key: &[u8]| u16::from_be_bytes([key[key.len() - 4], key[key.len() - 3]]);
    let shown =
        |(map, element): Member| (map, port(&element.key), element.key_end.as_deref().map(port));
    elements_of(&endpoint).into_iter().map(shown).collect()
}

#[test]
fn neighbours_that_keep_their_numbers_are_one_element() {
    assert_eq!(elements("0.0.0.0 80 80"), [("ports", 80, None)]);
    assert_eq!(
        elements("0.0.0.0 81 81,0.0.0.0 80 80,0.0.0.0 82 82"),
        [("port_ranges", 80, Some(82))]
    );
    // Not those that are translated, that have a gap, or another address.
    assert_eq!(
        elements("0.0.0.0 80 8080,0.0.0.0 81 8081"),
        [("ports", 80, None), ("ports", 81, None)]
    );
    assert_eq!(
        elements("0.0.0.0 80 80,0.0.0.0 82 82,127.0.0.1 81 81"),
        [("ports", 80, None), ("ports", 82, None), ("address_ports", 81, None)]
    );
    assert_eq!(
        elements("127.0.0.1 80 80,127.0.0.1 81 81,:: 80 80,:: 81 81,::1 7 7,::1 8 8"),
        [
            ("address_port_ranges", 80, Some(81)),
            ("port_ranges6", 80, Some(81)),
            ("address_port_ranges6", 7, Some(8)),
        ]
    );
    assert_eq!(elements("0.0.0.0 0 80,0.0.0.0 0 81"), [("routed", 80, None), ("routed", 81, None)]);
    assert_eq!(elements("0.0.0.0 65534 65534,0.0.0.0 65535 65535")[0].2, Some(65535));
}
