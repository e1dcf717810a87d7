//! Reading of one sample. Files that this kernel does not have read as zeros.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{BlockIoEntry, Cgroups, CpuStats, MemoryStats, NetworkStats, PidsStats};

/// The figures of one moment.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) cpu: CpuStats,
    pub(super) memory: MemoryStats,
    pub(super) pids: PidsStats,
    pub(super) block_io: Vec<BlockIoEntry>,
    pub(super) networks: BTreeMap<String, NetworkStats>,
}

/// Reads the figures of the container whose process 1 is `pid`, started at `start_ticks`.
pub(super) fn read(pid: u32, start_ticks: u64, own_network: bool) -> io::Result<Sample> {
    let cgroups = Cgroups::of_pid(pid)?;
    let mut sample = Sample {
        cpu: cpu(&cgroups),
        memory: memory(&cgroups),
        pids: pids(&cgroups),
        block_io: block_io(&cgroups),
        networks: BTreeMap::new(),
    };
    let stat = fs::read_to_string("/proc/stat")?;
    (sample.cpu.system_nanos, sample.cpu.online_cpus) = system_cpu(&stat);
    if own_network {
        sample.networks = networks(&fs::read_to_string(format!("/proc/{pid}/net/dev"))?);
    }
    // Last, so that all of the above was this process' and no other of the same number.
    if linux::process::start_ticks(pid)? != start_ticks {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(sample)
}

/// A file with one number; `None` for `max` and for what is not there.
fn number(directory: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
}

/// A file of lines `key number`.
fn table(directory: &Path, file: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect()
}

fn cpu(cgroups: &Cgroups) -> CpuStats {
    let mut stats = CpuStats::default();
    if let Some(directory) = cgroups.legacy("cpuacct") {
        stats.total_nanos = number(directory, "cpuacct.usage").unwrap_or(0);
        let per_cpu = fs::read_to_string(directory.join("cpuacct.usage_percpu"));
        stats.per_cpu_nanos = per_cpu
            .map(|text| text.split_whitespace().filter_map(|n| n.parse().ok()).collect())
            .unwrap_or_default();
        let times = table(directory, "cpuacct.stat");
        let nanos = |key| ticks_to_nanos(times.get(key).copied().unwrap_or(0));
        (stats.user_nanos, stats.kernel_nanos) = (nanos("user"), nanos("system"));
    }
    let unified = cgroups.unified().filter(|_| cgroups.legacy("cpu").is_none());
    if let Some(directory) = cgroups.legacy("cpu").or(unified) {
        let table = table(directory, "cpu.stat");
        let value = |key| table.get(key).copied().unwrap_or(0);
        stats.periods = value("nr_periods");
        stats.throttled_periods = value("nr_throttled");
        stats.throttled_nanos = value("throttled_time").max(value("throttled_usec") * 1000);
        if unified.is_some() {
            stats.total_nanos = value("usage_usec") * 1000;
            stats.user_nanos = value("user_usec") * 1000;
            stats.kernel_nanos = value("system_usec") * 1000;
        }
    }
    stats
}

fn ticks_to_nanos(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000) / rustix::param::clock_ticks_per_second().max(1)
}

fn system_cpu(stat: &str) -> (u64, u32) {
    let mut total = 0;
    let mut cpus = 0;
    for line in stat.lines() {
        let mut fields = line.split_whitespace();
        match fields.next() {
            // user nice system idle iowait irq softirq; guest time is in user already.
            Some("cpu") => total = fields.take(7).filter_map(|n| n.parse::<u64>().ok()).sum(),
            Some(name) if name.starts_with("cpu") => cpus += 1,
            _ => {}
        }
    }
    (ticks_to_nanos(total), cpus)
}

fn memory(cgroups: &Cgroups) -> MemoryStats {
    let total = crate::info::memory_total().unwrap_or(u64::MAX);
    if let Some(directory) = cgroups.legacy("memory") {
        return MemoryStats {
            usage_bytes: number(directory, "memory.usage_in_bytes").unwrap_or(0),
            max_usage_bytes: number(directory, "memory.max_usage_in_bytes"),
            failures: number(directory, "memory.failcnt").unwrap_or(0),
            limit_bytes: number(directory, "memory.limit_in_bytes").unwrap_or(total).min(total),
            details: table(directory, "memory.stat"),
        };
    }
    let Some(directory) = cgroups.unified() else { return MemoryStats::default() };
    MemoryStats {
        usage_bytes: number(directory, "memory.current").unwrap_or(0),
        max_usage_bytes: number(directory, "memory.peak"),
        failures: table(directory, "memory.events").get("oom").copied().unwrap_or(0),
        limit_bytes: number(directory, "memory.max").unwrap_or(total).min(total),
        details: table(directory, "memory.stat"),
    }
}

fn pids(cgroups: &Cgroups) -> PidsStats {
    let Some(directory) = cgroups.legacy("pids").or(cgroups.unified()) else {
        return PidsStats::default();
    };
    PidsStats {
        current: number(directory, "pids.current").unwrap_or(0),
        limit: number(directory, "pids.max"),
    }
}

fn block_io(cgroups: &Cgroups) -> Vec<BlockIoEntry> {
    if let Some(directory) = cgroups.legacy("blkio") {
        for stem in ["blkio.bfq.io", "blkio.throttle.io"] {
            let file = |kind: &str| {
                fs::read_to_string(directory.join(format!("{stem}_{kind}_recursive")))
                    .unwrap_or_default()
            };
            let entries = legacy_block_io(&file("service_bytes"), &file("serviced"));
            if !entries.is_empty() {
                return entries;
            }
        }
        return Vec::new();
    }
    let directory = cgroups.unified();
    let text = directory.and_then(|path| fs::read_to_string(path.join("io.stat")).ok());
    unified_block_io(&text.unwrap_or_default())
}

/// `8:0 Read 4096` per device and operation, and a last line `Total 4096`.
fn legacy_block_io(bytes: &str, operations: &str) -> Vec<BlockIoEntry> {
    let mut entries: BTreeMap<(u64, u64, String), BlockIoEntry> = BTreeMap::new();
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [device, operation, value] = fields[..] else { continue };
            let (Some((major, minor)), Ok(value)) = (device_number(device), value.parse()) else {
                continue;
            };
            let operation = operation.to_lowercase();
            let entry = entries.entry((major, minor, operation.clone())).or_default();
            (entry.major, entry.minor, entry.operation) = (major, minor, operation);
            if is_bytes {
                entry.bytes = Some(value);
            } else {
                entry.operations = Some(value);
            }
        }
    }
    entries.into_values().collect()
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` per device.
fn unified_block_io(text: &str) -> Vec<BlockIoEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(device_number) else { continue };
        let values: BTreeMap<&str, u64> = fields
            .filter_map(|field| field.split_once('='))
            .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
            .collect();
        for (operation, letter) in [("read", 'r'), ("write", 'w')] {
            entries.push(BlockIoEntry {
                major,
                minor,
                operation: operation.to_owned(),
                bytes: values.get(format!("{letter}bytes").as_str()).copied(),
                operations: values.get(format!("{letter}ios").as_str()).copied(),
            });
        }
    }
    entries
}

fn device_number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let mut networks = BTreeMap::new();
    for line in text.lines().skip(2) {
        let Some((name, counters)) = line.split_once(':') else { continue };
        let counters: Vec<u64> =
            counters.split_whitespace().filter_map(|value| value.parse().ok()).collect();
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = counters[..]
        else {
            continue;
        };
        let name = name.trim();
        if name != "lo" {
            let stats = NetworkStats {
                rx_bytes,
                rx_packets,
                rx_errors,
                rx_dropped,
                tx_bytes,
                tx_packets,
                tx_errors,
                tx_dropped,
            };
            networks.insert(name.to_owned(), stats);
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_figures_are_plausible() {
        let pid = std::process::id();
        let ticks = linux::process::start_ticks(pid).unwrap();
        let sample = read(pid, ticks, true).unwrap();
        assert!(sample.cpu.system_nanos > 0 && sample.cpu.online_cpus > 0);
        assert!(sample.memory.limit_bytes <= crate::info::memory_total().unwrap());
        assert!(!sample.networks.contains_key("lo"));
        assert!(read(pid, ticks + 1, true).is_err(), "another process of that number");
    }

    #[test]
    fn block_io_of_both_versions() {
        let legacy = legacy_block_io("8:0 Read 10\n8:0 Write 20\nTotal 30\n", "8:0 Read 1\n");
        assert_eq!(legacy.len(), 2);
        assert_eq!((legacy[0].operation.as_str(), legacy[0].bytes), ("read", Some(10)));
        assert_eq!((legacy[0].operations, legacy[1].operations), (Some(1), None));
        let unified = unified_block_io("254:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\nbad\n");
        assert_eq!(unified.len(), 2);
        assert_eq!((unified[1].major, unified[1].minor, unified[1].bytes), (254, 1, Some(2)));
    }

    #[test]
    fn interfaces_are_counted_without_loopback() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let networks = networks(text);
        assert_eq!(networks.len(), 1);
        assert_eq!((networks["eth0"].rx_dropped, networks["eth0"].tx_dropped), (4, 12));
    }

    #[test]
    fn system_time_counts_idle_but_not_guests() {
        let ticks = rustix::param::clock_ticks_per_second();
        let (nanos, cpus) = system_cpu("cpu  1 1 1 1 1 1 1 9 9 9\ncpu0 1\ncpu1 1\nintr 5\n");
        assert_eq!((nanos, cpus), (7 * 1_000_000_000 / ticks, 2));
    }
}
