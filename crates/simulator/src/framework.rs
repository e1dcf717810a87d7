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

use crate::world::{ROLE, reserved};

/// What a framework knows of a task of its own.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) agent: v1::AgentId,
    pub(crate) state: TaskState,
    /// The last state came from the agent and is acknowledged: it is final.
    pub(crate) settled: bool,
    /// The group it was launched in, if in one.
    pub(crate) group: Option<Group>,
}

/// A launch of several tasks under one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    number: u32,
    executor: String,
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
    pub(crate) groups: u32,
    /// It wants no offers for now.
    suppressed: bool,
    /// It has asked for its own end, which may not have been heard.
    pub(crate) ending: bool,
    reserves: bool,
    /// What it was told that contradicts what it was told before.
    pub(crate) contradiction: Option<String>,
}

impl Framework {
    pub(crate) fn new(name: u32, rng: &mut Rng) -> Self {
        let capability =
            |kind: capability::Type| v1::framework_info::Capability { r#type: Some(kind.into()) };
        let mut capabilities = vec![capability(capability::Type::PartitionAware)];
        let refines = rng.one_in(2);
        if refines {
            capabilities.push(capability(capability::Type::ReservationRefinement));
        }
        let role = rng.one_in(2).then(|| ROLE.to_owned());
        let reserves = refines && role.is_some();
        let info = v1::FrameworkInfo {
            user: "root".into(),
            name: format!("framework {name}"),
            checkpoint: Some(true),
            failover_timeout: Some(1e6),
            capabilities,
            #[expect(deprecated, reason = "frameworks without MULTI_ROLE have no other way")]
            role,
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
            groups: 0,
            suppressed: false,
            ending: false,
            reserves,
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
            if self.ending {
                return vec![self.call(call::Type::Teardown)];
            }
            // What was missed meanwhile is asked for.
            self.suppressed = false;
            return vec![self.reconcile(), self.call(call::Type::Revive)];
        }
        if event.error.is_some() && self.ending {
            self.begin_anew();
            return Vec::new();
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
        let mut operations: Vec<_> = self.convert(&has, rng).into_iter().collect();
        let group = rng.one_in(3);
        operations.push(if group { self.group(offer, rng) } else { self.tasks(offer, rng) });
        let mut call = self.call(call::Type::Accept);
        call.accept = Some(call::Accept {
            offer_ids: vec![offer.id.clone()],
            operations,
            filters: Some(v1::Filters { refuse_seconds: Some(1.0) }),
        });
        call
    }

    /// Reserves a little of an offer, or gives it back.
    fn convert(&self, has: &Resources, rng: &mut Rng) -> Option<v1::offer::Operation> {
        if !self.reserves || !rng.one_in(4) {
            return None;
        }
        let resources = vec![reserved("cpus", 0.1)];
        let holds = Resources::from_wire(&resources).unwrap_or_default();
        let holds = holds.allocated_to(&ROLE.into());
        let mut operation = v1::offer::Operation::default();
        if has.iter().any(|item| holds.iter().all(|wanted| item.contains(wanted))) {
            operation.set_type(offer::operation::Type::Unreserve);
            operation.unreserve = Some(offer::operation::Unreserve { resources });
        } else {
            operation.set_type(offer::operation::Type::Reserve);
            let source = Vec::new();
            operation.reserve = Some(offer::operation::Reserve { source, resources });
        }
        Some(operation)
    }

    /// A few tasks, each by itself.
    fn tasks(&mut self, offer: &v1::Offer, rng: &mut Rng) -> v1::offer::Operation {
        let count = 1 + rng.below(3);
        let task_infos = (0..count).map(|_| self.task(offer, None, rng)).collect();
        let mut operation = v1::offer::Operation::default();
        operation.set_type(offer::operation::Type::Launch);
        operation.launch = Some(offer::operation::Launch { task_infos });
        operation
    }

    /// A few tasks that live and die together. Their executor may run already, or end just now.
    fn group(&mut self, offer: &v1::Offer, rng: &mut Rng) -> v1::offer::Operation {
        self.groups += 1;
        let executor = format!("e{}", rng.below(2));
        let group = Group { number: self.groups, executor: executor.clone() };
        let count = 1 + rng.below(3);
        let tasks = (0..count).map(|_| self.task(offer, Some(&group), rng)).collect();
        let resources = [Resource::scalar("cpus", cpus(rng)), Resource::scalar("mem", 16.0)];
        let mut info = v1::ExecutorInfo {
            executor_id: executor.into(),
            resources: Resources::from_iter(resources).to_wire(Format::Plain),
            ..v1::ExecutorInfo::default()
        };
        info.set_type(v1::executor_info::Type::Default);
        let mut operation = v1::offer::Operation::default();
        operation.set_type(offer::operation::Type::LaunchGroup);
        let task_group = v1::TaskGroupInfo { tasks };
        operation.launch_group = Some(offer::operation::LaunchGroup { executor: info, task_group });
        operation
    }

    fn task(&mut self, offer: &v1::Offer, group: Option<&Group>, rng: &mut Rng) -> v1::TaskInfo {
        let id = format!("f{}-t{}", self.name, self.launched);
        self.launched += 1;
        let resources = [Resource::scalar("cpus", cpus(rng)), Resource::scalar("mem", 32.0)];
        let known = Known {
            agent: offer.agent_id.clone(),
            state: TaskState::TaskStaging,
            settled: false,
            group: group.cloned(),
        };
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
        let Some(known) = self.tasks.get_mut(&TaskId::from(&status.task_id)) else {
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
        let group = known.group.clone();
        if let Some(half) = group.and_then(|group| self.half_started(&group)) {
            self.contradiction = Some(half);
        }
        let uuid = status.uuid?;
        let mut call = self.call(call::Type::Acknowledge);
        call.acknowledge =
            Some(call::Acknowledge { agent_id: status.agent_id?, task_id: status.task_id, uuid });
        Some(call)
    }

    /// Tells of a group of which some tasks were refused and others were not.
    fn half_started(&self, group: &Group) -> Option<String> {
        let mut members =
            self.tasks.iter().filter(|(_, known)| known.group.as_ref() == Some(group));
        let refused = members.clone().find(|(_, it)| it.state == TaskState::TaskError)?.0;
        let (started, known) = members.find(|(_, known)| {
            use TaskState::{TaskFailed, TaskFinished, TaskKilled, TaskRunning, TaskStarting};
            let started = [TaskStarting, TaskRunning, TaskFinished, TaskFailed, TaskKilled];
            started.contains(&known.state)
        })?;
        let state = known.state.as_str_name();
        Some(format!("task {refused} was refused, and {started} of its group is {state}"))
    }

    /// Asks for its own end.
    pub(crate) fn tear_down(&mut self) -> Call {
        self.ending = true;
        self.call(call::Type::Teardown)
    }

    /// It has ended, and is another now. What it launched is nobody's any more.
    fn begin_anew(&mut self) {
        self.info.id = None;
        self.tasks.clear();
        (self.ending, self.suppressed) = (false, false);
    }

    /// Wants offers no longer, or again; or says something new of itself.
    pub(crate) fn change_mind(&mut self, rng: &mut Rng) -> Call {
        if rng.one_in(3) {
            self.info.webui_url = Some(format!("http://framework/{}", rng.below(100)));
            let mut call = self.call(call::Type::UpdateFramework);
            let framework_info = self.info.clone();
            call.update_framework =
                Some(call::UpdateFramework { framework_info, ..call::UpdateFramework::default() });
            return call;
        }
        self.suppressed = !self.suppressed;
        self.call(if self.suppressed { call::Type::Suppress } else { call::Type::Revive })
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

    /// Kills one of the open tasks, or the executor of its group.
    pub(crate) fn kill(&self, rng: &mut Rng) -> Option<Call> {
        let open: BTreeSet<&TaskId> = self.open().map(|(task, _)| task).collect();
        let at = usize::try_from(rng.below(open.len().max(1) as u64)).unwrap_or(0);
        let task = *open.iter().nth(at)?;
        let known = self.tasks.get(task)?;
        if let Some(group) = known.group.as_ref().filter(|_| rng.one_in(4)) {
            let (executor_id, agent_id) = (group.executor.as_str().into(), known.agent.clone());
            let mut call = self.call(call::Type::Shutdown);
            call.shutdown = Some(call::Shutdown { executor_id, agent_id });
            return Some(call);
        }
        let mut call = self.call(call::Type::Kill);
        call.kill = Some(call::Kill { task_id: task.into(), ..call::Kill::default() });
        Some(call)
    }
}

/// Processors of a task or executor: now and then more than there are, which is refused.
fn cpus(rng: &mut Rng) -> f64 {
    if rng.one_in(30) { 1e6 } else { 0.1 }
}
