//! Agents come back: with the tasks they run, of which the master may know more, less or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::scheduler::event;
use mesos_api::v1::task_status::Reason;

use super::agent::Executor;
use super::output::{Change, Send};
use super::register::Arrival;
use super::task::{Cause, Task, allocate_wire, status};
use super::{Master, event_of, is_terminal};
use crate::capability::AgentCapabilities;
use crate::id::{AgentId, ExecutorId, FrameworkId, Role, TaskId};
use crate::registry::{AdmittedAgent, Op};
use crate::resources::{Format, Resources};
use crate::wire::ToAgent;

/// Where an agent was before it came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Registered,
    Recovered,
    Unreachable,
    /// Not in the registry: it was forgotten there, or comes from another master.
    Unknown,
}

/// What an agent says it runs.
struct Load {
    tasks: Vec<v1::Task>,
    executors: Vec<v1::ExecutorInfo>,
    frameworks: Vec<v1::FrameworkInfo>,
}

impl Master {
    pub(super) fn reregister(&mut self, pid: Arc<str>, message: internal::ReregisterSlaveMessage) {
        let Some(id) = message.agent.id.as_ref().map(AgentId::from) else {
            self.counters.messages_dropped += 1;
            return;
        };
        let mut arrival = Arrival {
            pid,
            info: Arc::new(message.agent),
            checkpointed: message.checkpointed_resources,
            version: message.version.unwrap_or_default(),
            capabilities: message.agent_capabilities,
            resource_version: message.resource_version_uuid,
        };
        // What a known agent of the older kind has not heard of is done all the same: offers and
        // tasks hold it. It is told again.
        if let Some(known) = self.agents.get(&id).filter(|it| !it.capabilities.resource_provider) {
            arrival.checkpointed = known.checkpointed().to_wire(Format::Refined);
        }
        let total = match self.admit(&arrival) {
            Ok(total) => total,
            Err(None) => return,
            Err(Some(refusal)) => return self.send_away(arrival.pid, refusal),
        };
        if self.registry.gone.contains_key(&id) {
            return self.send_away(arrival.pid, "Agent has been marked gone".into());
        }
        let load = Load {
            tasks: message.tasks,
            executors: message.executor_infos,
            frameworks: message.frameworks,
        };
        let was = if self.agents.contains_key(&id) {
            Was::Registered
        } else if self.recovered.contains(&id) {
            Was::Recovered
        } else if self.registry.unreachable.contains_key(&id) {
            Was::Unreachable
        } else {
            Was::Unknown
        };
        self.counters.agent_reregistrations += 1;
        if was == Was::Registered {
            self.known_agent_is_back(&id, arrival, total, load);
        } else {
            self.agent_is_back(&id, was, arrival, total, load);
        }
    }

    /// An agent whose tasks this master does not have in its books.
    fn agent_is_back(
        &mut self,
        id: &AgentId,
        was: Was,
        mut arrival: Arrival,
        total: Resources,
        load: Load,
    ) {
        if let Some(other) = self.pids.get(&arrival.pid).cloned() {
            // Another agent was at this address and must be gone.
            self.remove_replaced(&other);
        }
        self.recovered.remove(id);
        let before = self
            .registry
            .agents
            .get(id)
            .cloned()
            .or_else(|| self.registry.unreachable.get(id).and_then(|lost| lost.agent.clone()));
        if let Some(before) = before.as_ref().filter(|before| before.info == arrival.info) {
            // What was read from the registry is not kept twice.
            arrival.info = before.info.clone();
        }
        let info = arrival.info.clone();
        let agent = match before.clone() {
            Some(before) => AdmittedAgent { info, ..before },
            None => AdmittedAgent { info, deactivated: false, drain: None },
        };
        if was == Was::Unreachable {
            self.persist(Op::MarkReachable { id: id.clone(), agent });
        } else if before.as_ref() != Some(&agent) {
            self.persist(Op::Admit { id: id.clone(), agent });
        }
        self.insert_agent(id, arrival, total);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.reregistered = Some(self.now);
        }
        self.send_reregistered(id, Vec::new());
        self.adopt(id, was, load);
        self.allocator_add(id);
        self.resume_drain(id);
        self.publish(Change::AgentAdded(id.clone()));
    }

    /// An agent whose link broke, or who thinks that we lost it.
    fn known_agent_is_back(
        &mut self,
        id: &AgentId,
        arrival: Arrival,
        total: Resources,
        load: Load,
    ) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.machine != arrival.machine() {
            let message = "Agent attempted to re-register with different IP / hostname".to_owned();
            return self.send_away(arrival.pid, message);
        }
        let old_pid = std::mem::replace(&mut agent.pid, arrival.pid.clone());
        agent.connected = true;
        agent.generation += 1;
        agent.reregistered = Some(self.now);
        agent.health.removal = None;
        agent.health.missed = 0;
        agent.health.awaiting_pong = false;
        agent.version = arrival.version;
        agent.capabilities = AgentCapabilities::of(&arrival.capabilities);
        agent.capabilities_wire = arrival.capabilities;
        agent.resource_version = arrival.resource_version;
        let changed = agent.info != arrival.info;
        if changed {
            agent.info = arrival.info;
        }
        let revocable = agent.total.revocable();
        agent.total = total.non_revocable().plus(&revocable);
        let (info, capabilities, total) =
            (agent.info.clone(), agent.capabilities, agent.total.clone());
        let killed = std::mem::take(&mut agent.killed);
        if old_pid != arrival.pid {
            self.pids.remove(&old_pid);
            self.out.send.push(Send::Unlink { pid: old_pid });
        }
        self.pids.insert(arrival.pid.clone(), id.clone());
        self.out.send.push(Send::Link { pid: arrival.pid });
        if changed && let Some(before) = self.registry.agents.get(id).cloned() {
            let agent = AdmittedAgent { info: info.clone(), ..before };
            self.persist(Op::Admit { id: id.clone(), agent });
            // Offers tell of an agent that is no longer so.
            self.rescind_agent(id);
        }
        let reconciliations = self.reconcile_agent(id, &load);
        self.send_reregistered(id, reconciliations);
        self.send_checkpointed(id);
        self.allocator.update_agent(id, info, capabilities, total);
        self.adopt_into_allocator(id, load);
        for (framework, task) in killed {
            self.send_kill(id, &framework, &task, None);
        }
        self.refresh_activity(id);
        self.resume_drain(id);
    }

    fn send_reregistered(
        &mut self,
        id: &AgentId,
        reconciliations: Vec<internal::ReconcileTasksMessage>,
    ) {
        let message = internal::SlaveReregisteredMessage {
            agent_id: id.into(),
            reconciliations,
            connection: Some(self.connection()),
        };
        self.tell_agent(id, ToAgent::Reregistered(message));
    }

    /// Compares what the master has in its books with what the agent says. Tasks that the agent
    /// does not know are asked after: it may just not have got them yet, and only it can tell.
    /// Executors that it does not know are over.
    fn reconcile_agent(
        &mut self,
        id: &AgentId,
        load: &Load,
    ) -> Vec<internal::ReconcileTasksMessage> {
        let known: BTreeSet<(FrameworkId, TaskId)> = load
            .tasks
            .iter()
            .map(|task| ((&task.framework_id).into(), (&task.task_id).into()))
            .collect();
        let Some(agent) = self.agents.get(id) else { return Vec::new() };
        let mut missing: BTreeMap<FrameworkId, Vec<v1::TaskStatus>> = BTreeMap::new();
        for (framework, task) in agent.tasks.difference(&known) {
            let Some(state) = self.task_of(framework, task).map(Task::state) else { continue };
            let cause = Cause { state, reason: Some(Reason::Reconciliation), message: "" };
            let status = status(task, Some(id), cause, self.now);
            missing.entry(framework.clone()).or_default().push(status);
        }
        let executors: BTreeSet<(FrameworkId, ExecutorId)> = load
            .executors
            .iter()
            .filter_map(|executor| {
                let framework = executor.framework_id.as_ref()?;
                Some((framework.into(), (&executor.executor_id).into()))
            })
            .collect();
        let over: Vec<_> =
            agent.executors.keys().filter(|key| !executors.contains(*key)).cloned().collect();
        for (framework, executor) in over {
            // One of a task that the agent has not got yet comes with that task.
            let statuses = missing.get(&framework).into_iter().flatten();
            let mut awaited: BTreeSet<TaskId> =
                statuses.map(|status| TaskId::from(&status.task_id)).collect();
            awaited.retain(|task| {
                self.task_of(&framework, task)
                    .is_some_and(|task| !is_terminal(task.state()) && task.runs_under(&executor))
            });
            if awaited.is_empty() {
                self.remove_executor(id, &framework, &executor);
            } else if let Some(agent) = self.agents.get_mut(id)
                && let Some(executor) = agent.executors.get_mut(&(framework, executor))
            {
                executor.awaited = awaited;
            }
        }
        missing
            .into_iter()
            .map(|(framework, statuses)| internal::ReconcileTasksMessage {
                framework_id: (&framework).into(),
                statuses,
                framework: self
                    .frameworks
                    .get(&framework)
                    .map(|framework| (*framework.info).clone()),
            })
            .collect()
    }

    /// Takes tasks and executors that the master does not know into its books, and the allocator's.
    fn adopt_into_allocator(&mut self, id: &AgentId, load: Load) {
        let before = self.agents.get(id).map(|agent| agent.used.clone()).unwrap_or_default();
        self.adopt(id, Was::Registered, load);
        let after = self.agents.get(id).map(|agent| agent.used.clone()).unwrap_or_default();
        for (framework, used) in after {
            let more = match before.get(&framework) {
                Some(before) => used.minus(before),
                None => used,
            };
            self.allocator.allocate_more(&framework, id, &more);
        }
    }

    /// Takes what an agent runs into the books. What it runs for frameworks that have ended is to
    /// end as well.
    fn adopt(&mut self, id: &AgentId, was: Was, load: Load) {
        for info in load.frameworks {
            let Some(framework) = info.id.as_ref().map(FrameworkId::from) else { continue };
            let ended = self.registry.removed_frameworks.contains_key(&framework);
            if !ended && !self.frameworks.contains_key(&framework) {
                let info = Arc::new(info);
                self.persist(Op::SetFramework { id: framework.clone(), info: info.clone() });
                self.recover_framework(&framework, info);
                self.publish(Change::FrameworkAdded(framework));
            }
        }
        let mut ended = BTreeSet::new();
        for executor in load.executors {
            let Some(framework) = executor.framework_id.as_ref().map(FrameworkId::from) else {
                continue;
            };
            if self.frameworks.contains_key(&framework) {
                self.adopt_executor(id, &framework, executor);
            } else {
                ended.insert(framework);
            }
        }
        for task in load.tasks {
            let framework = FrameworkId::from(&task.framework_id);
            if self.frameworks.contains_key(&framework) {
                self.adopt_task(id, was, &framework, task);
            } else {
                ended.insert(framework);
            }
        }
        let frameworks: Vec<FrameworkId> = self
            .agents
            .get(id)
            .map(|agent| agent.used.keys().cloned().collect())
            .unwrap_or_default();
        for framework in frameworks {
            self.send_framework_to_agent(id, &framework);
        }
        for framework in ended {
            let message = internal::ShutdownFrameworkMessage { framework_id: (&framework).into() };
            self.tell_agent(id, ToAgent::ShutdownFramework(message));
        }
    }

    fn send_framework_to_agent(&mut self, id: &AgentId, framework: &FrameworkId) {
        let Some(state) = self.frameworks.get(framework) else { return };
        if !state.is_connected() {
            return;
        }
        let message = internal::UpdateFrameworkMessage {
            framework_id: framework.into(),
            pid: Some(state.pid()),
            framework_info: Some((*state.info).clone()),
        };
        self.tell_agent(id, ToAgent::UpdateFramework(message));
    }

    fn adopt_executor(&mut self, id: &AgentId, framework: &FrameworkId, info: v1::ExecutorInfo) {
        let role = self.only_role(framework);
        let Some(agent) = self.agents.get_mut(id) else { return };
        let key = (framework.clone(), ExecutorId::from(&info.executor_id));
        if agent.executors.contains_key(&key) {
            return;
        }
        let resources = held(&info.resources, &role);
        agent.use_more(framework, &resources);
        let info = Arc::new(info);
        agent.executors.insert(key, Executor { info, resources, awaited: BTreeSet::new() });
    }

    fn adopt_task(&mut self, id: &AgentId, was: Was, framework: &FrameworkId, mut wire: v1::Task) {
        let role = self.only_role(framework);
        let (now, task_id) = (self.now, TaskId::from(&wire.task_id));
        let Some(state) = self.frameworks.get_mut(framework) else { return };
        if state.tasks.contains_key(&task_id) {
            return;
        }
        for resource in &mut wire.resources {
            allocate_wire(resource, &role);
        }
        let resources = held(&wire.resources, &role);
        let aware = state.capabilities.partition_aware;
        let over = is_terminal(wire.state());
        if over && was == Was::Registered {
            // Its end was acknowledged while this message was on its way, and nobody would
            // acknowledge it again. Otherwise the agent repeats the update.
            return;
        }
        let was_unreachable = state.unreachable.remove(&task_id).is_some();
        let task = Task {
            agent: id.clone(),
            resources: resources.clone(),
            released: over,
            wire: Arc::new(wire),
        };
        let wire = task.wire.clone();
        state.tasks.insert(task_id.clone(), task);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.insert((framework.clone(), task_id.clone()));
            if !over {
                agent.use_more(framework, &resources);
            }
        }
        self.publish_task(|| Change::TaskAdded(wire.clone()));
        if was == Was::Unreachable && !over {
            if aware || was_unreachable {
                let cause = Cause {
                    state: wire.state(),
                    reason: Some(Reason::AgentReregistered),
                    message: "Unreachable agent re-registered",
                };
                let mut event = event_of(event::Type::Update);
                event.update =
                    Some(event::Update { status: status(&task_id, Some(id), cause, now) });
                self.tell(framework, event);
            } else {
                // The framework was told that the task is lost, and may have started another.
                self.send_kill(id, framework, &task_id, None);
            }
        }
    }

    /// The role of resources that do not say to which they are allocated: agents from before
    /// MULTI_ROLE report such.
    fn only_role(&self, framework: &FrameworkId) -> Role {
        self.frameworks
            .get(framework)
            .and_then(|framework| framework.roles.first().cloned())
            .unwrap_or_else(Role::star)
    }

    /// What an agent tells about itself while it is registered: oversubscription, and a new state
    /// of its resources.
    pub(super) fn update_agent(&mut self, pid: &str, message: internal::UpdateSlaveMessage) {
        let Some(id) = self.speaking_agent(pid, &message.agent_id).cloned() else {
            self.counters.messages_dropped += 1;
            return;
        };
        if let Some(refusal) = refused_providers(&message) {
            self.publish(Change::AgentRefused { agent_id: id.clone(), refusal });
        }
        let oversubscribed = match Resources::from_wire(&message.oversubscribed_resources) {
            Ok(oversubscribed) => oversubscribed,
            Err(error) => {
                self.counters.messages_dropped += 1;
                let refusal = format!("its oversubscribed resources are not valid: {error}");
                return self.publish(Change::AgentRefused { agent_id: id, refusal });
            }
        };
        let has_operations = message.operations.is_some();
        let operations = message.operations.map(|told| told.operations).unwrap_or_default();
        self.compare_operations(&id, operations);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if message.resource_version_uuid.is_some() {
            agent.resource_version = message.resource_version_uuid;
        }
        // Agents from before the flag send this message for nothing else.
        if !message.update_oversubscribed_resources.unwrap_or(!has_operations) {
            return;
        }
        let total = agent.total.non_revocable().plus(&oversubscribed.revocable());
        if total == agent.total {
            return;
        }
        agent.total = total.clone();
        let (info, capabilities) = (agent.info.clone(), agent.capabilities);
        let stale: Vec<u64> = agent
            .offers
            .iter()
            .copied()
            .filter(|number| {
                self.offers
                    .get(number)
                    .is_some_and(|offer| offer.resources.iter().any(|resource| resource.revocable))
            })
            .collect();
        self.allocator.update_agent(&id, info, capabilities, total);
        for number in stale {
            self.rescind(number);
        }
    }
}

/// Resource providers add what is theirs to an agent; here nobody can be offered that, and the
/// operator who set them up should know.
fn refused_providers(message: &internal::UpdateSlaveMessage) -> Option<String> {
    let providers = &message.resource_providers.as_ref()?.providers;
    let names: Vec<String> = providers
        .iter()
        .map(|provider| match &provider.info {
            Some(info) => format!("{}.{}", info.r#type, info.name),
            None => "one without a name".to_owned(),
        })
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "resource providers are not supported, what they have is not offered: {}; remove them \
             from the agent's --resource_provider_config_dir",
            names.join(", ")
        )
    })
}

/// What a task or executor holds, from how a peer says it. What cannot be understood is not held.
fn held(resources: &[v1::Resource], role: &Role) -> Resources {
    resources.iter().filter_map(|wire| super::launch::upgraded(wire, role).ok()).collect()
}
