//! Whether one framework may be offered one agent in one role, and if not, why: the same question
//! for the allocation and for a person who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Agent, Allocator, Framework};
use crate::id::{AgentId, FrameworkId, Role};
use crate::resources::{Quantities, Resource, Resources};
use crate::time::Time;

/// Why a framework is not offered an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// The framework is not connected.
    FrameworkInactive,
    /// The framework asked for no offers in this role.
    Suppressed,
    /// The agent is disconnected, draining, deactivated or excluded.
    AgentInactive,
    /// The agent's host is not on the operator's list.
    NotWhitelisted,
    /// The agent does not know frameworks of several roles.
    AgentWithoutMultiRole,
    /// The agent does not know roles below roles.
    AgentWithoutHierarchicalRole,
    /// The agent has GPUs, and the framework does not know of them.
    GpusKeptBack,
    /// The agent is in another region, and the framework does not know of regions.
    OtherRegion,
    /// The framework's own offer constraints exclude the agent.
    Constraint,
    /// All of the agent that this role may use is given away.
    NothingFree,
    /// The role has reached its quota's limit.
    QuotaLimit,
    /// What is free is kept for the guarantees of other roles.
    QuotaHeadroom,
    /// What is free is less than the smallest offer worth making.
    TooSmall,
    /// The framework refused this much of the agent and the time has not passed.
    Filtered,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameworkInactive => "the framework is not connected",
            Self::Suppressed => "the framework suppressed offers for this role; REVIVE resumes them",
            Self::AgentInactive => "the agent is disconnected, draining or deactivated",
            Self::NotWhitelisted => "the agent's host is not in the file of --whitelist",
            Self::AgentWithoutMultiRole => "the agent is too old for frameworks of several roles",
            Self::AgentWithoutHierarchicalRole => "the agent is too old for roles below roles",
            Self::GpusKeptBack => {
                "the agent has GPUs, kept for frameworks with the capability GPU_RESOURCES"
            }
            Self::OtherRegion => {
                "the agent is in another region, for frameworks with the capability REGION_AWARE"
            }
            Self::Constraint => "the framework's offer constraints exclude the agent",
            Self::NothingFree => "everything this role may use is given away or reserved to others",
            Self::QuotaLimit => "the role has reached the limit of its quota",
            Self::QuotaHeadroom => "what is free is kept for the guarantees of other roles",
            Self::TooSmall => "what is free is below the smallest offer (min_allocatable_resources)",
            Self::Filtered => {
                "the framework declined it and its refuse_seconds have not passed; REVIVE forgets that"
            }
        })
    }
}

/// Why a framework gets no more offers in one role: how many agents each obstacle stands before.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Agents that would be offered at the next run.
    pub offerable: usize,
    pub obstacles: BTreeMap<Obstacle, usize>,
}

impl Allocator {
    /// Explains, role by role, what stands between a framework and offers. None: no such framework.
    pub fn explain(&self, now: Time, id: &FrameworkId) -> Option<BTreeMap<Role, Explanation>> {
        let framework = self.frameworks.get(id)?;
        let ledger = self.ledger();
        let explain = |role: &Role| {
            let mut explanation = Explanation::default();
            for (agent_id, agent) in &self.agents {
                let verdict = self.judge_role(framework, role).and_then(|()| {
                    let free = agent.free();
                    let part = self.judge(framework, role, agent, &free)?;
                    let part = match &ledger {
                        Some(ledger) => ledger.cut(role, &part)?,
                        None => part,
                    };
                    self.judge_amount(now, framework, role, agent_id, &part)
                });
                match verdict {
                    Ok(()) => explanation.offerable += 1,
                    Err(obstacle) => *explanation.obstacles.entry(obstacle).or_default() += 1,
                }
            }
            explanation
        };
        Some(framework.spec.roles.iter().map(|role| (role.clone(), explain(role))).collect())
    }

    fn judge_role(&self, framework: &Framework, role: &Role) -> Result<(), Obstacle> {
        if !framework.active {
            return Err(Obstacle::FrameworkInactive);
        }
        if framework.spec.suppressed.contains(role) {
            return Err(Obstacle::Suppressed);
        }
        Ok(())
    }

    /// The part of what is free on an agent that a framework can be offered in a role.
    pub(super) fn judge(
        &self,
        framework: &Framework,
        role: &Role,
        agent: &Agent,
        free: &Resources,
    ) -> Result<Resources, Obstacle> {
        let spec = &framework.spec;
        if !agent.active {
            return Err(Obstacle::AgentInactive);
        }
        let listed = |hosts: &BTreeSet<String>| hosts.contains(&agent.info.hostname);
        if !self.options.whitelist.as_ref().is_none_or(listed) {
            return Err(Obstacle::NotWhitelisted);
        }
        if spec.capabilities.multi_role && !agent.capabilities.multi_role {
            return Err(Obstacle::AgentWithoutMultiRole);
        }
        if role.as_str().contains('/') && !agent.capabilities.hierarchical_role {
            return Err(Obstacle::AgentWithoutHierarchicalRole);
        }
        let hides_gpus = self.options.filter_gpu_resources && !spec.capabilities.gpu_resources;
        if hides_gpus && agent.total.iter().any(|resource| *resource.name == *"gpus") {
            return Err(Obstacle::GpusKeptBack);
        }
        if !spec.capabilities.region_aware && self.is_elsewhere(agent) {
            return Err(Obstacle::OtherRegion);
        }
        if !spec.constraints.allow(role, &agent.info) {
            return Err(Obstacle::Constraint);
        }
        let usable = |resource: &Resource| {
            resource.reserved_role().is_none_or(|owner| crate::role::may_use(role, owner))
                && (!resource.shared || spec.capabilities.shared_resources)
                && (!resource.revocable || spec.capabilities.revocable_resources)
                && (resource.reservations.len() < 2 || spec.capabilities.reservation_refinement)
        };
        let part = free.filter(usable);
        // What is shared is always there: it is offered beside something to use it with.
        if part.iter().all(|resource| resource.shared) {
            return Err(Obstacle::NothingFree);
        }
        Ok(part)
    }

    fn is_elsewhere(&self, agent: &Agent) -> bool {
        let theirs = agent
            .info
            .domain
            .as_ref()
            .and_then(|domain| domain.fault_domain.as_ref())
            .map(|fault| fault.region.name.as_str());
        match (self.options.region.as_deref(), theirs) {
            (Some(ours), Some(theirs)) => ours != theirs,
            // An agent of no region is everywhere; a master of none has only such agents.
            _ => false,
        }
    }

    /// Whether the part is worth an offer and was not just refused.
    pub(super) fn judge_amount(
        &self,
        now: Time,
        framework: &Framework,
        role: &Role,
        agent: &AgentId,
        part: &Resources,
    ) -> Result<(), Obstacle> {
        let smallest =
            framework.spec.min_allocatable.get(role).unwrap_or(&self.options.min_allocatable);
        let reaches = |smallest: &Quantities| {
            smallest.iter().all(|(name, least)| part.amount(name).is_some_and(|it| it >= least))
        };
        if !smallest.is_empty() && !smallest.iter().any(reaches) {
            return Err(Obstacle::TooSmall);
        }
        let filtered =
            framework.filters.get(role).and_then(|filters| filters.get(agent)).is_some_and(
                |filters| {
                    filters.iter().any(|filter| filter.until > now && filter.refused.contains(part))
                },
            );
        if filtered { Err(Obstacle::Filtered) } else { Ok(()) }
    }
}
