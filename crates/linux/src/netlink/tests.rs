//! Judged by the kernel, in a network namespace of the test's own.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::nft::{
    BaseChain, Batch, ChainKind, Element, ElementChange, Expression, Hook, Map, Nftables, Transport,
};
use super::{
    Address, Event, Events, Family, Forwarding, Neighbour, Request, Route, Veth, Vxlan,
    make_network_namespace,
};

/// Moves the test's thread into a fresh namespace; `false`, with the reason printed, without root.
fn enter() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return false;
    }
    let (namespace, ()) = make_network_namespace(|| Ok(())).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    true
}

const MAP: Map<'_> = Map {
    name: "ports",
    key_type: (12 << 6) | 13,
    key_bytes: 8,
    data: Some(((7 << 6) | 13, 8)),
    parts: &[],
};

fn key(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![6, 0, 0, 0, high, low, 0, 0]
}

fn element(port: u16) -> Element {
    let [high, low] = port.to_be_bytes();
    Element { key: key(port), key_end: None, data: vec![192, 0, 2, 1, high, low, 0, 0] }
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    if !enter() {
        return;
    }
    let mut nftables = Nftables::open().unwrap();
    let mut batch = Batch::new("t");
    batch.add_table();
    batch.add_map(&MAP);
    batch.add_chain("c", None);
    // There is no such chain to put a rule into.
    batch.add_rule("missing", [Expression::masquerade()]);
    let error = nftables.commit(&batch).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(nftables.chains("t").unwrap(), [] as [&str; 0]);
    // And the handle is as good as new.
    let mut batch = Batch::new("t");
    batch.add_table();
    let base = BaseChain { kind: ChainKind::Nat, hook: Hook::Postrouting, priority: 100 };
    batch.add_chain("c", Some(base));
    batch.add_rule("c", [Expression::masquerade()]);
    nftables.commit(&batch).unwrap();
    nftables.commit(&batch).unwrap();
    assert_eq!(nftables.chains("t").unwrap(), ["c"]);
    assert_eq!(nftables.rule_counts("t").unwrap(), [("c".to_owned(), 2)]);
}

#[test]
fn thousands_of_elements_go_in_one_batch() {
    if !enter() {
        return;
    }
    let mut nftables = Nftables::open().unwrap();
    let elements: Vec<_> = (1..=5000).map(element).collect();
    let mut batch = Batch::new("t");
    batch.add_table();
    batch.add_map(&MAP);
    batch.change_elements(ElementChange::Add, MAP.name, &elements);
    nftables.commit(&batch).unwrap();
    let mut keys = nftables.keys("t", MAP.name).unwrap();
    keys.sort();
    assert!(keys.into_iter().eq(elements.iter().map(|element| (element.key.clone(), None))));
    let mut batch = Batch::new("t");
    batch.change_elements(ElementChange::Delete, MAP.name, &elements[..10]);
    nftables.commit(&batch).unwrap();
    assert_eq!(nftables.commit(&batch).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(nftables.keys("t", MAP.name).unwrap().len(), 4990);
}

#[test]
fn a_range_of_keys_is_one_element() {
    if !enter() {
        return;
    }
    let mut nftables = Nftables::open().unwrap();
    let map = Map { data: Some((7, 4)), parts: &[1, 2], ..MAP };
    let range = |first, last| Element {
        key: key(first),
        key_end: Some(key(last)),
        data: vec![192, 0, 2, 1],
    };
    let mut batch = Batch::new("t");
    batch.add_table();
    batch.add_map(&map);
    batch.change_elements(ElementChange::Add, map.name, &[range(80, 90), range(100, 60_000)]);
    nftables.commit(&batch).unwrap();
    // The same again, in one step with taking all away.
    batch.flush_map(map.name);
    batch.change_elements(ElementChange::Add, map.name, &[range(80, 90)]);
    nftables.commit(&batch).unwrap();
    assert_eq!(nftables.keys("t", map.name).unwrap(), [(key(80), Some(key(90)))]);
    let mut batch = Batch::new("t");
    batch.change_elements(ElementChange::Add, map.name, &[range(85, 95)]);
    assert!(nftables.commit(&batch).is_err(), "a port leads to one place");
}

#[test]
fn links_are_made_and_found_and_their_loss_is_told() {
    if !enter() {
        return;
    }
    let mut route = Route::open().unwrap();
    let own_port = Nftables::open().unwrap().port().unwrap();
    let mut events = Events::open("t", own_port).unwrap();
    route.execute([Request::create_bridge("br", [2, 0, 0, 0, 0, 1], 1400)]).unwrap();
    let bridge = route.link("br").unwrap().unwrap();
    assert!(bridge.is_bridge && !bridge.is_up);
    let address =
        Address { link: bridge.index, address: Ipv4Addr::new(10, 1, 0, 1).into(), prefix: 24 };
    route.execute([Request::add_address(address), Request::raise(bridge.index)]).unwrap();
    assert_eq!(route.addresses(Family::V4).unwrap(), [address]);
    assert!(
        route
            .routes(Family::V4)
            .unwrap()
            .iter()
            .any(|r| r.destination == Ipv4Addr::new(10, 1, 0, 0))
    );

    let (other, mut inside) = make_network_namespace(Route::open).unwrap();
    let veth = Veth {
        name: "out",
        master: bridge.index,
        mtu: 1400,
        peer_name: "in",
        peer_mac: [2, 0, 0, 0, 0, 2],
        peer_namespace: other.as_fd(),
    };
    let requests = [Request::create_veth(&veth), Request::raise_port("out", "whose it is")];
    route.execute(requests.clone()).unwrap();
    let out = route.link("out").unwrap().unwrap();
    assert_eq!((out.master, out.alias.as_deref()), (Some(bridge.index), Some("whose it is")));
    assert_eq!(inside.link("in").unwrap().unwrap().mac, [2, 0, 0, 0, 0, 2]);
    // The first refusal is the answer, and what follows it is done all the same.
    let [create, _] = requests;
    let error = route.execute([create, Request::set_alias(out.index, "another's")]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(route.link("out").unwrap().unwrap().alias.as_deref(), Some("another's"));

    route.execute([Request::set_group("out", 77), Request::delete_group(77)]).unwrap();
    assert_eq!(route.link("out").unwrap(), None);
    assert_eq!(inside.link("in").unwrap(), None);
    assert!(events.take().unwrap().contains(&Event::Link("out".to_owned())));
}

#[test]
fn ports_are_rewritten_both_ways_without_tracking() {
    if !enter() {
        return;
    }
    crate::namespace::loopback_up().unwrap();
    let server = std::net::UdpSocket::bind("127.0.0.11:0").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.11:0").unwrap();
    let server_port = server.local_addr().unwrap().port();
    let ports =
        [(Transport::Udp, server_port), (Transport::Tcp, listener.local_addr().unwrap().port())];
    let mut batch = Batch::new("own");
    batch.add_own_table();
    let base = |priority| Some(BaseChain { kind: ChainKind::Filter, hook: Hook::Output, priority });
    batch.add_chain("queries", base(-300));
    batch.add_chain("answers", base(-150));
    let here = Ipv4Addr::new(127, 0, 0, 11);
    for (protocol, port) in ports {
        let query = [Expression::is_ipv4(), Expression::destination(here, 32)];
        let query = [query.concat(), Expression::protocol(protocol)].concat();
        let to_53 =
            [Expression::destination_port(53), Expression::set_destination_port(protocol, port)];
        batch.add_rule("queries", [query, to_53.concat()].concat());
        let answer = [Expression::is_ipv4(), Expression::source(here, 32)];
        let answer = [answer.concat(), Expression::protocol(protocol)].concat();
        let from_53 = [Expression::source_port(port), Expression::set_source_port(protocol, 53)];
        batch.add_rule("answers", [answer, from_53.concat()].concat());
    }
    let mut nftables = Nftables::open().unwrap();
    nftables.commit(&batch).unwrap();

    // The port itself is free for others.
    let other = std::net::UdpSocket::bind("0.0.0.0:53").unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect("127.0.0.11:53").unwrap();
    client.send(b"query").unwrap();
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"query");
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    drop(other);

    let client = std::net::TcpStream::connect("127.0.0.11:53").unwrap();
    let (accepted, from) = listener.accept().unwrap();
    assert_eq!(client.local_addr().unwrap(), from);
    io::Write::write_all(&mut &accepted, b"answer").unwrap();
    io::Read::read_exact(&mut &client, &mut buffer[..6]).unwrap();
    assert_eq!(&buffer[..6], b"answer");

    // Nobody else can take the rules away, and they end with their owner.
    let mut stranger = Nftables::open().unwrap();
    let mut flush = Batch::new("own");
    flush.flush_chain("queries");
    let refused = stranger.commit(&flush).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    drop(nftables);
    assert_eq!(stranger.chains("own").unwrap(), [] as [&str; 0]);
}

#[test]
fn a_vxlan_knows_what_it_was_told_and_no_more() {
    if !enter() {
        return;
    }
    let tool = |command: &str| {
        let mut words = command.split(' ');
        let output =
            std::process::Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap().replace([' ', '\n'], "")
    };
    let mut route = Route::open().unwrap();
    route.execute([Request::create_bridge("br", [2, 0, 0, 0, 0, 1], 1450)]).unwrap();
    let bridge = route.link("br").unwrap().unwrap().index;
    for (name, local, peer) in
        [("vx4", "192.0.2.1", "192.0.2.2"), ("vx6", "2001:db8::1", "2001:db8::2")]
    {
        let vxlan = Vxlan { vni: 4096, local: local.parse().unwrap(), port: 4790 };
        let vtep = peer.parse().unwrap();
        let create = Request::create_vxlan(name, &vxlan, bridge, 1450);
        route.execute([create.clone()]).unwrap();
        assert_eq!(route.execute([create]).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let link = route.link(name).unwrap().unwrap();
        assert_eq!((link.vxlan, link.master, link.mtu), (Some(vxlan), Some(bridge), 1450));
        let shown = tool(&format!("ip -j -d link show {name}"));
        for fact in [r#""id":4096"#, r#""port":4790"#, r#""learning":false"#, r#""proxy":true"#] {
            assert!(shown.contains(fact), "{fact}: {shown}");
        }
        route.execute([Request::raise(link.index)]).unwrap();

        let mac = [2, 0x42, 10, 0, 1, 2];
        let forwarding = Forwarding { mac, vtep };
        let neighbour = Neighbour { address: Ipv4Addr::new(10, 0, 1, 2).into(), mac };
        let moved = Forwarding { mac, vtep: local.parse().unwrap() };
        // Told again is told once, and the last word counts.
        for forwarding in [&moved, &forwarding, &forwarding] {
            let neighbour = Request::set_neighbour(link.index, &neighbour);
            route.execute([Request::set_forwarding(link.index, forwarding), neighbour]).unwrap();
        }
        assert_eq!(route.forwardings(link.index).unwrap(), [forwarding]);
        assert_eq!(route.permanent_neighbours(link.index, Family::V4).unwrap(), [neighbour]);
        let shown = tool(&format!("bridge -j fdb show dev {name}"));
        for fact in [r#""mac":"02:42:0a:00:01:02""#, &format!(r#""dst":"{peer}""#)] {
            assert_eq!(shown.matches(fact).count(), 1, "{fact}: {shown}");
        }
        let shown = tool(&format!("ip -j neigh show dev {name} nud permanent"));
        assert!(shown.contains(r#""dst":"10.0.1.2","lladdr":"02:42:0a:00:01:02""#), "{shown}");

        let forget = [
            Request::delete_forwarding(link.index, &forwarding),
            Request::delete_neighbour(link.index, &neighbour),
        ];
        route.execute(forget.clone()).unwrap();
        assert_eq!(route.forwardings(link.index).unwrap(), []);
        assert_eq!(route.permanent_neighbours(link.index, Family::V4).unwrap(), []);
        assert_eq!(route.execute(forget).unwrap_err().kind(), io::ErrorKind::NotFound);
        route.execute([Request::delete_link(name)]).unwrap();
    }
}
