//! The launcher: starts one process in its cgroup, waits for it, and writes down how it ended.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The word behind `teu agent` that makes it a launcher.
pub(crate) const WORD: &str = "launch-process";
pub(crate) const SPEC: &str = "spec.json";
pub(crate) const PID: &str = "pid";
pub(crate) const EXIT: &str = "exit";
/// Between two looks whether the disk has room again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) version: u32,
    pub(crate) program: String,
    /// The first is the name that the program sees as its own.
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    /// User and group ids.
    pub(crate) user: Option<(u32, u32)>,
    /// Files through which the process enters its cgroup.
    pub(crate) cgroup: Vec<PathBuf>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// It could not be started.
    Failed(String),
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks from the host's start, as the kernel tells them.
    pub(crate) started: u64,
    /// The process that it looks after.
    pub(crate) child: u32,
}

/// Runs as the launcher of `directory`.
pub(crate) fn main(directory: &Path) -> ExitCode {
    let exit = match run(directory) {
        Ok(exit) => exit,
        Err(error) => Exit::Failed(format!("{error:#}")),
    };
    match serde_json::to_vec(&exit).map_err(io::Error::from).and_then(|it| tell(directory, &it)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // nobody listens
    }
}

/// Writes down how it ended. On a full disk that waits for room: nobody else knows.
fn tell(directory: &Path, exit: &[u8]) -> io::Result<()> {
    loop {
        match replace(&directory.join(EXIT), exit) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                std::thread::sleep(PAUSE);
            }
            settled => return settled,
        }
    }
}

fn run(directory: &Path) -> Result<Exit> {
    let _ = rustix::process::setsid(); // fails for a leader, who needs none
    // What the program leaves behind becomes the launcher's, not the host's.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let spec: Spec = serde_json::from_slice(&fs::read(directory.join(SPEC))?)?;
    let open = |path: &Path| {
        let file = File::options().create(true).append(true).open(path);
        file.with_context(|| format!("cannot open {}", path.display()))
    };
    let mut command = Command::new(&spec.program);
    let mut arguments = spec.arguments.iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().cloned())
        .current_dir(&spec.directory)
        .stdin(Stdio::null())
        .stdout(open(&spec.stdout)?)
        .stderr(open(&spec.stderr)?)
        .process_group(0);
    if let Some((uid, gid)) = spec.user {
        command.uid(uid).gid(gid);
    }
    let home = Memberships::read()?;
    for file in &spec.cgroup {
        fs::write(file, "0").with_context(|| format!("cannot enter {}", file.display()))?;
    }
    let started = command.spawn();
    // The launcher must not be killed, counted or throttled with its process.
    home.restore();
    let mut child = started.with_context(|| format!("cannot run {}", spec.program))?;
    let pid = std::process::id();
    let identity = Identity { pid, started: start_time(pid).unwrap_or(0), child: child.id() };
    replace(&directory.join(PID), &serde_json::to_vec(&identity)?)?;
    let status = child.wait()?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    })
}

/// The cgroups that the launcher was born in.
struct Memberships(Vec<PathBuf>);

impl Memberships {
    fn read() -> Result<Self> {
        let hierarchies = runtime::cgroup::Hierarchies::detect()?;
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let mut files = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let below = path.trim_start_matches('/');
            let root = if controllers.is_empty() {
                hierarchies.unified.clone()
            } else {
                let first = controllers.split(',').next().unwrap_or_default();
                let name = first.strip_prefix("name=");
                let found = hierarchies.v1.iter().find(|v1| match name {
                    Some(name) => v1.name.as_deref() == Some(name),
                    None => v1.has(first),
                });
                found.map(|v1| v1.mountpoint.clone())
            };
            files.extend(root.map(|root| root.join(below).join("cgroup.procs")));
        }
        Ok(Self(files))
    }

    fn restore(&self) {
        for file in &self.0 {
            let _ = fs::write(file, "0"); // at worst the launcher is limited with its process
        }
    }
}

/// When a process was started; `None` when there is none of that number.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// Writes a file whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)
}
