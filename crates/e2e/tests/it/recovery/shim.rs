//! The shim, the init, or the whole machine dies instead of the daemon.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::{Host, eventually};
use rustix::process::Signal;

use super::{becomes, host, inspect, shim_of, signal};

/// A container that runs without and one with restart=always, each with all that can be left.
fn start_two(host: &Host) -> Result<()> {
    for (name, policy) in [("plain", "no"), ("always", "always")] {
        let args = ["run", "-d", "--name", name, "--restart", policy, "-p", "7", "-v", "/v"];
        host.teu().run(&[&args[..], &["busybox", "sleep", "600"]].concat())?;
    }
    Ok(())
}

/// The plain one ended with `code`, the other one runs again under a new pid.
fn are_judged(host: &Host, before: &str, code: i32, error: &str) -> Result<()> {
    let teu = host.teu();
    let ended = format!("exited {code}");
    becomes(&teu, "plain", "{{.State.Status}} {{.State.ExitCode}}", &ended)?;
    let told = inspect(&teu, "plain", "{{.State.Error}}")?;
    ensure!(told.contains(error) && told.is_empty() == error.is_empty(), "{told:?}");
    eventually("it runs again", || {
        let now = inspect(&teu, "always", "{{.State.Status}} {{.State.Pid}}")?;
        ensure!(now.starts_with("running ") && now != format!("running {before}"), "{now}");
        Ok(())
    })?;
    teu.run(&["exec", "always", "true"])?;
    let id = inspect(&teu, "plain", "{{.Id}}")?;
    eventually("nothing of it is left", || {
        let left = e2e::leftovers::of_container(&id);
        ensure!(left.is_empty(), "{left:?}");
        ensure!(!host.exec_root().join("containers").join(&id).exists(), "the bundle is left");
        ensure!(links(host)? == 1, "{} links", links(host)?);
        Ok(())
    })?;
    // What was lost can be started again, and removed with all it had.
    teu.run(&["start", "plain"])?;
    teu.run(&["exec", "plain", "true"])?;
    teu.run(&["rm", "-f", "-v", "plain", "always"])?;
    ensure!(teu.run(&["volume", "ls", "-q"])?.is_empty(), "volumes are left");
    Ok(())
}

fn links(host: &Host) -> Result<usize> {
    let mut ip = std::process::Command::new("ip");
    let links = ip.args(["-o", "link", "show", "master", host.bridge()]).output()?;
    Ok(String::from_utf8_lossy(&links.stdout).lines().count())
}

#[test]
fn killed_shims_end_their_containers() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let host = host()?;
    let teu = host.teu();
    start_two(&host)?;
    let pid = inspect(&teu, "always", "{{.State.Pid}}")?;
    for name in ["plain", "always"] {
        signal(shim_of(&teu, name)?, Signal::KILL)?;
    }
    are_judged(&host, &pid, 137, "shim")
}

#[test]
fn shims_of_an_earlier_daemon_end_their_containers() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    start_two(&host)?;
    let pid = inspect(&teu, "always", "{{.State.Pid}}")?;
    host.kill_daemon()?;
    host.start_daemon()?;
    for name in ["plain", "always"] {
        signal(shim_of(&teu, name)?, Signal::KILL)?;
    }
    are_judged(&host, &pid, 137, "shim")
}

#[test]
fn shims_and_daemon_killed_together() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    start_two(&host)?;
    let pid = inspect(&teu, "always", "{{.State.Pid}}")?;
    let shims = [shim_of(&teu, "plain")?, shim_of(&teu, "always")?];
    host.kill_daemon()?;
    for shim in shims {
        signal(shim, Signal::KILL)?;
    }
    host.start_daemon()?;
    are_judged(&host, &pid, 137, "shim")
}

#[test]
fn killed_inits_end_their_containers() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let host = host()?;
    let teu = host.teu();
    start_two(&host)?;
    let pid = inspect(&teu, "always", "{{.State.Pid}}")?;
    for name in ["plain", "always"] {
        signal(inspect(&teu, name, "{{.State.Pid}}")?.parse()?, Signal::KILL)?;
    }
    are_judged(&host, &pid, 137, "")
}

/// After a reboot no process is left and the exec root, a memory file system, is empty.
#[test]
fn a_reboot_ends_containers_and_starts_those_that_always_run() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    start_two(&host)?;
    teu.run(&["run", "--name", "done", "busybox", "sh", "-c", "exit 5"]).unwrap_err();
    let pid = inspect(&teu, "always", "{{.State.Pid}}")?;
    let names = ["plain", "always"];
    let shims = names.map(|name| shim_of(&teu, name));
    let inits = names.map(|name| inspect(&teu, name, "{{.State.Pid}}"));
    let ids = [inspect(&teu, "plain", "{{.Id}}")?, inspect(&teu, "always", "{{.Id}}")?];
    host.kill_daemon()?;
    for (shim, init) in shims.into_iter().zip(inits) {
        signal(shim?, Signal::KILL)?;
        let init = init?;
        signal(init.parse()?, Signal::KILL)?;
        eventually("the init is gone", || {
            ensure!(!Path::new(&format!("/proc/{init}")).exists());
            Ok(())
        })?;
    }
    for id in ids {
        eventually("cgroups are removed", || {
            let left = e2e::leftovers::of_container(&id);
            for cgroup in left.iter().filter_map(|what| what.strip_prefix("cgroup ")) {
                std::fs::remove_dir(cgroup)?;
            }
            Ok(())
        })?;
    }
    std::fs::remove_dir_all(host.exec_root())?;
    std::process::Command::new("ip").args(["link", "del", host.bridge()]).status()?;
    host.start_daemon()?;
    ensure!(inspect(&teu, "done", "{{.State.Status}} {{.State.ExitCode}}")? == "exited 5");
    are_judged(&host, &pid, 255, "restarted")
}

/// A shim that is stopped, or starved by a busy machine, is not a dead one.
#[test]
fn a_silent_shim_keeps_its_container() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    teu.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "until [ -e /go ]; do sleep 0.05; done; exit 6",
    ])?;
    let before = inspect(&teu, "cc", "{{.State.Status}} {{.State.Pid}}")?;
    let shim = shim_of(&teu, "cc")?;
    signal(shim, Signal::STOP)?;
    host.kill_daemon()?;
    let restarted = host.start_daemon();
    let found = inspect(&teu, "cc", "{{.State.Status}} {{.State.Pid}}");
    signal(shim, Signal::CONT)?;
    restarted?;
    let found = found?;
    ensure!(found == before, "{before} became {found}");
    teu.run(&["exec", "-d", "cc", "touch", "/go"])?;
    becomes(&teu, "cc", "{{.State.Status}} {{.State.ExitCode}}", "exited 6")
}
