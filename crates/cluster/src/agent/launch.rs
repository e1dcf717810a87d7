//! How a task comes to run: which executor takes it, and what is refused.

use std::collections::{BTreeMap, VecDeque};

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{ExecutorInfo, Task, TaskInfo, TaskState, executor};

use super::stream::Stream;
use super::updates::{At, News};
use super::{Agent, Executor, ExecutorState, Framework, Kind, Launch, Output, Record, TaskRecord};
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::rng::format_uuid;

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
        match invalid(&task) {
            Some(text) => self.reject(&id, task, TaskState::TaskError, Reason::TaskInvalid, &text),
            None => match task.executor.clone() {
                None => self.run_command(&id, task),
                Some(info) => self.run_with_executor(&id, task, info, message.launch_executor),
            },
        }
    }

    /// Pods need an executor that runs containers inside its own; this agent has none.
    pub(super) fn run_task_group(&mut self, message: wire::RunTaskGroupMessage) {
        let Some(id) = message.framework.id.as_ref() else { return };
        let id = FrameworkId::from(id.value.as_str());
        if !self.admit_framework(&id, &message.framework, None) {
            return;
        }
        let text = "this agent runs no task groups: launch the tasks one by one";
        for task in message.task_group.tasks {
            if self.find(id.as_str(), &task.task_id.value).is_none() {
                self.reject(&id, task, TaskState::TaskError, Reason::TaskGroupInvalid, text);
            }
        }
    }

    /// Makes sure that the framework is known; false when it is being shut down.
    fn admit_framework(
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
        self.add_task(&at, task);
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
            let text = "an executor of the task's name is still here";
            self.report_unknown(
                framework.as_str(),
                at.task.as_str(),
                Reason::ExecutorTerminated,
                text,
            );
            return;
        }
        self.add_task(&at, task);
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
                let text = "the executor that should run the task has ended";
                self.reject(framework, task, dropped, Reason::ExecutorTerminated, text);
                return;
            }
            self.add_executor(framework, executor, info, Kind::Custom);
            self.add_task(&at, task.clone());
            self.queue(&at, task);
            self.launch(&at.framework, &at.executor);
            return;
        };
        match known.state {
            ExecutorState::Registering => {
                self.add_task(&at, task.clone());
                self.queue(&at, task);
                self.resize(&at);
            }
            ExecutorState::Running => {
                let (connected, container) = (known.connected, known.container.clone());
                self.add_task(&at, task.clone());
                self.resize(&at);
                if connected {
                    self.out.push(Output::Executor { container, event: launch_event(task) });
                } else {
                    self.queue(&at, task);
                }
            }
            ExecutorState::Terminating | ExecutorState::Terminated => {
                let text = "the executor that should run the task is ending";
                self.reject(framework, task, dropped, Reason::ExecutorTerminated, text);
            }
        }
    }

    /// Adds an executor that is about to start; false when there is one of that name.
    fn add_executor(
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
            network_infos: Vec::new(),
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

    fn add_task(&mut self, at: &At, info: TaskInfo) {
        let Some(framework) = self.frameworks.get_mut(&at.framework) else { return };
        let Some(executor) = framework.executors.get_mut(&at.executor) else { return };
        let task = new_task(&at.framework, executor, &info);
        let container = executor.container.clone();
        executor.tasks.insert(at.task.clone(), record(info.clone(), task));
        let framework_info = framework.info.clone();
        self.persist(&framework_info, || Record::Task {
            framework: at.framework.clone(),
            executor: at.executor.clone(),
            container,
            info: Box::new(info),
        });
    }

    fn queue(&mut self, at: &At, task: TaskInfo) {
        if let Some(executor) = self.executor_mut(&at.framework, &at.executor) {
            executor.queued.push(task);
        }
    }

    fn resize(&mut self, at: &At) {
        if let Some(executor) = self.executor_mut(&at.framework, &at.executor) {
            let container = executor.container.clone();
            let resources = executor.resources();
            self.out.push(Output::Resize { container, resources });
        }
    }

    fn launch(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let timeout = self.config.executor_registration_timeout;
        let now = self.now;
        let Some(spec) = self.launch_spec(framework, executor) else { return };
        if spec.task.is_none()
            && let Some(executor) = self.executor_mut(framework, executor)
        {
            executor.deadline = Some(now + timeout);
        }
        self.out.push(Output::Launch(Box::new(spec)));
    }

    /// What the containerizer has to know of an executor's container.
    pub(super) fn launch_spec(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Option<Launch> {
        let framework = self.frameworks.get(framework)?;
        let executor = framework.executors.get(executor)?;
        let task = match executor.kind {
            Kind::Command => executor.tasks.values().next().map(|t| t.info.clone()),
            Kind::Custom => None,
        };
        let resources = executor.resources();
        let allocated = resources.iter().find_map(|r| r.allocation_info.as_ref()?.role.clone());
        Some(Launch {
            framework_id: framework.id.clone(),
            executor_id: executor.id.clone(),
            container_id: executor.container.clone(),
            role: allocated.unwrap_or_else(|| framework.info.role().to_owned()),
            framework: framework.info.clone(),
            executor: executor.info.clone(),
            task,
            resources,
        })
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
    if task.executor.is_none() && task.check.is_some() {
        return Some(
            "this agent runs health checks (health_check), not general checks (check)".to_owned(),
        );
    }
    None
}

pub(super) fn launch_event(task: TaskInfo) -> Box<executor::Event> {
    let launch = Some(executor::event::Launch { task });
    let mut event = executor::Event { launch, ..Default::default() };
    event.set_type(executor::event::Type::Launch);
    Box::new(event)
}

pub(super) fn record(info: TaskInfo, task: Task) -> TaskRecord {
    TaskRecord {
        info,
        task,
        stream: Stream::default(),
        killing: None,
        complete_by: None,
        healthy: None,
    }
}

pub(super) fn new_task(framework: &FrameworkId, executor: &Executor, info: &TaskInfo) -> Task {
    let mut task = Task {
        name: info.name.clone(),
        task_id: info.task_id.clone(),
        framework_id: framework.as_str().into(),
        executor_id: (executor.kind == Kind::Custom).then(|| executor.id.as_str().into()),
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
