//! A process that is killed at any moment, under load, and the one that comes after it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use network::{Config, Live, Network, NetworkRequest};

use crate::lab::{Container, HOST, Init, Lab, connect_from, leftovers, peer_of, request, run};
use crate::swarm::{alone, overlay};

const ROOT: &str = "NETWORK_CRASH_TEST_ROOT";
const LIVE: &str = "NETWORK_CRASH_TEST_LIVE_PID";

/// The victim, where the other test asks for one: opens, recovers, and is busy until killed.
#[test]
fn victim() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    // What one thread cannot do ends all of it, for the other test to see.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let config = Config {
        ready_sandboxes: 2,
        fabric: Some(alone(HOST)),
        ..Config::new(root.join("data"), root.join("exec"))
    };
    let network = Network::open(config).unwrap();
    let pid = std::env::var(LIVE).unwrap().parse().unwrap();
    network.reconcile(&[Live { container_id: "web".to_owned(), pid }]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| come_and_go(&network));
        scope.spawn(|| travel(&network));
        for lane in 0..2 {
            let network = &network;
            scope.spawn(move || {
                for round in 0.. {
                    let id = format!("busy-{lane}-{round}");
                    network.create_sandbox(&id).unwrap();
                    network.connect(&id, "bridge", &request(&id, &["80", "53/udp"])).unwrap();
                    println!("connected {id}");
                    network.destroy_sandbox(&id).unwrap();
                }
            });
        }
    });
}

/// Networks, and a container that moves through them with its ports.
fn come_and_go(network: &Network) {
    network.create_sandbox("mover").unwrap();
    let ports = ["9000:80", "9001:81/udp"];
    for round in 0.. {
        let name = format!("net-{}-{round}", std::process::id());
        let wish = NetworkRequest {
            name: name.clone(),
            enable_ipv6: Some(round % 2 == 0),
            ..NetworkRequest::default()
        };
        network.create(&wish).unwrap();
        network.connect("mover", &name, &request("mover", &ports)).unwrap();
        network.connect("mover", "bridge", &request("mover", &ports)).unwrap();
        network.disconnect("mover", &name).unwrap();
        network.remove(&name).unwrap();
        network.disconnect("mover", "bridge").unwrap();
    }
}

/// A container that is on overlays for a while, with and without another way out.
fn travel(network: &Network) {
    network.create(&overlay("ov", false)).unwrap();
    network.create_sandbox("traveller").unwrap();
    let request = request("traveller", &["9100:80"]);
    loop {
        network.connect("traveller", "ov", &request).unwrap();
        network.connect("traveller", "bridge", &request).unwrap();
        network.disconnect("traveller", "bridge").unwrap();
        network.disconnect("traveller", "ov").unwrap();
    }
}

#[test]
fn a_killed_process_loses_no_connection_and_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let clean = leftovers();
    let web = Container::start(&network, "web", &["8080:80"]);
    let server = web.listen(80);
    let init = Init::start(&network, "web");
    drop(network);
    for round in 0..12 {
        let mut victim = start_victim(&lab, init.live("web").pid);
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        // Later in each round, so that the kill meets every step sooner or later.
        let busy = lines.by_ref().map_while(Result::ok).filter(|line| line.contains("connected"));
        assert_eq!(busy.take(1 + round).count(), 1 + round, "the victim ended by itself");
        victim.kill().unwrap();
        victim.wait().unwrap();
        peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    }
    let network = lab.open();
    network.reconcile(&[init.live("web")]).unwrap();
    assert_eq!(network.inspect("bridge").unwrap().endpoints, std::slice::from_ref(&web.endpoint));
    peer_of(&server, connect_from(&lab.outside, HOST, 8080).unwrap());
    let bridges = run("ip", &["-o", "link", "show", "type", "bridge"]).lines().count();
    let networks = network.list();
    // One bridge for each network that a kill left, and none for others.
    let custom: Vec<_> = networks.iter().filter(|n| !n.record.is_predefined()).collect();
    assert_eq!(bridges, custom.len() + 1);
    custom.iter().for_each(|info| drop(network.remove(&info.record.id).unwrap()));
    for port in [9000, 9100] {
        assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_ok(), "{port}");
    }
    assert_eq!(run("ip", &["-o", "link", "show", "type", "vxlan"]), "");
    let overlays = lab.config().exec_root.join("network/overlays");
    assert_eq!(std::fs::read_dir(overlays).unwrap().count(), 0);
    network.destroy_sandbox("web").unwrap();
    network.settle();
    drop(init);
    assert_eq!(leftovers(), clean);
}

/// In the same "host" namespace as the test's thread, which starts it.
fn start_victim(lab: &Lab, live: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(ROOT, lab.root())
        .env(LIVE, live.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
