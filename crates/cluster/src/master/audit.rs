//! What must hold in a master's books after every input. For tests and the simulator: it walks
//! everything.

use std::collections::BTreeMap;

use super::Master;
use crate::id::FrameworkId;
use crate::resources::Resources;

impl Master {
    /// Checks the books.
    ///
    /// # Errors
    /// Says what does not add up.
    pub fn audit(&self) -> Result<(), String> {
        for (id, agent) in self.agents.iter() {
            let mut used = Resources::new();
            let mut by_framework: BTreeMap<&FrameworkId, Resources> = BTreeMap::new();
            for (framework, task) in &agent.tasks {
                let task = self
                    .task_of(framework, task)
                    .ok_or_else(|| format!("agent {id} has task {task}, its framework has not"))?;
                if task.agent != *id {
                    return Err(format!("a task of {} is in the books of {id}", task.agent));
                }
                if !task.released {
                    by_framework.entry(framework).or_default().add_all(&task.resources);
                    used.add_all(&task.resources.unallocated());
                }
            }
            for ((framework, _), executor) in &agent.executors {
                by_framework.entry(framework).or_default().add_all(&executor.resources);
                used.add_all(&executor.resources.unallocated());
            }
            by_framework.retain(|_, resources| !resources.is_empty());
            let booked: BTreeMap<&FrameworkId, Resources> =
                agent.used.iter().map(|(id, used)| (id, used.clone())).collect();
            if by_framework != booked {
                return Err(format!(
                    "agent {id}: tasks hold {by_framework:?}, booked is {booked:?}"
                ));
            }
            for number in &agent.offers {
                let offer = self
                    .offers
                    .get(number)
                    .ok_or_else(|| format!("agent {id} has offer {number}, which is not out"))?;
                used.add_all(&offer.resources.unallocated());
            }
            for uuid in &agent.operations {
                if let Some(operation) = self.operations.get(uuid).filter(|it| !it.is_settled()) {
                    used.add_all(&operation.conversion.from.unallocated());
                }
            }
            let allocated = self.allocator.agent_used(id).cloned().unwrap_or_default();
            if allocated != used {
                return Err(format!(
                    "agent {id}: the allocator counts {allocated}, tasks and offers hold {used}"
                ));
            }
            if !agent.total.contains(&used.non_shared()) {
                return Err(format!("agent {id} has {} and {used} is given away", agent.total));
            }
            if self.agents.taken(id).is_some_and(|taken| **taken != self.paint_anew(agent)) {
                return Err(format!("agent {id} does not look as readers are told any more"));
            }
            if self.pids.get(&agent.pid) != Some(id) {
                return Err(format!("agent {id} is not found at its pid {}", agent.pid));
            }
            if !self.registry.agents.contains_key(id) {
                return Err(format!("agent {id} is registered and not in the registry"));
            }
        }
        self.audit_frameworks()
    }

    fn audit_frameworks(&self) -> Result<(), String> {
        for (id, framework) in &self.frameworks {
            for (task, state) in &framework.tasks {
                let agent = self.agents.get(&state.agent).ok_or_else(|| {
                    format!("task {task} is on {}, which is not here", state.agent)
                })?;
                if !agent.tasks.contains(&(id.clone(), task.clone())) {
                    return Err(format!("task {task} is not in the books of {}", state.agent));
                }
            }
            if !framework.is_connected() && !framework.offers.is_empty() {
                return Err(format!("framework {id} does not listen and has offers"));
            }
            for number in &framework.offers {
                if self.offers.get(number).is_none_or(|offer| offer.framework != *id) {
                    return Err(format!("framework {id} has offer {number}, which is not its own"));
                }
            }
            if !self.registry.frameworks.contains_key(id) {
                return Err(format!("framework {id} is not in the registry"));
            }
        }
        Ok(())
    }
}
