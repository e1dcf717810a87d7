//! A machine with an agent: the real core, its disk, its containers.

use std::sync::Arc;
use std::time::Duration;

use cluster::agent::{Agent, Config, Input, Output, Record};
use cluster::id::Role;
use cluster::resources::{Format, Resources};
use cluster::rng::Rng;
use cluster::time::Time;
use cluster::wire::FromAgent;
use mesos_api::v1;

use crate::containers::Containers;
use crate::disk::Disk;

/// Processors that a machine can have at most, in halves.
const HALVES_MAX: u64 = 6;

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: u32,
    pub(crate) pid: Arc<str>,
    pub(crate) agent: Option<Agent>,
    disk: Disk,
    pub(crate) containers: Containers,
    seed: u64,
    /// Outputs that are still done before the agent dies; none while it lives on.
    pub(crate) dies_after: Option<u64>,
    /// The master sent it away.
    pub(crate) left: bool,
    /// An operator gave it up for good.
    pub(crate) gone: bool,
    /// Its processors, in halves: it gets more of them while its agent is down.
    halves: u64,
}

impl Machine {
    pub(crate) fn new(name: u32, rng: &mut Rng) -> Self {
        Self {
            name,
            pid: format!("slave(1)@10.0.0.{name}:5051").into(),
            agent: None,
            disk: Disk::default(),
            containers: Containers::default(),
            seed: rng.next_u64(),
            dies_after: None,
            left: false,
            gone: false,
            halves: 2,
        }
    }

    fn config(&self) -> Config {
        Config {
            info: v1::AgentInfo {
                hostname: format!("host{}", self.name),
                resources: self.resources().to_wire(Format::Refined),
                checkpoint: Some(true),
                ..v1::AgentInfo::default()
            },
            pid: self.pid.to_string(),
            ip: format!("10.0.0.{}", self.name),
            version: "1.11.0".into(),
            seed: self.seed,
            registration_backoff: Duration::from_secs(1),
            authentication: None,
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace: Duration::from_secs(5),
            max_completed_executors: 150,
        }
    }

    /// All that the machine has.
    pub(crate) fn resources(&self) -> Resources {
        let cpus = format!("cpus:{}.{}", self.halves / 2, self.halves % 2 * 5);
        let text = format!("{cpus};mem:1024;disk:1024;ports:[31000-31100]");
        Resources::parse(&text, &Role::star()).unwrap_or_default()
    }

    /// Starts an agent on what the disk has. Now and then there is more of the machine than before,
    /// which `--reconfiguration_policy=additive` lets the agent tell its master.
    pub(crate) fn start(&mut self, now: Time, rng: &mut Rng) -> Vec<FromAgent> {
        self.seed = self.seed.wrapping_add(1);
        if self.halves < HALVES_MAX && rng.one_in(4) {
            self.halves += 1;
        }
        if let Some(known) = self.disk.recover().info {
            let info = v1::AgentInfo { id: known.id, ..self.config().info };
            self.disk.write(Record::Agent(info));
        }
        let (agent, outputs) = Agent::recover(self.config(), now, self.disk.recover());
        self.agent = Some(agent);
        let mut sent = self.carry_out(now, outputs, rng);
        sent.extend(self.handle(now, Input::Master(true), rng));
        sent
    }

    /// The agent's process dies; its containers do not.
    pub(crate) fn crash(&mut self) {
        self.agent = None;
        self.dies_after = None;
        self.containers.unwatch();
    }

    pub(crate) fn handle(&mut self, now: Time, input: Input, rng: &mut Rng) -> Vec<FromAgent> {
        let Some(agent) = &mut self.agent else { return Vec::new() };
        let outputs = agent.handle(now, input);
        self.carry_out(now, outputs, rng)
    }

    /// Containers' events and the agent's timers.
    pub(crate) fn advance(&mut self, now: Time, rng: &mut Rng) -> Vec<FromAgent> {
        let mut sent = Vec::new();
        for (framework, executor, container, event) in self.containers.advance(now, rng) {
            let input = Input::Container { framework, executor, container, event };
            sent.extend(self.handle(now, input, rng));
        }
        if self.agent.as_ref().and_then(Agent::next_tick).is_some_and(|due| due <= now) {
            sent.extend(self.handle(now, Input::Tick, rng));
        }
        sent
    }

    pub(crate) fn next(&self) -> Option<Time> {
        let agent = self.agent.as_ref().and_then(Agent::next_tick);
        [agent, self.containers.next()].into_iter().flatten().min()
    }

    fn carry_out(&mut self, now: Time, outputs: Vec<Output>, rng: &mut Rng) -> Vec<FromAgent> {
        let mut sent = Vec::new();
        for output in outputs {
            if let Some(left) = &mut self.dies_after {
                if *left == 0 {
                    self.crash();
                    return sent;
                }
                *left -= 1;
            }
            match output {
                Output::Persist(record) => self.disk.write(*record),
                Output::Send(message) => sent.push(*message),
                Output::Launch(launch) => self.containers.launch(now, &launch, rng),
                Output::Reattach(launch) => {
                    let (framework, executor, container, event) = self.containers.reattach(&launch);
                    let input = Input::Container { framework, executor, container, event };
                    sent.extend(self.handle(now, input, rng));
                }
                Output::Stop { container, .. } | Output::Destroy { container } => {
                    self.containers.stop(now, &container, rng);
                }
                // No custom executors here, and no limits that anybody checks.
                // Nobody asks for a proof here.
                Output::Authenticate
                | Output::Executor { .. }
                | Output::Remove { .. }
                | Output::Resize { .. }
                | Output::MakeVolume(_)
                | Output::DeleteVolume(_) => {}
                Output::Exit(_) => {
                    self.crash();
                    return sent;
                }
                Output::Leave(_) => {
                    self.containers.destroy_all();
                    self.crash();
                    self.left = true;
                    return sent;
                }
            }
        }
        sent
    }
}
