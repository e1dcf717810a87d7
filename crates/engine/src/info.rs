//! The engine as a whole: what it is, where it runs, how much disk it takes.

use std::collections::BTreeMap;

use crate::container::ContainerSnapshot;
use crate::volume::Volume;
use crate::{Engine, Result};

/// What `docker info` tells of the engine and its host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Stable identity of this data root.
    pub id: String,
    /// All containers.
    pub containers: u64,
    /// Of these, running ones.
    pub containers_running: u64,
    /// Of these, paused ones.
    pub containers_paused: u64,
    /// Of these, the rest.
    pub containers_stopped: u64,
    /// Images.
    pub images: u64,
    /// `overlay2`.
    pub storage_driver: String,
    /// Details of it, as pairs.
    pub driver_status: Vec<(String, String)>,
    /// The data root.
    pub data_root: String,
    /// The host's name.
    pub host_name: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub operating_system: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// `x86_64`, `aarch64`, …
    pub architecture: String,
    /// CPUs that are online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// 1 or 2.
    pub cgroup_version: u32,
    /// `cgroupfs`.
    pub cgroup_driver: String,
    /// What the kernel can limit.
    pub limits: LimitSupport,
    /// Names of runtimes, with the path of external ones.
    pub runtimes: BTreeMap<String, Option<String>>,
    /// The one used when a container names none.
    pub default_runtime: String,
    /// `json-file`.
    pub logging_driver: String,
    /// `name=seccomp,profile=builtin`, …
    pub security_options: Vec<String>,
    /// Event subscribers.
    pub event_listeners: u64,
    /// Open descriptors of the daemon.
    pub descriptors: u64,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// What does not work on this host.
    pub warnings: Vec<String>,
}

/// Which limits the kernel knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSupport {
    /// Memory.
    pub memory: bool,
    /// Swap.
    pub swap: bool,
    /// Turning the OOM killer off.
    pub oom_kill_disable: bool,
    /// CPU period and quota.
    pub cpu_cfs: bool,
    /// CPU shares.
    pub cpu_shares: bool,
    /// CPU and memory node sets.
    pub cpuset: bool,
    /// Number of processes.
    pub pids: bool,
    /// IPv4 packets are forwarded.
    pub ipv4_forwarding: bool,
}

/// How much disk everything takes.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all layers, each counted once.
    pub layers_size: u64,
    /// Images, with the number of containers that use them.
    pub images: Vec<(images::ImageSummary, u64)>,
    /// Containers with their sizes.
    pub containers: Vec<ContainerSnapshot>,
    /// Volumes with their bytes and the number of containers that mount them.
    pub volumes: Vec<VolumeUsage>,
}

/// What a volume takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Containers that mount it.
    pub references: u64,
}

/// Which parts of [`DiskUsage`] to compute; the others stay empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsageParts {
    /// Layers and images.
    pub images: bool,
    /// Containers.
    pub containers: bool,
    /// Volumes.
    pub volumes: bool,
}

impl Default for DiskUsageParts {
    fn default() -> Self {
        Self { images: true, containers: true, volumes: true }
    }
}

impl Engine {
    /// Tells about the engine and its host. "Engine API SystemInfo".
    ///
    /// # Errors
    /// When the engine's own state cannot be read.
    pub async fn info(&self) -> Result<Info> {
        crate::pending()
    }

    /// Measures how much disk everything takes. "Engine API SystemDataUsage".
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn disk_usage(&self, parts: DiskUsageParts) -> Result<DiskUsage> {
        let _ = parts;
        crate::pending()
    }
}

/// Bytes of memory of the machine.
pub(crate) fn memory_total() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Bytes on disk of everything below a directory, files with several names counted once. What
/// cannot be read counts nothing.
pub(crate) fn tree_size(directory: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let mut waiting = vec![directory.to_owned()];
    let mut bytes = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            // Of the entry itself: links are not followed.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.nlink() < 2 || metadata.is_dir() || seen.insert(metadata.ino()) {
                bytes += metadata.blocks() * 512;
            }
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}
