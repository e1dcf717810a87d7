//! What must hold: after each step, and at rest.

use std::collections::{BTreeMap, BTreeSet};

use cluster::agent::{ExecutorState, Kind};
use cluster::id::AgentId;
use cluster::registry::Registry;
use cluster::resources::{Quantities, Resources};
use mesos_api::v1::TaskState;

use super::World;

impl World {
    pub(super) fn check(&mut self) -> Result<(), String> {
        for framework in self.frameworks.values() {
            if let Some(contradiction) = &framework.contradiction {
                return Err(contradiction.clone());
            }
        }
        if !self.report.steps.is_multiple_of(self.options.audit_every) {
            return Ok(());
        }
        let mut running = BTreeMap::new();
        for machine in self.machines.values() {
            for (framework, task) in machine.containers.running() {
                if let Some(other) = running.insert((framework, task), machine.name) {
                    return Err(format!("task {task} runs on {other} and on {}", machine.name));
                }
            }
        }
        self.check_groups()?;
        if let Some(master) = &self.master {
            master.audit()?;
        }
        self.check_store()
    }

    /// Tasks of a group end together: none is left alone when another has failed or was killed,
    /// however often its agent died meanwhile.
    fn check_groups(&self) -> Result<(), String> {
        let agents = self.machines.values().filter_map(|machine| machine.agent.as_ref());
        let executors = agents
            .flat_map(|agent| agent.frameworks())
            .flat_map(|framework| framework.executors.values())
            .filter(|it| it.kind == Kind::Default && it.state == ExecutorState::Running);
        for executor in executors {
            let failed: BTreeSet<&str> = executor
                .tasks
                .values()
                .filter(|it| matches!(it.latest(), TaskState::TaskFailed | TaskState::TaskKilled))
                .filter_map(|it| Some(it.member.as_ref()?.group.as_str()))
                .collect();
            let left = executor.tasks.iter().find(|(_, it)| {
                let group = it.member.as_ref().map_or("", |member| member.group.as_str());
                failed.contains(group) && !it.is_over() && it.killing.is_none()
            });
            if let Some((task, _)) = left {
                return Err(format!("task {task} lives on while its group has failed"));
            }
        }
        Ok(())
    }

    fn check_store(&mut self) -> Result<(), String> {
        for key in &self.forever {
            if !self.store.contains_key(key) {
                return Err(format!("the registry forgot {key}"));
            }
        }
        let kept = |key: &&String| key.starts_with("gone/") || key.starts_with("removed/");
        if self.store.keys().filter(kept).count() > self.forever.len() {
            self.forever = self.store.keys().filter(kept).cloned().collect();
        }
        // Reading the store back is costly.
        if self.report.steps.is_multiple_of(256)
            && let Some(master) = &self.master
        {
            let read = Registry::load(&self.store).map_err(|error| error.to_string())?;
            if read != *master.registry() {
                return Err("the store is not the registry".into());
            }
        }
        Ok(())
    }

    /// Who is where, for a person who looks at a failure.
    pub(super) fn picture(&self) -> String {
        let agents = self.machines.values().map(|machine| {
            let state = machine.agent.as_ref().map(|agent| {
                let id = agent.info().id.as_ref().map_or("", |id| id.value.as_str());
                format!("{id} {:?}", agent.phase())
            });
            format!("agent {}: {}", machine.name, state.unwrap_or_else(|| "none".into()))
        });
        let agents = agents.collect::<Vec<_>>().join(", ");
        let Some(master) = &self.master else { return agents };
        let snapshot = master.snapshot();
        let here: Vec<_> =
            snapshot.agents.iter().map(|agent| (&agent.facts.id, agent.connected)).collect();
        let away = &snapshot.unreachable_agents;
        format!(
            "{agents}; master has {here:?}, unreachable {away:?}, gone {:?}",
            snapshot.gone_agents
        )
    }

    /// What is not at rest; empty when everything is.
    pub(super) fn unrest(&self) -> String {
        let Some(master) = &self.master else { return "no master".into() };
        for framework in self.frameworks.values() {
            if !framework.subscribed {
                return format!("framework {} is not subscribed", framework.name);
            }
            if framework.ending {
                return format!("framework {} has not ended", framework.name);
            }
            if let Some((task, known)) = framework.open().next() {
                return format!("task {task} is {}", known.state.as_str_name());
            }
        }
        for machine in self.machines.values() {
            if let Some((_, task)) = machine.containers.running().next() {
                return format!("task {task} runs on {}", machine.name);
            }
            match &machine.agent {
                None if !machine.left => return format!("agent {} is down", machine.name),
                None => {}
                Some(agent) => {
                    let executors = agent.frameworks().flat_map(|it| it.executors.values());
                    if let Some(executor) = executors.into_iter().next() {
                        return format!("agent {} has executor {}", machine.name, executor.id);
                    }
                }
            }
        }
        let snapshot = master.snapshot();
        let tasks = snapshot.frameworks.iter().flat_map(|framework| &framework.tasks);
        if let Some(task) = tasks.into_iter().next() {
            return format!("the master has task {} as {:?}", task.task_id, task.state());
        }
        if let Some(agent) = snapshot.agents.iter().find(|agent| !agent.used.is_empty()) {
            return format!("agent {} holds {:?} for nobody", agent.facts.id, agent.used);
        }
        if let Some(agent) = snapshot.agents.iter().find(|agent| !agent.active) {
            return format!("agent {} is not active", agent.facts.id);
        }
        if !snapshot.schedule.windows.is_empty() {
            return "machines are scheduled for maintenance".into();
        }
        self.disagreement()
    }

    /// What an agent and the master hold to be there, and to be reserved, must be the same thing.
    fn disagreement(&self) -> String {
        let Some(master) = &self.master else { return String::new() };
        let running =
            self.machines.values().filter_map(|machine| Some((machine, machine.agent.as_ref()?)));
        for (machine, agent) in running {
            let Some(id) = agent.info().id.as_ref().map(AgentId::from) else {
                return "an agent has no id".into();
            };
            let Some(known) = master.agent_snapshot(&id) else {
                return format!("agent {id} is not registered");
            };
            let ours = known.facts.total.filter(|resource| {
                resource.is_dynamically_reserved() || resource.is_persistent_volume()
            });
            let theirs = Resources::from_wire(agent.checkpointed_resources()).unwrap_or_default();
            if ours != theirs {
                return format!("agent {id} keeps {theirs}, the master has {ours}");
            }
            let (all, known) =
                (Quantities::from(&machine.resources()), Quantities::from(&known.facts.total));
            if all != known {
                return format!("agent {id} has {all}, the master has {known}");
            }
        }
        String::new()
    }
}
