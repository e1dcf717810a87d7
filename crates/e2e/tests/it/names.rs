//! Names of containers on user-defined networks, asked from inside.

use std::net::UdpSocket;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use e2e::eventually;

use crate::{World, with};

both_clients!(
    every_name_of_a_container_resolves,
    an_alias_of_several_gives_all,
    a_network_joined_later_brings_its_names,
    other_names_go_to_the_given_server,
    internal_networks_ask_nobody,
    servers_are_asked_while_there_is_a_way_out,
    a_shared_network_shares_its_names,
    the_external_runtime_has_names_too,
);

#[test]
fn names_resolve_while_no_daemon_runs() -> Result<()> {
    with(e2e::Program::Teu, names_resolve_while_the_daemon_is_dead)
}

const SLEEP: [&str; 3] = ["busybox", "sleep", "600"];

fn start(world: &World, name: &str, network: &str, more: &[&str]) -> Result<()> {
    let fixed = ["run", "-d", "--name", name, "--network", network];
    world.client.run(&[&fixed[..], more, &SLEEP].concat()).map(drop)
}

fn address(world: &World, name: &str, network: &str) -> Result<String> {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    Ok(world.client.run(&["inspect", "-f", &format, name])?.trim().to_owned())
}

/// Every address that nslookup in the container gives for a name, sorted.
fn look_up(world: &World, container: &str, name: &str) -> Result<Vec<String>> {
    let ran = world.client.try_run(&["exec", container, "nslookup", "-type=a", name])?;
    ensure!(ran.code == 0, "{}{}", ran.stdout, ran.stderr);
    addresses(&ran.stdout)
}

fn addresses(text: &str) -> Result<Vec<String>> {
    // The server's own address comes first, with a port.
    let (server, answer) = text.split_once("\n\n").context("an answer after the server")?;
    ensure!(server.contains("127.0.0.11"), "{text}");
    let found = answer.lines().filter_map(|line| line.strip_prefix("Address: "));
    let mut found: Vec<String> = found.map(str::to_owned).collect();
    found.sort();
    Ok(found)
}

fn every_name_of_a_container_resolves(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "names"])?;
    start(world, "web", "names", &["--network-alias", "www", "--hostname", "front"])?;
    start(world, "client", "names", &[])?;
    let ip = address(world, "web", "names")?;
    let id = world.client.run(&["inspect", "-f", "{{.Id}}", "web"])?;
    for name in ["web", "WEB", "www", "front", "web.names", &id[..12]] {
        ensure!(look_up(world, "client", name)? == [ip.clone()], "{name}");
    }
    let conf = ["--rm", "--network", "names", "--dns-search", "corp.example", "busybox"];
    let conf = [&["run"], &conf[..], &["cat", "/etc/resolv.conf"]].concat();
    let conf = world.client.run(&conf)?;
    for line in ["nameserver 127.0.0.11", "search corp.example", "options ndots:0"] {
        ensure!(conf.lines().any(|found| found == line), "{conf}");
    }
    // Through the C library's way, and back from the address.
    world.client.run(&["exec", "client", "ping", "-c", "1", "-W", "5", "www"])?;
    let back = world.client.run(&["exec", "client", "nslookup", &ip])?;
    ensure!(back.contains("name = web.names"), "{back}");
    // A name without such an address is one all the same.
    let none = world.client.try_run(&["exec", "client", "nslookup", "-type=aaaa", "web"])?;
    ensure!(!none.stdout.contains("NXDOMAIN"), "{}", none.stdout);

    world.client.run(&["rename", "web", "site"])?;
    ensure!(look_up(world, "client", "site")? == [ip]);
    world.client.run(&["rm", "-f", "site"])?;
    ensure!(look_up(world, "client", "www").is_err());
    Ok(())
}

fn an_alias_of_several_gives_all(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "names"])?;
    let mut expected = Vec::new();
    for name in ["a1", "a2", "a3"] {
        start(world, name, "names", &["--network-alias", "app"])?;
        expected.push(address(world, name, "names")?);
    }
    expected.sort();
    ensure!(look_up(world, "a1", "app")? == expected);
    world.client.run(&["stop", "-t", "0", "a2"])?;
    ensure!(look_up(world, "a1", "app")?.len() == 2);
    Ok(())
}

fn a_network_joined_later_brings_its_names(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "names"])?;
    start(world, "web", "names", &[])?;
    start(world, "late", "bridge", &[])?;
    ensure!(look_up(world, "late", "web").is_err());
    world.client.run(&["network", "connect", "--alias", "me", "names", "late"])?;
    ensure!(look_up(world, "late", "web")? == [address(world, "web", "names")?]);
    ensure!(look_up(world, "web", "me")? == [address(world, "late", "names")?]);
    world.client.run(&["network", "disconnect", "names", "late"])?;
    ensure!(look_up(world, "late", "web").is_err());
    ensure!(look_up(world, "web", "me").is_err());
    Ok(())
}

/// Answers one query with 192.0.2.9.
fn answer_one(server: &UdpSocket) -> Result<()> {
    let mut packet = vec![0; 1024];
    let (length, from) = server.recv_from(&mut packet)?;
    packet.truncate(length);
    packet[2] |= 0x80;
    packet[7] = 1;
    // Whatever followed the question is not repeated.
    packet[11] = 0;
    let name = packet[12..].iter().position(|byte| *byte == 0).context("the end of a name")?;
    packet.truncate(12 + name + 5);
    packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
    server.send_to(&packet, from)?;
    Ok(())
}

fn other_names_go_to_the_given_server(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "names"])?;
    let gateway = world.client.run(&[
        "network",
        "inspect",
        "-f",
        "{{(index .IPAM.Config 0).Gateway}}",
        "names",
    ])?;
    let gateway = gateway.trim().split('/').next().context("a gateway")?;
    // The bridge has its address at the latest when somebody is connected.
    start(world, "client", "names", &["--dns", gateway])?;
    let server = eventually("bind the gateway's port", || Ok(UdpSocket::bind((gateway, 53))?))?;
    server.set_read_timeout(Some(e2e::DEADLINE))?;
    let served = std::thread::spawn(move || answer_one(&server));
    ensure!(look_up(world, "client", "host.example.com")? == ["192.0.2.9"]);
    served.join().ok().context("the server panicked")??;
    // Nobody is there any more; the answer is kept.
    ensure!(look_up(world, "client", "host.example.com")? == ["192.0.2.9"]);
    let conf = world.client.run(&["exec", "client", "cat", "/etc/resolv.conf"])?;
    ensure!(
        conf.contains("nameserver 127.0.0.11\n")
            && !conf.contains(&format!("nameserver {gateway}"))
    );
    Ok(())
}

fn internal_networks_ask_nobody(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "--internal", "inside"])?;
    start(world, "web", "inside", &[])?;
    ensure!(look_up(world, "web", "web")?.len() == 1);
    let ran = world.client.try_run(&["exec", "web", "nslookup", "-type=a", "example.com"])?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.code != 0 && said.contains("SERVFAIL"), "{said}");
    Ok(())
}

fn servers_are_asked_while_there_is_a_way_out(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "outer"])?;
    teu.run(&["network", "create", "--internal", "inner"])?;
    let format = "{{(index .IPAM.Config 0).Gateway}}";
    let gateway = teu.run(&["network", "inspect", "-f", format, "outer"])?;
    let gateway = gateway.trim().to_owned();
    start(world, "client", "outer", &["--dns", &gateway])?;
    let server = eventually("bind the port", || Ok(UdpSocket::bind((gateway.as_str(), 53))?))?;
    server.set_read_timeout(Some(e2e::DEADLINE))?;
    // Until nobody has asked for as long as the test may take.
    std::thread::spawn(move || while answer_one(&server).is_ok() {});
    let is_asked = |name: &str| -> Result<()> {
        ensure!(look_up(world, "client", name)? == ["192.0.2.9"], "{name}");
        Ok(())
    };
    is_asked("one.example.com")?;
    teu.run(&["network", "connect", "inner", "client"])?;
    is_asked("two.example.com")?;
    teu.run(&["network", "disconnect", "outer", "client"])?;
    let ran = teu.try_run(&["exec", "client", "nslookup", "-type=a", "three.example.com"])?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.code != 0 && said.contains("SERVFAIL"), "{said}");
    teu.run(&["network", "connect", "outer", "client"])?;
    is_asked("four.example.com")
}

fn a_shared_network_shares_its_names(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "names"])?;
    start(world, "web", "names", &[])?;
    start(world, "guest", "container:web", &[])?;
    ensure!(look_up(world, "guest", "web")? == [address(world, "web", "names")?]);
    Ok(())
}

fn the_external_runtime_has_names_too(world: &World) -> Result<()> {
    if Command::new("runc").arg("--version").output().is_err() {
        eprintln!("skipped: needs runc");
        return Ok(());
    }
    world.client.run(&["network", "create", "names"])?;
    start(world, "web", "names", &["--runtime", "runc"])?;
    ensure!(look_up(world, "web", "web")? == [address(world, "web", "names")?]);
    Ok(())
}

fn names_resolve_while_the_daemon_is_dead(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "names"])?;
    start(world, "web", "names", &[])?;
    start(world, "client", "names", &[])?;
    let ip = address(world, "web", "names")?;
    let pid = world.client.run(&["inspect", "-f", "{{.State.Pid}}", "client"])?;
    let ask = |name: &str| {
        let inside = ["-t", pid.trim(), "-m", "-n", "/bin/busybox", "nslookup", "-type=a", name];
        let output = Command::new("nsenter").args(inside).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stdout));
        }
        addresses(&String::from_utf8_lossy(&output.stdout))
    };
    let daemon = world.host.daemon_pid().context("a daemon")?;
    let daemon = rustix::process::Pid::from_raw(i32::try_from(daemon)?).context("a pid")?;
    // Not even one that has asked before.
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL)?;
    eventually("the daemon is gone", || {
        ensure!(world.client.run(&["ps"]).is_err(), "it still answers");
        Ok(())
    })?;
    for name in ["web", "web.names"] {
        ensure!(ask(name)? == [ip.clone()], "{name}");
    }
    ensure!(ask("nobody.names").is_err());
    Ok(())
}
