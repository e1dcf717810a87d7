//! What is fetched into a sandbox before a task starts.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, ClusterOptions, Scheduler, Web, busybox, eventually, is_root};
use serde_json::json;

fn archive(dir: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::create_dir_all(dir.join("pack/bin"))?;
    std::fs::write(dir.join("pack/bin/tool"), "#!/bin/sh\necho tool\n")?;
    let pack = "chmod 755 bin/tool; tar -czf ../pack.tgz bin";
    let status = Command::new("sh").args(["-c", pack]).current_dir(dir.join("pack")).status()?;
    ensure!(status.success(), "tar ended with {status}");
    Ok(std::fs::read(dir.join("pack.tgz"))?)
}

#[test]
fn uris_are_in_the_sandbox_before_the_task_starts() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    let host = cluster.host();
    host.load_busybox()?;
    let packed = archive(host.scratch())?;
    let web = Web::start(vec![
        ("/pack.tgz?v=1", "200 OK", packed),
        ("/run.sh", "200 OK", b"#!/bin/sh\necho run\n".to_vec()),
    ])?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let http = |path: &str| format!("http://127.0.0.1:{}{path}", web.port());
    let local = host.scratch().join("pack.tgz").display().to_string();
    let uris = json!([
        {"value": http("/pack.tgz?v=1")},
        {"value": http("/run.sh"), "executable": true, "cache": true},
        {"value": format!("file://{local}"), "extract": false, "output_file": "kept/a.tgz"},
        {"value": local, "output_file": "b.tgz"},
    ]);
    let script = "cd $MESOS_SANDBOX; bin/tool; ./run.sh; ls kept; test -x kept/a.tgz || echo plain";
    let mut docker = busybox("HOST", script);
    docker["command"]["uris"] = uris.clone();
    let process = json!({"command": {"value": script, "uris": uris}});
    for task in [docker, process] {
        let id = scheduler.launch(&[task])?.remove(0);
        scheduler.until(&id, "TASK_FINISHED")?;
        let path = format!("/frameworks/{}/executors/{id}/runs/latest/stdout", scheduler.id());
        let printed =
            e2e::http::get_path(cluster.agent(), &format!("/files/download?path={path}"))?;
        ensure!(printed == "tool\nrun\na.tgz\nplain\n", "{printed:?}");
    }
    let absent = http("/absent");
    for (value, text) in [
        (absent.as_str(), "404 Not Found"),
        ("ftp://127.0.0.1/x", "not ftp"),
        ("relative", "has to be absolute"),
    ] {
        let mut task = busybox("HOST", "true");
        task["command"]["uris"] = json!([{"value": value}]);
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FAILED")?;
        let message = updates.last().and_then(|u| u["message"].as_str()).context("no message")?;
        let begins = format!("Failed to launch container: Failed to fetch '{value}'");
        ensure!(message.starts_with(&begins) && message.contains(text), "{message}");
    }
    Ok(())
}

#[test]
fn what_is_cached_is_downloaded_once_for_all_tasks_of_a_user() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("local"), "local\n")?;
    let agent_flags = vec![
        format!("--frameworks_home={}", home.path().display()),
        format!("--fetcher_cache_dir={}", home.path().join("cache").display()),
    ];
    let mut cluster = Cluster::start_with(ClusterOptions { agent_flags, ..Default::default() })?;
    let packed = archive(cluster.host().scratch())?;
    let large = vec![b'x'; 4 << 20];
    let web = Web::start(vec![("/large", "200 OK", large), ("/pack.tgz", "200 OK", packed)])?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let http = |path: &str| format!("http://127.0.0.1:{}{path}", web.port());
    let uris = json!([
        {"value": http("/large"), "cache": true, "executable": true},
        {"value": http("/pack.tgz"), "cache": true},
        {"value": "local", "cache": true, "output_file": "sub/name"},
    ]);
    // Of an archive in the cache only what is in it comes into the sandbox.
    let script =
        "wc -c < large; test -x large && bin/tool; cat sub/name; test -e pack.tgz || echo no";
    let task = json!({"command": {"value": script, "uris": uris}});
    let run = |scheduler: &mut Scheduler, cluster: &Cluster, tasks: &[serde_json::Value]| {
        let ids = scheduler.launch(tasks)?;
        let mut left: Vec<&String> = ids.iter().collect();
        while !left.is_empty() {
            let update = scheduler.update()?;
            let state = update["state"].as_str().unwrap_or_default();
            ensure!(!["TASK_FAILED", "TASK_LOST"].contains(&state), "{update}");
            if state == "TASK_FINISHED" {
                left.retain(|id| update["task_id"]["value"] != id.as_str());
            }
        }
        for id in &ids {
            let path = format!("/frameworks/{}/executors/{id}/runs/latest/stdout", scheduler.id());
            let path = format!("/files/download?path={path}");
            let printed = e2e::http::get_path(cluster.agent(), &path)?;
            ensure!(printed == "4194304\ntool\nlocal\nno\n", "{printed:?}");
        }
        Ok(())
    };
    run(&mut scheduler, &cluster, &[task.clone(), task.clone()])?;
    run(&mut scheduler, &cluster, std::slice::from_ref(&task))?;
    ensure!(web.requests("/large") == 1, "{} downloads", web.requests("/large"));
    ensure!(web.requests("/pack.tgz") == 1, "{} downloads", web.requests("/pack.tgz"));
    let metrics = e2e::http::get_path(cluster.agent(), "/metrics/snapshot")?;
    let metrics: serde_json::Value = serde_json::from_str(&metrics)?;
    let used = metrics["containerizer/fetcher/cache_size_used_bytes"].as_f64().unwrap_or_default();
    ensure!(used > f64::from(4 << 20), "{metrics}");
    ensure!(metrics["containerizer/fetcher/task_fetches_succeeded"] == 3.0, "{metrics}");

    // Whoever does not ask for the cache gets what there is now; a new agent begins without one.
    let plain = json!({"command": {"value": "true", "uris": [{"value": http("/large")}]}});
    let id = scheduler.launch(&[plain])?.remove(0);
    scheduler.until(&id, "TASK_FINISHED")?;
    ensure!(web.requests("/large") == 2, "{} downloads", web.requests("/large"));
    cluster.kill_agent()?;
    cluster.start_agent()?;
    run(&mut scheduler, &cluster, &[task])?;
    ensure!(web.requests("/large") == 3, "{} downloads", web.requests("/large"));
    Ok(())
}

/// Takes connections on the loopback and never says anything; tells how many there are.
fn silence() -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            open.push(stream);
            count.store(open.len(), Ordering::SeqCst);
        }
    });
    Ok((port, taken))
}

#[test]
fn what_never_comes_keeps_no_task_waiting() -> Result<()> {
    let Some((mut cluster, mut scheduler)) = super::framework()? else { return Ok(()) };
    let (port, taken) = silence()?;
    let asked = |count: usize| {
        eventually("somebody waits for the server", || {
            let now = taken.load(Ordering::SeqCst);
            ensure!(now >= count, "{now} connections");
            Ok(())
        })
    };
    let uri = json!([{"value": format!("http://127.0.0.1:{port}/x"), "cache": true}]);
    let mut fetches = busybox("HOST", "true");
    fetches["command"]["uris"] = uri.clone();
    let process = json!({"command": {"value": "true", "uris": uri}});
    let mut pulls = busybox("HOST", "true");
    pulls["container"]["docker"]["image"] = json!(format!("127.0.0.1:{port}/silent:1"));
    // A task that is killed meanwhile is killed. Of one URI the second waits for the first.
    let ids = scheduler.launch(&[fetches.clone(), process.clone(), pulls])?;
    asked(2)?;
    for id in &ids {
        scheduler.kill(id)?;
        let updates = scheduler.until(id, "TASK_KILLED")?;
        let last = updates.last().context("no update")?;
        ensure!(last["reason"] == "REASON_TASK_KILLED_DURING_LAUNCH", "{last}");
    }
    // One whose agent is killed meanwhile has failed.
    let before = taken.load(Ordering::SeqCst);
    let ids = scheduler.launch(&[fetches, process.clone()])?;
    asked(before + 1)?;
    // The second may still be on its way; one that never came there would be lost.
    eventually("the agent has written both tasks down", || {
        for id in &ids {
            let record = format!("*/tasks/{id}/task.info");
            let meta = cluster.agent_work_dir().join("meta");
            let found = Command::new("find").arg(meta).args(["-path", &record]).output()?;
            ensure!(!found.stdout.is_empty(), "no {record}");
        }
        Ok(())
    })?;
    cluster.kill_agent()?;
    cluster.set_agent_flags(&["--fetcher_stall_timeout=200ms"]);
    cluster.start_agent()?;
    let mut left = ids.clone();
    while !left.is_empty() {
        let update = scheduler.update()?;
        ensure!(update["reason"] == "REASON_AGENT_RESTARTED", "{update}");
        left.retain(|id| update["task_id"]["value"] != id.as_str());
    }
    // And nobody waits for ever.
    let id = scheduler.launch(&[process])?.remove(0);
    let updates = scheduler.until(&id, "TASK_FAILED")?;
    let message = updates.last().and_then(|u| u["message"].as_str()).context("no message")?;
    ensure!(message.contains("Failed to fetch 'http://127.0.0.1:"), "{message}");
    Ok(())
}
