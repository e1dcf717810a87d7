use super::*;
use crate::model::{AttachRequest, Availability, NetworkRequest, NodeDescription, NodeSpec, Role};

fn now() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}

fn secret(text: &str) -> Secret {
    serde_json::from_value(text.into()).unwrap()
}

fn cluster() -> Cluster {
    Cluster {
        id: "cluster".to_owned(),
        version: 1,
        created: now(),
        updated: now(),
        spec: ClusterSpec::default(),
        pools: vec!["10.0.0.0/8".parse().unwrap()],
        subnet_size: 24,
        data_path_port: 4789,
        worker_secret: secret("w"),
        manager_secret: secret("m"),
    }
}

fn enter(books: &mut Books, changes: Vec<Change>) {
    for change in changes {
        books.apply(change);
    }
}

fn join(books: &mut Books, key: &str) -> Node {
    let joining =
        Joining { secret: "w", key, availability: Availability::Active, hostname: "host" };
    let (node, changes) = books.join(&joining, now()).unwrap();
    enter(books, changes);
    let vtep = "192.0.2.1".parse().unwrap();
    let changes = books.describe(&node.id, NodeDescription::default(), vtep, now()).unwrap();
    enter(books, changes);
    books.nodes[&node.id].clone()
}

fn network(books: &mut Books, name: &str) -> Network {
    let request =
        NetworkRequest { name: name.to_owned(), attachable: true, ..NetworkRequest::default() };
    let (network, changes) = books.create_network(request, now()).unwrap();
    enter(books, changes);
    network
}

fn request(network: &Network, container: &str) -> AttachRequest {
    AttachRequest {
        network_id: network.id.clone(),
        container_id: container.to_owned(),
        container_name: format!("name-of-{container}"),
        ..AttachRequest::default()
    }
}

fn attach(books: &mut Books, node: &Node, network: &Network, container: &str) -> Ipv4Addr {
    let (attachment, changes) = books.attach(&node.id, request(network, container)).unwrap();
    enter(books, changes);
    attachment.ipv4
}

#[test]
fn only_who_has_the_secret_joins() {
    let mut books = Books::new(cluster());
    let joining =
        |secret| Joining { secret, key: "k", availability: Availability::Active, hostname: "host" };
    let refused = books.join(&joining("x"), now()).unwrap_err();
    assert_eq!(
        refused.message,
        "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this \
         cluster"
    );
    assert_eq!(books.join(&joining("m"), now()).unwrap_err().code, Code::Unimplemented);
    let node = join(&mut books, "k");
    assert_eq!(join(&mut books, "k").id, node.id);
    assert_ne!(join(&mut books, "other").id, node.id);
    let update =
        ClusterUpdate { version: 1, rotate_worker_token: true, ..ClusterUpdate::default() };
    let changes = books.update_cluster(update, now()).unwrap();
    enter(&mut books, changes);
    assert_eq!(books.join(&joining("w"), now()).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn who_changes_something_has_seen_it() {
    let mut books = Books::new(cluster());
    let node = join(&mut books, "k");
    let spec = NodeSpec { availability: Availability::Drain, ..node.spec.clone() };
    let changes = books.update_node(&node.id, node.version, spec.clone(), now()).unwrap();
    enter(&mut books, changes);
    assert_eq!(books.nodes[&node.id].spec, spec);
    let late = books.update_node(&node.id, node.version, spec, now()).unwrap_err();
    assert!(late.message.ends_with("update out of sequence"), "{late}");
    let late =
        books.update_cluster(ClusterUpdate { version: 7, ..ClusterUpdate::default() }, now());
    assert!(late.unwrap_err().message.ends_with("update out of sequence"));
    for (period, expiry, ok) in [
        (1_000_000_000, 3_600_000_000_000, true),
        (1, 3_600_000_000_000, false),
        (5_000_000_000, 1, false),
    ] {
        let spec = ClusterSpec {
            heartbeat_period_nanos: period,
            cert_expiry_nanos: expiry,
            ..ClusterSpec::default()
        };
        let update = ClusterUpdate { version: 1, spec: Some(spec), ..ClusterUpdate::default() };
        assert_eq!(books.update_cluster(update, now()).is_ok(), ok, "{period} {expiry}");
    }
}

#[test]
fn nodes_go_when_they_are_down_or_are_made_to() {
    let mut books = Books::new(cluster());
    let node = join(&mut books, "k");
    let net = network(&mut books, "net");
    attach(&mut books, &node, &net, "c");
    assert!(books.remove_node(&node.id, false, false).unwrap_err().message.contains("is not down"));
    assert!(books.remove_network(&net.id).unwrap_err().message.contains("name-of-c on node"));
    let changes = books.remove_node(&node.id, true, false).unwrap();
    enter(&mut books, changes);
    assert!(books.view_of(&net.id).unwrap().peers.is_empty());
    assert_eq!(books.remove_node(&node.id, true, true).unwrap_err().code, Code::NotFound);
    let changes = books.remove_network(&net.id).unwrap();
    enter(&mut books, changes);
    assert!(books.view().is_empty());
    let manager = Node { spec: NodeSpec { role: Role::Manager, ..node.spec.clone() }, ..node };
    enter(&mut books, vec![Change::Node(Box::new(manager.clone()))]);
    assert!(books.remove_node(&manager.id, true, true).is_err());
}

#[test]
fn networks_get_subnets_and_vxlans_of_their_own() {
    let mut books = Books::new(cluster());
    let node = join(&mut books, "k");
    let routes = vec!["10.0.2.0/24".parse().unwrap()];
    let described = NodeDescription { routes, ..NodeDescription::default() };
    let changes = books.describe(&node.id, described, "192.0.2.1".parse().unwrap(), now()).unwrap();
    enter(&mut books, changes);
    let (one, two) = (network(&mut books, "one"), network(&mut books, "two"));
    assert_eq!((one.subnet.to_string(), one.vni), ("10.0.1.0/24".to_owned(), 4096));
    assert_eq!((two.subnet.to_string(), two.vni), ("10.0.3.0/24".to_owned(), 4097));
    assert_eq!(one.gateway.unwrap().to_string(), "10.0.1.1");
    let named = |name: &str| NetworkRequest { name: name.to_owned(), ..NetworkRequest::default() };
    let of =
        |subnet: &str| NetworkRequest { subnet: Some(subnet.parse().unwrap()), ..named("three") };
    let cases = [
        (named("one"), "network with name one already exists"),
        (of("10.0.0.0/16"), "Pool overlaps with other one"),
        (of("192.0.2.0/31"), "no addresses for containers"),
        (
            NetworkRequest { gateway: Some("10.9.9.9".parse().unwrap()), ..of("192.0.2.0/24") },
            "no matching subnet for gateway 10.9.9.9",
        ),
        (
            NetworkRequest { ip_range: Some("10.9.9.0/30".parse().unwrap()), ..of("192.0.2.0/24") },
            "no matching subnet for range 10.9.9.0/30",
        ),
    ];
    for (request, expected) in cases {
        let refused = books.create_network(request, now()).unwrap_err();
        assert!(refused.message.contains(expected), "{refused}");
    }
}

#[test]
fn asking_again_answers_the_same_address() {
    let mut books = Books::new(cluster());
    let (node, other) = (join(&mut books, "k"), join(&mut books, "l"));
    let net = network(&mut books, "net");
    let first = attach(&mut books, &node, &net, "c");
    assert_eq!(first.to_string(), "10.0.1.2");
    assert_eq!(attach(&mut books, &node, &net, "c"), first);
    let renamed = AttachRequest { container_name: "new".to_owned(), ..request(&net, "c") };
    let (attachment, changes) = books.attach(&node.id, renamed).unwrap();
    assert_eq!(attachment.ipv4, first);
    enter(&mut books, changes);
    assert_eq!(books.view_of(&net.id).unwrap().peers[0].container_name, "new");
    assert!(books.attach(&other.id, request(&net, "c")).is_err());
    assert!(books.detach(&other.id, &net.id, "c").is_empty());
    let changes = books.detach(&node.id, &net.id, "c");
    enter(&mut books, changes);
    assert!(books.detach(&node.id, &net.id, "c").is_empty());
    // What was given back is not somebody else's at once.
    assert_eq!(attach(&mut books, &other, &net, "d").to_string(), "10.0.1.3");
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let mut books = Books::new(cluster());
    let node = join(&mut books, "k");
    let net = network(&mut books, "net");
    attach(&mut books, &node, &net, "c");
    let wanting =
        |ip: &str| AttachRequest { ipv4: Some(ip.parse().unwrap()), ..request(&net, "d") };
    for (ip, expected) in [
        ("10.0.1.2", "Address already in use"),
        ("10.0.1.1", "Address already in use"),
        ("10.0.2.9", "no configured subnet contains IP address 10.0.2.9"),
        ("10.0.1.255", "no configured subnet contains IP address 10.0.1.255"),
    ] {
        let refused = books.attach(&node.id, wanting(ip)).unwrap_err();
        assert!(refused.message.contains(expected), "{refused}");
    }
    let (attachment, _) = books.attach(&node.id, wanting("10.0.1.77")).unwrap();
    assert_eq!(attachment.ipv4.to_string(), "10.0.1.77");
    let request = NetworkRequest { name: "services".to_owned(), ..NetworkRequest::default() };
    let (closed, changes) = books.create_network(request, now()).unwrap();
    enter(&mut books, changes);
    let refused = books.attach(&node.id, super::tests::request(&closed, "c")).unwrap_err();
    assert_eq!(
        refused.message,
        "rpc error: code = PermissionDenied desc = network services not manually attachable"
    );
}

#[test]
fn a_node_and_the_books_agree_after_an_announcement() {
    let mut books = Books::new(cluster());
    let (node, other) = (join(&mut books, "k"), join(&mut books, "l"));
    let net = network(&mut books, "net");
    for container in ["kept", "forgotten", "asking"] {
        attach(&mut books, &node, &net, container);
    }
    let theirs = attach(&mut books, &other, &net, "theirs");
    let held =
        |container: &str, ipv4: Option<Ipv4Addr>| Held { request: request(&net, container), ipv4 };
    let gone = Network { id: "gone".to_owned(), ..net.clone() };
    let announced = [
        held("kept", Some("10.0.1.2".parse().unwrap())),
        held("asking", None),
        held("unknown", Some("10.0.1.9".parse().unwrap())),
        held("double", Some("10.0.1.9".parse().unwrap())),
        held("thief", Some(theirs)),
        held("stray", Some("10.99.0.1".parse().unwrap())),
        Held { request: request(&gone, "late"), ipv4: Some("10.0.1.8".parse().unwrap()) },
    ];
    let (changes, refused) = books.announce(&node.id, &announced);
    enter(&mut books, changes);
    assert_eq!(refused.len(), 4, "{refused:?}");
    let mut names: Vec<String> =
        books.attached_to(&net.id).map(|a| a.request.container_id.clone()).collect();
    names.sort();
    assert_eq!(names, ["asking", "kept", "theirs", "unknown"]);
    let (changes, refused) = books.announce(&node.id, &announced[..3]);
    assert_eq!((changes.len(), refused.len()), (0, 0));
}
