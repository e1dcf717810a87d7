//! Networks: throughput, requests through a published port, many ports, connect and disconnect,
//! names.
//!
//! "Outside" is a network namespace with a link of its own to the host. Both ends of everything
//! run on this machine's cores, so figures are for comparison, not for a data sheet.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::peer::{IMAGE, Peer};
use super::{Table, names};
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
const HOST_IP: &str = "198.18.0.1";
const OUTSIDE_IP: &str = "198.18.0.2";
/// For iperf3 on the host itself.
const HOST_PORT: &str = "5299";
const SECONDS: &str = "3";

pub(super) fn measure(peers: &[Peer], runs: usize) -> Result<()> {
    let outside = Outside::new()?;
    println!("host loopback                      {:>9.2} Gbit/s", loopback()?);
    for peer in peers {
        peer.import(TOOLS, TOOLS_SCRIPT)?;
        peer.run(&["network", "create", NETWORK])?;
    }
    let result = all(peers, runs, &outside);
    for peer in peers {
        peer.remove_containers()?;
        peer.run(&["network", "rm", NETWORK])?;
    }
    result
}

fn all(peers: &[Peer], runs: usize, outside: &Outside) -> Result<()> {
    for (index, peer) in peers.iter().enumerate() {
        let port = 20_000 + index;
        throughput(peer, port, outside)?;
        requests(peer, port, outside)?;
        peer.remove_containers()?;
    }
    connect(peers, runs)?;
    for peer in peers {
        resolve(peer)?;
        peer.remove_containers()?;
    }
    for count in [1000, 10_000] {
        for peer in peers {
            ports(peer, count)?;
        }
    }
    Ok(())
}

fn throughput(peer: &Peer, port: usize, outside: &Outside) -> Result<()> {
    let publish = format!("{port}:5201");
    let server = ["run", "-d", "--name", "server", "--network", NETWORK, "-p", &publish, TOOLS];
    peer.run(&[&server[..], &["iperf3", "-s"]].concat())?;
    let client = ["run", "--rm", "--network", NETWORK, TOOLS, "iperf3"];
    let measured = |arguments: &[&str]| {
        let arguments = [&client[..], arguments, &["-J", "-t", SECONDS]].concat();
        until(|| peer.run(&arguments)).and_then(|json| rate(&json))
    };
    report(peer, "container to container", measured(&["-c", &address(peer, "server")?])?, "Gbit/s");
    let mut host = Command::new("iperf3")
        .args(["-s", "-p", HOST_PORT])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let to_host = measured(&["-c", &gateway(peer, "server")?, "-p", HOST_PORT]);
    host.kill()?;
    host.wait()?;
    report(peer, "container to host", to_host?, "Gbit/s");
    let port = port.to_string();
    let published =
        until(|| outside.run("iperf3", &["-c", HOST_IP, "-p", &port, "-J", "-t", SECONDS]))?;
    report(peer, "outside to published port", rate(&published)?, "Gbit/s");
    Ok(())
}

fn requests(peer: &Peer, port: usize, outside: &Outside) -> Result<()> {
    let (port, publish) = (port + 100, format!("{}:80", port + 100));
    let server = ["run", "-d", "--name", "web", "--network", NETWORK, "-p", &publish, TOOLS];
    peer.run(&[&server[..], &["nginx", "-c", "/etc/nginx.conf"]].concat())?;
    for (what, url, from_outside) in [
        ("requests from outside", format!("http://{HOST_IP}:{port}/"), true),
        ("requests from 127.0.0.1", format!("http://127.0.0.1:{port}/"), false),
    ] {
        let arguments = ["-t", "1", "-c", "32", "-d", "3s", &url];
        let text = until(|| {
            let run = |arguments: &[&str]| match from_outside {
                true => outside.run("wrk", arguments),
                false => output("wrk", arguments),
            };
            run(&arguments).and_then(|text| {
                if text.contains("Requests/sec:") && !text.contains("Socket errors: connect 32") {
                    return Ok(text);
                }
                bail!("wrk: {text}")
            })
        })?;
        let rate = text
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:"))
            .and_then(|rate| rate.trim().parse().ok())
            .with_context(|| format!("read {text}"))?;
        report(peer, what, rate, "/s");
    }
    Ok(())
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
    Ok(())
}

/// One container with many published ports: how long its start takes and what it costs.
fn ports(peer: &Peer, count: usize) -> Result<()> {
    let what = format!("{count} published ports");
    if peer.name() == "docker" && count > 1000 {
        println!("{what:<34} {:>8}      not tried: two processes for each", peer.name());
        return Ok(());
    }
    let (before, empty) = (super::start::helpers(peer)?, Instant::now());
    peer.run(&["run", "-d", "--name", "plain", IMAGE, "sleep", "3600"])?;
    let (plain, with_plain) = (empty.elapsed(), super::start::helpers(peer)?);
    let range = format!("30000-{0}:30000-{0}", 30_000 + count - 1);
    let start = Instant::now();
    let started = peer.run(&["run", "-d", "--name", "ports", "-p", &range, IMAGE, "sleep", "3600"]);
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

fn loopback() -> Result<f64> {
    let mut server = Command::new("iperf3")
        .args(["-s", "-p", HOST_PORT])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start iperf3 (package iperf3)")?;
    let arguments = ["-c", "127.0.0.1", "-p", HOST_PORT, "-J", "-t", SECONDS];
    let measured = until(|| output("iperf3", &arguments)).and_then(|json| rate(&json));
    server.kill()?;
    server.wait()?;
    measured
}

/// The receiver's rate in Gbit/s, out of iperf3's JSON.
fn rate(json: &str) -> Result<f64> {
    let received = json.split("\"sum_received\"").nth(1).context("iperf3 gave no sum")?;
    let rest = received.split("\"bits_per_second\":").nth(1).context("iperf3 gave no rate")?;
    let number = rest.split([',', '}']).next().unwrap_or_default().trim();
    Ok(number.parse::<f64>().with_context(|| format!("read {number}"))? / 1e9)
}

fn report(peer: &Peer, what: &str, value: f64, unit: &str) {
    println!("{what:<34} {:>8} {value:>9.2} {unit}", peer.name());
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

/// Tries until a server that was just started answers.
fn until<T>(action: impl Fn() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match action() {
            Err(_) if start.elapsed() < Duration::from_secs(20) => {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            done => return done,
        }
    }
}

/// A neighbour on a wire of its own.
struct Outside {
    holder: Child,
}

impl Outside {
    fn new() -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["-n", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let pid = holder.id();
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let entered = || match std::fs::read_link(format!("/proc/{pid}/ns/net"))? == own {
            true => bail!("unshare has not made a network"),
            false => Ok(()),
        };
        let script = format!(
            "ip link add benchout0 type veth peer name eth0 netns {pid} && \
             ip addr add {HOST_IP}/30 dev benchout0 && ip link set benchout0 up && \
             nsenter -t {pid} -n sh -c 'ip link set lo up && ip addr add {OUTSIDE_IP}/30 dev eth0 && \
             ip link set eth0 up && ip route add default via {HOST_IP}'"
        );
        if let Err(error) = until(entered).and_then(|()| output("sh", &["-c", &script])) {
            holder.kill()?;
            holder.wait()?;
            return Err(error);
        }
        Ok(Self { holder })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let pid = self.holder.id().to_string();
        output("nsenter", &[&["-t", &pid, "-n", program], arguments].concat())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // Its end of the wire goes with it, and that takes ours along.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
