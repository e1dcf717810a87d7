//! Who is offered what: hierarchical dominant resource fairness with quotas, as in Mesos.
//!
//! The allocator knows agents (what they have, what of it is given away), frameworks (what they can
//! handle, what they refused), roles (weights, quotas). It is told of every change and, when asked,
//! gives away what is free. It never takes back.
//!
//! What is offered counts as given away, whether it is used or not: the master returns it with
//! [`Allocator::recover`], with a filter when a framework refused it.

mod constraint;
mod cycle;
mod judge;
mod quota;
mod sorter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mesos_api::v1;

pub use constraint::Constraints;
pub use cycle::Scope;
pub use judge::{Explanation, Obstacle};

use crate::capability::{AgentCapabilities, FrameworkCapabilities};
use crate::id::{AgentId, FrameworkId, Role};
use crate::registry::Quota;
use crate::resources::{Quantities, Resources};
use crate::time::Time;
use sorter::Sorter;

/// What an operator can set.
#[derive(Debug, Clone)]
pub struct Options {
    pub allocation_interval: Duration,
    pub min_allocatable: Vec<Quantities>,
    pub filter_gpu_resources: bool,
    pub fair_sharing_excluded: Vec<Arc<str>>,
    /// Where the master stands: agents elsewhere are for frameworks that know of regions.
    pub region: Option<String>,
    /// The hosts whose agents may be offered; none: all.
    pub whitelist: Option<BTreeSet<String>>,
}

/// What a framework wants and can handle.
#[derive(Debug, Clone, Default)]
pub struct FrameworkSpec {
    pub roles: BTreeSet<Role>,
    pub suppressed: BTreeSet<Role>,
    pub capabilities: FrameworkCapabilities,
    /// Overrides the smallest offers worth making, by role. An empty list: any offer is.
    pub min_allocatable: BTreeMap<Role, Vec<Quantities>>,
    pub constraints: Arc<Constraints>,
}

/// Something given away: resources of one agent to one framework in one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub framework: FrameworkId,
    pub role: Role,
    pub agent: AgentId,
    /// Marked as allocated to the role.
    pub resources: Resources,
}

#[derive(Debug)]
struct Filter {
    refused: Resources,
    until: Time,
}

#[derive(Debug)]
struct Framework {
    spec: FrameworkSpec,
    active: bool,
    filters: BTreeMap<Role, BTreeMap<AgentId, Vec<Filter>>>,
}

#[derive(Debug)]
struct Agent {
    info: Arc<v1::AgentInfo>,
    capabilities: AgentCapabilities,
    total: Resources,
    /// The sum of `allocations`, without the mark of allocation.
    used: Resources,
    /// A list: of most agents there are one or two, and of agents there are thousands.
    allocations: Vec<Allocation>,
    active: bool,
}

/// What a framework holds of an agent in a role, offered or used.
#[derive(Debug)]
struct Allocation {
    framework: FrameworkId,
    role: Role,
    held: Resources,
}

impl Agent {
    /// What can be given away. What is shared is there for everybody, however many hold it.
    fn free(&self) -> Resources {
        if self.used.is_empty() {
            return self.total.clone();
        }
        let mut free = self.total.minus(&self.used);
        if self.total.iter().any(|resource| resource.shared) {
            free = free.non_shared();
            free.add_all(&self.total.shared());
        }
        free
    }

    fn allocation(&self, framework: &FrameworkId, role: &Role) -> Option<usize> {
        self.allocations.iter().position(|it| it.framework == *framework && it.role == *role)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Allocator {
    options: Options,
    frameworks: BTreeMap<FrameworkId, Framework>,
    agents: BTreeMap<AgentId, Agent>,
    quotas: BTreeMap<Role, Quota>,
    sorter: Sorter,
    /// Agents whose free resources or whose audience changed since the last run.
    candidates: BTreeSet<AgentId>,
    /// Something changed that concerns all agents.
    all: bool,
}

impl Allocator {
    /// An allocator of an empty cluster.
    pub fn new(options: Options) -> Self {
        Self {
            sorter: Sorter::new(options.fair_sharing_excluded.clone()),
            options,
            frameworks: BTreeMap::new(),
            agents: BTreeMap::new(),
            quotas: BTreeMap::new(),
            candidates: BTreeSet::new(),
            all: false,
        }
    }

    /// Whether something changed since the last run that may lead to an allocation.
    pub fn wants_run(&self) -> bool {
        self.all || !self.candidates.is_empty()
    }

    /// How many filters of refused offers there are, by role. Those whose time is over are among
    /// them until the next periodic run.
    pub fn filters(&self) -> BTreeMap<Role, usize> {
        let mut filters = BTreeMap::new();
        for framework in self.frameworks.values() {
            for role in &framework.spec.roles {
                let count = framework.filters.get(role).map_or(0, BTreeMap::len);
                *filters.entry(role.clone()).or_default() += count;
            }
        }
        filters
    }

    /// Forgets filters whose time is over.
    fn expire_filters(&mut self, now: Time) {
        for framework in self.frameworks.values_mut() {
            for agents in framework.filters.values_mut() {
                agents.retain(|_, filters| {
                    filters.retain(|filter| filter.until > now);
                    !filters.is_empty()
                });
            }
        }
    }

    /// Lets agents of these hosts be offered, and no others. What is offered already stays so.
    pub fn set_whitelist(&mut self, hosts: BTreeSet<String>) {
        self.options.whitelist = Some(hosts);
        self.all = true;
    }

    /// What all agents have together.
    pub fn total(&self) -> &Quantities {
        self.sorter.total()
    }

    /// Adds a framework that holds `used`; what it holds on agents not there yet comes with them.
    pub fn add_framework(
        &mut self,
        id: &FrameworkId,
        spec: FrameworkSpec,
        used: &BTreeMap<AgentId, Resources>,
    ) {
        for role in &spec.roles {
            self.sorter.add_framework(role, id);
            self.sorter.set_active(role, id, !spec.suppressed.contains(role));
        }
        let framework = Framework { spec, active: true, filters: BTreeMap::new() };
        self.frameworks.insert(id.clone(), framework);
        for (agent, resources) in used {
            self.allocate_more(id, agent, resources);
        }
        self.all = true;
    }

    /// Removes a framework; what it still holds becomes free.
    pub fn remove_framework(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.remove(id) else { return };
        let held: Vec<(AgentId, Resources)> = self
            .agents
            .iter()
            .flat_map(|(agent, state)| {
                state
                    .allocations
                    .iter()
                    .filter(|allocation| allocation.framework == *id)
                    .map(|allocation| (agent.clone(), allocation.held.clone()))
            })
            .collect();
        for (agent, resources) in held {
            self.release(id, &agent, &resources);
            self.candidates.insert(agent);
        }
        for role in &framework.spec.roles {
            self.sorter.remove_framework(role, id);
        }
    }

    /// Changes what a framework wants. What it holds in a role that it left stays with it; in a role
    /// that it no longer suppresses, what it refused is forgotten.
    pub fn update_framework(&mut self, id: &FrameworkId, spec: FrameworkSpec) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        for role in framework.spec.roles.difference(&spec.roles) {
            self.sorter.set_active(role, id, false);
            framework.filters.remove(role);
        }
        for role in &spec.roles {
            self.sorter.add_framework(role, id);
            let wants = framework.active && !spec.suppressed.contains(role);
            self.sorter.set_active(role, id, wants);
        }
        for role in framework.spec.suppressed.difference(&spec.suppressed) {
            framework.filters.remove(role);
        }
        framework.spec = spec;
        self.all = true;
    }

    /// Gives the framework offers again, all filters gone.
    pub fn activate_framework(&mut self, id: &FrameworkId) {
        self.set_framework_active(id, true);
    }

    /// Gives the framework no offers.
    pub fn deactivate_framework(&mut self, id: &FrameworkId) {
        self.set_framework_active(id, false);
    }

    fn set_framework_active(&mut self, id: &FrameworkId, active: bool) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        framework.active = active;
        framework.filters.clear();
        for role in &framework.spec.roles {
            let wants = active && !framework.spec.suppressed.contains(role);
            self.sorter.set_active(role, id, wants);
        }
        self.all |= active;
    }

    /// Stops offers to the framework in these roles.
    pub fn suppress(&mut self, id: &FrameworkId, roles: &BTreeSet<Role>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        for role in roles {
            framework.spec.suppressed.insert(role.clone());
            self.sorter.set_active(role, id, false);
        }
    }

    /// Resumes offers to the framework in these roles, and forgets what it refused.
    pub fn revive(&mut self, id: &FrameworkId, roles: &BTreeSet<Role>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        for role in roles {
            framework.spec.suppressed.remove(role);
            framework.filters.remove(role);
            let wants = framework.active && framework.spec.roles.contains(role);
            self.sorter.set_active(role, id, wants);
        }
        self.all = true;
    }

    /// Adds an agent on which frameworks already hold `used`.
    pub fn add_agent(
        &mut self,
        id: &AgentId,
        info: Arc<v1::AgentInfo>,
        capabilities: AgentCapabilities,
        total: Resources,
        used: &BTreeMap<FrameworkId, Resources>,
    ) {
        self.sorter.add_total(&Quantities::from(&total.non_revocable()));
        let agent = Agent {
            info,
            capabilities,
            total,
            used: Resources::new(),
            allocations: Vec::new(),
            active: true,
        };
        self.agents.insert(id.clone(), agent);
        for (framework, resources) in used {
            self.allocate_more(framework, id, resources);
        }
        self.candidates.insert(id.clone());
    }

    /// Removes an agent with all that is held there.
    pub fn remove_agent(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.remove(id) else { return };
        for Allocation { framework, role, held } in &agent.allocations {
            self.sorter.unallocated(role, framework, &Quantities::from(held));
        }
        self.sorter.subtract_total(&Quantities::from(&agent.total.non_revocable()));
        self.candidates.remove(id);
        for framework in self.frameworks.values_mut() {
            for filters in framework.filters.values_mut() {
                filters.remove(id);
            }
        }
    }

    /// Changes what an agent has or says of itself; filters for it are forgotten if it has changed.
    pub fn update_agent(
        &mut self,
        id: &AgentId,
        info: Arc<v1::AgentInfo>,
        capabilities: AgentCapabilities,
        total: Resources,
    ) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.total == total && agent.capabilities == capabilities && agent.info == info {
            return;
        }
        self.sorter.subtract_total(&Quantities::from(&agent.total.non_revocable()));
        self.sorter.add_total(&Quantities::from(&total.non_revocable()));
        (agent.info, agent.capabilities, agent.total) = (info, capabilities, total);
        for framework in self.frameworks.values_mut() {
            for filters in framework.filters.values_mut() {
                filters.remove(id);
            }
        }
        self.candidates.insert(id.clone());
    }

    /// Offers from the agent again, or not.
    pub fn set_agent_active(&mut self, id: &AgentId, active: bool) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.active = active;
            if active {
                self.candidates.insert(id.clone());
            }
        }
    }

    /// Takes back what a framework does not use. With `refuse`, it is not offered that much of this
    /// agent again for this long; without, the agent is offered again at the next periodic run.
    pub fn recover(
        &mut self,
        now: Time,
        framework: &FrameworkId,
        agent: &AgentId,
        resources: &Resources,
        refuse: Option<Duration>,
    ) {
        if resources.is_empty() {
            return;
        }
        self.release(framework, agent, resources);
        let Some(refuse) = refuse.filter(|refuse| !refuse.is_zero()) else { return };
        let (Some(state), Some(Agent { total, .. })) =
            (self.frameworks.get_mut(framework), self.agents.get(agent))
        else {
            return;
        };
        // A shorter filter would be over before the next periodic run could notice it.
        let until = now + refuse.max(self.options.allocation_interval);
        for (role, resources) in by_role(resources) {
            if state.spec.roles.contains(&role) {
                let filters = state.filters.entry(role).or_default();
                let filters = filters.entry(agent.clone()).or_default();
                filters.retain(|filter| filter.until > now);
                // Most refuse all that an agent has, which then is not kept twice.
                let refused = resources.unallocated();
                let refused = if refused == *total { total.clone() } else { refused };
                filters.push(Filter { refused, until });
            }
        }
    }

    /// Takes back what a task or executor no longer needs: others may have it at once.
    pub fn free(&mut self, framework: &FrameworkId, agent: &AgentId, resources: &Resources) {
        if resources.is_empty() {
            return;
        }
        self.release(framework, agent, resources);
        if self.agents.contains_key(agent) {
            self.candidates.insert(agent.clone());
        }
    }

    /// Replaces what a framework holds when an operation turned `from` into `to`: the agent's total
    /// changes with it.
    pub fn convert(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        from: &Resources,
        to: &Resources,
    ) {
        self.release(framework, agent, from);
        self.convert_free(agent, &from.unallocated(), &to.unallocated());
        self.allocate_more(framework, agent, to);
    }

    /// Turns free resources of an agent into others.
    pub fn convert_free(&mut self, agent: &AgentId, from: &Resources, to: &Resources) {
        if let Some(state) = self.agents.get_mut(agent) {
            self.sorter.subtract_total(&Quantities::from(from));
            self.sorter.add_total(&Quantities::from(to));
            state.total = state.total.minus(from).plus(to);
            self.candidates.insert(agent.clone());
        }
    }

    /// What is free on an agent.
    pub fn available(&self, agent: &AgentId) -> Resources {
        self.agents.get(agent).map(Agent::free).unwrap_or_default()
    }

    /// What an agent has.
    pub fn agent_total(&self, agent: &AgentId) -> Option<&Resources> {
        self.agents.get(agent).map(|agent| &agent.total)
    }

    /// Everything given away on an agent, offered or used, without marks of allocation.
    pub fn agent_used(&self, agent: &AgentId) -> Option<&Resources> {
        self.agents.get(agent).map(|agent| &agent.used)
    }

    /// Changes a role's weight among its siblings.
    pub fn set_weight(&mut self, role: &Role, weight: f64) {
        self.sorter.set_weight(role, weight);
        self.all = true;
    }

    /// Sets or removes a role's quota.
    pub fn set_quota(&mut self, role: &Role, quota: Option<Quota>) {
        match quota {
            Some(quota) => self.quotas.insert(role.clone(), quota),
            None => self.quotas.remove(role),
        };
        self.all = true;
    }

    /// Counts more as held by a framework. Its role may be one the framework has left.
    pub fn allocate_more(&mut self, framework: &FrameworkId, agent: &AgentId, more: &Resources) {
        for (role, resources) in by_role(more) {
            self.hold(framework, &role, agent, &resources, &resources.unallocated());
        }
    }

    /// Counts more as held by a framework in a role: resources that are marked with it, and the same
    /// without the mark.
    fn hold(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        marked: &Resources,
        plain: &Resources,
    ) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        state.used.add_all(plain);
        match state.allocation(framework, role) {
            Some(at) => state.allocations[at].held.add_all(marked),
            None => {
                let (framework, role) = (framework.clone(), role.clone());
                state.allocations.push(Allocation { framework, role, held: marked.clone() });
            }
        }
        self.sorter.add_framework(role, framework);
        self.sorter.allocated(role, framework, &Quantities::from(marked));
    }

    fn release(&mut self, framework: &FrameworkId, agent: &AgentId, resources: &Resources) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        for (role, resources) in by_role(resources) {
            let Some(at) = state.allocation(framework, &role) else { continue };
            let held = &mut state.allocations[at].held;
            held.subtract_all(&resources);
            if held.is_empty() {
                state.allocations.swap_remove(at);
            }
            if state.allocations.is_empty() {
                state.used = Resources::new();
            } else {
                state.used.subtract_unmarked(&resources);
            }
            self.sorter.unallocated(&role, framework, &Quantities::from(&resources));
        }
    }
}

/// Splits resources by the role they are allocated to. Those of no role do not count.
fn by_role(resources: &Resources) -> Vec<(Role, Resources)> {
    let mut roles: Vec<&Role> =
        resources.iter().filter_map(|resource| resource.allocation.as_ref()).collect();
    roles.sort_unstable();
    roles.dedup();
    match roles.as_slice() {
        [] => Vec::new(),
        [one] if resources.iter().all(|resource| resource.allocation.is_some()) => {
            vec![((*one).clone(), resources.clone())]
        }
        many => many
            .iter()
            .map(|role| {
                let part = resources.filter(|resource| resource.allocation.as_ref() == Some(*role));
                ((*role).clone(), part)
            })
            .collect(),
    }
}
