//! What a task may use: set in the kernel, measured, and enforced.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, ClusterOptions, Scheduler, busybox, eventually, is_root, resources};
use serde_json::{Value as Json, json};

use crate::containers::Cgroup;

fn read(cluster: &Cluster, path: &str) -> Result<Json> {
    Ok(serde_json::from_str(&e2e::http::get_path(cluster.agent(), path)?)?)
}

#[test]
fn a_task_has_what_it_asked_for_and_no_more() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let agent_flags = vec![
        "--cgroups_enable_cfs".to_owned(),
        r#"--executor_environment_variables={"FROM":"agent","OWN":"agent"}"#.to_owned(),
    ];
    let cluster = Cluster::start_with(ClusterOptions { agent_flags, ..Default::default() })?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let script = "echo $FROM $OWN; exec sleep 1000";
    let process = json!({"command": {"value": script}});
    for mut task in [busybox("HOST", script), process] {
        task["resources"] = resources(0.5, 48.0);
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
        task["command"]["environment"] = json!({"variables": [{"name": "OWN", "value": "task"}]});
        let is_docker = !task["container"].is_null();
        let id = scheduler.launch(&[task])?.remove(0);
        let running = scheduler.until(&id, "TASK_RUNNING")?;
        let status = &running.last().context("no update")?["container_status"];
        let pid = status["executor_pid"].as_u64().context("no pid")?;
        let cgroup = Cgroup::of(&pid.to_string())?;
        for (old, new, value) in [
            ("memory/memory.limit_in_bytes", "memory.max", "50331648"),
            ("cpu/cpu.cfs_quota_us", "cpu.max", "50000"),
            ("cpu/cpu.shares", "cpu.weight", if cgroup.unified() { "59" } else { "512" }),
        ] {
            let shown = cgroup.read(old, new)?;
            ensure!(shown.split(' ').next() == Some(value), "{old}, {new}: {shown:?}");
        }
        let files = format!("/frameworks/{}/executors/{id}/runs/latest", scheduler.id());
        eventually("the variables are there", || {
            let path = format!("/files/download?path={files}/stdout");
            let printed = e2e::http::get_path(cluster.agent(), &path)?;
            ensure!(printed == "agent task\n", "{printed:?}");
            Ok(())
        })?;
        if is_docker {
            let path = format!("/files/download?path={files}/docker_run.txt");
            let line = e2e::http::get_path(cluster.agent(), &path)?;
            ensure!(line.contains("--cpu-quota 50000 "), "{line}");
            ensure!(cluster.agent_log().contains(line.trim()), "not logged: {line}");
            // The container is its executor: nothing runs beside it.
            let agent = cluster.agent_pid()?.as_raw_pid().to_string();
            let ps = Command::new("ps").args(["-o", "args=", "--ppid", &agent]).output()?;
            ensure!(ps.stdout.is_empty(), "{}", String::from_utf8_lossy(&ps.stdout));
        }
        eventually("what it uses is told", || {
            let all = read(&cluster, "/monitor/statistics")?;
            let used =
                &all.as_array().and_then(|all| all.first()).context("nothing")?["statistics"];
            ensure!(used["cpus_limit"] == 0.5 && used["mem_limit_bytes"] == 50_331_648, "{used}");
            ensure!(used["mem_total_bytes"].as_u64().is_some_and(|used| used > 0), "{used}");
            ensure!(used["cpus_system_time_secs"].is_number(), "{used}");
            let listed = read(&cluster, "/containers")?;
            ensure!(listed[0]["statistics"]["mem_limit_bytes"] == 50_331_648, "{listed}");
            ensure!(listed[0]["executor_id"] == id.as_str(), "{listed}");
            Ok(())
        })?;
        scheduler.kill(&id)?;
        scheduler.until(&id, "TASK_KILLED")?;
        eventually("nothing is measured any more", || {
            let all = read(&cluster, "/monitor/statistics")?;
            ensure!(all == json!([]), "{all}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_task_that_takes_more_memory_is_killed_and_says_so() -> Result<()> {
    let Some((_cluster, mut scheduler)) = super::framework()? else { return Ok(()) };
    let script = "exec tail /dev/zero";
    for task in [busybox("HOST", script), json!({"command": {"value": script}})] {
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FAILED")?;
        let last = updates.last().context("no update")?;
        ensure!(last["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY", "{last}");
        let message = last["message"].as_str().context("no message")?;
        ensure!(message.contains("more memory than it may"), "{message}");
    }
    Ok(())
}
