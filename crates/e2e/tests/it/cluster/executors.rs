//! Custom executors made with pymesos, as processes and in Docker containers.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, Scheduler, eventually, resources};
use serde_json::{Value as Json, json};

use super::framework;

/// The command line of an executor made with pymesos, and what a container has to see of this host
/// to run it.
pub(super) fn pymesos() -> Result<(String, Vec<PathBuf>)> {
    let python = e2e::python_with_pymesos()?;
    let program = e2e::test_data("executor.py");
    let command = format!("exec {} {}", python.display(), program.display());
    let print = "import sys; print(sys.base_prefix)";
    let output = std::process::Command::new(&python).args(["-c", print]).output()?;
    let prefix = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let environment = python.ancestors().nth(2).context("no environment")?.to_owned();
    let data = program.parent().context("no directory")?.to_owned();
    Ok((command, vec![PathBuf::from("/usr"), prefix, environment, data]))
}

/// A container with these directories of the host, and its libraries.
fn container(seen: &[PathBuf]) -> Json {
    let mut volumes = Vec::new();
    for path in seen {
        volumes.push(json!({"host_path": path, "container_path": path, "mode": "RO"}));
    }
    for name in ["/lib", "/lib64"] {
        let real = std::fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name));
        volumes.push(json!({"host_path": real, "container_path": name, "mode": "RO"}));
    }
    // A prefix may be /usr itself.
    volumes.dedup();
    json!({
        "type": "DOCKER", "docker": {"image": "busybox", "network": "HOST"}, "volumes": volumes,
    })
}

pub(super) fn sandbox(cluster: &Cluster, scheduler: &Scheduler, executor: &str) -> Result<PathBuf> {
    let agents = std::fs::read_dir(cluster.agent_work_dir().join("slaves"))?;
    let agent = agents.last().context("no agent")??.path();
    let run = format!("frameworks/{}/executors/{executor}/runs/latest", scheduler.id());
    Ok(agent.join(run))
}

/// Updates of a task until it is finished, without repetitions of what was not acknowledged.
pub(super) fn finished(scheduler: &mut Scheduler, task: &str) -> Result<Vec<Json>> {
    let mut all = scheduler.until(task, "TASK_FINISHED")?;
    all.dedup_by(|later, earlier| later["uuid"] == earlier["uuid"]);
    Ok(all)
}

#[test]
fn executors_outlive_the_agent_as_processes_and_in_containers() -> Result<()> {
    let Some((mut cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let (command, seen) = pymesos()?;
    for (name, container) in [("process", Json::Null), ("container", container(&seen))] {
        let mut executor = json!({
            "type": "CUSTOM", "executor_id": {"value": name},
            "framework_id": {"value": scheduler.id()},
            "command": {"value": command}, "resources": resources(0.1, 64.0),
        });
        if !container.is_null() {
            executor["container"] = container;
        }
        // In base64: "hold".
        let held = json!({"executor": executor, "data": "aG9sZA=="});
        let id = scheduler.launch(&[held])?.remove(0);
        let running = scheduler.until(&id, "TASK_RUNNING")?;
        let status = &running.last().context("no update")?["container_status"];
        let run = status["container_id"]["value"].as_str().context("no container")?.to_owned();
        let engine = || cluster.host().docker().run(&["ps", "-q", "--no-trunc"]);
        let before = engine()?;
        ensure!(before.is_empty() == (name == "process"), "{before:?}");

        // It ends its task while there is no agent; the next one hears of it.
        let place = sandbox(&cluster, &scheduler, name)?;
        cluster.kill_agent()?;
        std::fs::write(place.join("go"), "")?;
        eventually("the executor has told it, to nobody", || {
            ensure!(place.join("unheard").exists(), "it has not");
            Ok(())
        })?;
        cluster.start_agent()?;
        let updates = finished(&mut scheduler, &id)?;
        let last = updates.last().context("no update")?;
        let message = last["message"].as_str().context("no message")?;
        let pid = message.strip_prefix("hold ").context("another message")?.to_owned();
        ensure!(last["container_status"]["container_id"]["value"] == run.as_str(), "{last}");

        // The same program goes on to run tasks. In base64: "second".
        let next = json!({"executor": executor, "data": "c2Vjb25k"});
        let id = scheduler.launch(&[next])?.remove(0);
        let updates = finished(&mut scheduler, &id)?;
        let last = updates.last().context("no update")?;
        ensure!(last["message"] == format!("second {pid}"), "{last}");
        ensure!(last["container_status"]["container_id"]["value"] == run.as_str(), "{last}");
        ensure!(cluster.host().docker().run(&["ps", "-q", "--no-trunc"])? == before);
    }
    scheduler.teardown()?;
    eventually("both end with their framework", || {
        let left = cluster.host().docker().run(&["ps", "-aq"])?;
        ensure!(left.is_empty(), "containers: {left}");
        let processes = std::fs::read_dir(cluster.agent_work_dir().join("processes"))?.count();
        ensure!(processes == 0, "{processes} processes");
        Ok(())
    })
}
