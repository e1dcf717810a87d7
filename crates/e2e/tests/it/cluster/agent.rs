//! What an agent does with tasks, seen by a framework, the engine and the file system.

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, ClusterOptions, Host, busybox, eventually, is_root, resources};
use serde_json::{Value as Json, json};

use super::framework;

fn states(updates: &[Json]) -> Vec<&str> {
    updates.iter().map(|update| update["state"].as_str().unwrap_or_default()).collect()
}

/// A file of a task's sandbox, through the agent.
fn sandbox(cluster: &Cluster, framework: &str, executor: &str, file: &str) -> Result<String> {
    let path = format!("/frameworks/{framework}/executors/{executor}/runs/latest/{file}");
    e2e::http::get_path(cluster.agent(), &format!("/files/download?path={path}"))
}

fn containers(host: &Host) -> Result<String> {
    host.docker().run(&["ps", "-a", "--format", "{{.Names}}"])
}

fn gone(host: &Host) -> Result<()> {
    eventually("the containers are removed", || {
        let left = containers(host)?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn a_docker_task_runs_as_its_line_says() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let mut task = busybox(
        "BRIDGE",
        "echo out; echo err >&2; echo $A:$MESOS_SANDBOX; echo hi > $MESOS_SANDBOX/file; \
         until test -e $MESOS_SANDBOX/go; do sleep 0.05; done",
    );
    task["command"]["environment"] = json!({"variables": [{"name": "A", "value": "b c"}]});
    let id = scheduler.launch(&[task])?.remove(0);
    // One that has ended before it is looked at has no address any more.
    let mut updates = scheduler.until(&id, "TASK_RUNNING")?;
    std::fs::write(super::executors::sandbox(&cluster, &scheduler, &id)?.join("go"), "")?;
    updates.extend(scheduler.until(&id, "TASK_FINISHED")?);
    ensure!(states(&updates) == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"], "{updates:?}");
    let running = &updates[1];
    ensure!(running["data"].is_string(), "no inspection: {running}");
    let address = &running["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"];
    ensure!(address.as_str().is_some_and(|a| a.starts_with("172.")), "{running}");
    let read = |file: &str| sandbox(&cluster, scheduler.id(), &id, file);
    ensure!(read("stdout")? == "out\nb c:/mnt/mesos/sandbox\n", "{}", read("stdout")?);
    ensure!(read("stderr")? == "err\n", "{}", read("stderr")?);
    ensure!(read("file")? == "hi\n", "the sandbox is not the task's");
    let line = read("docker_run.txt")?;
    for part in [
        " run --cpu-shares 102 --memory 33554432 -e 'A=b c' ",
        ":/mnt/mesos/sandbox --net bridge --entrypoint /bin/sh --name mesos-",
        " busybox -c ",
    ] {
        ensure!(line.contains(part), "no {part:?} in {line}");
    }
    gone(cluster.host())
}

#[test]
fn exits_and_refusals_have_reasons() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let mut mapped = busybox("BRIDGE", "true");
    mapped["container"]["docker"]["port_mappings"] =
        json!([{"host_port": 80, "container_port": 80}]);
    let mut missing = busybox("HOST", "true");
    missing["container"]["docker"]["image"] = json!("127.0.0.1:1/none");
    let mut unfetched = busybox("HOST", "true");
    unfetched["command"]["uris"] = json!([{"value": "/does/not/exist"}]);
    let mut nobodys = busybox("HOST", "true");
    nobodys["command"]["user"] = json!("nobody-of-that-name");
    let mut timed = busybox("NONE", "sleep 1000");
    timed["max_completion_time"] = json!({"nanoseconds": 100_000_000});
    timed["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
    let tasks = [
        (
            busybox("HOST", "exit 3"),
            "REASON_COMMAND_EXECUTOR_FAILED",
            "Container exited with status 3",
        ),
        (mapped, "REASON_CONTAINER_LAUNCH_FAILED", "Port [80] not included in resources"),
        (missing, "REASON_CONTAINER_LAUNCH_FAILED", "cannot pull image '127.0.0.1:1/none'"),
        (unfetched, "REASON_CONTAINER_LAUNCH_FAILED", "Failed to fetch '/does/not/exist'"),
        (nobodys, "REASON_CONTAINER_LAUNCH_FAILED", "there is no user 'nobody-of-that-name'"),
        (timed, "REASON_MAX_COMPLETION_TIME_REACHED", "Container exited"),
    ];
    for (task, reason, text) in tasks {
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FAILED")?;
        let last = updates.last().context("no update")?;
        ensure!(last["reason"] == reason, "{last}");
        ensure!(last["message"].as_str().is_some_and(|m| m.contains(text)), "{last}");
    }
    gone(cluster.host())
}

#[test]
fn a_task_is_killed_with_grace() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.1; done";
    let id = scheduler.launch(&[busybox("HOST", script)])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;
    eventually("the trap is set", || {
        ensure!(sandbox(&cluster, scheduler.id(), &id, "stdout")?.contains("ready"), "not yet");
        Ok(())
    })?;
    scheduler.kill(&id)?;
    let updates = scheduler.until(&id, "TASK_KILLED")?;
    ensure!(states(&updates) == ["TASK_KILLING", "TASK_KILLED"], "{updates:?}");
    ensure!(sandbox(&cluster, scheduler.id(), &id, "stdout")? == "ready\nbye\n", "no grace");
    gone(cluster.host())
}

#[test]
fn an_unhealthy_task_is_killed() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let often = |mut check: Json| {
        for (name, seconds) in [("delay", 0.0), ("interval", 0.1), ("grace_period", 20.0)] {
            check[format!("{name}_seconds")] = json!(seconds);
        }
        check["consecutive_failures"] = json!(2);
        check
    };
    let mut by_command = busybox("HOST", "touch /tmp/well; exec sleep 1000");
    by_command["health_check"] =
        often(json!({"type": "COMMAND", "command": {"value": "test -e /tmp/well"}}));
    // Nothing outside of the container's own network namespace listens there.
    let server = "httpd -f -p 8099 & echo $! > /tmp/pid; wait; exec sleep 1000";
    let mut by_port = busybox("BRIDGE", server);
    by_port["health_check"] = often(json!({"type": "TCP", "tcp": {"port": 8099}}));
    for (mut task, harm) in [(by_command, "rm /tmp/well"), (by_port, "kill $(cat /tmp/pid)")] {
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
        let id = scheduler.launch(&[task])?.remove(0);
        let mut told = Vec::new();
        while told.len() < 6 {
            let update = scheduler.update()?;
            told.push((update["state"].as_str().map(str::to_owned), update["healthy"].as_bool()));
            let said = &update["message"];
            ensure!(update["task_id"]["value"] == id.as_str(), "{update}");
            ensure!(told.len() != 3 || update["healthy"] == true, "{said}");
            if told.len() == 3 {
                let name = containers(cluster.host())?;
                cluster.host().docker().run(&["exec", name.trim(), "sh", "-c", harm])?;
            }
        }
        let told: Vec<_> = told.iter().map(|(state, well)| (state.as_deref(), *well)).collect();
        let expected = [
            (Some("TASK_STARTING"), None),
            (Some("TASK_RUNNING"), None),
            (Some("TASK_RUNNING"), Some(true)),
            (Some("TASK_RUNNING"), Some(false)),
            (Some("TASK_KILLING"), Some(false)),
            (Some("TASK_KILLED"), Some(false)),
        ];
        ensure!(told == expected, "{told:?}");
        gone(cluster.host())?;
    }
    Ok(())
}

#[test]
fn tasks_outlive_the_agent() -> Result<()> {
    let Some((mut cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let script = "for i in $(seq 40); do echo $i; sleep 0.05; done";
    let docker = busybox("HOST", &format!("{script}; exit 7"));
    let process = json!({"command": {"value": format!("{script}; exit 8")}});
    let long = busybox("HOST", "sleep 1000");
    let ids = scheduler.launch(&[docker, process, long])?;
    let mut running = 0;
    while running < 3 {
        running += usize::from(scheduler.update()?["state"] == "TASK_RUNNING");
    }
    cluster.kill_agent()?;
    let before = containers(cluster.host())?;
    eventually("the docker task ends without its agent", || {
        let exited = cluster.host().docker().run(&["ps", "-aq", "--filter", "status=exited"])?;
        ensure!(!exited.trim().is_empty(), "it runs");
        Ok(())
    })?;
    // One of an earlier life of this agent, and one that only looks like it.
    let work_dir = cluster.agent_work_dir().display().to_string();
    let label = format!("teu.agent.work_dir={work_dir}");
    let docker = cluster.host().docker();
    docker.run(&[
        "run",
        "-d",
        "--name",
        "orphan",
        "--label",
        &label,
        "--label",
        "teu.agent.container=x",
        "busybox",
        "sleep",
        "1000",
    ])?;
    docker.run(&["run", "-d", "--name", "mesos-other", "busybox", "sleep", "1000"])?;
    cluster.start_agent()?;
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let update = scheduler.update()?;
        if update["state"] == "TASK_RUNNING" {
            continue; // its acknowledgement was lost with the agent
        }
        ends.push((update["task_id"]["value"].clone(), update["message"].clone()));
    }
    for (id, text) in
        [(&ids[0], "Container exited with status 7"), (&ids[1], "Command exited with status 8")]
    {
        ensure!(ends.contains(&(json!(id), json!(text))), "{ends:?}");
        let wanted: String = (1..=40).map(|n| format!("{n}\n")).collect();
        ensure!(
            sandbox(&cluster, scheduler.id(), id, "stdout")? == wanted,
            "lost or doubled lines of {id}"
        );
    }
    eventually("the orphan is removed, the other is not", || {
        let now = containers(cluster.host())?;
        ensure!(!now.contains("orphan") && now.contains("mesos-other"), "{before} became {now}");
        Ok(())
    })?;
    scheduler.kill(&ids[2])?;
    scheduler.until(&ids[2], "TASK_KILLED")?;
    cluster.host().docker().run(&["rm", "-f", "mesos-other"])?;
    gone(cluster.host())
}

#[test]
fn processes_do_not_outlive_the_work_directory() -> Result<()> {
    let Some((mut cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let task = json!({"command": {"value": "exec sleep 1000"}, "resources": resources(0.1, 64.0)});
    let id = scheduler.launch(&[task])?.remove(0);
    let running = scheduler.until(&id, "TASK_RUNNING")?;
    let container =
        running.last().context("no update")?["container_status"]["container_id"]["value"].clone();
    let container = container.as_str().context("no container")?.to_owned();
    let cgroup = std::path::PathBuf::from("/sys/fs/cgroup/memory/teu-agent").join(&container);
    let listed = std::fs::read_to_string(cgroup.join("cgroup.procs"))?;
    ensure!(!listed.trim().is_empty(), "nobody is in {cgroup:?}");
    // A cgroup that is not of this agent, for it is not marked as such.
    let other = cgroup.with_file_name(format!("other-{container}"));
    std::fs::create_dir(&other)?;

    cluster.kill_agent()?;
    for entry in std::fs::read_dir(cluster.agent_work_dir())? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    cluster.start_agent()?;
    let removed = eventually("what nobody knows any more is ended", || {
        ensure!(!cgroup.exists(), "{:?}", std::fs::read_to_string(cgroup.join("cgroup.procs")));
        Ok(())
    });
    let kept = other.exists();
    std::fs::remove_dir(&other)?;
    removed?;
    ensure!(kept, "a cgroup without the mark was removed");
    for pid in listed.lines() {
        ensure!(!std::path::Path::new("/proc").join(pid).exists(), "{pid} lives");
    }
    Ok(())
}

#[test]
fn a_process_runs_in_its_cgroup() -> Result<()> {
    let Some((_cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let script = "cat /proc/self/cgroup > $MESOS_SANDBOX/cgroup; exec sleep 1000";
    let task = json!({"command": {"value": script}, "resources": resources(0.1, 64.0)});
    let id = scheduler.launch(&[task])?.remove(0);
    let updates = scheduler.until(&id, "TASK_RUNNING")?;
    let status = &updates.last().context("no update")?["container_status"];
    let container = status["container_id"]["value"].as_str().context("no container")?;
    let pid = status["executor_pid"].as_u64().context("no pid")?;
    eventually("the process is in its cgroup", || {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        ensure!(groups.contains(&format!("/teu-agent/{container}")), "{groups}");
        Ok(())
    })?;
    scheduler.kill(&id)?;
    let last = scheduler.until(&id, "TASK_KILLED")?;
    ensure!(
        last.last().is_some_and(|u| u["message"] == "Command terminated with signal Terminated"),
        "{last:?}"
    );
    ensure!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it still runs");
    Ok(())
}

#[test]
fn an_executor_made_with_pymesos_runs_task_after_task() -> Result<()> {
    let Some((_cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let command = format!(
        "exec {} {}",
        e2e::python_with_pymesos()?.display(),
        e2e::test_data("executor.py").display()
    );
    let executor = json!({
        "type": "CUSTOM", "executor_id": {"value": "echo"}, "framework_id": {"value": scheduler.id()},
        "command": {"value": command}, "resources": resources(0.1, 64.0),
    });
    let mut messages = Vec::new();
    // In base64: "first" and "second".
    for data in ["Zmlyc3Q=", "c2Vjb25k"] {
        let id = scheduler.launch(&[json!({"executor": executor, "data": data})])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FINISHED")?;
        ensure!(states(&updates) == ["TASK_RUNNING", "TASK_FINISHED"], "{updates:?}");
        messages.push(updates[1]["message"].as_str().context("no message")?.to_owned());
    }
    let pid = messages[0].strip_prefix("first ").with_context(|| format!("{messages:?}"))?;
    ensure!(messages[1] == format!("second {pid}"), "not the same executor: {messages:?}");
    scheduler.teardown()?;
    eventually("the executor ends with its framework", || {
        ensure!(!std::path::Path::new(&format!("/proc/{pid}/cwd")).exists(), "{pid} runs");
        Ok(())
    })
}

#[test]
fn what_the_agent_does_not_do_it_says() -> Result<()> {
    let teu = |args: &[&str]| {
        let mut command = std::process::Command::new(e2e::bin_dir().join("teu"));
        let output = command.arg("agent").args(args).output()?;
        ensure!(!output.status.success(), "{args:?} was taken");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    ensure!(teu(&["--mastre=x"])?.contains("near it: --master"), "no guess");
    ensure!(teu(&["--hadoop_home=/x"])?.contains("hdfs URIs are not fetched"), "no reason");
    Ok(())
}

#[test]
fn an_agent_tells_of_itself_and_its_host() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let log = tempfile::NamedTempFile::new()?;
    std::fs::write(log.path(), "one line\n")?;
    let domain = r#"{"fault_domain":{"region":{"name":"north"},"zone":{"name":"pole"}}}"#;
    let agent_flags = vec![
        format!("--external_log_file={}", log.path().display()),
        format!("--domain={domain}"),
        "--no-hostname_lookup".to_owned(),
    ];
    let master_flags = vec![format!("--domain={domain}")];
    let options = ClusterOptions { master_flags, agent_flags, ..Default::default() };
    let cluster = Cluster::start_with(options)?;
    let text = |path: &str| e2e::http::get_path(cluster.agent(), path);
    let read = |path: &str| Ok::<Json, anyhow::Error>(serde_json::from_str(&text(path)?)?);

    let known = &cluster.get("/slaves")?["slaves"][0];
    ensure!(known["domain"]["fault_domain"]["region"]["name"] == "north", "{known}");
    ensure!(known["hostname"] == "127.0.0.1", "{known}");

    ensure!(read("/files/read?path=/slave/log&offset=4&length=4")?["data"] == "line");
    ensure!(read("/files/debug")?["/slave/log"] == log.path().to_string_lossy().as_ref());
    let call = json!({"type": "READ_FILE", "read_file": {"path": "/slave/log", "offset": 0}});
    let answer = e2e::http::post_json(cluster.agent(), "/api/v1", &call)?;
    ensure!(answer.contains("\"size\":9"), "{answer}");

    let version = read("/version")?;
    ensure!(version["build_time"].as_f64().is_some_and(|time| time > 0.0), "{version}");
    ensure!(version == cluster.get("/version")?, "its master is of the same build: {version}");
    let call = json!({"type": "GET_VERSION"});
    let answer = e2e::http::post_json(cluster.agent(), "/api/v1", &call)?;
    let answer: Json = serde_json::from_str(&answer)?;
    ensure!(answer["get_version"]["version_info"] == version, "{answer}");
    ensure!(read("/state")?["build_date"] == version["build_date"]);

    let metrics = read("/metrics/snapshot")?;
    let processors = &metrics["system/cpus_total"];
    ensure!(processors.as_f64().is_some_and(|count| count >= 1.0), "{metrics}");
    let scraped = e2e::http::get_path(cluster.agent(), "/metrics")?;
    let line = format!(
        "\n# TYPE mesos_system_cpus_total untyped\nmesos_system_cpus_total {}\n",
        processors.as_f64().unwrap_or_default()
    );
    ensure!(scraped.contains(&line), "{scraped}");
    ensure!(scraped.matches("# TYPE").count() == metrics.as_object().map_or(0, |all| all.len()));
    let help = e2e::http::get_path(cluster.agent(), "/help")?;
    ensure!(help.lines().any(|line| line == "/monitor/statistics"), "{help}");
    ensure!(read("/system/stats.json")?["cpus_total"].as_f64() == processors.as_f64());
    // All that the original tells; times of pulls come with the first pull.
    let theirs = std::fs::read_to_string(e2e::test_data("agent-metrics.txt"))?;
    let missing: Vec<&str> = theirs
        .lines()
        .filter(|name| !name.starts_with("containerizer/docker/image_pull_ms"))
        .chain(["containerizer/docker/image_pull_ms/count"])
        .filter(|name| !metrics[*name].is_number())
        .collect();
    ensure!(missing.is_empty(), "{missing:?} are missing in {metrics}");

    ensure!(text("/logging/toggle")? == "0\n");
    ensure!(text("/logging/toggle?level=1&duration=1hrs")?.is_empty());
    ensure!(text("/logging/toggle")? == "1\n");
    let refused = text("/logging/toggle?level=1").expect_err("half a question");
    ensure!(refused.to_string().contains("400"), "{refused}");
    Ok(())
}
