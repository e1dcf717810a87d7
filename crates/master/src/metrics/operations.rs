//! Operations on resources: how many of each type are in which state, or ended in it.

use std::collections::BTreeMap;

use cluster::master::Snapshot;
use mesos_api::v1::OperationState as State;
use mesos_api::v1::offer::operation::Type;

use super::{Metrics, counted, set};

/// Operations other than launches, which are counted as tasks.
const TYPES: [(Type, &str); 8] = [
    (Type::Reserve, "reserve"),
    (Type::Unreserve, "unreserve"),
    (Type::Create, "create"),
    (Type::Destroy, "destroy"),
    (Type::GrowVolume, "grow_volume"),
    (Type::ShrinkVolume, "shrink_volume"),
    (Type::CreateDisk, "create_disk"),
    (Type::DestroyDisk, "destroy_disk"),
];

/// States that an operation is in, and those that it ended in since the start.
const STATES: [(State, &str); 8] = [
    (State::OperationPending, "pending"),
    (State::OperationRecovering, "recovering"),
    (State::OperationUnreachable, "unreachable"),
    (State::OperationFinished, "finished"),
    (State::OperationFailed, "failed"),
    (State::OperationError, "error"),
    (State::OperationDropped, "dropped"),
    (State::OperationGoneByOperator, "gone_by_operator"),
];

pub(super) fn operations(snapshot: &Snapshot, metrics: &mut Metrics) {
    let mut known: BTreeMap<(Type, State), u64> = snapshot.counters.operations_ended.clone();
    for operation in &snapshot.operations {
        let state = operation.latest_status.state();
        // What is over has been counted when it ended.
        let lives = matches!(
            state,
            State::OperationPending | State::OperationRecovering | State::OperationUnreachable
        );
        if lives {
            *known.entry((operation.info.r#type(), state)).or_default() += 1;
        }
    }
    for (kind, name) in TYPES {
        let total = snapshot.counters.operations.get(&kind).copied().unwrap_or_default();
        set(metrics, &format!("master/operations/{name}/total"), counted(total));
        for (state, state_name) in STATES {
            let number = known.get(&(kind, state)).copied().unwrap_or_default();
            set(metrics, &format!("master/operations/{name}/{state_name}"), counted(number));
        }
    }
    let total = snapshot.counters.operations.values().sum();
    set(metrics, "master/operations/total", counted(total));
    for (state, name) in STATES {
        let of_state = known.iter().filter(|((_, of), _)| *of == state);
        let number = of_state.map(|(_, number)| number).sum();
        set(metrics, &format!("master/operations/{name}"), counted(number));
    }
}
