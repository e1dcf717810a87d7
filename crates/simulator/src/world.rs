//! One run: a storm, then a calm, and what must hold meanwhile and at the end.

mod agents;
mod checks;
mod frameworks;
mod master;
mod mishaps;
mod operator;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cluster::agent::Input as AgentInput;
use cluster::master::{Input, Master};
use cluster::rng::Rng;
use cluster::time::Time;
use cluster::wire::{FromAgent, ToAgent};
use mesos_api::v1::scheduler::{Call, Event};

use crate::agent::Machine;
use crate::framework::Framework;
use crate::network::{Network, Weather};

pub(crate) use operator::{ROLE, reserved};

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
    pub groups: u32,
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

/// So many steps without time passing have no end.
const STANDSTILL: u64 = 10_000;

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
        let mut still = 0;
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
            still = if next > self.now { 0 } else { still + 1 };
            if still > STANDSTILL {
                return Err(format!("time stands still: {}", self.picture()));
            }
            self.now = self.now.max(next);
            self.step()?;
        }
        self.report.tasks = self.frameworks.values().map(|it| it.tasks.len()).sum();
        self.report.groups = self.frameworks.values().map(|it| it.groups).sum();
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
}
