//! What the master counts over its life: the part of `/metrics/snapshot` that no state tells.

use std::collections::BTreeMap;

use mesos_api::v1::offer::operation;
use mesos_api::v1::task_status::{Reason, Source};
use mesos_api::v1::{OperationState, TaskState, scheduler};

use crate::judged::Judged;

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
    /// Agents that another one registered in place of.
    pub agents_replaced: u64,
    pub agents_unregistered: u64,
    pub agents_unreachable: u64,
    /// Those of the unreachable ones that did not come back since this master started.
    pub recovered_agents_unreachable: u64,
    /// Agents that wait, or waited, for their turn to be marked unreachable.
    pub agents_to_be_unreachable: u64,
    /// Those of them that answered in time.
    pub agents_spared: u64,
    pub offers_made: u64,
    pub allocation_runs: u64,
    pub frameworks_removed: u64,
    pub framework_resubscriptions: u64,
    /// Operations that agents were told to do, by type.
    pub operations: BTreeMap<operation::Type, u64>,
    /// Operations that are over, by type and how they ended.
    pub operations_ended: BTreeMap<(operation::Type, OperationState), u64>,
    pub operation_updates: Judged,
    pub operation_acknowledgements: Judged,
    pub messages_to_executors: Judged,
    pub messages_of_executors: Judged,
}

/// Events of one framework since it subscribed to this master.
#[derive(Debug, Default, Clone)]
pub struct FrameworkCounters {
    pub calls: BTreeMap<scheduler::call::Type, u64>,
    pub events: BTreeMap<scheduler::event::Type, u64>,
    /// Operations that it asked for when it accepted offers.
    pub operations: BTreeMap<operation::Type, u64>,
    /// Tasks that reached a terminal state, by state.
    pub ended: BTreeMap<TaskState, u64>,
    pub offers_sent: u64,
    pub offers_accepted: u64,
    pub offers_declined: u64,
    pub offers_rescinded: u64,
}
