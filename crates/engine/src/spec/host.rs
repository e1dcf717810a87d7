//! What this host is like, read once when the engine opens.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::Capability;

use crate::apparmor::AppArmor;

/// Facts about the host that runtime configurations depend on.
#[derive(Debug, Clone)]
pub(crate) struct HostFacts {
    /// Whether all controllers are in the unified hierarchy.
    pub(crate) cgroup_v2: bool,
    /// Whether real-time scheduling can be limited: cgroup v1 with RT_GROUP_SCHED.
    pub(crate) cpu_realtime: bool,
    /// Profiles that confine programs.
    pub(crate) apparmor: AppArmor,
    /// Capabilities in our own bounding set; more cannot be given away.
    pub(crate) bounding: HashSet<Capability>,
    /// The kernel's id of this boot, another after each; empty when it cannot be read.
    pub(crate) boot_id: String,
    /// The host's name.
    pub(crate) hostname: String,
    /// CPUs that can be given to containers, as the kernel lists them.
    pub(crate) online_cpus: String,
    /// Memory nodes, as the kernel lists them.
    pub(crate) online_mems: String,
}

impl HostFacts {
    /// Reads the facts. What cannot be read is assumed absent.
    pub(crate) fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let first_line = |path: &str| text(path).trim().to_owned();
        Self {
            cgroup_v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            cpu_realtime: Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists(),
            apparmor: AppArmor::read(),
            bounding: bounding_set(&text("/proc/self/status")),
            boot_id: first_line("/proc/sys/kernel/random/boot_id"),
            hostname: first_line("/proc/sys/kernel/hostname"),
            online_cpus: first_line("/sys/devices/system/cpu/online"),
            online_mems: first_line("/sys/devices/system/node/online"),
        }
    }

    /// How many CPUs are online.
    pub(crate) fn cpu_count(&self) -> usize {
        parse_list(&self.online_cpus).map_or(1, |cpus| cpus.len())
    }
}

/// Reads a kernel list such as `0-2,4`; `None` when it is malformed.
pub(crate) fn parse_list(text: &str) -> Option<HashSet<u32>> {
    let mut numbers = HashSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // No machine has more; an absurd range must not fill the memory.
        if first > last || last > 65_535 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn bounding_set(status: &str) -> HashSet<Capability> {
    let bits = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    super::capability::ALL
        .iter()
        .enumerate()
        .filter(|(number, _)| bits & (1 << number) != 0)
        .map(|(_, capability)| *capability)
        .collect()
}
