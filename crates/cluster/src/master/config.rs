//! What an operator can set; the defaults are those of Mesos' flags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mesos_api::v1;

use crate::id::Role;
use crate::resources::{Quantities, Scalar};

/// A resolved configuration: every field has its final value.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this master is. `info.id` begins the ids of all it names.
    pub info: v1::MasterInfo,
    /// Feeds the shuffle and the ids of operations.
    pub seed: u64,
    /// `--allocation_interval`
    pub allocation_interval: Duration,
    /// Between the offers that changes lead to: what becomes free meanwhile is offered together.
    pub allocation_pause: Duration,
    /// `--min_allocatable_resources`: an offer holds at least one of these; empty means anything.
    pub min_allocatable: Vec<Quantities>,
    /// `--filter_gpu_resources`: agents with GPUs are kept for frameworks that know of them.
    pub filter_gpu_resources: bool,
    /// `--fair_sharing_excluded_resource_names`
    pub fair_sharing_excluded: Vec<Arc<str>>,
    /// `--offer_timeout`: none means that offers stay.
    pub offer_timeout: Option<Duration>,
    /// `--agent_ping_timeout`
    pub agent_ping_timeout: Duration,
    /// `--max_agent_ping_timeouts`
    pub max_agent_ping_timeouts: u32,
    /// `--agent_reregister_timeout`
    pub agent_reregister_timeout: Duration,
    /// `--agent_removal_rate_limit`: at most one agent per this time; none means no limit.
    pub agent_removal_interval: Option<Duration>,
    /// `--roles`: none means any.
    pub roles: Option<Vec<Role>>,
    /// `--weights`, until an operator changes them.
    pub weights: BTreeMap<Role, f64>,
    /// `--max_completed_frameworks`
    pub max_completed_frameworks: usize,
    /// `--max_completed_tasks_per_framework`
    pub max_completed_tasks_per_framework: usize,
    /// `--max_unreachable_tasks_per_framework`
    pub max_unreachable_tasks_per_framework: usize,
    /// `--max_executors_per_agent`: none means no limit.
    pub max_executors_per_agent: Option<usize>,
    /// `--registry_gc_interval`
    pub registry_gc_interval: Duration,
    /// `--registry_max_agent_age`
    pub registry_max_agent_age: Duration,
    /// `--registry_max_agent_count`
    pub registry_max_agent_count: usize,
    /// `--whitelist`, as it is at the start; none: agents of any host are offered.
    pub whitelist: Option<BTreeSet<String>>,
    /// `--require_agent_domain`
    pub require_agent_domain: bool,
    /// Told to schedulers; the driver sends the heartbeats.
    pub heartbeat_interval: Duration,
}

impl Config {
    /// The defaults, for a master that presents itself so.
    pub fn new(info: v1::MasterInfo) -> Self {
        let at_least = |name: &str, amount| {
            Quantities::from_iter([(Arc::from(name), Scalar::from_f64(amount))])
        };
        Self {
            info,
            seed: 0,
            allocation_interval: Duration::from_secs(1),
            allocation_pause: Duration::ZERO,
            min_allocatable: vec![at_least("cpus", 0.01), at_least("mem", 32.0)],
            filter_gpu_resources: true,
            fair_sharing_excluded: Vec::new(),
            offer_timeout: None,
            agent_ping_timeout: Duration::from_secs(15),
            max_agent_ping_timeouts: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            agent_removal_interval: None,
            roles: None,
            weights: BTreeMap::new(),
            max_completed_frameworks: 50,
            max_completed_tasks_per_framework: 1000,
            max_unreachable_tasks_per_framework: 1000,
            max_executors_per_agent: None,
            registry_gc_interval: Duration::from_secs(15 * 60),
            registry_max_agent_age: Duration::from_secs(14 * 24 * 3600),
            registry_max_agent_count: 102_400,
            whitelist: None,
            require_agent_domain: false,
            heartbeat_interval: Duration::from_secs(15),
        }
    }
}
