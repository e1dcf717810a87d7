//! Reconciliation: what a framework is told of tasks it asks after.
//!
//! Only what is known is told. A task that may be on an agent which has not come back since the
//! master started gets no answer: the framework asks again.

use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::scheduler::{call, event};
use mesos_api::v1::task_status::Reason;

use super::task::{Cause, status};
use super::{Master, event_of};
use crate::id::{AgentId, FrameworkId, TaskId};

impl Master {
    pub(super) fn reconcile(&mut self, framework: &FrameworkId, call: &call::Reconcile) {
        if call.tasks.is_empty() {
            let Some(state) = self.frameworks.get(framework) else { return };
            let tasks: Vec<TaskId> = state.tasks.keys().cloned().collect();
            for task in tasks {
                self.reconcile_task(framework, &task, None);
            }
            return;
        }
        for task in &call.tasks {
            let agent = task.agent_id.as_ref().map(AgentId::from);
            self.reconcile_task(framework, &TaskId::from(&task.task_id), agent.as_ref());
        }
    }

    pub(super) fn reconcile_task(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        agent: Option<&AgentId>,
    ) {
        if let Some(status) = self.known_status(framework, task, agent) {
            let mut event = event_of(event::Type::Update);
            event.update = Some(event::Update { status });
            self.tell(framework, event);
        }
    }

    fn known_status(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
        agent: Option<&AgentId>,
    ) -> Option<v1::TaskStatus> {
        let state = self.frameworks.get(framework)?;
        if let Some(known) = state.tasks.get(task) {
            return Some(self.latest_status(&known.wire, task, &known.agent));
        }
        let aware = state.capabilities.partition_aware;
        let unreachable_on = state.unreachable.get(task).map(|wire| AgentId::from(&wire.agent_id));
        let agent = unreachable_on.as_ref().or(agent);
        let (fate, message) = match agent {
            Some(agent) if self.recovered.contains(agent) => return None,
            Some(agent) if self.agents.contains_key(agent) => {
                (TaskState::TaskGone, "Reconciliation: Task is unknown to the agent")
            }
            Some(agent) if self.registry.unreachable.contains_key(agent) => {
                (TaskState::TaskUnreachable, "Reconciliation: Task is unreachable")
            }
            Some(agent) if self.registry.gone.contains_key(agent) => {
                (TaskState::TaskGoneByOperator, "Reconciliation: Task is gone")
            }
            // It may be on any agent that is not back yet.
            None if !self.recovered.is_empty() => return None,
            _ => (TaskState::TaskUnknown, "Reconciliation: Task is unknown"),
        };
        let told = if aware { fate } else { TaskState::TaskLost };
        let cause = Cause { state: told, reason: Some(Reason::Reconciliation), message };
        let mut status = status(task, agent, cause, self.now);
        status.unreachable_time = agent
            .and_then(|agent| self.registry.unreachable.get(agent))
            .map(|lost| self.time_wire(lost.since));
        Some(status)
    }

    /// What the framework was told last, or would have been.
    fn latest_status(&self, wire: &v1::Task, task: &TaskId, agent: &AgentId) -> v1::TaskStatus {
        let state = if wire.status_update_state.is_some() {
            wire.status_update_state()
        } else {
            wire.state()
        };
        let cause = Cause {
            state,
            reason: Some(Reason::Reconciliation),
            message: "Reconciliation: Latest task state",
        };
        let mut status = status(task, Some(agent), cause, self.now);
        status.executor_id.clone_from(&wire.executor_id);
        if let Some(last) = wire.statuses.last().filter(|last| last.state() == state) {
            status.healthy = last.healthy;
            status.check_status.clone_from(&last.check_status);
            status.labels.clone_from(&last.labels);
            status.container_status.clone_from(&last.container_status);
        }
        status
    }
}
