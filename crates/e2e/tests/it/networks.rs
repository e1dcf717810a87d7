//! Networks of the user's own: the six commands, on running and stopped containers.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use e2e::eventually;
use serde_json::Value;

use crate::network::{SERVER, hello, published};
use crate::{World, with};

both_clients!(
    networks_are_made_listed_and_removed,
    networks_that_cannot_be_are_refused,
    ports_follow_their_container_through_networks,
    stopped_containers_are_connected_at_their_start,
    connections_that_cannot_be_are_refused,
    several_networks_at_once,
    static_addresses_are_kept,
    a_dual_stack_network_answers_in_both,
    prune_takes_what_nobody_names,
    neighbours_have_names,
);

#[test]
fn ports_stay_taken_without_a_daemon() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut world = World::new(e2e::Program::Teu)?;
    world.client.run(&["run", "-d", "--name", "cc", "-p", "7", "busybox", "sh", "-c", SERVER])?;
    world.client.run(&["network", "create", "mynet"])?;
    let port = published(&world, "7/tcp")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let is_taken = || std::net::TcpListener::bind(("0.0.0.0", port)).is_err();
    eventually("the port answers", || hello(address))?;
    for _ in 0..2 {
        world.host.kill_daemon()?;
        ensure!(is_taken(), "the port of a container that runs is free");
        eventually("the port answers without a daemon", || hello(address))?;
        world.host.start_daemon()?;
    }
    let log = world.host.daemon_log();
    ensure!(!log.contains("bound by another process"), "{log}");
    // The next daemon gives it to the container's next network, and takes it back.
    world.client.run(&["network", "connect", "mynet", "cc"])?;
    ensure!(published(&world, "7/tcp")? == port && is_taken());
    world.client.run(&["network", "disconnect", "bridge", "cc"])?;
    ensure!(published(&world, "7/tcp")? == port && is_taken());
    eventually("it answers from there", || hello(address))?;
    let taken = world.client.try_run(&["run", "-p", &format!("{port}:7"), "busybox", "true"])?;
    ensure!(taken.stderr.contains("port is already allocated (by container cc)"), "{taken:?}");
    world.client.run(&["network", "disconnect", "mynet", "cc"])?;
    ensure!(!is_taken(), "the port is still taken");
    world.client.run(&["network", "connect", "bridge", "cc"])?;
    world.client.run(&["stop", "-t", "0", "cc"])?;
    ensure!(!is_taken(), "the port is still taken");
    Ok(())
}

fn inspect(world: &World, network: &str) -> Result<Value> {
    let shown = world.client.run(&["network", "inspect", network])?;
    let mut shown: Vec<Value> = serde_json::from_str(&shown)?;
    ensure!(shown.len() == 1, "{shown:?}");
    Ok(shown.remove(0))
}

fn endpoint(world: &World, container: &str, network: &str) -> Result<Value> {
    let shown =
        world.client.run(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", container])?;
    let mut shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[network].take())
}

fn networks_are_made_listed_and_removed(world: &World) -> Result<()> {
    let teu = &world.client;
    let id = teu.run(&["network", "create", "--label", "a=b", "mynet"])?;
    let id = id.trim();
    let shown = inspect(world, "mynet")?;
    let expected = [
        ("Name", "mynet".into()),
        ("Id", id.into()),
        ("Scope", "local".into()),
        ("Driver", "bridge".into()),
        ("EnableIPv4", true.into()),
        ("EnableIPv6", false.into()),
        ("Internal", false.into()),
        ("Attachable", false.into()),
        ("Ingress", false.into()),
        ("ConfigOnly", false.into()),
        ("Containers", serde_json::json!({})),
        ("Options", serde_json::json!({})),
        ("Labels", serde_json::json!({"a": "b"})),
    ];
    for (key, value) in expected {
        ensure!(shown[key] == value, "{key} of {shown}");
    }
    ensure!(shown["IPAM"]["Options"] == serde_json::json!({}), "as the command line says: {shown}");
    let subnet = shown["IPAM"]["Config"][0]["Subnet"].as_str().context("a subnet")?;
    let gateway = shown["IPAM"]["Config"][0]["Gateway"].as_str().context("a gateway")?;
    // The next of the pools, whatever else is on this host.
    let base = subnet.strip_suffix(".0/16").or_else(|| subnet.strip_suffix(".0/20"));
    ensure!(base.is_some_and(|base| gateway == format!("{base}.1")), "{shown}");
    let listed = teu.run(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"])?;
    ensure!(
        listed == "bridge bridge local\nhost host local\nmynet bridge local\nnone null local\n",
        "{listed}"
    );
    for (filter, found) in [
        ("driver=bridge", 2),
        ("type=custom", 1),
        ("type=builtin", 3),
        ("label=a=b", 1),
        ("label=a=c", 0),
        ("name=my", 1),
        ("scope=local", 4),
        ("dangling=true", 1),
        (&format!("id={}", &id[..5]), 1),
    ] {
        let listed = teu.run(&["network", "ls", "-q", "-f", filter])?;
        ensure!(listed.lines().count() == found, "{filter}: {listed}");
    }
    ensure!(teu.run(&["network", "ls", "-q", "--no-trunc", "-f", "name=mynet"])?.trim() == id);
    let removed = teu.run(&["network", "rm", &id[..12]])?;
    ensure!(removed.trim() == &id[..12], "{removed}");
    let gone = teu.try_run(&["network", "inspect", "mynet"])?;
    ensure!(gone.code == 1 && gone.stderr.contains("network mynet not found"), "{gone:?}");
    Ok(())
}

fn networks_that_cannot_be_are_refused(world: &World) -> Result<()> {
    world.client.run(&["network", "create", "--subnet", "10.123.0.0/16", "mynet"])?;
    let cases: [(&[&str], &str); 13] = [
        (&["mynet"], "network with name mynet already exists"),
        (&["bridge"], "operation is not permitted on predefined bridge network"),
        (&["-d", "host", "h"], "only one instance of \"host\" network is allowed"),
        (&["-d", "overlay", "o"], "This node is not a swarm manager."),
        (&["-d", "nope", "n"], "plugin \"nope\" not found"),
        (&["--subnet", "10.123.4.0/24", "n"], "Pool overlaps with other one on this address space"),
        (&["--subnet", "10.9.1.1/24", "n"], "invalid subnet 10.9.1.1/24: it should be 10.9.1.0/24"),
        (
            &["--gateway", "10.1.0.1", "n"],
            "every ip-range or gateway must have a corresponding subnet",
        ),
        (
            &["--subnet", "10.9.0.0/24", "--gateway", "10.8.0.1", "n"],
            "no matching subnet for gateway 10.8.0.1",
        ),
        (
            &["--subnet", "10.9.0.0/24", "--aux-address", "a=10.8.0.1", "n"],
            "no matching subnet for aux-address 10.8.0.1",
        ),
        (&["--ipam-driver", "nope", "n"], "nope"),
        (&["--ipam-opt", "a=b", "n"], "invalid option \"a\""),
        (&["-o", "com.docker.network.bridge.enable_icc=perhaps", "n"], "enable_icc"),
    ];
    for (args, expected) in cases {
        let ran = world.client.try_run(&[&["network", "create"], args].concat())?;
        ensure!(ran.code == 1 && ran.stderr.contains(expected), "{args:?}: {ran:?}");
    }
    let ran = world.client.try_run(&["network", "rm", "host"])?;
    ensure!(ran.stderr.contains("host is a pre-defined network and cannot be removed"), "{ran:?}");
    world
        .client
        .run(&["run", "-d", "--name", "cc", "--net", "mynet", "busybox", "sleep", "600"])?;
    let ran = world.client.try_run(&["network", "rm", "mynet"])?;
    let expected = "error while removing network: network mynet has active endpoints (name:\"cc\"";
    ensure!(ran.code == 1 && ran.stderr.contains(expected), "{ran:?}");
    ensure!(world.client.run(&["network", "ls", "-q"])?.lines().count() == 4);
    Ok(())
}

fn ports_follow_their_container_through_networks(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["run", "-d", "--name", "cc", "-p", "7", "busybox", "sh", "-c", SERVER])?;
    let port = published(world, "7/tcp")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the port answers", || hello(address))?;
    teu.run(&["network", "disconnect", "bridge", "cc"])?;
    ensure!(std::net::TcpStream::connect(address).is_err());
    let links = teu.run(&["exec", "cc", "ip", "-o", "link"])?;
    ensure!(links.lines().count() == 1, "{links}");
    let settings = teu.run(&["inspect", "-f", "{{json .NetworkSettings}}", "cc"])?;
    let settings: Value = serde_json::from_str(&settings)?;
    ensure!(settings["Networks"] == serde_json::json!({}), "{settings}");
    ensure!(settings["Ports"] == serde_json::json!({}), "{settings}");
    teu.run(&["network", "create", "mynet"])?;
    teu.run(&["network", "connect", "mynet", "cc"])?;
    // Another port may be free now.
    let port = published(world, "7/tcp")?;
    eventually("the port answers again", || hello(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    let shown = inspect(world, "mynet")?;
    let gateway = shown["IPAM"]["Config"][0]["Gateway"].as_str().context("a gateway")?;
    eventually("by the gateway", || hello(SocketAddr::from((gateway.parse::<Ipv4Addr>()?, port))))?;
    let containers = shown["Containers"].as_object().context("containers")?;
    let (_, own) = containers.iter().next().context("a container")?;
    ensure!(
        own["Name"] == "cc"
            && own["MacAddress"].as_str().is_some_and(|mac| mac.starts_with("02:42:"))
    );
    ensure!(own["IPv4Address"].as_str().is_some_and(|ip| ip.contains(".2/")), "{own}");
    // Two networks: the way out, and with it the port, is that of the lower name.
    teu.run(&["network", "connect", "bridge", "cc"])?;
    ensure!(published(world, "7/tcp")? == port);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("by the lower name", || hello(address))?;
    let routes = teu.run(&["exec", "cc", "ip", "route"])?;
    let bridge = endpoint(world, "cc", "bridge")?;
    let gateway = bridge["Gateway"].as_str().context("a gateway")?;
    ensure!(routes.contains(&format!("default via {gateway} dev eth1")), "{routes}");
    teu.run(&["network", "disconnect", "bridge", "cc"])?;
    eventually("by the other again", || hello(address))?;
    let events = ["events", "--since", "1h", "--until=-1s", "--filter", "type=network"];
    let format = ["--format", "{{.Action}} {{index .Actor.Attributes \"name\"}}"];
    let told = teu.run(&[&events[..], &format[..]].concat())?;
    let expected = "connect bridge\ndisconnect bridge\ncreate mynet\nconnect mynet\nconnect bridge\n\
                    disconnect bridge\n";
    ensure!(told == expected, "{told}");
    // After a restart it is where it was.
    teu.run(&["restart", "-t", "0", "cc"])?;
    let port = published(world, "7/tcp")?;
    eventually("it answers", || hello(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    ensure!(endpoint(world, "cc", "bridge")?.is_null());
    Ok(())
}

fn stopped_containers_are_connected_at_their_start(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "mynet"])?;
    teu.run(&["create", "--name", "cc", "busybox", "sleep", "600"])?;
    teu.run(&["network", "connect", "--alias", "other", "mynet", "cc"])?;
    ensure!(inspect(world, "mynet")?["Containers"] == serde_json::json!({}));
    ensure!(endpoint(world, "cc", "mynet")?["Aliases"] == serde_json::json!(["other"]));
    teu.run(&["network", "disconnect", "bridge", "cc"])?;
    teu.run(&["start", "cc"])?;
    ensure!(endpoint(world, "cc", "bridge")?.is_null());
    ensure!(endpoint(world, "cc", "mynet")?["IPAddress"] != "");
    let links = teu.run(&["exec", "cc", "ip", "-o", "link"])?;
    ensure!(links.lines().count() == 2, "{links}");
    // A network that went meanwhile is named, and can be left.
    teu.run(&["stop", "-t", "0", "cc"])?;
    teu.run(&["network", "rm", "mynet"])?;
    let failed = teu.try_run(&["start", "cc"])?;
    ensure!(failed.code == 1 && failed.stderr.contains("network mynet not found"), "{failed:?}");
    teu.run(&["network", "disconnect", "-f", "mynet", "cc"])?;
    teu.run(&["start", "cc"])?;
    ensure!(endpoint(world, "cc", "bridge")?["IPAddress"] != "");
    Ok(())
}

fn connections_that_cannot_be_are_refused(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "--subnet", "10.124.0.0/24", "mynet"])?;
    for (name, mode) in [("host", "host"), ("none", "none"), ("plain", "bridge"), ("own", "mynet")]
    {
        teu.run(&["run", "-d", "--name", name, "--net", mode, "busybox", "sleep", "600"])?;
    }
    teu.run(&[
        "run",
        "-d",
        "--name",
        "shared",
        "--net",
        "container:own",
        "busybox",
        "sleep",
        "600",
    ])?;
    let sharing = "container sharing network namespace with another container or host cannot be \
                   connected to any other network";
    let cases: [(&[&str], &str); 12] = [
        (&["connect", "mynet", "host"], sharing),
        (&["connect", "mynet", "shared"], sharing),
        (&["connect", "host", "plain"], "cannot connect container to host network"),
        (&["connect", "mynet", "none"], "one of the networks in private (none) mode"),
        (&["connect", "none", "plain"], "one of the networks in private (none) mode"),
        (&["connect", "mynet", "own"], "endpoint with name own already exists in network mynet"),
        (&["connect", "mynet", "nobody"], "No such container: nobody"),
        (&["connect", "nothing", "plain"], "network nothing not found"),
        (
            &["connect", "--ip", "10.9.9.9", "mynet", "plain"],
            "no configured subnet contains IP address 10.9.9.9",
        ),
        (&["connect", "--driver-opt", "a=b", "mynet", "plain"], "invalid driver option \"a\""),
        (&["disconnect", "mynet", "plain"], "is not connected to the network mynet"),
        (&["disconnect", "host", "host"], "container cannot be disconnected from host network"),
    ];
    for (args, expected) in cases {
        let ran = teu.try_run(&[&["network"], args].concat())?;
        ensure!(ran.code == 1 && ran.stderr.contains(expected), "{args:?}: {ran:?}");
    }
    let taken = endpoint(world, "own", "mynet")?["IPAddress"].clone();
    let taken = taken.as_str().context("an address")?;
    let ran = teu.try_run(&["network", "connect", "--ip", taken, "mynet", "plain"])?;
    ensure!(ran.stderr.contains("Address already in use"), "{ran:?}");
    // Nothing of what was refused stays.
    ensure!(endpoint(world, "plain", "mynet")?.is_null());
    let links = teu.run(&["exec", "plain", "ip", "-o", "link"])?;
    ensure!(links.lines().count() == 2, "{links}");
    // One with the default bridge alone is no user-defined network.
    let ran = teu.try_run(&["run", "--ip", "172.17.0.9", "busybox", "true"])?;
    let expected = "user-specified IP address is supported on user-defined networks only";
    ensure!(ran.code == 125 && ran.stderr.contains(expected), "{ran:?}");
    Ok(())
}

fn several_networks_at_once(world: &World) -> Result<()> {
    let teu = &world.client;
    for name in ["one", "two", "three"] {
        teu.run(&["network", "create", name])?;
    }
    teu.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "-p",
        "7",
        "--net",
        "name=two,alias=x",
        "--net",
        "one",
        "--network",
        "name=three,gw-priority=9,mac-address=02:00:00:00:00:09,\
         driver-opt=com.docker.network.endpoint.ifname=lan9",
        "busybox",
        "sh",
        "-c",
        SERVER,
    ])?;
    let addresses = teu.run(&["exec", "cc", "ip", "-o", "-4", "addr"])?;
    let of = |network: &str| -> Result<String> {
        let endpoint = endpoint(world, "cc", network)?;
        let address = endpoint["IPAddress"].as_str().context("an address")?;
        Ok(format!("inet {address}/{}", endpoint["IPPrefixLen"]))
    };
    for (interface, network) in [("eth0", "two"), ("eth1", "one"), ("lan9", "three")] {
        let line = addresses.lines().find(|line| line.contains(interface));
        ensure!(
            line.is_some_and(|line| line.contains(&of(network).unwrap_or_default())),
            "{addresses}"
        );
    }
    let third = endpoint(world, "cc", "three")?;
    ensure!(third["MacAddress"] == "02:00:00:00:00:09", "{third}");
    let gateway = third["Gateway"].as_str().context("a gateway")?;
    let routes = teu.run(&["exec", "cc", "ip", "route"])?;
    ensure!(routes.contains(&format!("default via {gateway} dev lan9")), "{routes}");
    let port = published(world, "7/tcp")?;
    eventually("the port answers", || hello(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    let hosts = teu.run(&["exec", "cc", "cat", "/etc/hosts"])?;
    for network in ["one", "two", "three"] {
        let endpoint = endpoint(world, "cc", network)?;
        ensure!(hosts.contains(endpoint["IPAddress"].as_str().context("an address")?), "{hosts}");
    }
    teu.run(&["network", "disconnect", "one", "cc"])?;
    let changed = teu.run(&["exec", "cc", "cat", "/etc/hosts"])?;
    ensure!(changed.lines().count() == hosts.lines().count() - 1, "{changed}");
    Ok(())
}

fn static_addresses_are_kept(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "--subnet", "10.125.0.0/29", "small"])?;
    teu.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "--net",
        "small",
        "--ip",
        "10.125.0.2",
        "busybox",
        "sleep",
        "600",
    ])?;
    teu.run(&["stop", "-t", "0", "cc"])?;
    // What is kept for the stopped one is not given to others.
    for name in ["aa", "bb", "cd", "dd"] {
        teu.run(&["run", "-d", "--name", name, "--net", "small", "busybox", "sleep", "600"])?;
        ensure!(endpoint(world, name, "small")?["IPAddress"] != "10.125.0.2");
    }
    let full = teu.try_run(&["run", "--net", "small", "busybox", "true"])?;
    ensure!(full.code == 125 && full.stderr.contains("no available IPv4 addresses"), "{full:?}");
    teu.run(&["start", "cc"])?;
    ensure!(endpoint(world, "cc", "small")?["IPAddress"] == "10.125.0.2");
    Ok(())
}

/// A socket at the first port that the host gives away, unless that is somebody's anyway.
fn first_ephemeral_of_ipv6() -> Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u16 = range.split_whitespace().next().context("a range")?.parse()?;
    let held = socket(AddressFamily::INET6, SocketType::STREAM, None)?;
    sockopt::set_ipv6_v6only(&held, true)?;
    match bind(&held, &SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, first))) {
        Ok(()) | Err(rustix::io::Errno::ADDRINUSE) => Ok(held),
        Err(error) => Err(error.into()),
    }
}

fn a_dual_stack_network_answers_in_both(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "--ipv6", "dual"])?;
    let shown = inspect(world, "dual")?;
    ensure!(shown["EnableIPv6"] == true, "{shown}");
    let configs = shown["IPAM"]["Config"].as_array().context("subnets")?;
    let subnet = configs.iter().filter_map(|c| c["Subnet"].as_str()).find(|s| s.contains(':'));
    ensure!(subnet.is_some_and(|s| s.starts_with("fd") && s.ends_with("::/64")), "{shown}");
    // Somebody has the first number that would be taken, in one family alone.
    let somebody = first_ephemeral_of_ipv6()?;
    teu.run(&[
        "run", "-d", "--name", "cc", "--net", "dual", "-p", "7", "busybox", "sh", "-c", SERVER,
    ])?;
    drop(somebody);
    let own = endpoint(world, "cc", "dual")?;
    let address = own["GlobalIPv6Address"].as_str().context("an address")?;
    ensure!(own["GlobalIPv6PrefixLen"] == 64, "{own}");
    let shown = teu.run(&["exec", "cc", "ip", "-6", "addr", "show", "eth0"])?;
    ensure!(shown.contains(&format!("inet6 {address}/64")), "{shown}");
    let port = published(world, "7/tcp")?;
    let bindings = teu.run(&["port", "cc", "7/tcp"])?;
    ensure!(bindings == format!("0.0.0.0:{port}\n[::]:{port}\n"), "{bindings}");
    let gateway: std::net::Ipv6Addr = own["IPv6Gateway"].as_str().context("a gateway")?.parse()?;
    for host in ["127.0.0.1".parse()?, std::net::IpAddr::V6(gateway)] {
        eventually("it answers", || hello(SocketAddr::from((host, port))))?;
    }
    Ok(())
}

fn prune_takes_what_nobody_names(world: &World) -> Result<()> {
    let teu = &world.client;
    for name in ["used", "stopped", "free"] {
        teu.run(&["network", "create", name])?;
    }
    teu.run(&["run", "-d", "--net", "used", "busybox", "sleep", "600"])?;
    teu.run(&["create", "--name", "later", "--net", "stopped", "busybox", "true"])?;
    let pruned = teu.run(&["network", "prune", "-f"])?;
    ensure!(pruned.contains("Deleted Networks:\nfree\n"), "{pruned}");
    teu.run(&["rm", "later"])?;
    let pruned = teu.run(&["system", "prune", "-f"])?;
    ensure!(pruned.contains("stopped"), "{pruned}");
    let listed = teu.run(&["network", "ls", "--format", "{{.Name}}"])?;
    ensure!(listed == "bridge\nhost\nnone\nused\n", "{listed}");
    Ok(())
}

fn neighbours_have_names(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "mynet"])?;
    teu.run(&[
        "run",
        "-d",
        "--name",
        "db",
        "--net",
        "mynet",
        "--network-alias",
        "store",
        "busybox",
        "sleep",
        "600",
    ])?;
    let address = endpoint(world, "db", "mynet")?["IPAddress"].clone();
    let address = address.as_str().context("an address")?;
    let conf = teu.run(&["run", "--rm", "--net", "mynet", "busybox", "cat", "/etc/resolv.conf"])?;
    ensure!(conf.contains("nameserver 127.0.0.11\n") && conf.contains("ndots:0"), "{conf}");
    for name in ["db", "store", "db.mynet"] {
        let ping = ["run", "--rm", "--net", "mynet", "busybox", "ping", "-c", "1", name];
        let shown = teu.run(&ping)?;
        ensure!(shown.contains(address), "{shown}");
    }
    // One that comes to the network while it runs learns them as well.
    teu.run(&["run", "-d", "--name", "late", "busybox", "sleep", "600"])?;
    teu.run(&["network", "connect", "mynet", "late"])?;
    let shown = teu.run(&["exec", "late", "ping", "-c", "1", "store"])?;
    ensure!(shown.contains(address), "{shown}");
    Ok(())
}
