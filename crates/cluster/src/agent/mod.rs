//! The agent's core: registration, executors, tasks and their streams of status updates.
//!
//! ```text
//!             Master(Some)             Registered / Reregistered
//! DISCONNECTED ----------> REGISTERING ------------------------> RUNNING
//!       ^     (AUTHENTICATING before it, with a credential)         |
//!       |                   |  retries with a random pause          |
//!       +-------------------+--------- Master(None), no ping -------+
//!
//! executor:  REGISTERING -> RUNNING -> TERMINATING -> (gone once every update is acknowledged)
//! ```
//!
//! A *custom* executor is a program that subscribes over HTTP and reports on its tasks. A *command*
//! executor has no process: the task's container itself is what runs, and the core turns what the
//! containerizer sees into the task's states. The *default* executor has none either: each task of
//! its groups has a container of its own.
//!
//! The driver carries out [`Output`]s in the order in which they stand: a record is durable before
//! anything behind it is done, so that an update is never sent, nor an executor's acknowledged,
//! before a restart would know of it.

mod containers;
mod counters;
mod draining;
mod executor_api;
mod group;
mod kill;
mod launch;
mod model;
mod operations;
mod recovery;
mod registration;
mod stream;
mod terminate;
#[cfg(test)]
mod tests;
mod updates;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mesos_api::v1::{AgentInfo, FrameworkInfo, Resource, TaskState};

pub use counters::Counters;
pub use executor_api::{Caller, Refusal};
pub use model::{
    CompletedExecutor, Executor, ExecutorState, Framework, Killing, Kind, Member, Queued,
    TaskRecord,
};
pub use operations::VolumeId;
pub use recovery::{Recovered, RecoveredExecutor, RecoveredFramework, RecoveredTask};
pub use registration::Phase;
pub use wire::{ContainerEvent, Exit, Input, Launch, Output, Record};

use crate::id::FrameworkId;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::ToAgent;

/// How many finished frameworks, and tasks of each executor, are remembered for the endpoints.
const REMEMBERED: usize = 150;

/// What an agent is made of; all of it is fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the master is told; the id is the core's business.
    pub info: AgentInfo,
    /// Where messages to this agent go: `slave(1)@ip:port`.
    pub pid: String,
    /// The address that tasks on the host's network have.
    pub ip: String,
    /// The version that the master is told, three numbers.
    pub version: String,
    /// Start of the sequence of random numbers and UUIDs.
    pub seed: u64,
    /// First bound of the random pause between two attempts to register.
    pub registration_backoff: Duration,
    /// How long proving who it is may take; none if the agent has nothing to prove it with.
    pub authentication: Option<AuthenticationTimes>,
    /// How long a custom executor may take from its launch to its subscription.
    pub executor_registration_timeout: Duration,
    /// How long a custom executor may take to come back after the agent's restart.
    pub executor_reregistration_timeout: Duration,
    /// How long anything may take to end by itself before it is killed.
    pub executor_shutdown_grace: Duration,
    /// How many finished executors of each framework are remembered for the endpoints.
    pub max_completed_executors: usize,
}

/// How long an attempt may take to prove to a master who the agent is: between `timeout_min` and as
/// much more as `backoff_factor`, doubled with each attempt, allows; never longer than `timeout_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticationTimes {
    pub backoff_factor: Duration,
    pub timeout_min: Duration,
    pub timeout_max: Duration,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    info: AgentInfo,
    /// Dynamic reservations and persistent volumes.
    checkpointed: Vec<Resource>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    completed: VecDeque<Framework>,
    phase: Phase,
    /// Without a ping until then the master counts as gone.
    ping_deadline: Option<Time>,
    ping_timeout: Duration,
    /// Set while the agent drains: what started then is killed.
    drain: Option<mesos_api::v1::DrainConfig>,
    /// Updates of operations that the master has not acknowledged.
    operations: Vec<mesos_api::internal::UpdateOperationStatusMessage>,
    /// How many tasks have ended in which way since the agent started.
    ended: BTreeMap<i32, u64>,
    counters: Counters,
    resource_version: [u8; 16],
    rng: Rng,
    now: Time,
    out: Vec<Output>,
}

impl Agent {
    fn empty(config: Config, now: Time) -> Self {
        let mut rng = Rng::new(config.seed);
        let info = config.info.clone();
        let resource_version = rng.uuid();
        Self {
            config,
            info,
            checkpointed: Vec::new(),
            frameworks: BTreeMap::new(),
            completed: VecDeque::new(),
            phase: Phase::Disconnected,
            ping_deadline: None,
            ping_timeout: registration::PING_TIMEOUT,
            drain: None,
            operations: Vec::new(),
            ended: BTreeMap::new(),
            counters: Counters::default(),
            resource_version,
            rng,
            now,
            out: Vec::new(),
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.now = now;
        match input {
            Input::Master(present) => self.master_changed(present),
            Input::Authenticated(proved) => self.authenticated(proved),
            Input::FromMaster(message) => self.heard(*message),
            Input::Container { framework, executor, container, event } => {
                self.container_event(&framework, &executor, &container, event);
            }
            Input::ExecutorGone { framework, executor, container } => {
                self.executor_gone(&framework, &executor, &container);
            }
            Input::Tick => self.tick(),
        }
        std::mem::take(&mut self.out)
    }

    /// When [`Input::Tick`] is wanted next, if at all.
    pub fn next_tick(&self) -> Option<Time> {
        let executors =
            self.frameworks.values().flat_map(|f| f.executors.values().map(move |e| (f, e)));
        executors
            .flat_map(|(framework, e)| {
                // Nobody waits for the updates of a framework that is over.
                let told = e.tasks.values().filter(|_| !framework.shutting_down);
                let streams = told.filter_map(|t| t.stream.retry_at());
                let limits = e.tasks.values().filter_map(|t| t.complete_by);
                streams.chain(limits).chain(e.deadline)
            })
            .chain(self.registration_tick())
            .chain(self.ping_deadline)
            .min()
    }

    fn tick(&mut self) {
        self.tick_registration();
        self.tick_executors();
        self.tick_limits();
        self.tick_streams();
    }

    fn heard(&mut self, message: ToAgent) {
        if !self.is_running(&message) {
            return;
        }
        match message {
            ToAgent::Registered(m) => self.registered(m),
            ToAgent::Reregistered(m) => self.reregistered(m),
            ToAgent::Ping(m) => self.pinged(&m),
            ToAgent::RunTask(m) => self.run_task(m),
            ToAgent::RunTaskGroup(m) => self.run_task_group(m),
            ToAgent::KillTask(m) => self.kill_task(&m),
            ToAgent::AcknowledgeStatus(m) => self.acknowledged(&m),
            ToAgent::ShutdownFramework(m) => self.shutdown_framework(&m.framework_id),
            ToAgent::ShutdownExecutor(m) => self.shutdown_executor_message(&m),
            ToAgent::UpdateFramework(m) => self.update_framework(m),
            ToAgent::CheckpointResources(m) => self.checkpoint_resources(m.resources),
            ToAgent::ApplyOperation(m) => self.apply_operation(m),
            ToAgent::AcknowledgeOperation(m) => self.acknowledge_operation(&m),
            ToAgent::ReconcileOperations(m) => self.reconcile_operations(&m),
            ToAgent::FrameworkToExecutor(m) => self.relay(m),
            ToAgent::Drain(m) => self.drain(m.config),
            ToAgent::Shutdown(m) => {
                let message = m.message.unwrap_or_default();
                self.end_everything(format!("the master asked this agent to end: {message}"));
            }
        }
    }

    /// What the master knows of this agent; without an id until it has registered.
    pub fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// Dynamic reservations and persistent volumes.
    pub fn checkpointed_resources(&self) -> &[Resource] {
        &self.checkpointed
    }

    /// Frameworks with executors here.
    pub fn frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.frameworks.values()
    }

    /// Frameworks that had executors here, the latest last.
    pub fn completed_frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.completed.iter()
    }

    /// How many tasks have come to each of the last states since the agent started.
    pub fn terminal_counts(&self) -> impl Iterator<Item = (TaskState, u64)> {
        let all = (0..=i32::from(u8::MAX)).filter_map(|number| TaskState::try_from(number).ok());
        let terminal = all.filter(|state| model::is_terminal(*state));
        terminal.map(|state| (state, self.ended.get(&(state as i32)).copied().unwrap_or(0)))
    }

    /// What it has counted since it started.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where registration stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn agent_id(&self) -> mesos_api::v1::AgentId {
        self.info.id.clone().unwrap_or_else(|| String::new().into())
    }

    /// Records only what belongs to frameworks that want their tasks to outlive the agent.
    fn persist(&mut self, info: &FrameworkInfo, record: impl FnOnce() -> Record) {
        if info.checkpoint() {
            self.out.push(Output::persist(record()));
        }
    }
}
