//! How a task comes to run: which executor takes it, and what is refused.

use std::collections::{BTreeMap, VecDeque};

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{
    CheckStatusInfo, ExecutorInfo, Task, TaskInfo, TaskState, check_info, check_status_info,
    executor,
};

use super::stream::Stream;
use super::updates::{At, News};
use super::{
    Agent, Executor, ExecutorState, Framework, Kind, Launch, Member, Output, Queued, Record,
    TaskRecord,
};
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::rng::format_uuid;
use crate::wire::FromAgent;

impl Agent {
    #[expect(deprecated, reason = "masters before 1.0 name the framework there only")]
    pub(super) fn run_task(&mut self, message: wire::RunTaskMessage) {
        let Some(id) = message.framework.id.as_ref().or(message.framework_id.as_ref()) else {
            return;
        };
        let id = FrameworkId::from(id.value.as_str());
        let pid = message.pid.filter(|pid| !pid.is_empty() && !pid.starts_with('@'));
        if !self.admit_framework(&id, &message.framework, pid) {
            return;
        }
        let task = message.task;
        if self.find(id.as_str(), &task.task_id.value).is_some() {
            return; // the master repeats itself; the task's own stream answers
        }
        let executor = task.executor.clone();
        if !self.rejects_while_draining(&id, std::slice::from_ref(&task)) {
            match (invalid(&task), executor.clone()) {
                (Some(text), _) => {
                    self.reject(&id, task, TaskState::TaskError, Reason::TaskInvalid, &text);
                }
                (None, None) => self.run_command(&id, task),
                (None, Some(info)) => {
                    self.run_with_executor(&id, task, *info, message.launch_executor);
                }
            }
        }
        if let Some(executor) = executor {
            self.tell_not_started(&id, &executor, message.launch_executor);
        }
    }

    /// The master counts an executor from when it asks for its start. One that was not started is
    /// not there, and only the agent knows.
    pub(super) fn tell_not_started(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorInfo,
        launch: Option<bool>,
    ) {
        let known = self.frameworks.get(framework);
        let known = known.and_then(|it| it.executors.get(&ExecutorId::from(&executor.executor_id)));
        // What is there says so itself when it ends.
        let there = known.is_some_and(|it| it.state != ExecutorState::Terminated);
        if launch != Some(true) || there || self.info.id.is_none() {
            return;
        }
        let message = wire::ExitedExecutorMessage {
            agent_id: self.agent_id(),
            framework_id: framework.as_str().into(),
            executor_id: executor.executor_id.clone(),
            status: -1,
        };
        self.out.push(Output::send(FromAgent::ExitedExecutor(message)));
    }

    /// Makes sure that the framework is known; false when it is being shut down.
    pub(super) fn admit_framework(
        &mut self,
        id: &FrameworkId,
        info: &mesos_api::v1::FrameworkInfo,
        pid: Option<String>,
    ) -> bool {
        if let Some(framework) = self.frameworks.get(id) {
            return !framework.shutting_down;
        }
        let mut info = info.clone();
        info.id.get_or_insert_with(|| id.as_str().into());
        self.persist(&info, || Record::Framework {
            id: id.clone(),
            info: info.clone(),
            pid: pid.clone(),
        });
        self.frameworks.insert(id.clone(), Framework::new(id.clone(), info, pid));
        true
    }

    /// Ends a task before it began, reliably: the update is kept until it is acknowledged.
    pub(super) fn reject(
        &mut self,
        framework: &FrameworkId,
        task: TaskInfo,
        state: TaskState,
        reason: Reason,
        text: &str,
    ) {
        // Not under the executor that it asked for: that one may be alive.
        let executor = ExecutorId::from(task.task_id.value.as_str());
        let at = At {
            framework: framework.clone(),
            executor: executor.clone(),
            task: TaskId::from(task.task_id.value.as_str()),
        };
        let info = command_executor(framework, &task);
        if !self.add_executor(framework, executor, info, Kind::Command) {
            return;
        }
        self.add_task(&at, task, None);
        self.set_state(&at.framework, &at.executor, ExecutorState::Terminated);
        self.report(&at, state, News::from_agent(reason, text));
    }

    fn run_command(&mut self, framework: &FrameworkId, task: TaskInfo) {
        let executor = ExecutorId::from(task.task_id.value.as_str());
        let at = At {
            framework: framework.clone(),
            executor: executor.clone(),
            task: TaskId::from(task.task_id.value.as_str()),
        };
        let info = command_executor(framework, &task);
        if !self.add_executor(framework, executor, info, Kind::Command) {
            let text = "Cannot reuse an already existing executor for a command task";
            self.report_unknown(framework.as_str(), at.task.as_str(), Reason::TaskInvalid, text);
            return;
        }
        self.add_task(&at, task, None);
        self.launch(&at.framework, &at.executor);
    }

    fn run_with_executor(
        &mut self,
        framework: &FrameworkId,
        task: TaskInfo,
        info: ExecutorInfo,
        launch: Option<bool>,
    ) {
        let executor = ExecutorId::from(info.executor_id.value.as_str());
        let at = At {
            framework: framework.clone(),
            executor: executor.clone(),
            task: TaskId::from(task.task_id.value.as_str()),
        };
        let dropped =
            self.frameworks.get(framework).map_or(TaskState::TaskLost, Framework::dropped);
        let known = self.frameworks.get(framework).and_then(|f| f.executors.get(&executor));
        let Some(known) = known else {
            if launch == Some(false) {
                let text = "No executor is expected to launch and there is none running";
                self.reject(framework, task, dropped, Reason::ExecutorTerminated, text);
                return;
            }
            self.add_executor(framework, executor, info, Kind::Custom);
            self.add_task(&at, task.clone(), None);
            self.queue(&at.framework, &at.executor, Queued::Task(Box::new(task)));
            self.launch(&at.framework, &at.executor);
            return;
        };
        if known.kind != Kind::Custom {
            let text = "The executor of that name takes groups of tasks only";
            self.reject(framework, task, TaskState::TaskError, Reason::TaskInvalid, text);
            return;
        }
        match known.state {
            ExecutorState::Registering => {
                self.add_task(&at, task.clone(), None);
                self.queue(&at.framework, &at.executor, Queued::Task(Box::new(task)));
                self.resize(&at.framework, &at.executor);
            }
            ExecutorState::Running => {
                let (connected, container) = (known.connected, known.container.clone());
                self.add_task(&at, task.clone(), None);
                self.resize(&at.framework, &at.executor);
                let task = Queued::Task(Box::new(task));
                if connected {
                    self.out.push(Output::Executor { container, event: launch_event(task) });
                } else {
                    self.queue(&at.framework, &at.executor, task);
                }
            }
            state @ (ExecutorState::Terminating | ExecutorState::Terminated) => {
                let text = match state {
                    ExecutorState::Terminated => "Executor terminated",
                    _ => "Executor terminating",
                };
                self.reject(framework, task, dropped, Reason::ExecutorTerminated, text);
            }
        }
    }

    /// Adds an executor that is about to start; false when there is one of that name.
    pub(super) fn add_executor(
        &mut self,
        id: &FrameworkId,
        executor: ExecutorId,
        mut info: ExecutorInfo,
        kind: Kind,
    ) -> bool {
        let container = ContainerId::from(format_uuid(self.rng.uuid()));
        let Some(framework) = self.frameworks.get_mut(id) else { return false };
        if framework.executors.contains_key(&executor) {
            return false;
        }
        info.framework_id.get_or_insert_with(|| id.as_str().into());
        let added = Executor {
            id: executor.clone(),
            info: info.clone(),
            kind,
            container: container.clone(),
            state: ExecutorState::Registering,
            queued: Vec::new(),
            tasks: BTreeMap::new(),
            completed: VecDeque::new(),
            deadline: None,
            recovered: false,
            connected: false,
            network_infos: None,
            pid: None,
            verdict: None,
        };
        framework.executors.insert(executor.clone(), added);
        let framework_info = framework.info.clone();
        self.persist(&framework_info, || Record::Executor {
            framework: id.clone(),
            executor,
            container,
            info,
            command: kind == Kind::Command,
        });
        true
    }

    pub(super) fn add_task(&mut self, at: &At, info: TaskInfo, member: Option<Member>) {
        let Some(framework) = self.frameworks.get_mut(&at.framework) else { return };
        let Some(executor) = framework.executors.get_mut(&at.executor) else { return };
        let task = new_task(&at.framework, executor, &info);
        let container = executor.container.clone();
        let kept = member.as_ref().map(|it| (it.container.clone(), it.group.clone()));
        let known = TaskRecord { member, ..record(info.clone(), task, executor.kind) };
        executor.tasks.insert(at.task.clone(), known);
        let framework_info = framework.info.clone();
        self.persist(&framework_info, || Record::Task {
            framework: at.framework.clone(),
            executor: at.executor.clone(),
            container,
            info: Box::new(info),
            member: kept,
        });
    }

    pub(super) fn queue(&mut self, framework: &FrameworkId, executor: &ExecutorId, what: Queued) {
        if let Some(executor) = self.executor_mut(framework, executor) {
            executor.queued.push(what);
        }
    }

    /// Says what the containers of an executor may use now that its tasks are others.
    pub(super) fn resize(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let Some(executor) = self.frameworks.get(framework).and_then(|f| f.executors.get(executor))
        else {
            return;
        };
        let resources = executor.resources();
        let members = executor.tasks.values().filter_map(|task| task.member.as_ref());
        let containers: Vec<ContainerId> = match executor.kind {
            Kind::Command => return, // its task is all that it has
            Kind::Custom => vec![executor.container.clone()],
            Kind::Default => members.map(|member| member.container.clone()).collect(),
        };
        let resizes = containers.into_iter();
        self.out.extend(
            resizes.map(|container| Output::Resize { container, resources: resources.clone() }),
        );
    }

    pub(super) fn launch(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let timeout = self.config.executor_registration_timeout;
        let now = self.now;
        for spec in self.launch_specs(framework, executor) {
            if spec.task.is_none()
                && let Some(executor) = self.executor_mut(framework, executor)
            {
                executor.deadline = Some(now + timeout);
            }
            self.out.push(Output::Launch(Box::new(spec)));
        }
    }

    /// What the containerizer has to know of an executor's container, or of those of its tasks.
    pub(super) fn launch_specs(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Vec<Launch> {
        let Some(framework) = self.frameworks.get(framework) else { return Vec::new() };
        let Some(executor) = framework.executors.get(executor) else { return Vec::new() };
        let all = executor.resources();
        let allocated = all.iter().find_map(|r| r.allocation_info.as_ref()?.role.clone());
        let whole = Launch {
            framework_id: framework.id.clone(),
            executor_id: executor.id.clone(),
            container_id: executor.container.clone(),
            role: allocated.unwrap_or_else(|| framework.info.role().to_owned()),
            framework: framework.info.clone(),
            executor: executor.info.clone(),
            task: None,
            resources: all.clone(),
            group: None,
        };
        match executor.kind {
            Kind::Custom => vec![whole],
            Kind::Command => {
                let task = executor.tasks.values().next().map(|t| t.info.clone());
                vec![Launch { task, ..whole }]
            }
            Kind::Default => {
                let live = executor.tasks.values().filter(|task| !task.is_over());
                let own = live.filter_map(|task| {
                    Some(Launch {
                        container_id: task.member.as_ref()?.container.clone(),
                        resources: task.info.resources.clone(),
                        task: Some(task.info.clone()),
                        group: Some(all.clone()),
                        ..whole.clone()
                    })
                });
                own.collect()
            }
        }
    }

    pub(super) fn executor_mut(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Option<&mut Executor> {
        self.frameworks.get_mut(framework)?.executors.get_mut(executor)
    }

    pub(super) fn set_state(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        state: ExecutorState,
    ) {
        if let Some(executor) = self.executor_mut(framework, executor) {
            executor.state = state;
        }
    }
}

/// What no agent of this kind can run, whatever the containerizer.
fn invalid(task: &TaskInfo) -> Option<String> {
    if task.executor.is_some() && task.command.is_some() {
        return Some(
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
                .to_owned(),
        );
    }
    if task.executor.is_none() && task.command.is_none() {
        return Some(
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
                .to_owned(),
        );
    }
    None
}

pub(super) fn launch_event(what: Queued) -> Box<executor::Event> {
    use executor::event::{Launch, LaunchGroup, Type};
    let mut event = executor::Event::default();
    match what {
        Queued::Task(task) => {
            event.launch = Some(Launch { task: *task });
            event.set_type(Type::Launch);
        }
        Queued::Group(task_group) => {
            event.launch_group = Some(LaunchGroup { task_group });
            event.set_type(Type::LaunchGroup);
        }
    }
    Box::new(event)
}

pub(super) fn record(info: TaskInfo, task: Task, kind: Kind) -> TaskRecord {
    // A custom executor's tasks are checked by the executor.
    let check = info.check.as_ref().filter(|_| kind != Kind::Custom);
    let checked = check.map(|check| nothing_seen(check.r#type()));
    TaskRecord {
        info,
        checked,
        task,
        stream: Stream::default(),
        killing: None,
        running_since: None,
        complete_by: None,
        healthy: None,
        member: None,
    }
}

/// What every status says of a check that has not been made yet, or came to nothing.
fn nothing_seen(kind: check_info::Type) -> CheckStatusInfo {
    let mut status = CheckStatusInfo::default();
    status.set_type(kind);
    match kind {
        check_info::Type::Command => status.command = Some(check_status_info::Command::default()),
        check_info::Type::Http => status.http = Some(check_status_info::Http::default()),
        check_info::Type::Tcp => status.tcp = Some(check_status_info::Tcp::default()),
        check_info::Type::Unknown => {}
    }
    status
}

pub(super) fn new_task(framework: &FrameworkId, executor: &Executor, info: &TaskInfo) -> Task {
    let mut task = Task {
        name: info.name.clone(),
        task_id: info.task_id.clone(),
        framework_id: framework.as_str().into(),
        executor_id: (executor.kind != Kind::Command).then(|| executor.id.as_str().into()),
        agent_id: info.agent_id.clone(),
        resources: info.resources.clone(),
        labels: info.labels.clone(),
        discovery: info.discovery.clone(),
        container: info.container.clone(),
        health_check: info.health_check.clone(),
        kill_policy: info.kill_policy,
        user: info.command.as_ref().and_then(|c| c.user.clone()),
        limits: info.limits.clone(),
        ..Default::default()
    };
    task.set_state(TaskState::TaskStaging);
    task
}

/// The executor that stands for a task without one.
#[expect(deprecated, reason = "endpoints still show the source")]
fn command_executor(framework: &FrameworkId, task: &TaskInfo) -> ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    let shown = if command.shell() {
        format!("sh -c '{}'", command.value())
    } else {
        let words = std::iter::once(command.value().to_owned()).chain(command.arguments.clone());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let mut cut = shown.len().min(40);
    while !shown.is_char_boundary(cut) {
        cut -= 1;
    }
    let dots = if cut < shown.len() { "..." } else { "" };
    ExecutorInfo {
        executor_id: task.task_id.value.as_str().into(),
        framework_id: Some(framework.as_str().into()),
        name: Some(format!(
            "Command Executor (Task: {}) (Command: {}{dots})",
            task.task_id,
            &shown[..cut]
        )),
        source: Some(task.task_id.value.clone()),
        container: task.container.clone(),
        command: task.command.clone(),
        labels: task.labels.clone(),
        ..ExecutorInfo::default()
    }
}
