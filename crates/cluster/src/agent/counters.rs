//! What the agent counts over its life: the part of `/metrics/snapshot` that no state tells.

use crate::judged::Judged;

/// Events since the agent started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Containers that could not be started.
    pub container_launch_errors: u64,
    pub executors_terminated: u64,
    /// Statuses of tasks that are here, and of others.
    pub status_updates: Judged,
    /// Messages between frameworks and executors that could be passed on, and others.
    pub framework_messages: Judged,
}
