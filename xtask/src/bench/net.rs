//! Networks: throughput, requests through a published port, many ports, connect and disconnect,
//! names.
//!
//! Each engine is the host of a network namespace of its own, so that no packet passes another's
//! rules; "outside" is one more, with a link to that host. Both ends of everything run on this
//! machine's cores, so figures are for comparison, not for a data sheet.

use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::peer::{IMAGE, Peer};
use super::place::Place;
use super::rates::{Rates, print_plain};
use super::{Table, names, until};
use crate::output;

/// iperf3, nginx and what they link to, in one layer.
const TOOLS: &str = "bench-net:1";
const TOOLS_SCRIPT: &str = "set -e; d=$(mktemp -d); trap 'rm -rf $d' EXIT; \
    for p in $(command -v iperf3) $(command -v nginx); do \
      for f in $p $(ldd $p | grep -o '/[^ ]*'); do \
        mkdir -p $d$(dirname $f); cp -L $f $d$f; done; done; \
    mkdir -p $d/bin $d/tmp $d/proc $d/dev $d/sys $d/etc $d/var/log/nginx $d/var/lib/nginx $d/run; \
    cp /bin/busybox $d/bin/; for a in sh sleep; do ln -s busybox $d/bin/$a; done; \
    echo 'root:x:0:0::/:/bin/sh' > $d/etc/passwd; echo 'root:x:0:' > $d/etc/group; \
    printf 'user root; daemon off; worker_processes 1; error_log /dev/null; events {}\\n\
http { access_log off; keepalive_requests 1000000; \
server { listen 80; location / { return 200 hello; } } }\\n' > $d/etc/nginx.conf; \
    tar -C $d -cf - .";

const NETWORK: &str = "bench-net";
/// Ours alone has it: packets of TCP beyond 64 KiB.
const LARGE: &str = "bench-net-large";
const HOST_IP: &str = "198.18.0.1";
const OUTSIDE_IP: &str = "198.18.0.2";
/// For iperf3 on an engine's host itself.
const HOST_PORT: &str = "5299";
const SECONDS: &str = "3";

/// What there is to measure, in this order.
pub(super) const PARTS: [&str; 4] = ["rates", "connect", "names", "ports"];

pub(super) fn measure(peers: &[Peer], runs: usize, parts: &[&str]) -> Result<()> {
    for peer in peers {
        peer.import(TOOLS, TOOLS_SCRIPT)?;
        peer.run(&["network", "create", NETWORK])?;
    }
    let result = PARTS
        .iter()
        .filter(|part| parts.contains(part))
        .try_for_each(|part| measure_part(peers, runs, part));
    for peer in peers {
        peer.remove_containers()?;
        peer.run(&["network", "rm", NETWORK])?;
    }
    result
}

fn measure_part(peers: &[Peer], runs: usize, part: &str) -> Result<()> {
    match part {
        "rates" => rates(peers, runs),
        "connect" => connect(peers, runs),
        "names" => peers.iter().try_for_each(resolve),
        _ => {
            for count in [1000, 10_000] {
                peers.iter().try_for_each(|peer| ports(peer, count))?;
            }
            shifted_ports(&peers[0])
        }
    }
}

/// Everything once in each round, the engines in turns and each first as often as the others.
fn rates(peers: &[Peer], runs: usize) -> Result<()> {
    let wire = Wire::new()?;
    let stands = peers.iter().map(Stand::new).collect::<Result<Vec<_>>>()?;
    let mut tables = Kind::ALL.map(|kind| Rates::new(kind.title(), kind.unit(), peers.len()));
    let large = Large::new(&peers[0])?;
    let (mut loopback, mut bare, mut larger) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..runs {
        loopback.push(iperf3(&wire.there, &["-c", "127.0.0.1"])?);
        bare.push(iperf3(&wire.here, &["-c", HOST_IP])?);
        for (kind, table) in Kind::ALL.into_iter().zip(&mut tables) {
            for turn in 0..stands.len() {
                let index = (turn + round) % stands.len();
                table.push(index, kind.measure(&stands[index])?);
            }
        }
        if let Some(large) = &large {
            larger.push(client(&peers[0], LARGE, &["-c", &large.server])?);
        }
    }
    print_plain("host loopback", "Gbit/s", &loopback, &[]);
    print_plain("bare veth", "Gbit/s", &bare, &loopback);
    for (kind, table) in Kind::ALL.into_iter().zip(tables) {
        table.print(peers, if kind.is_throughput() { &loopback } else { &[] });
    }
    if let Some(large) = large {
        print_plain("teu, packets of 192 KiB", "Gbit/s", &larger, &loopback);
        large.remove()?;
    }
    peers.iter().try_for_each(Peer::remove_containers)
}

/// What is measured of each engine in turns.
#[derive(Clone, Copy)]
enum Kind {
    BetweenContainers,
    ToHost,
    ToPublishedPort,
    RequestsFromOutside,
    RequestsFromHost,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::BetweenContainers,
        Self::ToHost,
        Self::ToPublishedPort,
        Self::RequestsFromOutside,
        Self::RequestsFromHost,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::BetweenContainers => "container to container",
            Self::ToHost => "container to host",
            Self::ToPublishedPort => "outside to published port",
            Self::RequestsFromOutside => "requests from outside",
            Self::RequestsFromHost => "requests from 127.0.0.1",
        }
    }

    fn is_throughput(self) -> bool {
        matches!(self, Self::BetweenContainers | Self::ToHost | Self::ToPublishedPort)
    }

    fn unit(self) -> &'static str {
        if self.is_throughput() { "Gbit/s" } else { "/s" }
    }

    fn measure(self, stand: &Stand<'_>) -> Result<f64> {
        match self {
            Self::BetweenContainers => stand.client(&["-c", &stand.server]),
            Self::ToHost => stand.client(&["-c", &stand.gateway, "-p", HOST_PORT]),
            Self::ToPublishedPort => iperf3(&stand.outside, &["-c", HOST_IP, "-p", "20000"]),
            Self::RequestsFromOutside => requests(&stand.outside, HOST_IP),
            Self::RequestsFromHost => requests(stand.peer.place()?, "127.0.0.1"),
        }
    }
}

/// An engine with iperf3 and nginx in containers, iperf3 on its host, and a neighbour outside.
struct Stand<'a> {
    peer: &'a Peer,
    outside: Place,
    server: String,
    gateway: String,
    _host: Server,
}

impl<'a> Stand<'a> {
    fn new(peer: &'a Peer) -> Result<Self> {
        let outside = Place::new()?;
        outside.wire(OUTSIDE_IP, peer.place()?, "wan0", HOST_IP)?;
        let run = ["run", "-d", "--network", NETWORK, "--name"];
        peer.run(&[&run[..], &["server", "-p", "20000:5201", TOOLS, "iperf3", "-s"]].concat())?;
        let web = ["web", "-p", "20080:80", TOOLS, "nginx", "-c", "/etc/nginx.conf"];
        peer.run(&[&run[..], &web].concat())?;
        Ok(Self {
            outside,
            server: address(peer, "server")?,
            gateway: gateway(peer, "server")?,
            _host: Server::start(peer.place()?, HOST_PORT)?,
            peer,
        })
    }

    fn client(&self, arguments: &[&str]) -> Result<f64> {
        client(self.peer, NETWORK, arguments)
    }
}

/// iperf3 in a container of its own.
fn client(peer: &Peer, network: &str, arguments: &[&str]) -> Result<f64> {
    let client = ["run", "--rm", "--network", network, TOOLS, "iperf3", "-J", "-t", SECONDS];
    until(|| peer.run(&[&client[..], arguments].concat())).and_then(|json| rate(&json))
}

/// A network of ours whose packets may be larger, and iperf3 in it.
struct Large<'a> {
    peer: &'a Peer,
    server: String,
}

impl<'a> Large<'a> {
    /// `None`, with the reason printed, where the kernel has no such packets.
    fn new(peer: &'a Peer) -> Result<Option<Self>> {
        let option = "teu.bridge.gso_max_size=196608";
        if let Err(error) = peer.run(&["network", "create", "-o", option, LARGE]) {
            println!("not measured: {error}");
            return Ok(None);
        }
        peer.run(&["run", "-d", "--network", LARGE, "--name", "large", TOOLS, "iperf3", "-s"])?;
        let format = format!("{{{{(index .NetworkSettings.Networks \"{LARGE}\").IPAddress}}}}");
        let server = peer.run(&["inspect", "-f", &format, "large"])?.trim().to_owned();
        Ok(Some(Self { peer, server }))
    }

    fn remove(&self) -> Result<()> {
        self.peer.run(&["rm", "-f", "large"])?;
        self.peer.run(&["network", "rm", LARGE]).map(drop)
    }
}

/// Two networks and a wire between them, without any rules: what this kernel can.
struct Wire {
    here: Place,
    there: Place,
    _server: Server,
}

impl Wire {
    fn new() -> Result<Self> {
        let (here, there) = (Place::new()?, Place::new()?);
        here.wire(OUTSIDE_IP, &there, "wan0", HOST_IP)?;
        let server = Server::start(&there, "5201")?;
        Ok(Self { here, there, _server: server })
    }
}

/// iperf3, waiting for clients until it is dropped.
struct Server(Child);

impl Server {
    fn start(place: &Place, port: &str) -> Result<Self> {
        let mut command = place.command("iperf3");
        command.args(["-s", "-p", port]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("start iperf3 (package iperf3)")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn iperf3(from: &Place, arguments: &[&str]) -> Result<f64> {
    let arguments = [arguments, &["-J", "-t", SECONDS]].concat();
    until(|| from.run("iperf3", &arguments)).and_then(|json| rate(&json))
}

/// Requests per second through the published port.
fn requests(from: &Place, host: &str) -> Result<f64> {
    let url = format!("http://{host}:20080/");
    let text = until(|| {
        let text = from.run("wrk", &["-t", "1", "-c", "32", "-d", "3s", &url])?;
        match text.contains("Requests/sec:") && !text.contains("Socket errors: connect 32") {
            true => Ok(text),
            false => bail!("wrk: {text}"),
        }
    })?;
    text.lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("read {text}"))
}

fn connect(peers: &[Peer], runs: usize) -> Result<()> {
    let steps = ["network connect", "network disconnect"];
    let mut tables: Vec<Table> = steps.iter().map(|what| Table::new(what, peers)).collect();
    for peer in peers {
        peer.run(&["run", "-d", "--name", "bench", IMAGE, "sleep", "3600"])?;
    }
    for _ in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            tables[0]
                .time(index, || peer.run(&["network", "connect", NETWORK, "bench"]).map(drop))?;
            tables[1]
                .time(index, || peer.run(&["network", "disconnect", NETWORK, "bench"]).map(drop))?;
        }
    }
    for table in tables {
        table.print(peers);
    }
    for peer in peers {
        peer.remove_containers()?;
    }
    Ok(())
}

/// Queries for a container's name, from inside another's network.
fn resolve(peer: &Peer) -> Result<()> {
    for name in ["server", "client"] {
        peer.run(&["run", "-d", "--name", name, "--network", NETWORK, IMAGE, "sleep", "3600"])?;
    }
    let server = match peer.name() {
        // Its server has the gateway's address.
        "podman" => gateway(peer, "client")?,
        _ => "127.0.0.11".to_owned(),
    };
    let pid = peer.run(&["inspect", "-f", "{{.State.Pid}}", "client"])?;
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    for threads in ["1", "4"] {
        let enter = ["-t", pid.trim(), "-n", &own, "bench", "names-load"];
        let load = output("nsenter", &[&enter[..], &[&server, "server", threads]].concat())?;
        let figures = names::Figures::parse(&load)?;
        let what = format!("names, {threads} asking");
        println!(
            "{what:<34} {:>8} {:>9.0} /s    p50 {} us, p99 {} us, {} lost",
            peer.name(),
            figures.rate,
            figures.p50_us,
            figures.p99_us,
            figures.lost
        );
    }
    peer.remove_containers()
}

/// One container with many published ports: how long its start takes and what it costs.
fn ports(peer: &Peer, count: usize) -> Result<()> {
    let what = format!("{count} published ports");
    if peer.name() == "docker" && count > 1000 {
        println!("{what:<34} {:>8}      not tried: two processes for each", peer.name());
        return Ok(());
    }
    publish(peer, &what, &format!("30000-{0}:30000-{0}", 30_000 + count - 1))
}

/// As many, each with another number inside: ours alone, the others do it as they do all.
fn shifted_ports(peer: &Peer) -> Result<()> {
    publish(peer, "10000 ports, other numbers inside", "30000-39999:10000-19999")
}

fn publish(peer: &Peer, what: &str, range: &str) -> Result<()> {
    let (before, empty) = (super::start::helpers(peer)?, Instant::now());
    peer.run(&["run", "-d", "--name", "plain", IMAGE, "sleep", "3600"])?;
    let (plain, with_plain) = (empty.elapsed(), super::start::helpers(peer)?);
    let start = Instant::now();
    let started = peer.run(&["run", "-d", "--name", "ports", "-p", range, IMAGE, "sleep", "3600"]);
    let elapsed = start.elapsed();
    match started {
        Ok(_) => {
            let one = with_plain.saturating_sub(before);
            let all = super::start::helpers(peer)?.saturating_sub(with_plain);
            println!(
                "{what:<34} {:>8} {:>9.1} ms more than a start without, {} KiB more",
                peer.name(),
                elapsed.saturating_sub(plain).as_secs_f64() * 1e3,
                all.saturating_sub(one)
            );
        }
        Err(error) => {
            let error = error.to_string();
            println!("{what:<34} {:>8} {}", peer.name(), error.get(..200).unwrap_or(&error));
        }
    }
    peer.remove_containers()
}

/// The receiver's rate in Gbit/s, out of iperf3's JSON.
fn rate(json: &str) -> Result<f64> {
    let received = json.split("\"sum_received\"").nth(1).context("iperf3 gave no sum")?;
    let rest = received.split("\"bits_per_second\":").nth(1).context("iperf3 gave no rate")?;
    let number = rest.split([',', '}']).next().unwrap_or_default().trim();
    Ok(number.parse::<f64>().with_context(|| format!("read {number}"))? / 1e9)
}

fn address(peer: &Peer, container: &str) -> Result<String> {
    of_network(peer, container, "IPAddress")
}

fn gateway(peer: &Peer, container: &str) -> Result<String> {
    of_network(peer, container, "Gateway")
}

fn of_network(peer: &Peer, container: &str, field: &str) -> Result<String> {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{NETWORK}\").{field}}}}}");
    Ok(peer.run(&["inspect", "-f", &format, container])?.trim().to_owned())
}
