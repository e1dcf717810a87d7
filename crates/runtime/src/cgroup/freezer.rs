//! Stopping and resuming every process at once.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::controller::{missing, read, write};
use super::{Cgroup, CgroupError};

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn freeze(cgroup: &Cgroup) -> Result<(), CgroupError> {
    // The v2 freezer is preferred where both exist: it tells when it is done, and its processes
    // can be killed.
    if let Some(directory) = unified(cgroup) {
        write(&directory, "cgroup.freeze", 1)?;
        if wait_for_event(&directory, "frozen 1") {
            return Ok(());
        }
    } else {
        let directory = cgroup.v1_directory("freezer").ok_or_else(|| missing("freezer"))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // A fork in between leaves it FREEZING; writing again catches the child as well.
            write(&directory, "freezer.state", "FROZEN")?;
            if read(&directory, "freezer.state").as_deref() == Some("FROZEN") {
                return Ok(());
            }
            std::thread::yield_now();
        }
    }
    thaw(cgroup)?;
    Err(CgroupError::Unsupported("unable to freeze: a process does not stop".to_owned()))
}

pub(super) fn thaw(cgroup: &Cgroup) -> Result<(), CgroupError> {
    if let Some(directory) = unified(cgroup) {
        return write(&directory, "cgroup.freeze", 0);
    }
    match cgroup.v1_directory("freezer") {
        Some(directory) => write(&directory, "freezer.state", "THAWED"),
        None => Ok(()),
    }
}

fn unified(cgroup: &Cgroup) -> Option<std::path::PathBuf> {
    cgroup.unified_directory().filter(|directory| directory.join("cgroup.freeze").exists())
}

/// Waits until `cgroup.events` of a v2 cgroup has `line`; `false` when patience ends.
pub(super) fn wait_for_event(directory: &Path, line: &str) -> bool {
    let Ok(mut events) = File::open(directory.join("cgroup.events")) else { return false };
    let deadline = Instant::now() + PATIENCE;
    let mut text = String::new();
    loop {
        text.clear();
        if events.rewind().is_err() || events.read_to_string(&mut text).is_err() {
            return false;
        }
        if text.lines().any(|candidate| candidate == line) {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else { return false };
        let mut fds = [PollFd::new(&events, PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
