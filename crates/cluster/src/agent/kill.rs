//! Killing a task: by its framework, its health, its time limit, or because the agent drains.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::framework_info::capability;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{KillPolicy, TaskState, executor};

use super::model::is_terminal;
use super::updates::{At, News};
use super::{Agent, ExecutorState, Killing, Kind, Output, Queued, Record};
use crate::id::TaskId;

/// The grace that Mesos' default executor gives tasks without a policy.
const MEMBER_GRACE: Duration = Duration::from_secs(3);

impl Agent {
    pub(super) fn kill_task(&mut self, message: &wire::KillTaskMessage) {
        let (framework, task) = (&message.framework_id.value, &message.task_id.value);
        match self.find(framework, task) {
            Some(at) => self.kill(&at, Killing::ByFramework, message.kill_policy.as_ref()),
            None => {
                let text = "Cannot find executor";
                self.report_unknown(framework, task, Reason::ExecutorTerminated, text);
            }
        }
    }

    /// Kills a task; `policy` overrides the task's own.
    pub(super) fn kill(&mut self, at: &At, killing: Killing, policy: Option<&KillPolicy>) {
        let Some(framework) = self.frameworks.get_mut(&at.framework) else { return };
        let tells = framework.can(capability::Type::TaskKillingState);
        let info = framework.info.clone();
        let Some(executor) = framework.executors.get_mut(&at.executor) else { return };
        let (kind, state) = (executor.kind, executor.state);
        let (container, connected) = (executor.container.clone(), executor.connected);
        let Some(record) = executor.tasks.get_mut(&at.task) else { return };
        if is_terminal(record.latest()) || state == ExecutorState::Terminated {
            return;
        }
        let first = record.killing.is_none();
        record.killing.get_or_insert(killing);
        let (member, runs) = (record.member.clone(), record.running_since.is_some());
        let policy = policy.or(record.info.kill_policy.as_ref()).copied();
        let grace = policy.as_ref().and_then(grace_period);
        if first {
            self.persist(&info, || Record::Killing {
                framework: at.framework.clone(),
                executor: at.executor.clone(),
                container: container.clone(),
                task: at.task.clone(),
                killing,
            });
        }
        match (kind, state) {
            (Kind::Command, ExecutorState::Registering) => {
                self.out.push(Output::Destroy { container });
            }
            (Kind::Command, _) => {
                if first && tells {
                    self.tell_killing(at, killing);
                }
                // A further kill may shorten the grace, never lengthen it: the engine takes the new one.
                let grace = grace.unwrap_or(self.config.executor_shutdown_grace);
                self.out.push(Output::Stop { container, grace });
            }
            (Kind::Default, _) => {
                let Some(member) = member else { return };
                let container = member.container;
                if !runs {
                    self.out.push(Output::Destroy { container });
                    return;
                }
                if first && tells {
                    self.tell_killing(at, killing);
                }
                let grace = grace.unwrap_or(MEMBER_GRACE);
                self.out.push(Output::Stop { container, grace });
            }
            (Kind::Custom, ExecutorState::Registering) => self.kill_queued(at),
            (Kind::Custom, _) if connected => {
                let event = kill_event(at.task.as_str(), policy);
                self.out.push(Output::Executor { container, event });
            }
            (Kind::Custom, _) => {} // it hears of it when it subscribes again
        }
    }

    fn tell_killing(&mut self, at: &At, killing: Killing) {
        let healthy = (killing == Killing::ByHealth).then_some(false);
        self.report(at, TaskState::TaskKilling, News { healthy, ..News::default() });
    }

    /// The executor has not subscribed: the task never started, nor do those of its group, and
    /// nobody may need the executor.
    fn kill_queued(&mut self, at: &At) {
        let text = "Killed before delivery to the executor";
        let Some(executor) = self.executor_mut(&at.framework, &at.executor) else { return };
        let waits =
            |what: &Queued| what.tasks().iter().any(|it| it.task_id.value == at.task.as_str());
        let (gone, rest) = std::mem::take(&mut executor.queued).into_iter().partition(waits);
        let gone: Vec<Queued> = gone;
        executor.queued = rest;
        let mut all: Vec<TaskId> = gone
            .iter()
            .flat_map(Queued::tasks)
            .map(|task| TaskId::from(task.task_id.value.as_str()))
            .collect();
        if all.is_empty() {
            all.push(at.task.clone()); // it was delivered to an executor of before a restart
        }
        for task in all {
            let news = News::from_agent(Reason::ExecutorUnregistered, text);
            self.report(&At { task, ..at.clone() }, TaskState::TaskKilled, news);
        }
        let Some(executor) = self.executor_mut(&at.framework, &at.executor) else { return };
        if executor.queued.is_empty() && executor.tasks.values().all(|t| is_terminal(t.latest())) {
            executor.state = ExecutorState::Terminating;
            executor.deadline = None;
            let container = executor.container.clone();
            self.out.push(Output::Destroy { container });
        }
    }

    /// Kills tasks that have had all the time they may have.
    pub(super) fn tick_limits(&mut self) {
        let mut over = Vec::new();
        for framework in self.frameworks.values() {
            for executor in framework.executors.values() {
                for (id, task) in &executor.tasks {
                    if task.complete_by.is_some_and(|by| by <= self.now) {
                        over.push(At {
                            framework: framework.id.clone(),
                            executor: executor.id.clone(),
                            task: id.clone(),
                        });
                    }
                }
            }
        }
        for at in over {
            if let Some(record) = self.record_mut(&at) {
                record.complete_by = None;
            }
            self.kill(&at, Killing::ByTimeLimit, None);
        }
    }
}

/// The grace period of a policy; a negative one is none.
pub(super) fn grace_period(policy: &KillPolicy) -> Option<Duration> {
    let nanos = policy.grace_period.as_ref()?.nanoseconds;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

pub(super) fn kill_event(task: &str, kill_policy: Option<KillPolicy>) -> Box<executor::Event> {
    let kill = Some(executor::event::Kill { task_id: task.into(), kill_policy });
    let mut event = executor::Event { kill, ..Default::default() };
    event.set_type(executor::event::Type::Kill);
    Box::new(event)
}
