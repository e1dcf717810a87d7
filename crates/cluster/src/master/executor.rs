//! Executors: their messages and their end. And the killing of tasks.

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::scheduler::{call, event};

use super::agent::Agent;
use super::{Master, event_of};
use crate::id::{AgentId, ExecutorId, FrameworkId, TaskId};
use crate::wire::ToAgent;

impl Master {
    pub(super) fn executor_message(
        &mut self,
        pid: &str,
        message: internal::ExecutorToFrameworkMessage,
    ) {
        let framework = FrameworkId::from(&message.framework_id);
        let valid = self.speaking_agent(pid, &message.agent_id).is_some()
            && self.frameworks.contains_key(&framework);
        self.counters.messages_of_executors.count(valid);
        if !valid {
            self.counters.messages_dropped += 1;
            return;
        }
        let mut event = event_of(event::Type::Message);
        event.message = Some(Box::new(event::Message {
            agent_id: message.agent_id,
            executor_id: message.executor_id,
            data: message.data,
        }));
        self.tell(&framework, event);
    }

    pub(super) fn exited_executor(&mut self, pid: &str, message: &internal::ExitedExecutorMessage) {
        let Some(agent) = self.speaking_agent(pid, &message.agent_id).cloned() else {
            self.counters.messages_dropped += 1;
            return;
        };
        let framework = FrameworkId::from(&message.framework_id);
        let executor = ExecutorId::from(&message.executor_id);
        self.remove_executor(&agent, &framework, &executor);
        let mut event = event_of(event::Type::Failure);
        event.failure = Some(event::Failure {
            agent_id: Some((&agent).into()),
            executor_id: Some((&executor).into()),
            status: Some(message.status),
        });
        self.tell(&framework, event);
    }

    /// Takes an executor out of the books. The tasks it had are the agent's to report.
    pub(super) fn remove_executor(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        let key = (framework.clone(), executor.clone());
        let Some(removed) = state.executors.remove(&key) else { return };
        state.use_less(framework, &removed.resources);
        self.allocator.free(framework, agent, &removed.resources);
        self.drained_if_idle(agent);
    }

    /// A task is in this state now. If it was to start an executor that its agent had not got, that
    /// tells whether it did: one whose tasks never came is not there.
    pub(super) fn awaited_executor(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        state: TaskState,
    ) {
        let Some(known) = self.task_of(framework, task) else { return };
        let Some(id) = known.wire.executor_id.as_ref().map(ExecutorId::from) else { return };
        let agent = known.agent.clone();
        let key = (framework.clone(), id);
        let awaits = |agent: &Agent| {
            agent.executors.get(&key).is_some_and(|executor| executor.awaited.contains(task))
        };
        if !self.agents.get(&agent).is_some_and(awaits) {
            return;
        }
        let Some(known) = self.agents.get_mut(&agent) else { return };
        let Some(executor) = known.executors.get_mut(&key) else { return };
        if !matches!(state, TaskState::TaskDropped | TaskState::TaskLost) {
            executor.awaited.clear();
            return;
        }
        executor.awaited.remove(task);
        if executor.awaited.is_empty() {
            self.remove_executor(&agent, framework, &key.1);
        }
    }

    pub(super) fn kill(&mut self, framework: &FrameworkId, call: call::Kill) {
        let task = TaskId::from(&call.task_id);
        let named = call.agent_id.as_ref().map(AgentId::from);
        let agent = self.task_of(framework, &task).map(|task| task.agent.clone());
        let Some(agent) = agent else {
            // Nothing to kill: the framework is told what is known of such a task.
            return self.reconcile_task(framework, &task, named.as_ref());
        };
        if named.is_some_and(|named| named != agent) {
            self.counters.messages_dropped += 1;
            return;
        }
        self.send_kill(&agent, framework, &task, call.kill_policy);
    }

    /// Has a task killed: now, or when its agent is back.
    pub(super) fn send_kill(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        task: &TaskId,
        kill_policy: Option<v1::KillPolicy>,
    ) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        if !state.connected {
            state.killed.insert((framework.clone(), task.clone()));
            return;
        }
        let message = internal::KillTaskMessage {
            framework_id: framework.into(),
            task_id: task.into(),
            kill_policy,
        };
        self.tell_agent(agent, ToAgent::KillTask(message));
    }
}
