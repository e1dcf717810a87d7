//! A cluster of one agent: tasks without a framework of one's own, status in words, `cluster up`.

mod agent;
mod bad_input;
mod checks;
mod election;
mod engines;
mod executors;
mod failover;
mod faults;
mod groups;
mod hung_engine;
mod limits;
mod nested;
mod places;
mod proofs;
mod sessions;
mod uris;

use anyhow::{Result, ensure};
use e2e::{Client, Cluster, ClusterOptions, Scheduler, is_root, python_with_pymesos, test_data};
use serde_json::json;

/// A cluster with a busybox image, and `teu` pointed at its master.
fn world() -> Result<Option<(Cluster, Client)>> {
    if !is_root() {
        return Ok(None);
    }
    let cluster = Cluster::start()?;
    cluster.host().load_busybox()?;
    let teu = cluster.host().teu().with_env("TEU_MASTER", &cluster.master().to_string());
    Ok(Some((cluster, teu)))
}

/// The same with a framework that is spoken by hand.
fn framework() -> Result<Option<(Cluster, Scheduler)>> {
    let Some((cluster, _)) = world()? else { return Ok(None) };
    let scheduler = Scheduler::subscribe(cluster.master())?;
    Ok(Some((cluster, scheduler)))
}

#[test]
fn a_task_shows_its_output_and_its_exit_code() -> Result<()> {
    let Some((_cluster, teu)) = world()? else { return Ok(()) };
    let script = "echo to stdout; echo to stderr >&2; exit 3";
    let ran = teu.try_run(&["task", "run", "busybox", "sh", "-c", script])?;
    ensure!(ran.code == 3, "{ran:?}");
    ensure!(ran.stdout == "to stdout\n", "{ran:?}");
    ensure!(ran.stderr.contains("to stderr\n"), "{ran:?}");
    ensure!(ran.stderr.contains("TASK_FAILED"), "{ran:?}");
    Ok(())
}

#[test]
fn a_master_that_asks_who_comes_is_told() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let credentials = r#"{"credentials":[{"principal":"alice","secret":"s3cret"}]}"#;
    let cluster = Cluster::start_with(ClusterOptions {
        master_flags: vec![
            "--authenticate_http_frameworks".to_owned(),
            "--authenticate_http_readwrite".to_owned(),
            format!("--credentials={credentials}"),
        ],
        agent_flags: vec![
            "--authenticate_http_readonly".to_owned(),
            "--authenticate_http_readwrite".to_owned(),
            format!("--http_credentials={credentials}"),
        ],
        ..ClusterOptions::default()
    })?;
    let agent = |path: &str| e2e::http::get_path(cluster.agent(), path);
    for guarded in ["/state", "/slave(1)/containers", "/files/debug", "/metrics/snapshot"] {
        let refused = agent(guarded).expect_err("let in").to_string();
        ensure!(refused.contains("401"), "{refused}");
    }
    let call = json!({"type": "GET_HEALTH"});
    let refused = e2e::http::post_json(cluster.agent(), "/api/v1", &call).expect_err("let in");
    ensure!(refused.to_string().contains("401"), "{refused}");
    ensure!(agent("/health")?.is_empty() && agent("/version")?.contains("1.11"), "refused");
    let run = ["task", "run", "--no-image", "echo", "let", "in"];
    for who in ["", "alice:wrong@"] {
        let teu =
            Client::of_this_host().with_env("TEU_MASTER", &format!("{who}{}", cluster.master()));
        let ran = teu.try_run(&run)?;
        ensure!(ran.code != 0 && ran.stderr.contains("401"), "{ran:?}");
        ensure!(!ran.stderr.contains("wrong"), "{ran:?}");
    }
    let master = format!("alice:s3cret@{}", cluster.master());
    let ran = Client::of_this_host().with_env("TEU_MASTER", &master).try_run(&run)?;
    ensure!(ran.code == 0 && ran.stdout == "let in\n", "{ran:?}");
    Ok(())
}

#[test]
fn a_task_without_an_image_is_a_process_in_a_cgroup_of_the_agent() -> Result<()> {
    let Some((_cluster, teu)) = world()? else { return Ok(()) };
    let ran = teu.try_run(&["task", "run", "--no-image", "cat", "/proc/self/cgroup"])?;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(ran.stdout.lines().any(|line| line.contains(":/teu-agent/")), "{ran:?}");
    Ok(())
}

#[test]
fn a_detached_task_is_listed_looked_into_and_killed_from_anywhere() -> Result<()> {
    let Some((cluster, teu)) = world()? else { return Ok(()) };
    let script = "echo it lives; exec sleep 1000";
    let run = ["task", "run", "-d", "--name", "sleeper", "busybox", "sh", "-c", script];
    let id = teu.run(&run)?.trim().to_owned();
    let listed = teu.run(&["task", "ls", "--format", "{{.ID}} {{.Name}} {{.State}}"])?;
    ensure!(listed.trim() == format!("{id} sleeper TASK_RUNNING"), "{listed:?}");
    e2e::eventually("the log has the line", || {
        let logged = teu.run(&["task", "logs", &id])?;
        ensure!(logged.contains("it lives"), "{logged:?}");
        Ok(())
    })?;
    // Anybody who reaches the master may, with the start of the id.
    let elsewhere = Client::of_this_host().with_env("TEU_MASTER", &cluster.master().to_string());
    let killed = elsewhere.run(&["task", "kill", &id[..8]])?;
    ensure!(killed.trim() == id, "{killed:?}");
    ensure!(teu.run(&["task", "ls", "-q"])?.is_empty());
    let containers = cluster.host().teu().run(&["ps", "-q"])?;
    ensure!(containers.is_empty(), "{containers:?}");
    Ok(())
}

#[test]
fn an_agent_with_a_detached_task_is_drained_without_anybody_who_acknowledges() -> Result<()> {
    let Some((cluster, teu)) = world()? else { return Ok(()) };
    let id = teu.run(&["task", "run", "-d", "busybox", "sleep", "1000"])?.trim().to_owned();
    let agents = cluster.get("/slaves")?;
    let agent = agents["slaves"][0]["id"].clone();
    let drain = json!({"agent_id": {"value": agent}, "max_grace_period": {"seconds": 0}});
    let call = json!({"type": "DRAIN_AGENT", "drain_agent": drain});
    e2e::http::post_json(cluster.master(), "/api/v1", &call)?;
    cluster.task("busybox", "TASK_KILLED")?;
    e2e::eventually("the agent no longer drains, and knows no framework", || {
        let state = e2e::http::get_path(cluster.agent(), "/state")?;
        let state: serde_json::Value = serde_json::from_str(&state)?;
        ensure!(state["drain_config"].is_null(), "{}", state["drain_config"]);
        ensure!(state["frameworks"] == json!([]), "{}", state["frameworks"]);
        Ok(())
    })?;
    let frameworks = cluster.get("/frameworks")?;
    ensure!(frameworks["frameworks"] == json!([]), "{frameworks}");
    // What it was is not forgotten.
    let listed = teu.run(&["task", "ls", "--all", "--format", "{{.ID}} {{.State}}"])?;
    ensure!(listed.trim() == format!("{id} TASK_KILLED"), "{listed:?}");
    Ok(())
}

#[test]
fn a_task_that_fits_nowhere_says_what_there_is() -> Result<()> {
    let Some((_cluster, teu)) = world()? else { return Ok(()) };
    let ran = teu.try_run(&["task", "run", "--cpus", "1000", "--wait", "2", "busybox", "true"])?;
    ensure!(ran.code == 1, "{ran:?}");
    ensure!(
        ran.stderr.contains("no offer within 2 s was large enough; the largest had"),
        "{ran:?}"
    );
    let absent = teu.try_run(&["task", "kill", "nothing"])?;
    ensure!(absent.stderr.contains("knows no task nothing"), "{absent:?}");
    Ok(())
}

#[test]
fn status_tells_why_nobody_gets_offers() -> Result<()> {
    let Some((mut cluster, teu)) = world()? else { return Ok(()) };
    let status = teu.run(&["cluster", "status"])?;
    ensure!(status.contains("Agents: 1") && status.contains("active"), "{status}");
    cluster.kill_agent()?;
    e2e::eventually("the agent is called disconnected", || {
        let status = teu.run(&["cluster", "status"])?;
        ensure!(status.contains("disconnected"), "{status}");
        Ok(())
    })?;
    cluster.kill_master()?;
    let status = teu.try_run(&["cluster", "status"])?;
    ensure!(status.code == 1, "{status:?}");
    ensure!(status.stderr.contains("cannot connect to the master at"), "{status:?}");
    Ok(())
}

#[test]
fn pymesos_operator_drivers_read_everything() -> Result<()> {
    let Some((cluster, _teu)) = world()? else { return Ok(()) };
    let output = std::process::Command::new(python_with_pymesos()?)
        .arg(test_data("operator_calls.py"))
        .args([cluster.master().to_string(), cluster.agent().to_string()])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(printed.ends_with("all read\n"), "{printed}{said}");
    Ok(())
}

/// How many processes of this machine have that command line.
fn processes(words: &[&str]) -> Result<usize> {
    let wanted: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        count += usize::from(line == wanted);
    }
    Ok(count)
}

/// A cluster started by `cluster up`, and the program that has started it.
fn brought_up(host: &e2e::Host, ports: &[String; 2]) -> Result<(std::process::Child, Client)> {
    let work_dir = host.scratch().join("cluster").to_string_lossy().into_owned();
    let log = host.scratch().join("up.log");
    let words = ["cluster", "up", "--port", &ports[0], "--agent-port", &ports[1], "--work-dir"];
    let mut command = host.teu().command(&words);
    command.arg(&work_dir);
    let output = std::fs::File::create(&log)?;
    command.stdin(std::process::Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let child = command.spawn()?;
    e2e::eventually("the cluster is up", || {
        let said = std::fs::read_to_string(&log)?;
        ensure!(said.contains("The cluster is up"), "{said}");
        Ok(())
    })?;
    let teu = host.teu().with_env("TEU_MASTER", &format!("127.0.0.1:{}", ports[0]));
    Ok((child, teu))
}

#[test]
fn a_killed_cluster_up_takes_its_roles_along_and_leaves_the_tasks() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = e2e::Host::start()?;
    host.load_busybox()?;
    let listeners = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0"));
    let mut ports = [const { String::new() }; 2];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port().to_string();
    }
    let (mut up, teu) = brought_up(&host, &ports)?;
    let id = teu.run(&["task", "run", "-d", "busybox", "sleep", "1000"])?.trim().to_owned();
    up.kill()?;
    up.wait()?;
    e2e::eventually("its roles have ended", || {
        let ps = std::process::Command::new("ps").args(["-eo", "args"]).output()?;
        let left = String::from_utf8_lossy(&ps.stdout).into_owned();
        let ours = left.lines().find(|line| line.contains(&format!("--port={}", ports[0])));
        ensure!(ours.is_none(), "still there: {ours:?}");
        ensure!(!left.contains(&format!("--port={}", ports[1])), "the agent is still there");
        Ok(())
    })?;
    ensure!(host.docker().run(&["ps", "-q"])?.lines().count() == 1, "the container ended");
    // The next one finds the task again, and can be told to end it.
    let (mut up, teu) = brought_up(&host, &ports)?;
    e2e::eventually("the task is listed", || {
        let listed = teu.run(&["task", "ls", "--format", "{{.ID}} {{.State}}"])?;
        ensure!(listed.trim() == format!("{id} TASK_RUNNING"), "{listed:?}");
        Ok(())
    })?;
    teu.run(&["task", "kill", &id])?;
    let pid = rustix::process::Pid::from_child(&up);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let status = up.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_cluster_comes_up_runs_a_task_and_goes_down_without_trace() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = e2e::Host::start()?;
    host.load_busybox()?;
    let port = || {
        Ok::<_, std::io::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
    };
    let (master, agent) = (port()?.to_string(), port()?.to_string());
    let work_dir = host.scratch().join("cluster").to_string_lossy().into_owned();
    let socket = format!("--docker_socket={}", host.socket().display());
    let words = [
        "cluster",
        "up",
        "--port",
        &master,
        "--agent-port",
        &agent,
        "--work-dir",
        &work_dir,
        "--agent-flag",
        &socket,
    ];
    let mut pty = host.teu().terminal(&words)?;
    pty.expect("The cluster is up", e2e::DEADLINE)?;
    let teu = host.teu().with_env("TEU_MASTER", &format!("127.0.0.1:{master}"));
    let ran = teu.run(&["task", "run", "busybox", "echo", "hello"])?;
    ensure!(ran == "hello\n", "{ran:?}");
    pty.send("\x03")?;
    let (status, shown) = pty.finish(e2e::DEADLINE)?;
    ensure!(status.success(), "cluster up ended with {status}: {shown}");
    let ps = std::process::Command::new("ps").args(["-eo", "args"]).output()?;
    let left = String::from_utf8_lossy(&ps.stdout).into_owned();
    let ours = left.lines().find(|line| line.contains(&format!("--port={master}")));
    ensure!(ours.is_none(), "still there: {ours:?}");
    Ok(())
}
