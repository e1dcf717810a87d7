//! Engines and registries: stock dockerd under the agent, pulls with credentials, an engine that goes.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Client, Cluster, ClusterOptions, Dockerd, Registry, Scheduler, busybox, eventually, is_root,
};
use serde_json::json;

fn output(cluster: &Cluster, scheduler: &Scheduler, task: &str) -> Result<String> {
    let path = format!("/frameworks/{}/executors/{task}/runs/latest/stdout", scheduler.id());
    e2e::http::get_path(cluster.agent(), &format!("/files/download?path={path}"))
}

#[test]
fn the_agent_drives_a_stock_dockerd() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let dockerd = Dockerd::start()?;
    dockerd.load_busybox()?;
    let options = ClusterOptions { engine: Some(dockerd.socket()), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(options)?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;

    let id = scheduler.launch(&[busybox("HOST", "echo out; exit 3")])?.remove(0);
    let updates = scheduler.until(&id, "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["message"] == "Container exited with status 3", "{last}");
    ensure!(output(&cluster, &scheduler, &id)? == "out\n");

    let script = "trap 'echo bye; exit 0' TERM; touch /tmp/well; while true; do sleep 0.1; done";
    let mut long = busybox("NONE", script);
    long["health_check"] = json!({"type": "COMMAND", "command": {"value": "test -e /tmp/well"},
        "delay_seconds": 0.0, "interval_seconds": 0.1, "grace_period_seconds": 20.0});
    // Each of these is killed, not left to pile up.
    let slow = "echo x >> $MESOS_SANDBOX/probes; sleep 4322; true";
    long["check"] = json!({"type": "COMMAND", "command": {"command": {"value": slow}},
        "delay_seconds": 0.0, "interval_seconds": 0.1, "timeout_seconds": 0.2});
    let id = scheduler.launch(&[long])?.remove(0);
    let running = scheduler.until(&id, "TASK_RUNNING")?;
    let status = &running.last().context("no update")?["container_status"];
    ensure!(status["network_infos"].as_array().is_none_or(Vec::is_empty), "{status}");
    let update = scheduler.update()?;
    ensure!(update["healthy"] == true, "{update}");

    let probes = format!("/frameworks/{}/executors/{id}/runs/latest/probes", scheduler.id());
    eventually("some slow checks are made, and at most one is under way", || {
        let path = format!("/files/download?path={probes}");
        let made = e2e::http::get_path(cluster.agent(), &path)?;
        ensure!(made.lines().count() >= 4, "{made:?}");
        let under_way = super::processes(&["sleep", "4322"])?;
        ensure!(under_way <= 1, "{under_way} are under way");
        Ok(())
    })?;

    // It goes on while the agent is away, and is looked after by the next.
    cluster.kill_agent()?;
    cluster.start_agent()?;
    scheduler.kill(&id)?;
    scheduler.until(&id, "TASK_KILLED")?;
    ensure!(output(&cluster, &scheduler, &id)? == "bye\n", "no grace");
    eventually("its container is removed", || {
        let left = dockerd.docker().run(&["ps", "-aq"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// `sailor` and `harbour`, as htpasswd(1) writes them.
const USERS: &str = "sailor:$2b$04$WnHdkeH1dnTM8tYOIHxM/OvybKmWN/Qsc1ypbC2x.77tKeYDjV2Pq\n";

/// Makes a version of the image, and the registry's.
fn push(docker: &Client, image: &str, version: &str) -> Result<()> {
    let change = format!("ENV VERSION={version}");
    let container = docker.run(&["create", "busybox"])?;
    docker.run(&["commit", "-c", &change, container.trim(), image])?;
    docker.run(&["rm", container.trim()])?;
    docker.run(&["push", image]).map(drop)
}

#[test]
fn images_are_pulled_with_credentials_and_anew_when_forced() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    let host = cluster.host();
    host.load_busybox()?;
    let users = host.scratch().join("users");
    std::fs::write(&users, USERS)?;
    let registry = Registry::start_with_users(host.scratch(), &users)?;
    let server = format!("127.0.0.1:{}", registry.port());
    let image = format!("{server}/box:1");
    let login = ["login", "-u", "sailor", "--password-stdin", &server];
    host.docker().try_run_with_input(&login, b"harbour")?.ok()?;
    push(&host.docker(), &image, "1")?;
    host.docker().run(&["rmi", &image])?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let mut task = busybox("HOST", "echo $VERSION");
    task["container"]["docker"]["image"] = json!(image);

    // Nobody may have it without a password.
    let id = scheduler.launch(&[task.clone()])?.remove(0);
    let updates = scheduler.until(&id, "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["message"].as_str().is_some_and(|m| m.contains(&image)), "{last}");

    // The task brings one along, in the older and in the newer form.
    let auths = json!({&server: {"auth": "c2FpbG9yOmhhcmJvdXI="}});
    let old = host.scratch().join(".dockercfg");
    let new = host.scratch().join("brought.json");
    std::fs::write(&old, auths.to_string())?;
    std::fs::write(&new, json!({"auths": auths}).to_string())?;
    let uris = [
        json!({"value": old.display().to_string()}),
        json!({"value": new.display().to_string(), "output_file": ".docker/config.json"}),
    ];
    for uri in uris {
        let mut task = task.clone();
        task["command"]["uris"] = json!([uri]);
        let id = scheduler.launch(&[task])?.remove(0);
        scheduler.until(&id, "TASK_FINISHED")?;
        ensure!(output(&cluster, &scheduler, &id)? == "1\n");
        // The task's container goes after its last update.
        let docker = cluster.host().docker();
        eventually("nothing uses the image", || docker.run(&["rmi", &image]))?;
    }

    // The agent has one. What is there is used, unless the task wants the registry's.
    cluster.kill_agent()?;
    cluster.set_agent_flags(&[&format!("--docker_config={}", old.display())]);
    cluster.start_agent()?;
    let mut run = |force: bool| -> Result<String> {
        let mut task = task.clone();
        task["container"]["docker"]["force_pull_image"] = json!(force);
        let id = scheduler.launch(&[task])?.remove(0);
        scheduler.until(&id, "TASK_FINISHED")?;
        output(&cluster, &scheduler, &id)
    };
    ensure!(run(false)? == "1\n");
    let docker = cluster.host().docker();
    docker.run(&["tag", &image, "kept:1"])?;
    push(&docker, &image, "2")?;
    docker.run(&["tag", "kept:1", &image])?;
    ensure!(run(false)? == "1\n");
    ensure!(run(true)? == "2\n");
    Ok(())
}

#[test]
fn an_engine_that_goes_and_comes_back_costs_no_task() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start()?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let go = cluster.host().scratch().join("go");
    let script = "until test -e /go/now; do sleep 0.05; done; echo done; exit 4";
    let mut ending = busybox("HOST", script);
    std::fs::create_dir(&go)?;
    ending["container"]["volumes"] = json!([
        {"host_path": go.display().to_string(), "container_path": "/go", "mode": "RO"}]);
    let id = scheduler.launch(&[ending])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;

    cluster.host_mut().kill_daemon()?;
    std::fs::write(go.join("now"), "")?;
    // A task that comes meanwhile fails with what the engine did, and is not stuck.
    let late = scheduler.launch(&[busybox("HOST", "true")])?.remove(0);
    let updates = scheduler.until(&late, "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["reason"] == "REASON_CONTAINER_LAUNCH_FAILED", "{last}");
    let socket = cluster.host().socket().display().to_string();
    ensure!(last["message"].as_str().is_some_and(|m| m.contains(&socket)), "{last}");

    cluster.host_mut().start_daemon()?;
    let updates = scheduler.until(&id, "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["message"] == "Container exited with status 4", "{last}");
    ensure!(output(&cluster, &scheduler, &id)? == "done\n");
    let next = scheduler.launch(&[busybox("HOST", "true")])?.remove(0);
    scheduler.until(&next, "TASK_FINISHED")?;
    Ok(())
}
