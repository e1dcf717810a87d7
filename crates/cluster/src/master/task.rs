//! A task as the master knows it, and the making of tasks and statuses.

use std::sync::Arc;

use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::task_status::{Reason, Source};

use crate::id::{AgentId, ExecutorId, FrameworkId, Role, TaskId};
use crate::resources::Resources;
use crate::time::Time;

/// A live task, or a terminal one whose last update is not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) wire: Arc<v1::Task>,
    pub(super) agent: AgentId,
    pub(super) resources: Resources,
    /// It is over: its resources are no longer its own.
    pub(super) released: bool,
}

impl Task {
    pub(super) fn state(&self) -> TaskState {
        self.wire.state()
    }

    /// Whether it was given to this executor of its framework.
    pub(super) fn runs_under(&self, executor: &ExecutorId) -> bool {
        self.wire.executor_id.as_ref().is_some_and(|id| id.value == executor.as_str())
    }
}

/// Whether a task in this state is over for good. UNREACHABLE and UNKNOWN are not: such a task may
/// be running.
pub const fn is_terminal(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
            | TaskState::TaskLost
            | TaskState::TaskDropped
            | TaskState::TaskGone
            | TaskState::TaskGoneByOperator
    )
}

/// A task that was just launched.
pub(super) fn staged(
    info: &v1::TaskInfo,
    framework: &FrameworkId,
    user: Option<&str>,
    role: &Role,
) -> v1::Task {
    let mut task = v1::Task {
        name: info.name.clone(),
        task_id: info.task_id.clone(),
        framework_id: framework.into(),
        executor_id: info.executor.as_ref().map(|executor| executor.executor_id.clone()),
        agent_id: info.agent_id.clone(),
        resources: info.resources.clone(),
        labels: info.labels.clone(),
        discovery: info.discovery.clone(),
        container: info.container.clone(),
        health_check: info.health_check.clone(),
        kill_policy: info.kill_policy,
        user: info
            .command
            .as_ref()
            .or_else(|| info.executor.as_ref()?.command.as_ref())
            .and_then(|command| command.user.clone())
            .or_else(|| user.map(str::to_owned)),
        limits: info.limits.clone(),
        ..v1::Task::default()
    };
    for resource in &mut task.resources {
        allocate_wire(resource, role);
    }
    task.set_state(TaskState::TaskStaging);
    task
}

/// Marks a resource of a message as allocated, if it is not marked yet.
pub(super) fn allocate_wire(resource: &mut v1::Resource, role: &Role) {
    let info = resource.allocation_info.get_or_insert_default();
    info.role.get_or_insert_with(|| role.to_string());
}

/// What a status of the master's own says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cause<'a> {
    pub(super) state: TaskState,
    pub(super) reason: Option<Reason>,
    pub(super) message: &'a str,
}

/// A status of the master's own: it has no uuid, so nobody acknowledges it.
pub(super) fn status(
    task: &TaskId,
    agent: Option<&AgentId>,
    cause: Cause<'_>,
    now: Time,
) -> v1::TaskStatus {
    let mut status = v1::TaskStatus {
        task_id: task.into(),
        message: (!cause.message.is_empty()).then(|| cause.message.to_owned()),
        agent_id: agent.map(Into::into),
        timestamp: Some(now.as_secs_f64()),
        ..v1::TaskStatus::default()
    };
    status.set_state(cause.state);
    status.set_source(Source::Master);
    if let Some(reason) = cause.reason {
        status.set_reason(reason);
    }
    status
}

/// Adds a status to a task's history, in place of the last one if that says the same state. The
/// data of statuses is for frameworks; keeping it would cost memory for nothing.
pub(super) fn remember(task: &mut v1::Task, status: &v1::TaskStatus) {
    if task.statuses.last().is_some_and(|last| last.state == status.state) {
        task.statuses.pop();
    }
    // There are few, and room for more of them would be most of what a task takes.
    task.statuses.reserve_exact(1);
    task.statuses.push(v1::TaskStatus { data: None, ..status.clone() });
}
