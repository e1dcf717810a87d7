//! kill -9 of the daemon at any moment loses nothing and leaves nothing.

mod autostart;
mod shim;
mod startup;
mod upgrade;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, HostOptions, eventually, is_root};

fn host() -> Result<Host> {
    let host = Host::start_with(HostOptions::default())?;
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

/// What the kernel has of a container by its id: cgroup directories of every hierarchy, mounts.
fn leftovers(id: &str) -> Result<Vec<String>> {
    let found =
        Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("*{id}*")]).output()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = mounts.lines().filter(|line| line.contains(id)).map(str::to_owned);
    let cgroups = String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
    Ok([cgroups, mounts.collect(), shims(id).iter().map(u32::to_string).collect::<Vec<_>>()]
        .concat())
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
            ensure!(inspect(&teu, name, "{{.State.Running}}")? == "true", "{name}");
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

/// What of ours exists on this host outside the daemon's own directories.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    processes: BTreeSet<String>,
    rules: String,
    containers: BTreeSet<String>,
    layers: BTreeSet<String>,
}

impl Traces {
    fn of(host: &Host) -> Result<Self> {
        let scratch = host.scratch().display().to_string();
        let names = |path: std::path::PathBuf| -> BTreeSet<String> {
            std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
                .collect()
        };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| point.starts_with(&scratch))
            .map(str::to_owned)
            .collect();
        let links =
            Command::new("ip").args(["-j", "link", "show", "master", host.bridge()]).output()?;
        let links: serde_json::Value = serde_json::from_slice(&links.stdout).unwrap_or_default();
        let links =
            links.as_array().into_iter().flatten().map(|link| link["ifname"].to_string()).collect();
        let processes = names("/proc".into())
            .into_iter()
            .filter(|pid| pid.parse::<u32>().is_ok())
            .filter_map(|pid| {
                let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
                (command.contains("teu-shim") && command.contains(&scratch)).then_some(command)
            })
            .collect();
        // Only containers' ids are compared: other tests share the parent cgroup.
        let ours = host.teu().run(&["ps", "-aq", "--no-trunc"])?;
        let ours: BTreeSet<String> = ours.lines().map(str::to_owned).collect();
        let rules = Command::new("nft").args(["list", "ruleset"]).output()?;
        let rules = String::from_utf8_lossy(&rules.stdout);
        let rules = rules
            .lines()
            .filter(|line| line.contains("dport") && line.contains(host.bridge()))
            .collect();
        Ok(Self {
            mounts,
            links,
            cgroups: BTreeSet::new(),
            processes,
            rules,
            containers: names(host.exec_root().join("containers")).union(&ours).cloned().collect(),
            layers: names(host.data_root().join("rw")),
        })
    }
}

#[test]
fn nothing_is_left_after_random_kills_under_load() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let before = Traces::of(&host)?;
    let teu = host.teu();
    teu.run(&[
        "run",
        "-d",
        "--name",
        "server",
        "-p",
        "7",
        "busybox",
        "sh",
        "-c",
        "while :; do nc -l -p 7 -e echo hello; done",
    ])?;
    let mut ids: Vec<String> = Vec::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let teu = teu.clone();
                let stop = &stop;
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Whatever a killed daemon answers is fine; what it leaves is judged later.
                        let _ =
                            teu.try_run(&["run", "--rm", "-p", "9", "-v", "/v", "busybox", "true"]);
                        let _ = teu.try_run(&[
                            "run",
                            "-d",
                            "-l",
                            &format!("w={worker}"),
                            "busybox",
                            "sleep",
                            "600",
                        ]);
                        let _ = teu.try_run(&["ps", "-q"]).map(|ran| {
                            let victims: Vec<String> =
                                ran.stdout.lines().map(str::to_owned).collect();
                            for victim in victims.iter().take(1) {
                                if count % 2 == 0 {
                                    let _ = teu.try_run(&["exec", victim, "true"]);
                                }
                            }
                        });
                        count += 1;
                    }
                })
            })
            .collect();
        let killing = (0..10u32).try_for_each(|round| {
            let pause = Duration::from_millis(u64::from((round * 7919 + std::process::id()) % 400));
            std::thread::park_timeout(pause);
            host.kill_daemon()?;
            let start = Instant::now();
            host.start_daemon()?;
            eprintln!(
                "round {round}: killed after {pause:?}, answers again after {:?}",
                start.elapsed()
            );
            ids = teu.run(&["ps", "-aq", "--no-trunc"])?.lines().map(str::to_owned).collect();
            ensure!(inspect(&teu, "server", "{{.State.Running}}")? == "true", "the server is gone");
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("a worker does not panic");
        }
        killing
    })?;
    for id in teu.run(&["ps", "-aq"])?.lines() {
        teu.run(&["rm", "-f", "-v", id])?;
    }
    eventually("nothing is left", || {
        let after = Traces::of(&host)?;
        ensure!(after == before, "before {before:#?}\nafter {after:#?}");
        Ok(())
    })?;
    ensure!(teu.run(&["volume", "ls", "-q"])?.is_empty(), "volumes are left");
    for id in ids {
        let found =
            Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("*{id}*")]).output()?;
        ensure!(found.stdout.is_empty(), "cgroups of {id} are left");
    }
    Ok(())
}

#[test]
fn published_port_answers_while_the_daemon_is_replaced() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    teu.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "-p",
        "80",
        "busybox",
        "sh",
        "-c",
        "echo page > /index.html; httpd -f -h /",
    ])?;
    let port: u16 = teu
        .run(&["port", "cc", "80/tcp"])?
        .lines()
        .next()
        .and_then(|line| line.rsplit(':').next()?.parse().ok())
        .context("a port")?;
    let address = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    eventually("the page answers", || e2e::http::get(address))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let asking = scope.spawn(|| {
            let mut answered = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let page = e2e::http::get(address)?;
                ensure!(page == "page\n", "{page:?}");
                answered += 1;
            }
            Ok(answered)
        });
        let replaced = (0..3).try_for_each(|_| {
            host.kill_daemon()?;
            host.start_daemon()
        });
        stop.store(true, Ordering::Relaxed);
        let answered = asking.join().expect("the asking thread does not panic")?;
        ensure!(answered > 10, "only {answered} pages were fetched");
        replaced
    })
}
