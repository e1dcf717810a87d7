//! What the engine and `teu-shim` say to each other, version 1.
//!
//! The engine writes `config.json` (OCI) and `shim.json` ([`ShimConfig`]) into the bundle and runs
//! `teu-shim --bundle DIR` with a pipe as stdout. Its stdin is the socket at `<bundle>/shim.sock`,
//! bound and listening already (inetd's `wait` style); a shim whose stdin is not a listening socket
//! binds it itself. Connections may wait in its backlog with their request line written: the shim
//! accepts them all and reads their requests **before** it starts the process, so that whoever
//! attached before the start misses no output. Their replies come when there is something to
//! reply: after the start, or never when it fails (the connection is closed).
//!
//! The shim creates and starts the container, prints
//! one line of JSON, a [`Reply`] of [`Started`], and closes stdout. From then on it answers on
//! `<bundle>/shim.sock`: each connection carries one JSON line ([`Request`], at most
//! [`MAX_REQUEST_BYTES`]), one JSON line back (a [`Reply`] of the type named at the request), and
//! for the stream operations [frames](frame) in both directions after that.
//!
//! ```text
//! <bundle>/config.json   OCI config                  written by the engine
//! <bundle>/shim.json     ShimConfig                  written by the engine
//! <bundle>/resolver.json ResolverConfig              written by the engine, if names are served
//! <bundle>/shim.sock     the socket                  made by the engine, removed by the shim
//! <bundle>/init.json     InitRecord                  written by the shim once init exists
//! <container_dir>/exit.json   ExitInfo, durable      written by the shim once init is gone
//! ```
//! Times are Unix times in nanoseconds. Old shims outlive upgrades of the daemon: a field may be
//! added with a default, never changed or removed within a version.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxResources, Process};
use serde::{Deserialize, Serialize};

pub mod frame;
pub mod remote;

/// The version of this protocol and of the files above.
pub const VERSION: u32 = 1;
/// The longest request line the shim reads, newline included.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;
/// File names within the bundle and the container's directory.
pub const CONFIG_FILE: &str = "config.json";
/// See [`ShimConfig`].
pub const SHIM_FILE: &str = "shim.json";
/// The shim's Unix socket.
pub const SOCKET_FILE: &str = "shim.sock";
/// See [`InitRecord`].
pub const INIT_FILE: &str = "init.json";
/// See [`ExitInfo`].
pub const EXIT_FILE: &str = "exit.json";

/// What the shim needs to know beyond the OCI config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimConfig {
    /// [`VERSION`].
    pub version: u32,
    /// The container's id; also its name for an external runtime.
    pub container_id: String,
    /// Where `exit.json` goes.
    pub container_dir: PathBuf,
    /// The overlay to mount as root. `None`: the OCI config's `root.path` is used as it is.
    #[serde(default)]
    pub rootfs: Option<Rootfs>,
    /// What happens with standard input.
    #[serde(default)]
    pub stdin: Stdin,
    /// Size of the terminal at start, if the process has one.
    #[serde(default)]
    pub console_size: Option<ConsoleSize>,
    /// Where output goes besides attached clients.
    #[serde(default)]
    pub log: LogConfig,
    /// Who makes the container.
    #[serde(default)]
    pub runtime: RuntimeConfig,
    /// A filter compiled by `seccomp::compile`, for container and exec processes of the
    /// builtin runtime. `None`: no filter (`seccomp=unconfined`).
    #[serde(default)]
    pub seccomp_bpf: Option<PathBuf>,
    /// The cgroup relative to each hierarchy's root, such as `/teu/<id>`. Overrides the OCI
    /// config's `cgroupsPath` for the builtin runtime.
    pub cgroup: PathBuf,
    /// How many milliseconds output may still drain after init has exited while some process
    /// outside the container's cgroup holds the pipe open.
    #[serde(default = "default_drain_timeout_ms")]
    pub drain_timeout_ms: u64,
}

fn default_drain_timeout_ms() -> u64 {
    2_000
}

/// The layers of the root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Read-only layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The container's writable layer.
    pub upper: PathBuf,
    /// Overlayfs' work directory beside it.
    pub work: PathBuf,
    /// More overlay options, `key` or `key=value`.
    #[serde(default)]
    pub mount_options: Vec<String>,
}

/// Standard input of the container's process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdin {
    /// Kept open for attached clients (`-i`); else the process reads end of file at once.
    pub open: bool,
    /// Closed for good when the first attached client's input ends.
    pub once: bool,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub cols: u16,
}

/// The container's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The driver.
    #[serde(default)]
    pub driver: LogDriver,
    /// The log file, for [`LogDriver::JsonFile`].
    #[serde(default)]
    pub path: PathBuf,
    /// Rotates before the file exceeds this many bytes; `None` never.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// How many files are kept with the current one; 0 and 1 mean no rotated file.
    #[serde(default)]
    pub max_file: u32,
    /// Whether rotated files are gzipped.
    #[serde(default)]
    pub compress: bool,
    /// Extra attributes of every line (labels, env, tag), as Docker's `attrs`.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// How much output may wait for the disk before more is dropped; `None`: none is dropped, the
    /// container waits.
    #[serde(default)]
    pub buffer_bytes: Option<u64>,
    /// A service that takes the lines as well.
    #[serde(default)]
    pub remote: Option<remote::Remote>,
}

/// How output is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's json-file.
    JsonFile,
    /// Not at all.
    #[default]
    None,
}

/// Who makes the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeConfig {
    /// This crate.
    #[default]
    Builtin,
    /// An OCI runtime's binary and the global arguments that precede its command.
    Oci {
        /// Path of the binary (looked up in the shim's `PATH` if it has no slash).
        path: PathBuf,
        /// Global arguments.
        #[serde(default)]
        args: Vec<String>,
    },
}

/// A request, one per connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Replies [`State`].
    State,
    /// Replies [`ExitInfo`] once init has exited and `exit.json` is on disk.
    Wait,
    /// Replies [`Empty`] when the signal has been sent to init, or to every process of the
    /// container.
    Kill {
        /// Signal number.
        signal: i32,
        /// Every process in the cgroup instead of init.
        #[serde(default)]
        all: bool,
    },
    /// Replies [`Empty`] when the terminal of init or of the exec has the size.
    Resize {
        /// `None`: init.
        #[serde(default)]
        exec_id: Option<String>,
        /// Lines.
        rows: u16,
        /// Characters per line.
        cols: u16,
    },
    /// Replies [`Attached`], then frames.
    Attach(Streams),
    /// Replies [`ExecStarted`]; unless `detach`, frames follow.
    Exec(Box<ExecRequest>),
    /// Replies [`ExecExit`] once the exec's process has exited. An exec's exit is remembered as
    /// long as the shim lives.
    ExecWait {
        /// The id given with the request.
        exec_id: String,
    },
    /// Replies [`Empty`]; standard input of init or of the exec reads end of file.
    CloseStdin {
        /// `None`: init.
        #[serde(default)]
        exec_id: Option<String>,
    },
    /// Replies [`Pids`].
    Pids,
    /// Replies [`Empty`] when the cgroup has the limits.
    Update {
        /// Only what is set changes.
        resources: Box<LinuxResources>,
    },
    /// Replies [`Empty`] when every process is frozen.
    Pause,
    /// Replies [`Empty`].
    Resume,
    /// Replies [`Empty`] when queries at 127.0.0.11 in the container are answered by what
    /// `<bundle>/resolver.json` says; that file is there already. A container that has the file
    /// when it starts is served from the beginning. Shims before this request do not know it.
    ServeNames,
    /// Replies [`Held`] when the shim keeps these host ports bound and no others, until the container
    /// ends: those that it has already, and the sockets that came as ancillary data (SCM_RIGHTS) of
    /// the blanks before this line. Shims before this request do not know it.
    HoldPorts {
        /// All of them.
        ports: Vec<HeldPort>,
    },
}

/// A port of the host, by the protocol's number in an IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldPort {
    /// 6, 17 or 132.
    pub protocol: u8,
    /// Address and port.
    pub address: SocketAddr,
}

/// Which streams a client wants. Standard input takes part if `stdin` is set and it is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Client to process.
    #[serde(default)]
    pub stdin: bool,
    /// Process to client, frame type 1; a terminal's output is this stream.
    #[serde(default)]
    pub stdout: bool,
    /// Process to client, frame type 2.
    #[serde(default)]
    pub stderr: bool,
}

/// A further process in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Unique within the container.
    pub exec_id: String,
    /// The process, resolved by the engine as for init (ids, environment, capabilities).
    pub process: Process,
    /// Streams the client wants; `stdin` decides whether the process has an open one.
    #[serde(flatten)]
    pub streams: Streams,
    /// Whether the connection ends after the reply.
    #[serde(default)]
    pub detach: bool,
    /// Size of the terminal at start.
    #[serde(default)]
    pub console_size: Option<ConsoleSize>,
    /// Runs without the container's filter (`--privileged`).
    #[serde(default)]
    pub unconfined: bool,
}

/// The answer to a request: `{"ok":…}` or `{"error":{"kind":…,"message":…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// It was done.
    Ok(T),
    /// It was not, and nothing of it remains.
    Error(Failure),
}

impl<T> Reply<T> {
    /// Turns the reply into a result.
    ///
    /// # Errors
    /// What the shim answered.
    pub fn into_result(self) -> Result<T, Failure> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Error(failure) => Err(failure),
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to make of it.
    pub kind: FailureKind,
    /// In runc's words where runc has some, such as
    /// `exec: "foo": executable file not found in $PATH`.
    pub message: String,
}

/// Kinds of failure. The first three decide between exit codes 127 and 126.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program does not exist (127).
    NotFound,
    /// The program may not be executed (126).
    Permission,
    /// The program is a directory (126).
    IsDirectory,
    /// The request makes no sense: no such exec, no terminal, malformed.
    InvalidRequest,
    /// The container or exec has exited or is in a state that does not allow this.
    NotRunning,
    /// Anything else (125).
    #[serde(other)]
    Other,
}

/// The ready line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Init's pid in the host's pid namespace.
    pub pid: u32,
    /// Field 22 of its `/proc/<pid>/stat`; with the pid it names the process for good.
    pub start_ticks: u64,
    /// When it was started.
    pub started_at_ns: i64,
}

/// `init.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitRecord {
    /// [`VERSION`].
    pub version: u32,
    /// Pid of the shim.
    pub shim_pid: u32,
    /// Pid of init.
    pub pid: u32,
    /// See [`Started::start_ticks`].
    pub start_ticks: u64,
    /// When it was started.
    pub started_at_ns: i64,
}

/// How the container ended; also `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitInfo {
    /// [`VERSION`].
    pub version: u32,
    /// Pid init had.
    pub pid: u32,
    /// Its code, or 128 plus the signal.
    pub exit_code: i32,
    /// The signal that killed it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Whether the kernel's out-of-memory killer killed any process of the container.
    #[serde(default)]
    pub oom_killed: bool,
    /// When it was started.
    pub started_at_ns: i64,
    /// When it ended.
    pub finished_at_ns: i64,
    /// What went wrong while cleaning up, for the daemon's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Reply to [`Request::State`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`] of the shim that answers.
    pub version: u32,
    /// Its container.
    pub container_id: String,
    /// Init.
    pub pid: u32,
    /// See [`Started::start_ticks`].
    pub start_ticks: u64,
    /// When it was started.
    pub started_at_ns: i64,
    /// Whether the container is frozen.
    pub paused: bool,
    /// Set once init has exited.
    pub exit: Option<ExitInfo>,
    /// Execs still running: id and pid.
    pub execs: BTreeMap<String, u32>,
    /// How many processes the out-of-memory killer has killed so far.
    pub oom_kills: u64,
}

/// Reply to [`Request::Attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Whether the process has a terminal.
    pub tty: bool,
}

/// Reply to [`Request::Exec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStarted {
    /// Its pid in the host's pid namespace.
    pub pid: u32,
}

/// Reply to [`Request::ExecWait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// The code, or 128 plus the signal.
    pub exit_code: i32,
    /// Pid it had.
    pub pid: u32,
}

/// Reply to [`Request::Pids`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// Every process of the container, in the host's pid namespace, ascending.
    pub pids: Vec<u32>,
}

/// What is not as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Ports that the shim does not keep: it has no socket of them, and none came. Earlier shims do
    /// not say.
    #[serde(default)]
    pub missing: Vec<HeldPort>,
}

/// A reply with nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
mod tests;
