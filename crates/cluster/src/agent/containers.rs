//! From what the containerizer sees to the states of tasks.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::TaskState;
use mesos_api::v1::task_status::Reason;

use super::model::is_terminal;
use super::updates::{At, News};
use super::{Agent, ContainerEvent, ExecutorState, Exit, Killing, Kind, Output};
use crate::id::{ContainerId, ExecutorId, FrameworkId};
use crate::wire::FromAgent;

impl Agent {
    pub(super) fn container_event(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
        event: ContainerEvent,
    ) {
        let known =
            self.executor_mut(framework, executor).is_some_and(|e| e.container == *container);
        if !known {
            return; // an earlier run of that name
        }
        match event {
            ContainerEvent::Starting => self.starting(framework, executor),
            ContainerEvent::Launched { data, network_infos, pid } => {
                if let Some(executor) = self.executor_mut(framework, executor) {
                    executor.network_infos = network_infos;
                    executor.pid = pid;
                }
                self.launched(framework, executor, data);
            }
            ContainerEvent::Refused { reason, message } => {
                self.ended(framework, executor, &Ending::Refused(reason, message));
            }
            ContainerEvent::Health { healthy, kill, message } => {
                self.health(framework, executor, healthy, kill, message);
            }
            ContainerEvent::Ended(exit) => self.ended(framework, executor, &Ending::Exited(exit)),
        }
    }

    fn starting(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        for at in self.live_tasks(framework, executor, Some(Kind::Command)) {
            let fresh = self
                .record_mut(&at)
                .is_some_and(|t| t.killing.is_none() && t.latest() == TaskState::TaskStaging);
            if fresh {
                self.report(&at, TaskState::TaskStarting, News::default());
            }
        }
    }

    fn launched(&mut self, framework: &FrameworkId, executor: &ExecutorId, data: bytes::Bytes) {
        let now = self.now;
        for at in self.live_tasks(framework, executor, Some(Kind::Command)) {
            if let Some(executor) = self.executor_mut(framework, executor)
                && executor.state == ExecutorState::Registering
            {
                executor.state = ExecutorState::Running;
            }
            let Some(record) = self.record_mut(&at) else { continue };
            let limit = record.info.max_completion_time.as_ref().map(|t| t.nanoseconds);
            record.complete_by =
                limit.map(|nanos| now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
            let before =
                matches!(record.latest(), TaskState::TaskStaging | TaskState::TaskStarting);
            if before && record.killing.is_none() {
                let data = Some(data.clone()).filter(|data| !data.is_empty());
                let news = News { data, ..News::default() };
                self.report(&at, TaskState::TaskRunning, news);
            }
        }
    }

    fn health(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        healthy: bool,
        kill: bool,
        message: String,
    ) {
        for at in self.live_tasks(framework, executor, Some(Kind::Command)) {
            let Some(record) = self.record_mut(&at) else { continue };
            let changed = record.healthy != Some(healthy);
            record.healthy = Some(healthy);
            if record.killing.is_some() {
                continue;
            }
            if changed {
                let news = News {
                    reason: Some(Reason::TaskHealthCheckStatusUpdated),
                    message: message.clone(),
                    healthy: Some(healthy),
                    ..News::default()
                };
                self.report(&at, TaskState::TaskRunning, news);
            }
            if kill {
                self.kill(&at, Killing::ByHealth, None);
            }
        }
    }

    fn ended(&mut self, framework: &FrameworkId, executor: &ExecutorId, ending: &Ending) {
        let Some(found) = self.executor_mut(framework, executor) else { return };
        if found.state == ExecutorState::Terminated {
            return;
        }
        let (kind, verdict) = (found.kind, found.verdict.clone());
        found.deadline = None;
        found.connected = false;
        found.queued.clear();
        // Before the last updates, so that the executor goes with their acknowledgements.
        found.state = ExecutorState::Terminated;
        for at in self.live_tasks(framework, executor, None) {
            let Some(record) = self.record_mut(&at) else { continue };
            record.complete_by = None;
            let (killing, healthy) = (record.killing, record.healthy);
            let (state, news) = match &verdict {
                Some((reason, text)) => {
                    (TaskState::TaskFailed, News::from_agent(*reason, text.clone()))
                }
                None => last_words(kind, killing, healthy, ending),
            };
            self.report(&at, state, news);
        }
        let tell = self.frameworks.get(framework).is_some_and(|f| !f.shutting_down);
        if kind == Kind::Custom && tell && self.info.id.is_some() {
            let message = wire::ExitedExecutorMessage {
                agent_id: self.agent_id(),
                framework_id: framework.as_str().into(),
                executor_id: executor.as_str().into(),
                status: ending.wait_status(),
            };
            self.out.push(Output::send(FromAgent::ExitedExecutor(message)));
        }
        self.finish_executor(framework, executor);
    }

    /// The tasks of an executor that are not over, of executors of that kind.
    pub(super) fn live_tasks(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        kind: Option<Kind>,
    ) -> Vec<At> {
        let found = self.frameworks.get(framework).and_then(|f| f.executors.get(executor));
        let Some(found) = found.filter(|e| kind.is_none_or(|kind| e.kind == kind)) else {
            return Vec::new();
        };
        let live = found.tasks.iter().filter(|(_, t)| !is_terminal(t.latest()));
        live.map(|(task, _)| At {
            framework: framework.clone(),
            executor: executor.clone(),
            task: task.clone(),
        })
        .collect()
    }
}

/// How a container came to its end.
enum Ending {
    Refused(Reason, String),
    Exited(Exit),
}

impl Ending {
    /// As wait(2) tells it; -1 when nobody knows.
    fn wait_status(&self) -> i32 {
        match self {
            Self::Exited(Exit { code: Some(code), .. }) => (code & 0xff) << 8,
            _ => -1,
        }
    }
}

/// The last state of a task, out of who wanted it to end and how it did.
fn last_words(
    kind: Kind,
    killing: Option<Killing>,
    healthy: Option<bool>,
    ending: &Ending,
) -> (TaskState, News) {
    let (message, refused) = match ending {
        Ending::Refused(reason, message) => (message.clone(), Some(*reason)),
        Ending::Exited(exit) => (exit.message.clone(), None),
    };
    match (killing, ending) {
        (Some(Killing::ByTimeLimit), Ending::Exited(_)) => {
            let reason = Some(Reason::MaxCompletionTimeReached);
            (TaskState::TaskFailed, News { reason, message, ..News::default() })
        }
        (Some(Killing::ByHealth), Ending::Exited(_)) => {
            let healthy = healthy.or(Some(false));
            (TaskState::TaskKilled, News { message, healthy, ..News::default() })
        }
        (Some(Killing::ByDrain), _) => {
            (TaskState::TaskKilled, News::from_agent(Reason::AgentDraining, message))
        }
        (Some(_), Ending::Refused(..)) => {
            (TaskState::TaskKilled, News::from_agent(Reason::TaskKilledDuringLaunch, message))
        }
        (Some(Killing::ByFramework), Ending::Exited(_)) if kind == Kind::Command => {
            (TaskState::TaskKilled, News { message, ..News::default() })
        }
        (None, Ending::Refused(..)) => {
            let reason = refused.unwrap_or(Reason::ContainerLaunchFailed);
            (TaskState::TaskFailed, News::from_agent(reason, message))
        }
        (_, Ending::Exited(exit)) if exit.out_of_memory => {
            (TaskState::TaskFailed, News::from_agent(Reason::ContainerLimitationMemory, message))
        }
        (_, Ending::Exited(_)) if kind == Kind::Custom => {
            (TaskState::TaskFailed, News::from_agent(Reason::ExecutorTerminated, message))
        }
        (_, Ending::Exited(Exit { code: Some(0), .. })) => {
            (TaskState::TaskFinished, News { message, ..News::default() })
        }
        (_, Ending::Exited(_)) => {
            let reason = Some(Reason::CommandExecutorFailed);
            (TaskState::TaskFailed, News { reason, message, ..News::default() })
        }
    }
}
