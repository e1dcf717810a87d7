//! Samples as `ContainerStats` has them.

use std::collections::BTreeMap;

use engine::stats::{BlockIoEntry, CpuStats, MemoryStats, NetworkStats, Stats};
use serde_json::{Map, Value, json};

const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Converts a sample.
pub(crate) fn to_wire(stats: Stats) -> Value {
    let time = |time: Option<jiff::Timestamp>| {
        time.map_or_else(|| ZERO_TIME.to_owned(), |time| time.to_string())
    };
    let mut wire = json!({
        "name": format!("/{}", stats.name),
        "id": stats.container_id,
        "read": time(stats.read_at),
        "preread": time(stats.previous_read_at),
        "num_procs": 0,
        "pids_stats": {},
        "blkio_stats": block_io(&stats.block_io),
        "storage_stats": {},
        "cpu_stats": cpu(&stats.cpu, stats.read_at.is_some()),
        "precpu_stats": cpu(&stats.previous_cpu, stats.previous_read_at.is_some()),
        "memory_stats": {},
    });
    if stats.read_at.is_some() {
        wire["memory_stats"] = memory(&stats.memory);
        wire["pids_stats"] = json!({
            "current": stats.pids.current,
            // Without a limit Docker shows the largest number there is.
            "limit": stats.pids.limit.unwrap_or(u64::MAX),
        });
    }
    if !stats.networks.is_empty() {
        wire["networks"] = networks(&stats.networks);
    }
    wire
}

fn cpu(cpu: &CpuStats, sampled: bool) -> Value {
    let mut usage = json!({
        "total_usage": cpu.total_nanos,
        "usage_in_kernelmode": cpu.kernel_nanos,
        "usage_in_usermode": cpu.user_nanos,
    });
    if !cpu.per_cpu_nanos.is_empty() {
        usage["percpu_usage"] = json!(cpu.per_cpu_nanos);
    }
    let mut wire = json!({
        "cpu_usage": usage,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_nanos,
        },
    });
    if sampled {
        wire["system_cpu_usage"] = json!(cpu.system_nanos);
        wire["online_cpus"] = json!(cpu.online_cpus);
    }
    wire
}

fn memory(memory: &MemoryStats) -> Value {
    let mut wire = json!({
        "usage": memory.usage_bytes,
        "stats": memory.details,
        "limit": memory.limit_bytes,
    });
    if let Some(max) = memory.max_usage_bytes {
        wire["max_usage"] = json!(max);
    }
    if memory.failures > 0 {
        wire["failcnt"] = json!(memory.failures);
    }
    wire
}

fn block_io(entries: &[BlockIoEntry]) -> Value {
    let list = |value: fn(&BlockIoEntry) -> Option<u64>| -> Value {
        let rows: Vec<Value> = entries
            .iter()
            .filter_map(|entry| {
                let value = value(entry)?;
                Some(json!({
                    "major": entry.major,
                    "minor": entry.minor,
                    "op": entry.operation,
                    "value": value,
                }))
            })
            .collect();
        if rows.is_empty() { Value::Null } else { Value::Array(rows) }
    };
    json!({
        "io_service_bytes_recursive": list(|entry| entry.bytes),
        "io_serviced_recursive": list(|entry| entry.operations),
        "io_queue_recursive": null,
        "io_service_time_recursive": null,
        "io_wait_time_recursive": null,
        "io_merged_recursive": null,
        "io_time_recursive": null,
        "sectors_recursive": null,
    })
}

fn networks(networks: &BTreeMap<String, NetworkStats>) -> Value {
    let interfaces = networks.iter().map(|(name, counters)| {
        let wire = json!({
            "rx_bytes": counters.rx_bytes,
            "rx_packets": counters.rx_packets,
            "rx_errors": counters.rx_errors,
            "rx_dropped": counters.rx_dropped,
            "tx_bytes": counters.tx_bytes,
            "tx_packets": counters.tx_packets,
            "tx_errors": counters.tx_errors,
            "tx_dropped": counters.tx_dropped,
        });
        (name.clone(), wire)
    });
    Value::Object(interfaces.collect::<Map<_, _>>())
}
