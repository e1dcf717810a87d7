//! The master: who is in the cluster, what is offered to whom, and what runs where.
//!
//! ```text
//! Master::new(config, registry, now) -> Master
//! master.handle(now, Input) -> Output { persist, then send, then publish }
//! master.next_wake() -> Option<Time>       when Input::Tick is due; may lie in the past
//! master.snapshot() -> Snapshot            immutable, for readers; cheap to make
//! ```
//!
//! Offers are made on a tick only: a driver that takes all waiting inputs before it ticks gets one
//! allocation for all of them.
//!
//! An agent is in one of four places: registered (`agents`), admitted and not back since this
//! master started (`recovered`), unreachable or gone (both only in the registry). A task is with
//! its framework; its agent knows it by name.

mod accept;
mod agent;
mod agents;
mod audit;
mod call;
mod config;
mod counters;
mod drain;
mod executor;
mod explain;
mod feedback;
mod framework;
mod health;
mod input;
mod inverse_offer;
mod launch;
mod maintenance;
mod offer;
mod operation;
mod operator;
mod output;
mod reconcile;
mod register;
mod remove;
mod reregister;
mod snapshot;
mod status;
mod subscribe;
mod task;
#[cfg(test)]
mod tests;
mod timer;
mod validate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mesos_api::v1;
use mesos_api::v1::scheduler::{Event, event};

pub use call::is_accepted_anyway;
pub use config::Config;
pub use counters::{Counters, FrameworkCounters};
pub use explain::{FrameworkExplanation, TaskExplanation};
pub use framework::Link;
pub use input::{Input, RequestId, Scheduler};
pub use output::{Change, Output, Reply, Send};
pub use snapshot::{
    AgentFacts, AgentSnapshot, ExecutorSnapshot, FrameworkSnapshot, Memo, OfferSnapshot,
    RecoveredAgentSnapshot, RoleSnapshot, Snapshot,
};
pub use task::is_terminal;

use crate::allocator::{Allocator, Options};
use crate::id::{AgentId, FrameworkId, TaskId};
use crate::registry::{Op, Registry};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{FromAgent, ToAgent};
use agents::Agents;
use framework::Framework;
use inverse_offer::InverseOffer;
use offer::Offer;
use operation::Operation;
use snapshot::CompletedFramework;
use timer::{Timer, Timers};

/// See the module.
#[derive(Debug)]
pub struct Master {
    config: Config,
    now: Time,
    started: Time,
    rng: Rng,
    registry: Registry,
    allocator: Allocator,
    frameworks: BTreeMap<FrameworkId, Framework>,
    completed: VecDeque<CompletedFramework>,
    schedulers: BTreeMap<Scheduler, FrameworkId>,
    agents: Agents,
    /// Which agent is at which pid.
    pids: BTreeMap<Arc<str>, AgentId>,
    /// In the registry, and not back since this master started.
    recovered: BTreeSet<AgentId>,
    offers: BTreeMap<u64, Offer>,
    inverse_offers: BTreeMap<u64, InverseOffer>,
    operations: BTreeMap<[u8; 16], Operation>,
    /// How frameworks answered inverse offers, by machine's agent.
    inverse_answers: BTreeMap<(AgentId, FrameworkId), inverse_offer::Answer>,
    timers: Timers,
    next_batch: Time,
    /// Before this, changes alone lead to no allocation.
    paused_until: Time,
    /// Whether `publish` tells of tasks.
    watches_tasks: bool,
    /// When the next agent may be marked unreachable.
    next_removal: Time,
    next_framework: u64,
    next_agent: u64,
    next_offer: u64,
    counters: Counters,
    out: Output,
}

impl Master {
    /// A master that has just been elected and has read the registry. What it changes at once, if
    /// anything, comes with the output of the first input.
    pub fn new(config: Config, registry: Registry, now: Time) -> Self {
        let region = config
            .info
            .domain
            .as_ref()
            .and_then(|domain| domain.fault_domain.as_ref())
            .map(|fault| fault.region.name.clone());
        let allocator = Allocator::new(Options {
            allocation_interval: config.allocation_interval,
            min_allocatable: config.min_allocatable.clone(),
            filter_gpu_resources: config.filter_gpu_resources,
            fair_sharing_excluded: config.fair_sharing_excluded.clone(),
            region,
            whitelist: config.whitelist.clone(),
        });
        let mut master = Self {
            now,
            started: now,
            rng: Rng::new(config.seed),
            allocator,
            frameworks: BTreeMap::new(),
            completed: VecDeque::new(),
            schedulers: BTreeMap::new(),
            agents: Agents::default(),
            pids: BTreeMap::new(),
            recovered: registry.agents.keys().cloned().collect(),
            offers: BTreeMap::new(),
            inverse_offers: BTreeMap::new(),
            operations: BTreeMap::new(),
            inverse_answers: BTreeMap::new(),
            timers: Timers::default(),
            next_batch: now,
            paused_until: now,
            watches_tasks: true,
            next_removal: now,
            next_framework: 0,
            next_agent: 0,
            next_offer: 0,
            counters: Counters::default(),
            out: Output::default(),
            registry,
            config,
        };
        master.recover();
        master
    }

    fn recover(&mut self) {
        for (role, weight) in self.config.weights.clone() {
            self.allocator.set_weight(&role, weight);
        }
        for (role, weight) in self.registry.weights.clone() {
            self.allocator.set_weight(&role, weight);
        }
        for (role, quota) in self.registry.quotas.clone() {
            self.allocator.set_quota(&role, Some(quota));
        }
        for (id, info) in self.registry.frameworks.clone() {
            self.recover_framework(&id, info);
        }
        if !self.recovered.is_empty() {
            self.timers
                .set(self.now + self.config.agent_reregister_timeout, Timer::RecoveredAgents);
        }
        self.timers.set(self.now + self.config.registry_gc_interval, Timer::RegistryGc);
    }

    /// Takes in what happened and tells what to do about it. `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input) -> Output {
        self.take_in(now, input);
        self.take_output()
    }

    /// Whether something may be offered that the allocator has not looked at.
    pub fn wants_allocation(&self) -> bool {
        self.allocator.wants_run()
    }

    /// How many messages wait to be sent.
    pub const fn pending(&self) -> usize {
        self.out.send.len()
    }

    /// What is to be done about everything taken in since the last time.
    pub fn take_output(&mut self) -> Output {
        std::mem::take(&mut self.out)
    }

    /// Whether anybody wants to know of changes to tasks: those of thousands are costly to tell.
    pub const fn watch_tasks(&mut self, watch: bool) {
        self.watches_tasks = watch;
    }

    /// Takes in what happened; what to do about it is for [`Master::take_output`] to tell. `now` never
    /// goes back.
    pub fn take_in(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Call { request, from, principal, call } => {
                self.call(request, from, principal, *call);
            }
            Input::SchedulerGone(scheduler) => self.scheduler_gone(&scheduler),
            Input::Agent { pid, message } => self.agent_message(pid, *message),
            Input::AgentGone { pid } => self.agent_link_broke(&pid),
            Input::Operator { request, principal, call } => {
                let reply = self.operate(principal, *call);
                self.out.send.push(Send::Reply { request, reply });
            }
            Input::Whitelist(hosts) => self.allocator.set_whitelist(hosts),
            Input::Tick => self.tick(),
        }
    }

    /// When [`Input::Tick`] is due next.
    pub fn next_wake(&self) -> Option<Time> {
        let timer = self.timers.first().unwrap_or(self.next_batch);
        let wanted = self.allocator.wants_run().then(|| self.paused_until.max(self.now));
        Some(timer.min(wanted.unwrap_or(self.next_batch)).min(self.next_batch))
    }

    /// The id that begins the ids of everything this master names.
    pub fn id(&self) -> &str {
        &self.config.info.id
    }

    /// The durable state, as of the last output.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What was counted since the start.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn tick(&mut self) {
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Ping { agent, generation } => self.ping_due(&agent, generation),
                Timer::Reregister { agent, generation } => self.reregister_due(&agent, generation),
                Timer::Remove { agent, generation } => self.removal_due(&agent, generation),
                Timer::RecoveredAgents => self.recovered_due(),
                Timer::RemoveRecovered(agent) => self.recovered_removal_due(&agent),
                Timer::Failover { framework, generation } => {
                    self.failover_due(&framework, generation);
                }
                Timer::Offer(number) => self.offer_timed_out(number),
                Timer::RegistryGc => self.registry_gc(),
            }
        }
        self.allocate();
    }

    fn agent_message(&mut self, pid: Arc<str>, message: FromAgent) {
        *self.counters.agent_messages.entry(message.name()).or_default() += 1;
        match message {
            FromAgent::Register(message) => self.register(pid, message),
            FromAgent::Reregister(message) => self.reregister(pid, message),
            FromAgent::Unregister(message) => self.unregister(&pid, &message),
            FromAgent::Pong(_) => self.pong(&pid),
            FromAgent::StatusUpdate(message) => self.status_update(&pid, message),
            FromAgent::ExitedExecutor(message) => self.exited_executor(&pid, &message),
            FromAgent::ExecutorToFramework(message) => self.executor_message(&pid, message),
            FromAgent::UpdateAgent(message) => self.update_agent(&pid, message),
            FromAgent::OperationStatus(message) => self.operation_status(&pid, message),
        }
    }

    /// The agent that speaks from this pid, if it is the one it says it is.
    fn speaking_agent(&self, pid: &str, id: &v1::AgentId) -> Option<&AgentId> {
        self.pids.get(pid).filter(|known| known.as_str() == id.value)
    }

    /// Changes the registry, durably before anything else of this output happens.
    fn persist(&mut self, op: Op) {
        match &op {
            Op::Admit { id, .. } | Op::MarkReachable { id, .. } => self.agents.repaint(id),
            Op::SetMachine { .. } => self.agents.repaint_all(),
            // Agents that are removed have no picture any more.
            Op::Remove(_)
            | Op::MarkUnreachable { .. }
            | Op::MarkGone { .. }
            | Op::ForgetUnreachable(_)
            | Op::ForgetGone(_)
            | Op::SetFramework { .. }
            | Op::RemoveFramework { .. }
            | Op::SetQuota { .. }
            | Op::SetWeight { .. } => {}
        }
        let writes = self.registry.apply(op);
        self.out.persist.extend(writes);
    }

    /// Sends a message to an agent, if its link stands.
    fn tell_agent(&mut self, agent: &AgentId, message: ToAgent) {
        if let Some(agent) = self.agents.get(agent).filter(|agent| agent.connected) {
            let pid = agent.pid.clone();
            self.tell_pid(pid, message);
        }
    }

    fn tell_pid(&mut self, pid: Arc<str>, message: ToAgent) {
        self.out.send.push(Send::Agent { pid, message: Box::new(message) });
    }

    fn publish(&mut self, change: Change) {
        self.out.publish.push(change);
    }

    fn publish_task(&mut self, change: impl FnOnce() -> Change) {
        if self.watches_tasks {
            self.out.publish.push(change());
        }
    }

    fn task_of(&self, framework: &FrameworkId, task: &TaskId) -> Option<&task::Task> {
        self.frameworks.get(framework)?.tasks.get(task)
    }
}

/// An event of this type with nothing in it yet.
fn event_of(kind: event::Type) -> Event {
    let mut event = Event::default();
    event.set_type(kind);
    event
}
