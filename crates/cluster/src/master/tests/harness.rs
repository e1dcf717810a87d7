//! A master with a store, and the messages it sent, sorted by whom they are for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::framework_info::capability;
use mesos_api::v1::scheduler::{Call, Event, call, event};
use mesos_api::v1::{TaskState, TaskStatus};

use crate::id::{AgentId, FrameworkId, Role};
use crate::master::{Change, Config, Input, Master, Output, Reply, RequestId, Scheduler, Send};
use crate::registry::Registry;
use crate::resources::{Format, Resources};
use crate::time::Time;
use crate::wire::{FromAgent, ToAgent};

pub(super) struct World {
    pub(super) master: Master,
    pub(super) now: Time,
    pub(super) store: BTreeMap<String, Vec<u8>>,
    events: BTreeMap<Scheduler, VecDeque<Event>>,
    to_agents: BTreeMap<Arc<str>, VecDeque<ToAgent>>,
    replies: VecDeque<Reply>,
    pub(super) closed: Vec<Scheduler>,
    pub(super) changes: Vec<Change>,
    next: u64,
    elections: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Framework {
    pub(super) id: FrameworkId,
    pub(super) at: Scheduler,
    pub(super) info: v1::FrameworkInfo,
}

#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) pid: Arc<str>,
    pub(super) info: v1::AgentInfo,
}

fn master_info(id: &str) -> v1::MasterInfo {
    v1::MasterInfo { id: id.into(), ip: 0x0100_007f, port: 5050, ..v1::MasterInfo::default() }
}

pub(super) fn config() -> Config {
    Config::new(master_info("m0"))
}

pub(super) fn world() -> World {
    World::new(config())
}

/// A framework's description with these capabilities.
pub(super) fn framework_info(capabilities: &[capability::Type]) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: "root".into(),
        name: "test".into(),
        capabilities: capabilities
            .iter()
            .map(|kind| v1::framework_info::Capability { r#type: Some((*kind).into()) })
            .collect(),
        checkpoint: Some(true),
        failover_timeout: Some(60.0),
        ..v1::FrameworkInfo::default()
    }
}

pub(super) fn aware() -> v1::FrameworkInfo {
    framework_info(&[capability::Type::PartitionAware, capability::Type::ReservationRefinement])
}

pub(super) fn wire(resources: &str) -> Vec<v1::Resource> {
    Resources::parse(resources, &Role::star()).unwrap().to_wire(Format::Refined)
}

pub(super) fn task(id: &str, agent: &Agent, resources: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.into(),
        task_id: id.into(),
        agent_id: (&agent.id).into(),
        resources: wire(resources),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..v1::CommandInfo::default() }),
        ..v1::TaskInfo::default()
    }
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        let now = Time::from_nanos(1_000_000_000_000);
        Self {
            master: Master::new(config, Registry::default(), now),
            now,
            store: BTreeMap::new(),
            events: BTreeMap::new(),
            to_agents: BTreeMap::new(),
            replies: VecDeque::new(),
            closed: Vec::new(),
            changes: Vec::new(),
            next: 0,
            elections: 0,
        }
    }

    /// The master dies, and another starts with what the store has.
    pub(super) fn fail_over(&mut self) {
        self.elections += 1;
        let mut config = config();
        config.info.id = format!("m{}", self.elections);
        let registry = Registry::load(&self.store).unwrap();
        assert_eq!(registry, *self.master.registry(), "the store is the registry");
        self.master = Master::new(config, registry, self.now);
        self.events.clear();
        self.to_agents.clear();
    }

    pub(super) fn input(&mut self, input: Input) {
        let output = self.master.handle(self.now, input);
        self.take(output);
        self.master.audit().unwrap();
    }

    fn take(&mut self, output: Output) {
        for write in output.persist {
            match write.value {
                Some(value) => self.store.insert(write.key, value),
                None => self.store.remove(&write.key),
            };
        }
        for send in output.send {
            match send {
                Send::Reply { reply, .. } => self.replies.push_back(reply),
                Send::Event { to, event } => self.events.entry(to).or_default().push_back(*event),
                Send::Close(scheduler) => self.closed.push(scheduler),
                Send::Agent { pid, message } => {
                    self.to_agents.entry(pid).or_default().push_back(*message);
                }
                Send::Link { .. } | Send::Unlink { .. } => {}
            }
        }
        self.changes.extend(output.publish);
    }

    /// Lets this much time pass, with every tick at its time.
    pub(super) fn advance(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(wake) = self.master.next_wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.input(Input::Tick);
        }
        self.now = until;
    }

    /// Lets time pass while agents answer their pings.
    pub(super) fn live(&mut self, duration: Duration, agents: &[&Agent]) {
        let until = self.now + duration;
        while self.now < until {
            self.advance(Duration::from_secs(1).min(until.since(self.now)));
            for agent in agents {
                for message in self.messages(agent) {
                    match message {
                        ToAgent::Ping(_) => {
                            self.say(agent, FromAgent::Pong(internal::PongSlaveMessage {}));
                        }
                        other => {
                            self.to_agents.entry(agent.pid.clone()).or_default().push_back(other);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn tick(&mut self) {
        self.input(Input::Tick);
    }

    // Agents

    pub(super) fn agent(&mut self, resources: &str) -> Agent {
        self.next += 1;
        let ip = format!("10.0.{}.{}", self.next / 200, self.next % 200 + 1);
        let info = v1::AgentInfo {
            hostname: format!("host{}", self.next),
            resources: wire(resources),
            checkpoint: Some(true),
            ..v1::AgentInfo::default()
        };
        self.agent_at(format!("slave(1)@{ip}:5051").into(), info)
    }

    pub(super) fn agent_at(&mut self, pid: Arc<str>, info: v1::AgentInfo) -> Agent {
        let mut agent = Agent { id: "".into(), pid, info };
        self.say(&agent, FromAgent::Register(register_message(&agent.info)));
        for message in self.messages(&agent) {
            if let ToAgent::Registered(message) = message {
                agent.id = (&message.agent_id).into();
                agent.info.id = Some(message.agent_id);
            }
        }
        assert!(!agent.id.as_str().is_empty(), "the agent was registered");
        agent
    }

    pub(super) fn say(&mut self, agent: &Agent, message: FromAgent) {
        self.input(Input::Agent { pid: agent.pid.clone(), message: Box::new(message) });
    }

    pub(super) fn reregister(&mut self, agent: &Agent, tasks: Vec<v1::Task>) {
        let frameworks: Vec<v1::FrameworkInfo> = self
            .master
            .frameworks
            .values()
            .filter(|framework| {
                tasks.iter().any(|task| task.framework_id.value == framework.id.as_str())
            })
            .map(|framework| (*framework.info).clone())
            .collect();
        self.reregister_with(agent, tasks, frameworks);
    }

    pub(super) fn reregister_with(
        &mut self,
        agent: &Agent,
        tasks: Vec<v1::Task>,
        frameworks: Vec<v1::FrameworkInfo>,
    ) {
        let message = internal::ReregisterSlaveMessage {
            agent: agent.info.clone(),
            tasks,
            frameworks,
            version: Some("1.11.0".into()),
            agent_capabilities: agent_capabilities(),
            ..internal::ReregisterSlaveMessage::default()
        };
        self.say(agent, FromAgent::Reregister(message));
    }

    pub(super) fn break_link(&mut self, agent: &Agent) {
        self.input(Input::AgentGone { pid: agent.pid.clone() });
    }

    pub(super) fn messages(&mut self, agent: &Agent) -> Vec<ToAgent> {
        self.to_agents.remove(&agent.pid).unwrap_or_default().into()
    }

    /// An agent's update. Its uuid is made of the task and state.
    pub(super) fn update(
        &mut self,
        agent: &Agent,
        framework: &Framework,
        task: &str,
        state: TaskState,
    ) {
        let mut status =
            TaskStatus { task_id: task.into(), timestamp: Some(1.0), ..TaskStatus::default() };
        status.set_state(state);
        status.set_source(v1::task_status::Source::Agent);
        let update = internal::StatusUpdate {
            framework_id: (&framework.id).into(),
            agent_id: Some((&agent.id).into()),
            uuid: Some(uuid(task, state)),
            timestamp: 1.0,
            status,
            latest_state: Some(state.into()),
            ..internal::StatusUpdate::default()
        };
        let pid = Some(agent.pid.to_string());
        self.say(agent, FromAgent::StatusUpdate(internal::StatusUpdateMessage { update, pid }));
    }

    // Frameworks

    pub(super) fn framework(&mut self, info: v1::FrameworkInfo) -> Framework {
        let at = self.stream();
        self.subscribe(at, info)
    }

    pub(super) fn stream(&mut self) -> Scheduler {
        self.next += 1;
        Scheduler::Stream(format!("stream-{}", self.next).into())
    }

    pub(super) fn subscribe(&mut self, at: Scheduler, info: v1::FrameworkInfo) -> Framework {
        self.try_subscribe(&at, info.clone());
        let mut framework = Framework { id: "".into(), at, info };
        let events = self.events(&framework);
        let subscribed = events.iter().find_map(|event| event.subscribed.as_ref());
        let subscribed = subscribed.unwrap_or_else(|| panic!("not subscribed: {events:?}"));
        framework.id = (&subscribed.framework_id).into();
        framework.info.id = Some(subscribed.framework_id.clone());
        framework
    }

    pub(super) fn try_subscribe(&mut self, at: &Scheduler, info: v1::FrameworkInfo) {
        let mut call = Call { framework_id: info.id.clone(), ..Call::default() };
        call.set_type(call::Type::Subscribe);
        call.subscribe =
            Some(call::Subscribe { framework_info: info, ..call::Subscribe::default() });
        self.raw_call(Some(at.clone()), call);
    }

    pub(super) fn raw_call(&mut self, from: Option<Scheduler>, call: Call) {
        self.input(Input::Call {
            request: Some(RequestId(0)),
            from,
            principal: None,
            call: Box::new(call),
        });
    }

    pub(super) fn call(
        &mut self,
        framework: &Framework,
        kind: call::Type,
        fill: impl Fn(&mut Call),
    ) {
        let mut call = Call { framework_id: Some((&framework.id).into()), ..Call::default() };
        call.set_type(kind);
        fill(&mut call);
        self.raw_call(Some(framework.at.clone()), call);
    }

    pub(super) fn reply(&mut self) -> Option<Reply> {
        let reply = self.replies.pop_back();
        self.replies.clear();
        reply
    }

    pub(super) fn events(&mut self, framework: &Framework) -> Vec<Event> {
        self.events.remove(&framework.at).unwrap_or_default().into()
    }

    /// The offers among the framework's events; the other events are dropped.
    pub(super) fn offers(&mut self, framework: &Framework) -> Vec<v1::Offer> {
        self.tick();
        self.events(framework)
            .into_iter()
            .filter_map(|event| event.offers)
            .flat_map(|offers| offers.offers)
            .collect()
    }

    /// The statuses among the framework's events; the other events are dropped.
    pub(super) fn updates(&mut self, framework: &Framework) -> Vec<TaskStatus> {
        self.events(framework)
            .into_iter()
            .filter_map(|event| event.update)
            .map(|update| update.status)
            .collect()
    }

    pub(super) fn kinds(&mut self, framework: &Framework) -> Vec<event::Type> {
        self.events(framework).iter().map(Event::r#type).collect()
    }

    pub(super) fn accept(
        &mut self,
        framework: &Framework,
        offers: &[v1::Offer],
        operations: Vec<v1::offer::Operation>,
    ) {
        self.call(framework, call::Type::Accept, |call| {
            call.accept = Some(call::Accept {
                offer_ids: offers.iter().map(|offer| offer.id.clone()).collect(),
                operations: operations.clone(),
                filters: None,
            });
        });
    }

    pub(super) fn launch(
        &mut self,
        framework: &Framework,
        offers: &[v1::Offer],
        tasks: Vec<v1::TaskInfo>,
    ) {
        self.accept(framework, offers, vec![launch_operation(tasks)]);
    }

    /// Has a task running on an agent, as seen by everybody.
    pub(super) fn run(&mut self, framework: &Framework, agent: &Agent, id: &str, resources: &str) {
        let offers = self.offers(framework);
        let offer = offers.iter().find(|offer| offer.agent_id.value == agent.id.as_str());
        let offer = offer.expect("an offer of the agent").clone();
        self.launch(framework, &[offer], vec![task(id, agent, resources)]);
        self.update(agent, framework, id, TaskState::TaskRunning);
        self.acknowledge(framework, agent, id, TaskState::TaskRunning);
        let updates = self.updates(framework);
        assert_eq!(
            updates.last().map(TaskStatus::state),
            Some(TaskState::TaskRunning),
            "{updates:?}"
        );
    }

    pub(super) fn acknowledge(
        &mut self,
        framework: &Framework,
        agent: &Agent,
        task: &str,
        state: TaskState,
    ) {
        self.call(framework, call::Type::Acknowledge, |call| {
            call.acknowledge = Some(call::Acknowledge {
                agent_id: (&agent.id).into(),
                task_id: task.into(),
                uuid: uuid(task, state),
            });
        });
    }

    pub(super) fn decline(&mut self, framework: &Framework, offers: &[v1::Offer], secs: f64) {
        self.call(framework, call::Type::Decline, |call| {
            call.decline = Some(call::Decline {
                offer_ids: offers.iter().map(|offer| offer.id.clone()).collect(),
                filters: Some(v1::Filters { refuse_seconds: Some(secs) }),
            });
        });
    }

    pub(super) fn reconcile(&mut self, framework: &Framework, tasks: &[(&str, Option<&AgentId>)]) {
        self.call(framework, call::Type::Reconcile, |call| {
            let tasks = tasks.iter().map(|(task, agent)| call::reconcile::Task {
                task_id: (*task).into(),
                agent_id: agent.map(Into::into),
            });
            call.reconcile = Some(call::Reconcile { tasks: tasks.collect() });
        });
    }
}

pub(super) fn launch_operation(tasks: Vec<v1::TaskInfo>) -> v1::offer::Operation {
    let mut operation = v1::offer::Operation::default();
    operation.set_type(v1::offer::operation::Type::Launch);
    operation.launch = Some(v1::offer::operation::Launch { task_infos: tasks });
    operation
}

/// A task as an agent reports it when it registers again.
pub(super) fn reported(
    framework: &Framework,
    agent: &Agent,
    id: &str,
    state: TaskState,
) -> v1::Task {
    let mut task = v1::Task {
        name: id.into(),
        task_id: id.into(),
        framework_id: (&framework.id).into(),
        agent_id: (&agent.id).into(),
        resources: wire("cpus:1;mem:64"),
        ..v1::Task::default()
    };
    for resource in &mut task.resources {
        resource.allocation_info =
            Some(v1::resource::AllocationInfo { role: Some("*".to_owned()) });
    }
    task.set_state(state);
    task
}

pub(super) fn agent_capabilities() -> Vec<v1::agent_info::Capability> {
    (1..=8).map(|kind| v1::agent_info::Capability { r#type: Some(kind) }).collect()
}

pub(super) fn register_message(info: &v1::AgentInfo) -> internal::RegisterSlaveMessage {
    internal::RegisterSlaveMessage {
        agent: info.clone(),
        version: Some("1.11.0".into()),
        agent_capabilities: agent_capabilities(),
        ..internal::RegisterSlaveMessage::default()
    }
}

pub(super) fn uuid(task: &str, state: TaskState) -> bytes::Bytes {
    let mut bytes = [0_u8; 16];
    for (byte, name) in bytes.iter_mut().zip(task.bytes()) {
        *byte = name;
    }
    bytes[15] = u8::try_from(i32::from(state)).unwrap();
    bytes.to_vec().into()
}
