//! Agents: started, told, crashed, and their connections to the master.

use std::sync::Arc;
use std::time::Duration;

use cluster::agent::Input as AgentInput;
use cluster::master::Input;
use cluster::rng::Rng;
use cluster::time::Time;
use cluster::wire::{FromAgent, ToAgent};

use super::{Due, World};
use crate::agent::Machine;
use crate::network::Fate;

impl World {
    pub(super) fn start_agent(&mut self, name: u32) {
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

    /// Starts an agent again that was told to leave, unless it was told never to come back.
    pub(super) fn switch_on(&mut self, name: u32) {
        if let Some(machine) = self.machines.get_mut(&name)
            && machine.left
            && !machine.gone
        {
            machine.left = false;
            self.at(Duration::from_millis(10), Due::StartAgent(name));
        }
    }

    pub(super) fn tell_agent(&mut self, name: u32, input: AgentInput) {
        self.with_agent(name, |machine, now, rng| machine.handle(now, input, rng));
    }

    /// Lets an agent do something, sends what it says, and notices when it dies of it.
    pub(super) fn with_agent(
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

    pub(super) fn agent_link_broke(&mut self, name: u32) {
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

    pub(super) fn send_to_agent(&mut self, pid: &Arc<str>, message: Box<ToAgent>) {
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
}
