//! What the agent remembers: frameworks, their executors, their tasks.

use std::collections::{BTreeMap, VecDeque};

use mesos_api::v1::framework_info::capability;
use mesos_api::v1::{
    CheckStatusInfo, ContainerStatus, ExecutorInfo, FrameworkInfo, NetworkInfo, Resource, Task,
    TaskGroupInfo, TaskInfo, TaskState,
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
    /// Nobody either: each task of its groups has a container of its own below the executor's.
    Default,
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
    /// Another task of its group has failed or was killed.
    ByGroup,
}

/// What waits for a custom executor to subscribe.
#[derive(Debug, Clone, PartialEq)]
pub enum Queued {
    Task(Box<TaskInfo>),
    Group(TaskGroupInfo),
}

/// Where a task of the default executor runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// `<executor's container>.<own>`.
    pub container: ContainerId,
    /// Tasks that were launched together have the same.
    pub group: String,
    /// The container's own addresses, possibly none; `None` while it is on the host's network.
    pub network_infos: Option<Vec<NetworkInfo>>,
    pub pid: Option<u32>,
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
    pub queued: Vec<Queued>,
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    /// Tasks whose last update was acknowledged.
    pub completed: VecDeque<Task>,
    /// When a missing subscription, or a container that does not end, is given up.
    pub deadline: Option<Time>,
    /// It ran already when this agent started.
    pub recovered: bool,
    /// Whether a custom executor's subscription is open.
    pub connected: bool,
    /// The container's own addresses, possibly none; `None` while it is on the host's network.
    pub network_infos: Option<Vec<NetworkInfo>>,
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
    /// When it was first told to run, from which its time is counted.
    pub running_since: Option<Time>,
    pub complete_by: Option<Time>,
    /// What the last health check said.
    pub healthy: Option<bool>,
    /// What the last check saw; nothing yet is told as such. `None` for tasks without a check.
    pub checked: Option<CheckStatusInfo>,
    /// Of tasks that have a container besides their executor's.
    pub member: Option<Member>,
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

    /// The state of a task that ran and does so no more, and nobody saw how it ended.
    pub(super) fn gone(&self) -> TaskState {
        if self.can(capability::Type::PartitionAware) {
            TaskState::TaskGone
        } else {
            TaskState::TaskLost
        }
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
        status(&self.container, self.network_infos.clone().unwrap_or_default(), self.pid)
    }

    /// What a status of one of its tasks says about the task's container.
    pub(super) fn container_status(&self, task: &TaskId, host_ip: &str) -> ContainerStatus {
        let member = self.tasks.get(task).and_then(|task| task.member.as_ref());
        let (container, infos, pid) = match member {
            Some(member) => (&member.container, member.network_infos.clone(), member.pid),
            None => (&self.container, self.network_infos.clone(), self.pid),
        };
        status(container, infos.unwrap_or_else(|| on_host(host_ip)), pid)
    }

    /// Whether a task waits for the executor.
    pub fn is_queued(&self, task: &str) -> bool {
        self.queued.iter().any(|queued| queued.tasks().iter().any(|it| it.task_id.value == task))
    }
}

impl Queued {
    pub fn tasks(&self) -> &[TaskInfo] {
        match self {
            Self::Task(task) => std::slice::from_ref(&**task),
            Self::Group(group) => &group.tasks,
        }
    }
}

fn status(
    container: &ContainerId,
    network_infos: Vec<NetworkInfo>,
    executor_pid: Option<u32>,
) -> ContainerStatus {
    let container_id = Some(container.to_wire());
    ContainerStatus { container_id, network_infos, cgroup_info: None, executor_pid }
}

fn on_host(ip: &str) -> Vec<NetworkInfo> {
    use mesos_api::v1::network_info::{IpAddress, Protocol};
    let mut address = IpAddress { ip_address: Some(ip.to_owned()), protocol: None };
    address.set_protocol(if ip.contains(':') { Protocol::IPv6 } else { Protocol::IPv4 });
    vec![NetworkInfo { ip_addresses: vec![address], ..NetworkInfo::default() }]
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
