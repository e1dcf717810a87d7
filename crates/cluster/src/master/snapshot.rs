//! What readers see: a picture of everything at one moment, cheap to take and free to keep.
//!
//! Tasks, descriptions and resources are shared with the master, which copies one when it changes
//! it. What can be computed from the picture is computed by the reader, not by the master.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use mesos_api::v1;

use super::agent::Agent;
use super::counters::{Counters, FrameworkCounters};
use super::framework::{Framework, Link};
use super::offer::OfferParts;
use super::{Config, Master};
use crate::id::{AgentId, ExecutorId, FrameworkId, OfferId, Role};
use crate::registry::{Drain, Quota};
use crate::resources::{Format, Quantities, Resources};
use crate::role;
use crate::time::Time;

/// An executor on an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorSnapshot {
    pub framework_id: FrameworkId,
    pub info: Arc<v1::ExecutorInfo>,
    pub resources: Resources,
}

/// What stays true of an agent while tasks and offers come and go.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentFacts {
    pub id: AgentId,
    pub info: Arc<v1::AgentInfo>,
    pub pid: Arc<str>,
    pub version: String,
    pub capabilities: Vec<v1::agent_info::Capability>,
    pub registered: Time,
    pub reregistered: Option<Time>,
    pub total: Resources,
    /// For whoever shows all agents over and over.
    pub memo: Memo<3>,
}

impl AgentFacts {
    pub(super) fn of(agent: &Agent) -> Self {
        Self {
            id: agent.id.clone(),
            info: agent.info.clone(),
            pid: agent.pid.clone(),
            version: agent.version.clone(),
            capabilities: agent.capabilities_wire.clone(),
            registered: agent.registered,
            reregistered: agent.reregistered,
            total: agent.total.clone(),
            memo: Memo::default(),
        }
    }

    /// Whether all this is true of the agent still.
    pub(super) fn hold_for(&self, agent: &Agent) -> bool {
        self.id == agent.id
            && Arc::ptr_eq(&self.info, &agent.info)
            && Arc::ptr_eq(&self.pid, &agent.pid)
            && self.version == agent.version
            && self.capabilities == agent.capabilities_wire
            && self.registered == agent.registered
            && self.reregistered == agent.reregistered
            && self.total == agent.total
    }
}

/// A registered agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSnapshot {
    pub facts: Arc<AgentFacts>,
    pub connected: bool,
    /// Its resources may be offered.
    pub active: bool,
    pub deactivated: bool,
    pub drain: Option<Drain>,
    /// What tasks and executors hold, by framework, marked with their roles.
    pub used: BTreeMap<FrameworkId, Resources>,
    pub offered: Resources,
    pub executors: Vec<ExecutorSnapshot>,
    pub unavailability: Option<v1::Unavailability>,
}

/// Room in a picture for the texts that a reader made of it, so that the next one need not make
/// them again. It says nothing of what the picture shows: all are equal.
#[derive(Debug, Default, Clone)]
pub struct Memo<const N: usize>(OnceLock<[Box<str>; N]>);

impl<const N: usize> Memo<N> {
    /// The texts, which are made if nobody has made them yet.
    pub fn get_or_make(&self, make: impl FnOnce() -> [String; N]) -> &[Box<str>; N] {
        self.0.get_or_init(|| make().map(String::into_boxed_str))
    }
}

impl<const N: usize> PartialEq for Memo<N> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An agent known from the registry that has not come back yet.
#[derive(Debug, Clone)]
pub struct RecoveredAgentSnapshot {
    pub id: AgentId,
    pub info: Arc<v1::AgentInfo>,
}

/// An offer that is out.
#[derive(Debug, Clone)]
pub struct OfferSnapshot {
    pub id: OfferId,
    pub agent_id: AgentId,
    pub role: Role,
    pub resources: Resources,
    pub made: Time,
}

/// A framework, live or completed.
#[derive(Debug, Clone)]
pub struct FrameworkSnapshot {
    pub id: FrameworkId,
    pub info: Arc<v1::FrameworkInfo>,
    pub link: Link,
    pub roles: BTreeSet<Role>,
    pub suppressed: BTreeSet<Role>,
    pub registered: Time,
    pub reregistered: Option<Time>,
    /// When it ended; none for a live one.
    pub unregistered: Option<Time>,
    pub tasks: Vec<Arc<v1::Task>>,
    pub unreachable_tasks: Vec<Arc<v1::Task>>,
    pub completed_tasks: Vec<Arc<v1::Task>>,
    /// Tasks that were never started, with the reason.
    pub refused_tasks: Vec<Arc<v1::Task>>,
    pub offers: Vec<OfferSnapshot>,
    pub inverse_offers: Vec<v1::InverseOffer>,
    pub offer_constraints: Option<Arc<v1::scheduler::OfferConstraints>>,
    pub counters: FrameworkCounters,
}

impl FrameworkSnapshot {
    /// Whether somebody listens.
    pub const fn is_connected(&self) -> bool {
        matches!(self.link, Link::Connected(_))
    }

    /// Whether it is known only from the registry or from agents.
    pub const fn is_recovered(&self) -> bool {
        matches!(self.link, Link::Recovered)
    }

    /// What is offered to it.
    pub fn offered(&self) -> Resources {
        let mut sum = Resources::new();
        for offer in &self.offers {
            sum.add_all(&offer.resources);
        }
        sum
    }
}

/// A framework that has ended, as it is kept.
#[derive(Debug, Clone)]
pub(super) struct CompletedFramework {
    pub(super) snapshot: Arc<FrameworkSnapshot>,
}

impl CompletedFramework {
    pub(super) fn new(framework: Framework, now: Time) -> Self {
        let mut snapshot = picture(&framework);
        snapshot.link = Link::Disconnected;
        snapshot.unregistered = Some(now);
        Self { snapshot: Arc::new(snapshot) }
    }
}

/// A role as `/roles` shows it.
#[derive(Debug, Clone, Default)]
pub struct RoleSnapshot {
    pub weight: f64,
    pub quota: Option<Quota>,
    pub frameworks: BTreeSet<FrameworkId>,
    /// Used by tasks and executors, and offered, of this role and those below it.
    pub allocated: Resources,
    pub offered: Resources,
    pub reserved: Resources,
    /// What counts against the quota.
    pub consumed: Quantities,
    /// The largest part that it has of any resource, over its weight: the smaller, the sooner it is
    /// offered more.
    pub share: f64,
    /// Offers that its frameworks refused for a time.
    pub filters: usize,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub now: Time,
    pub started: Time,
    pub config: Arc<Config>,
    pub agents: Vec<Arc<AgentSnapshot>>,
    pub recovered_agents: Vec<RecoveredAgentSnapshot>,
    pub unreachable_agents: Vec<(AgentId, Time)>,
    pub gone_agents: Vec<(AgentId, Time)>,
    pub frameworks: Vec<FrameworkSnapshot>,
    pub completed_frameworks: Vec<Arc<FrameworkSnapshot>>,
    pub operations: Vec<v1::Operation>,
    pub weights: BTreeMap<Role, f64>,
    pub quotas: BTreeMap<Role, Quota>,
    pub filters: BTreeMap<Role, usize>,
    /// Something may be offered and was not looked at yet.
    pub allocation_due: bool,
    pub schedule: v1::maintenance::Schedule,
    pub maintenance: v1::maintenance::ClusterStatus,
    pub counters: Counters,
}

impl Master {
    /// Takes a picture. Costs a reference count per agent and task, and a few for each agent that
    /// changed since the last one.
    pub fn snapshot(&self) -> Snapshot {
        let mut weights = self.config.weights.clone();
        weights.extend(self.registry.weights.clone());
        Snapshot {
            now: self.now,
            started: self.started,
            config: Arc::new(self.config.clone()),
            agents: self
                .agents
                .pictures(|agent, facts| self.paint(agent, facts))
                .cloned()
                .collect(),
            recovered_agents: self
                .recovered
                .iter()
                .filter_map(|id| {
                    let agent = self.registry.agents.get(id)?;
                    Some(RecoveredAgentSnapshot { id: id.clone(), info: agent.info.clone() })
                })
                .collect(),
            unreachable_agents: self
                .registry
                .unreachable
                .iter()
                .map(|(id, lost)| (id.clone(), lost.since))
                .collect(),
            gone_agents: self.registry.gone.iter().map(|(id, at)| (id.clone(), *at)).collect(),
            frameworks: self
                .frameworks
                .keys()
                .filter_map(|id| self.framework_snapshot(id))
                .collect(),
            completed_frameworks: self.completed.iter().map(|it| it.snapshot.clone()).collect(),
            operations: self.operations.values().map(|operation| operation.wire.clone()).collect(),
            weights,
            quotas: self.registry.quotas.clone(),
            filters: self.allocator.filters(),
            allocation_due: self.allocator.wants_run(),
            schedule: self.schedule_wire(),
            maintenance: self.maintenance_status_wire(),
            counters: self.counters.clone(),
        }
    }

    /// A picture of one agent.
    pub fn agent_snapshot(&self, id: &AgentId) -> Option<AgentSnapshot> {
        self.agents.get(id).map(|agent| self.paint_anew(agent))
    }

    pub(super) fn paint_anew(&self, agent: &Agent) -> AgentSnapshot {
        self.paint(agent, Arc::new(AgentFacts::of(agent)))
    }

    fn paint(&self, agent: &Agent, facts: Arc<AgentFacts>) -> AgentSnapshot {
        let id = &agent.id;
        let admitted = self.registry.agents.get(id);
        let deactivated = admitted.is_some_and(|agent| agent.deactivated);
        let mut offered = Resources::new();
        for number in &agent.offers {
            if let Some(offer) = self.offers.get(number) {
                offered.add_all(&offer.resources);
            }
        }
        AgentSnapshot {
            facts,
            connected: agent.connected,
            active: agent.connected && !deactivated,
            deactivated,
            drain: admitted.and_then(|agent| agent.drain.clone()),
            used: agent.used.clone(),
            offered,
            executors: agent
                .executors
                .iter()
                .map(|((framework, _), executor)| ExecutorSnapshot {
                    framework_id: framework.clone(),
                    info: executor.info.clone(),
                    resources: executor.resources.clone(),
                })
                .collect(),
            unavailability: self.unavailability_wire(&agent.machine),
        }
    }

    /// A picture of one live framework.
    pub fn framework_snapshot(&self, id: &FrameworkId) -> Option<FrameworkSnapshot> {
        let framework = self.frameworks.get(id)?;
        let mut snapshot = picture(framework);
        snapshot.offers = framework
            .offers
            .iter()
            .filter_map(|number| {
                let offer = self.offers.get(number)?;
                Some(OfferSnapshot {
                    id: self.offer_id(*number),
                    agent_id: offer.agent.clone(),
                    role: offer.role.clone(),
                    resources: offer.resources.clone(),
                    made: offer.made,
                })
            })
            .collect();
        snapshot.inverse_offers = framework
            .inverse_offers
            .iter()
            .filter_map(|number| {
                let offer = self.inverse_offers.get(number)?;
                self.inverse_offer_wire(*number, &offer.framework, &offer.agent)
            })
            .collect();
        Some(snapshot)
    }
}

fn picture(framework: &Framework) -> FrameworkSnapshot {
    FrameworkSnapshot {
        id: framework.id.clone(),
        info: framework.info.clone(),
        link: framework.link.clone(),
        roles: framework.roles.clone(),
        suppressed: framework.suppressed.clone(),
        registered: framework.registered,
        reregistered: framework.reregistered,
        unregistered: None,
        tasks: framework.tasks.values().map(|task| task.wire.clone()).collect(),
        unreachable_tasks: framework.unreachable.values().cloned().collect(),
        completed_tasks: framework.completed.iter().cloned().collect(),
        refused_tasks: framework.refused.iter().cloned().collect(),
        offers: Vec::new(),
        inverse_offers: Vec::new(),
        offer_constraints: framework.constraints_wire.clone(),
        counters: framework.counters.clone(),
    }
}

impl Snapshot {
    /// An agent by its id.
    pub fn agent(&self, id: &AgentId) -> Option<&AgentSnapshot> {
        let at = self.agents.binary_search_by(|agent| agent.facts.id.cmp(id)).ok()?;
        self.agents.get(at).map(|agent| &**agent)
    }

    /// An offer as its framework read it.
    pub fn offer_wire(
        &self,
        framework: &FrameworkSnapshot,
        offer: &OfferSnapshot,
    ) -> Option<v1::Offer> {
        let agent = self.agent(&offer.agent_id)?;
        let capabilities = crate::capability::FrameworkCapabilities::of(&framework.info);
        let executors = agent
            .executors
            .iter()
            .filter(|executor| executor.framework_id == framework.id)
            .map(|executor| ExecutorId::from(&executor.info.executor_id));
        let parts = OfferParts {
            id: &offer.id,
            framework: &framework.id,
            agent: &offer.agent_id,
            role: &offer.role,
            resources: &offer.resources,
            info: &agent.facts.info,
            pid: &agent.facts.pid,
            multi_role: capabilities.multi_role,
            format: if capabilities.reservation_refinement {
                Format::Refined
            } else {
                Format::Plain
            },
            unavailability: agent.unavailability,
        };
        Some(parts.wire(executors))
    }

    /// What a framework's tasks and executors hold on all agents.
    pub fn used_by(&self, framework: &FrameworkId) -> Resources {
        let mut sum = Resources::new();
        for agent in &self.agents {
            if let Some(used) = agent.used.get(framework) {
                sum.add_all(used);
            }
        }
        sum
    }

    /// All roles that mean something: with a framework, weight, quota or reservation, and all above
    /// one.
    pub fn roles(&self) -> BTreeMap<Role, RoleSnapshot> {
        let mut roles: BTreeMap<Role, RoleSnapshot> = BTreeMap::new();
        let add = |roles: &mut BTreeMap<Role, RoleSnapshot>, name: &Role| {
            roles.entry(name.clone()).or_default();
            for above in role::ancestors(name.as_str()) {
                roles.entry(Role::from(above)).or_default();
            }
        };
        for framework in &self.frameworks {
            for name in &framework.roles {
                add(&mut roles, name);
                if let Some(role) = roles.get_mut(name) {
                    role.frameworks.insert(framework.id.clone());
                }
            }
        }
        self.weights.keys().chain(self.quotas.keys()).for_each(|name| add(&mut roles, name));
        for agent in &self.agents {
            for used in agent.used.values() {
                count(&mut roles, used, |role| &mut role.allocated);
            }
            count(&mut roles, &agent.offered, |role| &mut role.offered);
            for resource in &agent.facts.total {
                if let Some(owner) = resource.reserved_role() {
                    add(&mut roles, owner);
                    for name in
                        std::iter::once(owner.as_str()).chain(role::ancestors(owner.as_str()))
                    {
                        if let Some(role) = roles.get_mut(name) {
                            role.reserved.add(resource);
                        }
                    }
                }
            }
        }
        let mut total = Quantities::default();
        for agent in &self.agents {
            total.add(&Quantities::from(&agent.facts.total.non_revocable()));
        }
        let excluded = &self.config.fair_sharing_excluded;
        for (name, role) in &mut roles {
            role.weight = self.weights.get(name).copied().unwrap_or(1.0);
            role.quota = self.quotas.get(name).cloned();
            let mut consumed = Quantities::from(&role.reserved);
            let unreserved = role.allocated.unreserved().plus(&role.offered.unreserved());
            consumed.add(&Quantities::from(&unreserved));
            role.consumed = consumed;
            let has = Quantities::from(&role.allocated.plus(&role.offered));
            role.share = total.dominant_share(&has, excluded) / role.weight;
            role.filters = self.filters.get(name).copied().unwrap_or_default();
        }
        roles
    }
}

/// Adds resources to the roles they are allocated to and to all above.
fn count(
    roles: &mut BTreeMap<Role, RoleSnapshot>,
    resources: &Resources,
    part: impl Fn(&mut RoleSnapshot) -> &mut Resources,
) {
    for resource in resources {
        let Some(name) = &resource.allocation else { continue };
        for name in std::iter::once(name.as_str()).chain(role::ancestors(name.as_str())) {
            part(roles.entry(Role::from(name)).or_default()).add(resource);
        }
    }
}
