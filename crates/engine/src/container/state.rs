//! What a container is doing: the half of a record that changes.
//!
//! ```text
//! created -> running <-> paused
//!    ^          |  ^
//!    |          v  |
//!    +------ exited/restarting -> removing -> (gone) | dead
//! ```

use std::collections::VecDeque;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of a container as last persisted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Where in its life the container is.
    pub status: Status,
    /// Process 1 as the host numbers it; 0 when none.
    pub pid: i32,
    /// Start time of `pid` in clock ticks after boot, so that a reused number is noticed.
    pub pid_start_ticks: u64,
    /// The kernel's id of the boot in which `pid` was started; empty in older records.
    pub boot_id: String,
    /// Of the last run; 128+n when killed by signal n, 126 to 128 when it could not start.
    pub exit_code: i32,
    /// Why the last start failed, or empty.
    pub error: String,
    /// Whether the last run was ended by the OOM killer.
    pub oom_killed: bool,
    /// Start of the present or last run.
    pub started_at: Option<Timestamp>,
    /// End of the last run.
    pub finished_at: Option<Timestamp>,
    /// Restarts by the restart policy since the last start by hand.
    pub restart_count: u32,
    /// Whether a user stopped it, which `unless-stopped` remembers.
    pub manually_stopped: bool,
    /// Health, when it is probed.
    pub health: Option<Health>,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started, or its only start failed.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Ended; the restart policy will start it again.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Removal failed half way.
    Dead,
}

impl Status {
    /// Whether a process exists: running or paused.
    #[must_use]
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}

impl std::str::FromStr for Status {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, crate::Error> {
        Ok(match text {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            other => {
                return Err(crate::Error::InvalidParameter(format!(
                    "invalid filter 'status={other}'"
                )));
            }
        })
    }
}

/// Health of a container whose health is probed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five probes, oldest first.
    pub log: VecDeque<HealthResult>,
}

/// The verdict on a container's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// The last probe was good.
    Healthy,
    /// Too many probes failed in a row.
    Unhealthy,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 healthy, 1 unhealthy, -1 timed out.
    pub exit_code: i32,
    /// The first 4096 bytes it wrote.
    pub output: String,
}
