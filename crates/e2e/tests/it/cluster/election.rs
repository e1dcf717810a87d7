//! Masters that stand for election in ZooKeeper, and who finds them there: a real server, of Debian.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::{Client, Cluster, ClusterOptions, ZooKeeper, eventually, is_root, test_data};
use rustix::process::Signal;

/// A cluster whose master is found in ZooKeeper, and `teu` which looks there. The server is the
/// last to go.
struct Elected {
    teu: Client,
    cluster: Cluster,
    address: String,
    zookeeper: ZooKeeper,
    _directory: tempfile::TempDir,
}

fn elected(master_flags: &[&str]) -> Result<Option<Elected>> {
    if !is_root() {
        return Ok(None);
    }
    let directory = tempfile::tempdir()?;
    let zookeeper = ZooKeeper::start(directory.path())?;
    let address = zookeeper.address("teu:s3cret", "teu/masters");
    let mut flags = vec![format!("--zk={address}"), "--zk_session_timeout=5secs".to_owned()];
    flags.extend(master_flags.iter().map(|flag| (*flag).to_owned()));
    let cluster = Cluster::start_with(ClusterOptions {
        master_flags: flags,
        agent_flags: vec![format!("--master={address}")],
        ..ClusterOptions::default()
    })?;
    let teu = cluster.host().teu().with_env("TEU_MASTER", &address);
    Ok(Some(Elected { teu, cluster, address, zookeeper, _directory: directory }))
}

/// The head of the answer to GET.
fn head(address: std::net::SocketAddr, path: &str) -> Result<String> {
    let url = format!("http://{address}{path}");
    let output = Command::new("curl").args(["-s", "-o", "/dev/null", "-D", "-", &url]).output()?;
    ensure!(output.status.success(), "curl {url}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn masters_follow_each_other_and_lose_nothing() -> Result<()> {
    let Some(mut world) = elected(&[])? else { return Ok(()) };
    let (cluster, teu) = (&mut world.cluster, &world.teu);
    let task = ["task", "run", "-d", "--name", "long", "--no-image", "sleep", "1000"];
    let id = teu.run(&task)?.trim().to_owned();
    teu.run(&["task", "run", "--no-image", "true"])?;
    let agent = cluster.get("/slaves")?["slaves"][0]["id"].clone();
    let leader = cluster.master();

    // Who stands by sends everybody on.
    let standby = cluster.start_standby()?;
    let told = eventually("the second master knows the first", || {
        let told = head(standby, "/master/state?x=1")?;
        ensure!(told.starts_with("HTTP/1.1 307"), "{told}");
        Ok(told)
    })?;
    let port = leader.port();
    ensure!(told.contains(&format!(":{port}/master/state?x=1\r\n")), "{told}");
    let told = head(standby, "/redirect")?;
    ensure!(told.contains(&format!(":{port}\r\n")), "{told}");
    let version = e2e::http::get_path(standby, "/version")?;
    ensure!(version.contains("\"version\":\"1.11.0\""), "{version}");
    let metrics = e2e::http::get_path(standby, "/metrics/snapshot")?;
    ensure!(metrics.contains("\"master/elected\":0.0"), "{metrics}");
    for address in [standby, leader, cluster.agent()] {
        let flags = e2e::http::get_path(address, "/flags")?;
        ensure!(flags.contains("/teu/masters") && !flags.contains("s3cret"), "{flags}");
    }

    cluster.kill_master()?;
    cluster.follow_standby()?;
    ensure!(cluster.master() == standby);
    let running = eventually("the agent and its task are back", || {
        let tasks = cluster.get("/tasks")?;
        let task = tasks["tasks"]
            .as_array()
            .and_then(|tasks| tasks.iter().find(|task| task["id"] == id.as_str()));
        task.cloned().with_context(|| format!("no {id}: {tasks}"))
    })?;
    ensure!(running["state"] == "TASK_RUNNING", "{running}");
    ensure!(cluster.get("/slaves")?["slaves"][0]["id"] == agent, "the agent came back as another");
    let listed = teu.run(&["task", "ls"])?;
    ensure!(listed.contains("long"), "{listed}");
    teu.run(&["task", "kill", &id])?;

    // A framework of pymesos finds it as well.
    let output = Command::new(e2e::python_with_pymesos()?)
        .arg(test_data("proving_scheduler.py"))
        .args([&world.address, "somebody", "secret"])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(printed.contains("TASK_FINISHED"), "{printed} {output:?}");
    Ok(())
}

#[test]
fn agents_leave_a_master_that_hangs() -> Result<()> {
    let quick =
        ["--registry=in_memory", "--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=2"];
    let Some(mut world) = elected(&quick)? else { return Ok(()) };
    let cluster = &mut world.cluster;
    cluster.start_standby()?;
    // Its sockets stay, and its kernel goes on to take what is sent.
    cluster.signal_master(Signal::STOP)?;
    cluster.exchange_masters()?;
    let moved = eventually("the agent is with the second master", || {
        let agents = cluster.get("/slaves")?;
        ensure!(agents["slaves"][0]["active"] == true, "{agents}");
        Ok(())
    });
    cluster.exchange_masters()?;
    cluster.signal_master(Signal::CONT)?;
    moved?;
    // It must not go on as if nothing had been.
    let told = cluster.master_fails()?;
    ensure!(told.contains("master failed"), "{told}");
    cluster.follow_standby()
}

#[test]
fn a_registry_that_has_not_led_last_does_not_lead() -> Result<()> {
    let Some(mut world) = elected(&[])? else { return Ok(()) };
    let cluster = &mut world.cluster;
    cluster.kill_master()?;
    let other = tempfile::tempdir()?;
    cluster.set_master_flags(&[&format!("--work_dir={}", other.path().display())]);
    cluster.launch_master()?;
    let told = cluster.master_fails()?;
    ensure!(told.contains("the registry here is not the one that led last"), "{told}");
    ensure!(told.contains("delete /teu/masters/log_replicas/teu"), "{told}");
    // The old one may.
    let own = cluster.master_work_dir().display().to_string();
    cluster.set_master_flags(&[&format!("--work_dir={own}")]);
    cluster.start_master()?;
    eventually("it leads again", || cluster.get("/slaves").map(drop))
}

#[test]
fn a_master_without_zookeeper_leads_no_more() -> Result<()> {
    let Some(world) = elected(&["--registry=in_memory"])? else { return Ok(()) };
    let Elected { teu, mut cluster, zookeeper, .. } = world;
    drop(zookeeper);
    let told = cluster.master_fails()?;
    ensure!(told.contains("has not answered for almost as long"), "{told}");
    let ran = teu.try_run(&["task", "ls"])?;
    ensure!(ran.code == 1 && ran.stderr.contains("cannot find the leading master"), "{ran:?}");
    Ok(())
}
