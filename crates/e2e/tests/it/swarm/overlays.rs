//! Overlay networks: containers of several hosts reach each other, by address and by name, and go on
//! doing so while daemons are dead.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Program, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Hosts, with};

/// A swarm of all hosts, with an image on each.
fn begin(hosts: &Hosts) -> Result<()> {
    hosts.init()?;
    for place in 1..hosts.hosts.len() {
        hosts.join(place)?;
    }
    hosts.hosts.iter().try_for_each(e2e::Host::load_busybox)
}

fn create(hosts: &Hosts, name: &str, more: &[&str]) -> Result<String> {
    let fixed = ["network", "create", "-d", "overlay", "--attachable"];
    Ok(hosts.run(0, &[&fixed[..], more, &[name]].concat())?.trim().to_owned())
}

/// Starts a web server whose one page is its name.
fn serve(hosts: &Hosts, place: usize, name: &str, options: &[&str]) -> Result<()> {
    let script = format!("echo {name} >/tmp/index.html; exec httpd -f -p 80 -h /tmp");
    let fixed = ["run", "-d", "--name", name];
    hosts.run(place, &[&fixed[..], options, &["busybox", "sh", "-c", &script]].concat())?;
    Ok(())
}

/// Fetches a page from inside a container.
fn fetch(hosts: &Hosts, place: usize, container: &str, of: &str) -> Result<String> {
    let url = format!("http://{of}/");
    let ran = ["exec", container, "timeout", "5", "wget", "-q", "-O", "-", &url];
    Ok(hosts.run(place, &ran)?.trim().to_owned())
}

/// The page comes, now or as soon as the other host has been told.
fn until_fetched(hosts: &Hosts, place: usize, container: &str, of: &str, page: &str) -> Result<()> {
    eventually(&format!("{container} gets {of}"), || {
        let fetched = fetch(hosts, place, container, of)?;
        ensure!(fetched == page, "{of}: {fetched}");
        Ok(())
    })
}

fn inspect(hosts: &Hosts, place: usize, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&hosts.run(place, &[args, &["-f", "{{json .}}"]].concat())?)?)
}

fn address(hosts: &Hosts, place: usize, container: &str, network: &str) -> Result<String> {
    let shown = inspect(hosts, place, &["inspect", container])?;
    let network = &shown["NetworkSettings"]["Networks"][network];
    Ok(network["IPAddress"].as_str().context("an address")?.to_owned())
}

fn done(mut command: Command) -> Result<String> {
    let ran = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(ran.status.success(), "{command:?}: {ran:?}");
    Ok(String::from_utf8(ran.stdout)?)
}

/// What a tool says of a host.
fn look(hosts: &Hosts, place: usize, tool: &str, args: &[&str]) -> Result<Value> {
    let mut command = hosts.wire.command(place, tool);
    command.args(args);
    Ok(serde_json::from_str(&done(command)?)?)
}

fn vxlans(hosts: &Hosts, place: usize) -> Result<usize> {
    let links = look(hosts, place, "ip", &["-j", "-d", "link", "show", "type", "vxlan"])?;
    // Nothing at all is an empty object to some versions of the tool.
    let links = links.as_array().context("interfaces")?;
    Ok(links.iter().filter(|link| link["ifname"].is_string()).count())
}

#[test]
fn containers_of_two_hosts_reach_each_other() -> Result<()> {
    with(Program::Docker, 2, containers_reach_each_other)
}

#[test]
fn containers_of_two_hosts_reach_each_other_by_teu() -> Result<()> {
    with(Program::Teu, 2, containers_reach_each_other)
}

fn containers_reach_each_other(hosts: &mut Hosts) -> Result<()> {
    begin(hosts)?;
    let id = create(hosts, "ov", &["--label", "of=test"])?;
    ensure!(id.len() == 25, "{id}");
    for place in [0, 1] {
        eventually("every host knows the network", || {
            let filters = ["network", "ls", "--no-trunc", "-f", "scope=swarm", "--format"];
            let format = "{{.ID}} {{.Name}} {{.Driver}} {{.Scope}}";
            let listed = hosts.run(place, &[&filters[..], &[format]].concat())?;
            ensure!(listed == format!("{id} ov overlay swarm\n"), "{listed}");
            Ok(())
        })?;
        ensure!(vxlans(hosts, place)? == 0);
    }
    serve(hosts, 0, "web", &["--network", "ov", "--network-alias", "store"])?;
    serve(hosts, 1, "other", &["--network", "ov"])?;
    let (web, other) = (address(hosts, 0, "web", "ov")?, address(hosts, 1, "other", "ov")?);
    ensure!(web.starts_with("10.0.1.") && other.starts_with("10.0.1."), "{web} {other}");
    for of in [web.as_str(), "web", "store", "web.ov"] {
        until_fetched(hosts, 1, "other", of, "web")?;
    }
    for of in [other.as_str(), "other"] {
        until_fetched(hosts, 0, "web", of, "other")?;
    }

    // What clients are told of it, and what the kernel has.
    let shown = inspect(hosts, 1, &["network", "inspect", "ov"])?;
    ensure!(shown["Scope"] == "swarm" && shown["Driver"] == "overlay", "{shown}");
    ensure!(shown["Attachable"] == true && shown["Labels"]["of"] == "test", "{shown}");
    ensure!(shown["IPAM"]["Config"][0]["Subnet"] == "10.0.1.0/24", "{shown}");
    let containers = shown["Containers"].as_object().context("containers")?;
    ensure!(containers.values().all(|it| it["Name"] == "other"), "{shown}");
    let peers = shown["Peers"].as_array().context("peers")?;
    let addresses: Vec<_> = peers.iter().filter_map(|peer| peer["IP"].as_str()).collect();
    ensure!(addresses == ["192.0.2.1", "192.0.2.2"], "{shown}");
    let entries = look(hosts, 1, "bridge", &["-j", "fdb", "show"])?;
    let entries = entries.as_array().context("entries")?;
    ensure!(entries.iter().any(|entry| entry["dst"] == "192.0.2.1"), "{entries:?}");
    let links = inspect(hosts, 0, &["inspect", "web"])?;
    let networks = links["NetworkSettings"]["Networks"].as_object().context("networks")?;
    ensure!(networks.keys().eq(["ov"]), "{networks:?}");

    // In use here and elsewhere it stays; then it goes everywhere.
    ensure!(hosts.refused(0, &["network", "rm", "ov"])?.contains("active endpoints"));
    hosts.run(0, &["rm", "-f", "web"])?;
    let refused = hosts.refused(0, &["network", "rm", "ov"])?;
    ensure!(refused.contains("in use"), "{refused}");
    hosts.run(1, &["rm", "-f", "other"])?;
    hosts.run(0, &["network", "rm", "ov"])?;
    for place in [0, 1] {
        eventually("no host knows the network", || {
            let listed = hosts.run(place, &["network", "ls", "-q", "-f", "scope=swarm"])?;
            ensure!(listed.is_empty(), "{listed}");
            Ok(())
        })?;
        ensure!(vxlans(hosts, place)? == 0);
    }
    Ok(())
}

#[test]
fn published_ports_of_containers_on_an_overlay_answer() -> Result<()> {
    with(Program::Docker, 2, |hosts| {
        begin(hosts)?;
        create(hosts, "ov", &[])?;
        serve(hosts, 0, "web", &["--network", "ov", "-p", "8080:80"])?;
        let curl = || {
            let mut curl = hosts.wire.command(1, "curl");
            curl.args(["-s", "-m", "5", "http://192.0.2.1:8080/"]);
            done(curl)
        };
        eventually("the web server answers", || {
            let page = curl()?;
            ensure!(page == "web\n", "{page}");
            Ok(())
        })?;
        ensure!(hosts.run(0, &["port", "web"])?.contains("80/tcp -> 0.0.0.0:8080"));
        let listed = hosts.run(0, &["ps", "--format", "{{.Ports}}"])?;
        ensure!(listed.contains("0.0.0.0:8080->80/tcp"), "{listed}");
        // Out by the host's address, to another host.
        let ping = ["exec", "web", "ping", "-c", "1", "-W", "5", "192.0.2.2"];
        hosts.run(0, &ping)?;
        let shown = inspect(hosts, 0, &["network", "inspect", "docker_gwbridge"])?;
        let containers = shown["Containers"].as_object().context("containers")?;
        let name = containers.values().next().context("a container")?["Name"].as_str();
        ensure!(name.is_some_and(|name| name.starts_with("gateway_")), "{shown}");

        // Running containers come and go; the port stays as long as there is a way out.
        hosts.run(0, &["network", "create", "local"])?;
        hosts.run(0, &["network", "connect", "local", "web"])?;
        ensure!(curl()? == "web\n");
        hosts.run(0, &["network", "disconnect", "local", "web"])?;
        ensure!(curl()? == "web\n");
        hosts.run(0, &["network", "disconnect", "ov", "web"])?;
        ensure!(curl().is_err());
        hosts.run(0, &["network", "connect", "--ip", "10.0.1.77", "ov", "web"])?;
        ensure!(address(hosts, 0, "web", "ov")? == "10.0.1.77");
        ensure!(curl()? == "web\n");
        hosts.run(0, &["restart", "-t", "0", "web"])?;
        ensure!(address(hosts, 0, "web", "ov")? == "10.0.1.77");
        eventually("the web server answers again", || curl().map(drop))?;
        // An internal one has no way out.
        create(hosts, "inner", &["--internal"])?;
        serve(hosts, 0, "shut", &["--network", "inner", "-p", "8081:80"])?;
        let ping = ["exec", "shut", "ping", "-c", "1", "-W", "1", "192.0.2.2"];
        ensure!(hosts.client(0).try_run(&ping)?.code != 0);
        Ok(())
    })
}

#[test]
fn traffic_flows_while_daemons_are_dead() -> Result<()> {
    with(Program::Teu, 3, |hosts| {
        begin(hosts)?;
        create(hosts, "ov", &[])?;
        serve(hosts, 1, "web", &["--network", "ov"])?;
        serve(hosts, 2, "client", &["--network", "ov"])?;
        until_fetched(hosts, 2, "client", "web", "web")?;
        let web = address(hosts, 1, "web", "ov")?;
        let pid = hosts.run(2, &["inspect", "-f", "{{.State.Pid}}", "client"])?;
        // As the client, without any daemon's help; names are of the resolver beside it.
        let from_client = |of: &str| {
            let mut command = Command::new("nsenter");
            command.args(["-t", pid.trim(), "-a", "timeout", "5", "wget", "-q", "-O", "-"]);
            command.arg(format!("http://{of}/"));
            done(command)
        };
        for place in [0, 1, 2] {
            hosts.hosts[place].kill_daemon()?;
            ensure!(from_client(&web)? == "web\n");
        }
        ensure!(from_client("web")? == "web\n");
        // The workers return alone, and a container ends and another comes as soon as they may.
        hosts.hosts[2].start_daemon()?;
        hosts.hosts[1].start_daemon()?;
        ensure!(from_client("web")? == "web\n");
        until_fetched(hosts, 2, "client", "web", "web")?;
        hosts.run(1, &["rm", "-f", "web"])?;
        hosts.run(2, &["rename", "client", "customer"])?;
        hosts.hosts[0].start_daemon()?;
        serve(hosts, 1, "next", &["--network", "ov"])?;
        until_fetched(hosts, 2, "customer", "next", "next")?;
        serve(hosts, 0, "own", &["--network", "ov"])?;
        until_fetched(hosts, 2, "customer", "own", "own")?;
        until_fetched(hosts, 1, "next", "customer", "client")?;
        // Nobody finds who is gone: his address was given back although no manager was there.
        let gone = fetch(hosts, 2, "customer", "web");
        ensure!(gone.is_err(), "{gone:?}");
        for (place, name) in [(0, "own"), (1, "next"), (2, "customer")] {
            hosts.run(place, &["rm", "-f", name])?;
        }
        hosts.run(0, &["network", "rm", "ov"])?;
        Ok(())
    })
}

/// A process of a container, and what is left of it when it is killed.
struct Process {
    init: i32,
    shim: i32,
    id: String,
}

impl Process {
    fn of(hosts: &Hosts, place: usize, container: &str) -> Result<Self> {
        let shown = inspect(hosts, place, &["inspect", container])?;
        let init = shown["State"]["Pid"].as_i64().context("a pid")?;
        let status = std::fs::read_to_string(format!("/proc/{init}/status"))?;
        let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("a shim")?;
        let id = shown["Id"].as_str().context("an id")?.to_owned();
        Ok(Self { init: i32::try_from(init)?, shim: shim.trim().parse()?, id })
    }

    /// As the end of the host does: with its shim, which says nothing to anybody.
    fn cut_off(&self) -> Result<()> {
        for pid in [self.shim, self.init] {
            kill_process(Pid::from_raw(pid).context("a pid")?, Signal::KILL)?;
        }
        eventually("the container and its cgroups are gone", || {
            ensure!(!std::path::Path::new(&format!("/proc/{}", self.init)).exists());
            let left = e2e::leftovers::of_container(&self.id);
            for cgroup in left.iter().filter_map(|what| what.strip_prefix("cgroup ")) {
                std::fs::remove_dir(cgroup)?;
            }
            Ok(())
        })
    }
}

/// The kernel, the memory file systems and the processes of a host are new; its disk is not.
#[test]
fn a_host_that_boots_brings_its_containers_back() -> Result<()> {
    with(Program::Teu, 2, |hosts| {
        begin(hosts)?;
        create(hosts, "ov", &[])?;
        let always = ["--restart", "always", "--network", "ov", "-p", "8080:80"];
        serve(hosts, 1, "web", &always)?;
        serve(hosts, 1, "once", &["--network", "ov"])?;
        serve(hosts, 0, "client", &["--network", "ov"])?;
        until_fetched(hosts, 0, "client", "web", "web")?;
        let processes = ["web", "once"].map(|name| Process::of(hosts, 1, name));
        hosts.hosts[1].kill_daemon()?;
        // The manager is not there either, and for longer than an address is waited for.
        hosts.hosts[0].kill_daemon()?;
        for process in processes {
            process?.cut_off()?;
        }
        std::fs::remove_dir_all(hosts.hosts[1].exec_root())?;
        let links = look(hosts, 1, "ip", &["-j", "link", "show"])?;
        let names = links.as_array().context("interfaces")?.iter();
        for name in names.filter_map(|link| link["ifname"].as_str()) {
            if !["lo", "eth0"].contains(&name) {
                let mut delete = hosts.wire.command(1, "ip");
                delete.args(["link", "delete", name]);
                done(delete)?;
            }
        }
        hosts.hosts[1].start_daemon()?;
        eventually("the container has tried once to start", || {
            let shown = inspect(hosts, 1, &["inspect", "web"])?;
            let (count, error) = (&shown["RestartCount"], &shown["State"]["Error"]);
            ensure!(count.as_i64() > Some(0), "{shown}");
            let text = "Could not attach to network ov: ";
            ensure!(error.as_str().is_some_and(|error| error.contains(text)), "{error}");
            Ok(())
        })?;
        hosts.hosts[0].start_daemon()?;
        until_fetched(hosts, 0, "client", "web", "web")?;
        let mut curl = hosts.wire.command(0, "curl");
        curl.args(["-s", "-m", "5", "http://192.0.2.2:8080/"]);
        ensure!(done(curl)? == "web\n");
        // Who did not come back has given his address back.
        let gone = fetch(hosts, 0, "client", "once");
        ensure!(gone.is_err(), "{gone:?}");
        hosts.run(1, &["rm", "-f", "web"])?;
        hosts.run(0, &["rm", "-f", "client"])?;
        hosts.run(0, &["network", "rm", "ov"])?;
        Ok(())
    })
}

#[test]
fn who_leaves_a_swarm_takes_his_containers_out_of_its_networks() -> Result<()> {
    with(Program::Docker, 2, |hosts| {
        begin(hosts)?;
        create(hosts, "ov", &[])?;
        serve(hosts, 0, "client", &["--network", "ov"])?;
        serve(hosts, 1, "web", &["--network", "ov", "-p", "8080:80"])?;
        until_fetched(hosts, 0, "client", "web", "web")?;
        hosts.run(1, &["swarm", "leave"])?;
        eventually("the other host knows that it is gone", || {
            let gone = fetch(hosts, 0, "client", "web");
            ensure!(gone.is_err(), "{gone:?}");
            Ok(())
        })?;
        // What is of the host alone goes on, over a kill of its daemon as well.
        hosts.hosts[1].kill_daemon()?;
        hosts.hosts[1].start_daemon()?;
        let mut curl = hosts.wire.command(0, "curl");
        curl.args(["-s", "-m", "5", "http://192.0.2.2:8080/"]);
        ensure!(done(curl)? == "web\n");
        hosts.run(1, &["rm", "-f", "web"])?;
        ensure!(vxlans(hosts, 1)? == 0);
        let refused = hosts.refused(1, &["run", "--rm", "--network", "ov", "busybox", "true"])?;
        ensure!(refused.contains("network ov not found"), "{refused}");
        // And back.
        hosts.join(1)?;
        serve(hosts, 1, "web", &["--network", "ov"])?;
        until_fetched(hosts, 0, "client", "web", "web")
    })
}

#[test]
fn what_overlays_cannot_be_is_refused() -> Result<()> {
    with(Program::Docker, 2, |hosts| {
        let create = ["network", "create", "-d", "overlay"];
        let refused = hosts.refused(0, &[&create[..], &["ov"]].concat())?;
        ensure!(refused.contains("This node is not a swarm manager."), "{refused}");
        begin(hosts)?;
        hosts.run(0, &[&create[..], &["closed"]].concat())?;
        eventually("the worker knows it", || {
            hosts.run(1, &["network", "inspect", "closed"]).map(drop)
        })?;
        for place in [0, 1] {
            let run = ["run", "--rm", "--network", "closed", "busybox", "true"];
            let refused = hosts.refused(place, &run)?;
            ensure!(
                refused.contains(
                    "Could not attach to network closed: rpc error: code = PermissionDenied desc = \
                     network closed not manually attachable"
                ),
                "{refused}"
            );
            ensure!(vxlans(hosts, place)? == 0);
        }
        for (args, expected) in [
            (&["--opt", "encrypted", "x"][..], "not implemented"),
            (&["--ipv6", "x"], "not implemented"),
            (&["--ingress", "x"], "not implemented"),
            (&["--subnet", "10.0.1.1/24", "x"], "it should be 10.0.1.0/24"),
            (&["--opt", "colour=red", "x"], "known are"),
            (&["closed"], "already exists"),
        ] {
            let refused = hosts.refused(0, &[&create[..], args].concat())?;
            ensure!(refused.contains(expected), "{args:?}: {refused}");
        }
        let refused = hosts.refused(1, &[&create[..], &["x"]].concat())?;
        ensure!(refused.contains("This node is not a swarm manager."), "{refused}");
        let refused = hosts.refused(1, &["network", "rm", "closed"])?;
        ensure!(refused.contains("This node is not a swarm manager."), "{refused}");
        let refused = hosts.refused(0, &["network", "create", "closed"])?;
        ensure!(refused.contains("already exists"), "{refused}");
        hosts.run(0, &["network", "rm", "closed"])?;
        Ok(())
    })
}
