//! Arguments and answers of the container operations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::config::ContainerConfig;
use super::host_config::{HostConfig, RestartPolicy};
use super::record::{ContainerId, ContainerRecord, EndpointSettings};
use super::state::{HealthStatus, Status};

/// A container to make.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateRequest {
    /// With or without a leading slash; `None` draws one.
    pub name: Option<String>,
    /// `os[/arch[/variant]]` the image must be for.
    pub platform: Option<String>,
    /// The portable half.
    pub config: ContainerConfig,
    /// The host's half.
    pub host_config: HostConfig,
    /// Endpoints by network name.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// Names in `config.image` and in image mounts that stand for layers without an image.
    pub unnamed: BTreeMap<String, UnnamedImage>,
}

/// An image that is not made yet: the state of a build between two steps. Its layers are the
/// caller's to hold until the container has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnnamedImage {
    /// Lowest first.
    pub layers: Vec<images::Digest>,
    /// How its containers run.
    pub config: images::RunConfig,
}

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What was asked for and will not be as asked.
    pub warnings: Vec<String>,
}

/// A container at one moment: record, and what is known only while the daemon runs.
#[derive(Debug, Clone)]
pub struct ContainerSnapshot {
    /// The record as last persisted.
    pub record: Arc<ContainerRecord>,
    /// Its files.
    pub paths: ContainerPaths,
    /// Its legacy links: `/db:/web/store`.
    pub links: Vec<String>,
    /// Names that it has from others' links: `/web/store`.
    pub linked_names: Vec<String>,
    /// Its AppArmor profile; empty where the host has none.
    pub apparmor_profile: String,
    /// Execs that run or ran in its present run.
    pub exec_ids: Vec<String>,
    /// Bytes in the writable layer, and in all layers; only where asked for.
    pub size: Option<ContainerSize>,
}

/// Bytes a container takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// In its writable layer.
    pub rw_bytes: u64,
    /// In all of its layers.
    pub root_fs_bytes: u64,
}

/// The files of a container on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPaths {
    /// The durable directory.
    pub directory: PathBuf,
    /// The json-file log.
    pub log: PathBuf,
    /// `/etc/resolv.conf` inside.
    pub resolv_conf: PathBuf,
    /// `/etc/hosts` inside.
    pub hosts: PathBuf,
    /// `/etc/hostname` inside.
    pub hostname: PathBuf,
    /// How the last run ended, written by the shim.
    pub exit: PathBuf,
    /// The OCI bundle of the present run, with the shim's socket.
    pub bundle: PathBuf,
    /// The shim's socket.
    pub shim_socket: PathBuf,
}

/// Which containers to list. Every given filter must hold; inside one, any value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Also those that do not run.
    pub all: bool,
    /// The newest so many, whatever their state.
    pub limit: Option<usize>,
    /// Compute sizes.
    pub size: bool,
    /// Id prefixes.
    pub id: Vec<String>,
    /// Regular expressions on the name, with or without the slash.
    pub name: Vec<String>,
    /// `key` or `key=value`; every one must hold.
    pub label: Vec<String>,
    /// States.
    pub status: Vec<Status>,
    /// Exit codes of ended containers.
    pub exited: Vec<i32>,
    /// Image names, ids or digests the image descends from or is.
    pub ancestor: Vec<String>,
    /// Containers created before this one.
    pub before: Vec<String>,
    /// Containers created after this one.
    pub since: Vec<String>,
    /// Volume names or mount destinations.
    pub volume: Vec<String>,
    /// Network names or ids.
    pub network: Vec<String>,
    /// Published ports, `80`, `80/tcp` or `80-90/udp`.
    pub publish: Vec<String>,
    /// Exposed ports.
    pub expose: Vec<String>,
    /// Health; `None` inside is "no health check".
    pub health: Vec<Option<HealthStatus>>,
    /// `default`, `process`, `hyperv`.
    pub isolation: Vec<String>,
    /// Swarm tasks; none exist here.
    pub is_task: Option<bool>,
}

/// What a wait waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Return at once if it does not run.
    #[default]
    NotRunning,
    /// The next end of a run, whatever the state now.
    NextExit,
    /// The removal.
    Removed,
}

/// The answer of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitResult {
    /// The exit code.
    pub exit_code: i32,
    /// Why there is none, for example a failed removal.
    pub error: Option<String>,
}

/// A wait that is already registered; awaiting it gives the answer.
pub struct Wait(pub(crate) Pin<Box<dyn Future<Output = WaitResult> + Send>>);

impl Future for Wait {
    type Output = WaitResult;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<WaitResult> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wait")
    }
}

/// Which streams of a container to attach to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Send standard input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
    /// Keys that end the attachment; empty: none are looked for.
    pub detach_keys: Vec<u8>,
}

/// An attachment, or a started exec: bytes both ways.
///
/// Without a terminal `reader` gives Docker's frames (`[type, 0, 0, 0, length BE32] payload`),
/// with one raw bytes. `writer` takes raw bytes; shutting it down closes standard input.
pub struct AttachStream {
    /// Output; its end is the end of the attachment.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Input.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Whether there is a terminal.
    pub tty: bool,
}

impl fmt::Debug for AttachStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachStream").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// How to stop a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Instead of the container's stop signal.
    pub signal: Option<String>,
    /// Seconds until SIGKILL instead of the container's; negative: never.
    pub timeout_secs: Option<i64>,
}

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
    /// Remove the legacy link of that name instead of the container.
    pub link: bool,
}

/// Changes to a container's limits; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateRequest {
    /// Limits; 0 and empty stay as they are.
    pub resources: super::host_config::Resources,
    /// When it comes back.
    pub restart_policy: Option<RestartPolicy>,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}
