//! none, host and the default bridge with published ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::eventually;

use crate::{World, with};

both_clients!(
    none_has_only_loopback,
    bridge_has_an_address_and_a_route,
    published_port_answers_everywhere,
    udp_and_ranges,
    port_conflicts_name_the_owner,
    names_are_generated,
    ports_are_gone_after_stop,
);

/// A server inside a container that answers each connection with who connected.
pub(crate) const SERVER: &str = "while :; do nc -l -p 7 -e sh -c 'echo hello'; done";

fn none_has_only_loopback(world: &World) -> Result<()> {
    let ran = world.client.run(&["run", "--rm", "--net=none", "busybox", "ip", "-o", "link"])?;
    ensure!(ran.lines().count() == 1 && ran.contains("LOOPBACK,UP"), "{ran:?}");
    Ok(())
}

fn bridge_has_an_address_and_a_route(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    let settings =
        world.client.run(&["inspect", "-f", "{{json .NetworkSettings.Networks.bridge}}", "cc"])?;
    let settings: serde_json::Value = serde_json::from_str(&settings)?;
    let address: Ipv4Addr = settings["IPAddress"].as_str().context("an address")?.parse()?;
    let [a, b, c, d] = address.octets();
    ensure!(
        settings["MacAddress"] == format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
        "{settings}"
    );
    let shown =
        world.client.run(&["exec", "cc", "sh", "-c", "ip -o -4 addr show eth0; ip route"])?;
    ensure!(shown.contains(&format!("inet {address}/16")), "{shown}");
    let gateway = settings["Gateway"].as_str().context("a gateway")?;
    ensure!(shown.contains(&format!("default via {gateway} dev eth0")), "{shown}");
    let links =
        Command::new("ip").args(["-j", "link", "show", "master", world.host.bridge()]).output()?;
    let links: serde_json::Value = serde_json::from_slice(&links.stdout)?;
    ensure!(links.as_array().is_some_and(|links| links.len() == 1), "{links}");
    world.client.run(&["exec", "cc", "ping", "-c", "1", gateway])?;
    Ok(())
}

pub(crate) fn hello(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "hello\n", "{answer:?}");
    Ok(answer)
}

pub(crate) fn published(world: &World, port: &str) -> Result<u16> {
    let shown = world.client.run(&["port", "cc", port])?;
    let first = shown.lines().next().context("a binding")?;
    Ok(first.rsplit(':').next().context("a port")?.parse()?)
}

fn published_port_answers_everywhere(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "-p", "7", "busybox", "sh", "-c", SERVER])?;
    let port = published(world, "7/tcp")?;
    let gateway = world.client.run(&[
        "inspect",
        "-f",
        "{{.NetworkSettings.Networks.bridge.Gateway}}",
        "cc",
    ])?;
    for host in ["127.0.0.1", gateway.trim()] {
        eventually("the port answers", || {
            hello(SocketAddr::from((host.parse::<Ipv4Addr>()?, port)))
        })?;
    }
    // Hairpin: from the container itself and from a neighbour, by the host's address.
    let ask = format!("nc {} {port}", gateway.trim());
    eventually("hairpin", || {
        let shown = world.client.run(&["exec", "cc", "sh", "-c", &ask])?;
        ensure!(shown == "hello\n", "{shown:?}");
        Ok(())
    })?;
    let shown = world.client.run(&["run", "--rm", "busybox", "sh", "-c", &ask])?;
    ensure!(shown == "hello\n", "{shown:?}");
    Ok(())
}

fn udp_and_ranges(world: &World) -> Result<()> {
    let base = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().saturating_sub(10);
    let range = format!("127.0.0.1:{base}-{}:5000-5002/udp", base + 2);
    world.client.run(&["run", "-d", "--name", "cc", "-p", &range, "busybox", "sleep", "600"])?;
    let pid = world.client.run(&["inspect", "-f", "{{.State.Pid}}", "cc"])?;
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", pid.trim()))?;
    // The image has no program that speaks UDP, so a thread of the test joins the container.
    let server = std::thread::spawn(move || -> Result<UdpSocket> {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        Ok(UdpSocket::bind("0.0.0.0:5001")?)
    });
    let server = server.join().expect("the thread does not panic")?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(e2e::DEADLINE))?;
    }
    client.send_to(b"ping", (Ipv4Addr::LOCALHOST, base + 1))?;
    let mut buffer = [0; 16];
    let (count, from) = server.recv_from(&mut buffer)?;
    ensure!(&buffer[..count] == b"ping");
    server.send_to(b"pong", from)?;
    let (count, from) = client.recv_from(&mut buffer)?;
    ensure!(&buffer[..count] == b"pong" && from.port() == base + 1, "{from}");
    Ok(())
}

fn port_conflicts_name_the_owner(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "-p", "7", "busybox", "sh", "-c", SERVER])?;
    let port = published(world, "7/tcp")?;
    let publish = format!("{port}:7");
    let taken =
        world.client.try_run(&["run", "--name", "second", "-p", &publish, "busybox", "true"])?;
    let expected = format!("Bind for 0.0.0.0:{port} failed: port is already allocated");
    ensure!(taken.code == 125 && taken.stderr.contains(&expected), "{taken:?}");
    ensure!(taken.stderr.contains("container cc"), "the owner is not named: {taken:?}");
    ensure!(world.client.run(&["inspect", "-f", "{{.State.Status}}", "second"])? == "created\n");
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let publish = format!("{}:7", listener.local_addr()?.port());
    let taken = world.client.try_run(&["run", "-p", &publish, "busybox", "true"])?;
    ensure!(
        taken.code == 125 && taken.stderr.contains(&format!("pid {}", std::process::id())),
        "{taken:?}"
    );
    drop(listener);
    Ok(())
}

fn names_are_generated(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run",
        "--rm",
        "-h",
        "ship",
        "--add-host",
        "up:1.2.3.4",
        "--dns",
        "9.9.9.9",
        "--dns-search",
        "example.org",
        "busybox",
        "sh",
        "-c",
        "cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname -i",
    ])?;
    for text in ["1.2.3.4\tup", "\tship", "nameserver 9.9.9.9", "search example.org", "localhost"] {
        ensure!(ran.contains(text), "{text:?} is not in {ran}");
    }
    Ok(())
}

fn ports_are_gone_after_stop(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "-p", "7", "busybox", "sh", "-c", SERVER])?;
    let port = published(world, "7/tcp")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the port answers", || hello(address))?;
    world.client.run(&["stop", "-t", "0", "cc"])?;
    match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        Ok(mut stream) => {
            stream.write_all(b"x").ok();
            bail!("something still answers on {port}")
        }
        Err(error) => ensure!(error.kind() == std::io::ErrorKind::ConnectionRefused, "{error}"),
    }
    world.client.run(&["start", "cc"])?;
    let port = published(world, "7/tcp")?;
    eventually("it answers again", || hello(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    Ok(())
}
