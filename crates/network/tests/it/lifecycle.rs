//! Addresses, ports and names over connects, crashes and other people's changes.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use network::{Config, Error, ErrorKind, Network, PortOwner};

use crate::lab::{
    Container, HOST, Init, Lab, cidr, connect, connect_from, is_unreachable, leftovers, peer_of,
    request, run,
};

#[test]
fn an_endpoint_is_what_ip_shows() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &[]);
    let shown = web.run("ip", &["-4", "address", "show", "dev", "eth0"]);
    assert!(shown.contains("inet 172.17.0.2/16 brd 172.17.255.255"), "{shown}");
    let shown = web.run("ip", &["link", "show", "dev", "eth0"]);
    assert!(shown.contains("02:42:ac:11:00:02") && shown.contains("mtu 1500"), "{shown}");
    assert!(web.run("ip", &["route"]).contains("default via 172.17.0.1 dev eth0"));
    assert!(web.run("ip", &["link", "show", "dev", "lo"]).contains("UP"));
    let host =
        run("ip", &["-d", "link", "show", "dev", web.endpoint.host_interface.as_ref().unwrap()]);
    assert!(host.contains("master teu0") && host.contains("hairpin on"), "{host}");
}

#[test]
fn the_lowest_free_address_is_next() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let ip = |id: &str| Container::start(&network, id, &[]).ip();
    assert_eq!(ip("a"), Ipv4Addr::new(172, 17, 0, 2));
    assert_eq!(ip("b"), Ipv4Addr::new(172, 17, 0, 3));
    network.destroy_sandbox("a").unwrap();
    assert_eq!(ip("c"), Ipv4Addr::new(172, 17, 0, 2));
    network.disconnect("b", "bridge").unwrap();
    let error = network.disconnect("b", "bridge").unwrap_err();
    assert_eq!(error.to_string(), "container b is not connected to the network bridge");
}

#[test]
fn addresses_and_macs_can_be_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let mut wish = request("a", &[]);
    wish.ip = Some(Ipv4Addr::new(172, 17, 9, 9));
    wish.mac = Some("0a:00:00:00:00:01".parse().unwrap());
    network.create_sandbox("a").unwrap();
    let endpoint = network.connect("a", "bridge", &wish).unwrap();
    assert_eq!((endpoint.ip, endpoint.mac), (wish.ip, wish.mac));
    let error = network.connect("a", "bridge", &wish).unwrap_err();
    assert_eq!(error.to_string(), "endpoint with name name-of-a already exists in network bridge");
    network.create_sandbox("b").unwrap();
    let error = network.connect("b", "bridge", &wish).unwrap_err();
    assert_eq!(error.to_string(), "Address already in use: 172.17.9.9");
    wish.ip = Some(Ipv4Addr::new(10, 0, 0, 1));
    let error = network.connect("b", "bridge", &wish).unwrap_err();
    assert_eq!(error.to_string(), "no configured subnet contains IP address 10.0.0.1");
}

#[test]
fn a_bridge_without_addresses_left_says_so() {
    let Some(lab) = Lab::new() else { return };
    let network = Network::open(Config { bip: Some(cidr("10.7.0.1/30")), ..lab.config() }).unwrap();
    Container::start(&network, "a", &[]);
    let error = Container::try_start(&network, "b", &[]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("10.7.0.0/30"), "{error}");
}

#[test]
fn the_subnet_avoids_routes_of_the_host_and_is_remembered() {
    let Some(lab) = Lab::new() else { return };
    run("ip", &["route", "add", "172.17.0.0/20", "via", "198.51.100.2"]);
    drop(lab.open());
    run("ip", &["route", "delete", "172.17.0.0/20"]);
    run("ip", &["link", "delete", "teu0"]);
    let network = lab.open();
    assert_eq!(Container::start(&network, "a", &[]).ip(), Ipv4Addr::new(172, 18, 0, 2));
}

#[test]
fn a_taken_port_is_refused_with_its_owner() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let _web = Container::start(&network, "web", &["8080:80"]);
    let refused = |ports: &[&str]| {
        let error = Container::try_start(&network, "late", ports).err().unwrap().to_string();
        network.destroy_sandbox("late").unwrap();
        error
    };
    assert_eq!(
        refused(&["8081:81", "127.0.0.1:8080:80"]),
        "Bind for 127.0.0.1:8080 failed: port is already allocated (by container name-of-web)"
    );
    // Nothing of the refused container stays, not even the port it could have had.
    let _next = Container::start(&network, "next", &["8081:81"]);
    let listener = TcpListener::bind("0.0.0.0:9090").unwrap();
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    let pid = std::process::id();
    assert_eq!(
        refused(&["9090:80"]),
        format!(
            "Bind for 0.0.0.0:9090 failed: port is already allocated (by process {}, pid {pid})",
            comm.trim_end()
        )
    );
    drop(listener);
    Container::start(&network, "late", &["9090:80"]);
    // And nobody else gets a published port.
    assert!(TcpListener::bind("0.0.0.0:9090").is_err());
    assert!(std::net::UdpSocket::bind("0.0.0.0:9090").is_ok());
    network.destroy_sandbox("late").unwrap();
    assert!(TcpListener::bind("0.0.0.0:9090").is_ok());
}

#[test]
fn ranges_and_ephemeral_ports_give_the_first_free() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let _listener = TcpListener::bind("0.0.0.0:7001").unwrap();
    let ports = |id: &str, ports: &[&str]| -> Vec<u16> {
        let container = Container::start(&network, id, ports);
        container.endpoint.ports.iter().map(|port| port.host_port).collect()
    };
    assert_eq!(ports("a", &["7000-7002:80"]), [7000]);
    assert_eq!(ports("b", &["7000-7002:80"]), [7002]);
    let error = Container::try_start(&network, "c", &["7000-7002:80"]).err().unwrap();
    assert!(matches!(error, Error::PortsExhausted { first: 7000, last: 7002, .. }), "{error}");
    let given = ports("d", &["80", "81", "53/udp"]);
    assert!(given.iter().all(|port| (32768..=60999).contains(port)), "{given:?}");
}

#[test]
fn sctp_and_addresses_of_others_are_judged() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let container = Container::start(&network, "a", &["9000:9000/sctp"]);
    assert_eq!(container.endpoint.ports[0].host_port, 9000);
    let error = Container::try_start(&network, "b", &["203.0.113.1:80:80"]).err().unwrap();
    assert!(matches!(error, Error::PortUnusable { .. }), "{error}");
}

#[test]
fn a_new_process_takes_over_without_a_gap_and_removes_leftovers() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let clean = leftovers();
    let mut web = Container::start(&network, "web", &["8080:80"]);
    let init = Init::start(&network, "web");
    Container::start(&network, "dead", &["8081:80"]);
    let server = web.listen(80);
    let first = connect_from(&lab.outside, HOST, 8080).unwrap();
    // As with kill -9: nothing is told to anybody, descriptors close.
    drop(network);
    peer_of(&server, first);
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());

    let network = lab.open();
    peer_of(&server, connect(Ipv4Addr::LOCALHOST, 8080).unwrap());
    let live = [init.live("web")];
    let reconciled = network.reconcile(&live).unwrap();
    assert_eq!((reconciled.endpoints, reconciled.ports), (vec!["dead".to_owned()], 1));
    assert_eq!(network.reconcile(&live).unwrap(), network::Reconciled::default());
    web.endpoint.container_name = "name-of-web".to_owned();
    assert_eq!(network.endpoints("web"), [web.endpoint.clone()]);
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    assert!(connect(HOST, 8081).is_err());
    let error = Container::try_start(&network, "thief", &["8080:80"]).err().unwrap();
    assert!(
        matches!(error, Error::PortAllocated { owner: PortOwner::Container(_), .. }),
        "{error}"
    );

    network.destroy_sandbox(&web.id).unwrap();
    drop(init);
    network.settle();
    assert_eq!(leftovers(), clean);
    assert_eq!(endpoint_records(&lab), 0);
}

fn endpoint_records(lab: &Lab) -> usize {
    let entries = std::fs::read_dir(lab.config().exec_root.join("network")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
}

#[test]
fn whatever_a_crash_leaves_half_done_goes() {
    let Some(lab) = Lab::new() else { return };
    drop(lab.open());
    let clean = leftovers();
    // A record without an interface, a file without an end, an interface and a port without a
    // record.
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let veth = web.endpoint.host_interface.clone().unwrap();
    drop(network);
    run("ip", &["link", "delete", &veth]);
    let records = lab.config().exec_root.join("network");
    std::fs::write(records.join("0123.json"), "{\"version\":1,").unwrap();
    run("ip", &["link", "add", "veth1234567", "type", "veth", "peer", "name", "lost0"]);
    run("ip", &["link", "set", "veth1234567", "alias", "teu:teu0:feed", "master", "teu0"]);
    run("nft", &["add element inet teu ports { tcp . 8088 : 172.17.0.9 . 80 }"]);
    let network = lab.open();
    let reconciled = network.reconcile(&[]).unwrap();
    assert_eq!(reconciled.endpoints, ["web"]);
    assert_eq!(reconciled.interfaces, ["veth1234567"]);
    assert_eq!(leftovers(), clean);
    assert_eq!(endpoint_records(&lab), 0);
}

#[test]
fn many_connect_and_leave_at_once() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let clean = leftovers();
    let network = &network;
    let addresses: Vec<Ipv4Addr> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..32)
            .map(|number| {
                scope.spawn(move || {
                    let id = format!("c{number}");
                    Container::start(network, &id, &["80", "7000-7099:81"]).ip()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let distinct: std::collections::BTreeSet<_> = addresses.iter().collect();
    assert_eq!(distinct.len(), 32);
    assert!(!network.repair().unwrap());
    std::thread::scope(|scope| {
        for number in 0..32 {
            scope.spawn(move || network.destroy_sandbox(&format!("c{number}")).unwrap());
        }
    });
    network.settle();
    assert_eq!(leftovers(), clean);
}

#[test]
fn a_record_that_was_never_finished_describes_nothing() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    drop(network);
    let directory = lab.config().exec_root.join("network");
    let record = directory.join(format!("{}.json", web.endpoint.id));
    // Killed before the last step of writing: once of this endpoint, once of a first record.
    std::fs::copy(&record, record.with_extension("tmp")).unwrap();
    let first = std::fs::read_to_string(&record).unwrap().replace(&web.endpoint.id, "first");
    std::fs::write(directory.join("first.tmp"), first).unwrap();
    let network = lab.open();
    assert_eq!(network.inspect("bridge").unwrap().endpoints, [web.endpoint]);
    network.reconcile(&[]).unwrap();
    let left = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.filter(|path| path.is_file()).count(), 0);
}

#[test]
fn a_repair_stays_out_of_what_comes_and_goes() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let clean = leftovers();
    network.create_sandbox("mover").unwrap();
    let ended = AtomicBool::new(false);
    let come_and_go = || {
        for _ in 0..40 {
            network.connect("mover", "bridge", &request("mover", &["8080:80"])).unwrap();
            network.disconnect("mover", "bridge").unwrap();
        }
    };
    let start_and_end = || {
        for _ in 0..40 {
            network.create_sandbox("short").unwrap();
            network.connect("short", "bridge", &request("short", &["53/udp"])).unwrap();
            network.destroy_sandbox("short").unwrap();
        }
    };
    let repair = || {
        while !ended.load(Ordering::Relaxed) {
            assert!(!network.repair().unwrap(), "nothing was missing");
        }
    };
    std::thread::scope(|scope| {
        let _repairs = scope.spawn(repair);
        let changes = [scope.spawn(come_and_go), scope.spawn(start_and_end)];
        let changed = changes.map(std::thread::ScopedJoinHandle::join);
        ended.store(true, Ordering::Relaxed);
        for changed in changed {
            changed.unwrap();
        }
    });
    network.destroy_sandbox("mover").unwrap();
    network.settle();
    assert_eq!(leftovers(), clean);
}

#[test]
fn what_others_delete_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    assert!(!network.repair().unwrap());
    let veth = web.endpoint.host_interface.clone().unwrap();
    let breakages: [&[&str]; 5] = [
        &["nft", "flush", "ruleset"],
        &["nft", "flush", "chain", "inet", "teu", "postrouting"],
        &["nft", "flush", "map", "inet", "teu", "ports"],
        &["ip", "link", "set", &veth, "nomaster"],
        &["ip", "link", "delete", "teu0"],
    ];
    for breakage in breakages {
        run(breakage[0], &breakage[1..]);
        assert!(network.repair().unwrap(), "{breakage:?}");
        assert!(!network.repair().unwrap(), "{breakage:?}");
        peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    }
    run("ip", &["link", "delete", &veth]);
    assert!(network.repair().unwrap());
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    // A teardown over flushed rules succeeds as well.
    run("nft", &["flush", "ruleset"]);
    network.destroy_sandbox("web").unwrap();
    assert!(is_unreachable(&lab.outside, HOST, 8080));
}

#[test]
fn the_watch_puts_deleted_things_back_by_itself() {
    let Some(lab) = Lab::new() else { return };
    let network = Network::open(Config { watch: true, ..lab.config() }).unwrap();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    let veth = web.endpoint.host_interface.clone().unwrap();
    let breakages: [&[&str]; 4] = [
        &["nft", "flush", "ruleset"],
        &["ip", "link", "set", &veth, "nomaster"],
        &["ip", "link", "delete", "teu0"],
        &["ip", "link", "delete", &veth],
    ];
    for breakage in breakages {
        run(breakage[0], &breakage[1..]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_intact(&veth) {
            assert!(Instant::now() < deadline, "{breakage:?} is not put right");
            std::thread::yield_now();
        }
        peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    }
}

fn is_intact(veth: &str) -> bool {
    run("ip", &["-o", "link", "show"]).contains(" teu0:")
        && run("ip", &["-o", "link", "show", "master", "teu0"]).contains(veth)
        && run("nft", &["list", "ruleset"]).contains("masquerade")
}

#[test]
fn foreign_rules_and_bridges_are_left_alone() {
    let Some(lab) = Lab::new() else { return };
    run(
        "nft",
        &[
            "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        ],
    );
    run("nft", &["add rule ip filter FORWARD ip saddr 203.0.113.7 accept"]);
    let before = run("nft", &["list", "table", "ip", "filter"]);
    let network = lab.open();
    Container::start(&network, "web", &["8080:80"]);
    let warnings = network.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("table ip filter"), "{warnings:?}");
    network.destroy_sandbox("web").unwrap();
    assert_eq!(run("nft", &["list", "table", "ip", "filter"]), before);
    run("nft", &["insert rule ip filter FORWARD iifname teu0 accept"]);
    assert_eq!(network.warnings(), [] as [&str; 0]);

    let other = tempfile::tempdir().unwrap();
    let error =
        Network::open(Config::new(other.path().join("d"), other.path().join("e"))).unwrap_err();
    assert!(matches!(error, Error::BridgeOwned { .. }), "{error}");
    let config = Config {
        bridge_name: "teu1".to_owned(),
        ..Config::new(other.path().join("d"), other.path().join("e"))
    };
    let second = Network::open(config).unwrap();
    let container = Container::start(&second, "x", &["8081:80"]);
    assert_eq!(container.ip(), Ipv4Addr::new(172, 18, 0, 2));
    run("nft", &["list", "table", "inet", "teu-teu1"]);
    run("ip", &["link", "add", "plain0", "type", "veth", "peer", "name", "plain1"]);
    let config = Config { bridge_name: "plain0".to_owned(), ..lab.config() };
    drop(network);
    assert!(matches!(Network::open(config).unwrap_err(), Error::NotABridge(_)));
}

#[test]
fn the_administrators_bridge_keeps_its_address() {
    let Some(lab) = Lab::new() else { return };
    run("ip", &["link", "add", "br9", "type", "bridge"]);
    run("ip", &["address", "add", "10.99.0.5/24", "dev", "br9"]);
    let network = Network::open(Config { bridge_name: "br9".to_owned(), ..lab.config() }).unwrap();
    let container = Container::start(&network, "a", &[]);
    assert_eq!(container.ip(), Ipv4Addr::new(10, 99, 0, 1));
    assert_eq!(container.endpoint.gateway, Some(Ipv4Addr::new(10, 99, 0, 5)));
}

#[test]
fn no_bridge_means_no_bridge() {
    let Some(lab) = Lab::new() else { return };
    let network = |name: &str| {
        let config = Config { bridge_name: name.to_owned(), watch: true, ..lab.config() };
        Network::open(config)
    };
    let none = network("none").unwrap();
    let names: Vec<_> = none.list().into_iter().map(|network| network.record.name).collect();
    assert_eq!(names, ["host", "none"]);
    let error = Container::try_start(&none, "a", &[]).err().unwrap();
    assert_eq!(error.to_string(), "network bridge not found");
    none.connect("a", "none", &request("a", &[])).unwrap();
    assert_eq!(none.reconcile(&[]).unwrap().endpoints, ["a"]);
    assert_eq!(run("nft", &["list", "ruleset"]), "");
    assert_eq!(run("ip", &["link", "show", "type", "bridge"]), "");
    for name in ["", "a b", "a/b", "..", "a\n", "sixteen-bytes-xx"] {
        assert_eq!(network(name).unwrap_err().kind(), ErrorKind::InvalidParameter, "{name:?}");
    }
}

#[test]
fn three_networks_are_always_there() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let id = network.inspect("bridge").unwrap().record.id;
    let names: Vec<_> = network
        .list()
        .into_iter()
        .map(|n| format!("{} {}", n.record.name, n.record.driver))
        .collect();
    assert_eq!(names, ["bridge bridge", "host host", "none null"]);
    assert_eq!(network.inspect(&id[..12]).unwrap().record.name, "bridge");
    assert_eq!(network.inspect("nope").unwrap_err().to_string(), "network nope not found");
    let error = network.remove("host").unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Forbidden, "host is a pre-defined network and cannot be removed")
    );
    network.create_sandbox("a").unwrap();
    let endpoint = network.connect("a", "none", &request("a", &[])).unwrap();
    assert_eq!((endpoint.ip, endpoint.ports.len()), (None, 0));
    let info = network.inspect("none").unwrap();
    assert_eq!(info.endpoints[0].container_name, "name-of-a");
    network.rename_container("a", "b").unwrap();
    drop(network);
    let network = lab.open();
    assert_eq!(network.inspect("none").unwrap().endpoints[0].container_name, "b");
    assert_eq!(network.inspect("bridge").unwrap().record.id, id);
    let ipam = network.inspect("bridge").unwrap().record.ipam;
    assert_eq!(
        (ipam[0].subnet, ipam[0].gateway),
        (cidr("172.17.0.0/16"), Some("172.17.0.1".parse().unwrap()))
    );
}

#[test]
fn namespaces_do_not_outlive_their_owner() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let web = Container::start(&network, "web", &[]);
    let inode = rustix::fs::fstat(&web.namespace).unwrap().st_ino;
    drop(web);
    network.destroy_sandbox("web").unwrap();
    drop(network);
    let held = |path: std::path::PathBuf| {
        std::fs::metadata(path).is_ok_and(|m| std::os::unix::fs::MetadataExt::ino(&m) == inode)
    };
    let mine = std::fs::read_dir("/proc/self/fd").unwrap().map(|fd| fd.unwrap().path());
    assert_eq!(mine.filter(|path| held(path.clone())).count(), 0);
    let threads = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| task.unwrap().path().join("ns/net"));
    assert_eq!(threads.filter(|path| held(path.clone())).count(), 0);
    assert!(
        !std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(lab.config().exec_root.to_str().unwrap())
    );
}
