//! What a master must remember when it dies: admitted, unreachable and gone agents, frameworks,
//! machines and their schedule, quotas, weights, draining.
//!
//! A [`Registry`] changes only by [`Op`]s. Each gives the [`Write`]s that make it durable in any
//! store of keys and values; [`Registry::load`] reads them back:
//!
//! ```text
//! agent/<id>        Agent        admitted: may be registered, disconnected or not yet back
//! unreachable/<id>  Departed     lost, may come back
//! gone/<id>         Departed     must never come back
//! framework/<id>    Framework    with its failover timeout, so that it survives the master
//! removed/<id>      Departed     frameworks that must not come back with a returning agent
//! machine/<host>/<ip>  Machine   under maintenance
//! quota/<role>      Quota
//! weight/<role>     Weight
//! ```
//!
//! Values are protobuf messages of this module's own; unknown fields and keys of later versions are
//! kept out of harm's way by being ignored.

mod codec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesos_api::v1;

pub use codec::LoadError;

use crate::id::{AgentId, FrameworkId, Role};
use crate::resources::{Quantities, Scalar};
use crate::time::Time;

/// One change of the durable store: a value to put under a key, or none to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub value: Option<Vec<u8>>,
}

/// How far an agent is drained, and how it is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    pub max_grace_period: Option<Duration>,
    pub mark_gone: bool,
    /// Nothing runs there any more.
    pub drained: bool,
    pub started: Time,
}

/// An admitted agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedAgent {
    pub info: Arc<v1::AgentInfo>,
    /// An operator keeps offers from it.
    pub deactivated: bool,
    pub drain: Option<Drain>,
}

/// An agent that was lost.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreachableAgent {
    pub since: Time,
    /// Kept so that draining goes on when the agent comes back.
    pub agent: Option<AdmittedAgent>,
}

/// A machine, by host name and address as agents and operators give them.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId {
    pub hostname: String,
    pub ip: String,
}

/// Whether a machine's agents may work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineMode {
    /// Will be taken away as scheduled.
    Draining,
    /// Is taken away: its agents are refused.
    Down,
}

/// A machine under maintenance. Those that are not are not in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub mode: MachineMode,
    pub start: Time,
    /// None means until further notice.
    pub duration: Option<Duration>,
}

/// What a role is guaranteed and limited to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Quota {
    pub guarantees: Quantities,
    /// A resource that is not named has no limit; zero is a limit.
    pub limits: BTreeMap<Arc<str>, Scalar>,
}

/// A change of the registry.
#[derive(Debug, Clone)]
pub enum Op {
    Admit { id: AgentId, agent: AdmittedAgent },
    Remove(AgentId),
    MarkUnreachable { id: AgentId, now: Time },
    MarkReachable { id: AgentId, agent: AdmittedAgent },
    MarkGone { id: AgentId, now: Time },
    ForgetUnreachable(AgentId),
    ForgetGone(AgentId),
    SetFramework { id: FrameworkId, info: Arc<v1::FrameworkInfo> },
    RemoveFramework { id: FrameworkId, now: Time },
    SetMachine { id: MachineId, machine: Option<Machine> },
    SetQuota { role: Role, quota: Option<Quota> },
    SetWeight { role: Role, weight: f64 },
}

/// The durable state.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Registry {
    pub agents: BTreeMap<AgentId, AdmittedAgent>,
    pub unreachable: BTreeMap<AgentId, UnreachableAgent>,
    pub gone: BTreeMap<AgentId, Time>,
    pub frameworks: BTreeMap<FrameworkId, Arc<v1::FrameworkInfo>>,
    pub removed_frameworks: BTreeMap<FrameworkId, Time>,
    pub machines: BTreeMap<MachineId, Machine>,
    pub quotas: BTreeMap<Role, Quota>,
    pub weights: BTreeMap<Role, f64>,
}

/// How many removed frameworks are remembered. One is 50 bytes; a framework older than this many
/// others can only come back with an agent that was away all the time.
const REMOVED_FRAMEWORKS_MAX: usize = 10_000;

impl Registry {
    /// Reads a registry from all pairs of a store.
    ///
    /// # Errors
    /// Names the key whose value cannot be read.
    pub fn load<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, LoadError>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let mut registry = Self::default();
        for (key, value) in pairs {
            codec::load(&mut registry, key.as_ref(), value.as_ref())?;
        }
        Ok(registry)
    }

    /// Applies a change and tells what must be written for it.
    pub fn apply(&mut self, op: Op) -> Vec<Write> {
        match op {
            Op::Admit { id, agent } => self.admit(id, agent),
            Op::MarkReachable { id, agent } => {
                let mut writes = self.forget_unreachable(&id);
                writes.extend(self.admit(id, agent));
                writes
            }
            Op::Remove(id) => self.remove_agent(&id),
            Op::MarkUnreachable { id, now } => {
                let agent = self.agents.get(&id).cloned();
                let mut writes = self.remove_agent(&id);
                let lost = UnreachableAgent { since: now, agent };
                writes.push(codec::unreachable(&id, &lost));
                self.unreachable.insert(id, lost);
                writes
            }
            Op::MarkGone { id, now } => {
                let mut writes = self.remove_agent(&id);
                writes.extend(self.forget_unreachable(&id));
                writes.push(codec::departed("gone", id.as_str(), now));
                self.gone.insert(id, now);
                writes
            }
            Op::ForgetUnreachable(id) => self.forget_unreachable(&id),
            Op::ForgetGone(id) => {
                let known = self.gone.remove(&id).is_some();
                codec::delete_if(known, "gone", id.as_str())
            }
            Op::SetFramework { id, info } => {
                let write = codec::framework(&id, &info);
                self.frameworks.insert(id, info);
                vec![write]
            }
            Op::RemoveFramework { id, now } => self.remove_framework(id, now),
            Op::SetMachine { id, machine } => self.set_machine(id, machine),
            Op::SetQuota { role, quota } => self.set_quota(role, quota),
            Op::SetWeight { role, weight } => {
                let write = codec::weight(&role, weight);
                self.weights.insert(role, weight);
                vec![write]
            }
        }
    }

    fn admit(&mut self, id: AgentId, agent: AdmittedAgent) -> Vec<Write> {
        let write = codec::agent(&id, &agent);
        self.agents.insert(id, agent);
        vec![write]
    }

    fn remove_agent(&mut self, id: &AgentId) -> Vec<Write> {
        let known = self.agents.remove(id).is_some();
        codec::delete_if(known, "agent", id.as_str())
    }

    fn forget_unreachable(&mut self, id: &AgentId) -> Vec<Write> {
        let known = self.unreachable.remove(id).is_some();
        codec::delete_if(known, "unreachable", id.as_str())
    }

    fn remove_framework(&mut self, id: FrameworkId, now: Time) -> Vec<Write> {
        let known = self.frameworks.remove(&id).is_some();
        let mut writes = codec::delete_if(known, "framework", id.as_str());
        writes.push(codec::departed("removed", id.as_str(), now));
        self.removed_frameworks.insert(id, now);
        if self.removed_frameworks.len() > REMOVED_FRAMEWORKS_MAX {
            let oldest =
                self.removed_frameworks.iter().min_by_key(|(id, at)| (**at, (*id).clone()));
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.removed_frameworks.remove(&id);
                writes.extend(codec::delete_if(true, "removed", id.as_str()));
            }
        }
        writes
    }

    fn set_machine(&mut self, id: MachineId, machine: Option<Machine>) -> Vec<Write> {
        match machine {
            Some(machine) => {
                let write = codec::machine(&id, &machine);
                self.machines.insert(id, machine);
                vec![write]
            }
            None => {
                let known = self.machines.remove(&id).is_some();
                codec::delete_if(known, "machine", &codec::machine_key(&id))
            }
        }
    }

    fn set_quota(&mut self, role: Role, quota: Option<Quota>) -> Vec<Write> {
        match quota {
            Some(quota) => {
                let write = codec::quota(&role, &quota);
                self.quotas.insert(role, quota);
                vec![write]
            }
            None => {
                let known = self.quotas.remove(&role).is_some();
                codec::delete_if(known, "quota", role.as_str())
            }
        }
    }
}
