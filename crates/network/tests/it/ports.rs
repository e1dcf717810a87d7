//! Published ports beyond one of TCP: ranges, and every protocol in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use linux::namespace::in_namespace;
use network::{Network, NetworkRequest};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::lab::{
    Container, HOST, Lab, OUTSIDE, connect, connect_from, is_unreachable, leftovers, links_carry,
    peer_of, request, run,
};

const HOST6: &str = "2001:db8::1";
const OUTSIDE6: &str = "2001:db8::2";
const ANSWER: Duration = Duration::from_secs(5);

/// The elements of a map, as the tool shows them.
fn elements(map: &str) -> Vec<String> {
    let text = run("nft", &["list", "map", "inet", "teu", map]);
    let Some((_, list)) = text.split_once("elements = {") else { return Vec::new() };
    let list = list.split('}').next().unwrap_or_default();
    list.split(',').map(|element| element.trim().to_owned()).collect()
}

#[test]
fn a_range_is_one_element_and_each_port_of_it_answers() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let clean = leftovers();
    let all: Vec<String> = (8000..9000).map(|port| format!("{port}:{port}")).collect();
    let ports: Vec<&str> = all.iter().map(String::as_str).collect();
    let web = Container::start(&network, "web", &ports);
    assert_eq!(web.endpoint.ports.len(), 1000);
    assert_eq!(elements("port_ranges"), [format!("tcp . 8000-8999 : {}", web.ip())]);
    assert_eq!(elements("ports"), [] as [&str; 0]);
    for port in [8000, 8500, 8999] {
        let server = web.listen(port);
        let client = connect_from(&lab.outside, HOST, port).unwrap();
        assert_eq!(peer_of(&server, client), IpAddr::V4(OUTSIDE));
        peer_of(&server, connect(Ipv4Addr::LOCALHOST, port).unwrap());
    }
    let beyond = web.listen(9000);
    assert!(connect_from(&lab.outside, HOST, 9000).is_err());
    drop(beyond);
    // What somebody flushes comes back, and is found to be right.
    run("nft", &["flush", "map", "inet", "teu", "port_ranges"]);
    assert!(network.repair().unwrap());
    assert!(!network.repair().unwrap());
    assert_eq!(elements("port_ranges").len(), 1);
    network.destroy_sandbox("web").unwrap();
    network.settle();
    assert_eq!(leftovers(), clean);
}

#[test]
fn a_range_follows_its_container_from_network_to_network() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    for name in ["anet", "bnet"] {
        network.create(&NetworkRequest { name: name.to_owned(), ..Default::default() }).unwrap();
    }
    let ports = ["127.0.0.1:8000:8000", "127.0.0.1:8001:8001", "80:80", "81:81", "443:8443"];
    let sandbox = network.create_sandbox("web").unwrap();
    let namespace: OwnedFd = std::fs::File::open(&sandbox.netns_path).unwrap().into();
    let joined = |name: &str| network.connect("web", name, &request("web", &ports)).unwrap();
    let first = joined("bnet").ip.unwrap();
    let server = crate::lab::listen(&namespace, 81);
    peer_of(&server, connect_from(&lab.outside, HOST, 81).unwrap());
    // The lower name is the way out.
    let second = joined("anet").ip.unwrap();
    assert_eq!(elements("port_ranges"), [format!("tcp . 80-81 : {second}")]);
    assert_eq!(
        elements("address_port_ranges"),
        [format!("tcp . 127.0.0.1 . 8000-8001 : {second}")]
    );
    peer_of(&server, connect_from(&lab.outside, HOST, 81).unwrap());
    network.disconnect("web", "anet").unwrap();
    assert_eq!(elements("port_ranges"), [format!("tcp . 80-81 : {first}")]);
    peer_of(&server, connect_from(&lab.outside, HOST, 81).unwrap());
    assert!(!network.repair().unwrap());
}

/// A container with both families, published in the words of `-p`; the host and its neighbour have
/// addresses of both.
fn dual(lab: &Lab, network: &Network, ports: &[&str]) -> Container {
    run("ip", &["address", "add", &format!("{HOST6}/64"), "dev", "wan0", "nodad"]);
    let outside = format!("{OUTSIDE6}/64");
    lab.run_outside("ip", &["address", "add", &outside, "dev", "eth0", "nodad"]);
    let wish = NetworkRequest {
        name: "six".to_owned(),
        enable_ipv6: Some(true),
        ..NetworkRequest::default()
    };
    network.create(&wish).unwrap();
    let sandbox = network.create_sandbox("web").unwrap();
    let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
    let mut request = request("web", &[]);
    request.ports = ports.iter().map(|port| crate::lab::port_request(port)).collect();
    let endpoint = network.connect("web", "six", &request).unwrap();
    links_carry();
    Container { id: "web".to_owned(), endpoint, namespace }
}

fn udp_at(namespace: &OwnedFd, address: IpAddr, port: u16) -> UdpSocket {
    let socket = in_namespace(namespace.as_fd(), || UdpSocket::bind((address, port)));
    let socket = socket.unwrap().unwrap();
    socket.set_read_timeout(Some(ANSWER)).unwrap();
    socket
}

#[test]
fn udp_answers_in_both_families_and_on_given_addresses() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let ports = ["5353:53/udp", "[2001:db8::1]:5454:53/udp", "198.51.100.1:5454:53/udp"];
    let web = dual(&lab, &network, &ports);
    assert_eq!(web.endpoint.ports.len(), 4);
    let server = udp_at(&web.namespace, Ipv6Addr::UNSPECIFIED.into(), 53);
    let (host6, outside6): (IpAddr, IpAddr) = (HOST6.parse().unwrap(), OUTSIDE6.parse().unwrap());
    for (from, to) in [(IpAddr::V4(OUTSIDE), IpAddr::V4(HOST)), (outside6, host6)] {
        for port in [5353, 5454] {
            let client = udp_at(&lab.outside, from, 0);
            client.send_to(b"?", (to, port)).unwrap();
            let mut byte = [0];
            let (_, seen) = server.recv_from(&mut byte).unwrap();
            assert_eq!(seen.ip().to_canonical(), from, "the client's own address");
            server.send_to(b"!", seen).unwrap();
            let (_, answered) = client.recv_from(&mut byte).unwrap();
            assert_eq!(answered, SocketAddr::new(to, port));
        }
    }
    // Nobody takes a port that was given away, in either family.
    for taken in ["0.0.0.0:5353", "[::]:5353", "198.51.100.1:5454", "[2001:db8::1]:5454"] {
        assert!(UdpSocket::bind(taken).is_err(), "{taken}");
    }
    assert!(UdpSocket::bind("127.0.0.1:5454").is_ok());
}

/// A kernel may translate SCTP without having sockets of it, so both ends are written by hand.
#[test]
fn sctp_is_translated_in_both_families() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = dual(&lab, &network, &["3868:3000/sctp", "9899:9899/sctp", "9900:9900/sctp"]);
    let inside = |ip: IpAddr| match ip {
        IpAddr::V4(_) => IpAddr::V4(web.ip()),
        IpAddr::V6(_) => IpAddr::V6(web.endpoint.ip6.unwrap()),
    };
    for host in [IpAddr::V4(HOST), HOST6.parse().unwrap()] {
        for (host_port, port) in [(3868_u16, 3000_u16), (9900, 9900)] {
            let server = sctp_socket(&web.namespace, host);
            let client = sctp_socket(&lab.outside, host);
            let to = SocketAddr::new(host, 0);
            let packet = sctp_init(40_000, host_port);
            rustix::net::sendto(&client, &packet, SendFlags::empty(), &to).unwrap();
            let mut buffer = [0; 256];
            let (length, _, _) = rustix::net::recvfrom(&server, &mut buffer, RecvFlags::empty())
                .unwrap_or_else(|error| panic!("{host} {host_port} to {}: {error}", inside(host)));
            let came = &buffer[if host.is_ipv4() { 20 } else { 0 }..length];
            assert_eq!(came[..4], [&40_000_u16.to_be_bytes()[..], &port.to_be_bytes()].concat());
            assert_eq!(came, sctp_init(40_000, port), "the checksum is right as well");
        }
    }
}

fn sctp_socket(namespace: &OwnedFd, like: IpAddr) -> OwnedFd {
    let family = if like.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC;
    let open = || rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::SCTP));
    let socket = in_namespace(namespace.as_fd(), open).unwrap().unwrap();
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER)).unwrap();
    socket
}

/// A bridge asks for the neighbours of a packet that it forwards from its link-local address alone,
/// so the first packet is lost unless there is one that nobody has to confirm.
#[test]
fn a_new_network_has_the_address_that_finds_neighbours() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let wish = NetworkRequest {
        name: "six".to_owned(),
        enable_ipv6: Some(true),
        ..NetworkRequest::default()
    };
    let (record, _) = network.create(&wish).unwrap();
    let bridge = record.interface.unwrap();
    let shown = run("ip", &["-6", "-o", "address", "show", "dev", &bridge, "scope", "link"]);
    assert!(shown.contains("fe80::"), "{shown}");
    assert!(!shown.contains("tentative"), "{shown}");
    assert!(!network.repair().unwrap(), "it is there, and stays");
}

/// A packet that opens an association, RFC 9260 section 3.3.2.
fn sctp_init(source: u16, destination: u16) -> Vec<u8> {
    const TAG: u32 = 0x7465_7531;
    let mut packet = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20]);
    packet.extend(TAG.to_be_bytes());
    packet.extend(65_536_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1_u32.to_be_bytes());
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), shift);
    !bytes.iter().fold(u32::MAX, byte)
}

#[test]
fn a_port_of_ipv6_alone_is_not_one_of_ipv4() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = dual(&lab, &network, &["[::]:8080:80"]);
    assert_eq!(web.endpoint.ports.len(), 1);
    let server = in_namespace(web.namespace.as_fd(), || {
        std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80))
    });
    let server = server.unwrap().unwrap();
    let to = SocketAddr::new(HOST6.parse().unwrap(), 8080);
    let client =
        in_namespace(lab.outside.as_fd(), || std::net::TcpStream::connect_timeout(&to, ANSWER));
    assert_eq!(peer_of(&server, client.unwrap().unwrap()), OUTSIDE6.parse::<IpAddr>().unwrap());
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    // The other family's port of that number is another's to have.
    Container::start(&network, "four", &["8080:80"]);
}
