//! What kill -9 of the master costs the tasks, the agent and the framework: nothing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, Scheduler, busybox, eventually, is_root};
use serde_json::{Value as Json, json};

/// The update that says the task runs, of each of those tasks.
fn running(scheduler: &mut Scheduler, ids: &[&String]) -> Result<Vec<Json>> {
    let mut waiting: BTreeSet<&str> = ids.iter().map(|id| id.as_str()).collect();
    let mut updates = Vec::new();
    while !waiting.is_empty() {
        let update = scheduler.update()?;
        if update["state"] == "TASK_RUNNING" {
            waiting.remove(update["task_id"]["value"].as_str().context("no task id")?);
            updates.push(update);
        }
    }
    Ok(updates)
}

fn agent_id(cluster: &Cluster) -> Result<Json> {
    let agents = cluster.get("/slaves")?;
    Ok(agents["slaves"][0]["id"].clone())
}

#[test]
fn tasks_outlive_the_master() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let agent = agent_id(&cluster)?;
    let long = busybox("HOST", "exec sleep 1000");
    let process = json!({"command": {"value": "exec sleep 1000"}});
    let go = cluster.host().scratch().join("go");
    let script = format!("until test -e {}; do sleep 0.05; done; exit 5", go.display());
    let ending = json!({"command": {"value": script}});
    let ids = scheduler.launch(&[long, process, ending])?;
    let updates = running(&mut scheduler, &[&ids[0], &ids[1], &ids[2]])?;
    let of_process = updates.iter().find(|update| update["task_id"]["value"] == ids[1].as_str());
    let pid = of_process.context("no update")?["container_status"]["executor_pid"].clone();
    let pid = pid.as_u64().context("no pid")?;
    let before = cluster.host().docker().run(&["ps", "-q", "--no-trunc"])?;

    cluster.kill_master()?;
    // One task ends while there is nobody to tell.
    std::fs::write(&go, "")?;
    eventually("the agent sees the task end", || {
        let state = e2e::http::get_path(cluster.agent(), "/state")?;
        ensure!(state.contains("TASK_FAILED"), "{state}");
        Ok(())
    })?;
    cluster.start_master()?;
    scheduler.subscribe_again()?;
    let updates = scheduler.until(&ids[2], "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["message"] == "Command exited with status 5", "{last}");
    ensure!(agent_id(&cluster)? == agent, "the agent came back as another");

    scheduler.reconcile()?;
    for update in running(&mut scheduler, &[&ids[0], &ids[1]])? {
        ensure!(update["reason"] == "REASON_RECONCILIATION", "{update}");
    }
    let after = cluster.host().docker().run(&["ps", "-q", "--no-trunc"])?;
    ensure!(before == after, "{before} became {after}");
    ensure!(Path::new(&format!("/proc/{pid}")).exists(), "the process ended");
    for id in &ids[..2] {
        scheduler.kill(id)?;
        scheduler.until(id, "TASK_KILLED")?;
    }
    // What it offers now can be used.
    let id = scheduler.launch(&[busybox("HOST", "exit 0")])?.remove(0);
    scheduler.until(&id, "TASK_FINISHED")?;
    Ok(())
}
