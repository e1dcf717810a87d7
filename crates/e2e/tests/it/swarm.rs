//! Swarm mode over several hosts: init, join, what managers know of nodes, and what is left when
//! daemons are killed.

mod overlays;

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, Program, Wire, eventually, is_root};
use serde_json::Value;

/// Hosts on one wire. The first is to be the manager.
struct Hosts {
    hosts: Vec<Host>,
    program: Program,
    // Last: the namespaces of daemons that run stay.
    wire: Wire,
}

impl Hosts {
    fn new(program: Program, count: usize) -> Result<Self> {
        let wire = Wire::new(count)?;
        let hosts = (0..count).map(|place| Host::start_with(wire.options(place)));
        Ok(Self { hosts: hosts.collect::<Result<_>>()?, program, wire })
    }

    fn client(&self, place: usize) -> Client {
        self.hosts[place].client(self.program)
    }

    fn run(&self, place: usize, args: &[&str]) -> Result<String> {
        self.client(place).run(args)
    }

    /// Runs what is to fail; what it says.
    fn refused(&self, place: usize, args: &[&str]) -> Result<String> {
        let ran = self.client(place).try_run(args)?;
        ensure!(ran.code != 0, "{args:?}: {ran:?}");
        Ok(ran.stderr)
    }

    /// Begins a swarm whose nodes are told from silent ones soon.
    fn init(&self) -> Result<String> {
        let address = self.wire.address(0).to_string();
        let args = ["--advertise-addr", &address, "--dispatcher-heartbeat", "1s"];
        self.run(0, &[&["swarm", "init"], &args[..]].concat())
    }

    fn token(&self) -> Result<String> {
        Ok(self.run(0, &["swarm", "join-token", "-q", "worker"])?.trim().to_owned())
    }

    fn manager(&self) -> String {
        format!("{}:2377", self.wire.address(0))
    }

    fn join(&self, place: usize) -> Result<()> {
        let joined =
            self.run(place, &["swarm", "join", "--token", &self.token()?, &self.manager()])?;
        ensure!(joined == "This node joined a swarm as a worker.\n", "{joined}");
        Ok(())
    }

    fn part(&self, place: usize) -> Result<Value> {
        let info = self.run(place, &["info", "--format", "{{json .Swarm}}"])?;
        Ok(serde_json::from_str(&info)?)
    }

    fn status_of(&self, hostname: &str) -> Result<String> {
        let format = "{{.Hostname}} {{.Status}}";
        let nodes = self.run(0, &["node", "ls", "--format", format])?;
        let of_host = nodes.lines().find_map(|line| line.strip_prefix(&format!("{hostname} ")));
        Ok(of_host.with_context(|| format!("{hostname} is not in {nodes}"))?.to_owned())
    }

    fn until_status(&self, hostname: &str, wanted: &str) -> Result<()> {
        eventually(&format!("{hostname} is {wanted}"), || {
            let status = self.status_of(hostname)?;
            ensure!(status == wanted, "{hostname} is {status}");
            Ok(())
        })
    }

    /// Leaves all swarms, so that nothing of them is there when the hosts go.
    fn leave(&self) -> Result<()> {
        for place in (0..self.hosts.len()).rev() {
            let left = self.client(place).try_run(&["swarm", "leave", "--force"])?;
            ensure!(left.code == 0 || left.stderr.contains("not part of a swarm"), "{left:?}");
        }
        Ok(())
    }
}

fn with(program: Program, count: usize, test: fn(&mut Hosts) -> Result<()>) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut hosts = Hosts::new(program, count)?;
    let tested = test(&mut hosts);
    if let Err(error) = &tested {
        eprintln!("{error:?}");
        for host in &hosts.hosts {
            eprintln!("--- a daemon's log ---\n{}", host.daemon_log());
        }
    }
    let left = hosts.leave();
    tested.and(left)
}

#[test]
fn nodes_join_are_listed_and_leave() -> Result<()> {
    with(Program::Teu, 3, nodes_join_list_and_leave)
}

#[test]
fn nodes_join_are_listed_and_leave_by_docker() -> Result<()> {
    with(Program::Docker, 3, nodes_join_list_and_leave)
}

fn nodes_join_list_and_leave(hosts: &mut Hosts) -> Result<()> {
    ensure!(hosts.part(0)?["LocalNodeState"] == "inactive");
    let told = hosts.init()?;
    let own = hosts.part(0)?;
    let id = own["NodeID"].as_str().context("an id")?.to_owned();
    let (token, manager) = (hosts.token()?, hosts.manager());
    for text in [
        format!("Swarm initialized: current node ({id}) is now a manager."),
        format!("swarm join --token {token} {manager}"),
    ] {
        ensure!(told.contains(&text), "{text} is not in {told}");
    }
    let digits = |part: &str, count: usize| {
        let is_digit = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        part.len() == count && part.bytes().all(is_digit)
    };
    let parts: Vec<&str> = token.split('-').collect();
    ensure!(parts.len() == 4 && parts[..2] == ["SWMTKN", "1"], "{token}");
    ensure!(digits(parts[2], 50) && digits(parts[3], 25), "{token}");
    hosts.join(1)?;
    hosts.join(2)?;
    let table = hosts.run(0, &["node", "ls"])?;
    let mut lines = table.lines();
    let titles: Vec<&str> = lines.next().context("titles")?.split("  ").collect();
    let titles: Vec<&str> = titles.iter().map(|t| t.trim()).filter(|t| !t.is_empty()).collect();
    let columns = ["ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION"];
    ensure!(titles == columns, "{table}");
    let first = lines.next().context("a node")?.split_whitespace().collect::<Vec<_>>();
    ensure!(first[..6] == [id.as_str(), "*", "host0", "Ready", "Active", "Leader"], "{table}");
    let rest: Vec<&str> = lines.filter_map(|line| line.split_whitespace().nth(1)).collect();
    ensure!(rest == ["host1", "host2"], "{table}");
    let part = hosts.part(0)?;
    ensure!(part["Nodes"] == 3 && part["Managers"] == 1 && part["ControlAvailable"] == true);
    let worker = hosts.part(1)?;
    ensure!(worker["LocalNodeState"] == "active" && worker["ControlAvailable"] == false);
    ensure!(worker["RemoteManagers"][0]["Addr"] == manager.as_str(), "{worker}");
    ensure!(worker["NodeAddr"] == hosts.wire.address(1).to_string().as_str(), "{worker}");
    let refused = hosts.refused(1, &["node", "ls"])?;
    ensure!(refused.contains("Worker nodes can't be used to view or modify cluster state"));
    let node = hosts.run(0, &["node", "inspect", "host1"])?;
    let node: Value = serde_json::from_str(&node)?;
    let node = &node[0];
    ensure!(node["Spec"]["Role"] == "worker" && node["Status"]["State"] == "ready", "{node}");
    ensure!(node["Status"]["Addr"] == hosts.wire.address(1).to_string().as_str(), "{node}");
    ensure!(node["Description"]["Platform"]["OS"] == "linux", "{node}");
    let pretty = hosts.run(0, &["node", "inspect", "--pretty", "self"])?;
    ensure!(pretty.contains("Leader:\t\tYes"), "{pretty}");
    hosts.run(1, &["swarm", "leave"])?;
    hosts.until_status("host1", "Down")?;
    hosts.run(0, &["node", "rm", "host1"])?;
    let refused = hosts.refused(0, &["node", "rm", "host2"])?;
    ensure!(refused.contains("is not down and can't be removed"), "{refused}");
    hosts.run(0, &["node", "rm", "--force", "host2"])?;
    eventually("the removed node knows it", || {
        let part = hosts.part(2)?;
        ensure!(part["LocalNodeState"] == "error", "{part}");
        Ok(())
    })?;
    ensure!(hosts.run(0, &["node", "ls", "-q"])?.trim() == id);
    hosts.run(2, &["swarm", "leave"])?;
    hosts.join(2)?;
    let refused = hosts.refused(0, &["swarm", "leave"])?;
    ensure!(refused.contains("Removing the last manager erases all current state"), "{refused}");
    Ok(())
}

#[test]
fn what_kills_of_daemons_leave() -> Result<()> {
    with(Program::Teu, 3, |hosts| {
        hosts.init()?;
        hosts.join(1)?;
        hosts.join(2)?;
        hosts.hosts[1].kill_daemon()?;
        hosts.until_status("host1", "Down")?;
        ensure!(hosts.status_of("host2")? == "Ready");
        hosts.hosts[1].start_daemon()?;
        hosts.until_status("host1", "Ready")?;
        let events = ["events", "--since", "1h", "--until=-0s", "--filter", "type=node"];
        let told = hosts.run(0, &[&events[..], &["--format", "{{json .}}"]].concat())?;
        ensure!(told.contains("\"state.new\":\"down\""), "{told}");
        ensure!(told.contains("\"scope\":\"swarm\""), "{told}");
        let (nodes, token) = (hosts.run(0, &["node", "ls", "-q"])?, hosts.token()?);
        hosts.hosts[0].kill_daemon()?;
        hosts.hosts[0].start_daemon()?;
        ensure!(hosts.run(0, &["node", "ls", "-q"])? == nodes);
        ensure!(hosts.token()? == token);
        for name in ["host0", "host1", "host2"] {
            hosts.until_status(name, "Ready")?;
        }
        // A wire without a plug is a node that is down, and back with it.
        hosts.wire.set_plugged(2, false)?;
        hosts.until_status("host2", "Down")?;
        hosts.wire.set_plugged(2, true)?;
        hosts.until_status("host2", "Ready")
    })
}

#[test]
fn who_must_not_join_does_not() -> Result<()> {
    with(Program::Teu, 2, who_must_not_join_does_not_by)
}

#[test]
fn who_must_not_join_does_not_by_docker() -> Result<()> {
    with(Program::Docker, 2, who_must_not_join_does_not_by)
}

fn who_must_not_join_does_not_by(hosts: &mut Hosts) -> Result<()> {
    hosts.init()?;
    let (token, manager) = (hosts.token()?, hosts.manager());
    let (root, _) = token.rsplit_once('-').context("a token")?;
    let wrong = format!("{root}-{}", "0".repeat(25));
    let foreign = token.replace(root.rsplit('-').next().unwrap_or(""), &"1".repeat(50));
    let managers = hosts.run(0, &["swarm", "join-token", "-q", "manager"])?;
    let cases: [(&[&str], &str); 6] = [
        (&["--token", &wrong, &manager], "A valid join token is necessary to join this cluster"),
        (&["--token", &foreign, &manager], "remote CA does not match fingerprint"),
        (&["--token", "x", &manager], "invalid join token"),
        (&["--token", managers.trim(), &manager], "several managers is not supported"),
        (&["--token", &token, "--availability", "x", &manager], "availability"),
        (&["--token", &token, "--data-path-addr", "nowhere", &manager], "data path address"),
    ];
    for (args, expected) in cases {
        let refused = hosts.refused(1, &[&["swarm", "join"], args].concat())?;
        ensure!(refused.contains(expected), "{args:?}: {refused}");
        ensure!(hosts.part(1)?["LocalNodeState"] == "inactive", "{args:?}");
    }
    let rotated = hosts.run(0, &["swarm", "join-token", "--rotate", "worker"])?;
    ensure!(rotated.starts_with("Successfully rotated worker join token."), "{rotated}");
    ensure!(!rotated.contains(&token), "{rotated}");
    let refused = hosts.refused(1, &["swarm", "join", "--token", &token, &manager])?;
    ensure!(refused.contains("A valid join token is necessary"), "{refused}");
    hosts.join(1)?;
    let refused = hosts.refused(1, &["swarm", "join", "--token", &token, &manager])?;
    ensure!(refused.contains("This node is already part of a swarm."), "{refused}");
    let refused = hosts.refused(1, &["swarm", "init"])?;
    ensure!(refused.contains("This node is already part of a swarm."), "{refused}");
    Ok(())
}

#[test]
fn a_manager_that_is_not_there_is_waited_for() -> Result<()> {
    with(Program::Docker, 2, |hosts| {
        hosts.init()?;
        let (token, manager) = (hosts.token()?, hosts.manager());
        hosts.wire.set_plugged(0, false)?;
        let refused = hosts.refused(1, &["swarm", "join", "--token", &token, &manager])?;
        ensure!(
            refused.contains(
                "Timeout was reached before node joined. The attempt to join the swarm will \
                 continue in the background. Use the \"docker info\" command to see the current \
                 swarm status of your node."
            ),
            "{refused}"
        );
        let part = hosts.part(1)?;
        ensure!(part["LocalNodeState"] == "pending", "{part}");
        ensure!(part["Error"].as_str().is_some_and(|error| error.contains(&manager)), "{part}");
        hosts.hosts[1].kill_daemon()?;
        hosts.hosts[1].start_daemon()?;
        hosts.wire.set_plugged(0, true)?;
        eventually("the node has joined", || {
            let part = hosts.part(1)?;
            ensure!(part["LocalNodeState"] == "active", "{part}");
            Ok(())
        })?;
        hosts.until_status("host1", "Ready")
    })
}

#[test]
fn nodes_and_swarms_are_changed() -> Result<()> {
    with(Program::Teu, 2, nodes_and_swarms_are_changed_by)
}

#[test]
fn nodes_and_swarms_are_changed_by_docker() -> Result<()> {
    with(Program::Docker, 2, nodes_and_swarms_are_changed_by)
}

/// Only the stock program has commands for them.
fn services_are_not_there(hosts: &Hosts) -> Result<()> {
    for noun in ["service", "secret", "config"] {
        ensure!(hosts.run(0, &[noun, "ls", "-q"])?.is_empty(), "{noun}");
    }
    let secret = hosts.hosts[0].scratch().join("secret");
    std::fs::write(&secret, "hidden")?;
    let secret = secret.to_str().context("a path in UTF-8")?;
    for (args, expected) in [
        (&["service", "create", "busybox"][..], "services of a swarm are not supported yet"),
        (&["secret", "create", "s", secret], "secrets of a swarm are not supported yet"),
    ] {
        let refused = hosts.refused(0, args)?;
        ensure!(refused.contains(expected), "{args:?}: {refused}");
    }
    Ok(())
}

fn nodes_and_swarms_are_changed_by(hosts: &mut Hosts) -> Result<()> {
    hosts.init()?;
    hosts.join(1)?;
    hosts.run(0, &["node", "update", "--label-add", "zone=a", "--label-add", "x", "host1"])?;
    hosts.run(0, &["node", "update", "--label-rm", "x", "--availability", "drain", "host1"])?;
    let labels = hosts.run(0, &["node", "inspect", "-f", "{{json .Spec}}", "host1"])?;
    let labels: Value = serde_json::from_str(&labels)?;
    ensure!(labels["Labels"] == serde_json::json!({"zone": "a"}), "{labels}");
    ensure!(labels["Availability"] == "drain", "{labels}");
    for (filter, count) in [
        ("node.label=zone", 1),
        ("node.label=zone=a", 1),
        ("node.label=zone=b", 0),
        ("role=manager", 1),
        ("role=worker", 1),
        ("membership=accepted", 2),
        ("membership=pending", 0),
        ("name=host", 2),
        ("name=host1", 1),
        ("id=zzzzzzzzzzzzzzzzzzzzzzzzzz", 0),
    ] {
        let listed = hosts.run(0, &["node", "ls", "-q", "--filter", filter])?;
        ensure!(listed.lines().count() == count, "{filter}: {listed}");
    }
    for (args, expected) in [
        (&["node", "ls", "--filter", "x=y"][..], "invalid filter"),
        (&["node", "promote", "host1"], "a swarm of several managers is not supported yet"),
        (&["node", "demote", "host0"], "attempting to demote the last manager of the swarm"),
        (&["node", "rm", "--force", "host0"], "must be demoted to worker before removal"),
        (&["node", "inspect", "nobody"], "nobody"),
        (&["node", "update", "--availability", "x", "host1"], "vailability"),
        (&["swarm", "update", "--autolock"], "autolock"),
        (&["swarm", "update", "--snapshot-interval", "7"], "raft"),
        (&["swarm", "update", "--cert-expiry", "1s"], "certificate expiry"),
        (&["swarm", "update", "--dispatcher-heartbeat", "1ms"], "heartbeat period"),
        (&["swarm", "ca", "--rotate", "-d"], "ca --rotate"),
        (&["swarm", "unlock-key"], "no unlock key is set"),
    ] {
        let refused = hosts.refused(0, args)?;
        ensure!(refused.contains(expected), "{args:?}: {refused}");
    }
    hosts.run(0, &["swarm", "update", "--task-history-limit", "9", "--cert-expiry", "48h"])?;
    let spec = hosts.run(0, &["info", "--format", "{{json .Swarm.Cluster.Spec}}"])?;
    let spec: Value = serde_json::from_str(&spec)?;
    ensure!(spec["Orchestration"]["TaskHistoryRetentionLimit"] == 9, "{spec}");
    ensure!(spec["CAConfig"]["NodeCertExpiry"] == 172_800_000_000_000_u64, "{spec}");
    ensure!(spec["Dispatcher"]["HeartbeatPeriod"] == 1_000_000_000, "{spec}");
    if hosts.program == Program::Docker {
        services_are_not_there(hosts)?;
    }
    ensure!(hosts.run(0, &["node", "ps", "-q"])?.is_empty());
    let root = hosts.run(0, &["swarm", "ca"])?;
    ensure!(root.starts_with("-----BEGIN CERTIFICATE-----"), "{root}");
    Ok(())
}

#[test]
fn swarms_that_cannot_be_are_refused() -> Result<()> {
    with(Program::Teu, 1, swarms_that_cannot_be_are_refused_by)
}

#[test]
fn swarms_that_cannot_be_are_refused_by_docker() -> Result<()> {
    with(Program::Docker, 1, swarms_that_cannot_be_are_refused_by)
}

fn swarms_that_cannot_be_are_refused_by(hosts: &mut Hosts) -> Result<()> {
    let namespace = hosts.wire.namespace(0);
    for (args, expected) in [
        (&["--advertise-addr", "nowhere"][..], "advertise address must be a non-zero IP"),
        (&["--advertise-addr", "0.0.0.0"], "advertise address must be a non-zero IP"),
        (&["--listen-addr", "nowhere:1"], "listen address must be an IP address"),
        (&["--data-path-addr", "0.0.0.0"], "data path address must be a non-zero IP"),
        (&["--data-path-port", "99"], "not in valid range (1024-49151) : 99"),
        (&["--data-path-port", "70000"], "not in valid range (1024-49151) : 70000"),
        (&["--default-addr-pool", "10.0.0.0/8", "--default-addr-pool", "10.1.0.0/16"], "overlap"),
        (&["--default-addr-pool-mask-length", "31"], "subnet size is out of range: 31"),
        (&["--default-addr-pool-mask-length", "300"], "subnet size is out of range: 300"),
        (&["--autolock"], "autolock"),
        (&["--external-ca", "protocol=cfssl,url=https://x"], "external-ca"),
        (&["--max-snapshots", "3"], "raft"),
        (&["--task-history-limit=-1"], "invalid task history limit: -1"),
        (&["--listen-addr", "198.51.100.9:2377"], "Cannot assign requested address"),
    ] {
        let refused = hosts.refused(0, &[&["swarm", "init"], args].concat())?;
        ensure!(refused.contains(expected), "{args:?}: {refused}");
        ensure!(hosts.part(0)?["LocalNodeState"] == "inactive", "{args:?}");
    }
    for args in [&["swarm", "leave"][..], &["swarm", "leave", "--force"]] {
        let refused = hosts.refused(0, args)?;
        ensure!(refused.contains("This node is not part of a swarm"), "{args:?}: {refused}");
    }
    for args in [&["node", "ls"][..], &["swarm", "join-token", "worker"], &["swarm", "ca"]] {
        let refused = hosts.refused(0, args)?;
        ensure!(refused.contains("This node is not a swarm manager."), "{args:?}: {refused}");
    }
    let add = ["-n", &namespace, "addr", "add", "198.51.100.1/24", "dev", "eth0"];
    ensure!(std::process::Command::new("ip").args(add).status()?.success());
    let refused = hosts.refused(0, &["swarm", "init"])?;
    let expected = "could not choose an IP address to advertise since this system has multiple \
                    addresses on interface eth0 (192.0.2.1 and 198.51.100.1) - specify one with \
                    --advertise-addr";
    ensure!(refused.contains(expected), "{refused}");
    hosts.run(0, &["swarm", "init", "--advertise-addr", "198.51.100.1:3000"])?;
    let part = hosts.part(0)?;
    ensure!(part["RemoteManagers"][0]["Addr"] == "198.51.100.1:3000", "{part}");
    // The swarm goes on with another address.
    let id = part["Cluster"]["ID"].clone();
    let again = ["swarm", "init", "--force-new-cluster", "--advertise-addr", "192.0.2.1"];
    hosts.run(0, &again)?;
    let part = hosts.part(0)?;
    ensure!(part["Cluster"]["ID"] == id, "{part}");
    ensure!(part["RemoteManagers"][0]["Addr"] == "192.0.2.1:2377", "{part}");
    Ok(())
}
