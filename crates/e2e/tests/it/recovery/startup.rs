//! What a daemon finds at its start: old pid files and sockets, sockets handed over, other daemons.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, eventually};
use rustix::process::{Pid, Signal, kill_process};

use super::{host, inspect};

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine too.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn sigterm_under_load_loses_nothing() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    teu.run(&["run", "-d", "--name", "stays", "busybox", "sleep", "600"])?;
    let pid = inspect(&teu, "stays", "{{.State.Pid}}")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..3 {
            let (teu, stop) = (teu.clone(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Whatever a daemon that ends answers is fine.
                    let _ = teu.try_run(&["run", "--rm", "-v", "/v", "busybox", "true"]);
                }
            });
        }
        // A stream that has no end does not hold up the daemon's.
        let mut events = Ended(teu.command(&["events"]).stdout(Stdio::null()).spawn()?);
        let ended = (0..3).try_for_each(|_| {
            std::thread::park_timeout(std::time::Duration::from_millis(400));
            let start = std::time::Instant::now();
            host.stop_daemon()?;
            eprintln!("ended in {:?}", start.elapsed());
            host.start_daemon()
        });
        stop.store(true, Ordering::Relaxed);
        ended?;
        eventually("the stream ended", || events.0.try_wait()?.context("still there")).map(drop)
    })?;
    ensure!(inspect(&teu, "stays", "{{.State.Pid}}")? == pid);
    eventually("nothing but the one that stays", || {
        let names = teu.run(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"])?;
        for id in teu.run(&["ps", "-aq", "--filter", "status=created"])?.split_whitespace() {
            teu.run(&["rm", "-v", id])?;
        }
        ensure!(names.lines().count() == 1, "{names}");
        Ok(())
    })?;
    ensure!(teu.run(&["volume", "ls", "-q"])?.is_empty(), "volumes are left");
    Ok(())
}

#[test]
fn stale_files_of_a_dead_daemon_do_not_matter() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    host.kill_daemon()?;
    // The kill left socket and pid file. Some other process has that pid by now.
    let pidfile = host.scratch().join("teu.pid");
    ensure!(pidfile.exists() && host.socket().exists());
    std::fs::write(&pidfile, format!("{}\n", std::process::id()))?;
    host.start_daemon()?;
    let told = std::fs::read_to_string(&pidfile)?;
    ensure!(Some(told.trim().parse()?) == host.daemon_pid(), "{told:?}");
    host.stop_daemon()?;
    ensure!(!pidfile.exists() && !host.socket().exists(), "files are left after SIGTERM");
    std::fs::write(&pidfile, "not a number\n")?;
    host.start_daemon()
}

#[test]
fn the_next_daemon_may_start_when_the_pid_file_is_gone() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let pidfile = host.scratch().join("teu.pid");
    let teu = host.teu();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let (busy, stop_busy) = (teu.clone(), &stop);
        scope.spawn(move || {
            while !stop_busy.load(Ordering::Relaxed) {
                // Keeps the stores of images and containers busy, whatever a daemon that ends answers.
                let _ = busy.try_run(&["run", "--rm", "busybox", "true"]);
            }
        });
        let restarted = (0..8).try_for_each(|_| -> Result<()> {
            let mut old = host.take_daemon()?;
            kill_process(Pid::from_child(&old), Signal::TERM)?;
            let deadline = std::time::Instant::now() + e2e::DEADLINE;
            while pidfile.exists() {
                ensure!(std::time::Instant::now() < deadline, "the pid file stays");
                std::thread::yield_now();
            }
            let started = host.start_daemon();
            ensure!(old.wait()?.success(), "{}", host.daemon_log());
            started
        });
        stop.store(true, Ordering::Relaxed);
        restarted
    })
}

#[test]
fn a_refused_second_daemon_takes_nothing_away() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let host = host()?;
    let output = host.daemon_command().output()?;
    ensure!(!output.status.success());
    let told = std::fs::read_to_string(host.scratch().join("teu.pid"))?;
    ensure!(Some(told.trim().parse()?) == host.daemon_pid(), "{told:?}");
    // Nor one with roots of its own on the same socket.
    let mut other = host.daemon_command();
    let own = host.scratch().join("own");
    other.arg("--data-root").arg(own.join("data")).arg("--exec-root").arg(own.join("run"));
    let output = other.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{said}");
    host.teu().run(&["run", "--rm", "busybox", "true"]).map(drop)
}

/// The daemon under a service manager: `start` runs `program` with a socket at descriptor 3.
struct Service {
    process: Ended,
    client: Client,
    socket: PathBuf,
    notified: UnixDatagram,
}

impl Service {
    fn start(host: &Host, pass: &[&str]) -> Result<Self> {
        let socket = host.scratch().join("handed.sock");
        let notify = host.scratch().join("notify.sock");
        let notified = UnixDatagram::bind(&notify)?;
        notified.set_read_timeout(Some(e2e::DEADLINE))?;
        let plain = host.daemon_command();
        let mut command = Command::new(pass[0]);
        command.args(&pass[1..]).arg(&socket).arg(plain.get_program());
        let mut args = plain.get_args();
        while let Some(arg) = args.next() {
            command.arg(arg);
            if arg == "-H" {
                command.arg("fd://");
                args.next();
            }
        }
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null()).stderr(Stdio::null());
        let process = Ended(command.spawn()?);
        let client = host.client_of(&format!("unix://{}", socket.display()));
        Ok(Self { process, client, socket, notified })
    }

    fn wait_ready(&self) -> Result<String> {
        let mut buffer = [0; 4096];
        let count = self.notified.recv(&mut buffer).context("no READY=1 came")?;
        Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }
}

/// Puts a listening socket at descriptor 3, as sd_listen_fds(3) has it.
const HAND_OVER: &str = "import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(64)
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])";

#[test]
fn a_socket_handed_over_is_served_and_readiness_told() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    host.stop_daemon()?;
    {
        let service = Service::start(&host, &["python3", "-c", HAND_OVER])?;
        let told = service.wait_ready()?;
        ensure!(told.lines().any(|line| line == "READY=1"), "{told:?}");
        // The container has neither the socket nor the notice of it.
        let seen = ["run", "--rm", "busybox", "sh", "-c", "ls /proc/self/fd; env"];
        let seen = service.client.run(&seen)?;
        ensure!(!seen.contains("LISTEN_") && !seen.contains("NOTIFY_"), "{seen}");
        ensure!(seen.starts_with("0\n1\n2\n3\n"), "{seen}");
        drop(service.process);
        ensure!(service.socket.exists(), "the service manager's socket was removed");
    }
    std::fs::remove_file(host.scratch().join("notify.sock"))?;
    host.start_daemon()
}

#[test]
fn the_first_request_starts_a_socket_activated_daemon() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let found =
        Command::new("systemd-socket-activate").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no systemd-socket-activate");
        return Ok(());
    }
    let mut host = host()?;
    host.stop_daemon()?;
    {
        let service =
            Service::start(&host, &["systemd-socket-activate", "-E", "NOTIFY_SOCKET", "-l"])?;
        eventually("it listens", || Ok(std::fs::metadata(&service.socket).map(drop)?))?;
        ensure!(service.client.run(&["run", "--rm", "busybox", "echo", "up"])? == "up\n");
    }
    host.start_daemon()
}

#[test]
fn fd_without_a_socket_is_refused() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let output = Command::new(e2e::bin_dir().join("teu"))
        .args(["daemon", "-H", "fd://", "--data-root"])
        .arg(dir.path().join("data"))
        .arg("--exec-root")
        .arg(dir.path().join("run"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("LISTEN_FDS"), "{said}");
    ensure!(!dir.path().join("data").exists(), "it made its root before it looked");
    Ok(())
}
