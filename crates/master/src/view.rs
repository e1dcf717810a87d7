//! Snapshots as messages of the operator API.

use std::collections::BTreeMap;

use cluster::id::{AgentId, FrameworkId};
use cluster::master::{AgentSnapshot, ExecutorSnapshot, FrameworkSnapshot, Snapshot};
use cluster::registry::{Drain, Quota};
use cluster::resources::{Format, Quantities, Resources, Scalar};
use cluster::time::Time;
use mesos_api::v1;
use mesos_api::v1::master::response::{get_agents, get_frameworks};
use mesos_api::v1::{DurationInfo, TimeInfo, quota};

/// What frameworks hold on all agents, gathered once for those who ask for many.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    used: BTreeMap<&'a FrameworkId, Resources>,
    executors: BTreeMap<&'a FrameworkId, Vec<(&'a AgentId, &'a ExecutorSnapshot)>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let mut index = Self { used: BTreeMap::new(), executors: BTreeMap::new() };
        for agent in &snapshot.agents {
            for (framework, used) in &agent.used {
                index.used.entry(framework).or_default().add_all(used);
            }
            for executor in &agent.executors {
                let of = index.executors.entry(&executor.framework_id).or_default();
                of.push((&agent.facts.id, executor));
            }
        }
        index
    }

    /// What a framework's tasks and executors hold.
    pub(crate) fn used(&self, framework: &FrameworkId) -> Resources {
        self.used.get(framework).cloned().unwrap_or_default()
    }

    /// A framework's executors, with the agents they are on.
    pub(crate) fn executors(
        &self,
        framework: &FrameworkId,
    ) -> &[(&'a AgentId, &'a ExecutorSnapshot)] {
        self.executors.get(framework).map_or(&[], Vec::as_slice)
    }
}

/// An executor as the framework described it, with the role that its resources went to.
pub(crate) fn executor_info(executor: &ExecutorSnapshot) -> v1::ExecutorInfo {
    let mut info = (*executor.info).clone();
    let role = executor.resources.iter().find_map(|resource| resource.allocation.as_ref());
    if let Some(role) = role {
        for resource in &mut info.resources {
            let allocation = resource.allocation_info.get_or_insert_default();
            allocation.role.get_or_insert_with(|| role.to_string());
        }
    }
    info
}

/// All frameworks: those that live, and those of the past.
pub(crate) fn all_frameworks(snapshot: &Snapshot) -> impl Iterator<Item = &FrameworkSnapshot> {
    snapshot.frameworks.iter().chain(completed_frameworks(snapshot))
}

/// The frameworks of the past.
pub(crate) fn completed_frameworks(
    snapshot: &Snapshot,
) -> impl Iterator<Item = &FrameworkSnapshot> {
    snapshot.completed_frameworks.iter().map(|framework| &**framework)
}

/// Tasks of the past, and those that were never started.
pub(crate) fn ended_tasks(framework: &FrameworkSnapshot) -> impl Iterator<Item = &v1::Task> {
    framework.completed_tasks.iter().map(|task| &**task)
}

/// What all frameworks hold on an agent.
pub(crate) fn agent_used(agent: &AgentSnapshot) -> Resources {
    let mut sum = Resources::new();
    agent.used.values().for_each(|used| sum.add_all(used));
    sum
}

/// An agent.
pub(crate) fn agent(agent: &AgentSnapshot) -> get_agents::Agent {
    get_agents::Agent {
        agent_info: (*agent.facts.info).clone(),
        active: agent.active,
        deactivated: Some(agent.deactivated),
        version: agent.facts.version.clone(),
        pid: Some(agent.facts.pid.to_string()),
        registered_time: Some(time(agent.facts.registered)),
        reregistered_time: agent.facts.reregistered.map(time),
        total_resources: resources(&agent.facts.total),
        allocated_resources: resources(&agent_used(agent)),
        offered_resources: resources(&agent.offered),
        capabilities: agent.facts.capabilities.clone(),
        resource_providers: Vec::new(),
        drain_info: agent.drain.as_ref().map(drain_info),
        estimated_drain_start_time: agent.drain.as_ref().map(|drain| time(drain.started)),
    }
}

/// A framework.
pub(crate) fn framework(
    snapshot: &Snapshot,
    used: &Resources,
    framework: &FrameworkSnapshot,
) -> get_frameworks::Framework {
    let connected = framework.is_connected();
    let offer = |offer| snapshot.offer_wire(framework, offer);
    let registered = time(framework.registered);
    get_frameworks::Framework {
        framework_info: (*framework.info).clone(),
        active: connected,
        connected,
        recovered: framework.is_recovered(),
        registered_time: Some(registered),
        reregistered_time: Some(framework.reregistered.map_or(registered, time)),
        unregistered_time: framework.unregistered.map(time),
        offers: framework.offers.iter().filter_map(offer).collect(),
        inverse_offers: framework.inverse_offers.clone(),
        allocated_resources: resources(used),
        offered_resources: resources(&framework.offered()),
        offer_constraints: Some(constraints(framework)),
    }
}

/// What a framework wants of the agents it is offered; nothing said is empty.
pub(crate) fn constraints(framework: &FrameworkSnapshot) -> v1::scheduler::OfferConstraints {
    framework.offer_constraints.as_deref().cloned().unwrap_or_default()
}

/// Agents that are admitted and did not come back yet.
pub(crate) fn recovered_agents(snapshot: &Snapshot) -> impl Iterator<Item = &v1::AgentInfo> {
    snapshot.recovered_agents.iter().map(|agent| &*agent.info)
}

/// How far an agent is drained.
pub(crate) fn drain_info(drain: &Drain) -> v1::DrainInfo {
    let state = if drain.drained { v1::DrainState::Drained } else { v1::DrainState::Draining };
    v1::DrainInfo {
        state: state.into(),
        config: v1::DrainConfig {
            max_grace_period: drain.max_grace_period.map(duration),
            mark_gone: Some(drain.mark_gone),
        },
    }
}

/// Resources as endpoints show them: in the older form and the newer, so far as the older can say
/// it.
#[allow(deprecated, reason = "the older form is what tools read")]
pub(crate) fn resources(resources: &Resources) -> Vec<v1::Resource> {
    let mut refined = resources.to_wire(Format::Refined);
    for (shown, plain) in refined.iter_mut().zip(resources.to_wire(Format::Plain)) {
        if shown.reservations.len() <= 1 {
            shown.role = Some(plain.role.unwrap_or_else(|| "*".to_owned()));
            shown.reservation = plain.reservation;
        }
    }
    refined
}

/// All roles with what they use.
pub(crate) fn roles(snapshot: &Snapshot) -> Vec<v1::Role> {
    snapshot
        .roles()
        .into_iter()
        .map(|(name, role)| {
            let both = Quantities::from(&role.allocated.plus(&role.offered));
            v1::Role {
                name: name.to_string(),
                weight: role.weight,
                frameworks: role.frameworks.iter().map(Into::into).collect(),
                resources: both.iter().map(|(name, amount)| scalar(name, amount)).collect(),
            }
        })
        .collect()
}

/// The weights that were set.
pub(crate) fn weights(snapshot: &Snapshot) -> Vec<v1::WeightInfo> {
    let weights = snapshot.weights.iter();
    weights
        .map(|(role, weight)| v1::WeightInfo { weight: *weight, role: Some(role.to_string()) })
        .collect()
}

/// The quotas that were set, in both forms.
#[allow(deprecated, reason = "tools read the older form")]
pub(crate) fn quota(snapshot: &Snapshot) -> quota::QuotaStatus {
    let mut status = quota::QuotaStatus::default();
    for (role, set) in &snapshot.quotas {
        status.configs.push(quota::QuotaConfig {
            role: role.to_string(),
            guarantees: scalars(set.guarantees.iter()),
            limits: scalars(set.limits.iter().map(|(name, amount)| (name, *amount))),
        });
        status.infos.push(quota::QuotaInfo {
            role: Some(role.to_string()),
            principal: None,
            guarantee: guarantee(set),
        });
    }
    status
}

fn guarantee(quota: &Quota) -> Vec<v1::Resource> {
    quota.guarantees.iter().map(|(name, amount)| scalar(name, amount)).collect()
}

fn scalars<'a>(
    amounts: impl Iterator<Item = (&'a std::sync::Arc<str>, Scalar)>,
) -> BTreeMap<String, v1::value::Scalar> {
    let one = |(name, amount): (&std::sync::Arc<str>, Scalar)| {
        (name.to_string(), v1::value::Scalar { value: amount.as_f64() })
    };
    amounts.map(one).collect()
}

fn scalar(name: &str, amount: Scalar) -> v1::Resource {
    let mut resource = v1::Resource {
        name: name.to_owned(),
        scalar: Some(v1::value::Scalar { value: amount.as_f64() }),
        ..v1::Resource::default()
    };
    resource.set_type(v1::value::Type::Scalar);
    resource
}

fn time(time: Time) -> TimeInfo {
    TimeInfo { nanoseconds: i64::try_from(time.as_nanos()).unwrap_or(i64::MAX) }
}

fn duration(duration: std::time::Duration) -> DurationInfo {
    DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}
