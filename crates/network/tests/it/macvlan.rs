//! Networks on a wire of the host.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use network::{ErrorKind, IpamRequest, Level, Network, NetworkRequest};

use crate::lab::{Lab, OUTSIDE, cidr, connect_from, is_unreachable, listen, peer_of, request, run};

fn on_wire(name: &str, options: &[(&str, &str)]) -> NetworkRequest {
    let option = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    NetworkRequest {
        name: name.to_owned(),
        driver: "macvlan".to_owned(),
        options: options.iter().map(option).collect(),
        ipam: vec![IpamRequest {
            subnet: Some(cidr("198.51.100.0/24")),
            ip_range: Some(cidr("198.51.100.128/25")),
            gateway: Some(OUTSIDE.into()),
            ..IpamRequest::default()
        }],
        ..NetworkRequest::default()
    }
}

fn start(network: &Network, id: &str, name: &str) -> (OwnedFd, Ipv4Addr) {
    let sandbox = network.create_sandbox(id).unwrap();
    let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
    let endpoint = network.connect(id, name, &request(id, &[])).unwrap();
    (namespace, endpoint.ip.unwrap())
}

#[test]
fn containers_are_neighbours_of_the_hosts_neighbours() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let (record, warnings) = network.create(&on_wire("wire", &[("parent", "wan0")])).unwrap();
    assert_eq!((record.interface.as_deref(), warnings.len()), (None, 0));
    let (one, one_ip) = start(&network, "one", "wire");
    let (two, two_ip) = start(&network, "two", "wire");
    assert_eq!(one_ip, Ipv4Addr::new(198, 51, 100, 128));
    let server = listen(&one, 80);
    // Under its own address, from the wire and from the next container.
    let from_outside = connect_from(&lab.outside, one_ip, 80).unwrap();
    assert_eq!(peer_of(&server, from_outside), OUTSIDE);
    assert_eq!(peer_of(&server, connect_from(&two, one_ip, 80).unwrap()), two_ip);
    // And out, by the gateway on the wire.
    let neighbour = listen(&lab.outside, 81);
    assert_eq!(peer_of(&neighbour, connect_from(&one, OUTSIDE, 81).unwrap()), one_ip);
    let findings = network.examine_network("wire").unwrap();
    assert!(findings.iter().all(|finding| finding.level == Level::Good), "{findings:?}");

    let error = network.create(&on_wire("again", &[("parent", "wan0")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    // The interface goes with the connection, and comes with the next.
    network.disconnect("two", "wire").unwrap();
    assert!(is_unreachable(&two, one_ip, 80));
    network.connect("two", "wire", &request("two", &[])).unwrap();
    assert_eq!(peer_of(&server, connect_from(&two, one_ip, 80).unwrap()), two_ip);
    for id in ["one", "two"] {
        network.destroy_sandbox(id).unwrap();
    }
    network.remove("wire").unwrap();
    assert!(run("ip", &["-o", "link"]).contains("wan0"));
}

#[test]
fn without_a_wire_containers_have_each_other() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let links = || run("ip", &["-o", "link"]).lines().count();
    let clean = links();
    let mut request = on_wire("alone", &[]);
    request.ipam.clear();
    let (record, _) = network.create(&request).unwrap();
    assert!(record.internal && links() == clean + 2);
    let (one, one_ip) = start(&network, "one", "alone");
    let (two, two_ip) = start(&network, "two", "alone");
    let server = listen(&one, 80);
    assert_eq!(peer_of(&server, connect_from(&two, one_ip, 80).unwrap()), two_ip);
    assert!(is_unreachable(&two, OUTSIDE, 80));
    // Another process makes the parent anew, and removes one that no network names.
    drop(network);
    let parent = format!("dm-{}", &record.id[..12]);
    let root = lab.config().data_root.canonicalize().unwrap();
    run("ip", &["link", "delete", &parent]);
    run("ip", &["link", "add", "dm-stray", "type", "bridge"]);
    run("ip", &["link", "set", "dm-stray", "alias", &format!("teu-parent:{}", root.display())]);
    let network = lab.open();
    assert!(run("ip", &["-o", "link"]).contains(&parent));
    assert_eq!(network.reconcile(&[]).unwrap().interfaces, ["dm-stray"]);
    network.remove("alone").unwrap();
    assert_eq!(links(), clean);
}

#[test]
fn a_vlan_of_the_wire_is_a_wire() {
    let Some(lab) = Lab::new() else { return };
    let tag = "ip link add link eth0 name eth0.10 type vlan id 10 && \
               ip address add 203.0.113.2/24 dev eth0.10 && ip link set eth0.10 up; echo $?";
    if lab.run_outside("sh", &["-c", tag]).trim() != "0" {
        eprintln!("skipped: this kernel has no VLANs (CONFIG_VLAN_8021Q)");
        return;
    }
    let neighbour = Ipv4Addr::new(203, 0, 113, 2);
    let network = lab.open();
    let mut request = on_wire("tagged", &[("parent", "wan0.10")]);
    request.ipam = vec![IpamRequest {
        subnet: Some(cidr("203.0.113.0/24")),
        ip_range: Some(cidr("203.0.113.128/25")),
        gateway: Some(neighbour.into()),
        ..IpamRequest::default()
    }];
    network.create(&request).unwrap();
    let parent = || run("ip", &["-d", "link", "show", "wan0.10"]);
    assert!(parent().contains("vlan protocol 802.1Q id 10"), "{}", parent());
    let (one, one_ip) = start(&network, "one", "tagged");
    let server = listen(&one, 80);
    assert_eq!(peer_of(&server, connect_from(&lab.outside, one_ip, 80).unwrap()), neighbour);
    let outer = listen(&lab.outside, 81);
    assert_eq!(peer_of(&outer, connect_from(&one, neighbour, 81).unwrap()), one_ip);
    // The same wire without the tag is another one.
    lab.run_outside("sysctl", &["-qw", "net.ipv4.ip_forward=0"]);
    let untagged = network.create(&on_wire("untagged", &[("parent", "wan0")]));
    untagged.unwrap();
    let (two, _) = start(&network, "two", "untagged");
    assert!(is_unreachable(&two, one_ip, 80));
    for id in ["one", "two"] {
        network.destroy_sandbox(id).unwrap();
    }
    // After a boot it is made anew; it goes with its network, and the wire itself stays.
    drop(network);
    run("ip", &["link", "delete", "wan0.10"]);
    let network = lab.open();
    assert!(parent().contains("id 10"));
    network.remove("tagged").unwrap();
    let links = run("ip", &["-o", "link"]);
    assert!(!links.contains("wan0.10") && links.contains("wan0"), "{links}");
}

#[test]
fn what_cannot_be_is_said_and_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let links = || run("ip", &["-o", "link"]).lines().count();
    let clean = links();
    let refused = |options: &[(&str, &str)]| {
        let error = network.create(&on_wire("wire", options)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
        error.to_string()
    };
    let error = refused(&[("parent", "wan7")]);
    assert!(error.contains("example formatting is eth0.10"), "{error}");
    let error = refused(&[("parent", "wan7.10")]);
    assert!(error.contains("there is no interface wan7 on this host"), "{error}");
    assert!(refused(&[("parent", "wan0"), ("macvlan_mode", "x")]).contains("mode 'x'"));
    let ipvlan = NetworkRequest { driver: "ipvlan".to_owned(), ..on_wire("wire", &[]) };
    let error = network.create(&ipvlan).unwrap_err().to_string();
    assert!(error.contains("ipvlan") && error.contains("use macvlan"), "{error}");
    // A VLAN, where the kernel has them; else it says what it lacks.
    match network.create(&on_wire("tagged", &[("parent", "wan0.10")])) {
        Ok(_) => {
            assert!(run("ip", &["-d", "link", "show", "wan0.10"]).contains("vlan"));
            network.remove("tagged").unwrap();
        }
        Err(error) => assert!(error.to_string().contains("CONFIG_VLAN_8021Q"), "{error}"),
    }
    assert_eq!(links(), clean);
    assert_eq!(network.list().len(), 3);
}
