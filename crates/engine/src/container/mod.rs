//! Containers: their configuration, record, state, and the operations on them.
//!
//! Every container has one owner task. It takes requests one after the other, asks the policy
//! what to do, lets the driver do it, persists the new record, publishes it in a watch and tells
//! the event bus. Nobody else writes a container's record.

mod config;
mod host_config;
mod mode;
mod operations;
mod record;
mod request;
mod state;

pub use config::{ContainerConfig, ContainerPort, HealthConfig, Protocol};
pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, HostConfig, LogConfig, MountSpec, MountType,
    PortBinding, Resources, RestartPolicy, RestartPolicyName, ThrottleDevice, TmpfsOptions, Ulimit,
    VolumeOptions, WeightDevice,
};
pub use mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UsernsMode, UtsMode};
pub use record::{
    ContainerId, ContainerRecord, EndpointSettings, Intent, LiveEndpoint, MountPoint, PublishedPort,
};
pub use request::{
    AttachOptions, AttachStream, ContainerPaths, ContainerSize, ContainerSnapshot, CreateRequest,
    Created, ListFilter, RemoveOptions, StopOptions, TerminalSize, UpdateRequest, Wait,
    WaitCondition, WaitResult,
};
pub use state::{ContainerState, Health, HealthResult, HealthStatus, Status};
