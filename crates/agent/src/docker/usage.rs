//! From the engine's statistics to Mesos'.

use mesos_api::v1::{Resource, ResourceStatistics};
use serde_json::Value as Json;

use super::plan::scalar;

/// Reads one answer of the engine's `stats`.
pub(crate) fn statistics(
    stats: &Json,
    resources: &[Resource],
    timestamp: f64,
) -> ResourceStatistics {
    let number = |path: &str| stats.pointer(path).and_then(Json::as_u64);
    let seconds = |path: &str| number(path).map(seconds_of);
    let first = |paths: &[&str]| paths.iter().find_map(|path| number(path));
    let network = |name: &str| {
        let all = stats.get("networks")?.as_object()?;
        Some(all.values().filter_map(|n| n.get(name)?.as_u64()).sum())
    };
    let small = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
    ResourceStatistics {
        timestamp,
        processes: small(number("/pids_stats/current")),
        cpus_user_time_secs: seconds("/cpu_stats/cpu_usage/usage_in_usermode"),
        cpus_system_time_secs: seconds("/cpu_stats/cpu_usage/usage_in_kernelmode"),
        cpus_limit: scalar(resources, "cpus"),
        cpus_nr_periods: small(number("/cpu_stats/throttling_data/periods")),
        cpus_nr_throttled: small(number("/cpu_stats/throttling_data/throttled_periods")),
        cpus_throttled_time_secs: seconds("/cpu_stats/throttling_data/throttled_time"),
        mem_total_bytes: number("/memory_stats/usage"),
        mem_limit_bytes: number("/memory_stats/limit"),
        // The names of cgroup v1, then those of v2.
        mem_rss_bytes: first(&["/memory_stats/stats/rss", "/memory_stats/stats/anon"]),
        mem_anon_bytes: first(&["/memory_stats/stats/rss", "/memory_stats/stats/anon"]),
        mem_cache_bytes: first(&["/memory_stats/stats/cache", "/memory_stats/stats/file"]),
        mem_file_bytes: first(&["/memory_stats/stats/cache", "/memory_stats/stats/file"]),
        mem_mapped_file_bytes: first(&[
            "/memory_stats/stats/mapped_file",
            "/memory_stats/stats/file_mapped",
        ]),
        mem_swap_bytes: number("/memory_stats/stats/swap"),
        mem_unevictable_bytes: number("/memory_stats/stats/unevictable"),
        net_rx_bytes: network("rx_bytes"),
        net_rx_packets: network("rx_packets"),
        net_rx_errors: network("rx_errors"),
        net_rx_dropped: network("rx_dropped"),
        net_tx_bytes: network("tx_bytes"),
        net_tx_packets: network("tx_packets"),
        net_tx_errors: network("tx_errors"),
        net_tx_dropped: network("tx_dropped"),
        ..ResourceStatistics::default()
    }
}

fn seconds_of(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_cgroups_are_read() {
        let stats = serde_json::json!({
            "pids_stats": {"current": 3},
            "cpu_stats": {"cpu_usage": {"usage_in_usermode": 1_500_000_000u64}},
            "memory_stats": {"usage": 10, "limit": 20, "stats": {"anon": 7, "file": 2}},
            "networks": {"eth0": {"rx_bytes": 1}, "eth1": {"rx_bytes": 2}},
        });
        let read = statistics(&stats, &[], 1.0);
        assert_eq!(read.processes, Some(3));
        assert_eq!(read.cpus_user_time_secs, Some(1.5));
        assert_eq!((read.mem_rss_bytes, read.mem_file_bytes), (Some(7), Some(2)));
        assert_eq!(read.net_rx_bytes, Some(3));
    }
}
