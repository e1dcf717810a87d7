//! Execs: further processes in a running container.
//!
//! They live in memory only: their process ends with the container at the latest, and a client
//! that outlives the daemon finds the exec unknown, as with Docker.

mod operations;

pub use operations::ExecStart;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::container::{ContainerId, TerminalSize};
use crate::{Error, Result};

/// A process to run in a container. "Engine API ExecConfig".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecConfig {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `KEY=VALUE`, over the container's.
    pub env: Vec<String>,
    /// `user[:group]`; empty is the container's.
    pub user: String,
    /// Empty is the container's.
    pub working_dir: String,
    /// With a terminal.
    pub tty: bool,
    /// All rights.
    pub privileged: bool,
    /// Attach standard input.
    pub attach_stdin: bool,
    /// Attach standard output.
    pub attach_stdout: bool,
    /// Attach standard error.
    pub attach_stderr: bool,
    /// Keys that end the attachment; empty: none are looked for.
    pub detach_keys: Vec<u8>,
    /// Initial terminal size.
    pub console_size: Option<TerminalSize>,
}

/// How to start an exec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecStartOptions {
    /// Do not attach.
    pub detach: bool,
    /// The stream is raw, as a terminal's output is; else it is frames, even with a terminal.
    pub tty: bool,
    /// Initial terminal size, over the exec's.
    pub console_size: Option<TerminalSize>,
}

/// An exec at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSnapshot {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Where it runs.
    pub container_id: ContainerId,
    /// What it runs.
    pub config: ExecConfig,
    /// Whether it runs now.
    pub running: bool,
    /// `None` until it has ended.
    pub exit_code: Option<i32>,
    /// Its process as the host numbers it; 0 before the start.
    pub pid: i32,
}

/// What an exec is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    /// Being started or running, with its pid once that is known.
    Running {
        pid: i32,
    },
    /// Ended with this code; the pid it had.
    Exited {
        exit_code: i32,
        pid: i32,
    },
}

#[derive(Debug)]
struct Exec {
    container_id: ContainerId,
    config: ExecConfig,
    phase: watch::Sender<Phase>,
}

impl Exec {
    fn startable(&self, id: &str) -> Result<()> {
        let again = match *self.phase.borrow() {
            Phase::Created => return Ok(()),
            Phase::Running { .. } => "is already running",
            Phase::Exited { .. } => "has already run",
        };
        Err(Error::Conflict(format!("Error: Exec command {id} {again}")))
    }
}

/// How many ended or never started execs of one container are remembered.
const REMEMBERED: usize = 512;

/// All execs of containers that run.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    /// Held for a lookup or a change, never across a wait.
    execs: Mutex<HashMap<String, Exec>>,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, container_id: ContainerId, config: ExecConfig) -> String {
        let id = crate::ids::random_hex();
        let mut execs = self.lock();
        let idle: Vec<String> = execs
            .iter()
            .filter(|(_, exec)| exec.container_id == container_id)
            .filter(|(_, exec)| !matches!(*exec.phase.borrow(), Phase::Running { .. }))
            .map(|(id, _)| id.clone())
            .collect();
        if idle.len() >= REMEMBERED {
            // A client that creates and never starts must not fill the memory.
            execs.retain(|id, _| !idle[..REMEMBERED / 2].contains(id));
        }
        let (phase, _) = watch::channel(Phase::Created);
        execs.insert(id.clone(), Exec { container_id, config, phase });
        id
    }

    fn get<T>(&self, id: &str, look: impl FnOnce(&Exec) -> T) -> Result<T> {
        let execs = self.lock();
        let exec = execs.get(id).ok_or_else(|| Error::NoSuch {
            noun: "exec instance",
            name: id.escape_default().to_string(),
        })?;
        Ok(look(exec))
    }

    /// Takes the right to start; only one asker gets it.
    fn begin(&self, id: &str) -> Result<()> {
        self.get(id, |exec| {
            // Looked at and changed under the map's lock, which every starter takes.
            exec.startable(id)?;
            exec.phase.send_replace(Phase::Running { pid: 0 });
            Ok(())
        })?
    }

    fn set(&self, id: &str, phase: Phase) {
        // The container may have ended and taken the exec along.
        let _ = self.get(id, |exec| exec.phase.send_replace(phase));
    }

    /// Ids of a container's execs.
    pub(crate) fn of_container(&self, id: &ContainerId) -> Vec<String> {
        let execs = self.lock();
        let of = execs.iter().filter(|(_, exec)| exec.container_id == *id);
        of.filter(|(_, exec)| !matches!(*exec.phase.borrow(), Phase::Exited { .. }))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The container has ended, and with it every process in it. Those that ended just before
    /// stay known, so that a client can still ask for their exit code.
    pub(crate) fn forget_container(&self, id: &ContainerId) {
        for exec in self.lock().values().filter(|exec| exec.container_id == *id) {
            exec.phase.send_if_modified(|phase| {
                if let Phase::Running { pid } = *phase {
                    *phase = Phase::Exited { exit_code: 137, pid };
                    return true;
                }
                false
            });
        }
    }

    /// The container has gone.
    pub(crate) fn drop_container(&self, id: &ContainerId) {
        self.lock().retain(|_, exec| exec.container_id != *id);
    }
}
