//! What the master counts over its life: the part of `/metrics/snapshot` that no state tells.

use std::collections::BTreeMap;

use mesos_api::v1::task_status::{Reason, Source};
use mesos_api::v1::{TaskState, scheduler};

/// Events since the master started.
#[derive(Debug, Default, Clone)]
pub struct Counters {
    /// Calls of schedulers, by type.
    pub calls: BTreeMap<scheduler::call::Type, u64>,
    /// Messages of agents, by their full name on the wire.
    pub agent_messages: BTreeMap<&'static str, u64>,
    /// Tasks that reached a terminal state, by state, source and reason.
    pub terminal_tasks: BTreeMap<(TaskState, Source, Option<Reason>), u64>,
    pub status_updates_valid: u64,
    pub status_updates_invalid: u64,
    pub acknowledgements_valid: u64,
    pub acknowledgements_invalid: u64,
    pub messages_dropped: u64,
    pub agent_registrations: u64,
    pub agent_reregistrations: u64,
    pub agent_removals: u64,
    pub agents_unreachable: u64,
    pub offers_made: u64,
    pub allocation_runs: u64,
    pub frameworks_removed: u64,
    pub operations: u64,
}
