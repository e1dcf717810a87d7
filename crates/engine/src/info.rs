//! The engine as a whole: what it is, where it runs, how much disk it takes.

mod host;

use std::collections::BTreeMap;
use std::path::Path;

use crate::container::{ContainerSnapshot, ListFilter, Status};
use crate::filter::Filters;
use crate::volume::Volume;
use crate::{Engine, Error, Result, RuntimeEntry};

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
        let mut info = Info::default();
        for snapshot in self.container_list(ListFilter { all: true, ..Default::default() }).await? {
            info.containers += 1;
            match snapshot.record.state.status {
                Status::Running => info.containers_running += 1,
                Status::Paused => info.containers_paused += 1,
                _ => info.containers_stopped += 1,
            }
        }
        info.event_listeners = self.inner.events.listeners();
        let engine = self.clone();
        crate::blocking(move || {
            let all = images::ListFilter { all: true, ..Default::default() };
            info.images = engine.inner.images.list(&all)?.len() as u64;
            engine.describe(&mut info)?;
            host::describe(&mut info);
            info.warnings.extend(engine.inner.network.warnings());
            Ok(info)
        })
        .await
    }

    fn describe(&self, info: &mut Info) -> Result<()> {
        let config = &self.inner.config;
        info.id = identity(&config.data_root)?;
        info.storage_driver = "overlay2".to_owned();
        info.driver_status = [
            ("Backing Filesystem", host::file_system(&config.data_root).as_str()),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        info.data_root = config.data_root.display().to_string();
        info.host_name.clone_from(&self.inner.host.hostname);
        info.cpus = u32::try_from(self.inner.host.cpu_count()).unwrap_or(u32::MAX);
        info.cgroup_version = if self.inner.host.cgroup_v2 { 2 } else { 1 };
        info.cgroup_driver = "cgroupfs".to_owned();
        let path = |entry: &RuntimeEntry| match entry {
            RuntimeEntry::Builtin => None,
            RuntimeEntry::External { path, .. } => Some(path.display().to_string()),
        };
        let runtimes = config.runtimes.iter();
        info.runtimes = runtimes.map(|(name, entry)| (name.clone(), path(entry))).collect();
        info.default_runtime.clone_from(&config.default_runtime);
        info.logging_driver = match config.default_log.driver.as_str() {
            "" => "json-file".to_owned(),
            driver => driver.to_owned(),
        };
        if self.inner.host.apparmor.has_default() {
            info.security_options.push("name=apparmor".to_owned());
        }
        info.security_options.push("name=seccomp,profile=builtin".to_owned());
        if info.cgroup_version == 2 {
            info.security_options.push("name=cgroupns".to_owned());
        }
        if config.userns_remap.is_some() {
            info.security_options.push("name=userns".to_owned());
        }
        info.labels.clone_from(&config.labels);
        Ok(())
    }

    /// Measures how much disk everything takes. "Engine API SystemDataUsage".
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn disk_usage(&self, parts: DiskUsageParts) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        let list = ListFilter { all: true, size: parts.containers, ..Default::default() };
        let containers = self.container_list(list).await?;
        if parts.images {
            let images = self.inner.images.clone();
            let measured = crate::blocking(move || Ok(images.disk_usage()?)).await?;
            usage.layers_size = measured.layers_size;
            let users = |image: &images::ImageSummary| {
                let id = image.id.to_string();
                containers.iter().filter(|container| container.record.image_id == id).count() as u64
            };
            let counted = measured.images.into_iter().map(|image| {
                let users = users(&image);
                (image, users)
            });
            usage.images = counted.collect();
        }
        if parts.volumes {
            let used = self.used_volumes().await?;
            let volumes = self.volume_list(Filters::new()).await?;
            usage.volumes = crate::blocking(move || {
                let measure = |volume: Volume| VolumeUsage {
                    size_bytes: tree_size(&volume.mountpoint),
                    references: used.get(&volume.name).map_or(0, |users| users.len() as u64),
                    volume,
                };
                Ok(volumes.into_iter().map(measure).collect())
            })
            .await?;
        }
        if parts.containers {
            usage.containers = containers;
        }
        Ok(usage)
    }
}

/// Reads the identity of a data root, which is drawn at the first time.
fn identity(data_root: &Path) -> Result<String> {
    let path = data_root.join("engine-id");
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    let hex = crate::ids::random_hex();
    // In the form of a UUID, as Docker's identity is.
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-");
    linux::fs::write_durable(&path, id.as_bytes()).map_err(Error::io("write", &path))?;
    Ok(id)
}

/// Bytes of memory of the machine.
pub(crate) fn memory_total() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Bytes of all files below a directory, those with several names counted once and directories not,
/// as Docker counts. What cannot be read counts nothing.
pub(crate) fn tree_size(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let mut waiting = vec![directory.to_owned()];
    let mut bytes = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            // Of the entry itself: links are not followed.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.nlink() < 2 || seen.insert(metadata.ino()) {
                bytes += metadata.len();
            }
        }
    }
    bytes
}
