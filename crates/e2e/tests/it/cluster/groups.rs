//! Groups of tasks under the default executor: processes and containers that live and die together.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, FrameworkProgram, Scheduler, eventually};
use serde_json::{Value as Json, json};

use super::framework;
use super::sessions::{about, ask};

/// A task with a Docker image as the unified containerizer takes it, and a directory of the group's.
fn in_image(script: &str) -> Json {
    let source =
        json!({"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "both"}});
    json!({
        "container": {
            "type": "MESOS",
            "mesos": {"image": {"type": "DOCKER", "docker": {"name": "busybox"}}},
            "volumes": [{"container_path": "shared", "mode": "RW", "source": source}],
        },
        "command": {"value": script},
    })
}

/// The same without an image.
fn process(script: &str) -> Json {
    let mut task = in_image(script);
    task["container"]["mesos"] = Json::Null;
    task
}

/// The sandbox of the executor.
fn sandbox(cluster: &Cluster, framework: &str, executor: &str) -> Result<PathBuf> {
    let agents = std::fs::read_dir(cluster.agent_work_dir().join("slaves"))?;
    let agent = agents.last().context("no agent")??.path();
    Ok(agent.join(format!("frameworks/{framework}/executors/{executor}/runs/latest")))
}

/// Updates until each task is in that state; the states each went through, and its last update.
fn all_until(
    scheduler: &mut Scheduler,
    wanted: &[(&String, &str)],
) -> Result<Vec<(Vec<String>, Json)>> {
    let mut seen = vec![(Vec::new(), Json::Null); wanted.len()];
    while wanted.iter().zip(&seen).any(|((_, state), (_, last))| last["state"] != *state) {
        let update = scheduler.update()?;
        let at = wanted.iter().position(|(id, _)| update["task_id"]["value"] == id.as_str());
        let at = at.with_context(|| format!("an update of another task: {update}"))?;
        seen[at].0.push(update["state"].as_str().unwrap_or_default().to_owned());
        seen[at].1 = update;
    }
    Ok(seen)
}

fn container(update: &Json) -> Result<(String, String)> {
    let id = &update["container_status"]["container_id"];
    let text = |json: &Json| json.as_str().map(str::to_owned).context("no container");
    Ok((text(&id["parent"]["value"])?, text(&id["value"])?))
}

#[test]
fn a_group_shares_a_directory_and_the_network_and_outlives_its_agent() -> Result<()> {
    let Some((mut cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let server = "pwd; echo hello > shared/page; exec httpd -f -p 127.0.0.1:18099 -h shared";
    let client = "until wget -qO - http://127.0.0.1:18099/page > shared/read; do sleep 0.1; done; \
                  cat /proc/self/cgroup > shared/cgroup; exec sleep 1000";
    let short = "echo done";
    let tasks =
        [in_image(server), process(&client.replace("wget", "busybox wget")), process(short)];
    let ids = scheduler.launch_group("pod", &tasks)?;
    let wanted = [(&ids[0], "TASK_RUNNING"), (&ids[1], "TASK_RUNNING"), (&ids[2], "TASK_FINISHED")];
    let seen = all_until(&mut scheduler, &wanted)?;
    for (states, _) in &seen {
        ensure!(states[..2] == ["TASK_STARTING", "TASK_RUNNING"], "{states:?}");
    }
    let (outer, own) = container(&seen[1].1)?;
    ensure!(container(&seen[0].1)?.0 == outer, "not in one container: {seen:?}");
    let root = sandbox(&cluster, scheduler.id(), "pod")?;
    eventually("one has read from the other", || {
        let read = std::fs::read_to_string(root.join("both/read"))?;
        ensure!(read == "hello\n", "{read:?}");
        Ok(())
    })?;
    eventually("it is in a cgroup inside of the group's", || {
        let groups = std::fs::read_to_string(root.join("both/cgroup"))?;
        ensure!(groups.contains(&format!("/teu-agent/{outer}/{own}")), "{groups}");
        Ok(())
    })?;
    let of_task =
        |id: &str, file: &str| std::fs::read_to_string(root.join("tasks").join(id).join(file));
    ensure!(of_task(&ids[0], "stdout")? == "/mnt/mesos/sandbox\n", "it began elsewhere");
    ensure!(of_task(&ids[2], "stdout")? == "done\n", "no output");
    let teu = cluster.host().teu().with_env("TEU_MASTER", &cluster.master().to_string());
    for (id, own) in [(&ids[0], "/mnt/mesos/sandbox\n"), (&ids[2], "done\n")] {
        let logged = teu.run(&["task", "logs", id])?;
        ensure!(logged == own, "not the task's own output: {logged:?}");
    }
    // The agent goes and comes; the group does not notice.
    let pid = seen[1].1["container_status"]["executor_pid"].as_u64().context("no pid")?;
    cluster.kill_agent()?;
    cluster.start_agent()?;
    scheduler.kill(&ids[1])?;
    let wanted = [(&ids[0], "TASK_KILLED"), (&ids[1], "TASK_KILLED")];
    let seen = all_until(&mut scheduler, &wanted)?;
    let because = seen[0].1["message"].as_str().context("no message")?;
    ensure!(because.ends_with("another task of its group failed or was killed"), "{because}");
    ensure!(!PathBuf::from(format!("/proc/{pid}")).exists(), "it still runs");
    eventually("nothing of the group is left", || {
        let left = cluster.host().docker().run(&["ps", "-aq"])?;
        ensure!(left.trim().is_empty(), "containers: {left}");
        let groups = std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-type", "d", "-name", &outer])
            .output()?;
        ensure!(groups.stdout.is_empty(), "{}", String::from_utf8_lossy(&groups.stdout));
        Ok(())
    })
}

#[test]
fn the_tasks_of_a_group_are_waited_for_and_killed_by_their_containers() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let agent = cluster.agent();
    let mut tasks = [process("exec sleep 1000"), in_image("exec sleep 1000"), process("true")];
    for task in &mut tasks {
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
    }
    let ids = scheduler.launch_group("waited", &tasks)?;
    let wanted = [(&ids[0], "TASK_RUNNING"), (&ids[1], "TASK_RUNNING"), (&ids[2], "TASK_FINISHED")];
    let seen = all_until(&mut scheduler, &wanted)?;
    let of = |at: usize| seen[at].1["container_status"]["container_id"].clone();
    let status = |at: usize| {
        let (status, text) = ask(agent, &about("WAIT_NESTED_CONTAINER", &of(at)))?;
        ensure!(status == 200, "{status}: {text}");
        let answer: Json = serde_json::from_str(&text)?;
        Ok(answer["wait_nested_container"]["exit_status"].clone())
    };
    ensure!(status(2)? == 0, "its end is not known while its group lives");
    ensure!(ask(agent, &about("KILL_NESTED_CONTAINER", &of(2)))?.0 == 404, "it has ended");
    ensure!(ask(agent, &about("REMOVE_NESTED_CONTAINER", &of(2)))?.0 == 200);
    ensure!(ask(agent, &about("REMOVE_NESTED_CONTAINER", &of(0)))?.0 == 500, "it runs");
    ensure!(ask(agent, &about("KILL_NESTED_CONTAINER", &of(0)))?.0 == 200);
    for at in [0, 1] {
        ensure!(status(at)? == 9, "{at}: {}", status(at)?);
    }
    all_until(&mut scheduler, &[(&ids[0], "TASK_FAILED"), (&ids[1], "TASK_KILLED")])?;
    eventually("all are forgotten with their group", || {
        for at in 0..ids.len() {
            let (status, text) = ask(agent, &about("WAIT_NESTED_CONTAINER", &of(at)))?;
            ensure!(status == 404, "{status}: {text}");
        }
        Ok(())
    })
}

#[test]
fn a_group_starts_whole_or_not_at_all() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let mut absent = in_image("true");
    absent["container"]["mesos"]["image"]["docker"]["name"] = json!("127.0.0.1:1/absent:1");
    let ids = scheduler.launch_group("half", &[process("exec sleep 1000"), absent])?;
    let wanted = [(&ids[0], "TASK_KILLED"), (&ids[1], "TASK_FAILED")];
    let seen = all_until(&mut scheduler, &wanted)?;
    let why = seen[1].1["message"].as_str().context("no message")?;
    ensure!(why.contains("cannot pull image '127.0.0.1:1/absent:1'"), "{why}");
    // Too large for any offer: no task of it is launched.
    let mut large = process("true");
    large["resources"] = e2e::resources(1000.0, 32.0);
    let ids = scheduler.launch_group("large", &[process("true"), large])?;
    for id in &ids {
        let last = scheduler.until(id, "TASK_ERROR")?;
        ensure!(last[0]["reason"] == "REASON_TASK_GROUP_INVALID", "{last:?}");
    }
    ensure!(!sandbox(&cluster, scheduler.id(), "large")?.exists(), "it was launched");
    Ok(())
}

#[test]
fn pymesos_launches_a_group() -> Result<()> {
    let Some((cluster, scheduler)) = framework()? else { return Ok(()) };
    scheduler.teardown()?;
    let mut command = std::process::Command::new(e2e::python_with_pymesos()?);
    command.arg(e2e::test_data("group.py")).arg(cluster.master().to_string());
    let program = FrameworkProgram::start(command, cluster.host().scratch())?;
    program.expect("web TASK_RUNNING")?;
    program.expect("side TASK_RUNNING")?;
    program.expect("side TASK_FAILED")?;
    program.expect("web TASK_KILLED")?;
    Ok(())
}
