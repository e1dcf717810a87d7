//! Groups of tasks (Mesos' LAUNCH_GROUP): launched all or none, ended together.
//!
//! The default executor has no process here: each task of a group has a container of its own below
//! the executor's, and the core does what Mesos' default executor does. A task that fails, or is
//! killed, takes the others of its group along; one that finishes does not. The executor ends with
//! the last task. A custom executor is handed the group and does as it likes.

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{ExecutorInfo, TaskGroupInfo, TaskState, executor_info};

use super::launch::launch_event;
use super::model::is_terminal;
use super::updates::{At, News};
use super::{Agent, ExecutorState, Framework, Killing, Kind, Member, Output, Queued};
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::rng::format_uuid;
use crate::wire::FromAgent;

impl Agent {
    pub(super) fn run_task_group(&mut self, message: wire::RunTaskGroupMessage) {
        let Some(id) = message.framework.id.as_ref() else { return };
        let id = FrameworkId::from(id.value.as_str());
        if !self.admit_framework(&id, &message.framework, None) {
            return;
        }
        let group = message.task_group;
        if group.tasks.is_empty() {
            return; // no master sends one
        }
        if group.tasks.iter().any(|task| self.find(id.as_str(), &task.task_id.value).is_some()) {
            return; // the master repeats itself; the tasks' own streams answer
        }
        let launch = message.launch_executor;
        if self.rejects_while_draining(&id, &group.tasks) {
            self.tell_not_started(&id, &message.executor, launch);
            return;
        }
        let kind = match message.executor.r#type() {
            executor_info::Type::Default => Kind::Default,
            _ => Kind::Custom,
        };
        match self.group_refusal(&id, &message.executor, kind, launch) {
            Some((state, reason, text)) => {
                for task in group.tasks {
                    self.reject(&id, task, state, reason, &text);
                }
                self.tell_not_started(&id, &message.executor, launch);
            }
            None if kind == Kind::Default => self.run_default_group(&id, message.executor, group),
            None => self.run_custom_group(&id, message.executor, group),
        }
    }

    fn group_refusal(
        &self,
        framework: &FrameworkId,
        info: &ExecutorInfo,
        kind: Kind,
        launch: Option<bool>,
    ) -> Option<(TaskState, Reason, String)> {
        let owner = self.frameworks.get(framework)?;
        let dropped = |text: &str| {
            let state = Framework::dropped(owner);
            Some((state, Reason::ExecutorTerminated, text.to_owned()))
        };
        let Some(known) = owner.executors.get(&ExecutorId::from(&info.executor_id)) else {
            return match launch {
                Some(false) => {
                    dropped("No executor is expected to launch and there is none running")
                }
                _ => None,
            };
        };
        match known.state {
            ExecutorState::Terminated => dropped("Executor terminated"),
            ExecutorState::Terminating => dropped("Executor terminating"),
            _ if known.kind != kind => {
                let text = "The executor of that name is of another type".to_owned();
                Some((TaskState::TaskError, Reason::TaskGroupInvalid, text))
            }
            _ => None,
        }
    }

    fn run_default_group(
        &mut self,
        framework: &FrameworkId,
        info: ExecutorInfo,
        group: TaskGroupInfo,
    ) {
        let executor = ExecutorId::from(info.executor_id.value.as_str());
        self.add_executor(framework, executor.clone(), info, Kind::Default);
        self.set_state(framework, &executor, ExecutorState::Running);
        let Some(outer) = self.executor_mut(framework, &executor).map(|e| e.container.clone())
        else {
            return;
        };
        let name = format_uuid(self.rng.uuid());
        let mut members = Vec::new();
        for task in group.tasks {
            let at = At {
                framework: framework.clone(),
                executor: executor.clone(),
                task: TaskId::from(task.task_id.value.as_str()),
            };
            let container = outer.child(&format_uuid(self.rng.uuid()));
            members.push(container.clone());
            let (group, network_infos, pid) = (name.clone(), None, None);
            self.add_task(&at, task, Some(Member { container, group, network_infos, pid }));
            self.report(&at, TaskState::TaskStarting, News::default());
        }
        self.resize(framework, &executor);
        let launches = self.launch_specs(framework, &executor).into_iter();
        let new = launches.filter(|launch| members.contains(&launch.container_id));
        self.out.extend(new.map(|launch| Output::Launch(Box::new(launch))));
    }

    fn run_custom_group(
        &mut self,
        framework: &FrameworkId,
        info: ExecutorInfo,
        group: TaskGroupInfo,
    ) {
        let executor = ExecutorId::from(info.executor_id.value.as_str());
        let is_new = self.add_executor(framework, executor.clone(), info, Kind::Custom);
        for task in &group.tasks {
            let at = At {
                framework: framework.clone(),
                executor: executor.clone(),
                task: TaskId::from(task.task_id.value.as_str()),
            };
            self.add_task(&at, task.clone(), None);
        }
        let Some(known) = self.executor_mut(framework, &executor) else { return };
        let connected = known.connected && known.state == ExecutorState::Running;
        let container = known.container.clone();
        let group = Queued::Group(group);
        if connected {
            self.resize(framework, &executor);
            self.out.push(Output::Executor { container, event: launch_event(group) });
            return;
        }
        self.queue(framework, &executor, group);
        if is_new {
            self.launch(framework, &executor);
        } else {
            self.resize(framework, &executor);
        }
    }

    /// The tasks that live and die with this one, itself among them.
    pub(super) fn group_of(&self, at: &At) -> Vec<At> {
        let framework = self.frameworks.get(&at.framework);
        let Some(executor) = framework.and_then(|f| f.executors.get(&at.executor)) else {
            return Vec::new();
        };
        let group = |task: &TaskId| {
            let member = executor.tasks.get(task).and_then(|it| it.member.as_ref());
            member.map(|member| member.group.as_str())
        };
        let Some(own) = group(&at.task) else { return Vec::new() };
        let same = executor.tasks.keys().filter(|task| group(task) == Some(own));
        same.map(|task| At { task: task.clone(), ..at.clone() }).collect()
    }

    /// A task of the default executor has come to its end: what that means for the others.
    pub(super) fn member_ended(&mut self, at: &At) {
        let failed = self.record_mut(at).is_some_and(|record| takes_group_along(record.latest()));
        let leaving = self
            .executor_mut(&at.framework, &at.executor)
            .is_none_or(|executor| executor.state == ExecutorState::Terminating);
        if failed && !leaving {
            self.end_group_of(at);
        }
        if self.live_tasks(&at.framework, &at.executor).is_empty() {
            self.default_executor_ended(&at.framework, &at.executor);
        } else {
            self.resize(&at.framework, &at.executor);
        }
    }

    fn end_group_of(&mut self, at: &At) {
        for other in self.group_of(at).into_iter().filter(|other| other.task != at.task) {
            let untouched = self
                .record_mut(&other)
                .is_some_and(|it| !is_terminal(it.latest()) && it.killing.is_none());
            if untouched {
                self.kill(&other, Killing::ByGroup, None);
            }
        }
    }

    /// Goes on where an earlier agent died: it may have written down that a task has failed and not
    /// come to the others of its group.
    pub(super) fn end_failed_groups(&mut self) {
        let mut failed = Vec::new();
        for framework in self.frameworks.values() {
            for executor in framework.executors.values().filter(|it| it.kind == Kind::Default) {
                let tasks = executor.tasks.iter().filter(|(_, it)| takes_group_along(it.latest()));
                failed.extend(tasks.map(|(task, _)| At {
                    framework: framework.id.clone(),
                    executor: executor.id.clone(),
                    task: task.clone(),
                }));
            }
        }
        for at in failed {
            self.end_group_of(&at);
        }
    }

    /// The default executor ends when nothing of it runs any more.
    fn default_executor_ended(&mut self, framework: &FrameworkId, id: &ExecutorId) {
        self.set_state(framework, id, ExecutorState::Terminated);
        let tell = self.frameworks.get(framework).is_some_and(|f| !f.shutting_down);
        if tell && self.info.id.is_some() {
            let message = wire::ExitedExecutorMessage {
                agent_id: self.agent_id(),
                framework_id: framework.as_str().into(),
                executor_id: id.as_str().into(),
                status: 0,
            };
            self.out.push(Output::send(FromAgent::ExitedExecutor(message)));
        }
        self.finish_executor(framework, id);
    }

    /// The task that runs in a container inside of an executor's.
    pub(super) fn member_in(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
    ) -> Option<At> {
        let found = self.frameworks.get(framework)?.executors.get(executor)?;
        let is_there = |member: &Member| member.container == *container;
        let (task, _) =
            found.tasks.iter().find(|(_, it)| it.member.as_ref().is_some_and(is_there))?;
        let (framework, executor) = (framework.clone(), executor.clone());
        Some(At { framework, executor, task: task.clone() })
    }
}

/// Whether a task that ends so ends its group.
const fn takes_group_along(state: TaskState) -> bool {
    matches!(state, TaskState::TaskFailed | TaskState::TaskKilled)
}
