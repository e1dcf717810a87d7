use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{
    CommandInfo, DurationInfo, ExecutorInfo, FrameworkInfo, KillPolicy, TaskInfo, TaskState,
    TaskStatus, executor, framework_info,
};

use super::*;
use crate::id::{ContainerId, ExecutorId, TaskId};
use crate::wire::FromAgent;

/// An agent with a clock and a memory of what it wrote down.
struct Rig {
    agent: Agent,
    now: Time,
    records: Vec<Record>,
    sent: Vec<FromAgent>,
    did: Vec<Output>,
}

fn config() -> Config {
    Config {
        info: AgentInfo { hostname: "h".to_owned(), ..AgentInfo::default() },
        pid: "slave(1)@1.2.3.4:5051".to_owned(),
        ip: "1.2.3.4".to_owned(),
        version: "1.11.0".to_owned(),
        seed: 7,
        registration_backoff: Duration::from_secs(1),
        executor_registration_timeout: Duration::from_secs(60),
        executor_reregistration_timeout: Duration::from_secs(2),
        executor_shutdown_grace: Duration::from_secs(5),
    }
}

fn framework_info() -> FrameworkInfo {
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
    fn new() -> Self {
        Self::of(Recovered::default(), Time::from_nanos(1_000_000_000))
    }

    fn of(recovered: Recovered, now: Time) -> Self {
        let (agent, first) = Agent::recover(config(), now, recovered);
        let (records, sent, did) = (Vec::new(), Vec::new(), Vec::new());
        let mut rig = Self { agent, now, records, sent, did };
        rig.keep(first);
        rig
    }

    fn registered() -> Self {
        let mut rig = Self::new();
        rig.input(Input::Master(true));
        rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
            agent_id: "S".into(),
            connection: None,
        }));
        rig.sent.clear();
        rig
    }

    fn keep(&mut self, outputs: Vec<Output>) {
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

    fn input(&mut self, input: Input) {
        let outputs = self.agent.handle(self.now, input);
        self.keep(outputs);
    }

    fn hear(&mut self, message: ToAgent) {
        self.input(Input::FromMaster(Box::new(message)));
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.input(Input::Tick);
    }

    fn run(&mut self, task: TaskInfo) {
        self.hear(ToAgent::RunTask(wire::RunTaskMessage {
            framework: framework_info(),
            task,
            ..wire::RunTaskMessage::default()
        }));
    }

    fn container(&self, executor: &str) -> ContainerId {
        let framework = self.agent.frameworks.get("F").expect("a framework");
        framework.executors.get(executor).expect("an executor").container.clone()
    }

    fn event(&mut self, executor: &str, event: ContainerEvent) {
        let container = self.container(executor);
        let executor = ExecutorId::from(executor);
        self.input(Input::Container { framework: "F".into(), executor, container, event });
    }

    fn launched(&mut self, executor: &str) {
        self.event(executor, ContainerEvent::Starting);
        let data = bytes::Bytes::from_static(b"[{}]");
        let (network_infos, pid) = (Vec::new(), Some(42));
        self.event(executor, ContainerEvent::Launched { data, network_infos, pid });
    }

    fn ended(&mut self, executor: &str, code: i32) {
        let message = format!("Container exited with status {code}");
        let exit = Exit { code: Some(code), out_of_memory: false, message };
        self.event(executor, ContainerEvent::Ended(exit));
    }

    /// The states sent since the last look.
    fn states(&mut self) -> Vec<TaskState> {
        self.statuses().iter().map(TaskStatus::state).collect()
    }

    fn statuses(&mut self) -> Vec<TaskStatus> {
        let sent = std::mem::take(&mut self.sent);
        let updates = sent.into_iter().filter_map(|message| match message {
            FromAgent::StatusUpdate(update) => Some(update.update.status),
            _ => None,
        });
        updates.collect()
    }

    fn acknowledge(&mut self, task: &str) {
        let at = self.agent.find("F", task).expect("a task");
        let record = self.agent.record_mut(&at).expect("a task");
        let uuid = record.stream.head().and_then(|u| u.uuid.clone()).expect("an update");
        self.acknowledge_uuid(task, uuid);
    }

    fn acknowledge_uuid(&mut self, task: &str, uuid: bytes::Bytes) {
        self.hear(ToAgent::AcknowledgeStatus(wire::StatusUpdateAcknowledgementMessage {
            agent_id: "S".into(),
            framework_id: "F".into(),
            task_id: task.into(),
            uuid,
        }));
    }

    fn kill(&mut self, task: &str, policy: Option<KillPolicy>) {
        self.hear(ToAgent::KillTask(wire::KillTaskMessage {
            framework_id: "F".into(),
            task_id: task.into(),
            kill_policy: policy,
        }));
    }

    /// The agent is killed and started again.
    fn restarted(&self) -> Self {
        let mut next = Self::of(self.recovered(), self.now);
        next.records.splice(0..0, self.records.iter().cloned());
        next
    }

    /// What an agent that is started after this one was killed finds on disk.
    fn recovered(&self) -> Recovered {
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
                Record::Task { info, .. } => {
                    let (lines, killing) = (Vec::new(), None);
                    let executor = all.frameworks[0].executors.last_mut().expect("an executor");
                    executor.tasks.push(RecoveredTask { info: *info, lines, killing });
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

fn find_task<'a>(all: &'a mut Recovered, task: &TaskId) -> &'a mut RecoveredTask {
    let executors = all.frameworks.iter_mut().flat_map(|f| f.executors.iter_mut());
    let mut tasks = executors.flat_map(|e| e.tasks.iter_mut());
    tasks.find(|t| t.info.task_id.value == task.as_str()).expect("a task")
}

fn command(id: &str) -> TaskInfo {
    TaskInfo {
        name: id.to_owned(),
        task_id: id.into(),
        agent_id: "S".into(),
        command: Some(CommandInfo { value: Some("x".to_owned()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

fn with_executor(id: &str) -> TaskInfo {
    let info = ExecutorInfo { executor_id: "E".into(), ..ExecutorInfo::default() };
    TaskInfo { command: None, executor: Some(info), ..command(id) }
}

fn subscribe() -> executor::Call {
    let mut call = executor::Call {
        executor_id: "E".into(),
        framework_id: "F".into(),
        subscribe: Some(executor::call::Subscribe::default()),
        ..executor::Call::default()
    };
    call.set_type(executor::call::Type::Subscribe);
    call
}

fn update(task: &str, state: TaskState, uuid: u8) -> executor::Call {
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

fn events(outputs: &[Output]) -> Vec<executor::event::Type> {
    let events = outputs.iter().filter_map(|output| match output {
        Output::Executor { event, .. } => Some(event.r#type()),
        _ => None,
    });
    events.collect()
}

#[test]
fn registers_until_it_is_heard() {
    let mut rig = Rig::new();
    rig.input(Input::Master(true));
    for _ in 0..3 {
        rig.pass(120);
    }
    assert_eq!(rig.sent.len(), 3);
    assert!(rig.sent.iter().all(|m| matches!(m, FromAgent::Register(_))));
    rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "S".into(),
        connection: None,
    }));
    assert_eq!(rig.agent.phase(), Phase::Running);
    assert!(matches!(&rig.records[..], [Record::Agent(info)] if info.id.is_some()));
    // Without pings the master is taken for gone, and asked again under the old id.
    rig.sent.clear();
    rig.pass(76);
    rig.pass(60);
    assert!(matches!(rig.sent.last(), Some(FromAgent::Reregister(_))));
}

#[test]
fn a_ping_of_a_master_that_lost_us_makes_us_register_again() {
    let mut rig = Rig::registered();
    rig.hear(ToAgent::Ping(wire::PingSlaveMessage { connected: true }));
    assert_eq!(rig.agent.phase(), Phase::Running);
    rig.hear(ToAgent::Ping(wire::PingSlaveMessage { connected: false }));
    assert!(matches!(rig.agent.phase(), Phase::Registering { .. }));
    assert_eq!(rig.sent.iter().filter(|m| matches!(m, FromAgent::Pong(_))).count(), 2);
}

#[test]
fn another_id_ends_the_agent() {
    let mut rig = Rig::registered();
    rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "X".into(),
        connection: None,
    }));
    assert!(matches!(rig.did.last(), Some(Output::Exit(_))));
}

#[test]
fn updates_go_one_by_one_as_they_are_acknowledged() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    assert!(matches!(&rig.did[..], [Output::Launch(launch)] if launch.task.is_some()));
    rig.launched("t");
    rig.ended("t", 0);
    assert_eq!(rig.states(), [TaskState::TaskStarting], "one is in flight");
    rig.acknowledge("t");
    let running = rig.statuses();
    assert_eq!(running[0].state(), TaskState::TaskRunning);
    assert_eq!(running[0].data.as_deref(), Some(&b"[{}]"[..]));
    rig.acknowledge("t");
    assert_eq!(rig.states(), [TaskState::TaskFinished]);
    rig.acknowledge("t");
    assert_eq!(rig.agent.frameworks().count(), 0);
    let done = |r: &Record| matches!(r, Record::Finished { .. } | Record::FrameworkFinished { .. });
    assert_eq!(rig.records.iter().filter(|r| done(r)).count(), 2);
    let completed: Vec<_> = rig.agent.completed_frameworks().collect();
    assert_eq!(completed[0].completed[0].tasks[0].state(), TaskState::TaskFinished);
}

#[test]
fn retries_wait_longer_each_time_and_pause_without_a_master() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.event("t", ContainerEvent::Starting);
    assert_eq!(rig.states().len(), 1);
    rig.pass(9);
    assert_eq!(rig.states().len(), 0);
    rig.pass(1);
    assert_eq!(rig.states().len(), 1, "after 10 s");
    rig.pass(19);
    assert_eq!(rig.states().len(), 0);
    rig.pass(1);
    assert_eq!(rig.states().len(), 1, "after 20 s");
    rig.input(Input::Master(false));
    rig.pass(1000);
    assert_eq!(rig.states().len(), 0);
    rig.input(Input::Master(true));
    rig.hear(ToAgent::Reregistered(wire::SlaveReregisteredMessage {
        agent_id: "S".into(),
        ..wire::SlaveReregisteredMessage::default()
    }));
    assert_eq!(rig.states(), [TaskState::TaskStarting], "at once when it is back");
}

#[test]
fn unexpected_and_repeated_acknowledgements_change_nothing() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    let uuid = rig.statuses()[0].uuid.clone().expect("a uuid");
    rig.acknowledge_uuid("t", bytes::Bytes::from_static(b"never sent......"));
    assert_eq!(rig.states(), []);
    rig.acknowledge_uuid("t", uuid.clone());
    assert_eq!(rig.states(), [TaskState::TaskRunning]);
    rig.acknowledge_uuid("t", uuid);
    assert_eq!(rig.states(), []);
}

#[test]
fn a_killed_task_is_killed_whatever_its_exit_code() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    let grace = Some(DurationInfo { nanoseconds: 3_000_000_000 });
    rig.kill("t", Some(KillPolicy { grace_period: grace }));
    let stop = Output::Stop { container: rig.container("t"), grace: Duration::from_secs(3) };
    assert_eq!(rig.did.last(), Some(&stop));
    rig.ended("t", 0);
    for expected in [
        TaskState::TaskStarting,
        TaskState::TaskRunning,
        TaskState::TaskKilling,
        TaskState::TaskKilled,
    ] {
        assert_eq!(rig.states(), [expected]);
        rig.acknowledge("t");
    }
}

#[test]
fn a_task_killed_while_it_is_fetched_never_runs() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.kill("t", None);
    assert_eq!(rig.did.last(), Some(&Output::Destroy { container: rig.container("t") }));
    // The container may have got that far in the meantime.
    rig.launched("t");
    rig.event(
        "t",
        ContainerEvent::Refused {
            reason: Reason::ContainerLaunchFailed,
            message: "destroyed".to_owned(),
        },
    );
    let statuses = rig.statuses();
    assert_eq!(statuses.len(), 1);
    assert_eq!(statuses[0].state(), TaskState::TaskKilled);
    assert_eq!(statuses[0].reason(), Reason::TaskKilledDuringLaunch);
}

#[test]
fn a_task_has_its_time_and_no_more() {
    let mut rig = Rig::registered();
    let limit = Some(DurationInfo { nanoseconds: 10_000_000_000 });
    rig.run(TaskInfo { max_completion_time: limit, ..command("t") });
    rig.launched("t");
    rig.pass(9);
    assert!(!rig.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    rig.pass(1);
    assert!(rig.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    rig.ended("t", 137);
    let last = std::iter::from_fn(|| {
        let status = rig.statuses().pop()?;
        rig.acknowledge("t");
        Some(status)
    })
    .last()
    .expect("updates");
    assert_eq!(
        (last.state(), last.reason()),
        (TaskState::TaskFailed, Reason::MaxCompletionTimeReached)
    );
}

#[test]
fn an_unhealthy_task_is_told_and_killed() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    let health = |healthy, kill| ContainerEvent::Health { healthy, kill, message: String::new() };
    rig.event("t", health(true, false));
    rig.event("t", health(false, false));
    rig.event("t", health(false, true));
    rig.ended("t", 0);
    let mut seen = Vec::new();
    while let Some(status) = rig.statuses().pop() {
        seen.push((status.state(), status.healthy));
        rig.acknowledge("t");
    }
    use TaskState::{TaskKilled, TaskKilling, TaskRunning, TaskStarting};
    assert_eq!(
        seen,
        [
            (TaskStarting, None),
            (TaskRunning, None),
            (TaskRunning, Some(true)),
            (TaskRunning, Some(false)),
            (TaskKilling, Some(false)),
            (TaskKilled, Some(false)),
        ]
    );
}

#[test]
fn what_cannot_run_is_answered_reliably() {
    let mut rig = Rig::registered();
    let check = Some(mesos_api::v1::CheckInfo::default());
    rig.run(TaskInfo { check, ..command("t") });
    let status = rig.statuses().pop().expect("an answer");
    assert_eq!((status.state(), status.reason()), (TaskState::TaskError, Reason::TaskInvalid));
    rig.pass(10);
    assert_eq!(rig.states(), [TaskState::TaskError], "until it is acknowledged");
    rig.acknowledge("t");
    assert_eq!(rig.agent.frameworks().count(), 0);
    rig.hear(ToAgent::RunTaskGroup(wire::RunTaskGroupMessage {
        framework: framework_info(),
        task_group: mesos_api::v1::TaskGroupInfo { tasks: vec![command("a"), command("b")] },
        ..wire::RunTaskGroupMessage::default()
    }));
    assert_eq!(rig.states(), [TaskState::TaskError; 2]);
}

#[test]
fn killing_what_is_not_here_is_answered() {
    let mut rig = Rig::registered();
    rig.kill("t", None);
    let status = rig.statuses().pop().expect("an answer");
    assert_eq!((status.state(), status.uuid), (TaskState::TaskLost, None));
}

#[test]
fn a_shut_down_framework_leaves_nothing() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    rig.hear(ToAgent::ShutdownFramework(wire::ShutdownFrameworkMessage {
        framework_id: "F".into(),
    }));
    assert!(rig.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    rig.states();
    rig.ended("t", 0);
    assert_eq!(rig.agent.frameworks().count(), 0);
    assert_eq!(rig.recovered().frameworks.len(), 0);
}

#[test]
fn a_custom_executor_gets_what_waited_for_it() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t1"));
    rig.run(with_executor("t2"));
    let launches = rig.did.iter().filter(|o| matches!(o, Output::Launch(_))).count();
    assert_eq!(launches, 1, "one executor for both");
    let refused = rig.agent.executor_call(rig.now, update("t1", TaskState::TaskRunning, 1));
    assert_eq!(refused.map_err(|r| r.status).err(), Some(403));
    let (_, outputs) = rig.agent.executor_call(rig.now, subscribe()).expect("subscribed");
    use executor::event::Type;
    assert_eq!(events(&outputs), [Type::Subscribed, Type::Launch, Type::Launch]);
    let (_, outputs) = rig
        .agent
        .executor_call(rig.now, update("t1", TaskState::TaskRunning, 1))
        .expect("an update");
    assert!(
        matches!(&outputs[..], [
        Output::Persist(_),
        Output::Send(_),
        Output::Executor { event, .. },
    ] if event.r#type() == Type::Acknowledged),
        "written, sent, then acknowledged: {outputs:?}"
    );
    rig.keep(outputs);
    let (_, outputs) = rig
        .agent
        .executor_call(rig.now, update("t1", TaskState::TaskRunning, 1))
        .expect("a repetition");
    assert_eq!(events(&outputs), [Type::Acknowledged], "acknowledged again, told once");
    rig.states();
    rig.ended("E", 1);
    let lost: Vec<_> = rig.statuses().iter().map(|s| (s.state(), s.reason())).collect();
    assert_eq!(
        lost,
        [(TaskState::TaskFailed, Reason::ExecutorTerminated)],
        "t2; t1 has one in flight"
    );
}

#[test]
fn calls_that_say_nothing_useful_are_refused_in_mesos_words() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    let mut refusal =
        |call: executor::Call| rig.agent.executor_call(rig.now, call).expect_err("bad").text;
    let untyped = executor::Call { r#type: None, ..subscribe() };
    assert_eq!(
        refusal(untyped),
        "Failed to validate Executor::Call: Expecting 'type' to be present"
    );
    let unknown = executor::Call { framework_id: "X".into(), ..subscribe() };
    assert_eq!(refusal(unknown), "Framework cannot be found");
    let unknown = executor::Call { executor_id: "X".into(), ..subscribe() };
    assert_eq!(refusal(unknown), "Executor cannot be found");
    let empty = executor::Call { subscribe: None, ..subscribe() };
    assert_eq!(
        refusal(empty),
        "Failed to validate Executor::Call: Expecting 'subscribe' to be present"
    );
}

#[test]
fn an_executor_that_never_subscribes_is_given_up() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    rig.pass(60);
    assert!(rig.did.iter().any(|o| matches!(o, Output::Destroy { .. })));
    rig.ended("E", 137);
    let status = rig.statuses().pop().expect("an update");
    assert_eq!(
        (status.state(), status.reason()),
        (TaskState::TaskFailed, Reason::ExecutorRegistrationTimeout)
    );
}

#[test]
fn a_restarted_agent_tells_what_happened_meanwhile_in_order() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    assert_eq!(rig.states(), [TaskState::TaskStarting]);
    let mut next = rig.restarted();
    assert!(
        matches!(&next.did[..], [Output::Reattach(launch)] if launch.container_id == rig.container("t"))
    );
    next.ended("t", 7);
    assert_eq!(next.states(), [], "not before the master knows the agent");
    next.input(Input::Master(true));
    next.pass(60);
    assert!(matches!(&next.sent[..], [FromAgent::Reregister(m)] if m.tasks.len() == 1));
    next.hear(ToAgent::Reregistered(wire::SlaveReregisteredMessage {
        agent_id: "S".into(),
        ..wire::SlaveReregisteredMessage::default()
    }));
    for expected in [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFailed] {
        assert_eq!(next.states(), [expected]);
        next.acknowledge("t");
    }
}

#[test]
fn a_restarted_agent_keeps_to_a_kill() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    rig.kill("t", None);
    let mut next = rig.restarted();
    next.ended("t", 0);
    let at = next.agent.find("F", "t").expect("a task");
    assert_eq!(next.agent.record_mut(&at).map(|t| t.latest()), Some(TaskState::TaskKilled));
}

#[test]
fn a_restarted_agent_waits_for_its_executors_a_little() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    let (_, outputs) = rig.agent.executor_call(rig.now, subscribe()).expect("subscribed");
    rig.keep(outputs);
    let mut back = rig.restarted();
    let mut call = subscribe();
    call.subscribe = Some(executor::call::Subscribe {
        unacknowledged_tasks: vec![with_executor("t")],
        ..executor::call::Subscribe::default()
    });
    let (_, outputs) = back.agent.executor_call(back.now, call).expect("subscribed again");
    assert_eq!(events(&outputs), [executor::event::Type::Subscribed]);
    back.pass(60);
    assert!(!back.did.iter().any(|o| matches!(o, Output::Destroy { .. })));
    let mut gone = rig.restarted();
    gone.pass(2);
    assert!(gone.did.iter().any(|o| matches!(o, Output::Destroy { .. })));
    gone.ended("E", 137);
    let at = gone.agent.find("F", "t").expect("a task");
    let record = gone.agent.record_mut(&at).expect("a task");
    let reason = record.task.statuses.last().map(TaskStatus::reason);
    assert_eq!(reason, Some(Reason::ExecutorReregistrationTimeout));
}

#[test]
fn draining_kills_with_the_operators_grace() {
    let mut rig = Rig::registered();
    let own = Some(KillPolicy { grace_period: Some(DurationInfo { nanoseconds: 60_000_000_000 }) });
    rig.run(TaskInfo { kill_policy: own, ..command("t") });
    rig.launched("t");
    let longest = Some(DurationInfo { nanoseconds: 10_000_000_000 });
    rig.hear(ToAgent::Drain(wire::DrainSlaveMessage {
        config: mesos_api::v1::DrainConfig { max_grace_period: longest, mark_gone: None },
    }));
    let stop = Output::Stop { container: rig.container("t"), grace: Duration::from_secs(10) };
    assert_eq!(rig.did.last(), Some(&stop));
    rig.ended("t", 0);
    let at = rig.agent.find("F", "t").expect("a task");
    let record = rig.agent.record_mut(&at).expect("a task");
    let last = record.task.statuses.last().map(|s| (s.state(), s.reason()));
    assert_eq!(last, Some((TaskState::TaskKilled, Reason::AgentDraining)));
}
