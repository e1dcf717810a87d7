//! Overlay networks between two hosts.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use linux::namespace::in_namespace;
use network::{Endpoint, EndpointRequest, ErrorKind, Finding, Level, NetworkRequest};

use crate::lab::{Init, connect_from, is_unreachable, listen, peer_of, request, run, udp};
use crate::swarm::{Host, Swarm};

fn inside(namespace: &OwnedFd, tool: &str, arguments: &[&str]) -> String {
    let path = format!("--net=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    run("nsenter", &[&[path.as_str(), tool], arguments].concat())
}

/// Sends the largest datagram that fits, and answers how many packets of the host were cut for it.
fn cut_for_the_largest(host: &Host, from: &OwnedFd, to: (&OwnedFd, Ipv4Addr)) -> u64 {
    let (server, client) = (udp(to.0, 53), udp(from, 0));
    // With the headers of IP and UDP that is 1450 bytes.
    client.send_to(&[7; 1422], (to.1, 53)).unwrap();
    assert_eq!(server.recv(&mut [0; 2048]).unwrap(), 1422);
    let text = host.run("cat", &["/proc/net/snmp"]);
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "FragCreates").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

fn ip(endpoint: &Endpoint) -> Ipv4Addr {
    endpoint.ip.unwrap()
}

/// A connection from one container to another, and whether the other sees who it is.
fn talks(from: &OwnedFd, own: Ipv4Addr, server: &std::net::TcpListener, to: Ipv4Addr) {
    assert_eq!(peer_of(server, connect_from(from, to, 80).unwrap()), own);
}

#[test]
fn containers_of_two_hosts_are_neighbours() {
    let Some(swarm) = Swarm::new() else { return };
    let [one, two] = &swarm.hosts;
    let id = swarm.create("ov", false);
    // All hosts know it, and none has anything of it yet.
    for host in [one, two] {
        let info = host.network().inspect("ov").unwrap();
        assert!(info.record.is_swarm() && info.nodes.is_empty());
        assert_eq!(info.record.id, id);
        assert_eq!(host.overlay_links(), [] as [&str; 0]);
    }
    let (a, at_a) = one.container("a", "ov", &request("a", &[]));
    let (b, at_b) = two.container("b", "ov", &request("b", &[]));
    swarm.publish(&id);
    assert_eq!((ip(&at_a), ip(&at_b)), ("10.0.1.2".parse().unwrap(), "10.0.1.3".parse().unwrap()));
    assert_eq!(at_b.mac.unwrap().to_string(), "02:42:0a:00:01:03");
    talks(&a, ip(&at_a), &listen(&b, 80), ip(&at_b));
    talks(&b, ip(&at_b), &listen(&a, 80), ip(&at_a));
    let eth0 = inside(&a, "ip", &["link", "show", "eth0"]);
    assert!(eth0.contains("mtu 1450 "), "{eth0}");
    assert_eq!(cut_for_the_largest(one, &a, (&b, ip(&at_b))), 0);

    // What the kernel has, seen from outside.
    let vxlan = format!("vx-{}", &id[..12]);
    let shown = one.run("ip", &["-d", "link", "show", &vxlan]);
    for fact in ["vxlan id 4096 local 192.0.2.1", "dstport 4789", "nolearning proxy", "mtu 1450"] {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
    let fdb = one.run("bridge", &["fdb", "show", "dev", &vxlan]);
    assert!(fdb.contains("02:42:0a:00:01:03 dst 192.0.2.2 self permanent"), "{fdb}");
    let neighbours = one.run("ip", &["neigh", "show", "dev", &vxlan]);
    assert!(neighbours.contains("10.0.1.3 lladdr 02:42:0a:00:01:03 PERMANENT"), "{neighbours}");
    // The host itself is not in it, by no address of any family.
    let addresses = one.run("ip", &["-o", "address", "show", "dev", &format!("br-{}", &id[..12])]);
    assert_eq!(addresses, "");
    assert_eq!(one.run("ip", &["-o", "address", "show", "dev", &vxlan]), "");
    assert!(is_unreachable(&one.namespace, ip(&at_a), 80));

    let info = one.network().inspect("ov").unwrap();
    let nodes: Vec<_> = info.nodes.iter().map(|node| node.address.to_string()).collect();
    assert_eq!(nodes, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(info.endpoints.len(), 1);
    for host in [one, two] {
        let findings = host.on(|network| network.examine_network("ov").unwrap());
        assert!(findings.iter().all(|finding| finding.level == Level::Good), "{findings:?}");
    }

    two.run("nft", &["add", "table", "ip", "filter"]);
    let chain = "{ type filter hook input priority 0; policy drop; }";
    two.run("nft", &["add", "chain", "ip", "filter", "INPUT", chain]);
    let findings = two.on(|network| network.examine_network("ov").unwrap());
    let told = |it: &Finding| it.text.contains("chain INPUT of table ip filter");
    assert!(findings.iter().any(|it| it.level == Level::Note && told(it)), "{findings:?}");

    // The last container takes all of it along.
    two.on(|network| network.destroy_sandbox("b").unwrap());
    swarm.publish(&id);
    let fdb = one.run("bridge", &["fdb", "show", "dev", &vxlan]);
    assert!(!fdb.contains("dst"), "{fdb}");
    assert_eq!(two.overlay_links(), [] as [&str; 0]);
    assert!(one.on(|network| network.remove("ov")).unwrap_err().to_string().contains("active"));
    let error = two.on(|network| network.remove("ov")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    one.on(|network| network.destroy_sandbox("a").unwrap());
    one.on(|network| network.remove("ov").unwrap());
    assert_eq!(one.overlay_links(), [] as [&str; 0]);
    assert_eq!(two.network().inspect("ov").unwrap_err().kind(), ErrorKind::NotFound);
    let left = one.run("nft", &["list", "ruleset"]);
    assert!(!left.contains(&id[..12]), "{left}");
}

#[test]
fn hosts_may_know_each_other_by_ipv6() {
    let Some(swarm) = Swarm::on_ipv6() else { return };
    let [one, two] = &swarm.hosts;
    let id = swarm.create("ov", true);
    let (a, at_a) = one.container("a", "ov", &request("a", &[]));
    let (b, at_b) = two.container("b", "ov", &request("b", &[]));
    swarm.publish(&id);
    talks(&a, ip(&at_a), &listen(&b, 80), ip(&at_b));
    // Its header is 20 bytes larger.
    let eth0 = inside(&a, "ip", &["link", "show", "eth0"]);
    assert!(eth0.contains("mtu 1430 "), "{eth0}");
    let findings = one.on(|network| network.examine_network("ov").unwrap());
    assert!(findings.iter().all(|finding| finding.level == Level::Good), "{findings:?}");
}

fn names(host: &Host, network_id: &str) -> String {
    let path = host.exec_root().join(format!("network/names/{network_id}.json"));
    std::fs::read_to_string(path).unwrap_or_default().replace(' ', "")
}

#[test]
fn names_are_those_of_all_hosts() {
    let Some(swarm) = Swarm::new() else { return };
    let [one, two] = &swarm.hosts;
    let id = swarm.create("ov", true);
    one.container("a", "ov", &request("a", &[]));
    let aliases = vec!["store".to_owned()];
    two.container("b", "ov", &EndpointRequest { aliases, ..request("b", &[]) });
    swarm.publish(&id);
    let here = names(one, &id);
    for name in ["name-of-a", "name-of-b", "store", "10.0.1.3"] {
        assert!(here.contains(&format!("\"{name}\"")), "{name}: {here}");
    }
    two.on(|network| network.rename_container("b", "other").unwrap());
    swarm.publish(&id);
    assert!(names(one, &id).contains("\"other\"") && !names(one, &id).contains("name-of-b"));
    two.on(|network| network.destroy_sandbox("b").unwrap());
    swarm.publish(&id);
    assert!(!names(one, &id).contains("\"other\""));
    assert_eq!(names(two, &id), "");
}

#[test]
fn the_way_out_is_a_bridge_of_the_host() {
    let Some(swarm) = Swarm::new() else { return };
    let [one, two] = &swarm.hosts;
    swarm.create("ov", false);
    swarm.create("inner", true);
    let (web, at_ov) = one.container("web", "ov", &request("web", &["8080:80"]));
    assert_eq!((at_ov.interface.as_deref(), at_ov.gateway), (Some("eth0"), None));
    let endpoints = || one.network().endpoints("web");
    let ways = || -> Vec<String> {
        let found = endpoints().into_iter();
        found.filter(|it| !it.ports.is_empty()).map(|it| it.network_name).collect()
    };
    assert_eq!(ways(), ["docker_gwbridge"]);
    let way_out = endpoints()[1].clone();
    assert_eq!(way_out.interface.as_deref(), Some("eth1"));
    let route = inside(&web, "ip", &["route", "show", "default"]);
    assert!(route.contains("dev eth1"), "{route}");
    // Out with the host's address, and in from another host.
    let outer = listen(&two.namespace, 81);
    let host_one = one.underlay.address;
    let host_two = "192.0.2.2".parse().unwrap();
    assert_eq!(peer_of(&outer, connect_from(&web, host_two, 81).unwrap()), host_one);
    let server = listen(&web, 80);
    let published = || connect_from(&two.namespace, "192.0.2.1".parse().unwrap(), 8080);
    assert_eq!(peer_of(&server, published().unwrap()), two.underlay.address);
    // Containers do not reach each other by it.
    let (other, _) = one.container("other", "ov", &request("other", &[]));
    assert!(is_unreachable(&other, ip(&way_out), 80));
    let shown = one.network().inspect("docker_gwbridge").unwrap();
    assert_eq!(shown.endpoints[1].container_name, "gateway_web");
    one.on(|network| network.destroy_sandbox("other").unwrap());

    // A network with a way out takes over and gives back, and ports never are without one.
    one.on(|network| {
        network.create(&NetworkRequest { name: "zz".to_owned(), ..NetworkRequest::default() })
    })
    .unwrap();
    one.on(|network| network.connect("web", "zz", &request("web", &["8080:80"])).unwrap());
    assert_eq!(ways(), ["zz"]);
    assert_eq!(endpoints().len(), 2);
    assert_eq!(peer_of(&server, published().unwrap()), two.underlay.address);
    one.on(|network| network.disconnect("web", "zz").unwrap());
    assert_eq!(ways(), ["docker_gwbridge"]);
    assert_eq!(peer_of(&server, published().unwrap()), two.underlay.address);
    // With the overlay it goes; an internal one needs none.
    one.on(|network| network.disconnect("web", "ov").unwrap());
    assert_eq!(endpoints(), []);
    one.on(|network| network.connect("web", "inner", &request("web", &["8080:80"])).unwrap());
    assert_eq!(endpoints().len(), 1);
    assert_eq!(inside(&web, "ip", &["route", "show", "default"]), "");
    one.on(|network| network.destroy_sandbox("web").unwrap());
    one.on(|network| network.remove("docker_gwbridge").unwrap());
}

#[test]
fn what_a_killed_process_left_goes_on_and_is_put_right() {
    let Some(mut swarm) = Swarm::new() else { return };
    let id = swarm.create("ov", false);
    let [one, two] = &swarm.hosts;
    let (a, at_a) = one.container("a", "ov", &request("a", &["8080:80"]));
    let (b, at_b) = two.container("b", "ov", &request("b", &[]));
    two.container("c", "ov", &request("c", &[]));
    swarm.publish(&id);
    let (init_a, init_b) = (Init::start(one.network(), "a"), Init::start(two.network(), "b"));
    let server = listen(&b, 80);
    talks(&a, ip(&at_a), &server, ip(&at_b));

    // Nobody is there, and it works; a peer comes that nobody could be told of.
    swarm.hosts[0].stop();
    swarm.hosts[1].stop();
    talks(&a, ip(&at_a), &server, ip(&at_b));
    // One returns without any word from the swarm, whose manager is away.
    swarm.table.lock().unwrap().is_away = true;
    swarm.hosts[0].restart(&[init_a.live("a")]);
    swarm.hosts[1].restart(&[init_b.live("b")]);
    talks(&a, ip(&at_a), &server, ip(&at_b));
    let [one, two] = &swarm.hosts;
    assert!(names(one, &id).contains("\"name-of-b\""), "{}", names(one, &id));
    // c ended meanwhile: its address is given back.
    let attachments = two.network().overlay_attachments();
    assert_eq!(attachments.len(), 1);
    assert_eq!((attachments[0].0.container_id.as_str(), attachments[0].1.ipv4), ("b", ip(&at_b)));
    assert_eq!(one.network().endpoints("a").len(), 2);

    // Somebody deletes, and adds what nobody was told.
    let vxlan = format!("vx-{}", &id[..12]);
    one.run("ip", &["link", "delete", &vxlan]);
    assert!(is_unreachable(&a, ip(&at_b), 80));
    one.on(|network| network.repair().unwrap());
    talks(&a, ip(&at_a), &server, ip(&at_b));
    one.run("ip", &["link", "delete", &format!("br-{}", &id[..12])]);
    one.on(|network| network.repair().unwrap());
    talks(&a, ip(&at_a), &server, ip(&at_b));
    let stranger = ["fdb", "add", "02:42:0a:00:01:63", "dev", &vxlan, "dst", "192.0.2.9"];
    one.run("bridge", &stranger);
    one.run("bridge", &["fdb", "del", "02:42:0a:00:01:03", "dev", &vxlan]);
    swarm.publish(&id);
    let fdb = one.run("bridge", &["fdb", "show", "dev", &vxlan]);
    assert!(!fdb.contains("192.0.2.9"), "{fdb}");
    talks(&a, ip(&at_a), &server, ip(&at_b));

    // After a boot nothing of it is there, and nothing is made until a container comes.
    drop((init_a, init_b, a, b));
    for host in &mut swarm.hosts {
        host.restart(&[]);
        assert!(!host.overlay_links().iter().any(|name| name.starts_with("vx-")));
        assert_eq!(host.network().overlay_attachments(), []);
    }
}

#[test]
fn an_address_of_the_host_that_changes_is_followed() {
    let Some(mut swarm) = Swarm::new() else { return };
    let id = swarm.create("ov", true);
    let (a, at_a) = swarm.hosts[0].container("a", "ov", &request("a", &[]));
    let (b, at_b) = swarm.hosts[1].container("b", "ov", &request("b", &[]));
    swarm.publish(&id);
    let init = Init::start(swarm.hosts[0].network(), "a");
    let server = listen(&b, 80);
    talks(&a, ip(&at_a), &server, ip(&at_b));
    swarm.hosts[0].run("ip", &["address", "delete", "192.0.2.1/24", "dev", "wan0"]);
    swarm.hosts[0].run("ip", &["address", "add", "192.0.2.11/24", "dev", "wan0"]);
    swarm.hosts[0].underlay.address = "192.0.2.11".parse().unwrap();
    swarm.hosts[0].restart(&[init.live("a")]);
    let findings = swarm.hosts[0].on(|network| network.examine_network("ov").unwrap());
    assert!(findings.iter().any(|it| it.text.contains("192.0.2.1,")), "{findings:?}");
    // It says where it is, as at every connection to its manager.
    let (said, _) = swarm.hosts[0].network().overlay_attachments().remove(0);
    swarm.hosts[0].network().config().fabric.as_ref().unwrap().attach(&said).unwrap();
    swarm.publish(&id);
    talks(&a, ip(&at_a), &server, ip(&at_b));
    talks(&b, ip(&at_b), &listen(&a, 80), ip(&at_a));
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let Some(swarm) = Swarm::new() else { return };
    let host = &swarm.hosts[0];
    swarm.create("ov", false);
    let closed = NetworkRequest {
        name: "closed".to_owned(),
        driver: "overlay".to_owned(),
        ..NetworkRequest::default()
    };
    host.on(|network| network.create(&closed)).unwrap();
    host.on(|network| network.create_sandbox("a")).unwrap();
    let refused = |name: &str, request: &EndpointRequest| {
        let error = host.on(|network| network.connect("a", name, request)).unwrap_err();
        assert_eq!(host.overlay_links(), [] as [&str; 0], "{error}");
        assert_eq!(host.network().endpoints("a"), []);
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused("closed", &request("a", &[]));
    assert_eq!(kind, ErrorKind::Forbidden);
    assert_eq!(
        text,
        "Could not attach to network closed: rpc error: code = PermissionDenied desc = network \
         closed not manually attachable"
    );
    let mac = Some("02:00:00:00:00:01".parse().unwrap());
    assert!(refused("ov", &EndpointRequest { mac, ..request("a", &[]) }).1.contains("--mac"));
    let ip6 = Some("fd00::1".parse().unwrap());
    assert!(refused("ov", &EndpointRequest { ip6, ..request("a", &[]) }).1.contains("fd00::1"));
    let outside = Some("10.9.9.9".parse().unwrap());
    let (_, text) = refused("ov", &EndpointRequest { ip: outside, ..request("a", &[]) });
    assert!(text.contains("10.9.9.9"), "{text}");
    // Whatever fails after the swarm gave an address, it gets it back.
    host.run("ip", &["link", "add", "other", "type", "vxlan", "id", "4096", "dstport", "4789"]);
    let (_, text) = refused("ov", &request("a", &[]));
    assert!(text.contains("ip -d link show type vxlan"), "{text}");
    host.run("ip", &["link", "delete", "other"]);
    let socket = in_namespace(host.namespace.as_fd(), || std::net::UdpSocket::bind("0.0.0.0:4789"));
    let socket = socket.unwrap().unwrap();
    assert!(refused("ov", &request("a", &[])).1.contains("ss -lunp"));
    drop(socket);
    swarm.table.lock().unwrap().is_away = true;
    assert_eq!(refused("ov", &request("a", &[])).0, ErrorKind::Unavailable);
    swarm.table.lock().unwrap().is_away = false;
    let made = host.on(|network| network.connect("a", "ov", &request("a", &[]))).unwrap();
    assert_eq!(ip(&made).to_string(), "10.0.1.2");
    host.on(|network| network.destroy_sandbox("a")).unwrap();

    // Names are one host's or the swarm's.
    let local = NetworkRequest { name: "ov".to_owned(), ..NetworkRequest::default() };
    let error = host.on(|network| network.create(&local)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let mut encrypted = closed.clone();
    encrypted.options.insert("encrypted".to_owned(), String::new());
    let error = host.on(|network| network.create(&encrypted)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
}

/// A process can be killed after it has made the interface and before it has marked it.
#[test]
fn an_interface_without_its_mark_is_marked_or_goes() {
    let Some(mut swarm) = Swarm::new() else { return };
    let id = swarm.create("ov", false);
    swarm.hosts[0].container("a", "ov", &request("a", &[]));
    let init = Init::start(swarm.hosts[0].network(), "a");
    let vxlan = format!("vx-{}", &id[..12]);
    let mark = |host: &Host| host.run("ip", &["-o", "link", "show", &vxlan]);
    let unmark = |host: &Host| host.run("ip", &["link", "set", "dev", &vxlan, "alias", ""]);
    assert!(mark(&swarm.hosts[0]).contains("alias teu-vxlan:"));
    unmark(&swarm.hosts[0]);
    assert!(!mark(&swarm.hosts[0]).contains("alias"));
    swarm.hosts[0].stop();
    swarm.hosts[0].restart(&[init.live("a")]);
    assert!(mark(&swarm.hosts[0]).contains("alias teu-vxlan:"));
    unmark(&swarm.hosts[0]);
    swarm.hosts[0].network().disconnect("a", "ov").unwrap();
    assert_eq!(swarm.hosts[0].run("ip", &["-o", "link", "show", "type", "vxlan"]), "");
}
