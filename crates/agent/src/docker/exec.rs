//! Signals for commands in containers, which engines have no call for.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{Engine, ExecState};

/// How long an engine may take to start a command that is to be signalled already.
const STARTING: Duration = Duration::from_secs(10);
const STARTING_PAUSE: Duration = Duration::from_millis(50);

/// Signals a command, and what it has started, by its process.
pub(crate) async fn signal_exec(engine: &Engine, id: &str, container: u32, signal: i32) {
    let Some(signal) = Signal::from_named_raw(signal) else { return };
    let started = async {
        loop {
            match engine.exec_state(id).await {
                // On a busy host the time can be over before the engine has started it.
                Ok(ExecState::Starting) => tokio::time::sleep(STARTING_PAUSE).await,
                Ok(ExecState::Running(pid)) => return Some(pid),
                Ok(ExecState::Ended) => return None,
                Err(error) => {
                    tracing::warn!(%error, "cannot signal a command in a container");
                    return None;
                }
            }
        }
    };
    // One that has not begun by then will not: its starter has gone.
    let Ok(Some(pid)) = tokio::time::timeout(STARTING, started).await else { return };
    // An engine elsewhere has other numbers: only what is in the container may be signalled.
    let namespace = |pid: u32| std::fs::read_link(Path::new(&format!("/proc/{pid}/ns/mnt"))).ok();
    let inside = namespace(pid).is_some_and(|found| Some(found) == namespace(container));
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| inside) else {
        return;
    };
    // Engines start commands as leaders of a group, which then is the command with its children.
    let leads = rustix::process::getpgid(Some(process)).is_ok_and(|group| group == process);
    let sent = if leads && pid != container {
        kill_process_group(process, signal)
    } else {
        kill_process(process, signal)
    };
    if let Err(error) = sent {
        tracing::debug!(pid, %error, "a command that was signalled has ended by itself");
    }
}
