//! Execs: further processes in a running container.
//!
//! They live in memory only: their process ends with the container at the latest, and a client
//! that outlives the daemon finds the exec unknown, as with Docker.

use crate::container::{AttachStream, ContainerId, TerminalSize};
use crate::{Engine, Error, Result};

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
    /// Must agree with the exec's `tty` unless detached.
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

fn pending<T>() -> Result<T> {
    Err(Error::Unavailable("not available yet".to_owned()))
}

impl Engine {
    /// Prepares an exec and gives its id.
    ///
    /// # Errors
    /// NotFound for the container, Conflict when it does not run.
    pub async fn exec_create(&self, container: &str, config: ExecConfig) -> Result<String> {
        let _ = (container, config);
        pending()
    }

    /// Starts an exec; `None` when detached.
    ///
    /// # Errors
    /// NotFound; Conflict when it was started already or the container does not run.
    pub async fn exec_start(
        &self,
        id: &str,
        options: ExecStartOptions,
    ) -> Result<Option<AttachStream>> {
        let _ = (id, options);
        pending()
    }

    /// Looks an exec up.
    ///
    /// # Errors
    /// NotFound.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecSnapshot> {
        let _ = id;
        pending()
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// NotFound; Conflict when it does not run.
    pub async fn exec_resize(&self, id: &str, size: TerminalSize) -> Result<()> {
        let _ = (id, size);
        pending()
    }

    /// Waits for the end of a started exec and gives its exit code.
    ///
    /// # Errors
    /// NotFound; Conflict when it was not started.
    pub async fn exec_wait(&self, id: &str) -> Result<i32> {
        let _ = id;
        pending()
    }
}
