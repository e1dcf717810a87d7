//! What the user and the image say about the process: the portable half of a container.
//!
//! Source of truth: Engine API v1.51, `ContainerConfig`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The portable half of a container's configuration, merged with its image's at create.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// The image as the user named it.
    pub image: String,
    /// Arguments, or the command where there is no entrypoint. `None` and empty take the image's.
    pub cmd: Option<Vec<String>>,
    /// `None` takes the image's; `[""]` or empty means none.
    pub entrypoint: Option<Vec<String>>,
    /// `KEY=VALUE`; a bare `KEY` removes the image's.
    pub env: Vec<String>,
    /// `user[:group]`, by name or number; empty is root.
    pub user: String,
    /// Absolute; empty is `/`.
    pub working_dir: String,
    /// Empty: the first twelve digits of the id, or the host's name with the host's network.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Whether the process has a standard input at all.
    pub open_stdin: bool,
    /// Whether standard input closes when the first client that attached leaves.
    pub stdin_once: bool,
    /// What the creating client attached to; informative.
    pub attach_stdin: bool,
    /// See `attach_stdin`.
    pub attach_stdout: bool,
    /// See `attach_stdin`.
    pub attach_stderr: bool,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Ports that `publish_all_ports` publishes.
    pub exposed_ports: BTreeSet<ContainerPort>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// How health is probed; `None` takes the image's.
    pub healthcheck: Option<HealthConfig>,
    /// Name or number; `None`: SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL; `None`: 10; negative: for ever.
    pub stop_timeout_secs: Option<i64>,
    /// The shell of shell-form instructions.
    pub shell: Option<Vec<String>>,
    /// The address of clients before API 1.44; newer ones name it per endpoint.
    pub mac_address: Option<String>,
    /// No network at all.
    pub network_disabled: bool,
    /// Instructions run when the image is a base of a build.
    pub on_build: Vec<String>,
    /// Windows only; kept for round trips.
    pub args_escaped: bool,
}

/// How health is probed. Durations are nanoseconds; 0 means inherit or default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthConfig {
    /// `[]` inherit, `["NONE"]` off, `["CMD", …]`, `["CMD-SHELL", script]`.
    pub test: Vec<String>,
    /// Between the end of a probe and the next one.
    pub interval_nanos: i64,
    /// After which a probe is killed and counts as failed.
    pub timeout_nanos: i64,
    /// During which failures do not count.
    pub start_period_nanos: i64,
    /// Interval inside the start period.
    pub start_interval_nanos: i64,
    /// Failures in a row that make a container unhealthy.
    pub retries: i64,
    /// What happens to a container that turns unhealthy.
    pub on_failure: HealthAction,
}

/// What happens to a container that turns unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthAction {
    /// It is called so.
    #[default]
    None,
    /// It is killed, and its restart policy decides.
    Kill,
    /// It is stopped and started.
    Restart,
    /// It is stopped, and stays so.
    Stop,
}

impl std::str::FromStr for HealthAction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "" | "none" => Ok(Self::None),
            "kill" => Ok(Self::Kill),
            "restart" => Ok(Self::Restart),
            "stop" => Ok(Self::Stop),
            other => Err(Error::InvalidParameter(format!(
                "invalid health action '{}': use none, kill, restart or stop",
                other.escape_default()
            ))),
        }
    }
}

impl std::fmt::Display for HealthAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        })
    }
}

/// A transport protocol a port can belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `sctp`
    Sctp,
}

/// A port inside a container, written `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerPort {
    /// The port number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            other => Err(Error::InvalidParameter(format!("invalid proto: {other}"))),
        }
    }
}

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl FromStr for ContainerPort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = port.parse().map_err(|_| {
            Error::InvalidParameter(format!("invalid port specification: \"{text}\""))
        })?;
        Ok(Self { port, protocol: protocol.parse()? })
    }
}

impl TryFrom<String> for ContainerPort {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ContainerPort> for String {
    fn from(port: ContainerPort) -> Self {
        port.to_string()
    }
}
