//! One run: a storm, then a calm, and what must hold meanwhile and at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cluster::agent::Input as AgentInput;
use cluster::master::{Config, Input, Master, Output, Reply, RequestId, Scheduler, Send};
use cluster::registry::Registry;
use cluster::rng::Rng;
use cluster::time::Time;
use cluster::wire::{FromAgent, ToAgent};
use mesos_api::v1;
use mesos_api::v1::scheduler::{Call, Event};

use crate::agent::Machine;
use crate::framework::Framework;
use crate::network::{Fate, Network, Weather};

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub agents: u32,
    pub frameworks: u32,
    /// How long things go wrong.
    pub storm: Duration,
    /// The books are checked after every so many steps.
    pub audit_every: u64,
}

impl Options {
    /// A small cluster in a storm of two minutes.
    pub fn new(seed: u64) -> Self {
        Self { seed, agents: 3, frameworks: 2, storm: Duration::from_secs(120), audit_every: 4 }
    }
}

/// What happened in a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub steps: u64,
    pub tasks: usize,
    pub master_crashes: u64,
    pub agent_crashes: u64,
    pub cuts: u64,
    pub broken_connections: u64,
}

/// Something that must not be, and how to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub step: u64,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at step {}: {}", self.seed, self.step, self.what)
    }
}

/// How long the calm may last: all timeouts of a cluster together.
const CALM: Duration = Duration::from_secs(4000);

/// Where the names of frameworks begin; agents are below.
const FRAMEWORKS: u32 = 1000;

/// Each stream of a framework is a connection of its own.
fn party_of(stream: u64) -> u32 {
    10_000 + u32::try_from(stream).unwrap_or(0)
}

#[derive(Debug)]
enum Due {
    ToMaster {
        agent: u32,
        generation: u64,
        message: Box<FromAgent>,
    },
    ToAgent {
        agent: u32,
        generation: u64,
        message: Box<ToAgent>,
    },
    CallMaster {
        framework: u32,
        stream: u64,
        generation: u64,
        call: Box<Call>,
    },
    TellFramework {
        framework: u32,
        stream: u64,
        generation: u64,
        event: Box<Event>,
    },
    /// Both ends of an agent's connection hear that it broke.
    AgentLinkBroke(u32),
    StreamBroke {
        framework: u32,
        stream: u64,
    },
    Subscribe(u32),
    StartAgent(u32),
    Elect,
    Heal(u32),
    Mishap,
    Ask,
}

/// How far a dying master gets with the output of its last input.
#[derive(Debug, Clone, Copy)]
enum Death {
    BeforePersist,
    BeforeSend,
    Sending(u64),
}

struct World {
    options: Options,
    now: Time,
    end_of_storm: Time,
    rng: Rng,
    due: BTreeMap<(Time, u64), Due>,
    next: u64,
    master: Option<Master>,
    elections: u64,
    store: BTreeMap<String, Vec<u8>>,
    /// Keys that must never go again.
    forever: Vec<String>,
    dying: Option<Death>,
    machines: BTreeMap<u32, Machine>,
    frameworks: BTreeMap<u32, Framework>,
    network: Network,
    streams: u64,
    report: Report,
}

/// Runs one seed to its end.
///
/// # Errors
/// Tells the first thing that must not be.
pub fn run(options: Options) -> Result<Report, Failure> {
    let mut world = World::new(options);
    world.run().map_err(|what| Failure {
        seed: world.options.seed,
        step: world.report.steps,
        what,
    })?;
    Ok(world.report)
}

impl World {
    fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let now = Time::from_nanos(1_000_000_000_000_000);
        let machines = (1..=options.agents).map(|name| (name, Machine::new(name, &mut rng)));
        let machines = machines.collect();
        let frameworks = (0..options.frameworks)
            .map(|name| (FRAMEWORKS + name, Framework::new(FRAMEWORKS + name, &mut rng)));
        let frameworks = frameworks.collect();
        let mut world = Self {
            now,
            end_of_storm: now + options.storm,
            rng,
            due: BTreeMap::new(),
            next: 0,
            master: None,
            elections: 0,
            store: BTreeMap::new(),
            forever: Vec::new(),
            dying: None,
            machines,
            frameworks,
            network: Network::default(),
            streams: 0,
            report: Report::default(),
            options,
        };
        world.at(Duration::ZERO, Due::Elect);
        for name in 1..=world.options.agents {
            world.at(Duration::from_millis(10), Due::StartAgent(name));
        }
        for name in 0..world.options.frameworks {
            world.at(Duration::from_millis(20), Due::Subscribe(FRAMEWORKS + name));
        }
        world.at(Duration::from_secs(3), Due::Mishap);
        world.at(Duration::from_secs(20), Due::Ask);
        world
    }

    fn at(&mut self, after: Duration, due: Due) {
        self.at_time(self.now + after, due);
    }

    fn at_time(&mut self, at: Time, due: Due) {
        self.due.insert((at, self.next), due);
        self.next += 1;
    }

    fn stormy(&self) -> bool {
        self.now < self.end_of_storm
    }

    fn weather(&self, framework: bool) -> Weather {
        let stormy = self.stormy();
        Weather {
            delay_max: Duration::from_millis(if stormy { 800 } else { 20 }),
            loss_one_in: if stormy { 150 } else { 0 },
            duplicate_one_in: if stormy && !framework { 20 } else { 0 },
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let deadline = self.end_of_storm + CALM;
        loop {
            let next = self.next_time();
            if next > deadline {
                return Err(format!(
                    "not at rest long after the storm: {}; {}",
                    self.unrest(),
                    self.picture()
                ));
            }
            if !self.stormy() && self.unrest().is_empty() {
                break;
            }
            self.now = self.now.max(next);
            self.step()?;
        }
        self.report.tasks = self.frameworks.values().map(|it| it.tasks.len()).sum();
        Ok(())
    }

    fn next_time(&self) -> Time {
        let queue = self.due.keys().next().map(|(at, _)| *at);
        let master = self.master.as_ref().and_then(Master::next_wake);
        let machines = self.machines.values().filter_map(Machine::next).min();
        [queue, master, machines].into_iter().flatten().min().unwrap_or(Time::from_nanos(u64::MAX))
    }

    fn step(&mut self) -> Result<(), String> {
        self.report.steps += 1;
        let first = self.due.keys().next().copied().filter(|(at, _)| *at <= self.now);
        if let Some(due) = first.and_then(|key| self.due.remove(&key)) {
            self.happen(due);
        } else if self.machines.values().any(|it| it.next().is_some_and(|at| at <= self.now)) {
            self.advance_machines();
        } else {
            self.tell_master(Input::Tick);
        }
        self.check()
    }

    fn advance_machines(&mut self) {
        let names: Vec<u32> = self.machines.keys().copied().collect();
        for name in names {
            self.with_agent(name, |machine, now, rng| machine.advance(now, rng));
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::ToMaster { agent, generation, message } => {
                if generation == self.network.generation(agent)
                    && let Some(machine) = self.machines.get(&agent)
                {
                    let pid = machine.pid.clone();
                    self.tell_master(Input::Agent { pid, message });
                }
            }
            Due::ToAgent { agent, generation, message } => {
                if generation == self.network.generation(agent) {
                    self.tell_agent(agent, AgentInput::FromMaster(message));
                }
            }
            Due::CallMaster { framework, stream, generation, call } => {
                if generation == self.network.generation(party_of(stream)) {
                    self.call_master(framework, stream, call);
                }
            }
            Due::TellFramework { framework, stream, generation, event } => {
                if generation == self.network.generation(party_of(stream)) {
                    self.tell_framework(framework, stream, *event);
                }
            }
            Due::AgentLinkBroke(agent) => self.agent_link_broke(agent),
            Due::StreamBroke { framework, stream } => self.stream_broke(framework, stream),
            Due::Subscribe(framework) => self.subscribe(framework),
            Due::StartAgent(name) => self.start_agent(name),
            Due::Elect => self.elect(),
            Due::Heal(party) => {
                self.network.cut.remove(&party);
                self.network.reconnect(party);
                self.at(Duration::from_millis(5), Due::AgentLinkBroke(party));
            }
            Due::Mishap => self.mishap(),
            Due::Ask => self.ask(),
        }
    }

    // The master

    fn elect(&mut self) {
        if self.master.is_some() {
            return;
        }
        self.elections += 1;
        let info = v1::MasterInfo {
            id: format!("m{}", self.elections),
            port: 5050,
            ..v1::MasterInfo::default()
        };
        let mut config = Config::new(info);
        config.seed = self.rng.next_u64();
        let Ok(registry) = Registry::load(&self.store) else { return };
        self.master = Some(Master::new(config, registry, self.now));
        let agents: Vec<u32> = self.machines.keys().copied().collect();
        for agent in agents {
            self.tell_agent(agent, AgentInput::Master(true));
        }
        let frameworks: Vec<u32> = self.frameworks.keys().copied().collect();
        for framework in frameworks {
            let after = Duration::from_millis(self.rng.below(3000));
            self.at(after, Due::Subscribe(framework));
        }
    }

    fn master_dies(&mut self) {
        self.report.master_crashes += 1;
        self.master = None;
        self.dying = None;
        let agents: Vec<u32> = self.machines.keys().copied().collect();
        for agent in agents {
            self.network.reconnect(agent);
            self.tell_agent(agent, AgentInput::Master(false));
        }
        for framework in self.frameworks.values_mut() {
            if let Some(stream) = framework.stream.take() {
                self.network.reconnect(party_of(stream));
            }
            framework.subscribed = false;
        }
        let after = Duration::from_millis(100 + self.rng.below(20_000));
        self.at(after, Due::Elect);
    }

    fn tell_master(&mut self, input: Input) {
        let Some(master) = &mut self.master else { return };
        let output = master.handle(self.now, input);
        match self.dying.take() {
            None => self.carry_out(output, u64::MAX),
            Some(Death::BeforePersist) => self.master_dies(),
            Some(Death::BeforeSend) => {
                self.carry_out(output, 0);
                self.master_dies();
            }
            Some(Death::Sending(count)) => {
                self.carry_out(output, count);
                self.master_dies();
            }
        }
    }

    fn carry_out(&mut self, output: Output, sends: u64) {
        for write in output.persist {
            match write.value {
                Some(value) => self.store.insert(write.key, value),
                None => self.store.remove(&write.key),
            };
        }
        for send in output.send.into_iter().take(usize::try_from(sends).unwrap_or(usize::MAX)) {
            self.send(send);
        }
    }

    fn send(&mut self, send: Send) {
        match send {
            Send::Agent { pid, message } => self.send_to_agent(&pid, message),
            Send::Event { to, event } => self.send_to_framework(&to, event),
            Send::Close(scheduler) => {
                if let Some((framework, stream)) = self.find_stream(&scheduler) {
                    self.at(Duration::from_millis(5), Due::StreamBroke { framework, stream });
                }
            }
            // A refusal means that the framework's idea of its session is wrong: it starts anew.
            Send::Reply { request, reply } => {
                let fine = matches!(reply, Reply::Accepted | Reply::Ok | Reply::Streaming);
                let stream = request.0;
                let caller = self.frameworks.values().find(|it| it.stream == Some(stream));
                if let (false, Some(framework)) = (fine, caller.map(|it| it.name)) {
                    self.at(Duration::from_millis(5), Due::StreamBroke { framework, stream });
                }
            }
            // Connections are the network's business here.
            Send::Link { .. } | Send::Unlink { .. } => {}
        }
    }

    // Agents

    fn start_agent(&mut self, name: u32) {
        let present = self.master.is_some();
        let Some(machine) = self.machines.get_mut(&name) else { return };
        if machine.agent.is_some() || machine.left {
            return;
        }
        let sent = machine.start(self.now, &mut self.rng);
        let died = machine.agent.is_none();
        self.send_to_master(name, sent);
        if died {
            self.agent_died(name);
        } else if !present {
            self.tell_agent(name, AgentInput::Master(false));
        }
    }

    fn tell_agent(&mut self, name: u32, input: AgentInput) {
        self.with_agent(name, |machine, now, rng| machine.handle(now, input, rng));
    }

    /// Lets an agent do something, sends what it says, and notices when it dies of it.
    fn with_agent(
        &mut self,
        name: u32,
        act: impl FnOnce(&mut Machine, Time, &mut Rng) -> Vec<FromAgent>,
    ) {
        let Some(machine) = self.machines.get_mut(&name) else { return };
        let was_alive = machine.agent.is_some();
        let sent = act(machine, self.now, &mut self.rng);
        let died = was_alive && machine.agent.is_none();
        self.send_to_master(name, sent);
        if died {
            self.agent_died(name);
        }
    }

    /// The kernel closes what a dead process had open.
    fn agent_died(&mut self, name: u32) {
        self.report.agent_crashes += 1;
        self.network.reconnect(name);
        self.at(Duration::from_millis(5), Due::AgentLinkBroke(name));
        let after = Duration::from_millis(self.rng.below(30_000));
        self.at(after, Due::StartAgent(name));
    }

    fn agent_link_broke(&mut self, name: u32) {
        let Some(machine) = self.machines.get(&name) else { return };
        let pid = machine.pid.clone();
        if !self.network.cut.contains_key(&name) {
            self.tell_master(Input::AgentGone { pid });
        }
        self.tell_agent(name, AgentInput::Master(false));
        if self.master.is_some() {
            self.tell_agent(name, AgentInput::Master(true));
        }
    }

    fn send_to_master(&mut self, agent: u32, messages: Vec<FromAgent>) {
        for message in messages {
            let generation = self.network.generation(agent);
            let weather = self.weather(false);
            let fate = self.network.send(self.now, (agent, true), weather, &mut self.rng);
            let due =
                |message: FromAgent| Due::ToMaster { agent, generation, message: message.into() };
            self.suffer(agent, fate, message, due);
        }
    }

    fn send_to_agent(&mut self, pid: &Arc<str>, message: Box<ToAgent>) {
        let agent = self.machines.values().find(|it| it.pid == *pid).map(|it| it.name);
        let Some(agent) = agent else { return };
        let generation = self.network.generation(agent);
        let weather = self.weather(false);
        let fate = self.network.send(self.now, (agent, false), weather, &mut self.rng);
        let due = |message| Due::ToAgent { agent, generation, message };
        self.suffer(agent, fate, message, due);
    }

    fn suffer<M: Clone>(&mut self, agent: u32, fate: Fate, message: M, due: impl Fn(M) -> Due) {
        match fate {
            Fate::Arrives(at) => self.at_time(at, due(message)),
            Fate::ArrivesTwice(at, again) => {
                self.at_time(at, due(message.clone()));
                self.at_time(again, due(message));
            }
            Fate::Breaks(at) => {
                self.report.broken_connections += 1;
                self.at_time(at, Due::AgentLinkBroke(agent));
            }
            Fate::Vanishes => {}
        }
    }

    // Frameworks

    fn subscribe(&mut self, name: u32) {
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if framework.stream.is_some() || self.master.is_none() {
            return;
        }
        self.streams += 1;
        let stream = self.streams;
        framework.stream = Some(stream);
        framework.subscribed = false;
        let call = framework.subscribe();
        self.send_calls(name, stream, vec![call]);
    }

    fn send_calls(&mut self, framework: u32, stream: u64, calls: Vec<Call>) {
        for call in calls {
            let generation = self.network.generation(party_of(stream));
            let weather = self.weather(true);
            let fate =
                self.network.send(self.now, (party_of(stream), true), weather, &mut self.rng);
            match fate {
                Fate::Arrives(at) | Fate::ArrivesTwice(at, _) => {
                    let call = Box::new(call);
                    self.at_time(at, Due::CallMaster { framework, stream, generation, call });
                }
                Fate::Breaks(at) => {
                    self.report.broken_connections += 1;
                    self.at_time(at, Due::StreamBroke { framework, stream });
                }
                Fate::Vanishes => {}
            }
        }
    }

    fn call_master(&mut self, framework: u32, stream: u64, call: Box<Call>) {
        self.tell_master(Input::Call {
            request: Some(RequestId(stream)),
            from: Some(Scheduler::Stream(format!("{framework}:{stream}").into())),
            principal: None,
            call,
        });
    }

    fn find_stream(&self, scheduler: &Scheduler) -> Option<(u32, u64)> {
        let Scheduler::Stream(id) = scheduler else { return None };
        let (framework, stream) = id.split_once(':')?;
        Some((framework.parse().ok()?, stream.parse().ok()?))
    }

    fn send_to_framework(&mut self, to: &Scheduler, event: Box<Event>) {
        let Some((framework, stream)) = self.find_stream(to) else { return };
        let generation = self.network.generation(party_of(stream));
        let weather = self.weather(true);
        match self.network.send(self.now, (party_of(stream), false), weather, &mut self.rng) {
            Fate::Arrives(at) | Fate::ArrivesTwice(at, _) => {
                self.at_time(at, Due::TellFramework { framework, stream, generation, event });
            }
            Fate::Breaks(at) => {
                self.report.broken_connections += 1;
                self.at_time(at, Due::StreamBroke { framework, stream });
            }
            Fate::Vanishes => {}
        }
    }

    fn tell_framework(&mut self, name: u32, stream: u64, event: Event) {
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if framework.stream != Some(stream) {
            return;
        }
        let calls = framework.hear(event, &mut self.rng);
        self.send_calls(name, stream, calls);
    }

    fn stream_broke(&mut self, name: u32, stream: u64) {
        let scheduler = Scheduler::Stream(format!("{name}:{stream}").into());
        self.tell_master(Input::SchedulerGone(scheduler));
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if framework.stream == Some(stream) {
            framework.stream = None;
            framework.subscribed = false;
            self.network.reconnect(party_of(stream));
            let after = Duration::from_millis(self.rng.below(2000));
            self.at(after, Due::Subscribe(name));
        }
    }

    // What goes wrong

    fn mishap(&mut self) {
        if !self.stormy() {
            for framework in self.frameworks.values_mut() {
                framework.busy = false;
            }
            return;
        }
        let after = Duration::from_millis(500 + self.rng.below(6000));
        self.at(after, Due::Mishap);
        let agent = 1 + u32::try_from(self.rng.below(self.options.agents.into())).unwrap_or(0);
        match self.rng.below(12) {
            0 => {
                self.report.cuts += 1;
                let heals = self.now + Duration::from_millis(self.rng.below(200_000));
                let heals = heals.min(self.end_of_storm);
                if self.network.cut.insert(agent, heals).is_none() {
                    self.at_time(heals, Due::Heal(agent));
                }
            }
            1 | 2 => {
                let count = self.rng.below(6);
                if let Some(machine) = self.machines.get_mut(&agent).filter(|it| it.agent.is_some())
                {
                    machine.dies_after = Some(count);
                }
            }
            3 => {
                self.dying = Some(match self.rng.below(3) {
                    0 => Death::BeforePersist,
                    1 => Death::BeforeSend,
                    _ => Death::Sending(self.rng.below(5)),
                });
            }
            4 => self.fail_over(),
            5..=8 => self.kill_something(),
            9 => self.mark_gone(agent),
            _ => self.ask_all(),
        }
    }

    fn pick_framework(&mut self) -> u32 {
        FRAMEWORKS + u32::try_from(self.rng.below(self.options.frameworks.into())).unwrap_or(0)
    }

    /// A second scheduler takes over while the first still has its stream.
    fn fail_over(&mut self) {
        let name = self.pick_framework();
        if let Some(framework) = self.frameworks.get_mut(&name)
            && framework.subscribed
        {
            framework.stream = None;
            self.subscribe(name);
        }
    }

    fn kill_something(&mut self) {
        let name = self.pick_framework();
        let Some(framework) = self.frameworks.get(&name) else { return };
        if let (Some(stream), true) = (framework.stream, framework.subscribed)
            && let Some(call) = framework.kill(&mut self.rng)
        {
            self.send_calls(name, stream, vec![call]);
        }
    }

    /// An operator gives an agent up. Rare: an agent that learns of it does not come back.
    fn mark_gone(&mut self, agent: u32) {
        if self.rng.below(4) != 0 {
            return;
        }
        let id = self.machines.get(&agent).and_then(|machine| {
            let agent = machine.agent.as_ref()?;
            agent.info().id.clone()
        });
        let Some(agent_id) = id else { return };
        let mut call = v1::master::Call::default();
        call.set_type(v1::master::call::Type::MarkAgentGone);
        call.mark_agent_gone = Some(v1::master::call::MarkAgentGone { agent_id });
        self.tell_master(Input::Operator {
            request: RequestId(0),
            principal: None,
            call: Box::new(call),
        });
    }

    fn ask(&mut self) {
        self.at(Duration::from_secs(30), Due::Ask);
        self.ask_all();
    }

    fn ask_all(&mut self) {
        let names: Vec<u32> = self.frameworks.keys().copied().collect();
        for name in names {
            let Some(framework) = self.frameworks.get(&name) else { continue };
            if let (Some(stream), true) = (framework.stream, framework.subscribed)
                && framework.open().next().is_some()
            {
                let call = framework.reconcile();
                self.send_calls(name, stream, vec![call]);
            }
        }
    }

    // What must hold

    fn check(&mut self) -> Result<(), String> {
        for framework in self.frameworks.values() {
            if let Some(contradiction) = &framework.contradiction {
                return Err(contradiction.clone());
            }
        }
        if !self.report.steps.is_multiple_of(self.options.audit_every) {
            return Ok(());
        }
        let mut running = BTreeMap::new();
        for machine in self.machines.values() {
            for (framework, task) in machine.containers.running() {
                if let Some(other) = running.insert((framework, task), machine.name) {
                    return Err(format!("task {task} runs on {other} and on {}", machine.name));
                }
            }
        }
        if let Some(master) = &self.master {
            master.audit()?;
        }
        self.check_store()
    }

    fn check_store(&mut self) -> Result<(), String> {
        for key in &self.forever {
            if !self.store.contains_key(key) {
                return Err(format!("the registry forgot {key}"));
            }
        }
        let kept = |key: &&String| key.starts_with("gone/") || key.starts_with("removed/");
        if self.store.keys().filter(kept).count() > self.forever.len() {
            self.forever = self.store.keys().filter(kept).cloned().collect();
        }
        // Reading the store back is costly.
        if self.report.steps.is_multiple_of(256)
            && let Some(master) = &self.master
        {
            let read = Registry::load(&self.store).map_err(|error| error.to_string())?;
            if read != *master.registry() {
                return Err("the store is not the registry".into());
            }
        }
        Ok(())
    }

    /// Who is where, for a person who looks at a failure.
    fn picture(&self) -> String {
        let agents = self.machines.values().map(|machine| {
            let state = machine.agent.as_ref().map(|agent| {
                let id = agent.info().id.as_ref().map_or("", |id| id.value.as_str());
                format!("{id} {:?}", agent.phase())
            });
            format!("agent {}: {}", machine.name, state.unwrap_or_else(|| "none".into()))
        });
        let agents = agents.collect::<Vec<_>>().join(", ");
        let Some(master) = &self.master else { return agents };
        let snapshot = master.snapshot();
        let here: Vec<_> =
            snapshot.agents.iter().map(|agent| (&agent.id, agent.connected)).collect();
        let away = &snapshot.unreachable_agents;
        format!(
            "{agents}; master has {here:?}, unreachable {away:?}, gone {:?}",
            snapshot.gone_agents
        )
    }

    /// What is not at rest; empty when everything is.
    fn unrest(&self) -> String {
        let Some(master) = &self.master else { return "no master".into() };
        for framework in self.frameworks.values() {
            if !framework.subscribed {
                return format!("framework {} is not subscribed", framework.name);
            }
            if let Some((task, known)) = framework.open().next() {
                return format!("task {task} is {}", known.state.as_str_name());
            }
        }
        for machine in self.machines.values() {
            if let Some((_, task)) = machine.containers.running().next() {
                return format!("task {task} runs on {}", machine.name);
            }
            match &machine.agent {
                None if !machine.left => return format!("agent {} is down", machine.name),
                None => {}
                Some(agent) => {
                    let executors = agent.frameworks().flat_map(|it| it.executors.values());
                    if let Some(executor) = executors.into_iter().next() {
                        return format!("agent {} has executor {}", machine.name, executor.id);
                    }
                }
            }
        }
        let snapshot = master.snapshot();
        let tasks = snapshot.frameworks.iter().flat_map(|framework| &framework.tasks);
        if let Some(task) = tasks.into_iter().next() {
            return format!("the master has task {} as {:?}", task.task_id, task.state());
        }
        match snapshot.agents.iter().find(|agent| !agent.used.is_empty()) {
            Some(agent) => format!("agent {} holds {:?} for nobody", agent.id, agent.used),
            None => String::new(),
        }
    }
}
