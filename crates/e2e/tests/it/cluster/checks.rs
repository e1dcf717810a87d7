//! Checks that kill and checks that only tell, on containers of their own network.

use anyhow::{Context as _, Result, ensure};
use e2e::{Scheduler, busybox, eventually};
use serde_json::{Value as Json, json};

use super::framework;

fn often(mut check: Json) -> Json {
    check["delay_seconds"] = json!(0.0);
    check["interval_seconds"] = json!(0.1);
    check
}

/// Waits for an update that says that of the task's check; those before may say what they want.
fn told(scheduler: &mut Scheduler, task: &str, wanted: &Json) -> Result<()> {
    loop {
        let update = scheduler.update()?;
        ensure!(update["task_id"]["value"] == task, "{update}");
        ensure!(update["state"] == "TASK_RUNNING", "{update}");
        ensure!(update["check_status"].is_object(), "no check_status: {update}");
        if update["check_status"] == *wanted {
            ensure!(update["reason"] == "REASON_TASK_CHECK_STATUS_UPDATED", "{update}");
            return Ok(());
        }
    }
}

#[test]
fn checks_tell_what_they_see_and_kill_nothing() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let server = "mkdir /www; httpd -f -p 8099 -h /www";
    let mut http = busybox("BRIDGE", server);
    http["check"] = often(json!({"type": "HTTP", "http": {"port": 8099, "path": "/page"}}));
    let mut tcp = busybox("BRIDGE", "until test -e /go; do sleep 0.05; done; httpd -f -p 8099");
    tcp["check"] = often(json!({"type": "TCP", "tcp": {"port": 8099}}));
    let mut command = busybox("HOST", "exec sleep 1000");
    // What the task has in its environment its check has too.
    let variables = json!({"variables": [{"name": "CODE", "value": "7"}]});
    command["command"]["environment"] = variables.clone();
    let script = json!({"command": {"value": "test -e /go || exit $CODE"}});
    command["check"] = often(json!({"type": "COMMAND", "command": script}));
    let mut process = json!({"command": {"value": "exec sleep 1000"}});
    process["command"]["environment"] = variables;
    let script = json!({"command": {"value": "test -e $MESOS_SANDBOX/go || exit $CODE"}});
    process["check"] = often(json!({"type": "COMMAND", "command": script}));
    let exit = |code: i32| json!({"type": "COMMAND", "command": {"exit_code": code}});
    let status = |code: u16| json!({"type": "HTTP", "http": {"status_code": code}});
    let open = |yes: bool| json!({"type": "TCP", "tcp": {"succeeded": yes}});
    for (task, before, change, after) in [
        (http, status(404), "echo hi > /www/page", status(200)),
        (tcp, open(false), "touch /go", open(true)),
        (command, exit(7), "touch /go", exit(0)),
        (process, exit(7), "", exit(0)),
    ] {
        let mut task = task;
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
        let id = scheduler.launch(&[task])?.remove(0);
        let first = scheduler.until(&id, "TASK_RUNNING")?;
        let kind = &after["type"];
        ensure!(first.iter().all(|update| update["check_status"]["type"] == *kind), "{first:?}");
        told(&mut scheduler, &id, &before)?;
        if change.is_empty() {
            let run = format!("frameworks/{}/executors/{id}/runs/latest", scheduler.id());
            let agents = std::fs::read_dir(cluster.agent_work_dir().join("slaves"))?;
            let agent = agents.last().context("no agent")??.path();
            std::fs::write(agent.join(run).join("go"), "")?;
        } else {
            let container = cluster.host().docker().run(&["ps", "-q"])?;
            cluster.host().docker().run(&["exec", container.trim(), "sh", "-c", change])?;
        }
        told(&mut scheduler, &id, &after)?;
        scheduler.kill(&id)?;
        let last = scheduler.until(&id, "TASK_KILLED")?;
        let last = last.last().context("no update")?;
        ensure!(last["check_status"] == after, "{last}");
    }
    Ok(())
}

#[test]
fn a_health_command_that_takes_too_long_is_killed() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    // Its child would outlive a kill of the shell alone.
    let script = "echo x >> $MESOS_SANDBOX/probes; sleep 4321; true";
    let mut check = often(json!({"type": "COMMAND", "command": {"value": script}}));
    check["timeout_seconds"] = json!(0.2);
    check["grace_period_seconds"] = json!(0.0);
    check["consecutive_failures"] = json!(1_000_000);
    let kill_policy = json!({"grace_period": {"nanoseconds": 0}});
    let mut container = busybox("HOST", "exec sleep 1000");
    let mut process = json!({"command": {"value": "exec sleep 1000"}});
    for task in [&mut container, &mut process] {
        task["health_check"] = check.clone();
        task["kill_policy"] = kill_policy.clone();
        let id = scheduler.launch(std::slice::from_ref(task))?.remove(0);
        scheduler.until(&id, "TASK_RUNNING")?;
        let update = scheduler.update()?;
        ensure!(update["healthy"] == false, "{update}");
        let path = format!("/frameworks/{}/executors/{id}/runs/latest/probes", scheduler.id());
        eventually("some probes are made", || {
            let path = format!("/files/download?path={path}");
            let probes = e2e::http::get_path(cluster.agent(), &path)?;
            ensure!(probes.lines().count() >= 4, "{probes:?}");
            Ok(())
        })?;
        let before = super::processes(&["sleep", "4321"])?;
        ensure!(before <= 1, "{before} commands are still running");
        scheduler.kill(&id)?;
        scheduler.until(&id, "TASK_KILLED")?;
        eventually("the last one ends with the task", || {
            let left = super::processes(&["sleep", "4321"])?;
            ensure!(left == 0, "{left} commands are still running");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_check_says_nothing_of_a_task_that_has_ended() -> Result<()> {
    let Some((_cluster, mut scheduler)) = framework()? else { return Ok(()) };
    // The task ends while it is being checked, and takes the check along.
    let script = "while ! test -e $MESOS_SANDBOX/probed; do sleep 0.01; done";
    let probe = json!({"value": "touch $MESOS_SANDBOX/probed; exec sleep 1000"});
    let mut task = busybox("BRIDGE", script);
    task["health_check"] = often(json!({"type": "COMMAND", "command": probe}));
    task["health_check"]["grace_period_seconds"] = json!(0.0);
    task["health_check"]["consecutive_failures"] = json!(1_000_000);
    let ids = scheduler.launch(&vec![task; 10])?;
    let mut ended = 0;
    while ended < ids.len() {
        let update = scheduler.update()?;
        ensure!(update["healthy"].is_null(), "{update}");
        ended += usize::from(update["state"] == "TASK_FINISHED");
    }
    Ok(())
}

#[test]
fn a_health_check_over_tls_takes_any_certificate() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let dir = cluster.host().scratch();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=nobody", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let script = format!(
        "cd {}; exec openssl s_server -quiet -www -accept 127.0.0.1:{port} -cert cert.pem \
         -key key.pem",
        dir.display()
    );
    for (scheme, well) in [("https", true), ("http", false)] {
        let mut task = json!({"command": {"value": script}});
        let http = json!({"scheme": scheme, "port": port, "path": "/"});
        task["health_check"] = often(json!({"type": "HTTP", "http": http}));
        task["health_check"]["grace_period_seconds"] = json!(if well { 20.0 } else { 0.0 });
        task["health_check"]["consecutive_failures"] = json!(1_000_000);
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
        let id = scheduler.launch(&[task])?.remove(0);
        scheduler.until(&id, "TASK_RUNNING")?;
        let update = scheduler.update()?;
        ensure!(update["healthy"] == well, "{scheme}: {update}");
        scheduler.kill(&id)?;
        scheduler.until(&id, "TASK_KILLED")?;
    }
    Ok(())
}
