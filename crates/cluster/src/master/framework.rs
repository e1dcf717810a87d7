//! A framework as the master knows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mesos_api::v1;

use super::counters::FrameworkCounters;
use super::input::Scheduler;
use super::task::Task;
use crate::allocator::{Constraints, FrameworkSpec};
use crate::capability::FrameworkCapabilities;
use crate::id::{FrameworkId, Role, TaskId};
use crate::resources::{Format, Quantities, Scalar};
use crate::time::Time;

/// Whether anybody listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    Connected(Scheduler),
    Disconnected,
    /// Known from the registry or from an agent, and not subscribed since this master started.
    Recovered,
}

/// A framework that is neither torn down nor timed out.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) id: FrameworkId,
    pub(super) info: Arc<v1::FrameworkInfo>,
    pub(super) capabilities: FrameworkCapabilities,
    pub(super) roles: BTreeSet<Role>,
    pub(super) suppressed: BTreeSet<Role>,
    pub(super) constraints: Arc<Constraints>,
    pub(super) constraints_wire: Option<Arc<v1::scheduler::OfferConstraints>>,
    pub(super) link: Link,
    pub(super) registered: Time,
    pub(super) reregistered: Option<Time>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) unreachable: BTreeMap<TaskId, Arc<v1::Task>>,
    pub(super) completed: VecDeque<Arc<v1::Task>>,
    /// Tasks that were never started, with the reason.
    pub(super) refused: VecDeque<Arc<v1::Task>>,
    pub(super) offers: BTreeSet<u64>,
    pub(super) inverse_offers: BTreeSet<u64>,
    pub(super) counters: FrameworkCounters,
    /// Which failover timer is meant.
    pub(super) generation: u64,
}

impl Framework {
    pub(super) fn new(
        id: FrameworkId,
        info: Arc<v1::FrameworkInfo>,
        link: Link,
        now: Time,
    ) -> Self {
        let mut framework = Self {
            id,
            capabilities: FrameworkCapabilities::default(),
            roles: BTreeSet::new(),
            suppressed: BTreeSet::new(),
            constraints: Arc::default(),
            constraints_wire: None,
            link,
            registered: now,
            reregistered: None,
            tasks: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            completed: VecDeque::new(),
            refused: VecDeque::new(),
            offers: BTreeSet::new(),
            inverse_offers: BTreeSet::new(),
            counters: FrameworkCounters::default(),
            generation: 0,
            info: info.clone(),
        };
        framework.set_info(info);
        framework
    }

    pub(super) fn set_info(&mut self, info: Arc<v1::FrameworkInfo>) {
        self.capabilities = FrameworkCapabilities::of(&info);
        self.roles = roles(&info);
        self.info = info;
    }

    pub(super) const fn scheduler(&self) -> Option<&Scheduler> {
        match &self.link {
            Link::Connected(scheduler) => Some(scheduler),
            Link::Disconnected | Link::Recovered => None,
        }
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.link, Link::Connected(_))
    }

    /// The pid that agents are told: libprocess' way to say "nowhere" for HTTP schedulers.
    pub(super) fn pid(&self) -> String {
        match self.scheduler() {
            Some(Scheduler::Pid(pid)) => pid.to_string(),
            _ => "@0.0.0.0:0".to_owned(),
        }
    }

    pub(super) const fn format(&self) -> Format {
        if self.capabilities.reservation_refinement { Format::Refined } else { Format::Plain }
    }

    pub(super) fn failover_timeout(&self) -> Duration {
        let secs = self.info.failover_timeout.unwrap_or(0.0);
        Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or(Duration::MAX)
    }

    pub(super) fn spec(&self) -> FrameworkSpec {
        FrameworkSpec {
            roles: self.roles.clone(),
            suppressed: self.suppressed.clone(),
            capabilities: self.capabilities,
            min_allocatable: min_allocatable(&self.info),
            constraints: self.constraints.clone(),
        }
    }
}

/// The roles a framework subscribes to.
pub(super) fn roles(info: &v1::FrameworkInfo) -> BTreeSet<Role> {
    if FrameworkCapabilities::of(info).multi_role {
        info.roles.iter().map(|role| Role::from(role.as_str())).collect()
    } else {
        BTreeSet::from([Role::from(info.role())])
    }
}

fn min_allocatable(info: &v1::FrameworkInfo) -> BTreeMap<Role, Vec<Quantities>> {
    let quantities = |wire: &v1::offer_filters::ResourceQuantities| {
        wire.quantities
            .iter()
            .map(|(name, scalar)| (Arc::from(name.as_str()), Scalar::from_f64(scalar.value)))
            .collect()
    };
    info.offer_filters
        .iter()
        .filter_map(|(role, filters)| {
            let smallest = filters.min_allocatable_resources.as_ref()?;
            let smallest = smallest.quantities.iter().map(quantities).collect();
            Some((Role::from(role.as_str()), smallest))
        })
        .collect()
}
