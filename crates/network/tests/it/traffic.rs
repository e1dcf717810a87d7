//! Packets: who reaches whom, and as whom.

use std::net::{IpAddr, Ipv4Addr};

use network::{Config, EndpointRequest, Network, Protocol};

use crate::lab::{
    Container, HOST, Lab, OUTSIDE, connect, connect_from, is_unreachable, listen, peer_of, request,
    run, udp,
};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

#[test]
fn outside_reaches_a_published_port_with_its_own_address() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    let client = connect_from(&lab.outside, HOST, 8080).unwrap();
    assert_eq!(peer_of(&server, client), IpAddr::V4(OUTSIDE));
}

#[test]
fn the_host_reaches_a_published_port_by_every_address_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    assert_eq!(peer_of(&server, connect(HOST, 8080).unwrap()), IpAddr::V4(HOST));
    peer_of(&server, connect(Ipv4Addr::LOCALHOST, 8080).unwrap());
    peer_of(&server, connect(GATEWAY, 8080).unwrap());
    peer_of(&server, connect(web.ip(), 80).unwrap());
}

#[test]
fn a_port_on_loopback_is_for_the_host_alone() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["127.0.0.1:8080:80"]);
    let server = web.listen(80);
    peer_of(&server, connect(Ipv4Addr::LOCALHOST, 8080).unwrap());
    assert!(connect(HOST, 8080).is_err());
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    // A neighbour on the wire can put any destination into its packets.
    lab.run_outside("sysctl", &["-qw", "net.ipv4.conf.eth0.route_localnet=1"]);
    lab.run_outside("ip", &["route", "add", "127.0.0.0/8", "via", "198.51.100.1"]);
    assert!(is_unreachable(&lab.outside, Ipv4Addr::LOCALHOST, 8080));
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err());
}

#[test]
fn a_port_on_one_address_answers_there_only() {
    let Some(lab) = Lab::new() else { return };
    run("ip", &["address", "add", "198.51.100.9/24", "dev", "wan0"]);
    let network = lab.open();
    let web = Container::start(&network, "web", &["198.51.100.9:8080:80"]);
    let other = Container::start(&network, "other", &["198.51.100.1:8080:80"]);
    let (server, other_server) = (web.listen(80), other.listen(80));
    let nine = Ipv4Addr::new(198, 51, 100, 9);
    peer_of(&server, connect_from(&lab.outside, nine, 8080).unwrap());
    peer_of(&other_server, connect_from(&lab.outside, HOST, 8080).unwrap());
    assert!(connect(Ipv4Addr::LOCALHOST, 8080).is_err());
}

#[test]
fn a_container_reaches_outside_as_the_host() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let client = Container::start(&network, "client", &[]);
    let server = listen(&lab.outside, 9000);
    let stream = connect_from(&client.namespace, OUTSIDE, 9000).unwrap();
    assert_eq!(peer_of(&server, stream), IpAddr::V4(HOST));
}

#[test]
fn containers_reach_published_ports_by_the_hosts_addresses() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let neighbour = Container::start(&network, "neighbour", &[]);
    let server = web.listen(80);
    for bridge_calls_filters in ["1", "0"] {
        run(
            "sysctl",
            &["-qw", &format!("net.bridge.bridge-nf-call-iptables={bridge_calls_filters}")],
        );
        for client in [&web, &neighbour] {
            for address in [HOST, GATEWAY] {
                peer_of(&server, connect_from(&client.namespace, address, 8080).unwrap());
            }
        }
        let direct = connect_from(&neighbour.namespace, web.ip(), 80).unwrap();
        assert_eq!(peer_of(&server, direct), IpAddr::V4(neighbour.ip()));
    }
}

#[test]
fn udp_ports_are_published_too() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let dns = Container::start(&network, "dns", &["5353:53/udp"]);
    let server = udp(&dns.namespace, 53);
    let outside = udp(&lab.outside, 0);
    let here = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    here.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    for (client, to) in [(&outside, HOST), (&here, Ipv4Addr::LOCALHOST)] {
        client.send_to(b"?", (to, 5353)).unwrap();
        let mut byte = [0];
        let (_, from) = server.recv_from(&mut byte).unwrap();
        server.send_to(b"!", from).unwrap();
        let (_, answered) = client.recv_from(&mut byte).unwrap();
        assert_eq!((answered.ip(), answered.port()), (IpAddr::V4(to), 5353));
    }
}

#[test]
fn a_udp_client_that_never_pauses_follows_its_port() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let client = udp(&lab.outside, 0);
    let mut byte = [0];
    // Nobody there yet: the flow begins untranslated.
    client.send_to(b"0", (HOST, 5353)).unwrap();
    for id in ["first", "second"] {
        let dns = Container::start(&network, id, &["5353:53/udp"]);
        let server = udp(&dns.namespace, 53);
        network.settle();
        client.send_to(b"?", (HOST, 5353)).unwrap();
        let (_, from) = server.recv_from(&mut byte).unwrap();
        assert_eq!(from.ip(), IpAddr::V4(OUTSIDE));
        network.destroy_sandbox(id).unwrap();
        network.settle();
        client.send_to(b"?", (HOST, 5353)).unwrap();
        // Its successor has its address, but not its port.
        let heir = Container::start(&network, "heir", &[]);
        assert_eq!(heir.ip(), dns.ip());
        let server = udp(&heir.namespace, 53);
        client.send_to(b"?", (HOST, 5353)).unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        assert!(server.recv_from(&mut byte).is_err());
        network.destroy_sandbox("heir").unwrap();
    }
}

#[test]
fn a_successor_answers_at_once_under_the_same_address() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    for _ in 0..10 {
        let web = Container::start(&network, "web", &["8080:80"]);
        let server = web.listen(80);
        peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
        peer_of(&server, connect(web.ip(), 80).unwrap());
        assert_eq!(web.ip(), Ipv4Addr::new(172, 17, 0, 2));
        // The old namespace lives on meanwhile: `web` holds it until the end of the round.
        network.destroy_sandbox("web").unwrap();
    }
}

#[test]
fn what_is_not_published_is_not_reachable() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    lab.run_outside("ip", &["route", "add", "172.17.0.0/16", "via", "198.51.100.1"]);
    assert!(is_unreachable(&lab.outside, web.ip(), 80));
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err());
}

#[test]
fn containers_do_not_reach_the_hosts_loopback() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let evil = Container::start(&network, "evil", &[]);
    let private = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = private.local_addr().unwrap().port();
    evil.run("ip", &["address", "flush", "dev", "lo"]);
    evil.run("ip", &["route", "add", "127.0.0.0/8", "via", "172.17.0.1"]);
    evil.run("sysctl", &["-qw", "net.ipv4.conf.eth0.route_localnet=1"]);
    assert!(is_unreachable(&evil.namespace, Ipv4Addr::LOCALHOST, port));
    private.set_nonblocking(true).unwrap();
    assert!(private.accept().is_err());
}

#[test]
fn without_icc_neighbours_meet_through_published_ports_only() {
    let Some(lab) = Lab::new() else { return };
    let network = Network::open(Config { icc: false, ..lab.config() }).unwrap();
    let web = Container::start(&network, "web", &["8080:80"]);
    let neighbour = Container::start(&network, "neighbour", &[]);
    let server = web.listen(80);
    for others_are_filtered in ["1", "0"] {
        run(
            "sysctl",
            &["-qw", &format!("net.bridge.bridge-nf-call-iptables={others_are_filtered}")],
        );
        assert!(is_unreachable(&neighbour.namespace, web.ip(), 80));
        peer_of(&server, connect_from(&neighbour.namespace, HOST, 8080).unwrap());
    }
}

#[test]
fn linked_neighbours_meet_where_the_bridge_keeps_them_apart() {
    let Some(lab) = Lab::new() else { return };
    lab.forget_bridge_filter();
    let network = Network::open(Config { icc: false, ..lab.config() }).unwrap();
    let start = |id: &str, wish: EndpointRequest| {
        let sandbox = network.create_sandbox(id).unwrap();
        let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
        let endpoint = network.connect(id, "bridge", &wish).unwrap();
        Container { id: id.to_owned(), endpoint, namespace }
    };
    let open_to_links = vec![(Protocol::Tcp, 80)];
    let db = start("db", EndpointRequest { open_to_links, ..request("db", &["8080:82"]) });
    let web =
        start("web", EndpointRequest { reaches: vec!["db".to_owned()], ..request("web", &[]) });
    let other = start("other", request("other", &[]));
    let ports = run("ip", &["-d", "link", "show", "master", "teu0"]);
    assert_eq!(ports.matches("isolated on").count(), 3, "{ports}");
    let (linked, closed, published) = (db.listen(80), db.listen(81), db.listen(82));
    assert_eq!(peer_of(&linked, connect_from(&web.namespace, db.ip(), 80).unwrap()), web.ip());
    peer_of(&published, connect_from(&other.namespace, HOST, 8080).unwrap());
    for (from, port) in [(&web, 81), (&web, 82), (&other, 80), (&other, 81)] {
        assert!(is_unreachable(&from.namespace, db.ip(), port), "{} {port}", from.id);
    }
    assert!(is_unreachable(&db.namespace, web.ip(), 80));
    drop(closed);
    network.set_reached("web", Vec::new()).unwrap();
    assert!(is_unreachable(&web.namespace, db.ip(), 80));
}

#[test]
fn the_administrators_chain_decides_first_and_stays() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    run(
        "nft",
        &[
            "add",
            "rule",
            "inet",
            "teu",
            "TEU-USER",
            "tcp",
            "dport",
            "80",
            "ct",
            "original",
            "proto-dst",
            "8080",
            "drop",
        ],
    );
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    drop(network);
    let _network = lab.open();
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    run("nft", &["flush", "chain", "inet", "teu", "TEU-USER"]);
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
}

#[test]
fn the_commands_of_the_warning_open_a_dropping_host() {
    let Some(lab) = Lab::new() else { return };
    let iptables = |arguments: &str| {
        run("iptables-nft", &arguments.split(' ').collect::<Vec<_>>());
    };
    if std::process::Command::new("iptables-nft").arg("-V").output().is_err() {
        eprintln!("skipped: no iptables-nft");
        return;
    }
    iptables("-P FORWARD DROP");
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    let warnings = network.warnings();
    let (_, commands) = warnings[0].split_once("To let them: ").unwrap();
    for command in commands.split("; ") {
        iptables(command.strip_prefix("iptables ").unwrap());
    }
    assert_eq!(network.warnings(), [] as [&str; 0]);
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    let world = listen(&lab.outside, 9000);
    peer_of(&world, connect_from(&web.namespace, OUTSIDE, 9000).unwrap());
}
