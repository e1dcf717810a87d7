//! What a container may ask for. Pure checks in Docker's words; nothing is looked up but facts of
//! the host that were read before.

use std::collections::BTreeMap;

use super::config::ContainerConfig;
use super::host_config::{HostConfig, Resources, RestartPolicy, RestartPolicyName};
use super::mode::{NetworkMode, UtsMode};
use super::{log, signal};
use crate::spec::{self, HostFacts, SecurityOptions};
use crate::{Error, Result};

const MIB: i64 = 1 << 20;

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::InvalidParameter(text.into()))
}

/// Checks everything that can be wrong in itself.
pub(super) fn validate(
    config: &ContainerConfig,
    host_config: &HostConfig,
    host: &HostFacts,
) -> Result<()> {
    process(config)?;
    resources(&host_config.resources, host)?;
    network(config, host_config)?;
    rights(host_config, host)?;
    restart_policy(&host_config.restart_policy)?;
    if host_config.auto_remove && host_config.restart_policy.name != RestartPolicyName::No {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    if host_config.shm_size_bytes < 0 {
        return invalid("SHM size can not be less than 0");
    }
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host_config.oom_score_adj
        ));
    }
    if !matches!(host_config.isolation.as_str(), "" | "default") {
        return invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host_config.isolation.escape_default()
        ));
    }
    let parent = &host_config.resources.cgroup_parent;
    if parent.split('/').any(|part| part == "..") || parent.chars().any(char::is_control) {
        return invalid(format!("invalid cgroup parent '{}'", parent.escape_default()));
    }
    if let Some(key) = host_config.storage_opt.keys().find(|key| *key != "size") {
        return invalid(format!("invalid storage-opt: Unknown option {}", key.escape_default()));
    }
    layer_limit(&host_config.storage_opt)?;
    log::validate(&host_config.log_config)
}

/// How much the container's own layer may hold, from the storage driver's options.
pub(super) fn layer_limit(storage_opt: &BTreeMap<String, String>) -> Result<Option<u64>> {
    storage_opt.get("size").map(|size| log::size(size, 1_024)).transpose()
}

fn process(config: &ContainerConfig) -> Result<()> {
    if config.working_dir.contains('\0')
        || !config.working_dir.is_empty() && !config.working_dir.starts_with('/')
    {
        return invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir.escape_default()
        ));
    }
    for entry in &config.env {
        if entry.is_empty() || entry.starts_with('=') {
            return invalid(format!("invalid environment variable: {}", entry.escape_default()));
        }
    }
    let words = config.env.iter().chain(config.cmd.iter().flatten());
    let mut words = words.chain(config.entrypoint.iter().flatten()).chain([&config.user]);
    if words.any(|word| word.contains('\0')) {
        return invalid("a string of the configuration contains a NUL character");
    }
    if !config.hostname.is_empty() {
        ::network::validate_hostname(&config.hostname).map_err(Error::from)?;
    }
    if !config.domainname.is_empty() {
        ::network::validate_domain(&config.domainname).map_err(Error::from)?;
    }
    if let Some(text) = &config.stop_signal
        && !text.is_empty()
    {
        signal::parse(text)?;
    }
    if let Some(health) = &config.healthcheck {
        let times = [
            ("Interval", health.interval_nanos),
            ("Timeout", health.timeout_nanos),
            ("StartPeriod", health.start_period_nanos),
            ("StartInterval", health.start_interval_nanos),
        ];
        for (name, nanos) in times {
            if nanos != 0 && nanos < 1_000_000 {
                return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
            }
        }
        if health.retries < 0 {
            return invalid("Retries in Healthcheck cannot be negative");
        }
        let test = health.test.first().map(String::as_str);
        if !matches!(test, None | Some("NONE" | "CMD" | "CMD-SHELL")) {
            return invalid(
                "Unknown healthcheck type: the first word must be NONE, CMD or CMD-SHELL",
            );
        }
    }
    Ok(())
}

/// Checks the restart policy by itself.
pub(super) fn restart_policy(policy: &RestartPolicy) -> Result<()> {
    if policy.maximum_retry_count > 0 && policy.name != RestartPolicyName::OnFailure {
        return invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        );
    }
    Ok(())
}

fn network(config: &ContainerConfig, host_config: &HostConfig) -> Result<()> {
    let mode = &host_config.network_mode;
    let conflict = |text: &str| invalid(format!("conflicting options: {text}"));
    for server in &host_config.dns {
        if server.parse::<std::net::IpAddr>().is_err() {
            return invalid(format!("invalid IP address: {}", server.escape_default()));
        }
    }
    for host in &host_config.extra_hosts {
        ::network::ExtraHost::parse(host).map_err(Error::from)?;
    }
    if let NetworkMode::Container(_) = mode {
        if !config.hostname.is_empty() {
            return conflict("hostname and the network mode");
        }
        if !host_config.links.is_empty() {
            return conflict(
                "container type network can't be used with links. This would result in undefined behavior",
            );
        }
        if !host_config.dns.is_empty() {
            return conflict("dns and the network mode");
        }
        if !host_config.extra_hosts.is_empty() {
            return conflict("custom host-to-IP mapping and the network mode");
        }
        if !host_config.port_bindings.is_empty() || host_config.publish_all_ports {
            return conflict("port publishing and the container type network mode");
        }
        if !config.exposed_ports.is_empty() {
            return conflict("port exposing and the container type network mode");
        }
    }
    if *mode == NetworkMode::Host && !host_config.links.is_empty() {
        return conflict(
            "host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    if host_config.uts_mode == UtsMode::Host && !config.hostname.is_empty() {
        return conflict("hostname and the UTS mode");
    }
    let macless = matches!(mode, NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_));
    if macless && config.mac_address.as_ref().is_some_and(|mac| !mac.is_empty()) {
        return conflict("mac-address and the network mode");
    }
    for (port, bindings) in &host_config.port_bindings {
        if port.port == 0 {
            return invalid(format!("invalid port specification: \"{port}\""));
        }
        for binding in bindings {
            super::network::host_ports(&binding.host_port)?;
        }
    }
    Ok(())
}

fn rights(host_config: &HostConfig, host: &HostFacts) -> Result<()> {
    spec::validate_capabilities(host_config)?;
    host.apparmor.validate(&SecurityOptions::parse(host_config)?)?;
    for rule in &host_config.resources.device_cgroup_rules {
        spec::validate_device_rule(rule)?;
    }
    for device in &host_config.resources.devices {
        let letters = &device.cgroup_permissions;
        let unique = letters
            .chars()
            .enumerate()
            .all(|(at, letter)| "rwm".contains(letter) && !letters[..at].contains(letter));
        if !unique {
            return invalid(format!("bad mode specified: {}", letters.escape_default()));
        }
    }
    let mut requests = host_config.resources.device_requests.iter();
    if let Some(request) = requests.find(|request| request.driver != spec::cdi::DRIVER) {
        let sets = request.capabilities.iter().map(|set| format!("[{}]", set.join(" ")));
        return invalid(format!(
            "could not select device driver \"{}\" with capabilities: [{}]",
            request.driver.escape_default(),
            sets.collect::<Vec<_>>().join(" ").escape_default()
        ));
    }
    for ulimit in &host_config.resources.ulimits {
        spec::ulimit_type(&ulimit.name)?;
        let unlimited = |value: i64| if value == -1 { i64::MAX } else { value };
        if unlimited(ulimit.soft) > unlimited(ulimit.hard) {
            return invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ));
        }
    }
    let sysctls = host_config.sysctls.keys();
    for name in sysctls {
        sysctl(name, host_config)?;
    }
    Ok(())
}

/// Only parameters of a namespace that the container does not share may be set.
fn sysctl(name: &str, host_config: &HostConfig) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let dotted = name.replace('/', ".");
    if dotted.starts_with("net.") {
        if host_config.network_mode == NetworkMode::Host {
            return invalid(format!(
                "sysctl '{}' not allowed in host network namespace",
                name.escape_default()
            ));
        }
        return Ok(());
    }
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        if host_config.ipc_mode == super::IpcMode::Host {
            return invalid(format!(
                "sysctl '{}' not allowed in host ipc namespace",
                name.escape_default()
            ));
        }
        return Ok(());
    }
    invalid(format!("sysctl '{}' is not allowed", name.escape_default()))
}

/// Checks limits against each other and against the host.
pub(super) fn resources(resources: &Resources, host: &HostFacts) -> Result<()> {
    memory(resources)?;
    cpu(resources, host)?;
    if resources.blkio_weight > 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    let weights = &resources.blkio_weight_device;
    if weights.iter().any(|device| device.weight > 0 && !(10..=1000).contains(&device.weight)) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    Ok(())
}

fn memory(resources: &Resources) -> Result<()> {
    let Resources { memory, memory_swap, memory_reservation, .. } = *resources;
    if memory != 0 && memory < 6 * MIB {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && memory_swap > 0 && memory_swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && memory_swap > 0 {
        return invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if let Some(swappiness) = resources.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return invalid(format!(
            "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        ));
    }
    if memory_reservation != 0 && memory_reservation < 6 * MIB {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && memory_reservation > memory {
        return invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    Ok(())
}

fn cpu(resources: &Resources, host: &HostFacts) -> Result<()> {
    let cpus = host.cpu_count();
    if resources.cpu_shares < 0 {
        return invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            resources.cpu_shares
        ));
    }
    if resources.nano_cpus > 0 && (resources.cpu_period > 0 || resources.cpu_quota > 0) {
        let other = if resources.cpu_period > 0 { "CPU Period" } else { "CPU Quota" };
        return invalid(format!("Conflicting options: Nano CPUs and {other} cannot both be set"));
    }
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if resources.nano_cpus < 0 || resources.nano_cpus > most {
        return invalid(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if resources.cpu_period != 0 && !(1_000..=1_000_000).contains(&resources.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    let realtime = resources.cpu_realtime_period != 0 || resources.cpu_realtime_runtime != 0;
    if realtime && !host.cpu_realtime {
        return invalid("kernel does not support CPU real-time scheduler");
    }
    let period = resources.cpu_realtime_period;
    if period != 0 && resources.cpu_realtime_runtime > period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    let lists = [
        (&resources.cpuset_cpus, &host.online_cpus, "CPUs", "cpuset cpus"),
        (&resources.cpuset_mems, &host.online_mems, "memory nodes", "cpuset mems"),
    ];
    for (asked, available, noun, field) in lists {
        let Some(numbers) = spec::host::parse_list(asked) else {
            let asked = asked.escape_default();
            return invalid(format!("Invalid value {asked} for {field}: invalid format: {asked}"));
        };
        let there = spec::host::parse_list(available).unwrap_or_default();
        if !there.is_empty() && !numbers.is_subset(&there) {
            return invalid(format!(
                "Requested {noun} are not available - requested {asked}, available: {available}"
            ));
        }
    }
    Ok(())
}

/// What was asked for and will not be as asked.
pub(super) fn warnings(host_config: &HostConfig, host: &HostFacts) -> Vec<String> {
    let resources = &host_config.resources;
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if host_config.network_mode == NetworkMode::Host
        && (!host_config.port_bindings.is_empty() || host_config.publish_all_ports)
    {
        warn("Published ports are discarded when using host network mode");
    }
    if resources.oom_kill_disable == Some(true) {
        if host.cgroup_v2 {
            warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        } else if resources.memory == 0 {
            warn(
                "OOM killer is disabled for the container, but no memory limit is set, this can \
                 result in the system running out of resources.",
            );
        }
    }
    let is_label = |option: &String| {
        option.strip_prefix("label").is_some_and(|rest| {
            matches!(rest.as_bytes().first(), Some(b'=' | b':')) && &rest[1..] != "disable"
        })
    };
    if host_config.security_opt.iter().any(is_label) {
        warn("SELinux labels are not supported. Security option label discarded.");
    }
    if host.cgroup_v2 && resources.memory_swappiness.is_some_and(|value| value != -1) {
        warn(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not \
             mounted. Memory swappiness discarded.",
        );
    }
    warnings
}
