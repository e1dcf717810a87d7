//! Frameworks come, go away, come back, and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::scheduler::{call, event};

use super::framework::{Framework, Link, roles};
use super::input::Scheduler;
use super::output::{Change, Reply, Send};
use super::snapshot::CompletedFramework;
use super::timer::Timer;
use super::{Master, event_of, validate};
use crate::allocator::Constraints;
use crate::id::{AgentId, FrameworkId};
use crate::registry::Op;
use crate::resources::Resources;
use crate::wire::ToAgent;

/// A SUBSCRIBE or UPDATE_FRAMEWORK whose parts were found to be in order.
struct Wanted {
    info: v1::FrameworkInfo,
    suppressed: Vec<String>,
    constraints: Arc<Constraints>,
    constraints_wire: Option<Arc<v1::scheduler::OfferConstraints>>,
}

impl Master {
    pub(super) fn subscribe(
        &mut self,
        from: Scheduler,
        principal: Option<Arc<str>>,
        call: call::Subscribe,
    ) {
        let mut info = call.framework_info;
        if info.principal.is_none() {
            info.principal = principal.as_deref().map(str::to_owned);
        }
        let wanted = self.wanted(info, call.suppressed_roles, call.offer_constraints);
        let outcome = wanted.and_then(|wanted| self.subscribe_wanted(&from, wanted));
        if let Err(message) = outcome {
            self.refuse(from, message);
        }
    }

    /// Errors of meaning are told on the stream, which is open by then.
    fn refuse(&mut self, to: Scheduler, message: String) {
        let mut event = event_of(event::Type::Error);
        event.error = Some(event::Error { message });
        self.out.send.push(Send::Event { to: to.clone(), event: Box::new(event) });
        self.out.send.push(Send::Close(to));
    }

    fn validate_info(&self, info: &v1::FrameworkInfo) -> Result<(), String> {
        validate::framework::info(info)?;
        validate::framework::allowed_roles(&roles(info), self.config.roles.as_deref())
    }

    fn wanted(
        &self,
        info: v1::FrameworkInfo,
        suppressed: Vec<String>,
        constraints_wire: Option<v1::scheduler::OfferConstraints>,
    ) -> Result<Wanted, String> {
        self.validate_info(&info)?;
        let roles = roles(&info);
        validate::framework::suppressed(&roles, &suppressed)?;
        let constrained = constraints_wire.iter().flat_map(|wire| wire.role_constraints.keys());
        let foreign = constrained.filter(|role| !roles.contains(role.as_str())).min();
        if let Some(role) = foreign {
            return Err(format!(
                "Offer constraints specify `role_constraints` for a role '{role}' not contained in \
                 the set of roles"
            ));
        }
        let constraints = match &constraints_wire {
            Some(wire) => Constraints::compile(wire)
                .map_err(|error| format!("Offer constraints are not valid: {error}"))?,
            None => Constraints::default(),
        };
        Ok(Wanted {
            info,
            suppressed,
            constraints: Arc::new(constraints),
            constraints_wire: constraints_wire.map(Arc::new),
        })
    }

    fn subscribe_wanted(&mut self, from: &Scheduler, mut wanted: Wanted) -> Result<(), String> {
        let given = wanted.info.id.take().filter(|id| !id.value.is_empty());
        let id = match given {
            // A scheduler that subscribes again before it has its id is the same framework.
            None => match self.schedulers.get(from) {
                Some(id) => id.clone(),
                None => self.new_framework_id(),
            },
            Some(id) => FrameworkId::from(&id),
        };
        let removed = self.registry.removed_frameworks.contains_key(&id)
            || self.completed.iter().any(|completed| completed.snapshot.id == id);
        if removed {
            return Err("Framework has been removed".into());
        }
        wanted.info.id = Some((&id).into());
        if let Some(framework) = self.frameworks.get(&id) {
            // Who subscribes again gets no error for these, they just stay what they were.
            wanted.info.user.clone_from(&framework.info.user);
            wanted.info.checkpoint = framework.info.checkpoint;
            validate::framework::update(&framework.info, &wanted.info)?;
            self.resubscribe(&id, from, wanted);
        } else {
            self.add_framework(&id, from, wanted);
        }
        Ok(())
    }

    fn new_framework_id(&mut self) -> FrameworkId {
        loop {
            let id =
                FrameworkId::from(format!("{}-{:04}", self.config.info.id, self.next_framework));
            self.next_framework += 1;
            if !self.frameworks.contains_key(&id) {
                return id;
            }
        }
    }

    fn add_framework(&mut self, id: &FrameworkId, from: &Scheduler, wanted: Wanted) {
        let info = Arc::new(wanted.info);
        let link = Link::Connected(from.clone());
        let mut framework = Framework::new(id.clone(), info.clone(), link, self.now);
        framework.suppressed = wanted.suppressed.iter().map(|role| role.as_str().into()).collect();
        framework.constraints = wanted.constraints;
        framework.constraints_wire = wanted.constraints_wire;
        self.allocator.add_framework(id, framework.spec(), &BTreeMap::new());
        self.frameworks.insert(id.clone(), framework);
        self.attach(from.clone(), id);
        self.persist(Op::SetFramework { id: id.clone(), info });
        self.send_subscribed(id);
        self.publish(Change::FrameworkAdded(id.clone()));
    }

    /// A scheduler speaks from one framework only: what it was before is disconnected.
    fn attach(&mut self, from: Scheduler, id: &FrameworkId) {
        if let Some(other) = self.schedulers.insert(from, id.clone())
            && other != *id
        {
            self.disconnect(&other);
        }
    }

    fn resubscribe(&mut self, id: &FrameworkId, from: &Scheduler, wanted: Wanted) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let old = framework.scheduler().cloned();
        framework.link = Link::Connected(from.clone());
        framework.reregistered = Some(self.now);
        framework.generation += 1;
        if let Some(old) = old.filter(|old| old != from) {
            self.schedulers.remove(&old);
            self.refuse(old, "Framework failed over".into());
        }
        self.attach(from.clone(), id);
        self.drop_offers(id);
        self.set_wanted(id, wanted);
        self.allocator.activate_framework(id);
        self.send_subscribed(id);
        self.send_framework_to_agents(id);
        self.publish(Change::FrameworkUpdated(id.clone()));
    }

    /// Makes a framework what it now says it is.
    fn set_wanted(&mut self, id: &FrameworkId, wanted: Wanted) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let info = Arc::new(wanted.info);
        framework.set_info(info.clone());
        framework.suppressed = wanted.suppressed.iter().map(|role| role.as_str().into()).collect();
        framework.constraints = wanted.constraints;
        framework.constraints_wire = wanted.constraints_wire;
        let spec = framework.spec();
        let left: Vec<u64> = framework
            .offers
            .iter()
            .copied()
            .filter(|number| {
                self.offers.get(number).is_some_and(|offer| !framework.roles.contains(&offer.role))
            })
            .collect();
        self.allocator.update_framework(id, spec);
        if self.registry.frameworks.get(id) != Some(&info) {
            self.persist(Op::SetFramework { id: id.clone(), info });
        }
        for number in left {
            self.rescind(number);
        }
    }

    pub(super) fn update_framework_call(
        &mut self,
        id: &FrameworkId,
        call: call::UpdateFramework,
    ) -> Reply {
        let Some(framework) = self.frameworks.get(id) else {
            return Reply::BadRequest("Framework cannot be found".into());
        };
        let mut info = call.framework_info;
        if info.principal.is_none() {
            info.principal.clone_from(&framework.info.principal);
        }
        if let Err(error) = self.validate_info(&info) {
            return Reply::BadRequest(format!("Supplied FrameworkInfo is not valid: {error}"));
        }
        if let Err(error) = validate::framework::update(&framework.info, &info) {
            return Reply::BadRequest(format!("FrameworkInfo update is not valid: {error}"));
        }
        match self.wanted(info, call.suppressed_roles, call.offer_constraints) {
            Err(error) => {
                Reply::BadRequest(format!("'UpdateFramework' call is not valid: {error}"))
            }
            Ok(wanted) => {
                self.set_wanted(id, wanted);
                self.send_framework_to_agents(id);
                self.publish(Change::FrameworkUpdated(id.clone()));
                Reply::Ok
            }
        }
    }

    fn send_subscribed(&mut self, id: &FrameworkId) {
        let mut event = event_of(event::Type::Subscribed);
        event.subscribed = Some(Box::new(event::Subscribed {
            framework_id: id.into(),
            heartbeat_interval_seconds: Some(self.config.heartbeat_interval.as_secs_f64()),
            master_info: Some(self.config.info.clone()),
        }));
        self.tell(id, event);
    }

    /// Tells agents where the framework is now: those that run something for it.
    pub(super) fn send_framework_to_agents(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let message = internal::UpdateFrameworkMessage {
            framework_id: id.into(),
            pid: Some(framework.pid()),
            framework_info: Some((*framework.info).clone()),
        };
        let agents: Vec<AgentId> = self
            .agents
            .values()
            .filter(|agent| agent.used.contains_key(id))
            .map(|agent| agent.id.clone())
            .collect();
        for agent in agents {
            self.tell_agent(&agent, ToAgent::UpdateFramework(message.clone()));
        }
    }

    pub(super) fn scheduler_gone(&mut self, scheduler: &Scheduler) {
        let Some(id) = self.schedulers.remove(scheduler) else { return };
        let current = self.frameworks.get(&id).and_then(Framework::scheduler) == Some(scheduler);
        if current {
            self.disconnect(&id);
        }
    }

    fn disconnect(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        framework.link = Link::Disconnected;
        framework.generation += 1;
        let timeout = framework.failover_timeout();
        let timer = Timer::Failover { framework: id.clone(), generation: framework.generation };
        self.timers.set(self.now + timeout, timer);
        self.allocator.deactivate_framework(id);
        self.drop_offers(id);
        self.publish(Change::FrameworkUpdated(id.clone()));
    }

    pub(super) fn failover_due(&mut self, id: &FrameworkId, generation: u64) {
        let meant = self.frameworks.get(id).is_some_and(|framework| {
            framework.generation == generation && !framework.is_connected()
        });
        if meant {
            self.remove_framework(id, "Framework failover timeout elapsed");
        }
    }

    /// A framework that this master has not seen itself. It has its failover timeout to come back:
    /// the registry remembers it, which Mesos' does not.
    pub(super) fn recover_framework(&mut self, id: &FrameworkId, info: Arc<v1::FrameworkInfo>) {
        let mut framework = Framework::new(id.clone(), info, Link::Recovered, self.now);
        framework.generation = 1;
        let timeout = framework.failover_timeout();
        self.allocator.add_framework(id, framework.spec(), &BTreeMap::new());
        self.allocator.deactivate_framework(id);
        self.frameworks.insert(id.clone(), framework);
        // Agents and frameworks come back in any order: a timeout shorter than the agents' would
        // end tasks of a framework that is only slower than its agents.
        let timeout = timeout.max(self.config.agent_reregister_timeout);
        self.timers
            .set(self.now + timeout, Timer::Failover { framework: id.clone(), generation: 1 });
    }

    /// Ends a framework: its tasks are killed, and it must not come back.
    pub(super) fn remove_framework(&mut self, id: &FrameworkId, why: &str) {
        if !self.frameworks.contains_key(id) {
            return;
        }
        self.drop_offers(id);
        let shutdown = internal::ShutdownFrameworkMessage { framework_id: id.into() };
        let agents: Vec<AgentId> = self.agents.keys().cloned().collect();
        for agent in &agents {
            self.tell_agent(agent, ToAgent::ShutdownFramework(shutdown.clone()));
        }
        self.end_tasks(id, why);
        for agent in &agents {
            self.remove_executors_of(id, agent);
        }
        self.orphan_operations(id);
        self.allocator.remove_framework(id);
        let Some(framework) = self.frameworks.remove(id) else { return };
        if let Some(scheduler) = framework.scheduler() {
            self.schedulers.remove(scheduler);
            // An old driver waits for nothing more; a stream is ended.
            self.out.send.push(Send::Close(scheduler.clone()));
        }
        self.counters.frameworks_removed += 1;
        self.persist(Op::RemoveFramework { id: id.clone(), now: self.now });
        self.publish(Change::FrameworkRemoved(framework.info.clone()));
        self.completed.push_back(CompletedFramework::new(framework, self.now));
        while self.completed.len() > self.config.max_completed_frameworks {
            self.completed.pop_front();
        }
    }

    /// Nobody listens any more: the tasks are over as far as this framework goes. Their agents have
    /// been told to end them.
    fn end_tasks(&mut self, id: &FrameworkId, why: &str) {
        let tasks: Vec<_> = self
            .frameworks
            .get(id)
            .map(|framework| framework.tasks.keys().cloned().collect())
            .unwrap_or_default();
        for task in tasks {
            let cause = super::task::Cause {
                state: TaskState::TaskKilled,
                reason: Some(v1::task_status::Reason::FrameworkRemoved),
                message: why,
            };
            self.end_task(id, &task, cause);
        }
    }

    fn remove_executors_of(&mut self, id: &FrameworkId, agent: &AgentId) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        let mut freed = Resources::new();
        state.executors.retain(|(framework, _), executor| {
            if framework == id {
                freed.add_all(&executor.resources);
            }
            framework != id
        });
        state.use_less(id, &freed);
        self.allocator.free(id, agent, &freed);
    }
}
