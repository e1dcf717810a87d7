//! Networks that users make: addresses, moves from one to the other, walls between them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use linux::netlink::Family;
use network::{ErrorKind, IpamRequest, Network, NetworkRequest};

use crate::lab::{
    Container, HOST, Init, Lab, OUTSIDE, cidr, connect, connect_from, is_unreachable, leftovers,
    links_carry, listen, peer_of, request, run,
};

fn make(network: &Network, name: &str) -> network::NetworkRecord {
    network.create(&NetworkRequest { name: name.to_owned(), ..Default::default() }).unwrap().0
}

fn with_options(name: &str, options: &[(&str, &str)]) -> NetworkRequest {
    let option = |(name, value): &(&str, &str)| {
        (format!("com.docker.network.bridge.{name}"), (*value).to_owned())
    };
    NetworkRequest {
        name: name.to_owned(),
        options: options.iter().map(option).collect(),
        ..Default::default()
    }
}

fn subnet(text: &str) -> Vec<IpamRequest> {
    vec![IpamRequest { subnet: Some(cidr(text)), ..Default::default() }]
}

fn v4(record: &network::NetworkRecord) -> String {
    record.subnet(Family::V4).unwrap().subnet.to_string()
}

#[test]
fn a_network_has_a_bridge_and_the_next_free_subnet() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let clean = leftovers();
    let links = run("ip", &["-o", "link"]).lines().count();
    let one = make(&network, "one");
    assert_eq!(v4(&one), "172.18.0.0/16");
    let bridge = format!("br-{}", &one.id[..12]);
    assert_eq!(one.interface.as_deref(), Some(bridge.as_str()));
    assert!(run("ip", &["addr", "show", "dev", &bridge]).contains("inet 172.18.0.1/16"));
    run("ip", &["route", "add", "172.19.0.0/24", "via", "198.51.100.2"]);
    assert_eq!(v4(&make(&network, "two")), "172.20.0.0/16");
    let error = network
        .create(&NetworkRequest { name: "one".to_owned(), ..Default::default() })
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Conflict, "network with name one already exists")
    );
    let clash = NetworkRequest {
        ipam: subnet("172.18.9.0/24"),
        ..NetworkRequest { name: "clash".to_owned(), ..Default::default() }
    };
    let error = network.create(&clash).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("Pool overlaps with other one on this address space"));
    let bits = NetworkRequest { ipam: subnet("10.1.2.3/16"), ..clash };
    let error = network.create(&bits).unwrap_err().to_string();
    assert_eq!(error, "invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16");
    for name in ["one", "two"] {
        network.remove(name).unwrap();
    }
    assert_eq!(leftovers(), clean);
    assert_eq!(run("ip", &["-o", "link"]).lines().count(), links);
    assert!(!network.repair().unwrap());
}

#[test]
fn networks_survive_the_process_and_the_boot() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let one = make(&network, "one");
    let bridge = one.interface.clone().unwrap();
    drop(network);
    run("ip", &["link", "delete", &bridge]);
    run("ip", &["link", "add", "br-stray", "type", "bridge"]);
    let alias = format!("teu:{}", lab.config().data_root.canonicalize().unwrap().display());
    run("ip", &["link", "set", "br-stray", "alias", &alias]);
    let network = lab.open();
    assert_eq!(network.inspect("one").unwrap().record, one);
    assert!(run("ip", &["addr", "show", "dev", &bridge]).contains("172.18.0.1/16"));
    // A removal that was cut off.
    assert_eq!(network.reconcile(&[]).unwrap().interfaces, ["br-stray"]);
}

#[test]
fn published_ports_follow_the_way_out() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    make(&network, "mynet");
    let web = Container::start(&network, "web", &["8080:80", "0.0.0.0:9000:90"]);
    let server = web.listen(80);
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    network.disconnect("web", "bridge").unwrap();
    assert!(connect(HOST, 8080).is_err());
    assert!(web.run("ip", &["-o", "link"]).lines().count() == 1);
    assert!(std::net::TcpListener::bind("0.0.0.0:8080").is_ok());

    let wish = request("web", &["8080:80", "0.0.0.0:9000:90"]);
    let endpoint = network.connect("web", "mynet", &wish).unwrap();
    assert_eq!(endpoint.ip, Some(Ipv4Addr::new(172, 18, 0, 2)));
    assert_eq!(endpoint.ports.len(), 2);
    assert_eq!(peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap()), OUTSIDE);
    peer_of(&server, connect(Ipv4Addr::new(172, 18, 0, 1), 8080).unwrap());
    // The lower name has the way out, and takes the ports with it.
    let back = network.connect("web", "bridge", &wish).unwrap();
    assert_eq!(back.interface.as_deref(), Some("eth1"));
    assert_eq!(back.ports.len(), 2);
    assert!(web.run("ip", &["route"]).contains("default via 172.17.0.1 dev eth1"));
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    network.disconnect("web", "bridge").unwrap();
    assert!(web.run("ip", &["route"]).contains("default via 172.18.0.1 dev eth0"));
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    // A priority beats the name.
    make(&network, "zone");
    let mut first = wish.clone();
    first.gw_priority = 1;
    assert_eq!(network.connect("web", "zone", &first).unwrap().ports.len(), 2);
    assert_eq!(network.connect("web", "bridge", &wish).unwrap().ports.len(), 0);
    assert!(web.run("ip", &["route"]).contains("default via 172.19.0.1 dev"));
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    let error = network.remove("zone").unwrap_err();
    assert_eq!(
        error.to_string(),
        "error while removing network: network zone has active endpoints \
         (name:\"name-of-web\" id:\"web\")"
    );
    assert!(!network.repair().unwrap());
}

#[test]
fn a_successor_finds_several_networks_as_they_were() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    make(&network, "mynet");
    let web = Container::start(&network, "web", &["8080:80"]);
    let init = Init::start(&network, "web");
    network.connect("web", "mynet", &request("web", &["8080:80"])).unwrap();
    let server = web.listen(80);
    let before = network.endpoints("web");
    drop(network);
    let network = lab.open();
    network.reconcile(&[init.live("web")]).unwrap();
    assert_eq!(network.endpoints("web"), before);
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    let mynet = network.inspect("mynet").unwrap().record.interface.unwrap();
    let breakages: [&[&str]; 3] = [
        &["nft", "flush", "ruleset"],
        &["ip", "link", "delete", &mynet],
        &["ip", "link", "delete", before[1].host_interface.as_ref().unwrap()],
    ];
    for breakage in breakages {
        run(breakage[0], &breakage[1..]);
        assert!(network.repair().unwrap(), "{breakage:?}");
        assert!(!network.repair().unwrap(), "{breakage:?}");
        peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    }
    // The ports follow although another process published them.
    network.disconnect("web", "bridge").unwrap();
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    assert!(web.run("ip", &["route"]).contains("default via 172.18.0.1"));
}

fn start_in(network: &Network, id: &str, name: &str, ports: &[&str]) -> Container {
    let sandbox = network.create_sandbox(id).unwrap();
    let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
    let endpoint = network.connect(id, name, &request(id, ports)).unwrap();
    links_carry();
    Container { id: id.to_owned(), endpoint, namespace }
}

#[test]
fn different_bridges_meet_through_published_ports_only() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    make(&network, "one");
    make(&network, "two");
    let a = start_in(&network, "a", "one", &["8080:80"]);
    let b = start_in(&network, "b", "two", &[]);
    let c = start_in(&network, "c", "one", &[]);
    let server = a.listen(80);
    assert!(is_unreachable(&b.namespace, a.ip(), 80));
    peer_of(&server, connect_from(&c.namespace, a.ip(), 80).unwrap());
    for client in [&a, &b, &c] {
        peer_of(&server, connect_from(&client.namespace, HOST, 8080).unwrap());
    }
    // Nor from outside, even with a route.
    lab.run_outside("ip", &["route", "add", "172.18.0.0/16", "via", "198.51.100.1"]);
    assert!(is_unreachable(&lab.outside, a.ip(), 80));
    let world = listen(&lab.outside, 9000);
    peer_of(&world, connect_from(&b.namespace, OUTSIDE, 9000).unwrap());
}

#[test]
fn an_internal_network_reaches_nothing_outside() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let wish = NetworkRequest { name: "in".to_owned(), internal: true, ..Default::default() };
    network.create(&wish).unwrap();
    let web = Container::start(&network, "web", &["8080:80"]);
    let outer = web.listen(80);
    let a = start_in(&network, "a", "in", &["8081:80"]);
    let b = start_in(&network, "b", "in", &[]);
    assert_eq!((a.endpoint.gateway, a.endpoint.ports.len()), (None, 0));
    assert!(!a.run("ip", &["route"]).contains("default"));
    let server = a.listen(80);
    peer_of(&server, connect_from(&b.namespace, a.ip(), 80).unwrap());
    peer_of(&server, connect(a.ip(), 80).unwrap());
    // It may well give itself a route.
    a.run("ip", &["route", "add", "default", "via", "172.18.0.1"]);
    let _world = listen(&lab.outside, 9000);
    assert!(is_unreachable(&a.namespace, OUTSIDE, 9000));
    assert!(is_unreachable(&a.namespace, web.ip(), 80));
    assert!(is_unreachable(&a.namespace, HOST, 8080));
    peer_of(&outer, connect(HOST, 8080).unwrap());
    // The other network of a container is its way out.
    let wish = request("a", &["8081:80"]);
    assert_eq!(network.connect("a", "bridge", &wish).unwrap().ports.len(), 1);
    peer_of(&server, connect_from(&lab.outside, HOST, 8081).unwrap());
}

#[test]
fn gateway_modes_differ_in_who_reaches_what() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    network.create(&with_options("routed", &[("gateway_mode_ipv4", "routed")])).unwrap();
    network.create(&with_options("open", &[("gateway_mode_ipv4", "nat-unprotected")])).unwrap();
    let trusting = with_options("trusting", &[("trusted_host_interfaces", "wan0")]);
    network.create(&trusting).unwrap();
    lab.run_outside("ip", &["route", "add", "172.16.0.0/12", "via", "198.51.100.1"]);
    let routed = start_in(&network, "routed", "routed", &["8080:80"]);
    assert_eq!(routed.endpoint.ports[0].host_port, 0);
    let (server, closed) = (routed.listen(80), routed.listen(81));
    peer_of(&server, connect_from(&lab.outside, routed.ip(), 80).unwrap());
    assert!(is_unreachable(&lab.outside, routed.ip(), 81));
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    drop(closed);
    // As itself.
    let world = listen(&lab.outside, 9000);
    let stream = connect_from(&routed.namespace, OUTSIDE, 9000).unwrap();
    assert_eq!(peer_of(&world, stream), IpAddr::V4(routed.ip()));
    for name in ["open", "trusting"] {
        let container = start_in(&network, name, name, &["8082:80"]);
        let server = container.listen(81);
        peer_of(&server, connect_from(&lab.outside, container.ip(), 81).unwrap());
        let stream = connect_from(&container.namespace, OUTSIDE, 9000).unwrap();
        assert_eq!(peer_of(&world, stream), IpAddr::V4(HOST));
        network.destroy_sandbox(name).unwrap();
    }
    let isolated = NetworkRequest {
        internal: true,
        ..with_options("isolated", &[("gateway_mode_ipv4", "isolated")])
    };
    let (record, _) = network.create(&isolated).unwrap();
    assert_eq!(record.subnet(Family::V4).unwrap().gateway, None);
    assert!(!run("ip", &["addr", "show", "dev", &record.interface.unwrap()]).contains("inet "));
}

#[test]
fn options_of_a_network_and_of_an_endpoint_are_what_they_say() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let mut wish = with_options(
        "net",
        &[
            ("name", "mybridge"),
            ("host_binding_ipv4", "127.0.0.1"),
            ("enable_ip_masquerade", "false"),
        ],
    );
    wish.options.insert("com.docker.network.driver.mtu".to_owned(), "1400".to_owned());
    wish.options.insert("com.docker.network.container_iface_prefix".to_owned(), "lan".to_owned());
    wish.ipam = vec![IpamRequest {
        subnet: Some(cidr("10.5.0.0/16")),
        ip_range: Some(cidr("10.5.9.0/24")),
        gateway: Some("10.5.0.254".parse().unwrap()),
        aux_addresses: BTreeMap::from([("router".to_owned(), "10.5.9.0".parse().unwrap())]),
    }];
    network.create(&wish).unwrap();
    assert!(run("ip", &["addr", "show", "dev", "mybridge"]).contains("mtu 1400"));
    let sandbox = network.create_sandbox("a").unwrap();
    let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
    let mut wish = request("a", &["8080:80"]);
    wish.link_local = vec!["169.254.7.7".parse().unwrap()];
    wish.options = BTreeMap::from([(
        "com.docker.network.endpoint.sysctls".to_owned(),
        "net.ipv4.conf.IFNAME.log_martians=1".to_owned(),
    )]);
    let endpoint = network.connect("a", "net", &wish).unwrap();
    let a = Container { id: "a".to_owned(), endpoint, namespace };
    assert_eq!(a.ip(), Ipv4Addr::new(10, 5, 9, 1));
    let shown = a.run("ip", &["addr", "show", "dev", "lan0"]);
    assert!(shown.contains("mtu 1400") && shown.contains("169.254.7.7/16"), "{shown}");
    assert!(a.run("ip", &["route"]).contains("default via 10.5.0.254 dev lan0"));
    assert_eq!(a.run("sysctl", &["-n", "net.ipv4.conf.lan0.log_martians"]).trim(), "1");
    let server = a.listen(80);
    peer_of(&server, connect(Ipv4Addr::LOCALHOST, 8080).unwrap());
    assert!(is_unreachable(&lab.outside, HOST, 8080));
    lab.run_outside("ip", &["route", "add", "10.5.0.0/16", "via", "198.51.100.1"]);
    let world = listen(&lab.outside, 9000);
    let stream = connect_from(&a.namespace, OUTSIDE, 9000).unwrap();
    assert_eq!(peer_of(&world, stream), IpAddr::V4(a.ip()));
    // A bridge of the administrator's is used, and stays.
    run("ip", &["link", "add", "theirs", "type", "bridge"]);
    network.create(&with_options("adopted", &[("name", "theirs")])).unwrap();
    network.remove("adopted").unwrap();
    run("ip", &["link", "show", "dev", "theirs"]);
    let error = network.create(&with_options("second", &[("name", "mybridge")])).unwrap_err();
    assert!(error.to_string().contains("bridge mybridge is that of network net"), "{error}");
}

#[test]
fn a_default_address_keeps_ports_to_the_host() {
    let Some(lab) = Lab::new() else { return };
    let config =
        network::Config { publish_default_address: "127.0.0.1".parse().unwrap(), ..lab.config() };
    let network = Network::open(config).unwrap();
    make(&network, "mynet");
    let a = Container::start(&network, "a", &["8080:80"]);
    let b = start_in(&network, "b", "mynet", &["8081:80", "0.0.0.0:8082:80"]);
    for (container, port, open) in [(&a, 8080, false), (&b, 8081, false), (&b, 8082, true)] {
        let server = container.listen(80);
        peer_of(&server, connect(Ipv4Addr::LOCALHOST, port).unwrap());
        assert_eq!(connect(HOST, port).is_ok(), open, "{port}");
        assert_eq!(is_unreachable(&lab.outside, HOST, port), !open, "{port}");
    }
}

#[test]
fn published_ports_answer_in_ipv6() {
    let Some(lab) = Lab::new() else { return };
    run("ip", &["address", "add", "2001:db8::1/64", "dev", "wan0", "nodad"]);
    lab.run_outside("ip", &["address", "add", "2001:db8::2/64", "dev", "eth0", "nodad"]);
    let network = lab.open();
    let wish = NetworkRequest {
        name: "six".to_owned(),
        enable_ipv6: Some(true),
        ..NetworkRequest::default()
    };
    let (record, _) = network.create(&wish).unwrap();
    let gateway = record.subnet(Family::V6).unwrap().gateway.unwrap();
    let sandbox = network.create_sandbox("web").unwrap();
    let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
    let endpoint = network.connect("web", "six", &request("web", &["8080:80"])).unwrap();
    let web = Container { id: "web".to_owned(), endpoint, namespace };
    assert_eq!(web.endpoint.ports.len(), 2);
    let neighbour = start_in(&network, "neighbour", "six", &[]);
    let server = listen_v6(&web.namespace, 80);
    let host: IpAddr = "2001:db8::1".parse().unwrap();
    let outside: IpAddr = "2001:db8::2".parse().unwrap();
    assert_eq!(peer_of(&server, connect_ip(&lab.outside, host, 8080).unwrap()), outside);
    let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap().into();
    for address in [host, gateway, IpAddr::V6(web.endpoint.ip6.unwrap())] {
        let port = if address == IpAddr::V6(web.endpoint.ip6.unwrap()) { 80 } else { 8080 };
        peer_of(&server, connect_ip(&here, address, port).unwrap());
    }
    // On the host's loopback it is refused at once, so that clients go on to 127.0.0.1; and nobody
    // else takes the port.
    let loopback = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    let refused = connect_ip(&here, loopback, 8080).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(std::net::TcpListener::bind("[::]:8080").is_err());
    // Neighbours: directly, and by the host's address.
    let direct = connect_ip(&neighbour.namespace, IpAddr::V6(web.endpoint.ip6.unwrap()), 80);
    assert_eq!(peer_of(&server, direct.unwrap()), IpAddr::V6(neighbour.endpoint.ip6.unwrap()));
    peer_of(&server, connect_ip(&neighbour.namespace, host, 8080).unwrap());
    // What is not published is not reached, and what goes out is the host's.
    let own = format!("{}/128", web.endpoint.ip6.unwrap());
    lab.run_outside("ip", &["-6", "route", "add", &own, "via", "2001:db8::1"]);
    let direct = connect_ip(&lab.outside, IpAddr::V6(web.endpoint.ip6.unwrap()), 80);
    assert!(direct.is_err());
    let world = listen_v6(&lab.outside, 9000);
    let stream = connect_ip(&web.namespace, outside, 9000).unwrap();
    assert_eq!(peer_of(&world, stream), host);
    // The bridge believes no router.
    let bridge = record.interface.unwrap();
    let path = format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra");
    assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "0");
    assert!(!network.repair().unwrap());
}

fn listen_v6(namespace: &std::os::fd::OwnedFd, port: u16) -> std::net::TcpListener {
    let listen = || std::net::TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port));
    linux::namespace::in_namespace(namespace.as_fd(), listen).unwrap().unwrap()
}

fn connect_ip(
    namespace: &std::os::fd::OwnedFd,
    ip: IpAddr,
    port: u16,
) -> std::io::Result<std::net::TcpStream> {
    let to = std::net::SocketAddr::new(ip, port);
    let patience = std::time::Duration::from_secs(5);
    let connect = || std::net::TcpStream::connect_timeout(&to, patience);
    linux::namespace::in_namespace(namespace.as_fd(), connect).unwrap()
}

#[test]
fn names_are_written_as_endpoints_come_and_go() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let record = make(&network, "mynet");
    let path = resolver::names_path(&lab.config().exec_root, &record.id);
    let read = || -> resolver::NetworkNames {
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
    };
    assert_eq!(read().entries, []);
    network.create_sandbox("a").unwrap();
    let mut wish = request("a", &[]);
    wish.aliases = vec!["db".to_owned()];
    wish.hostname = Some("ship".to_owned());
    wish.links = BTreeMap::from([("cache".to_owned(), "b".to_owned())]);
    network.connect("a", "mynet", &wish).unwrap();
    let names = read();
    let entry = &names.entries[0];
    assert_eq!(
        (entry.name.as_str(), entry.aliases.as_slice()),
        ("name-of-a", &["db".to_owned()][..])
    );
    assert_eq!(entry.ipv4, Some(Ipv4Addr::new(172, 18, 0, 2)));
    assert_eq!((entry.hostname.as_deref(), entry.links.len()), (Some("ship"), 1));
    network.rename_container("a", "other").unwrap();
    assert_eq!(read().entries[0].name, "other");
    network.destroy_sandbox("a").unwrap();
    assert_eq!(read().entries, []);
    network.remove("mynet").unwrap();
    assert!(!path.exists());
}

#[test]
fn reserved_addresses_are_not_given_to_others() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let small = NetworkRequest { ipam: subnet("10.6.0.0/29"), ..with_options("small", &[]) };
    network.create(&small).unwrap();
    let connect = |id: &str, reserved: &[&str]| {
        network.create_sandbox(id).unwrap();
        let mut wish = request(id, &[]);
        wish.reserved = reserved.iter().map(|ip| ip.parse().unwrap()).collect();
        network.connect(id, "small", &wish).map(|endpoint| endpoint.ip.unwrap().to_string())
    };
    assert_eq!(connect("a", &["10.6.0.2", "10.6.0.3"]).unwrap(), "10.6.0.4");
    assert_eq!(connect("b", &["10.6.0.2", "10.6.0.3"]).unwrap(), "10.6.0.5");
    assert_eq!(connect("c", &["10.6.0.2", "10.6.0.3"]).unwrap(), "10.6.0.6");
    let error = connect("d", &["10.6.0.2", "10.6.0.3"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("10.6.0.0/29"), "{error}");
}

#[test]
fn daemons_that_choose_at_once_choose_different_subnets() {
    const DAEMONS: usize = 4;
    let Some(lab) = Lab::new() else { return };
    let together = std::sync::Barrier::new(DAEMONS);
    let daemon = |number: usize| {
        let root = lab.root().join(number.to_string());
        let config = network::Config {
            bridge_name: if number == 0 { "none".to_owned() } else { format!("teu{number}") },
            data_root: root.join("data"),
            exec_root: root.join("exec"),
            ..lab.config()
        };
        together.wait();
        let network = Network::open(config).unwrap();
        together.wait();
        make(&network, "one");
        together.wait();
        make(&network, "two");
        network
    };
    let networks: Vec<Network> = std::thread::scope(|scope| {
        let daemons: Vec<_> = (0..DAEMONS)
            .map(|number| {
                scope.spawn({
                    let daemon = &daemon;
                    move || daemon(number)
                })
            })
            .collect();
        daemons.into_iter().map(|daemon| daemon.join().unwrap()).collect()
    });
    let mut subnets: Vec<String> = networks
        .iter()
        .flat_map(Network::list)
        .flat_map(|info| info.record.ipam.into_iter().map(|ipam| ipam.subnet.to_string()))
        .collect();
    subnets.sort();
    let all = subnets.len();
    subnets.dedup();
    assert_eq!((subnets.len(), all), (3 * DAEMONS - 1, 3 * DAEMONS - 1), "{subnets:?}");
}

#[test]
fn daemons_without_a_bridge_keep_apart() {
    let Some(lab) = Lab::new() else { return };
    let open = |name: &str| {
        let root = lab.root().join(name);
        let config = network::Config {
            bridge_name: "none".to_owned(),
            data_root: root.join("data"),
            exec_root: root.join("exec"),
            ..lab.config()
        };
        Network::open(config).unwrap()
    };
    let tables = || run("nft", &["list", "tables"]).lines().count();
    let one = open("one");
    assert_eq!(tables(), 0);
    make(&one, "mynet");
    let sandbox = one.create_sandbox("a").unwrap();
    assert_eq!(sandbox.container_id, "a");
    one.connect("a", "mynet", &request("a", &["8080:80"])).unwrap();
    let other = open("other");
    // Whatever belongs to none of its containers goes; nobody else's does.
    other.reconcile(&[]).unwrap();
    assert!(!one.repair().unwrap());
    make(&other, "mynet");
    assert_eq!(tables(), 2);
    other.remove("mynet").unwrap();
    assert_eq!(tables(), 1);
    one.destroy_sandbox("a").unwrap();
    one.remove("mynet").unwrap();
    assert_eq!(tables(), 0);
}

#[test]
fn names_of_a_network_that_went_while_the_process_was_killed_go_too() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let kept = make(&network, "kept");
    drop(network);
    let path = |id: &str| resolver::names_path(&lab.config().exec_root, id);
    let gone = path(&kept.id.replace(|_: char| true, "0"));
    let half_written = path(&kept.id).with_file_name(format!(".{}.json", kept.id));
    for left in [&gone, &half_written] {
        std::fs::copy(path(&kept.id), left).unwrap();
    }
    let _network = lab.open();
    let directory = std::fs::read_dir(gone.parent().unwrap()).unwrap();
    let left: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [path(&kept.id)]);
}

#[test]
fn a_subnet_of_link_local_addresses_is_one_like_others() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let wish = NetworkRequest {
        name: "near".to_owned(),
        enable_ipv6: Some(true),
        ipam: vec![IpamRequest {
            subnet: Some(cidr("fe80:1234::/64")),
            gateway: Some("fe80:1234::1".parse().unwrap()),
            ..Default::default()
        }],
        ..NetworkRequest::default()
    };
    let (record, _) = network.create(&wish).unwrap();
    let bridge = record.interface.unwrap();
    assert!(run("ip", &["-6", "addr", "show", "dev", &bridge]).contains("fe80:1234::1/64"));
    let container = start_in(&network, "c1", "near", &[]);
    let shown = container.run("ip", &["-6", "addr", "show", "dev", "eth0"]);
    assert!(shown.contains("fe80:1234::2/64"), "{shown}");
    // Nothing is put right that is right, now and after a restart.
    assert!(!network.repair().unwrap());
    drop(network);
    assert!(!lab.open().repair().unwrap());
}

/// Sends from one to the other, so much that packets become as large as they may.
fn pour(server: &TcpListener, mut client: TcpStream) {
    const BYTES: usize = 64 * 1024 * 1024;
    let sender = std::thread::spawn(move || client.write_all(&vec![7; BYTES]).unwrap());
    let (mut accepted, _) = server.accept().unwrap();
    let mut received = Vec::new();
    accepted.read_to_end(&mut received).unwrap();
    sender.join().unwrap();
    assert!(received.len() == BYTES && received.iter().all(|byte| *byte == 7));
}

#[test]
fn packets_are_as_large_as_a_network_lets_them() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let mut wish = with_options("large", &[]);
    wish.options.insert("teu.bridge.gso_max_size".to_owned(), "196608".to_owned());
    let record = match network.create(&wish) {
        Ok((record, _)) => record,
        Err(error) => {
            assert!(error.to_string().contains("needs Linux 6.3"), "{error}");
            return;
        }
    };
    let a = start_in(&network, "a", "large", &["8080:80"]);
    let b = start_in(&network, "b", "large", &[]);
    let of_ports = run("ip", &["-d", "link", "show", "master", &record.interface.clone().unwrap()]);
    assert_eq!(of_ports.matches("gso_max_size 196608").count(), 2, "{of_ports}");
    for shown in [
        run("ip", &["-d", "link", "show", "dev", &record.interface.unwrap()]),
        a.run("ip", &["-d", "link", "show", "dev", "eth0"]),
    ] {
        assert!(shown.contains("gso_max_size 196608"), "{shown}");
    }
    let server = a.listen(80);
    pour(&server, connect_from(&b.namespace, a.ip(), 80).unwrap());
    pour(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    pour(&server, connect(Ipv4Addr::LOCALHOST, 8080).unwrap());
    // On its way to an interface that takes less they are cut.
    let world = listen(&lab.outside, 9000);
    pour(&world, connect_from(&a.namespace, OUTSIDE, 9000).unwrap());
}
