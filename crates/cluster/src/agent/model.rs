//! What the agent remembers: frameworks, their executors, their tasks.

use std::collections::{BTreeMap, VecDeque};

use mesos_api::v1::framework_info::capability;
use mesos_api::v1::{
    ContainerStatus, ExecutorInfo, FrameworkInfo, NetworkInfo, Resource, Task, TaskInfo, TaskState,
};

use super::stream::Stream;
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::time::Time;

/// A framework with executors on this agent, or, when completed, one that had.
#[derive(Debug, Clone)]
pub struct Framework {
    pub id: FrameworkId,
    pub info: FrameworkInfo,
    /// Where a v0 scheduler listens; HTTP schedulers have none.
    pub pid: Option<String>,
    pub executors: BTreeMap<ExecutorId, Executor>,
    pub completed: VecDeque<CompletedExecutor>,
    /// The master said that the framework is over: updates are no longer wanted.
    pub shutting_down: bool,
}

/// Who runs a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: the container is the task.
    Command,
    /// A program that speaks the executor API.
    Custom,
}

/// Where an executor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorState {
    /// Launched, not yet running (command) or subscribed (custom).
    Registering,
    Running,
    /// Told to end.
    Terminating,
    /// Its container has ended; updates may be unacknowledged.
    Terminated,
}

/// Why a task is being killed, which decides its last state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killing {
    ByFramework,
    ByHealth,
    ByTimeLimit,
    ByDrain,
}

/// One run of an executor.
#[derive(Debug, Clone)]
pub struct Executor {
    pub id: ExecutorId,
    pub info: ExecutorInfo,
    pub kind: Kind,
    pub container: ContainerId,
    pub state: ExecutorState,
    /// Tasks that wait for a custom executor to subscribe.
    pub queued: Vec<TaskInfo>,
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    /// Tasks whose last update was acknowledged.
    pub completed: VecDeque<Task>,
    /// When a missing subscription, or a container that does not end, is given up.
    pub deadline: Option<Time>,
    /// It ran already when this agent started.
    pub recovered: bool,
    /// Whether a custom executor's subscription is open.
    pub connected: bool,
    pub network_infos: Vec<NetworkInfo>,
    pub pid: Option<u32>,
    /// Why the agent itself ends it.
    pub(super) verdict: Option<(mesos_api::v1::task_status::Reason, String)>,
}

/// A task and its stream of updates.
#[derive(Debug, Clone)]
pub struct TaskRecord {
    pub info: TaskInfo,
    pub task: Task,
    pub stream: Stream,
    pub killing: Option<Killing>,
    pub complete_by: Option<Time>,
    /// What the last health check said.
    pub healthy: Option<bool>,
}

/// An executor that is over.
#[derive(Debug, Clone)]
pub struct CompletedExecutor {
    pub id: ExecutorId,
    pub info: ExecutorInfo,
    pub kind: Kind,
    pub container: ContainerId,
    pub tasks: Vec<Task>,
}

impl Framework {
    pub(super) fn new(id: FrameworkId, info: FrameworkInfo, pid: Option<String>) -> Self {
        let (executors, completed) = (BTreeMap::new(), VecDeque::new());
        Self { id, info, pid, executors, completed, shutting_down: false }
    }

    pub(super) fn can(&self, wanted: capability::Type) -> bool {
        self.info.capabilities.iter().any(|capability| capability.r#type() == wanted)
    }

    /// The state of a task that never got anywhere, in the words that the framework knows.
    pub(super) fn dropped(&self) -> TaskState {
        if self.can(capability::Type::PartitionAware) {
            TaskState::TaskDropped
        } else {
            TaskState::TaskLost
        }
    }
}

impl Executor {
    /// What the executor and its live tasks use.
    pub fn resources(&self) -> Vec<Resource> {
        let mut all = self.info.resources.clone();
        if self.kind == Kind::Command {
            all.clear(); // they are the task's
        }
        let live = self.tasks.values().filter(|t| !is_terminal(t.latest()));
        all.extend(live.flat_map(|t| t.info.resources.iter().cloned()));
        all
    }

    /// What is known of the container; without an address if it is on the host's network.
    pub fn status(&self) -> ContainerStatus {
        ContainerStatus {
            container_id: Some(self.container.as_str().into()),
            network_infos: self.network_infos.clone(),
            cgroup_info: None,
            executor_pid: self.pid,
        }
    }

    /// What a status says about the container.
    pub(super) fn container_status(&self, host_ip: &str) -> ContainerStatus {
        use mesos_api::v1::network_info::{IpAddress, Protocol};
        let infos = if self.network_infos.is_empty() {
            let mut address = IpAddress { ip_address: Some(host_ip.to_owned()), protocol: None };
            let six = host_ip.contains(':');
            address.set_protocol(if six { Protocol::IPv6 } else { Protocol::IPv4 });
            vec![NetworkInfo { ip_addresses: vec![address], ..NetworkInfo::default() }]
        } else {
            self.network_infos.clone()
        };
        ContainerStatus {
            container_id: Some(self.container.as_str().into()),
            network_infos: infos,
            cgroup_info: None,
            executor_pid: self.pid,
        }
    }
}

impl TaskRecord {
    /// The state that the agent knows of, whatever the master has been told yet.
    pub fn latest(&self) -> TaskState {
        self.task.state()
    }

    /// Whether nothing but an acknowledgement can still happen.
    pub fn is_over(&self) -> bool {
        is_terminal(self.latest())
    }
}

/// Whether nothing comes after `state`.
pub(super) fn is_terminal(state: TaskState) -> bool {
    use TaskState as S;
    match state {
        S::TaskStaging | S::TaskStarting | S::TaskRunning | S::TaskKilling => false,
        S::TaskUnreachable | S::TaskUnknown => false,
        S::TaskFinished | S::TaskFailed | S::TaskKilled | S::TaskError | S::TaskLost => true,
        S::TaskDropped | S::TaskGone | S::TaskGoneByOperator => true,
    }
}
