//! One run: gives away what is free on the agents that changed.
//!
//! First roles get what their quota guarantees, then everybody gets the rest in the order of their
//! shares. What a framework is given of an agent is the whole of it: offers are coarse.

use std::collections::BTreeMap;

use super::{Agent, Allocator, Grant};
use crate::id::{AgentId, FrameworkId, Role};
use crate::resources::Resources;
use crate::rng::Rng;
use crate::time::Time;

/// What was given so far, by agent, framework and role: grants of both stages are merged.
type Given = BTreeMap<(FrameworkId, AgentId, Role), Resources>;

/// Which agents a run looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that changed since the last run.
    Changed,
    /// All: filters may have expired.
    All,
}

impl Allocator {
    /// Gives away what is free.
    pub fn allocate(&mut self, now: Time, rng: &mut Rng, scope: Scope) -> Vec<Grant> {
        if scope == Scope::All {
            self.expire_filters(now);
        }
        let has_room =
            |agent: &Agent| agent.active && (agent.used.is_empty() || !agent.free().is_empty());
        let mut agents: Vec<AgentId> = if self.all || scope == Scope::All {
            let with_room = self.agents.iter().filter(|(_, agent)| has_room(agent));
            with_room.map(|(id, _)| id.clone()).collect()
        } else {
            let has_room = |id: &&AgentId| self.agents.get(*id).is_some_and(has_room);
            self.candidates.iter().filter(has_room).cloned().collect()
        };
        self.candidates.clear();
        self.all = false;
        rng.shuffle(&mut agents);

        let mut given = Given::new();
        self.give_guarantees(now, &agents, &mut given);
        self.give_rest(now, &agents, &mut given);
        given
            .into_iter()
            .map(|((framework, agent, role), resources)| Grant {
                framework,
                role,
                agent,
                resources,
            })
            .collect()
    }

    fn give_guarantees(&mut self, now: Time, agents: &[AgentId], given: &mut Given) {
        let Some(mut ledger) = self.ledger() else { return };
        for agent in agents {
            let mut free = self.available(agent);
            for role in self.sorter.roles() {
                if ledger.unsatisfied(&role).is_empty() {
                    continue;
                }
                for framework in self.sorter.frameworks(&role) {
                    let part = self.part(now, &framework, &role, agent, &free, |part| {
                        ledger.cut_to_guarantee(&role, &part)
                    });
                    if let Some(part) = part {
                        ledger.granted(&role, &part);
                        self.give(&framework, &role, agent, &part, given);
                        free = self.available(agent);
                    }
                }
            }
        }
    }

    fn give_rest(&mut self, now: Time, agents: &[AgentId], given: &mut Given) {
        let mut ledger = self.ledger();
        // Asking for the order costs; it only changes when something is given.
        let mut order = self.order();
        for agent in agents {
            let mut changed = false;
            let mut free = self.available(agent);
            for (role, frameworks) in &order {
                for framework in frameworks {
                    let part =
                        self.part(now, framework, role, agent, &free, |part| match &ledger {
                            Some(ledger) => ledger.cut(role, &part).ok(),
                            None => Some(part),
                        });
                    let Some(part) = part else { continue };
                    if let Some(ledger) = &mut ledger {
                        ledger.granted(role, &part);
                    }
                    self.give(framework, role, agent, &part, given);
                    free = self.available(agent);
                    changed = true;
                }
            }
            if changed && order.iter().map(|(_, frameworks)| frameworks.len()).sum::<usize>() > 1 {
                order = self.order();
            }
        }
    }

    fn order(&mut self) -> Vec<(Role, Vec<FrameworkId>)> {
        let roles = self.sorter.roles();
        roles
            .into_iter()
            .map(|role| {
                let frameworks = self.sorter.frameworks(&role);
                (role, frameworks)
            })
            .collect()
    }

    /// What a framework can be given of an agent in a role, if that is worth an offer.
    fn part(
        &self,
        now: Time,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        free: &Resources,
        cut: impl FnOnce(Resources) -> Option<Resources>,
    ) -> Option<Resources> {
        let framework = self.frameworks.get(framework)?;
        let state = self.agents.get(agent)?;
        let part = self.judge(framework, role, state, free).ok()?;
        let part = cut(part).filter(|part| !part.is_empty())?;
        self.judge_amount(now, framework, role, agent, &part).ok()?;
        Some(part)
    }

    fn give(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        part: &Resources,
        given: &mut Given,
    ) {
        let marked = part.allocated_to(role);
        self.hold(framework, role, agent, &marked, part);
        given.entry((framework.clone(), agent.clone(), role.clone())).or_default().add_all(&marked);
    }
}
