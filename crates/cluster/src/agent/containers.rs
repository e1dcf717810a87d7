//! From what the containerizer sees to the states of tasks.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{CheckStatusInfo, NetworkInfo, TaskState};

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
        let tasks = match self.member_in(framework, executor, container) {
            Some(at) => vec![at],
            None => {
                let found = self.executor_mut(framework, executor);
                let Some(found) = found.filter(|e| e.container == *container) else {
                    return; // an earlier run of that name
                };
                let is_command = found.kind == Kind::Command;
                if is_command { self.live_tasks(framework, executor) } else { Vec::new() }
            }
        };
        match event {
            ContainerEvent::Starting => tasks.iter().for_each(|at| self.starting(at)),
            ContainerEvent::Launched { data, network_infos, pid } => {
                self.placed(framework, executor, container, network_infos, pid);
                tasks.iter().for_each(|at| self.launched(at, &data));
            }
            ContainerEvent::Refused { reason, message } => {
                let found = self.executor_mut(framework, executor);
                // One of before a restart was started once.
                if found.is_some_and(|executor| !executor.recovered) {
                    self.counters.container_launch_errors += 1;
                }
                self.ended(framework, executor, container, &Ending::Refused(reason, message));
            }
            ContainerEvent::Health { healthy, kill, message } => {
                tasks.iter().for_each(|at| self.health(at, healthy, kill, &message));
            }
            ContainerEvent::Checked(seen) => tasks.iter().for_each(|at| self.checked(at, &seen)),
            ContainerEvent::Ended(exit) => {
                self.ended(framework, executor, container, &Ending::Exited(exit));
            }
        }
    }

    fn placed(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
        network_infos: Option<Vec<NetworkInfo>>,
        pid: Option<u32>,
    ) {
        let Some(executor) = self.executor_mut(framework, executor) else { return };
        let mut members = executor.tasks.values_mut().filter_map(|task| task.member.as_mut());
        if let Some(member) = members.find(|member| member.container == *container) {
            (member.network_infos, member.pid) = (network_infos, pid);
        } else {
            (executor.network_infos, executor.pid) = (network_infos, pid);
        }
    }

    fn starting(&mut self, at: &At) {
        let fresh = self
            .record_mut(at)
            .is_some_and(|t| t.killing.is_none() && t.latest() == TaskState::TaskStaging);
        if fresh {
            self.report(at, TaskState::TaskStarting, News::default());
        }
    }

    fn launched(&mut self, at: &At, data: &bytes::Bytes) {
        let now = self.now;
        let mut recovered = false;
        if let Some(executor) = self.executor_mut(&at.framework, &at.executor) {
            let first = executor.state == ExecutorState::Registering;
            recovered = executor.recovered && (first || executor.kind == Kind::Default);
            if first {
                executor.state = ExecutorState::Running;
            }
        }
        let Some(record) = self.record_mut(at).filter(|it| !is_terminal(it.latest())) else {
            return;
        };
        if let Some(killing) = record.killing {
            record.running_since.get_or_insert(now);
            // Whoever waited to kill it for good was the agent that has been restarted.
            if recovered {
                self.kill(at, killing, None);
            }
            return;
        }
        // Its time goes on while there is no agent.
        let since = *record.running_since.get_or_insert(now);
        let limit = record.info.max_completion_time.as_ref().map(|t| t.nanoseconds);
        record.complete_by =
            limit.map(|nanos| since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
        if matches!(record.latest(), TaskState::TaskStaging | TaskState::TaskStarting) {
            let data = Some(data.clone()).filter(|data| !data.is_empty());
            self.report(at, TaskState::TaskRunning, News { data, ..News::default() });
        }
    }

    fn health(&mut self, at: &At, healthy: bool, kill: bool, message: &str) {
        let Some(record) = self.record_mut(at).filter(|it| !is_terminal(it.latest())) else {
            return;
        };
        let changed = record.healthy != Some(healthy);
        record.healthy = Some(healthy);
        if record.killing.is_some() {
            return;
        }
        if changed {
            let news = News {
                reason: Some(Reason::TaskHealthCheckStatusUpdated),
                message: message.to_owned(),
                healthy: Some(healthy),
                ..News::default()
            };
            self.report(at, TaskState::TaskRunning, news);
        }
        if kill {
            self.kill(at, Killing::ByHealth, None);
        }
    }

    fn checked(&mut self, at: &At, seen: &CheckStatusInfo) {
        let Some(record) = self.record_mut(at).filter(|it| !is_terminal(it.latest())) else {
            return;
        };
        let known = record.checked.as_ref();
        if record.killing.is_some() || known.is_none() || known == Some(seen) {
            return;
        }
        record.checked = Some(*seen);
        let news = News {
            reason: Some(Reason::TaskCheckStatusUpdated),
            healthy: record.healthy,
            ..News::default()
        };
        self.report(at, TaskState::TaskRunning, news);
    }

    /// A container inside of the default executor's has ended.
    fn member_exited(&mut self, at: &At, ending: &Ending) {
        let Some(record) = self.record_mut(at).filter(|it| !is_terminal(it.latest())) else {
            return;
        };
        record.complete_by = None;
        let (state, news) = last_words(Kind::Default, record.killing, record.healthy, ending);
        self.report(at, state, news);
        self.member_ended(at);
    }

    fn ended(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
        ending: &Ending,
    ) {
        if let Some(at) = self.member_in(framework, executor, container) {
            return self.member_exited(&at, ending);
        }
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
        self.counters.executors_terminated += 1;
        for at in self.live_tasks(framework, executor) {
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

    /// The tasks of an executor that are not over.
    pub(super) fn live_tasks(&self, framework: &FrameworkId, executor: &ExecutorId) -> Vec<At> {
        let found = self.frameworks.get(framework).and_then(|f| f.executors.get(executor));
        let Some(found) = found else { return Vec::new() };
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
        (Some(Killing::ByGroup), Ending::Exited(_)) => {
            let message = format!("{message}: another task of its group failed or was killed");
            (TaskState::TaskKilled, News { message, ..News::default() })
        }
        (Some(Killing::ByFramework), Ending::Exited(_)) if kind != Kind::Custom => {
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
