//! Waits for the end of a run, whatever becomes of its shim.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use linux::process::Pidfd;
use runtime::shim::protocol::{ExitInfo, Request};
use tokio::process::Child;

use super::driver;
use super::record::ContainerRecord;
use super::request::ContainerPaths;
use crate::shim::{Shim, ShimError};

/// Pause before a wait that the daemon had no resources for is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunEnd {
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    pub(crate) finished_at: Timestamp,
    /// Why the exit code is not the process's own.
    pub(crate) error: String,
}

/// What has to be known to wait.
#[derive(Debug, Clone)]
pub(crate) struct RunId {
    pub(super) paths: Arc<ContainerPaths>,
    pub(super) pid: i32,
    pub(super) start_ticks: u64,
    /// Relative to each hierarchy's root.
    pub(super) cgroup: PathBuf,
}

/// Waits until the run is over and its shim has ended. `child` is the shim, if this process
/// started it.
pub(super) async fn wait(run: RunId, child: Option<Child>) -> RunEnd {
    let shim = Shim::new(&run.paths.bundle);
    let info = loop {
        let answer: Result<(ExitInfo, _), ShimError> = shim.call(&Request::Wait).await;
        match answer {
            Ok((info, _connection)) => break Some(info),
            // It is the daemon that lacks something; the shim is there.
            Err(error) if error.is_temporary() => {
                tracing::warn!(pid = run.pid, %error, "cannot wait for a container's end yet");
                tokio::time::sleep(RETRY).await;
            }
            // The shim writes the file before it answers, so an answer that was lost is there.
            Err(_) => break driver::exit_info(&run.paths, run.pid),
        }
    };
    if let Some(mut child) = child {
        match &info {
            // It leaves by itself now; nobody has to wait for that.
            Some(_) => drop(tokio::spawn(async move { child.wait().await })),
            None => {
                let _ = child.wait().await; // reaped or gone, either is well
            }
        }
    }
    // It may have come to write the file while it ended.
    let info = info.or_else(|| driver::exit_info(&run.paths, run.pid));
    match info {
        Some(info) => end_of(&info),
        None => lost(run).await,
    }
}

/// Translates the shim's account.
pub(crate) fn end_of(info: &ExitInfo) -> RunEnd {
    for warning in &info.warnings {
        tracing::warn!(pid = info.pid, warning, "shim could not clean up");
    }
    RunEnd {
        exit_code: info.exit_code,
        oom_killed: info.oom_killed,
        finished_at: driver::timestamp(info.finished_at_ns),
        error: String::new(),
    }
}

/// The shim died before its container. Without it nobody reads the output nor sees the exit, so
/// what is left of the container is killed.
pub(crate) async fn lost(run: RunId) -> RunEnd {
    let killed = crate::blocking(move || {
        kill_leftovers(&run);
        Ok(())
    })
    .await;
    if let Err(error) = killed {
        tracing::error!(%error, "processes of a lost container not killed");
    }
    RunEnd {
        exit_code: 137,
        oom_killed: false,
        finished_at: Timestamp::now(),
        error: "the container's shim was lost".to_owned(),
    }
}

/// The machine was restarted under the container; nobody knows how its process ended.
pub(crate) fn rebooted() -> RunEnd {
    RunEnd {
        exit_code: 255,
        oom_killed: false,
        finished_at: Timestamp::now(),
        error: "the machine was restarted while the container ran".to_owned(),
    }
}

fn kill_leftovers(run: &RunId) {
    if let Ok(pid) = u32::try_from(run.pid) {
        kill_process(pid, run.start_ticks);
    }
    remove_cgroups(&run.cgroup);
}

/// Kills the process that had this number when it had this start time, and no other.
pub(crate) fn kill_process(pid: u32, start_ticks: u64) {
    // Opened before the look: what the descriptor names cannot change any more.
    if let Ok(pidfd) = Pidfd::open(pid)
        && linux::process::start_ticks(pid).is_ok_and(|ticks| ticks == start_ticks)
    {
        let _ = pidfd.kill(); // it may have ended by itself
    }
}

/// Names the present run of a record.
pub(crate) fn run_id(paths: &ContainerPaths, record: &ContainerRecord, cgroup: PathBuf) -> RunId {
    RunId {
        paths: Arc::new(paths.clone()),
        pid: record.state.pid,
        start_ticks: record.state.pid_start_ticks,
        cgroup,
    }
}

/// Kills what is in a container's cgroups and removes them.
pub(crate) fn remove_cgroups(cgroup: &Path) {
    for root in hierarchies() {
        let directory = root.join(cgroup.strip_prefix("/").unwrap_or(cgroup));
        if directory.is_dir() {
            remove_cgroup(&directory, 0);
        }
    }
}

/// Every mounted cgroup hierarchy.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let kind = right.split(' ').next()?;
            let mut fields = left.split(' ');
            let (root, target) = (fields.nth(3)?, fields.next()?);
            (matches!(kind, "cgroup" | "cgroup2") && root == "/").then(|| target.into())
        })
        .collect()
}

fn remove_cgroup(directory: &Path, depth: usize) {
    // A container can nest cgroups; none nests so deep in earnest.
    if depth < 32
        && let Ok(entries) = std::fs::read_dir(directory)
    {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_cgroup(&entry.path(), depth + 1);
            }
        }
    }
    // A frozen process does not die before it is thawed.
    let _ = std::fs::write(directory.join("freezer.state"), "THAWED"); // v1 freezer only
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
    while std::time::Instant::now() < deadline {
        let procs = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines().filter_map(|line| line.parse().ok()) {
            if let Ok(pidfd) = Pidfd::open(pid) {
                let _ = pidfd.kill(); // it may have ended by itself
                let fd = std::os::fd::AsFd::as_fd(&pidfd);
                let mut poll = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                let _ = rustix::event::poll(&mut poll, Some(&limit)); // looked at again below
            }
        }
        match std::fs::remove_dir(directory) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) if procs.is_empty() => {
                // Killed but not reaped yet; the kernel tells nobody when that is done.
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(_) => {}
        }
    }
    tracing::warn!(path = %directory.display(), "cgroup not removed");
}
