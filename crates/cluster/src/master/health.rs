//! Watching over agents: pings, broken links, and who may be given up when.

use std::time::Duration;

use mesos_api::internal;

use super::Master;
use super::output::Change;
use super::remove::Removal;
use super::timer::Timer;
use crate::id::AgentId;
use crate::registry::Op;
use crate::time::Time;
use crate::wire::ToAgent;

impl Master {
    /// Starts to ping an agent.
    pub(super) fn watch(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.health.generation += 1;
        let timer = Timer::Ping { agent: id.clone(), generation: agent.health.generation };
        // Spread over the interval, so that not all agents are asked at once.
        let interval = u64::try_from(self.config.agent_ping_timeout.as_nanos()).unwrap_or(u64::MAX);
        let first = Duration::from_nanos(interval / 2 + self.rng.below(interval.max(2) / 2));
        self.timers.set(self.now + first, timer);
    }

    pub(super) fn ping_due(&mut self, id: &AgentId, generation: u64) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.health.generation != generation {
            return;
        }
        if agent.health.awaiting_pong {
            agent.health.missed += 1;
            if agent.health.missed >= self.config.max_agent_ping_timeouts {
                self.give_up(id);
            }
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.health.awaiting_pong = true;
        let ping = internal::PingSlaveMessage { connected: agent.connected };
        let pid = agent.pid.clone();
        self.tell_pid(pid, ToAgent::Ping(ping));
        let timer = Timer::Ping { agent: id.clone(), generation };
        self.timers.set(self.now + self.config.agent_ping_timeout, timer);
    }

    pub(super) fn pong(&mut self, pid: &str) {
        let Some(agent) = self.pids.get(pid).and_then(|id| self.agents.get_mut(id)) else { return };
        agent.health.awaiting_pong = false;
        agent.health.missed = 0;
        // An agent that answers while it waits for its turn to be given up is spared.
        if agent.health.removal.take().is_some() {
            self.counters.agents_spared += 1;
        }
    }

    /// Marks an agent unreachable as soon as the rate limit allows.
    fn give_up(&mut self, id: &AgentId) {
        let at = self.removal_turn();
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.health.removal.is_some() {
            return;
        }
        self.counters.agents_to_be_unreachable += 1;
        if at <= self.now {
            return self.remove_agent(id, Removal::Unreachable, "health check timed out");
        }
        agent.health.removal = Some(agent.health.generation);
        let timer = Timer::Remove { agent: id.clone(), generation: agent.health.generation };
        self.timers.set(at, timer);
    }

    /// When the next agent may be given up.
    fn removal_turn(&mut self) -> Time {
        let Some(interval) = self.config.agent_removal_interval else { return self.now };
        let at = self.next_removal.max(self.now);
        self.next_removal = at + interval;
        at
    }

    pub(super) fn removal_due(&mut self, id: &AgentId, generation: u64) {
        let meant =
            self.agents.get(id).is_some_and(|agent| agent.health.removal == Some(generation));
        if meant {
            self.remove_agent(id, Removal::Unreachable, "health check timed out");
        }
    }

    /// The link to an agent broke: its process may have ended, or only the connection. It gets no
    /// offers and no tasks until it registers again, which pings that say "disconnected" make it do.
    pub(super) fn agent_link_broke(&mut self, pid: &str) {
        let Some(id) = self.pids.get(pid).cloned() else { return };
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| agent.connected) else { return };
        agent.connected = false;
        agent.generation += 1;
        let timer = Timer::Reregister { agent: id.clone(), generation: agent.generation };
        self.timers.set(self.now + self.config.agent_reregister_timeout, timer);
        self.refresh_activity(&id);
        self.rescind_agent(&id);
        self.lose_without_checkpoint(&id);
    }

    pub(super) fn reregister_due(&mut self, id: &AgentId, generation: u64) {
        let meant = self
            .agents
            .get(id)
            .is_some_and(|agent| agent.generation == generation && !agent.connected);
        if meant {
            self.give_up_disconnected(id);
        }
    }

    fn give_up_disconnected(&mut self, id: &AgentId) {
        let at = self.removal_turn();
        if at <= self.now {
            let why = "agent did not re-register within the agent_reregister_timeout after \
                       disconnecting";
            return self.remove_agent(id, Removal::Unreachable, why);
        }
        if let Some(agent) = self.agents.get_mut(id) {
            let timer = Timer::Reregister { agent: id.clone(), generation: agent.generation };
            self.timers.set(at, timer);
        }
    }

    /// Agents of the registry that did not come back in time are unreachable.
    pub(super) fn recovered_due(&mut self) {
        for id in self.recovered.clone() {
            let at = self.removal_turn();
            if at <= self.now {
                self.recovered_removal_due(&id);
            } else {
                self.timers.set(at, Timer::RemoveRecovered(id));
            }
        }
    }

    pub(super) fn recovered_removal_due(&mut self, id: &AgentId) {
        if !self.recovered.remove(id) {
            return;
        }
        self.counters.agents_unreachable += 1;
        self.counters.recovered_agents_unreachable += 1;
        self.persist(Op::MarkUnreachable { id: id.clone(), now: self.now });
        self.send_failure(id);
        self.drained_while_away(id);
        self.publish(Change::AgentRemoved(id.clone()));
    }

    /// Forgets the oldest of the unreachable and gone agents.
    pub(super) fn registry_gc(&mut self) {
        let oldest = self.now - self.config.registry_max_agent_age;
        let count = self.config.registry_max_agent_count;
        let unreachable =
            self.registry.unreachable.iter().map(|(id, lost)| (lost.since, id.clone()));
        for id in expired(unreachable.collect(), oldest, count) {
            self.persist(Op::ForgetUnreachable(id));
        }
        let gone = self.registry.gone.iter().map(|(id, since)| (*since, id.clone()));
        for id in expired(gone.collect(), oldest, count) {
            self.persist(Op::ForgetGone(id));
        }
        self.timers.set(self.now + self.config.registry_gc_interval, Timer::RegistryGc);
    }
}

/// Those that are too old, and the oldest of those that are too many.
fn expired(mut items: Vec<(Time, AgentId)>, oldest: Time, count: usize) -> Vec<AgentId> {
    items.sort_unstable();
    let surplus = items.len().saturating_sub(count);
    items
        .into_iter()
        .enumerate()
        .filter(|(i, (since, _))| *i < surplus || *since < oldest)
        .map(|(_, (_, id))| id)
        .collect()
}
