//! Counters of a cgroup, in one shape for v1 and v2.

use std::collections::BTreeMap;
use std::path::Path;

use super::controller::{self, read_key, read_number};
use super::{Cgroup, memory};

/// What a cgroup has used. Absent counters are zero, absent limits `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time in nanoseconds: all, in user mode, in the kernel.
    pub cpu_total_ns: u64,
    /// See above.
    pub cpu_user_ns: u64,
    /// See above.
    pub cpu_system_ns: u64,
    /// Enforcement periods that have passed.
    pub cpu_periods: u64,
    /// Those in which it was throttled.
    pub cpu_throttled_periods: u64,
    /// For how long.
    pub cpu_throttled_ns: u64,
    /// Bytes in use, page cache included.
    pub memory_usage_bytes: u64,
    /// The most there may be.
    pub memory_limit_bytes: Option<u64>,
    /// The most there has been; v1 and new v2 kernels.
    pub memory_max_usage_bytes: u64,
    /// How often the limit was hit.
    pub memory_failures: u64,
    /// Every line of memory.stat.
    pub memory_stat: BTreeMap<String, u64>,
    /// Processes.
    pub pids_current: u64,
    /// How many there may be.
    pub pids_limit: Option<u64>,
    /// Bytes by device and operation.
    pub io_service_bytes: Vec<BlkioEntry>,
    /// Operations by device and operation; v1 only, as Docker shows it.
    pub io_serviced: Vec<BlkioEntry>,
    /// Whether the numbers are of v2, whose memory.stat has other names.
    pub is_v2: bool,
}

/// One line of block device statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkioEntry {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, … on v1; `read`, `write` on v2.
    pub operation: String,
    /// The counter.
    pub value: u64,
}

pub(super) fn read_memory_stat(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    lines.collect()
}

pub(super) fn read(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats { is_v2: cgroup.hierarchies().is_unified(), ..Stats::default() };
    (stats.memory_usage_bytes, stats.memory_limit_bytes) = memory::usage(cgroup);
    if let Some(directory) = cgroup.directory("pids") {
        stats.pids_current = read_number(&directory, "pids.current").unwrap_or(0);
        stats.pids_limit = read_number(&directory, "pids.max");
    }
    if let Some(directory) = cgroup.directory("memory") {
        let text = read_text(&directory, "memory.stat");
        stats.memory_stat = read_memory_stat(&text);
    }
    if stats.is_v2 {
        read_v2(cgroup, &mut stats)
    } else {
        read_v1(cgroup, &mut stats)
    }
    stats
}

fn read_text(directory: &Path, file: &str) -> String {
    controller::read(directory, file).unwrap_or_default()
}

fn read_v1(cgroup: &Cgroup, stats: &mut Stats) {
    if let Some(directory) = cgroup.v1_directory("cpuacct") {
        let number = |file| read_number(&directory, file).unwrap_or(0);
        stats.cpu_total_ns = number("cpuacct.usage");
        stats.cpu_user_ns = number("cpuacct.usage_user");
        stats.cpu_system_ns = number("cpuacct.usage_sys");
    }
    if let Some(directory) = cgroup.v1_directory("cpu") {
        let value = |key| read_key(&directory, "cpu.stat", key).unwrap_or(0);
        stats.cpu_periods = value("nr_periods");
        stats.cpu_throttled_periods = value("nr_throttled");
        stats.cpu_throttled_ns = value("throttled_time");
    }
    if let Some(directory) = cgroup.v1_directory("memory") {
        let number = |file| read_number(&directory, file).unwrap_or(0);
        stats.memory_max_usage_bytes = number("memory.max_usage_in_bytes");
        stats.memory_failures = number("memory.failcnt");
    }
    if let Some(directory) = cgroup.v1_directory("blkio") {
        let entries = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| controller::read(&directory, name));
            blkio_v1(&found.unwrap_or_default())
        };
        stats.io_service_bytes = entries([
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ]);
        stats.io_serviced =
            entries(["blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"]);
    }
}

fn read_v2(cgroup: &Cgroup, stats: &mut Stats) {
    let Some(directory) = cgroup.unified_directory() else { return };
    let value = |file, key| read_key(&directory, file, key).unwrap_or(0);
    stats.cpu_total_ns = value("cpu.stat", "usage_usec") * 1000;
    stats.cpu_user_ns = value("cpu.stat", "user_usec") * 1000;
    stats.cpu_system_ns = value("cpu.stat", "system_usec") * 1000;
    stats.cpu_periods = value("cpu.stat", "nr_periods");
    stats.cpu_throttled_periods = value("cpu.stat", "nr_throttled");
    stats.cpu_throttled_ns = value("cpu.stat", "throttled_usec") * 1000;
    stats.memory_max_usage_bytes = read_number(&directory, "memory.peak").unwrap_or(0);
    stats.memory_failures = value("memory.events", "max");
    stats.io_service_bytes = io_v2(&read_text(&directory, "io.stat"));
}

/// Lines of the form `8:0 Read 4096`.
pub(super) fn blkio_v1(text: &str) -> Vec<BlkioEntry> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (major, minor) = fields.next()?.split_once(':')?;
        let operation = fields.next()?.to_owned();
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(BlkioEntry { major, minor, operation, value: fields.next()?.parse().ok()? })
    });
    lines.collect()
}

/// Lines of the form `8:0 rbytes=4096 wbytes=0 rios=1 …`.
pub(super) fn io_v2(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for field in fields {
            let (operation, value) = match field.split_once('=') {
                Some(("rbytes", value)) => ("read", value),
                Some(("wbytes", value)) => ("write", value),
                _ => continue,
            };
            let operation = operation.to_owned();
            if let Ok(value) = value.parse() {
                entries.push(BlkioEntry { major, minor, operation, value });
            }
        }
    }
    entries
}
