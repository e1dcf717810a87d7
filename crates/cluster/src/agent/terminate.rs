//! The end of executors and frameworks.

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{DurationInfo, FrameworkId as WireFrameworkId, KillPolicy, executor};

use super::{Agent, CompletedExecutor, ExecutorState, Killing, Kind, Output, Record};
use crate::id::{ExecutorId, FrameworkId};
use crate::time::{Time, words};
use crate::wire::FromAgent;

impl Agent {
    /// Ends everything here for good: an operator wants this agent gone.
    pub fn leave(&mut self, now: Time) -> Vec<Output> {
        self.now = now;
        if self.info.id.is_some() {
            let message = wire::UnregisterSlaveMessage { agent_id: self.agent_id() };
            self.out.push(Output::send(FromAgent::Unregister(message)));
        }
        self.end_everything(String::new());
        std::mem::take(&mut self.out)
    }

    pub(super) fn end_everything(&mut self, why: String) {
        let ids: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for id in ids {
            self.shutdown_framework(&(&id).into());
        }
        self.out.push(Output::Leave(why));
    }

    /// The framework is over: what it runs ends, and no update of it is wanted any more.
    pub(super) fn shutdown_framework(&mut self, id: &WireFrameworkId) {
        let id = FrameworkId::from(id.value.as_str());
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        framework.shutting_down = true;
        let executors: Vec<ExecutorId> = framework.executors.keys().cloned().collect();
        for executor in &executors {
            self.shutdown_executor(&id, executor);
            self.finish_executor(&id, executor);
        }
        self.finish_framework(&id);
    }

    pub(super) fn shutdown_executor_message(&mut self, message: &wire::ShutdownExecutorMessage) {
        let (Some(framework), Some(executor)) = (&message.framework_id, &message.executor_id)
        else {
            return;
        };
        let framework = FrameworkId::from(framework.value.as_str());
        self.shutdown_executor(&framework, &ExecutorId::from(executor.value.as_str()));
    }

    pub(super) fn shutdown_executor(&mut self, framework: &FrameworkId, id: &ExecutorId) {
        let (now, default) = (self.now, self.config.executor_shutdown_grace);
        let Some(executor) = self.executor_mut(framework, id) else { return };
        let container = executor.container.clone();
        let before = executor.state;
        if matches!(before, ExecutorState::Terminating | ExecutorState::Terminated) {
            return;
        }
        let own = executor.info.shutdown_grace_period.as_ref().map(|g| g.nanoseconds);
        let grace = own
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map_or(default, std::time::Duration::from_nanos);
        executor.state = ExecutorState::Terminating;
        match (executor.kind, before) {
            (Kind::Default, _) => {
                let policy = KillPolicy {
                    grace_period: Some(DurationInfo {
                        nanoseconds: i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX),
                    }),
                };
                for at in self.live_tasks(framework, id) {
                    self.kill(&at, Killing::ByFramework, Some(&policy));
                }
            }
            (_, ExecutorState::Registering) => {
                executor.deadline = None;
                self.out.push(Output::Destroy { container });
            }
            (Kind::Command, _) => self.out.push(Output::Stop { container, grace }),
            (Kind::Custom, _) => {
                executor.deadline = Some(now + grace);
                let mut event = executor::Event::default();
                event.set_type(executor::event::Type::Shutdown);
                self.out.push(Output::Executor { container, event: Box::new(event) });
            }
        }
    }

    /// Gives up executors that do not subscribe, and those that do not end.
    pub(super) fn tick_executors(&mut self) {
        let mut over = Vec::new();
        for framework in self.frameworks.values_mut() {
            for executor in framework.executors.values_mut() {
                if executor.deadline.is_some_and(|deadline| deadline <= self.now) {
                    executor.deadline = None;
                    over.push((framework.id.clone(), executor.id.clone()));
                }
            }
        }
        for (framework, id) in over {
            let registration = self.config.executor_registration_timeout;
            let reregistration = self.config.executor_reregistration_timeout;
            let Some(executor) = self.executor_mut(&framework, &id) else { continue };
            if executor.state == ExecutorState::Registering {
                let verdict = if executor.recovered {
                    let text =
                        format!("Executor did not reregister within {}", words(reregistration));
                    (Reason::ExecutorReregistrationTimeout, text)
                } else {
                    let text = format!("Executor did not register within {}", words(registration));
                    (Reason::ExecutorRegistrationTimeout, text)
                };
                executor.verdict.get_or_insert(verdict);
            }
            executor.state = ExecutorState::Terminating;
            let container = executor.container.clone();
            self.out.push(Output::Destroy { container });
        }
    }

    /// Forgets an executor whose container has ended and whose updates are all acknowledged.
    pub(super) fn finish_executor(&mut self, framework: &FrameworkId, id: &ExecutorId) {
        let Some(owner) = self.frameworks.get_mut(framework) else { return };
        let unwanted = owner.shutting_down;
        let Some(executor) = owner.executors.get(id) else { return };
        if executor.state != ExecutorState::Terminated || !(executor.tasks.is_empty() || unwanted) {
            return;
        }
        let Some(mut executor) = owner.executors.remove(id) else { return };
        let members = executor.tasks.values().filter_map(|task| task.member.as_ref());
        let own = members.map(|it| Output::Remove { container: it.container.clone() });
        self.out.extend(own);
        let rest = std::mem::take(&mut executor.tasks).into_values().map(|t| t.task);
        let tasks = executor.completed.into_iter().chain(rest).collect();
        let container = executor.container;
        owner.completed.push_back(CompletedExecutor {
            id: executor.id,
            info: executor.info,
            kind: executor.kind,
            container: container.clone(),
            tasks,
        });
        while owner.completed.len() > self.config.max_completed_executors {
            owner.completed.pop_front();
        }
        let done =
            Record::Finished { framework: framework.clone(), executor: id.clone(), container };
        // Also for frameworks that leave no records: the container is not needed any more.
        self.out.push(Output::persist(done));
        self.finish_framework(framework);
    }

    fn finish_framework(&mut self, id: &FrameworkId) {
        if self.frameworks.get(id).is_none_or(|f| !f.executors.is_empty()) {
            return;
        }
        let Some(framework) = self.frameworks.remove(id) else { return };
        self.drained_if_idle();
        self.persist(&framework.info, || Record::FrameworkFinished { framework: id.clone() });
        // One entry per framework: what it did before and has done since.
        if let Some(index) = self.completed.iter().position(|f| f.id == *id)
            && let Some(mut known) = self.completed.remove(index)
        {
            known.completed.extend(framework.completed);
            while known.completed.len() > self.config.max_completed_executors {
                known.completed.pop_front();
            }
            self.completed.push_back(known);
            return;
        }
        if self.completed.len() == super::REMEMBERED {
            self.completed.pop_front();
        }
        self.completed.push_back(framework);
    }

    pub(super) fn update_framework(&mut self, message: wire::UpdateFrameworkMessage) {
        let id = FrameworkId::from(&message.framework_id);
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        framework.pid = message.pid.filter(|pid| !pid.is_empty() && !pid.starts_with('@'));
        if let Some(mut info) = message.framework_info {
            info.checkpoint = framework.info.checkpoint; // records cannot be made up for afterwards
            framework.info = info;
        }
        let (id, info, pid) = (framework.id.clone(), framework.info.clone(), framework.pid.clone());
        let record = info.clone();
        self.persist(&record, || Record::Framework { id, info, pid });
    }
}
