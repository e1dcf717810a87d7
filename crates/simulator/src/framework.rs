//! A framework: takes offers, launches, kills, acknowledges, asks, and remembers what it was told.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::TaskId;
use cluster::master::is_terminal;
use cluster::resources::{Format, Resource, Resources};
use cluster::rng::Rng;
use mesos_api::v1;
use mesos_api::v1::framework_info::capability;
use mesos_api::v1::scheduler::{Call, Event, call};
use mesos_api::v1::{TaskState, offer};

/// What a framework knows of a task of its own.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) agent: v1::AgentId,
    pub(crate) state: TaskState,
    /// The last state came from the agent and is acknowledged: it is final.
    pub(crate) settled: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) name: u32,
    pub(crate) info: v1::FrameworkInfo,
    pub(crate) tasks: BTreeMap<TaskId, Known>,
    /// Which subscription is current; none while it has no stream.
    pub(crate) stream: Option<u64>,
    pub(crate) subscribed: bool,
    /// Launches new tasks.
    pub(crate) busy: bool,
    launched: u32,
    /// What it was told that contradicts what it was told before.
    pub(crate) contradiction: Option<String>,
}

impl Framework {
    pub(crate) fn new(name: u32, rng: &mut Rng) -> Self {
        let capability =
            |kind: capability::Type| v1::framework_info::Capability { r#type: Some(kind.into()) };
        let mut capabilities = vec![capability(capability::Type::PartitionAware)];
        if rng.one_in(2) {
            capabilities.push(capability(capability::Type::ReservationRefinement));
        }
        let info = v1::FrameworkInfo {
            user: "root".into(),
            name: format!("framework {name}"),
            checkpoint: Some(true),
            failover_timeout: Some(1e6),
            capabilities,
            ..v1::FrameworkInfo::default()
        };
        Self {
            name,
            info,
            tasks: BTreeMap::new(),
            stream: None,
            subscribed: false,
            busy: true,
            launched: 0,
            contradiction: None,
        }
    }

    pub(crate) fn subscribe(&self) -> Call {
        let mut call = self.call(call::Type::Subscribe);
        let subscribe =
            call::Subscribe { framework_info: self.info.clone(), ..call::Subscribe::default() };
        call.subscribe = Some(subscribe);
        call
    }

    fn call(&self, kind: call::Type) -> Call {
        let mut call = Call { framework_id: self.info.id.clone(), ..Call::default() };
        call.set_type(kind);
        call
    }

    /// Takes in an event and answers it.
    pub(crate) fn hear(&mut self, event: Event, rng: &mut Rng) -> Vec<Call> {
        if let Some(subscribed) = event.subscribed {
            self.info.id = Some(subscribed.framework_id);
            self.subscribed = true;
            // What was missed meanwhile is asked for.
            return vec![self.reconcile(), self.call(call::Type::Revive)];
        }
        if let Some(offers) = event.offers {
            return offers.offers.into_iter().map(|offer| self.answer(&offer, rng)).collect();
        }
        match event.update {
            Some(update) => self.update(update.status).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn answer(&mut self, offer: &v1::Offer, rng: &mut Rng) -> Call {
        let has = Resources::from_wire(&offer.resources).unwrap_or_default();
        let cpus = has.amount("cpus").unwrap_or_default().as_milli();
        if !self.busy || cpus < 500 || rng.one_in(4) {
            let mut call = self.call(call::Type::Decline);
            let filters = Some(v1::Filters { refuse_seconds: Some(2.0) });
            let offer_ids = vec![offer.id.clone()];
            call.decline = Some(call::Decline { offer_ids, filters });
            return call;
        }
        let count = 1 + rng.below(3);
        let tasks = (0..count).map(|_| self.task(offer, rng)).collect();
        let mut operation = v1::offer::Operation::default();
        operation.set_type(offer::operation::Type::Launch);
        operation.launch = Some(offer::operation::Launch { task_infos: tasks });
        let mut call = self.call(call::Type::Accept);
        call.accept = Some(call::Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![operation],
            filters: Some(v1::Filters { refuse_seconds: Some(1.0) }),
        });
        call
    }

    fn task(&mut self, offer: &v1::Offer, rng: &mut Rng) -> v1::TaskInfo {
        let id = format!("f{}-t{}", self.name, self.launched);
        self.launched += 1;
        // Now and then more than there is: refused as invalid.
        let cpus = if rng.one_in(30) { 1e6 } else { 0.1 };
        let resources = [Resource::scalar("cpus", cpus), Resource::scalar("mem", 32.0)];
        let known =
            Known { agent: offer.agent_id.clone(), state: TaskState::TaskStaging, settled: false };
        self.tasks.insert(TaskId::from(id.as_str()), known);
        v1::TaskInfo {
            name: id.clone(),
            task_id: id.into(),
            agent_id: offer.agent_id.clone(),
            resources: Resources::from_iter(resources).to_wire(Format::Plain),
            command: Some(v1::CommandInfo {
                value: Some("true".into()),
                ..v1::CommandInfo::default()
            }),
            ..v1::TaskInfo::default()
        }
    }

    fn update(&mut self, status: v1::TaskStatus) -> Option<Call> {
        let state = status.state();
        let Some(known) = self.tasks.get_mut(status.task_id.value.as_str()) else {
            self.contradiction = Some(format!("told of task {}, never launched", status.task_id));
            return None;
        };
        if known.settled && !is_terminal(state) && status.uuid.is_some() {
            self.contradiction = Some(format!(
                "task {} was {} for good and is {}",
                status.task_id,
                known.state.as_str_name(),
                state.as_str_name()
            ));
        }
        if !known.settled {
            known.state = state;
        }
        known.settled |= is_terminal(state) && status.uuid.is_some();
        let uuid = status.uuid?;
        let mut call = self.call(call::Type::Acknowledge);
        call.acknowledge =
            Some(call::Acknowledge { agent_id: status.agent_id?, task_id: status.task_id, uuid });
        Some(call)
    }

    /// Asks after everything that is not over, by name.
    pub(crate) fn reconcile(&self) -> Call {
        let tasks = self.open().map(|(task, known)| call::reconcile::Task {
            task_id: task.into(),
            agent_id: Some(known.agent.clone()),
        });
        let mut call = self.call(call::Type::Reconcile);
        call.reconcile = Some(call::Reconcile { tasks: tasks.collect() });
        call
    }

    /// Tasks that are not over as far as the framework knows.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&TaskId, &Known)> {
        // What the master says alone may be taken back: UNKNOWN and UNREACHABLE may come back.
        self.tasks
            .iter()
            .filter(|(_, known)| !is_terminal(known.state) && known.state != TaskState::TaskUnknown)
    }

    /// Kills one of the open tasks.
    pub(crate) fn kill(&self, rng: &mut Rng) -> Option<Call> {
        let open: BTreeSet<&TaskId> = self.open().map(|(task, _)| task).collect();
        let at = usize::try_from(rng.below(open.len().max(1) as u64)).unwrap_or(0);
        let task = *open.iter().nth(at)?;
        let mut call = self.call(call::Type::Kill);
        call.kill = Some(call::Kill { task_id: task.into(), ..call::Kill::default() });
        Some(call)
    }
}
