//! From what happened to a status update, and its way to the framework.

use bytes::Bytes;
use mesos_api::internal as wire;
use mesos_api::internal::status_update_record;
use mesos_api::v1::task_status::{Reason, Source};
use mesos_api::v1::{TaskState, TaskStatus};

use super::model::is_terminal;
use super::stream::Acknowledged;
use super::{Agent, Output, Phase, Record};
use crate::id::{ExecutorId, FrameworkId, TaskId};
use crate::wire::FromAgent;

/// What a status says beyond its state.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    pub(super) reason: Option<Reason>,
    pub(super) message: String,
    pub(super) data: Option<Bytes>,
    pub(super) healthy: Option<bool>,
    /// The agent itself decided this, not whoever runs the task.
    pub(super) by_agent: bool,
}

impl News {
    pub(super) fn from_agent(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason: Some(reason), message, by_agent: true, ..Self::default() }
    }
}

/// A task on this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) framework: FrameworkId,
    pub(super) executor: ExecutorId,
    pub(super) task: TaskId,
}

impl Agent {
    /// Says that a task is in `state` now; ignored when the task cannot go there any more.
    pub(super) fn report(&mut self, at: &At, state: TaskState, news: News) {
        let uuid = Bytes::copy_from_slice(&self.rng.uuid());
        let Some(executor) =
            self.frameworks.get(&at.framework).and_then(|f| f.executors.get(&at.executor))
        else {
            return;
        };
        let source = if news.by_agent { Source::Agent } else { Source::Executor };
        let mut status = TaskStatus {
            task_id: at.task.as_str().into(),
            message: Some(news.message).filter(|m| !m.is_empty()),
            data: news.data,
            agent_id: self.info.id.clone(),
            executor_id: Some(at.executor.as_str().into()),
            timestamp: Some(self.now.as_secs_f64()),
            uuid: Some(uuid),
            healthy: news.healthy,
            check_status: executor.tasks.get(&at.task).and_then(|task| task.checked).map(Box::new),
            ..TaskStatus::default()
        };
        status.set_state(state);
        status.set_source(source);
        if let Some(reason) = news.reason {
            status.set_reason(reason);
        }
        let member = executor.tasks.get(&at.task).and_then(|task| task.member.as_ref());
        let (infos, pid) = match member {
            Some(member) => (&member.network_infos, member.pid),
            None => (&executor.network_infos, executor.pid),
        };
        let never_ran = news.by_agent && infos.is_none() && pid.is_none();
        if !never_ran {
            let own = executor.container_status(&at.task, &self.config.ip);
            status.container_status = Some(Box::new(own));
        }
        self.push_status(at, status);
    }

    /// Puts a status into its task's stream, if there is such a task.
    pub(super) fn push_status(&mut self, at: &At, status: TaskStatus) {
        let wanted = self.frameworks.get(&at.framework).is_some_and(|it| !it.shutting_down);
        let taken = self.take_status(at, status);
        self.counters.status_updates.count(wanted && taken);
    }

    /// False when there is no such task.
    fn take_status(&mut self, at: &At, status: TaskStatus) -> bool {
        let Some(framework) = self.frameworks.get_mut(&at.framework) else { return false };
        let Some(executor) = framework.executors.get_mut(&at.executor) else { return false };
        let Some(record) = executor.tasks.get_mut(&at.task) else { return false };
        let state = status.state();
        let latest = record.latest();
        let backwards = latest == TaskState::TaskKilling && !is_terminal(state);
        if is_terminal(latest) || (backwards && state != TaskState::TaskKilling) {
            return true;
        }
        let update = wire::StatusUpdate {
            framework_id: at.framework.as_str().into(),
            executor_id: Some(at.executor.as_str().into()),
            agent_id: self.info.id.clone(),
            timestamp: status.timestamp.unwrap_or_else(|| self.now.as_secs_f64()),
            uuid: status.uuid.clone(),
            latest_state: None,
            status: status.clone(),
        };
        if !record.stream.push(update.clone()) {
            return true;
        }
        remember(&mut record.task, status);
        let custom = executor.kind == super::Kind::Custom;
        let (container, resources) = (executor.container.clone(), executor.resources());
        if is_terminal(state) {
            *self.ended.entry(state as i32).or_default() += 1;
            if custom {
                self.out.push(Output::Resize { container, resources });
            }
        }
        let mut line = wire::StatusUpdateRecord { update: Some(update), ..Default::default() };
        line.set_type(status_update_record::Type::Update);
        self.persist_line(at, line);
        self.send_head(at);
        true
    }

    fn persist_line(&mut self, at: &At, line: wire::StatusUpdateRecord) {
        let Some(framework) = self.frameworks.get(&at.framework) else { return };
        let Some(executor) = framework.executors.get(&at.executor) else { return };
        let (info, container) = (framework.info.clone(), executor.container.clone());
        self.persist(&info, || Record::Update {
            framework: at.framework.clone(),
            executor: at.executor.clone(),
            container,
            task: at.task.clone(),
            record: Box::new(line),
        });
    }

    /// Sends the oldest unacknowledged update of a task if it waits to be sent.
    fn send_head(&mut self, at: &At) {
        if self.phase != Phase::Running {
            return;
        }
        let now = self.now;
        let Some(record) = self
            .frameworks
            .get_mut(&at.framework)
            .and_then(|f| f.executors.get_mut(&at.executor))
            .and_then(|e| e.tasks.get_mut(&at.task))
        else {
            return;
        };
        if !record.stream.is_due(now) {
            return;
        }
        let Some(mut update) = record.stream.head().cloned() else { return };
        update.set_latest_state(record.task.state());
        record.task.set_status_update_state(update.status.state());
        record.task.status_update_uuid = update.uuid.clone();
        record.stream.sent(now);
        let pid = Some(self.config.pid.clone());
        self.out
            .push(Output::send(FromAgent::StatusUpdate(wire::StatusUpdateMessage { update, pid })));
    }

    pub(super) fn tick_streams(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        for framework in self.frameworks.values().filter(|f| !f.shutting_down) {
            for executor in framework.executors.values() {
                let tasks = executor.tasks.iter().filter(|(_, t)| t.stream.is_due(now));
                due.extend(tasks.map(|(id, _)| At {
                    framework: framework.id.clone(),
                    executor: executor.id.clone(),
                    task: id.clone(),
                }));
            }
        }
        for at in due {
            self.send_head(&at);
        }
    }

    pub(super) fn pause_streams(&mut self) {
        let executors = self.frameworks.values_mut().flat_map(|f| f.executors.values_mut());
        for task in executors.flat_map(|e| e.tasks.values_mut()) {
            task.stream.pause();
        }
    }

    pub(super) fn acknowledged(&mut self, message: &wire::StatusUpdateAcknowledgementMessage) {
        let Some(at) = self.find(&message.framework_id.value, &message.task_id.value) else {
            return;
        };
        let Some(record) = self.record_mut(&at) else { return };
        let was = record.stream.head().map(|update| update.status.state());
        if record.stream.acknowledge(&message.uuid) != Acknowledged::Yes {
            return;
        }
        let mut line =
            wire::StatusUpdateRecord { uuid: Some(message.uuid.clone()), ..Default::default() };
        line.set_type(status_update_record::Type::Ack);
        self.persist_line(&at, line);
        if was.is_some_and(is_terminal) {
            self.complete_task(&at);
        } else {
            self.send_head(&at);
        }
    }

    /// A task is over and its framework knows: it becomes history.
    fn complete_task(&mut self, at: &At) {
        let Some(executor) =
            self.frameworks.get_mut(&at.framework).and_then(|f| f.executors.get_mut(&at.executor))
        else {
            return;
        };
        if let Some(record) = executor.tasks.remove(&at.task) {
            if let Some(member) = &record.member {
                self.out.push(Output::Remove { container: member.container.clone() });
            }
            if executor.completed.len() == super::REMEMBERED {
                executor.completed.pop_front();
            }
            executor.completed.push_back(record.task);
        }
        self.finish_executor(&at.framework, &at.executor);
    }

    /// An update that nobody has to acknowledge, about a task that is not here.
    pub(super) fn report_unknown(
        &mut self,
        framework: &str,
        task: &str,
        reason: Reason,
        text: &str,
    ) {
        let id = FrameworkId::from(framework);
        let state = self.frameworks.get(&id).map_or(TaskState::TaskLost, super::Framework::dropped);
        let mut status = TaskStatus {
            task_id: task.into(),
            message: Some(text.to_owned()),
            agent_id: self.info.id.clone(),
            timestamp: Some(self.now.as_secs_f64()),
            ..TaskStatus::default()
        };
        status.set_state(state);
        status.set_source(Source::Agent);
        status.set_reason(reason);
        let mut update = wire::StatusUpdate {
            framework_id: framework.into(),
            executor_id: None,
            agent_id: self.info.id.clone(),
            status,
            timestamp: self.now.as_secs_f64(),
            uuid: None,
            latest_state: None,
        };
        update.set_latest_state(state);
        let message = wire::StatusUpdateMessage { update, pid: None };
        self.out.push(Output::send(FromAgent::StatusUpdate(message)));
    }

    /// The master asks about tasks that it holds to be here; it hears of those that are not.
    pub(super) fn reconcile_tasks(&mut self, message: wire::ReconcileTasksMessage) {
        for status in message.statuses {
            if self.find(&message.framework_id.value, &status.task_id.value).is_none() {
                self.report_unknown(
                    &message.framework_id.value,
                    &status.task_id.value,
                    Reason::Reconciliation,
                    "Reconciliation: task unknown to the agent",
                );
            }
        }
    }

    pub(super) fn find(&self, framework: &str, task: &str) -> Option<At> {
        let framework = self.frameworks.get(&FrameworkId::from(framework))?;
        let task = TaskId::from(task);
        let executor = framework.executors.values().find(|e| e.tasks.contains_key(&task))?;
        Some(At { framework: framework.id.clone(), executor: executor.id.clone(), task })
    }

    pub(super) fn record_mut(&mut self, at: &At) -> Option<&mut super::TaskRecord> {
        let framework = self.frameworks.get_mut(&at.framework)?;
        framework.executors.get_mut(&at.executor)?.tasks.get_mut(&at.task)
    }
}

/// Adds a status to what the endpoints show: one per state, the latest of a repeated one.
pub(super) fn remember(task: &mut mesos_api::v1::Task, mut status: TaskStatus) {
    task.set_state(status.state());
    // The data is the framework's; `/state` would grow by an inspection per task.
    status.data = None;
    if task.statuses.last().is_some_and(|last| last.state() == status.state()) {
        task.statuses.pop();
    }
    task.statuses.push(status);
}
