//! An agent as the master knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesos_api::v1;

use crate::capability::AgentCapabilities;
use crate::id::{AgentId, ExecutorId, FrameworkId, TaskId};
use crate::registry::MachineId;
use crate::resources::{Format, Resources};
use crate::time::Time;

/// An executor on an agent.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    pub(super) info: Arc<v1::ExecutorInfo>,
    pub(super) resources: Resources,
    /// Tasks that may yet start it: it was unknown to its agent when that came back, and so were
    /// these. Empty: it is there.
    pub(super) awaited: BTreeSet<TaskId>,
}

/// How the agent answers pings.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Which ping timer is meant.
    pub(super) generation: u64,
    pub(super) awaiting_pong: bool,
    pub(super) missed: u32,
    /// Set while the agent waits for its turn to be marked unreachable.
    pub(super) removal: Option<u64>,
}

/// An agent that is registered: admitted, and back since this master started.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) info: Arc<v1::AgentInfo>,
    pub(super) pid: Arc<str>,
    pub(super) version: String,
    pub(super) capabilities: AgentCapabilities,
    pub(super) capabilities_wire: Vec<v1::agent_info::Capability>,
    pub(super) machine: MachineId,
    /// The link to it stands.
    pub(super) connected: bool,
    pub(super) registered: Time,
    pub(super) reregistered: Option<Time>,
    /// Everything it has, as reserved and with its volumes.
    pub(super) total: Resources,
    pub(super) tasks: BTreeSet<(FrameworkId, TaskId)>,
    pub(super) executors: BTreeMap<(FrameworkId, ExecutorId), Executor>,
    /// What tasks and executors hold, by framework.
    pub(super) used: BTreeMap<FrameworkId, Resources>,
    pub(super) offers: BTreeSet<u64>,
    pub(super) inverse_offers: BTreeSet<u64>,
    pub(super) operations: BTreeSet<[u8; 16]>,
    pub(super) resource_version: Option<v1::Uuid>,
    pub(super) health: Health,
    /// Which reregistration timer is meant.
    pub(super) generation: u64,
    /// Tasks to be killed as soon as the agent is back.
    pub(super) killed: BTreeSet<(FrameworkId, TaskId)>,
}

impl Agent {
    pub(super) const fn format(&self) -> Format {
        if self.capabilities.reservation_refinement { Format::Refined } else { Format::Plain }
    }

    pub(super) fn use_more(&mut self, framework: &FrameworkId, resources: &Resources) {
        self.used.entry(framework.clone()).or_default().add_all(resources);
    }

    pub(super) fn use_less(&mut self, framework: &FrameworkId, resources: &Resources) {
        if let Some(used) = self.used.get_mut(framework) {
            used.subtract_all(resources);
            if used.is_empty() {
                self.used.remove(framework);
            }
        }
    }

    /// What was reserved while it runs, and its volumes: what it has to keep.
    pub(super) fn checkpointed(&self) -> Resources {
        self.total.filter(|it| it.is_dynamically_reserved() || it.is_persistent_volume())
    }

    /// What all frameworks hold here.
    pub(super) fn all_used(&self) -> Resources {
        let mut sum = Resources::new();
        for used in self.used.values() {
            sum.add_all(used);
        }
        sum
    }
}

/// The parts of a libprocess pid: `slave(1)@10.0.0.1:5051`.
pub(super) fn split_pid(pid: &str) -> (&str, &str, u16) {
    let (name, address) = pid.split_once('@').unwrap_or(("", pid));
    let (ip, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (name, ip.trim_matches(['[', ']']), port.parse().unwrap_or(0))
}
