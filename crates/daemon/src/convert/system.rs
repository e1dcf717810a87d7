//! Info and disk usage as Docker shows them.

use engine::info::{DiskUsage, DiskUsageParts, Info};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::container::summary;
use super::image;
use super::volume::volume;
use crate::config::Config;
use crate::version::ApiVersion;

/// Converts what `docker info` shows; `swarm` is this host's part in one.
pub(crate) fn info(info: Info, swarm: Value, config: &Config) -> Value {
    let runtimes: Map<String, Value> = info
        .runtimes
        .iter()
        .map(|(name, path)| (name.clone(), json!({"path": path.as_deref().unwrap_or("teu-shim")})))
        .collect();
    let status: Vec<[String; 2]> = info.driver_status.into_iter().map(|(k, v)| [k, v]).collect();
    let pools: Vec<Value> = config
        .default_address_pools
        .iter()
        .map(|pool| json!({"Base": pool.base, "Size": pool.size}))
        .collect();
    let mut wire = json!({
        "ID": info.id,
        "Containers": info.containers,
        "ContainersRunning": info.containers_running,
        "ContainersPaused": info.containers_paused,
        "ContainersStopped": info.containers_stopped,
        "Images": info.images,
        "Driver": info.storage_driver,
        "DriverStatus": status,
        "Plugins": {
            "Volume": ["local"],
            "Network": network::Driver::ALL.map(|driver| driver.to_string()),
            "Authorization": null,
            "Log": engine::container::LOG_DRIVERS,
        },
        "MemoryLimit": info.limits.memory,
        "SwapLimit": info.limits.swap,
        "CpuCfsPeriod": info.limits.cpu_cfs,
        "CpuCfsQuota": info.limits.cpu_cfs,
        "CPUShares": info.limits.cpu_shares,
        "CPUSet": info.limits.cpuset,
        "PidsLimit": info.limits.pids,
        "IPv4Forwarding": info.limits.ipv4_forwarding,
        "Debug": config.log_level == crate::config::LogLevel::Debug,
        "NFd": info.descriptors,
        "OomKillDisable": info.limits.oom_kill_disable,
        "NGoroutines": 0,
        "SystemTime": Timestamp::now().to_string(),
        "LoggingDriver": info.logging_driver,
        "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version.to_string(),
        "NEventsListener": info.event_listeners,
    });
    let rest = json!({
        "KernelVersion": info.kernel_version,
        "OperatingSystem": info.operating_system,
        "OSVersion": info.os_version,
        "OSType": "linux",
        "Architecture": info.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registry_config(config),
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
        "GenericResources": null,
        "DockerRootDir": info.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": info.host_name,
        "Labels": info.labels,
        "ExperimentalBuild": false,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": runtimes,
        "DefaultRuntime": info.default_runtime,
        "Swarm": swarm,
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "teu-shim",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": info.security_options,
        "DefaultAddressPools": pools,
        "FirewallBackend": {"Driver": "nftables"},
        "CDISpecDirs": [],
        "Warnings": Some(info.warnings).filter(|warnings| !warnings.is_empty()),
    });
    if let (Value::Object(wire), Value::Object(rest)) = (&mut wire, rest) {
        wire.extend(rest);
    }
    wire
}

fn registry_config(config: &Config) -> Value {
    let (ranges, hosts): (Vec<&String>, Vec<&String>) =
        config.insecure_registries.iter().partition(|registry| registry.contains('/'));
    let mut ranges: Vec<&str> = ranges.into_iter().map(String::as_str).collect();
    ranges.extend(["::1/128", "127.0.0.0/8"]);
    let mut indexes: Map<String, Value> = hosts
        .into_iter()
        .map(|host| {
            let wire = json!({"Name": host, "Mirrors": [], "Secure": false, "Official": false});
            (host.clone(), wire)
        })
        .collect();
    indexes.insert(
        "docker.io".to_owned(),
        json!({
            "Name": "docker.io",
            "Mirrors": config.registry_mirrors,
            "Secure": true,
            "Official": true,
        }),
    );
    json!({
        "IndexConfigs": indexes,
        "InsecureRegistryCIDRs": ranges,
        "Mirrors": config.registry_mirrors,
    })
}

/// Converts what `docker system df` shows; parts that were not asked for are there, and empty.
pub(crate) fn disk_usage(usage: &DiskUsage, parts: DiskUsageParts, version: ApiVersion) -> Value {
    let mut wire = Map::from_iter([("LayersSize".to_owned(), json!(0))]);
    for name in ["Images", "Containers", "Volumes", "BuildCache"] {
        wire.insert(name.to_owned(), Value::Null);
    }
    if parts.images {
        let images: Vec<Value> = usage
            .images
            .iter()
            .map(|(image, containers)| {
                let mut row = image::summary(image, version);
                row["Containers"] = json!(containers);
                row
            })
            .collect();
        wire.insert("LayersSize".to_owned(), json!(usage.layers_size));
        wire.insert("Images".to_owned(), json!(images));
    }
    if parts.containers {
        let now = Timestamp::now();
        let rows: Vec<_> = usage.containers.iter().map(|c| summary(c, now)).collect();
        wire.insert("Containers".to_owned(), json!(rows));
    }
    if parts.volumes {
        let rows: Vec<Value> = usage
            .volumes
            .iter()
            .map(|used| {
                let mut row = volume(&used.volume);
                row["UsageData"] = json!({"RefCount": used.references, "Size": used.size_bytes});
                row
            })
            .collect();
        wire.insert("Volumes".to_owned(), json!(rows));
    }
    Value::Object(wire)
}

/// Adds what builds have left. Steps without a layer take nothing and are left out.
pub(crate) fn add_build_cache(wire: &mut Value, entries: &[builder::CacheEntry]) {
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let shown = entries.iter().filter(|entry| entry.has_content);
    let rows: Vec<Value> = shown
        .map(|entry| {
            json!({
                "ID": entry.id,
                "Parents": Some(entry.parent.iter().collect::<Vec<_>>()).filter(|p| !p.is_empty()),
                "Type": entry.kind,
                "Description": entry.description,
                "InUse": entry.in_use,
                "Shared": entry.shared,
                "Size": entry.size,
                "CreatedAt": time(entry.created_at),
                "LastUsedAt": time(entry.last_used_at),
                "UsageCount": entry.uses,
            })
        })
        .collect();
    let size: u64 = entries.iter().filter(|entry| !entry.shared).map(|entry| entry.size).sum();
    wire["BuildCache"] = json!(rows);
    wire["BuilderSize"] = json!(size);
}
