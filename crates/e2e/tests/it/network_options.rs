//! Every option of `network create` and `network connect`, by what it does; every way of asking.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{World, with};

both_clients!(
    every_option_of_create_does_what_it_says,
    every_option_of_connect_does_what_it_says,
    stopped_containers_are_refused_like_running_ones,
    networks_are_shown_as_asked,
    networks_go_one_by_one,
    mac_addresses_last_as_long_as_they_should,
    a_container_can_do_without_ipv6,
    routed_ports_have_no_number_on_the_host,
);

/// A third octet of this process' own, so that tests beside each other share no subnet.
fn octet() -> u32 {
    std::process::id() % 250
}

fn inspect(world: &World, network: &str) -> Result<Value> {
    let shown = world.client.run(&["network", "inspect", network])?;
    let mut shown: Vec<Value> = serde_json::from_str(&shown)?;
    ensure!(shown.len() == 1, "{shown:?}");
    Ok(shown.remove(0))
}

fn endpoint(world: &World, container: &str, network: &str) -> Result<Value> {
    let format = "{{json .NetworkSettings.Networks}}";
    let mut shown: Value =
        serde_json::from_str(&world.client.run(&["inspect", "-f", format, container])?)?;
    Ok(shown[network].take())
}

fn sleeper(world: &World, name: &str, more: &[&str]) -> Result<()> {
    let start = ["run", "-d", "--name", name];
    world.client.run(&[&start[..], more, &["busybox", "sleep", "600"]].concat()).map(drop)
}

fn every_option_of_create_does_what_it_says(world: &World) -> Result<()> {
    let (teu, n) = (&world.client, octet());
    let subnet = format!("10.201.{n}.0/24");
    let range = format!("10.201.{n}.128/25");
    let gateway = format!("10.201.{n}.99");
    let taken = format!("10.201.{n}.128");
    let (subnet6, gateway6) = (format!("fd00:201:{n:x}::/64"), format!("fd00:201:{n:x}::99"));
    let bridge = format!("{}o", world.host.bridge());
    let name = format!("com.docker.network.bridge.name={bridge}");
    let router = format!("router={taken}");
    let args = [
        &["network", "create", "--driver", "bridge", "--attachable", "--ipv6"][..],
        &["--subnet", &subnet, "--ip-range", &range, "--gateway", &gateway],
        &["--aux-address", &router, "--subnet", &subnet6, "--gateway", &gateway6],
        &["--ipam-driver", "default", "--label", "a=b", "--label", "c", "-o", &name],
        &["--opt", "com.docker.network.driver.mtu=1400", "--scope", "local", "everything"],
    ];
    let id = teu.run(&args.concat())?;
    let shown = inspect(world, "everything")?;
    let pools = json!([
        {"Subnet": subnet, "IPRange": range, "Gateway": gateway,
            "AuxiliaryAddresses": {"router": taken}},
        {"Subnet": subnet6, "Gateway": gateway6},
    ]);
    for (key, value) in [
        ("Id", json!(id.trim())),
        ("Attachable", json!(true)),
        ("EnableIPv6", json!(true)),
        ("Labels", json!({"a": "b", "c": ""})),
    ] {
        ensure!(shown[key] == value, "{key} of {shown}");
    }
    ensure!(shown["IPAM"]["Config"] == pools, "{shown}");
    ensure!(shown["Options"]["com.docker.network.bridge.name"] == bridge.as_str(), "{shown}");
    let link = std::process::Command::new("ip").args(["addr", "show", "dev", &bridge]).output()?;
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    for text in ["mtu 1400", &format!("inet {gateway}/24"), &format!("inet6 {gateway6}/64")] {
        ensure!(link.contains(text), "{text}: {link}");
    }
    // The range's first address is taken by the router.
    let look = "ip addr show eth0; ip route; ip -6 route";
    let seen = teu.run(&["run", "--rm", "--net", "everything", "busybox", "sh", "-c", look])?;
    for text in [
        format!("inet 10.201.{n}.129/24"),
        format!("default via {gateway} dev eth0"),
        format!("default via {gateway6} dev eth0"),
        "mtu 1400".to_owned(),
    ] {
        ensure!(seen.contains(&text), "{text}: {seen}");
    }
    // One without IPv4, one without a way out.
    teu.run(&["network", "create", "--ipv6", "--ipv4=false", "six"])?;
    let seen =
        teu.run(&["run", "--rm", "--net", "six", "busybox", "ip", "addr", "show", "eth0"])?;
    ensure!(seen.contains("inet6 fd") && !seen.contains("inet "), "{seen}");
    teu.run(&["network", "create", "--internal", "inside"])?;
    ensure!(inspect(world, "inside")?["Internal"] == true);
    let seen = teu.run(&["run", "--rm", "--net", "inside", "busybox", "ip", "route"])?;
    ensure!(!seen.contains("default"), "{seen}");
    for (args, expected) in [
        (&["--ingress", "n"][..], "This node is not a swarm manager."),
        (&["--scope", "swarm", "n"], "This node is not a swarm manager."),
        (&["--subnet", "10.9.0.0/16", "--subnet", "10.9.1.0/24", "n"], "overlapping subnet"),
        (
            &["--subnet", "10.9.0.0/16", "--ip-range", "10.8.1.0/24", "n"],
            "no matching subnet for range 10.8.1.0/24",
        ),
        (&["--ipv4=false", "n"], "IPv4 or IPv6 must be enabled"),
    ] {
        let ran = teu.try_run(&[&["network", "create"], args].concat())?;
        ensure!(ran.code == 1 && ran.stderr.contains(expected), "{args:?}: {ran:?}");
    }
    Ok(())
}

fn every_option_of_connect_does_what_it_says(world: &World) -> Result<()> {
    let (teu, n) = (&world.client, octet());
    let (v4, v6) = (format!("10.202.{n}.0/24"), format!("fd00:202:{n:x}::/64"));
    teu.run(&["network", "create", "--ipv6", "--subnet", &v4, "--subnet", &v6, "harbour"])?;
    sleeper(world, "db", &["--net", "harbour"])?;
    sleeper(world, "running", &[])?;
    teu.run(&["create", "--name", "stopped", "busybox", "sleep", "600"])?;
    for (at, name) in [(7, "running"), (8, "stopped")] {
        let (ip, ip6) = (format!("10.202.{n}.{at}"), format!("fd00:202:{n:x}::{at}"));
        let local = format!("169.254.{n}.{at}");
        let args = [
            &["network", "connect", "--ip", &ip, "--ip6", &ip6, "--link-local-ip", &local][..],
            &["--alias", "quay", "--alias", name, "--link", "db:store", "--gw-priority", "5"],
            &["--driver-opt", "com.docker.network.endpoint.ifname=sea0"],
            &[
                "--driver-opt",
                "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
            ],
            &["harbour", name],
        ];
        teu.run(&args.concat())?;
        if name == "stopped" {
            teu.run(&["start", name])?;
        }
        let check = || -> Result<()> {
            let look = "ip addr show sea0; ip route; cat /proc/sys/net/ipv4/conf/sea0/log_martians";
            let seen = teu.run(&["exec", name, "sh", "-c", look])?;
            for text in [
                format!("inet {ip}/24"),
                format!("inet6 {ip6}/64"),
                format!("inet {local}/16"),
                format!("default via 10.202.{n}.1 dev sea0"),
            ] {
                ensure!(seen.contains(&text), "{name}, {text}: {seen}");
            }
            ensure!(seen.trim_end().ends_with("\n1"), "{seen}");
            let shown = endpoint(world, name, "harbour")?;
            ensure!(shown["Aliases"] == json!(["quay", name]), "{shown}");
            ensure!(shown["GwPriority"] == 5, "{shown}");
            ensure!(shown["IPAddress"] == ip.as_str(), "{shown}");
            ensure!(shown["GlobalIPv6Address"] == ip6.as_str(), "{shown}");
            let ping = |from: &str, name: &str| {
                teu.run(&["exec", from, "ping", "-4", "-c", "1", "-W", "5", name])
            };
            ensure!(ping(name, "store")?.contains(&format!("10.202.{n}.2")));
            ensure!(ping("db", "quay")?.contains(&ip));
            // A link is the linker's alone.
            ensure!(ping("db", "store").is_err());
            Ok(())
        };
        check()?;
        teu.run(&["restart", "-t", "0", name])?;
        check().with_context(|| format!("{name}, restarted"))?;
        teu.run(&["network", "disconnect", "harbour", name])?;
        ensure!(endpoint(world, name, "harbour")?.is_null());
        ensure!(teu.run(&["exec", "db", "ping", "-c", "1", "-W", "5", "quay"]).is_err());
    }
    Ok(())
}

fn stopped_containers_are_refused_like_running_ones(world: &World) -> Result<()> {
    let (teu, n) = (&world.client, octet());
    teu.run(&["network", "create", "--subnet", &format!("10.203.{n}.0/24"), "mynet"])?;
    sleeper(world, "donor", &[])?;
    for (name, mode) in [
        ("host", "host"),
        ("none", "none"),
        ("plain", "bridge"),
        ("own", "mynet"),
        ("shared", "container:donor"),
    ] {
        teu.run(&["create", "--name", name, "--net", mode, "busybox", "sleep", "600"])?;
    }
    let sharing = "container sharing network namespace with another container or host cannot be \
                   connected to any other network";
    let before = teu.run(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "plain"])?;
    let cases: [(&[&str], &str); 15] = [
        (&["connect", "mynet", "host"], sharing),
        (&["connect", "mynet", "shared"], sharing),
        (&["connect", "host", "plain"], "cannot connect container to host network"),
        (&["connect", "mynet", "none"], "one of the networks in private (none) mode"),
        (&["connect", "none", "plain"], "one of the networks in private (none) mode"),
        (&["connect", "mynet", "own"], "endpoint with name own already exists in network mynet"),
        (&["connect", "nothing", "plain"], "network nothing not found"),
        (
            &["connect", "--ip", "10.9.9.9", "mynet", "plain"],
            "no configured subnet contains IP address 10.9.9.9",
        ),
        (&["connect", "--ip", "10.9.9.9", "bridge", "own"], "user-defined networks only"),
        (
            &["connect", "--alias", "x", "bridge", "own"],
            "aliases are only supported for user-defined networks",
        ),
        (&["connect", "--link-local-ip", "169.253.5.5", "mynet", "plain"], "169.253.5.5"),
        (&["connect", "--link-local-ip", "fd00::9", "mynet", "plain"], "fd00::9"),
        (&["connect", "--driver-opt", "a=b", "mynet", "plain"], "invalid driver option \"a\""),
        (&["disconnect", "mynet", "plain"], "is not connected to the network mynet"),
        (&["disconnect", "host", "host"], "container cannot be disconnected from host network"),
    ];
    for (args, expected) in cases {
        let ran = teu.try_run(&[&["network"], args].concat())?;
        ensure!(ran.code == 1 && ran.stderr.contains(expected), "{args:?}: {ran:?}");
    }
    let after = teu.run(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "plain"])?;
    ensure!(before == after, "{after}");
    // A stopped container holds its network's name, not the network.
    teu.run(&["network", "rm", "mynet"])?;
    Ok(())
}

fn networks_are_shown_as_asked(world: &World) -> Result<()> {
    let teu = &world.client;
    let one = teu.run(&["network", "create", "--label", "tier=one", "one"])?;
    teu.run(&["network", "create", "--internal", "--ipv6", "two"])?;
    let format = "{{.ID}} {{.Name}} {{.IPv6}} {{.Internal}} {{.Label \"tier\"}}";
    let listed = teu.run(&["network", "ls", "--format", format, "-f", "type=custom"])?;
    let mut lines = listed.lines();
    ensure!(lines.next() == Some(&format!("{} one false false one", &one[..12])), "{listed}");
    ensure!(lines.next().is_some_and(|line| line.ends_with(" two true true ")), "{listed}");
    let table = teu.run(&["network", "ls", "--no-trunc", "-f", "label=tier=one"])?;
    let header: Vec<&str> = table.lines().next().unwrap_or("").split_whitespace().collect();
    ensure!(header == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"], "{table}");
    ensure!(table.contains(one.trim()), "{table}");
    let lines = teu.run(&["network", "ls", "--format", "json", "-f", "label=tier=one"])?;
    let row: Value = serde_json::from_str(&lines)?;
    ensure!(row["Name"] == "one" && row["Labels"] == "tier=one", "{row}");
    let seen = teu.run(&["network", "inspect", "-f", "{{.Name}} {{.Driver}}", "one", &one[..5]])?;
    ensure!(seen == "one bridge\none bridge\n", "{seen}");
    let verbose = teu.run(&["network", "inspect", "-v", "two"])?;
    ensure!(verbose.contains("\"EnableIPv6\": true"), "{verbose}");
    // What is there is shown, what is not is named.
    let ran = teu.try_run(&["network", "inspect", "-f", "{{.Name}}", "one", "three"])?;
    ensure!(ran.code == 1 && ran.stdout == "one\n", "{ran:?}");
    ensure!(ran.stderr.contains("network three not found"), "{ran:?}");
    for (filter, expected) in [
        ("colour=red", "invalid filter 'colour'"),
        ("dangling=perhaps", "invalid filter 'dangling=perhaps'"),
        ("type=odd", "invalid filter 'type=odd'"),
    ] {
        let ran = teu.try_run(&["network", "ls", "-f", filter])?;
        ensure!(ran.code == 1 && ran.stderr.contains(expected), "{filter}: {ran:?}");
    }
    Ok(())
}

fn networks_go_one_by_one(world: &World) -> Result<()> {
    let teu = &world.client;
    for name in ["one", "two", "used", "kept"] {
        teu.run(&["network", "create", "--label", &format!("n={name}"), name])?;
    }
    sleeper(world, "cc", &["--net", "used"])?;
    // The others go, whichever cannot.
    let ran = teu.try_run(&["network", "rm", "one", "nobody", "used", "bridge", "two"])?;
    ensure!(ran.code == 1 && ran.stdout == "one\ntwo\n", "{ran:?}");
    for text in [
        "network nobody not found",
        "network used has active endpoints (name:\"cc\" id:\"",
        "bridge is a pre-defined network and cannot be removed",
    ] {
        ensure!(ran.stderr.contains(text), "{text}: {ran:?}");
    }
    let ran = teu.try_run(&["network", "rm", "-f", "nobody"])?;
    ensure!(ran.code == 0 && !ran.stderr.contains("Error"), "{ran:?}");
    let prune = |filter: &str| teu.run(&["network", "prune", "-f", "--filter", filter]);
    ensure!(!prune("label!=n=kept")?.contains("kept"));
    ensure!(!prune("until=1h")?.contains("kept"));
    ensure!(prune("label=n=kept")?.contains("Deleted Networks:\nkept\n"));
    let listed = teu.run(&["network", "ls", "--format", "{{.Name}}", "-f", "type=custom"])?;
    ensure!(listed == "used\n", "{listed}");
    // By force, whatever the container thinks of it.
    teu.run(&["network", "disconnect", "--force", "used", "cc"])?;
    teu.run(&["network", "rm", "used"])?;
    Ok(())
}

fn mac_addresses_last_as_long_as_they_should(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "macs"])?;
    let mac = |name: &str| -> Result<String> {
        let shown = endpoint(world, name, "macs")?;
        Ok(shown["MacAddress"].as_str().context("an address")?.to_owned())
    };
    let asked = "02:42:ac:11:00:42";
    sleeper(world, "asked", &["--net", "macs", "--mac-address", asked])?;
    sleeper(world, "first", &["--net", "macs"])?;
    teu.run(&["stop", "-t", "0", "first", "asked"])?;
    // Gets what the first one had.
    sleeper(world, "second", &["--net", "macs"])?;
    teu.run(&["start", "first", "asked"])?;
    ensure!(mac("asked")? == asked);
    ensure!(mac("first")? != mac("second")?, "{}", mac("first")?);
    let seen = teu.run(&["exec", "asked", "cat", "/sys/class/net/eth0/address"])?;
    ensure!(seen.trim() == asked, "{seen}");
    // Neighbours remember the address of one that went: the next with it has the same.
    teu.run(&["network", "create", "--ipv6", "--ipv4=false", "six"])?;
    let args = ["run", "--rm", "--net", "six", "busybox", "sh", "-c"];
    let look = "cat /sys/class/net/eth0/address; ip -6 addr show eth0 | grep global";
    let once = teu.run(&[&args[..], &[look]].concat())?;
    ensure!(once == teu.run(&[&args[..], &[look]].concat())?, "{once}");
    // It is that of one interface.
    teu.run(&["network", "connect", "bridge", "asked"])?;
    let other = endpoint(world, "asked", "bridge")?;
    ensure!(other["MacAddress"].as_str().is_some_and(|mac| mac != asked), "{other}");
    for (name, expected) in [("asked", asked), ("first", "")] {
        let shown = teu.run(&["inspect", "-f", "{{json .Config}}", name])?;
        let shown: Value = serde_json::from_str(&shown)?;
        ensure!(shown["MacAddress"].as_str().unwrap_or("") == expected, "{name}: {shown}");
    }
    Ok(())
}

fn a_container_can_do_without_ipv6(world: &World) -> Result<()> {
    let teu = &world.client;
    teu.run(&["network", "create", "--ipv6", "dual"])?;
    let without = ["--sysctl", "net.ipv6.conf.all.disable_ipv6=1", "--net", "dual"];
    sleeper(world, "four", &without)?;
    sleeper(world, "both", &["--net", "dual"])?;
    let seen = teu.run(&["exec", "four", "ip", "addr"])?;
    ensure!(!seen.contains("inet6"), "{seen}");
    let shown = endpoint(world, "four", "dual")?;
    ensure!(shown["GlobalIPv6Address"] == "" && shown["IPv6Gateway"] == "", "{shown}");
    let hosts = teu.run(&["exec", "four", "cat", "/etc/hosts"])?;
    ensure!(!hosts.contains(':'), "{hosts}");
    // Nobody looks for it there.
    teu.run(&["exec", "both", "ping", "-4", "-c", "1", "-W", "5", "four"])?;
    let ran = teu.try_run(&["exec", "both", "ping", "-6", "-c", "1", "-W", "5", "four"])?;
    ensure!(ran.code == 1 && ran.stderr.contains("bad address"), "{ran:?}");
    let both = endpoint(world, "both", "dual")?;
    let ip6 = both["GlobalIPv6Address"].as_str().context("an address")?;
    let args = [&["run", "--rm"], &without[..], &["--ip6", ip6, "busybox", "true"]].concat();
    let ran = teu.try_run(&args)?;
    ensure!(ran.code == 125 && ran.stderr.contains("IPv6 turned off by the sysctl"), "{ran:?}");
    Ok(())
}

fn routed_ports_have_no_number_on_the_host(world: &World) -> Result<()> {
    let teu = &world.client;
    let mode = "com.docker.network.bridge.gateway_mode_ipv4=routed";
    teu.run(&["network", "create", "--ipv6", "-o", mode, "routed"])?;
    sleeper(world, "cc", &["--net", "routed", "-p", "80"])?;
    let shown = teu.run(&["inspect", "-f", "{{json .NetworkSettings.Ports}}", "cc"])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let bindings = shown["80/tcp"].as_array().context("bindings")?;
    ensure!(bindings.len() == 2, "{shown}");
    ensure!(bindings[0] == json!({"HostIp": "0.0.0.0", "HostPort": ""}), "{shown}");
    ensure!(bindings[1]["HostIp"] == "::" && bindings[1]["HostPort"] != "", "{shown}");
    Ok(())
}
