//! What the user says about the host's side of a container: mounts, limits, rights, network.
//!
//! Source of truth: Engine API v1.51, `HostConfig`, as far as Linux knows it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::config::ContainerPort;
use super::mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UtsMode};
use super::userns::UsernsMode;
use crate::error::Error;

/// The host's half of a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// `[source:]destination[:options]`.
    pub binds: Vec<String>,
    /// Mounts in the long form.
    pub mounts: Vec<MountSpec>,
    /// `path` to options.
    pub tmpfs: BTreeMap<String, String>,
    /// `container[:ro|rw]` whose mounts are taken over.
    pub volumes_from: Vec<String>,
    /// Driver of the volumes named in `binds`.
    pub volume_driver: String,
    /// Where the client wrote the id; informative.
    pub container_id_file: String,

    /// The network.
    pub network_mode: NetworkMode,
    /// Ports to publish; an empty list is one ephemeral port.
    pub port_bindings: BTreeMap<ContainerPort, Vec<PortBinding>>,
    /// Publish every exposed port.
    pub publish_all_ports: bool,
    /// Name servers.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// `name:ip`, where ip may be `host-gateway`.
    pub extra_hosts: Vec<String>,
    /// Legacy links, `container:alias`.
    pub links: Vec<String>,

    /// When the container comes back.
    pub restart_policy: RestartPolicy,
    /// Remove the container and its anonymous volumes when it ends.
    pub auto_remove: bool,
    /// Where output goes; an empty driver takes the daemon's default.
    pub log_config: LogConfig,
    /// A name in the daemon's runtimes; empty takes the default.
    pub runtime: String,
    /// Put a reaping process 1 in front; `None`: the daemon's default.
    pub init: Option<bool>,
    /// Initial terminal size as (rows, columns).
    pub console_size: Option<(u16, u16)>,
    /// Free annotations for the runtime.
    pub annotations: BTreeMap<String, String>,

    /// IPC namespace.
    pub ipc_mode: IpcMode,
    /// PID namespace.
    pub pid_mode: PidMode,
    /// UTS namespace.
    pub uts_mode: UtsMode,
    /// Cgroup namespace.
    pub cgroupns_mode: CgroupnsMode,
    /// User namespace.
    pub userns_mode: UsernsMode,

    /// All rights and devices.
    pub privileged: bool,
    /// Capabilities to add to the default set.
    pub cap_add: Vec<String>,
    /// Capabilities to take from the default set.
    pub cap_drop: Vec<String>,
    /// Additional groups, by name or number.
    pub group_add: Vec<String>,
    /// `seccomp=…`, `apparmor=…`, `label=…`, `no-new-privileges`, ….
    pub security_opt: Vec<String>,
    /// Paths hidden from the process; `None` takes the default list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths the process cannot write; `None` takes the default list.
    pub readonly_paths: Option<Vec<String>>,
    /// Mount the root read-only.
    pub readonly_rootfs: bool,
    /// Options of the container's writable layer, for example `size`.
    pub storage_opt: BTreeMap<String, String>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm`; 0 takes the default.
    pub shm_size_bytes: i64,
    /// Likelihood of being chosen by the OOM killer, -1000 to 1000.
    pub oom_score_adj: i64,
    /// `default` or empty.
    pub isolation: String,

    /// Limits.
    pub resources: Resources,
}

/// Limits of a container; 0, `None` and empty mean unset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight, 2 to 262144.
    pub cpu_shares: i64,
    /// CPUs in units of 1e-9.
    pub nano_cpus: i64,
    /// Length of a scheduling period in µs.
    pub cpu_period: i64,
    /// Run time per period in µs.
    pub cpu_quota: i64,
    /// Real-time period in µs.
    pub cpu_realtime_period: i64,
    /// Real-time run time in µs.
    pub cpu_realtime_runtime: i64,
    /// CPUs to run on, `0-2,4`.
    pub cpuset_cpus: String,
    /// Memory nodes to use.
    pub cpuset_mems: String,
    /// Memory limit in bytes.
    pub memory: i64,
    /// Soft limit in bytes.
    pub memory_reservation: i64,
    /// Memory plus swap in bytes; -1 unlimited.
    pub memory_swap: i64,
    /// 0 to 100; `None` or -1 the kernel's.
    pub memory_swappiness: Option<i64>,
    /// Whether the OOM killer is off.
    pub oom_kill_disable: Option<bool>,
    /// Number of tasks; `None` unlimited.
    pub pids_limit: Option<i64>,
    /// Relative block IO weight, 10 to 1000.
    pub blkio_weight: u16,
    /// Weight per device.
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Bytes per second read per device.
    pub blkio_device_read_bps: Vec<ThrottleDevice>,
    /// Bytes per second written per device.
    pub blkio_device_write_bps: Vec<ThrottleDevice>,
    /// Reads per second per device.
    pub blkio_device_read_iops: Vec<ThrottleDevice>,
    /// Writes per second per device.
    pub blkio_device_write_iops: Vec<ThrottleDevice>,
    /// Parent cgroup; empty takes the daemon's.
    pub cgroup_parent: String,
    /// Devices to show.
    pub devices: Vec<DeviceMapping>,
    /// Additional cgroup device rules, `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// Devices asked of a driver, for example CDI names.
    pub device_requests: Vec<DeviceRequest>,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
}

/// A device's block IO weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightDevice {
    /// The device file.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A device's throttle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleDevice {
    /// The device file.
    pub path: String,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// A host device shown to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// The device, or a directory of devices.
    pub path_on_host: String,
    /// Where it appears; empty is the same path.
    pub path_in_container: String,
    /// Letters of `rwm`; empty is all.
    pub cgroup_permissions: String,
}

/// Devices asked of a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// `cdi`, `nvidia`, ….
    pub driver: String,
    /// How many; -1 is all.
    pub count: i64,
    /// Which, by id.
    pub device_ids: Vec<String>,
    /// What they must be able to do: an OR list of AND lists.
    pub capabilities: Vec<Vec<String>>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// A resource limit of the process; -1 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, ….
    pub name: String,
    /// What counts.
    pub soft: i64,
    /// How far the process may raise it.
    pub hard: i64,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json-file` or `none`; empty takes the default.
    pub driver: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// One host side of a published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortBinding {
    /// The host address; `None` is every address.
    pub host_ip: Option<IpAddr>,
    /// The host port as asked: empty for any, `8000` or a range `8000-8010` to pick from.
    pub host_port: String,
}

/// When a container comes back by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// The rule.
    pub name: RestartPolicyName,
    /// Only with `on-failure`: how often; 0 is without end.
    pub maximum_retry_count: u32,
}

/// The rule of a [`RestartPolicy`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicyName {
    /// Never.
    #[default]
    No,
    /// Whenever it ends, and at daemon start.
    Always,
    /// Like always, but not at daemon start if it was stopped by hand.
    UnlessStopped,
    /// When it ends with an exit code other than 0.
    OnFailure,
}

impl FromStr for RestartPolicyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "" | "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure),
            other => Err(Error::InvalidParameter(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', \
                 'on-failure', or 'unless-stopped'"
            ))),
        }
    }
}

impl fmt::Display for RestartPolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure => "on-failure",
        })
    }
}

/// What a mount brings in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountType {
    /// A host path.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image's content.
    Image,
}

impl fmt::Display for MountType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        })
    }
}

/// A mount in the long form. Options of a type other than `kind` are an error at create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSpec {
    /// What it brings in.
    pub kind: MountType,
    /// Host path, volume or image; empty for tmpfs and anonymous volumes.
    pub source: String,
    /// Where it appears.
    pub target: String,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Kept for round trips; meaningless on Linux.
    pub consistency: String,
    /// Options of `bind`.
    pub bind: Option<BindOptions>,
    /// Options of `volume`.
    pub volume: Option<VolumeOptions>,
    /// Options of `tmpfs`.
    pub tmpfs: Option<TmpfsOptions>,
    /// Options of `image`: the path inside the image.
    pub image_subpath: Option<String>,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// `rprivate`, `private`, `rshared`, `shared`, `rslave`, `slave` or empty.
    pub propagation: String,
    /// Leave out mounts below the source.
    pub non_recursive: bool,
    /// Make the source directory if it is missing.
    pub create_mountpoint: bool,
    /// Read-only does not reach mounts below the source.
    pub read_only_non_recursive: bool,
    /// Fail when read-only cannot reach mounts below the source.
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Do not fill an empty volume from the image.
    pub no_copy: bool,
    /// Labels of a volume made by this mount.
    pub labels: BTreeMap<String, String>,
    /// Driver of a volume made by this mount.
    pub driver: String,
    /// Options of that driver.
    pub driver_options: BTreeMap<String, String>,
    /// Path inside the volume.
    pub subpath: String,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Size; 0 is half of the memory.
    pub size_bytes: i64,
    /// Permission bits; 0 is 1777.
    pub mode: u32,
    /// Further mount options as `[key]` or `[key, value]`.
    pub options: Vec<Vec<String>>,
}
