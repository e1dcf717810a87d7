//! A cluster of one agent: tasks without a framework of one's own, status in words, `cluster up`.

mod agent;
mod failover;

use anyhow::{Result, ensure};
use e2e::{Client, Cluster, is_root, python_with_pymesos, test_data};

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
