use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::host::Event;
use crate::model::{AttachRequest, NetworkRequest, NodeState};

const DEADLINE: Duration = Duration::from_secs(30);

/// A host without interfaces: what it was told, and what it has.
#[derive(Debug, Default)]
struct FakeHost {
    name: String,
    has: Mutex<Vec<(AttachRequest, Ipv4Addr)>>,
    events: Mutex<Vec<Event>>,
    changes: watch::Sender<Vec<String>>,
    /// How many more times it can do nothing.
    failures: AtomicUsize,
}

impl Host for FakeHost {
    fn describe(&self) -> NodeDescription {
        NodeDescription { hostname: self.name.clone(), ..NodeDescription::default() }
    }

    fn attachments(&self) -> Vec<(AttachRequest, Ipv4Addr)> {
        self.has.lock().unwrap().clone()
    }

    fn networks_changed(&self, network_ids: &[String]) -> Vec<String> {
        let fails = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return network_ids.to_vec();
        }
        self.changes.send_modify(|changes| changes.extend_from_slice(network_ids));
        Vec::new()
    }

    fn happened(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

struct Node {
    swarm: Swarm,
    host: Arc<FakeHost>,
}

impl Node {
    async fn start(dir: &Path, name: &str) -> Self {
        let host = Arc::new(FakeHost { name: name.to_owned(), ..FakeHost::default() });
        let swarm = Swarm::open(dir);
        swarm.start(host.clone()).await;
        Self { swarm, host }
    }

    /// As after a kill: the next one finds the disk as it is.
    async fn end(self) -> Arc<FakeHost> {
        self.swarm.shutdown().await;
        self.host
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn init(port: u16) -> Init {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Init {
        listen: address,
        advertise: address,
        data_path: None,
        data_path_port: 4789,
        pools: vec!["10.0.0.0/8".parse().unwrap()],
        subnet_size: 24,
        spec: ClusterSpec { heartbeat_period_nanos: 1_000_000_000, ..ClusterSpec::default() },
        availability: Availability::Active,
        force_new_cluster: false,
    }
}

fn join(token: &str, port: u16) -> Join {
    Join {
        token: token.to_owned(),
        remotes: vec![format!("127.0.0.1:{port}")],
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2377)),
        advertise: None,
        data_path: Some("192.0.2.2".parse().unwrap()),
        availability: Availability::Active,
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let looked = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, looked).await.is_ok(), "{what} does not come");
}

fn state_of(manager: &Swarm, id: &str) -> NodeState {
    let nodes = manager.nodes().unwrap();
    nodes.iter().find(|status| status.node.id == id).unwrap().state
}

fn attach_request(network_id: &str, container: &str) -> AttachRequest {
    AttachRequest {
        network_id: network_id.to_owned(),
        container_id: container.to_owned(),
        container_name: format!("name-of-{container}"),
        ..AttachRequest::default()
    }
}

async fn attach(swarm: &Swarm, network_id: &str, container: &str) -> Result<Ipv4Addr> {
    let (swarm, request) = (swarm.clone(), attach_request(network_id, container));
    tokio::task::spawn_blocking(move || swarm.attach(request)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_share_networks_and_come_back() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let manager = Node::start(one.path(), "first").await;
    assert_eq!(manager.swarm.status().state, LocalState::Inactive);
    let own = manager.swarm.init(init(port)).await.unwrap();
    assert!(manager.swarm.init(init(port)).await.unwrap_err().message.contains("already part"));
    let (token, _) = manager.swarm.tokens().unwrap();
    let worker = Node::start(two.path(), "second").await;
    worker.swarm.join(join(&token, port)).await.unwrap();
    let id = worker.swarm.node_id().unwrap();
    assert_eq!(state_of(&manager.swarm, &id), NodeState::Ready);
    assert_eq!(worker.swarm.status().managers, [(own.clone(), format!("127.0.0.1:{port}"))]);
    assert!(worker.swarm.nodes().unwrap_err().message.contains("Worker nodes can't be used"));
    let request =
        NetworkRequest { name: "net".to_owned(), attachable: true, ..NetworkRequest::default() };
    let network = manager.swarm.create_network(request).unwrap();
    eventually("the network", || worker.swarm.networks().len() == 1).await;
    let first = attach(&worker.swarm, &network.id, "a").await.unwrap();
    assert_eq!(attach(&worker.swarm, &network.id, "a").await.unwrap(), first);
    let second = attach(&manager.swarm, &network.id, "b").await.unwrap();
    eventually("the peer", || worker.swarm.peers(&network.id).len() == 1).await;
    let peer = worker.swarm.peers(&network.id).remove(0);
    assert_eq!((peer.ipv4, peer.container_name.as_str()), (second, "name-of-b"));
    assert_eq!(manager.swarm.peers(&network.id)[0].vtep, IpAddr::from([192, 0, 2, 2]));
    // The worker's daemon ends; what the host has is there still.
    worker.host.has.lock().unwrap().push((attach_request(&network.id, "a"), first));
    let has = worker.end().await.has.lock().unwrap().clone();
    eventually("the end", || state_of(&manager.swarm, &id) == NodeState::Down).await;
    assert_eq!(manager.swarm.peers(&network.id).len(), 1);
    // The manager's, too: what was acknowledged is there still.
    manager.end().await;
    let worker = Node::start(two.path(), "second").await;
    *worker.host.has.lock().unwrap() = has;
    assert_eq!(worker.swarm.networks()[0].network, network);
    assert_eq!(worker.swarm.vtep(), Some(("192.0.2.2".parse().unwrap(), 4789)));
    let manager = Node::start(one.path(), "first").await;
    eventually("the node", || state_of(&manager.swarm, &id) == NodeState::Ready).await;
    let events = manager.host.events.lock().unwrap().clone();
    assert!(events.iter().any(|event| event.changes.iter().any(|change| change.1 == "ready")));
    assert_eq!(manager.swarm.peers(&network.id)[0].ipv4, first);
    // The manager's own host had nothing any more.
    eventually("the manager's own", || worker.swarm.peers(&network.id).is_empty()).await;
    worker.swarm.detach(&network.id, "a");
    eventually("nobody", || manager.swarm.peers(&network.id).is_empty()).await;
    manager.swarm.remove_network(&network.id).unwrap();
    eventually("no network", || worker.swarm.networks().is_empty()).await;
    assert!(worker.host.changes.borrow().contains(&network.id));
    worker.swarm.leave(false).await.unwrap();
    assert_eq!(worker.swarm.status().state, LocalState::Inactive);
    assert_eq!(state_of(&manager.swarm, &id), NodeState::Down);
    manager.swarm.remove_node(&id, false).unwrap();
    assert!(manager.swarm.leave(false).await.unwrap_err().message.contains("last manager"));
    manager.swarm.leave(true).await.unwrap();
    assert!(!one.path().join("swarm").exists());
    manager.end().await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_in_no_swarm() {
    let (one, two, three) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (port, other_port) = (free_port(), free_port());
    let manager = Node::start(one.path(), "first").await;
    manager.swarm.init(init(port)).await.unwrap();
    let other = Node::start(three.path(), "other").await;
    other.swarm.init(init(other_port)).await.unwrap();
    let worker = Node::start(two.path(), "second").await;
    let (token, manager_token) = manager.swarm.tokens().unwrap();
    let (foreign, _) = other.swarm.tokens().unwrap();
    let wrong_secret = format!("{}-{}", token.rsplit_once('-').unwrap().0, "0".repeat(25));
    for (token, expected) in [
        (wrong_secret.as_str(), "A valid join token is necessary to join this cluster"),
        (foreign.as_str(), "remote CA does not match fingerprint"),
        (manager_token.as_str(), "a swarm of several managers is not supported yet"),
        ("nonsense", "invalid join token"),
    ] {
        let refused = worker.swarm.join(join(token, port)).await.unwrap_err();
        assert!(refused.message.contains(expected), "{refused}");
        assert_eq!(worker.swarm.status().state, LocalState::Inactive, "{token}");
    }
    let update = ClusterUpdate {
        version: manager.swarm.cluster().unwrap().version,
        rotate_worker_token: true,
        ..ClusterUpdate::default()
    };
    manager.swarm.update_cluster(update).unwrap();
    let refused = worker.swarm.join(join(&token, port)).await.unwrap_err();
    assert!(refused.message.contains("A valid join token"), "{refused}");
    let (token, _) = manager.swarm.tokens().unwrap();
    worker.swarm.join(join(&token, port)).await.unwrap();
    let id = worker.swarm.node_id().unwrap();
    assert!(manager.swarm.remove_node(&id, false).unwrap_err().message.contains("is not down"));
    manager.swarm.remove_node(&id, true).unwrap();
    eventually("the removal", || worker.swarm.status().state == LocalState::Error).await;
    assert!(worker.swarm.status().error.contains("was removed from the swarm"));
    let refused = attach(&worker.swarm, "n", "c").await.unwrap_err();
    assert!(refused.message.contains("was removed"), "{refused}");
    worker.swarm.leave(false).await.unwrap();
    for node in [manager, other, worker] {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_to_join_goes_on_after_a_restart() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let manager = Node::start(one.path(), "first").await;
    manager.swarm.init(init(port)).await.unwrap();
    let (token, _) = manager.swarm.tokens().unwrap();
    manager.end().await;
    let worker = Node::start(two.path(), "second").await;
    let waiting = worker.swarm.clone();
    let attempt = tokio::spawn(async move { waiting.join(join(&token, port)).await });
    eventually("an attempt", || !worker.swarm.status().error.is_empty()).await;
    assert_eq!(worker.swarm.status().state, LocalState::Pending);
    worker.end().await;
    attempt.abort();
    let worker = Node::start(two.path(), "second").await;
    assert_eq!(worker.swarm.status().state, LocalState::Pending);
    let manager = Node::start(one.path(), "first").await;
    eventually("the node", || worker.swarm.status().state == LocalState::Active).await;
    assert_eq!(manager.swarm.nodes().unwrap().len(), 2);
    manager.end().await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_control_port_get_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let manager = Node::start(dir.path(), "first").await;
    manager.swarm.init(init(port)).await.unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b""] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as any.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.windows(4).any(|four| four == b"SWMT"));
    }
    assert_eq!(manager.swarm.nodes().unwrap().len(), 1);
    manager.end().await;
}

/// A certificate of the manager's authority for another node's key, of a given age.
fn aged_certificate(manager: &Path, node: &Path, node_id: &str, age: Duration) -> String {
    let (of_manager, of_node) = (Disk::new(manager), Disk::new(node));
    let root = of_manager.read(File::RootCertificate).unwrap();
    let authority = Authority::load(&root, &of_manager.read(File::RootKey).unwrap()).unwrap();
    let known = from_pem(&of_node.read(File::NodeCertificate).unwrap(), "it").unwrap();
    let identity = Identity { node_id: node_id.to_owned(), ..identity_of(&known).unwrap() };
    let key = NodeKey::from_pem(&of_node.read(File::NodeKey).unwrap()).unwrap();
    let life = Duration::from_secs(90 * 24 * 3600);
    authority.sign(&key.request().unwrap(), &identity, SystemTime::now() - age, life).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_at_half_their_life() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let manager = Node::start(one.path(), "first").await;
    let own = manager.swarm.init(init(port)).await.unwrap();
    let (token, _) = manager.swarm.tokens().unwrap();
    let worker = Node::start(two.path(), "second").await;
    worker.swarm.join(join(&token, port)).await.unwrap();
    let id = worker.swarm.node_id().unwrap();
    manager.end().await;
    worker.end().await;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    for (dir, id) in [(one.path(), &own), (two.path(), &id)] {
        let old = aged_certificate(one.path(), dir, id, days(46));
        Disk::new(dir).write(File::NodeCertificate, &old).unwrap();
    }
    let manager = Node::start(one.path(), "first").await;
    let worker = Node::start(two.path(), "second").await;
    for dir in [one.path(), two.path()] {
        eventually("a new certificate", || {
            let (made, _) = validity(&Disk::new(dir).read(File::NodeCertificate).unwrap()).unwrap();
            made > SystemTime::now() - days(1)
        })
        .await;
    }
    worker.end().await;
    // One that has ended opens no session, and says why.
    let ended = aged_certificate(one.path(), two.path(), &id, days(100));
    Disk::new(two.path()).write(File::NodeCertificate, &ended).unwrap();
    let worker = Node::start(two.path(), "second").await;
    eventually("a refusal", || worker.swarm.status().error.contains("xpired")).await;
    worker.end().await;
    manager.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_goes_on_under_another_address() {
    let dir = tempfile::tempdir().unwrap();
    let (port, other_port) = (free_port(), free_port());
    let manager = Node::start(dir.path(), "first").await;
    let id = manager.swarm.init(init(port)).await.unwrap();
    let cluster = manager.swarm.cluster().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forced = |port| Init { force_new_cluster: true, ..init(port) };
    let taken_port = taken.local_addr().unwrap().port();
    let refused = manager.swarm.init(forced(taken_port)).await.unwrap_err();
    assert!(refused.message.contains("in use"), "{refused}");
    let answers = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    eventually("the old port", || answers(port)).await;
    assert_eq!(manager.swarm.init(forced(other_port)).await.unwrap(), id);
    assert!(answers(other_port) && !answers(port));
    let moved = format!("127.0.0.1:{other_port}");
    assert_eq!(manager.swarm.status().managers, [(id.clone(), moved.clone())]);
    assert_eq!(manager.swarm.cluster().unwrap(), cluster);
    manager.end().await;
    let manager = Node::start(dir.path(), "first").await;
    assert_eq!(manager.swarm.status().managers, [(id, moved)]);
    manager.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_told_and_can_be_left() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Node::start(dir.path(), "first").await;
    manager.swarm.init(init(free_port())).await.unwrap();
    manager.end().await;
    for (file, text) in [
        ("swarm/certificates/swarm-root-ca.key", "no key"),
        ("swarm/manager.redb", "no database"),
        ("swarm/state.json", "{"),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
        let node = Node::start(dir.path(), "first").await;
        let status = node.swarm.status();
        assert_eq!(status.state, LocalState::Error, "{file}");
        assert!(!status.error.is_empty(), "{file}");
        assert!(node.swarm.nodes().is_err());
        node.end().await;
    }
    let node = Node::start(dir.path(), "first").await;
    node.swarm.leave(true).await.unwrap();
    assert_eq!(node.swarm.status().state, LocalState::Inactive);
    node.end().await;
}

#[tokio::test]
async fn the_disk_is_read_when_it_is_asked_for_and_let_go_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(dir.path(), "first").await;
    let id = first.swarm.init(init(free_port())).await.unwrap();
    // A daemon that waits for the data root, which is another's still.
    let second = Swarm::open(dir.path());
    let kept = first.swarm.clone();
    first.end().await;
    let host = Arc::new(FakeHost { name: "second".to_owned(), ..FakeHost::default() });
    second.start(host).await;
    let status = second.status();
    assert!(status.is_manager && status.node_id == id, "{status:?}");
    assert!(!kept.status().is_manager);
    second.shutdown().await;
}

#[tokio::test]
async fn a_host_is_told_again_of_what_it_could_not_do() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Node::start(dir.path(), "manager").await;
    manager.swarm.init(init(free_port())).await.unwrap();
    manager.host.failures.store(1, Ordering::Relaxed);
    let mut changes = manager.host.changes.subscribe();
    let request = NetworkRequest { name: "ov".to_owned(), ..NetworkRequest::default() };
    let network = manager.swarm.create_network(request).unwrap();
    let told = changes.wait_for(|changes| changes.contains(&network.id));
    assert!(tokio::time::timeout(DEADLINE, told).await.is_ok(), "it is not told again");
    assert_eq!(manager.host.failures.load(Ordering::Relaxed), 0);
    manager.end().await;
}
