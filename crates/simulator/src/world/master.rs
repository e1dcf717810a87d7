//! The master: elected, told, and dying half-way through what it does.

use std::time::Duration;

use cluster::agent::Input as AgentInput;
use cluster::master::{Config, Input, Master, Output, Reply, Send};
use cluster::registry::Registry;
use mesos_api::v1;

use super::{Death, Due, World, party_of};

impl World {
    pub(super) fn elect(&mut self) {
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

    pub(super) fn tell_master(&mut self, input: Input) {
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
}
