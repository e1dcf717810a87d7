//! Containers: their configuration, record, state, and the operations on them.
//!
//! Every container has one owner task. It takes requests one after the other, asks the policy
//! what to do, lets the driver do it, persists the new record, publishes it in a watch and tells
//! the event bus. Nobody else writes a container's record.

mod config;
mod connect;
mod create;
pub(crate) mod driver;
pub(crate) mod exit;
pub(crate) mod handle;
mod host_config;
pub(crate) mod links;
mod list;
pub(crate) mod log;
mod mode;
mod name;
mod name_files;
mod namespaces;
pub(crate) mod network;
mod operations;
pub(crate) mod owner;
pub(crate) mod paths;
pub(crate) mod policy;
pub(crate) mod publish;
mod record;
pub(crate) mod remove;
mod request;
pub(crate) mod restart;
pub(crate) mod seccomp;
pub(crate) mod signal;
mod state;
mod update;
pub(crate) mod userns;
mod validate;

pub use config::{ContainerConfig, ContainerPort, HealthAction, HealthConfig, Protocol};
pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, HostConfig, LogConfig, MountSpec, MountType,
    PortBinding, Resources, RestartPolicy, RestartPolicyName, ThrottleDevice, TmpfsOptions, Ulimit,
    VolumeOptions, WeightDevice,
};
pub use links::Link;
pub use log::DRIVERS as LOG_DRIVERS;
pub use mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UtsMode};
pub use record::{
    ContainerId, ContainerRecord, EndpointSettings, Intent, LiveEndpoint, MountPoint, PublishedPort,
};
pub use request::{
    AttachOptions, AttachStream, ContainerPaths, ContainerSize, ContainerSnapshot, CreateRequest,
    Created, ListFilter, RemoveOptions, StopOptions, TerminalSize, UnnamedImage, UpdateRequest,
    Wait, WaitCondition, WaitResult,
};
pub use state::{ContainerState, Health, HealthResult, HealthStatus, Status};
pub use userns::{IdMap, IdRange, UsernsMode, remap};

/// The health a run begins with: unknown where it is probed, absent where it is not.
pub(crate) fn initial_health(config: &ContainerConfig) -> Option<Health> {
    let probe = config.healthcheck.as_ref()?.test.first()?;
    (probe != "NONE").then(Health::default)
}
