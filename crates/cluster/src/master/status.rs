//! Status updates: from agents to frameworks, and their acknowledgements back.

use std::sync::Arc;

use bytes::Bytes;
use mesos_api::internal;
use mesos_api::v1::scheduler::{call, event};
use mesos_api::v1::task_status::Source;
use mesos_api::v1::{TaskState, TaskStatus};

use super::output::Change;
use super::task::{Cause, remember};
use super::{Master, event_of, is_terminal};
use crate::id::{AgentId, FrameworkId, TaskId};
use crate::wire::ToAgent;

/// A framework with this label has one task, and need not be there when that ends: while it is away
/// the master acknowledges in its stead.
const UNATTENDED: &str = "teu.task";

impl Master {
    pub(super) fn status_update(&mut self, pid: &str, message: internal::StatusUpdateMessage) {
        let update = message.update;
        let agent = update.agent_id.as_ref().and_then(|id| self.speaking_agent(pid, id)).cloned();
        let Some(agent) = agent else {
            // From an agent that was given up: it has to register first, and says it again then.
            self.counters.status_updates_invalid += 1;
            return;
        };
        let framework = FrameworkId::from(&update.framework_id);
        if !self.frameworks.contains_key(&framework) {
            self.counters.status_updates_invalid += 1;
            if self.registry.removed_frameworks.contains_key(&framework) {
                let message =
                    internal::ShutdownFrameworkMessage { framework_id: update.framework_id };
                self.tell_agent(&agent, ToAgent::ShutdownFramework(message));
            }
            return;
        }
        let task = TaskId::from(&update.status.task_id);
        let mut status = update.status;
        // An update without uuid, or from nobody who waits, needs no acknowledgement.
        let reliable = update.uuid.as_ref().is_some_and(|uuid| !uuid.is_empty())
            && message.pid.as_ref().is_none_or(|pid| !pid.is_empty());
        status.uuid = if reliable { update.uuid } else { None };
        status.agent_id.get_or_insert_with(|| (&agent).into());
        if status.executor_id.is_none() {
            status.executor_id = update.executor_id;
        }
        status.timestamp.get_or_insert(update.timestamp);
        let state = status.state();
        let latest =
            update.latest_state.and_then(|state| TaskState::try_from(state).ok()).unwrap_or(state);
        let mut event = event_of(event::Type::Update);
        event.update = Some(event::Update { status: status.clone() });
        self.tell(&framework, event);
        if self.task_of(&framework, &task).is_none_or(|known| known.agent != agent) {
            self.counters.status_updates_invalid += 1;
            return;
        }
        self.counters.status_updates_valid += 1;
        self.apply_status(&framework, &task, &status, latest);
        if let Some(uuid) = status.uuid.filter(|_| self.is_unattended(&framework)) {
            let call =
                call::Acknowledge { agent_id: (&agent).into(), task_id: (&task).into(), uuid };
            self.acknowledge(&framework, call);
            self.end_if_idle(&framework);
            return;
        }
        if !reliable && is_terminal(state) {
            // Nobody will acknowledge it.
            self.end_task(&framework, &task, Cause { state, reason: None, message: "" });
        }
    }

    /// Enters a status into the books. What a terminal task held is free at once, though the task
    /// stays until its last update is acknowledged.
    fn apply_status(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        status: &TaskStatus,
        latest: TaskState,
    ) {
        let Some(known) = self.frameworks.get_mut(framework).and_then(|it| it.tasks.get_mut(task))
        else {
            return;
        };
        let was_over = is_terminal(known.state());
        let wire = Arc::make_mut(&mut known.wire);
        wire.status_update_state = Some(status.state);
        wire.status_update_uuid.clone_from(&status.uuid);
        if !was_over {
            wire.set_state(latest);
        }
        remember(wire, status);
        let state = wire.state();
        self.publish_task(|| Change::TaskUpdated {
            framework_id: framework.clone(),
            status: Box::new(status.clone()),
            state,
        });
        self.awaited_executor(framework, task, state);
        if is_terminal(state) && !was_over {
            self.count_ended(framework, state, status);
            self.release_task(framework, task);
            let agent = self.task_of(framework, task).map(|task| task.agent.clone());
            if let Some(agent) = agent {
                self.drained_if_idle(&agent);
            }
        }
    }

    /// Counts a task that is over.
    pub(super) fn count_ended(
        &mut self,
        framework: &FrameworkId,
        state: TaskState,
        status: &TaskStatus,
    ) {
        let reason = status.reason.map(|_| status.reason());
        let source = status.source.map_or(Source::Agent, |_| status.source());
        *self.counters.terminal_tasks.entry((state, source, reason)).or_default() += 1;
        self.count(framework, |it| *it.ended.entry(state).or_default() += 1);
    }

    pub(super) fn acknowledge(&mut self, framework: &FrameworkId, call: call::Acknowledge) {
        let (agent, task) = (AgentId::from(&call.agent_id), TaskId::from(&call.task_id));
        if !self.agents.get(&agent).is_some_and(|agent| agent.connected) {
            // The agent repeats the update when it is back.
            self.counters.acknowledgements_invalid += 1;
            return;
        }
        if let Some(known) = self.task_of(framework, &task) {
            if known.agent != agent {
                self.counters.acknowledgements_invalid += 1;
                return;
            }
            let last = known.wire.status_update_uuid.as_ref() == Some(&call.uuid)
                && known.wire.status_update_state.is_some()
                && is_terminal(known.wire.status_update_state());
            if last {
                let state = known.state();
                self.end_task(framework, &task, Cause { state, reason: None, message: "" });
            }
        }
        self.counters.acknowledgements_valid += 1;
        self.send_acknowledgement(&agent, framework, &task, call.uuid);
    }

    /// Whether nobody will ever come back to hear of a framework's tasks: `teu task run -d` has
    /// started the one it has, and left.
    fn is_unattended(&self, framework: &FrameworkId) -> bool {
        self.frameworks.get(framework).is_some_and(|framework| {
            let labels = framework.info.labels.iter().flat_map(|labels| &labels.labels);
            !framework.is_connected() && labels.into_iter().any(|it| it.key == UNATTENDED)
        })
    }

    fn end_if_idle(&mut self, framework: &FrameworkId) {
        let idle = self
            .frameworks
            .get(framework)
            .is_some_and(|it| it.tasks.is_empty() && it.unreachable.is_empty());
        if idle {
            self.remove_framework(framework, "The only task of the framework has ended");
        }
    }

    fn send_acknowledgement(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        task: &TaskId,
        uuid: Bytes,
    ) {
        let message = internal::StatusUpdateAcknowledgementMessage {
            agent_id: agent.into(),
            framework_id: framework.into(),
            task_id: task.into(),
            uuid,
        };
        self.tell_agent(agent, ToAgent::AcknowledgeStatus(message));
    }
}
