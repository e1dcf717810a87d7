use std::collections::BTreeMap;

use linux::netlink::{Family, Link, RouteEntry};

use super::container::{Inside, interface, listening, way_out, wire};
use super::listeners::Listener;
use super::*;
use crate::endpoint::Endpoint;
use crate::port::{PortBinding, Protocol};
use crate::record::IpamConfig;

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        is_bridge: name.starts_with("br-"),
        is_up: true,
        master: None,
        alias: None,
        mac: Vec::new(),
        mtu: 1500,
        vxlan: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(destination: &str, prefix: u8, link: u32) -> RouteEntry {
    RouteEntry {
        destination: ip(destination),
        prefix,
        gateway: None,
        link: Some(link),
        is_local: false,
    }
}

fn record() -> NetworkRecord {
    NetworkRecord {
        id: "n1".to_owned(),
        name: "mynet".to_owned(),
        driver: Driver::Bridge,
        created_unix_nanos: 0,
        interface: Some("br-n1".to_owned()),
        ipam: vec![IpamConfig {
            subnet: "172.18.0.0/16".parse().unwrap(),
            gateway: Some(ip("172.18.0.1")),
            ip_range: None,
            aux_addresses: BTreeMap::new(),
        }],
        enable_ipv4: true,
        enable_ipv6: false,
        ipam_options: None,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        overlay: None,
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: "e1".to_owned(),
        network_name: "mynet".to_owned(),
        interface: Some("eth0".to_owned()),
        host_interface: Some("veth1".to_owned()),
        ip: Some([172, 18, 0, 2].into()),
        prefix: 16,
        gateway: Some([172, 18, 0, 1].into()),
        ..Endpoint::default()
    }
}

fn inside() -> Inside {
    let default = RouteEntry { gateway: Some(ip("172.18.0.1")), ..route("0.0.0.0", 0, 2) };
    Inside {
        links: vec![link(1, "lo"), link(2, "eth0")],
        addresses: vec![(2, ip("172.18.0.2"))],
        routes: vec![default, route("172.18.0.0", 16, 2)],
        listeners: Vec::new(),
    }
}

fn says(findings: impl IntoIterator<Item = Finding>) -> String {
    let shown = findings.into_iter().map(|it| format!("{:?}: {}", it.level, it.text));
    shown.collect::<Vec<_>>().join("; ")
}

#[test]
fn a_bridge_is_judged_by_its_addresses_and_the_routes_of_others() {
    let mut seen = Seen {
        links: vec![link(5, "br-n1"), link(6, "tun0")],
        addresses: vec![(5, ip("172.18.0.1"))],
        routes: vec![route("172.18.0.0", 16, 5), route("0.0.0.0", 0, 6)],
    };
    let judge = |seen: &Seen| says(bridge_findings("x", &record(), seen));
    assert_eq!(judge(&seen), "Good: bridge br-n1 is up and has its addresses");
    seen.routes.push(route("172.16.0.0", 12, 6));
    assert_eq!(
        judge(&seen),
        "Problem: its subnet 172.18.0.0/16 clashes with 172.16.0.0/12, which is reached by tun0"
    );
    seen.routes.pop();
    seen.addresses.clear();
    seen.links[0].is_up = false;
    assert_eq!(
        judge(&seen),
        "Problem: its bridge br-n1 is down; \
         Problem: its bridge br-n1 does not have the gateway's address 172.18.0.1"
    );
    seen.links.clear();
    assert_eq!(judge(&seen), "Problem: its bridge br-n1 is missing");
}

#[test]
fn a_wire_has_two_ends() {
    let mut host = vec![link(5, "br-n1"), Link { master: Some(5), ..link(7, "veth1") }];
    let judge = |host: &[Link]| says(wire("x", &endpoint(), "br-n1", host));
    assert_eq!(judge(&host), "");
    host[1].master = None;
    assert_eq!(
        judge(&host),
        "Problem: its link veth1 is not a port of br-n1, network mynet's bridge"
    );
    host[1].is_up = false;
    assert_eq!(judge(&host), "Problem: its link veth1 to network mynet is down");
    host.pop();
    assert_eq!(judge(&host), "Problem: its link veth1 to network mynet is missing");

    let mut inside = inside();
    let judge = |inside: &Inside| says(interface("x", &endpoint(), inside, 1));
    assert_eq!(judge(&inside), "Good: eth0 in network mynet has 172.18.0.2");
    inside.addresses.clear();
    assert_eq!(judge(&inside), "Problem: its interface eth0 has lost the address 172.18.0.2");
    inside.links.clear();
    assert_eq!(judge(&inside), "Problem: its interface eth0 in network mynet is missing");
}

#[test]
fn the_way_out_is_the_route_that_should_be_there() {
    let mut inside = inside();
    let endpoints = [endpoint()];
    let judge = |inside: &Inside| says(way_out("x", &endpoints, Family::V4, inside, 1));
    assert_eq!(judge(&inside), "Good: its way out is 172.18.0.1, in network mynet");
    inside.routes[0].gateway = Some(ip("172.18.0.9"));
    assert_eq!(
        judge(&inside),
        "Problem: its default route goes to 172.18.0.9 instead of 172.18.0.1"
    );
    inside.routes.remove(0);
    assert_eq!(
        judge(&inside),
        "Problem: its default route is missing: it reaches nothing but mynet"
    );
    let internal = [Endpoint { gateway: None, ..endpoint() }];
    let said = says(way_out("x", &internal, Family::V4, &inside, 1));
    assert!(said.starts_with("Note: has no way out"), "{said}");
    assert_eq!(way_out("x", &endpoints, Family::V6, &inside, 1), None);
}

#[test]
fn a_published_port_needs_somebody_who_listens() {
    let binding = PortBinding {
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: ip("0.0.0.0"),
        host_port: 8080,
    };
    let at = |address, port| Listener { protocol: Protocol::Tcp, address: ip(address), port };
    let judge = |listeners: &[Listener]| listening("x", 80, Protocol::Tcp, &[binding], listeners);
    assert_eq!(judge(&[at("0.0.0.0", 80)]).level, Level::Good);
    let finding = judge(&[at("127.0.0.1", 80)]);
    assert_eq!(
        says([finding]),
        "Problem: its program listens on 80/tcp, published as 8080, but at 127.0.0.1 alone"
    );
    let finding = judge(&[at("0.0.0.0", 3000)]);
    assert_eq!(finding.remedy.as_deref(), Some("publish a port that it listens on: 3000"));
}

#[test]
fn forwarding_turned_off_is_a_problem_for_all() {
    assert_eq!(forwarding("k", Some("1")).level, Level::Good);
    assert_eq!(forwarding("k", Some("0")).level, Level::Problem);
    assert_eq!(forwarding("k", None).level, Level::Problem);
}
