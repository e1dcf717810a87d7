//! kill -9 of the daemon at any moment loses nothing and leaves nothing.

mod autostart;
mod half_done;
mod load;
mod neighbour;
mod shim;
mod startup;
mod traces;
mod upgrade;

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, eventually, is_root};

fn host() -> Result<Host> {
    let host = Host::start()?;
    host.load_busybox()?;
    Ok(host)
}

fn inspect(client: &Client, name: &str, template: &str) -> Result<String> {
    Ok(client.run(&["inspect", "-f", template, name])?.trim().to_owned())
}

/// Waits until `docker inspect -f TEMPLATE NAME` prints `wanted`.
fn becomes(client: &Client, name: &str, template: &str, wanted: &str) -> Result<()> {
    eventually(wanted, || {
        let found = inspect(client, name, template)?;
        ensure!(found == wanted, "{name}: {found:?} instead of {wanted:?}");
        Ok(())
    })
}

/// The processes whose command line names a shim and `part`.
fn shims(part: &str) -> BTreeSet<u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("teu-shim") && line.contains(part)
    })
    .collect()
}

/// The shim of one container.
fn shim_of(client: &Client, name: &str) -> Result<u32> {
    let id = inspect(client, name, "{{.Id}}")?;
    shims(&id).into_iter().next().with_context(|| format!("no shim of {name}"))
}

fn signal(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    Ok(rustix::process::kill_process(pid.context("a pid")?, signal)?)
}

#[test]
fn containers_outlive_the_daemon() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    let count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";
    teu.run(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", count])?;
    teu.run(&[
        "run",
        "-d",
        "--name",
        "ends",
        "busybox",
        "sh",
        "-c",
        "until [ -e /go ]; do sleep 0.02; done; exit 33",
    ])?;
    let pid = inspect(&teu, "runs", "{{.State.Pid}}")?;
    let ends = inspect(&teu, "ends", "{{.State.Pid}}")?;
    host.kill_daemon()?;
    std::fs::write(format!("/proc/{ends}/root/go"), "")?;
    eventually("it ends while no daemon looks", || {
        ensure!(!std::path::Path::new(&format!("/proc/{ends}")).exists());
        Ok(())
    })?;
    host.start_daemon()?;
    ensure!(inspect(&teu, "runs", "{{.State.Pid}} {{.State.Status}}")? == format!("{pid} running"));
    ensure!(inspect(&teu, "ends", "{{.State.Status}} {{.State.ExitCode}}")? == "exited 33");
    teu.run(&["exec", "runs", "true"])?;
    teu.run(&["stop", "-t", "0", "runs"])?;
    let log = teu.run(&["logs", "runs"])?;
    for (expected, line) in log.lines().enumerate() {
        ensure!(line == expected.to_string(), "line {expected} is {line:?}");
    }
    Ok(())
}

#[test]
fn sigterm_leaves_containers_running() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    teu.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    let pid = inspect(&teu, "cc", "{{.State.Pid}}")?;
    host.stop_daemon()?;
    ensure!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    host.start_daemon()?;
    ensure!(inspect(&teu, "cc", "{{.State.Pid}}")? == pid);
    Ok(())
}

#[test]
fn restart_policies_hold_over_a_crash() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    for (name, policy) in [("always", "always"), ("unless", "unless-stopped"), ("no", "no")] {
        teu.run(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "600"])?;
    }
    teu.run(&[
        "run",
        "-d",
        "--name",
        "stopped",
        "--restart",
        "unless-stopped",
        "busybox",
        "sleep",
        "600",
    ])?;
    teu.run(&["stop", "-t", "0", "stopped"])?;
    let pids: Vec<String> = ["always", "unless", "no"]
        .iter()
        .map(|name| inspect(&teu, name, "{{.State.Pid}}"))
        .collect::<Result<_>>()?;
    host.kill_daemon()?;
    for pid in &pids {
        Command::new("kill").args(["-9", pid]).status()?;
    }
    host.start_daemon()?;
    for name in ["always", "unless"] {
        eventually("it runs again", || {
            ensure!(inspect(&teu, name, "{{.State.Status}}")? == "running", "{name}");
            Ok(())
        })?;
    }
    ensure!(inspect(&teu, "no", "{{.State.Status}} {{.State.ExitCode}}")? == "exited 137");
    ensure!(inspect(&teu, "stopped", "{{.State.Running}}")? == "false");
    Ok(())
}

#[test]
fn second_daemon_on_the_same_root_is_refused() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = host()?;
    let output = host.daemon_command().output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let pid = host.daemon_pid().context("a daemon")?.to_string();
    ensure!(!output.status.success() && said.contains(&pid), "{said}");
    host.teu().run(&["ps"])?;
    Ok(())
}
