//! What goes wrong with an agent: another configuration, another boot, a full disk; and how one
//! ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, ClusterOptions, Scheduler, busybox, eventually, is_root};
use serde_json::{Value as Json, json};

fn agent_id(cluster: &Cluster) -> Result<String> {
    let agents = cluster.get("/slaves")?;
    Ok(agents["slaves"][0]["id"].as_str().context("no agent")?.to_owned())
}

/// Updates of all tasks, until each of them is over; the last of each.
fn ends(scheduler: &mut Scheduler, tasks: &[String]) -> Result<BTreeMap<String, Json>> {
    let mut ends = BTreeMap::new();
    while ends.len() < tasks.len() {
        let update = scheduler.update()?;
        let state = update["state"].as_str().unwrap_or_default();
        if !["TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"].contains(&state) {
            let id = update["task_id"]["value"].as_str().context("no task")?.to_owned();
            ends.insert(id, update);
        }
    }
    Ok(ends)
}

#[test]
fn an_agent_with_another_configuration_is_the_same_or_refuses() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let agent_flags = vec!["--resources=cpus:2;mem:1024".to_owned(), "--attributes=a:b".to_owned()];
    let options = ClusterOptions { agent_flags, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(options)?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let id = scheduler.launch(&[busybox("HOST", "exec sleep 1000")])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;
    let before = agent_id(&cluster)?;
    cluster.kill_agent()?;
    cluster.set_agent_flags(&["--attributes=a:c"]);
    let said = cluster.failing_agent()?;
    ensure!(said.contains("attributes differ"), "{said}");
    cluster.set_agent_flags(&["--attributes=a:b", "--resources=cpus:4;mem:2048"]);
    let said = cluster.failing_agent()?;
    ensure!(said.contains("with --reconfiguration_policy=additive"), "{said}");
    // More of everything is fine where the operator says so, and less of anything is not.
    cluster.set_agent_flags(&["--reconfiguration_policy=additive", "--resources=cpus:1;mem:2048"]);
    let said = cluster.failing_agent()?;
    ensure!(said.contains("which is not more"), "{said}");
    cluster.set_agent_flags(&["--resources=cpus:4;mem:2048", "--attributes=a:b;c:d"]);
    cluster.start_agent()?;
    ensure!(agent_id(&cluster)? == before, "it is another agent");
    eventually("the master knows what there is now", || {
        let agents = cluster.get("/slaves")?;
        let agent = &agents["slaves"][0];
        ensure!(agent["resources"]["cpus"] == 4.0 && agent["attributes"]["c"] == "d", "{agent}");
        Ok(())
    })?;
    scheduler.kill(&id)?;
    scheduler.until(&id, "TASK_KILLED")?;
    Ok(())
}

#[test]
fn tasks_are_gone_when_the_host_was_restarted() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe_with(
        cluster.master(),
        json!({"capabilities": [{"type": "PARTITION_AWARE"}]}),
    )?;
    let process = json!({"command": {"value": "exec sleep 1000"}});
    let ids = scheduler.launch(&[busybox("HOST", "exec sleep 1000"), process])?;
    let mut running = 0;
    while running < 2 {
        running += usize::from(scheduler.update()?["state"] == "TASK_RUNNING");
    }
    let before = agent_id(&cluster)?;
    cluster.kill_agent()?;
    // The kernel names each of its lives; to the agent this is another one.
    std::fs::write(cluster.agent_work_dir().join("meta/boot_id"), "an earlier one")?;
    cluster.start_agent()?;
    for end in ends(&mut scheduler, &ids)?.values() {
        ensure!(end["state"] == "TASK_GONE", "{end}");
        ensure!(end["reason"] == "REASON_AGENT_RESTARTED", "{end}");
    }
    ensure!(agent_id(&cluster)? == before, "it is another agent");
    eventually("nothing of them is left", || {
        let left = cluster.host().docker().run(&["ps", "-aq"])?;
        ensure!(left.is_empty(), "{left}");
        let processes = cluster.agent_work_dir().join("processes");
        ensure!(std::fs::read_dir(processes)?.next().is_none(), "a process is still recorded");
        Ok(())
    })?;
    // A framework that does not know TASK_KILLING is not told it.
    let mut next = busybox("HOST", "exec sleep 1000");
    next["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
    let id = scheduler.launch(&[next])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;
    scheduler.kill(&id)?;
    let last = scheduler.until(&id, "TASK_KILLED")?;
    ensure!(last.len() == 1, "{last:?}");
    Ok(())
}

#[test]
fn a_kill_goes_on_after_the_restart_of_the_agent() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let script = "trap '' TERM; echo ready > $MESOS_SANDBOX/ready; while true; do sleep 0.1; done";
    let mut docker = busybox("HOST", script);
    let mut process = json!({"command": {"value": script}});
    for task in [&mut docker, &mut process] {
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 2_000_000_000_u64}});
    }
    let ids = scheduler.launch(&[docker, process])?;
    let mut running = 0;
    while running < 2 {
        running += usize::from(scheduler.update()?["state"] == "TASK_RUNNING");
    }
    for id in &ids {
        let path = format!("/frameworks/{}/executors/{id}/runs/latest/ready", scheduler.id());
        eventually("it does not listen to SIGTERM", || {
            let path = format!("/files/download?path={path}");
            let said = e2e::http::get_path(cluster.agent(), &path)?;
            ensure!(said == "ready\n", "{said:?}");
            Ok(())
        })?;
        scheduler.kill(id)?;
    }
    let mut killing = 0;
    while killing < 2 {
        killing += usize::from(scheduler.update()?["state"] == "TASK_KILLING");
    }
    cluster.kill_agent()?;
    cluster.start_agent()?;
    for end in ends(&mut scheduler, &ids)?.values() {
        ensure!(end["state"] == "TASK_KILLED", "{end}");
    }
    Ok(())
}

/// Takes all the room there is.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

#[test]
fn a_full_disk_delays_updates_and_loses_none() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let agent_disk = Some("4m".to_owned());
    let mut cluster = Cluster::start_with(ClusterOptions { agent_disk, ..Default::default() })?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let go = cluster.host().scratch().join("go");
    let script = format!("until test -e {}; do sleep 0.05; done; exit 5", go.display());
    let ending = json!({"command": {"value": script}});
    let long = json!({"command": {"value": "exec sleep 1000"}});
    let ids = scheduler.launch(&[ending, long])?;
    let mut pids = BTreeMap::new();
    while pids.len() < 2 {
        let update = scheduler.update()?;
        if update["state"] == "TASK_RUNNING" {
            let pid = update["container_status"]["executor_pid"].as_u64().context("no pid")?;
            pids.insert(update["task_id"]["value"].to_string(), pid);
        }
    }
    let filler = cluster.agent_work_dir().join("filler");
    fill(&filler)?;
    // Killing goes on: it may be what makes room.
    scheduler.kill(&ids[1])?;
    let pid = pids[&json!(ids[1]).to_string()];
    eventually("the task is killed, and the agent says what it lacks", || {
        ensure!(!Path::new(&format!("/proc/{pid}/cwd")).exists(), "{pid} runs");
        let log = cluster.agent_log();
        ensure!(log.contains("cannot write a checkpoint"), "{log}");
        Ok(())
    })?;
    std::fs::write(&go, "")?;
    let pid = pids[&json!(ids[0]).to_string()];
    eventually("the other ends", || {
        ensure!(!Path::new(&format!("/proc/{pid}/cwd")).exists(), "{pid} runs");
        Ok(())
    })?;
    let late = scheduler.launch(&[json!({"command": {"value": "exit 6"}})])?.remove(0);
    std::fs::remove_file(&filler)?;
    let all = [ids[0].clone(), ids[1].clone(), late.clone()];
    let ends = ends(&mut scheduler, &all)?;
    ensure!(ends[&ids[0]]["message"] == "Command exited with status 5", "{ends:?}");
    ensure!(ends[&ids[1]]["state"] == "TASK_KILLED", "{ends:?}");
    ensure!(ends[&late]["message"] == "Command exited with status 6", "{ends:?}");
    cluster.kill_agent()
}

#[test]
fn a_work_dir_has_one_agent() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    let before = agent_id(&cluster)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let output = std::process::Command::new(e2e::bin_dir().join("teu"))
        .args(["agent", "--ip=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--master={}", cluster.master()))
        .arg(format!("--work_dir={}", cluster.agent_work_dir().display()))
        .arg(format!("--docker_socket={}", cluster.host().socket().display()))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("another agent works in"), "{said}");
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let id = scheduler.launch(&[json!({"command": {"value": "true"}})])?.remove(0);
    scheduler.until(&id, "TASK_FINISHED")?;
    ensure!(agent_id(&cluster)? == before, "the first one has noticed");
    Ok(())
}

/// A task in a container and one in a process, both running.
fn two_tasks(cluster: &Cluster, scheduler: &mut Scheduler) -> Result<Vec<String>> {
    cluster.host().load_busybox()?;
    let process = json!({"command": {"value": "exec sleep 1000"}});
    let ids = scheduler.launch(&[busybox("HOST", "exec sleep 1000"), process])?;
    let mut running = 0;
    while running < 2 {
        running += usize::from(scheduler.update()?["state"] == "TASK_RUNNING");
    }
    Ok(ids)
}

fn nothing_runs(cluster: &Cluster) -> Result<()> {
    let left = cluster.host().docker().run(&["ps", "-aq"])?;
    ensure!(left.is_empty(), "containers: {left}");
    let processes = std::fs::read_dir(cluster.agent_work_dir().join("processes"))?.count();
    ensure!(processes == 0, "{processes} processes");
    Ok(())
}

#[test]
fn an_agent_that_is_told_to_leave_takes_its_tasks_along() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let ids = two_tasks(&cluster, &mut scheduler)?;
    rustix::process::kill_process(cluster.agent_pid()?, rustix::process::Signal::USR1)?;
    for end in ends(&mut scheduler, &ids)?.values() {
        ensure!(end["state"] == "TASK_LOST", "{end}");
    }
    cluster.agent_ends()?;
    nothing_runs(&cluster)?;
    let agents = cluster.get("/slaves")?;
    ensure!(agents["slaves"] == json!([]), "{agents}");
    Ok(())
}

#[test]
fn cleaning_up_ends_what_an_earlier_agent_has_left() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    two_tasks(&cluster, &mut scheduler)?;
    let before = agent_id(&cluster)?;
    cluster.kill_agent()?;
    cluster.set_agent_flags(&["--recover=cleanup"]);
    cluster.passing_agent()?;
    nothing_runs(&cluster)?;
    // The next one is another, with nothing to carry on.
    cluster.set_agent_flags(&["--recover=reconnect"]);
    cluster.start_agent()?;
    eventually("the master knows the new one", || {
        let agents = cluster.get("/slaves")?;
        let agents = agents["slaves"].as_array().context("no list")?;
        let active =
            agents.iter().find(|agent| agent["active"] == true).context("none is active")?;
        ensure!(active["id"] != before.as_str(), "it is the old one");
        Ok(())
    })
}
