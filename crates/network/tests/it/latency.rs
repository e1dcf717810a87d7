//! How long things take: printed, never asserted.

use std::time::{Duration, Instant};

use crate::lab::{Container, Lab, request};

#[test]
fn latencies_are_printed() {
    let Some(lab) = Lab::new() else { return };
    let network =
        network::Network::open(network::Config { ready_sandboxes: 4, ..lab.config() }).unwrap();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..30 {
        let id = format!("container-{round}");
        let start = Instant::now();
        network.create_sandbox(&id).unwrap();
        let created = Instant::now();
        network.connect(&id, "bridge", &request(&id, &["80", "443", "53/udp"])).unwrap();
        let connected = Instant::now();
        network.repair().unwrap();
        let repaired = Instant::now();
        network.destroy_sandbox(&id).unwrap();
        let parts =
            [created - start, connected - created, repaired - connected, repaired.elapsed()];
        times.iter_mut().zip(parts).for_each(|(times, part)| times.push(part));
    }
    for (what, times) in
        ["create_sandbox", "connect with 3 ports", "repair, nothing to do", "destroy_sandbox"]
            .iter()
            .zip(&mut times)
    {
        times.sort();
        eprintln!(
            "{what}: median {:?}, worst {:?}",
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
    let many: Vec<String> = (10_000..20_000).map(|port| format!("{port}:{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let start = Instant::now();
    Container::start(&network, "many", &many);
    eprintln!("10,000 ports published in {:?}", start.elapsed());
    let start = Instant::now();
    network.destroy_sandbox("many").unwrap();
    eprintln!("and withdrawn in {:?}", start.elapsed());
}
