//! Agents come for the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesos_api::internal;
use mesos_api::v1;

use super::Master;
use super::agent::{Agent, Health, split_pid};
use super::output::{Change, Send};
use crate::capability::AgentCapabilities;
use crate::id::AgentId;
use crate::registry::{AdmittedAgent, MachineId, Op};
use crate::resources::Resources;
use crate::wire::ToAgent;

/// Agents before this version speak of tasks in ways that are no longer understood.
const OLDEST_MAJOR_VERSION: u32 = 1;

/// What a registration says, whichever of the two messages it came in.
pub(super) struct Arrival {
    pub(super) pid: Arc<str>,
    pub(super) info: Arc<v1::AgentInfo>,
    pub(super) checkpointed: Vec<v1::Resource>,
    pub(super) version: String,
    pub(super) capabilities: Vec<v1::agent_info::Capability>,
    pub(super) resource_version: Option<v1::Uuid>,
}

impl Arrival {
    /// Everything the agent has: what it was started with, as reserved since.
    pub(super) fn total(&self) -> Result<Resources, String> {
        let started = Resources::from_wire(&self.info.resources)?;
        let checkpointed = Resources::from_wire(&self.checkpointed)?;
        Ok(with_checkpointed(started, &checkpointed))
    }

    pub(super) fn machine(&self) -> MachineId {
        let (_, ip, _) = split_pid(&self.pid);
        MachineId { hostname: self.info.hostname.clone(), ip: ip.to_owned() }
    }
}

/// Replaces the plain part of each dynamically reserved resource or volume by it. One that the
/// agent no longer has the plain part of is left out: the agent must not be offered for more than
/// it has.
fn with_checkpointed(mut total: Resources, checkpointed: &Resources) -> Resources {
    for resource in checkpointed {
        let mut plain = resource.clone();
        while plain.is_dynamically_reserved() {
            plain.reservations.pop();
        }
        if let Some(disk) = &plain.disk {
            let mut disk = (**disk).clone();
            (disk.persistence, disk.volume) = (None, None);
            plain.disk = disk.source.is_some().then(|| Arc::new(disk));
        }
        plain.shared = false;
        if total.contains_one(resource) && plain == *resource {
            continue;
        }
        if total.contains_one(&plain) {
            total.subtract(&plain);
            total.add(resource);
        }
    }
    total
}

impl Master {
    pub(super) fn register(&mut self, pid: Arc<str>, message: internal::RegisterSlaveMessage) {
        if message.agent.id.is_some() {
            // An agent with an id reregisters.
            self.counters.messages_dropped += 1;
            return;
        }
        let mut arrival = Arrival {
            pid,
            info: Arc::new(message.agent),
            checkpointed: message.checkpointed_resources,
            version: message.version.unwrap_or_default(),
            capabilities: message.agent_capabilities,
            resource_version: message.resource_version_uuid,
        };
        let total = match self.admit(&arrival) {
            Ok(total) => total,
            Err(None) => return,
            Err(Some(refusal)) => return self.send_away(arrival.pid, refusal),
        };
        if let Some(id) = self.pids.get(&arrival.pid).cloned() {
            if self.agents.get(&id).is_some_and(|agent| agent.connected) {
                // Our answer was lost, or is on its way.
                return self.send_registered(&id);
            }
            // The agent forgot who it was: what it ran then is lost.
            self.remove_replaced(&id);
        }
        let id = AgentId::from(format!("{}-S{}", self.config.info.id, self.next_agent));
        self.next_agent += 1;
        Arc::make_mut(&mut arrival.info).id = Some((&id).into());
        let info = arrival.info.clone();
        let agent = AdmittedAgent { info, deactivated: false, drain: None };
        self.persist(Op::Admit { id: id.clone(), agent });
        self.counters.agent_registrations += 1;
        self.insert_agent(&id, arrival, total);
        self.send_registered(&id);
        self.allocator_add(&id);
        self.publish(Change::AgentAdded(id));
    }

    /// Whether an agent may be part of the cluster, and with what. The error is what it is told;
    /// none when it is not worth an answer.
    pub(super) fn admit(&mut self, arrival: &Arrival) -> Result<Resources, Option<String>> {
        let major = arrival.version.split('.').next().and_then(|part| part.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST_MAJOR_VERSION) {
            self.counters.messages_dropped += 1;
            return Err(None);
        }
        if self.is_down(&arrival.machine()) {
            return Err(Some("Machine is `DOWN`".into()));
        }
        if self.config.require_agent_domain && arrival.info.domain.is_none() {
            return Err(Some(
                "A domain is required of agents here, and none is set: start the agent with \
                 --domain"
                    .into(),
            ));
        }
        if arrival.info.domain.is_some() && self.config.info.domain.is_none() {
            return Err(Some(
                "The agent has a domain and the master has none: start the master with --domain"
                    .into(),
            ));
        }
        arrival.total().map_err(|error| Some(format!("The agent's resources are invalid: {error}")))
    }

    pub(super) fn send_away(&mut self, pid: Arc<str>, message: String) {
        let message = internal::ShutdownMessage { message: Some(message) };
        self.tell_pid(pid, ToAgent::Shutdown(message));
    }

    /// Enters an agent into the books and starts to watch over it.
    pub(super) fn insert_agent(&mut self, id: &AgentId, arrival: Arrival, total: Resources) {
        let agent = Agent {
            id: id.clone(),
            machine: arrival.machine(),
            info: arrival.info,
            pid: arrival.pid.clone(),
            version: arrival.version,
            capabilities: AgentCapabilities::of(&arrival.capabilities),
            capabilities_wire: arrival.capabilities,
            connected: true,
            registered: self.now,
            reregistered: None,
            total,
            tasks: BTreeSet::new(),
            executors: BTreeMap::new(),
            used: BTreeMap::new(),
            offers: BTreeSet::new(),
            inverse_offers: BTreeSet::new(),
            operations: BTreeSet::new(),
            resource_version: arrival.resource_version,
            health: Health::default(),
            generation: 0,
            killed: BTreeSet::new(),
        };
        self.agents.insert(id.clone(), agent);
        self.pids.insert(arrival.pid.clone(), id.clone());
        self.out.send.push(Send::Link { pid: arrival.pid });
        self.watch(id);
    }

    /// Makes an agent known to the allocator, with what is used there.
    pub(super) fn allocator_add(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let (info, total) = (agent.info.clone(), agent.total.clone());
        self.allocator.add_agent(id, info, agent.capabilities, total, &agent.used);
        self.refresh_activity(id);
    }

    /// Offers from an agent are made while its link stands and no operator keeps it back.
    pub(super) fn refresh_activity(&mut self, id: &AgentId) {
        let connected = self.agents.get(id).is_some_and(|agent| agent.connected);
        let kept_back = self
            .registry
            .agents
            .get(id)
            .is_some_and(|agent| agent.deactivated || agent.drain.is_some());
        self.allocator.set_agent_active(id, connected && !kept_back);
    }

    pub(super) fn send_registered(&mut self, id: &AgentId) {
        let message = internal::SlaveRegisteredMessage {
            agent_id: id.into(),
            connection: Some(self.connection()),
        };
        self.tell_agent(id, ToAgent::Registered(message));
    }

    /// How long an agent waits for our pings before it thinks that it is alone.
    pub(super) fn connection(&self) -> internal::MasterSlaveConnection {
        let timeout = self.config.agent_ping_timeout * self.config.max_agent_ping_timeouts;
        internal::MasterSlaveConnection { total_ping_timeout_seconds: Some(timeout.as_secs_f64()) }
    }
}
