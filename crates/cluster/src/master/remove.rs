//! Agents go: unreachable, gone for good, or by their own wish; and what becomes of their tasks.

use std::sync::Arc;

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::scheduler::event;
use mesos_api::v1::task_status::Reason;

use super::output::{Change, Send};
use super::task::{Cause, remember, status};
use super::{Master, event_of, is_terminal};
use crate::id::{AgentId, FrameworkId, TaskId};
use crate::registry::Op;

/// Why an agent leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// Not heard of: it may come back with its tasks.
    Unreachable,
    /// An operator says that it never comes back.
    Gone,
    /// It said so itself, or it is another now.
    Unregistered,
}

impl Removal {
    /// What its tasks become, for frameworks that know of partitions and for those that do not.
    const fn task_state(self, partition_aware: bool) -> TaskState {
        match (self, partition_aware) {
            (Self::Unreachable, true) => TaskState::TaskUnreachable,
            (Self::Gone, true) => TaskState::TaskGoneByOperator,
            // Mesos 1.11 says LOST to both after an agent has unregistered.
            (Self::Unregistered, _) | (_, false) => TaskState::TaskLost,
        }
    }

    const fn reason(self) -> Reason {
        match self {
            Self::Gone => Reason::AgentRemovedByOperator,
            Self::Unreachable | Self::Unregistered => Reason::AgentRemoved,
        }
    }
}

impl Master {
    pub(super) fn unregister(&mut self, pid: &str, message: &internal::UnregisterSlaveMessage) {
        if let Some(id) = self.speaking_agent(pid, &message.agent_id).cloned() {
            self.counters.agents_unregistered += 1;
            self.remove_agent(&id, Removal::Unregistered, "the agent unregistered");
        }
    }

    /// Another agent is at the address of this one.
    pub(super) fn remove_replaced(&mut self, id: &AgentId) {
        self.counters.agents_replaced += 1;
        self.remove_agent(id, Removal::Unregistered, "a new agent registered at the same address");
    }

    /// Takes an agent out of the books.
    pub(super) fn remove_agent(&mut self, id: &AgentId, removal: Removal, why: &str) {
        let Some(agent) = self.agents.get(id) else { return };
        let hostname = agent.info.hostname.clone();
        self.counters.agent_removals += 1;
        let op = match removal {
            Removal::Unreachable => {
                self.counters.agents_unreachable += 1;
                Op::MarkUnreachable { id: id.clone(), now: self.now }
            }
            Removal::Gone => Op::MarkGone { id: id.clone(), now: self.now },
            Removal::Unregistered => Op::Remove(id.clone()),
        };
        self.persist(op);
        self.rescind_agent(id);
        let message = format!("Agent {hostname} removed: {why}");
        self.lose_tasks(id, removal, &message);
        self.lose_operations(id, removal);
        self.allocator.remove_agent(id);
        if let Some(agent) = self.agents.remove(id) {
            if self.pids.get(&agent.pid) == Some(id) {
                self.pids.remove(&agent.pid);
            }
            self.out.send.push(Send::Unlink { pid: agent.pid });
        }
        self.inverse_answers.retain(|(agent, _), _| agent != id);
        self.send_failure(id);
        self.publish(Change::AgentRemoved(id.clone()));
        if removal == Removal::Unreachable {
            self.drained_while_away(id);
        }
    }

    fn lose_tasks(&mut self, id: &AgentId, removal: Removal, message: &str) {
        let tasks: Vec<_> = self
            .agents
            .get(id)
            .map(|agent| agent.tasks.iter().cloned().collect())
            .unwrap_or_default();
        for (framework, task) in tasks {
            let aware = self
                .frameworks
                .get(&framework)
                .is_some_and(|framework| framework.capabilities.partition_aware);
            let cause =
                Cause { state: removal.task_state(aware), reason: Some(removal.reason()), message };
            self.lose_task(&framework, &task, cause);
        }
    }

    /// Tells a framework that a task is lost, and ends it. One that was over already is only ended:
    /// the framework was told, or nobody can tell any more.
    fn lose_task(&mut self, framework: &FrameworkId, task: &TaskId, cause: Cause<'_>) {
        let Some(state) = self.task_of(framework, task) else { return };
        let agent = state.agent.clone();
        if state.released {
            let (state, message) = (state.state(), "");
            return self.end_task(framework, task, Cause { state, reason: None, message });
        }
        let mut status = status(task, Some(&agent), cause, self.now);
        if cause.state == TaskState::TaskUnreachable {
            status.unreachable_time = Some(self.time_wire(self.now));
        }
        let mut event = event_of(event::Type::Update);
        event.update = Some(event::Update { status });
        self.tell(framework, event);
        self.end_task(framework, task, cause);
    }

    /// An agent's link broke: what it runs for frameworks without checkpoints ends with its process.
    pub(super) fn lose_without_checkpoint(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let checkpointed = |framework: &FrameworkId| {
            self.frameworks
                .get(framework)
                .is_some_and(|framework| framework.info.checkpoint.unwrap_or(false))
        };
        let tasks: Vec<_> =
            agent.tasks.iter().filter(|(framework, _)| !checkpointed(framework)).cloned().collect();
        let executors: Vec<_> = agent
            .executors
            .keys()
            .filter(|(framework, _)| !checkpointed(framework))
            .cloned()
            .collect();
        let message = format!("Agent {} disconnected", agent.info.hostname);
        for (framework, task) in tasks {
            let aware = self
                .frameworks
                .get(&framework)
                .is_some_and(|framework| framework.capabilities.partition_aware);
            let state = if aware { TaskState::TaskGone } else { TaskState::TaskLost };
            let reason = Some(Reason::AgentDisconnected);
            self.lose_task(&framework, &task, Cause { state, reason, message: &message });
        }
        for (framework, executor) in executors {
            self.remove_executor(id, &framework, &executor);
        }
    }

    /// Takes a task out of the live ones in its last state.
    pub(super) fn end_task(&mut self, framework: &FrameworkId, task: &TaskId, cause: Cause<'_>) {
        self.release_task(framework, task);
        let now = self.now;
        if is_terminal(cause.state)
            && let Some(known) =
                self.task_of(framework, task).filter(|task| !is_terminal(task.state()))
        {
            let status = status(task, Some(&known.agent), cause, now);
            self.count_ended(framework, cause.state, &status);
        }
        let (completed_max, unreachable_max) = (
            self.config.max_completed_tasks_per_framework,
            self.config.max_unreachable_tasks_per_framework,
        );
        let Some(state) = self.frameworks.get_mut(framework) else { return };
        let Some(mut ended) = state.tasks.remove(task) else { return };
        if ended.state() != cause.state {
            let status = status(task, Some(&ended.agent), cause, now);
            let wire = Arc::make_mut(&mut ended.wire);
            wire.set_state(cause.state);
            remember(wire, &status);
            if self.watches_tasks {
                self.out.publish.push(Change::TaskUpdated {
                    framework_id: framework.clone(),
                    status: Box::new(status),
                    state: cause.state,
                });
            }
        }
        if cause.state == TaskState::TaskUnreachable {
            state.unreachable.insert(task.clone(), ended.wire);
            while state.unreachable.len() > unreachable_max {
                state.unreachable.pop_first();
            }
        } else {
            state.completed.push_back(ended.wire);
            while state.completed.len() > completed_max {
                state.completed.pop_front();
            }
        }
        if let Some(agent) = self.agents.get_mut(&ended.agent) {
            agent.tasks.remove(&(framework.clone(), task.clone()));
            agent.killed.remove(&(framework.clone(), task.clone()));
        }
        if is_terminal(cause.state) {
            self.drained_if_idle(&ended.agent);
        }
    }

    /// A task that was unreachable is gone with its agent: the framework is told.
    pub(super) fn unreachable_task_gone(&mut self, framework: &FrameworkId, task: &TaskId) {
        let now = self.now;
        let completed_max = self.config.max_completed_tasks_per_framework;
        let Some(state) = self.frameworks.get_mut(framework) else { return };
        let Some(mut wire) = state.unreachable.remove(task) else { return };
        let cause = Cause {
            state: TaskState::TaskGoneByOperator,
            reason: Some(Reason::AgentRemovedByOperator),
            message: "Agent marked gone by operator",
        };
        let status = status(task, Some(&AgentId::from(&wire.agent_id)), cause, now);
        let ended = Arc::make_mut(&mut wire);
        ended.set_state(cause.state);
        remember(ended, &status);
        state.completed.push_back(wire);
        while state.completed.len() > completed_max {
            state.completed.pop_front();
        }
        let mut event = event_of(event::Type::Update);
        event.update = Some(event::Update { status });
        self.tell(framework, event);
    }

    /// Returns what a task held; once.
    pub(super) fn release_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        let Some(state) = self.frameworks.get_mut(framework).and_then(|it| it.tasks.get_mut(task))
        else {
            return;
        };
        if std::mem::replace(&mut state.released, true) {
            return;
        }
        let (agent, resources) = (state.agent.clone(), state.resources.clone());
        if let Some(state) = self.agents.get_mut(&agent) {
            state.use_less(framework, &resources);
        }
        self.allocator.free(framework, &agent, &resources);
    }

    /// Tells all frameworks that an agent failed.
    pub(super) fn send_failure(&mut self, id: &AgentId) {
        let frameworks: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework in frameworks {
            let mut event = event_of(event::Type::Failure);
            event.failure =
                Some(event::Failure { agent_id: Some(id.into()), ..event::Failure::default() });
            self.tell(&framework, event);
        }
    }

    pub(super) fn time_wire(&self, time: crate::time::Time) -> v1::TimeInfo {
        v1::TimeInfo { nanoseconds: i64::try_from(time.as_nanos()).unwrap_or(i64::MAX) }
    }
}
