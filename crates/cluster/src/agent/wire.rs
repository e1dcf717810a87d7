//! What goes into the agent's core and what comes out of it.

use bytes::Bytes;
use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{
    AgentInfo, CheckStatusInfo, ExecutorInfo, FrameworkInfo, NetworkInfo, Resource, TaskInfo,
    executor,
};

use super::operations::VolumeId;
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::wire::{FromAgent, ToAgent};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A master leads and can be written to, or there is none.
    Master(bool),
    /// What [`Output::Authenticate`] came to, if it came to an end: the master believes it, or does
    /// not, which no further attempt will change.
    Authenticated(Result<(), String>),
    /// The leading master says something.
    FromMaster(Box<ToAgent>),
    /// The containerizer says something about a container.
    Container {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        event: ContainerEvent,
    },
    /// A custom executor's subscription broke.
    ExecutorGone { framework: FrameworkId, executor: ExecutorId, container: ContainerId },
    /// Time has passed.
    Tick,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; `None` when a signal or nobody knows what ended it.
    pub code: Option<i32>,
    /// The kernel killed it for its memory.
    pub out_of_memory: bool,
    /// In words, for the framework.
    pub message: String,
}

/// What a containerizer sees.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerEvent {
    /// Its files and image are there, it is being created.
    Starting,
    /// It runs; after the agent's restart: it still runs.
    Launched {
        /// What the engine tells of it, as JSON; becomes the data of the task's status.
        data: Bytes,
        /// Its own addresses, possibly none; `None` on the host's network.
        network_infos: Option<Vec<NetworkInfo>>,
        pid: Option<u32>,
    },
    /// It could not be started.
    Refused { reason: Reason, message: String },
    /// A health check changed its mind, or wants the task dead.
    Health { healthy: bool, kill: bool, message: String },
    /// What the task's check saw, news or not.
    Checked(CheckStatusInfo),
    /// It ended.
    Ended(Exit),
}

/// A container to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    pub framework_id: FrameworkId,
    pub executor_id: ExecutorId,
    pub container_id: ContainerId,
    pub framework: FrameworkInfo,
    pub executor: ExecutorInfo,
    /// The task that the container runs itself; `None` for a custom executor.
    pub task: Option<TaskInfo>,
    /// What the container may use: the executor's and its first tasks' resources.
    pub resources: Vec<Resource>,
    /// The role that the resources were offered to.
    pub role: String,
    /// For one of several containers of an executor: what all of them may use together.
    pub group: Option<Vec<Resource>>,
}

/// Something to make durable.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "it always travels in a box")]
pub enum Record {
    Agent(AgentInfo),
    Resources(Vec<Resource>),
    Framework {
        id: FrameworkId,
        info: FrameworkInfo,
        pid: Option<String>,
    },
    Executor {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        info: ExecutorInfo,
        /// Whether the task's container is the executor.
        command: bool,
    },
    Task {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        info: Box<TaskInfo>,
        /// The task's own container and its group, under the default executor.
        member: Option<(ContainerId, String)>,
    },
    /// One more line in the stream of a task.
    Update {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        task: TaskId,
        record: Box<wire::StatusUpdateRecord>,
    },
    /// A kill is on its way, so that an exit seen after a restart is understood.
    Killing {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        task: TaskId,
        killing: super::Killing,
    },
    /// Nothing of this run is of interest any more.
    Finished {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
    },
    FrameworkFinished {
        framework: FrameworkId,
    },
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Persist(Box<Record>),
    Send(Box<FromAgent>),
    /// Prove to the master who this agent is, and forget earlier attempts.
    Authenticate,
    /// Start a container; its life is reported as [`Input::Container`].
    Launch(Box<Launch>),
    /// Look after a container that an earlier agent started.
    Reattach(Box<Launch>),
    /// Ask the container to end, and kill it when that takes longer.
    Stop {
        container: ContainerId,
        grace: std::time::Duration,
    },
    /// Kill the container, or stop fetching and pulling for it.
    Destroy {
        container: ContainerId,
    },
    /// Nobody needs anything of the container any more. Those of [`Record::Finished`] are not named
    /// again.
    Remove {
        container: ContainerId,
    },
    /// The container may use this from now on; one of several: all of them together.
    Resize {
        container: ContainerId,
        resources: Vec<Resource>,
    },
    /// Make the directory of a persistent volume.
    MakeVolume(VolumeId),
    /// Delete a persistent volume with everything in it.
    DeleteVolume(VolumeId),
    /// Write an event to the subscribed executor.
    Executor {
        container: ContainerId,
        event: Box<executor::Event>,
    },
    /// The agent process ends at once; what runs goes on.
    Exit(String),
    /// The agent process ends once nothing of it runs any more; the text is empty if that is fine.
    Leave(String),
}

impl Output {
    pub(super) fn persist(record: Record) -> Self {
        Self::Persist(Box::new(record))
    }

    pub(super) fn send(message: FromAgent) -> Self {
        Self::Send(Box::new(message))
    }
}
