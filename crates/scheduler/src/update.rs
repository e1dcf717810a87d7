//! What is told about a task's state.

use std::net::IpAddr;

use mesos_api::v1;
pub use mesos_api::v1::TaskState;
pub use mesos_api::v1::task_status::{Reason, Source};
use mesos_api::v1::{AgentId, TaskId};

/// A task's state, and what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskUpdate {
    status: v1::TaskStatus,
}

impl TaskUpdate {
    pub(crate) fn new(status: v1::TaskStatus) -> Self {
        Self { status }
    }

    /// The task.
    pub fn task_id(&self) -> &TaskId {
        &self.status.task_id
    }

    /// Where the task is, if anywhere.
    pub fn agent_id(&self) -> Option<&AgentId> {
        self.status.agent_id.as_ref()
    }

    /// The state; one that a newer cluster invented is [`TaskState::TaskUnknown`].
    pub fn state(&self) -> TaskState {
        TaskState::try_from(self.status.state).unwrap_or(TaskState::TaskUnknown)
    }

    /// Words for people; empty if there are none.
    pub fn message(&self) -> &str {
        self.status.message.as_deref().unwrap_or_default()
    }

    /// Why the state is what it is.
    pub fn reason(&self) -> Option<Reason> {
        self.status.reason.and_then(|number| Reason::try_from(number).ok())
    }

    /// Who says so.
    pub fn source(&self) -> Option<Source> {
        self.status.source.and_then(|number| Source::try_from(number).ok())
    }

    /// What the task's health check says, if it has one.
    pub fn healthy(&self) -> Option<bool> {
        self.status.healthy
    }

    /// Addresses of the task's container.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let networks = self.status.container_status.iter().flat_map(|status| &status.network_infos);
        networks
            .flat_map(|network| &network.ip_addresses)
            .filter_map(|address| address.ip_address.as_deref()?.parse().ok())
            .collect()
    }

    /// Whether the task will never run again under this id.
    ///
    /// `UNREACHABLE` and `UNKNOWN` are not among these states: the task may come back.
    pub fn is_terminal(&self) -> bool {
        use TaskState as S;
        matches!(
            self.state(),
            S::TaskFinished
                | S::TaskFailed
                | S::TaskKilled
                | S::TaskError
                | S::TaskLost
                | S::TaskDropped
                | S::TaskGone
                | S::TaskGoneByOperator
        )
    }

    /// Whether the agent repeats the update until it is acknowledged.
    pub fn needs_acknowledgement(&self) -> bool {
        self.status.uuid.as_deref().is_some_and(|uuid| !uuid.is_empty())
            && self.status.agent_id.is_some()
    }

    /// The message as it came.
    pub fn status(&self) -> &v1::TaskStatus {
        &self.status
    }
}

impl std::fmt::Display for TaskUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status.task_id.value, self.state().as_str_name())?;
        if let Some(reason) = self.reason() {
            write!(f, " {}", reason.as_str_name())?;
        }
        if !self.message().is_empty() {
            write!(f, ": {}", self.message())?;
        }
        Ok(())
    }
}
