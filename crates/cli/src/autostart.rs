//! Starts the daemon when nobody answers on the default socket.
//!
//! The daemon gets a session of its own: this program starts itself once more
//! as a launcher, which leaves the session and becomes the daemon. A lock
//! makes two commands at a time start one daemon.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use docker_api::{Client, Host};
use rustix::fs::{FlockOperation, flock};

use crate::cli::DEFAULT_SOCKET;
use crate::failure::Failure;

/// The hidden command that becomes the daemon.
pub(crate) const LAUNCHER: &str = "__start-daemon";
const LOG: &str = "/var/log/teu/daemon.log";
const LOCK: &str = "/run/teu/autostart.lock";
const DEADLINE: Duration = Duration::from_secs(20);

/// Tells whether a failed connection is one that starting the daemon would mend.
pub(crate) fn applies(host: &Host, error: &docker_api::Error) -> bool {
    let docker_api::Error::Connect { source, .. } = error else {
        return false;
    };
    let absent =
        matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
    absent && *host == Host::Unix(DEFAULT_SOCKET.into()) && rustix::process::geteuid().is_root()
}

/// Becomes the daemon, in a session of its own. Returns only when that fails.
pub(crate) fn launch() -> io::Error {
    let _ = rustix::process::setsid(); // fails only for a session leader, which is what is wanted
    if let Err(error) = std::env::set_current_dir("/") {
        return error;
    }
    match std::env::current_exe() {
        Ok(program) => Command::new(program).arg0("teu").arg("daemon").exec(),
        Err(error) => error,
    }
}

/// Starts the daemon and waits until it answers `client`.
pub(crate) async fn start_daemon(client: &Client) -> Result<(), Failure> {
    let told = |what: &str, path: &str, error: io::Error| {
        Failure::new(format!("cannot start the daemon: {what} {path}: {error}"))
    };
    for path in [LOG, LOCK] {
        if let Some(dir) = Path::new(path).parent() {
            std::fs::create_dir_all(dir).map_err(|e| told("create", &dir.to_string_lossy(), e))?;
        }
    }
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open(LOCK)
        .map_err(|e| told("open", LOCK, e))?;
    // Waits for another command that is starting the daemon, at most as long as that one waits.
    flock(&lock, FlockOperation::LockExclusive).map_err(|e| told("lock", LOCK, e.into()))?;
    if client.ping().await.is_ok() {
        return Ok(());
    }
    let log =
        OpenOptions::new().create(true).append(true).open(LOG).map_err(|e| told("open", LOG, e))?;
    let log_start = log.metadata().map_or(0, |m| m.len());
    let mut child = spawn(&log).map_err(|e| told("run", "teu daemon", e))?;
    wait_for(client, &mut child, log_start).await
}

fn spawn(log: &File) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg0("teu")
        .arg(LAUNCHER)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
}

async fn wait_for(client: &Client, child: &mut Child, log_start: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + DEADLINE;
    let mut pause = Duration::from_millis(2);
    loop {
        if client.ping().await.is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            // A daemon started by hand at the same moment may have won.
            if client.ping().await.is_ok() {
                return Ok(());
            }
            return Err(failed(&format!("it ended with {status}"), log_start));
        }
        if Instant::now() >= deadline {
            return Err(failed("it does not answer", log_start));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn failed(why: &str, log_start: u64) -> Failure {
    let mut text = format!("cannot start the daemon: {why} (log: {LOG})");
    for line in log_tail(log_start) {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    Failure::new(text)
}

/// Reads the last lines that the daemon wrote since `start`.
fn log_tail(start: u64) -> Vec<String> {
    let mut text = String::new();
    let read = || -> io::Result<String> {
        let mut file = File::open(LOG)?;
        file.seek(SeekFrom::Start(start))?;
        file.take(1 << 20).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(10)..].iter().map(|&line| line.to_owned()).collect()
}
