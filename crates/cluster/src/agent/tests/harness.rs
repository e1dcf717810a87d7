//! An agent with a clock, a disk, and ears for what it says.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::{
    AgentInfo, CommandInfo, ExecutorInfo, FrameworkInfo, KillPolicy, TaskInfo, TaskState,
    TaskStatus, executor, framework_info,
};

use crate::agent::{
    Agent, Config, ContainerEvent, Exit, Input, Output, Record, Recovered, RecoveredExecutor,
    RecoveredFramework, RecoveredTask,
};
use crate::id::{ContainerId, ExecutorId, TaskId};
use crate::time::Time;
use crate::wire::{FromAgent, ToAgent};

/// An agent with a clock and a memory of what it wrote down.
pub(super) struct Rig {
    pub(super) agent: Agent,
    pub(super) now: Time,
    pub(super) records: Vec<Record>,
    pub(super) sent: Vec<FromAgent>,
    pub(super) did: Vec<Output>,
}

pub(super) fn config() -> Config {
    Config {
        info: AgentInfo { hostname: "h".to_owned(), ..AgentInfo::default() },
        pid: "slave(1)@1.2.3.4:5051".to_owned(),
        ip: "1.2.3.4".to_owned(),
        version: "1.11.0".to_owned(),
        seed: 7,
        registration_backoff: Duration::from_secs(1),
        authentication: None,
        executor_registration_timeout: Duration::from_secs(60),
        executor_reregistration_timeout: Duration::from_secs(2),
        executor_shutdown_grace: Duration::from_secs(5),
        max_completed_executors: 150,
    }
}

pub(super) fn framework_info() -> FrameworkInfo {
    let mut killing = framework_info::Capability::default();
    killing.set_type(framework_info::capability::Type::TaskKillingState);
    FrameworkInfo {
        id: Some("F".into()),
        checkpoint: Some(true),
        capabilities: vec![killing],
        ..FrameworkInfo::default()
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::of(Recovered::default(), Time::from_nanos(1_000_000_000))
    }

    pub(super) fn of(recovered: Recovered, now: Time) -> Self {
        // An agent that is started again is not the one whose identifiers it would repeat.
        let seed = config().seed + u64::from(recovered.info.is_some());
        Self::with(Config { seed, ..config() }, recovered, now)
    }

    pub(super) fn with(config: Config, recovered: Recovered, now: Time) -> Self {
        let (agent, first) = Agent::recover(config, now, recovered);
        let (records, sent, did) = (Vec::new(), Vec::new(), Vec::new());
        let mut rig = Self { agent, now, records, sent, did };
        rig.keep(first);
        rig
    }

    pub(super) fn registered() -> Self {
        let mut rig = Self::new();
        rig.input(Input::Master(true));
        rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
            agent_id: "S".into(),
            connection: None,
        }));
        rig.sent.clear();
        rig
    }

    pub(super) fn keep(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Persist(record) => self.records.push(*record),
                Output::Send(message) => {
                    if let FromAgent::StatusUpdate(update) = &*message {
                        let uuid = update.update.uuid.clone();
                        let written = self.records.iter().any(|record| {
                            matches!(record, Record::Update { record, .. }
                                if record.update.as_ref().is_some_and(|u| u.uuid == uuid))
                        });
                        assert!(
                            written || uuid.is_none() || self.records.is_empty(),
                            "sent before written"
                        );
                    }
                    self.sent.push(*message);
                }
                other => self.did.push(other),
            }
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        let outputs = self.agent.handle(self.now, input);
        self.keep(outputs);
    }

    pub(super) fn hear(&mut self, message: ToAgent) {
        self.input(Input::FromMaster(Box::new(message)));
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.input(Input::Tick);
    }

    pub(super) fn run(&mut self, task: TaskInfo) {
        self.hear(ToAgent::RunTask(wire::RunTaskMessage {
            framework: framework_info(),
            task,
            ..wire::RunTaskMessage::default()
        }));
    }

    pub(super) fn container(&self, executor: &str) -> ContainerId {
        let framework = self.agent.frameworks.get(&"F".into()).expect("a framework");
        framework.executors.get(&executor.into()).expect("an executor").container.clone()
    }

    pub(super) fn event(&mut self, executor: &str, event: ContainerEvent) {
        let container = self.container(executor);
        let executor = ExecutorId::from(executor);
        self.input(Input::Container { framework: "F".into(), executor, container, event });
    }

    pub(super) fn launched(&mut self, executor: &str) {
        self.event(executor, ContainerEvent::Starting);
        let data = bytes::Bytes::from_static(b"[{}]");
        let (network_infos, pid) = (None, Some(42));
        self.event(executor, ContainerEvent::Launched { data, network_infos, pid });
    }

    pub(super) fn ended(&mut self, executor: &str, code: i32) {
        let message = format!("Container exited with status {code}");
        let exit = Exit { code: Some(code), out_of_memory: false, message };
        self.event(executor, ContainerEvent::Ended(exit));
    }

    /// The states sent since the last look.
    pub(super) fn states(&mut self) -> Vec<TaskState> {
        self.statuses().iter().map(TaskStatus::state).collect()
    }

    pub(super) fn statuses(&mut self) -> Vec<TaskStatus> {
        let sent = std::mem::take(&mut self.sent);
        let updates = sent.into_iter().filter_map(|message| match message {
            FromAgent::StatusUpdate(update) => Some(update.update.status),
            _ => None,
        });
        updates.collect()
    }

    pub(super) fn acknowledge(&mut self, task: &str) {
        let at = self.agent.find("F", task).expect("a task");
        let record = self.agent.record_mut(&at).expect("a task");
        let uuid = record.stream.head().and_then(|u| u.uuid.clone()).expect("an update");
        self.acknowledge_uuid(task, uuid);
    }

    pub(super) fn acknowledge_uuid(&mut self, task: &str, uuid: bytes::Bytes) {
        self.hear(ToAgent::AcknowledgeStatus(wire::StatusUpdateAcknowledgementMessage {
            agent_id: "S".into(),
            framework_id: "F".into(),
            task_id: task.into(),
            uuid,
        }));
    }

    pub(super) fn kill(&mut self, task: &str, policy: Option<KillPolicy>) {
        self.hear(ToAgent::KillTask(wire::KillTaskMessage {
            framework_id: "F".into(),
            task_id: task.into(),
            kill_policy: policy,
        }));
    }

    /// The agent is killed and started again.
    pub(super) fn restarted(&self) -> Self {
        let mut next = Self::of(self.recovered(), self.now);
        next.records.splice(0..0, self.records.iter().cloned());
        next
    }

    /// What an agent that is started after this one was killed finds on disk.
    pub(super) fn recovered(&self) -> Recovered {
        let mut all = Recovered::default();
        for record in &self.records {
            match record.clone() {
                Record::Agent(info) => all.info = Some(info),
                Record::Resources(resources) => all.resources = resources,
                Record::Framework { id, info, pid } => {
                    all.frameworks.retain(|f| f.id != id);
                    all.frameworks.push(RecoveredFramework {
                        id,
                        info,
                        pid,
                        executors: Vec::new(),
                    });
                }
                Record::Executor { executor, container, info, command, .. } => {
                    let tasks = Vec::new();
                    let id = executor;
                    all.frameworks[0].executors.push(RecoveredExecutor {
                        id,
                        info,
                        command,
                        container,
                        tasks,
                    });
                }
                Record::Task { info, member, .. } => {
                    let (lines, killing) = (Vec::new(), None);
                    let executor = all.frameworks[0].executors.last_mut().expect("an executor");
                    executor.tasks.push(RecoveredTask { info: *info, lines, killing, member });
                }
                Record::Update { task, record, .. } => {
                    find_task(&mut all, &task).lines.push(*record)
                }
                Record::Killing { task, killing, .. } => {
                    find_task(&mut all, &task).killing = Some(killing)
                }
                Record::Finished { executor, .. } => {
                    all.frameworks[0].executors.retain(|e| e.id != executor);
                }
                Record::FrameworkFinished { framework } => {
                    all.frameworks.retain(|f| f.id != framework)
                }
            }
        }
        all
    }
}

pub(super) fn find_task<'a>(all: &'a mut Recovered, task: &TaskId) -> &'a mut RecoveredTask {
    let executors = all.frameworks.iter_mut().flat_map(|f| f.executors.iter_mut());
    let mut tasks = executors.flat_map(|e| e.tasks.iter_mut());
    tasks.find(|t| t.info.task_id.value == task.as_str()).expect("a task")
}

pub(super) fn command(id: &str) -> TaskInfo {
    TaskInfo {
        name: id.to_owned(),
        task_id: id.into(),
        agent_id: "S".into(),
        command: Some(CommandInfo { value: Some("x".to_owned()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

pub(super) fn with_executor(id: &str) -> TaskInfo {
    let info = ExecutorInfo { executor_id: "E".into(), ..ExecutorInfo::default() };
    TaskInfo { command: None, executor: Some(Box::new(info)), ..command(id) }
}

pub(super) fn subscribe() -> executor::Call {
    let mut call = executor::Call {
        executor_id: "E".into(),
        framework_id: "F".into(),
        subscribe: Some(executor::call::Subscribe::default()),
        ..executor::Call::default()
    };
    call.set_type(executor::call::Type::Subscribe);
    call
}

pub(super) fn update(task: &str, state: TaskState, uuid: u8) -> executor::Call {
    let mut status = TaskStatus {
        task_id: task.into(),
        uuid: Some(bytes::Bytes::copy_from_slice(&[uuid; 16])),
        ..TaskStatus::default()
    };
    status.set_state(state);
    status.set_source(mesos_api::v1::task_status::Source::Executor);
    let update = Some(executor::call::Update { status });
    let mut call = executor::Call { update, subscribe: None, ..subscribe() };
    call.set_type(executor::call::Type::Update);
    call
}

pub(super) fn events(outputs: &[Output]) -> Vec<executor::event::Type> {
    let events = outputs.iter().filter_map(|output| match output {
        Output::Executor { event, .. } => Some(event.r#type()),
        _ => None,
    });
    events.collect()
}
