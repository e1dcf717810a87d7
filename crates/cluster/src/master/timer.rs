//! Timers as a table of what is due when. A timer whose cause is gone is not removed: whoever it is
//! for recognises by a generation number that it is no longer meant.

use std::collections::BTreeMap;

use crate::id::{AgentId, FrameworkId};
use crate::time::Time;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Timer {
    /// Ask an agent whether it is there, and count that it did not answer the last time.
    Ping { agent: AgentId, generation: u64 },
    /// An agent whose link broke has not registered again.
    Reregister { agent: AgentId, generation: u64 },
    /// An agent may be marked unreachable now (see `agent_removal_interval`).
    Remove { agent: AgentId, generation: u64 },
    /// Agents known from the registry have had the time to come back.
    RecoveredAgents,
    /// One of them may be marked unreachable now.
    RemoveRecovered(AgentId),
    /// A disconnected framework has had the time to come back.
    Failover { framework: FrameworkId, generation: u64 },
    /// An offer is too old.
    Offer(u64),
    /// The registry's old entries go.
    RegistryGc,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(Time, u64), Timer>,
    next: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.due.insert((at, self.next), timer);
        self.next += 1;
    }

    /// The time of the first timer.
    pub(super) fn first(&self) -> Option<Time> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
