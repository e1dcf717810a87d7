//! Steps into the place of a task's process, and becomes another program there.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The word behind `teu agent` that makes it such a program.
pub(crate) const WORD: &str = "enter-process";
/// What a shell says of a program that it cannot run.
const CANNOT_RUN: u8 = 127;

/// What to run, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) program: String,
    /// The first is the name that the program sees as its own.
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    /// User and group ids.
    pub(crate) user: Option<(u32, u32)>,
    /// Files through which it enters the task's cgroup.
    pub(crate) cgroup: Vec<PathBuf>,
    /// Standard input is a terminal, which becomes its own.
    pub(crate) terminal: bool,
}

/// Becomes what the file at `path` says. Whoever attached to it reads why it could not.
pub(crate) fn main(path: &Path) -> ExitCode {
    match run(path) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn run(path: &Path) -> Result<Infallible> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let _ = fs::remove_file(path); // it goes with its task otherwise
    let spec: Spec = serde_json::from_slice(&bytes)?;
    // A session of its own is what it can be ended by, with all that it starts.
    rustix::process::setsid().context("cannot begin a session")?;
    if spec.terminal {
        rustix::process::ioctl_tiocsctty(std::io::stdin()).context("cannot take the terminal")?;
    }
    for file in &spec.cgroup {
        fs::write(file, "0").with_context(|| format!("cannot enter {}", file.display()))?;
    }
    let mut command = Command::new(&spec.program);
    let mut arguments = spec.arguments.iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().cloned())
        .current_dir(&spec.directory);
    if let Some((uid, gid)) = spec.user {
        command.uid(uid).gid(gid);
    }
    Err(command.exec()).with_context(|| format!("cannot run {}", spec.program))
}
