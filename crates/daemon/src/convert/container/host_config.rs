//! `HostConfig` both ways.

use std::collections::BTreeMap;

use docker_api::models::exact;
use engine::container::{
    BindOptions, ContainerPort, DeviceMapping, DeviceRequest, HostConfig, IpcMode, LogConfig,
    MountSpec, MountType, NetworkMode, PortBinding, Resources, ThrottleDevice, TmpfsOptions,
    Ulimit, VolumeOptions, WeightDevice,
};

use super::create::restart_policy;
use crate::error::{ApiError, ApiResult};
use crate::version::ApiVersion;

/// First version whose containers have private IPC objects unless they say otherwise.
const PRIVATE_IPC: ApiVersion = ApiVersion(40);

/// First version that says the terminal's size.
const CONSOLE_SIZE: ApiVersion = ApiVersion(42);

pub(super) fn from_wire(wire: exact::HostConfig, version: ApiVersion) -> ApiResult<HostConfig> {
    let exact::HostConfig { host, resources } = wire;
    refuse_windows_options(&resources)?;
    let ipc_mode: IpcMode = host.ipc_mode.parse()?;
    let ipc_mode = match ipc_mode {
        IpcMode::Unset if version < PRIVATE_IPC => IpcMode::Shareable,
        mode => mode,
    };
    let console_size = Some(host.console_size).filter(|_| version >= CONSOLE_SIZE);
    Ok(HostConfig {
        binds: host.binds.unwrap_or_default(),
        mounts: host.mounts.into_iter().map(mount_from_wire).collect::<ApiResult<_>>()?,
        tmpfs: host.tmpfs,
        volumes_from: host.volumes_from.unwrap_or_default(),
        volume_driver: host.volume_driver,
        container_id_file: host.container_id_file,
        network_mode: host.network_mode.parse()?,
        port_bindings: ports_from_wire(host.port_bindings)?,
        publish_all_ports: host.publish_all_ports,
        dns: host.dns,
        dns_options: host.dns_options,
        dns_search: host.dns_search,
        extra_hosts: host.extra_hosts.unwrap_or_default(),
        links: host.links.unwrap_or_default(),
        restart_policy: restart_policy(host.restart_policy)?,
        auto_remove: host.auto_remove,
        log_config: LogConfig { driver: host.log_config.driver, options: host.log_config.config },
        runtime: host.runtime,
        init: host.init,
        console_size: console_size.and_then(terminal_size),
        annotations: host.annotations,
        ipc_mode,
        pid_mode: host.pid_mode.parse()?,
        uts_mode: host.uts_mode.parse()?,
        cgroupns_mode: host.cgroupns_mode.parse()?,
        userns_mode: host.userns_mode.parse()?,
        privileged: host.privileged,
        cap_add: host.cap_add.unwrap_or_default().0,
        cap_drop: host.cap_drop.unwrap_or_default().0,
        group_add: host.group_add.unwrap_or_default(),
        security_opt: host.security_opt.unwrap_or_default(),
        masked_paths: host.masked_paths,
        readonly_paths: host.readonly_paths,
        readonly_rootfs: host.readonly_rootfs,
        storage_opt: host.storage_opt,
        sysctls: host.sysctls,
        shm_size_bytes: host.shm_size,
        oom_score_adj: host.oom_score_adj,
        isolation: host.isolation,
        resources: resources_from_wire(resources),
    })
}

/// Rows and columns; zeros mean that the client has no terminal.
pub(crate) fn terminal_size([rows, columns]: [u32; 2]) -> Option<(u16, u16)> {
    let (rows, columns) = (u16::try_from(rows).ok()?, u16::try_from(columns).ok()?);
    (rows > 0 && columns > 0).then_some((rows, columns))
}

fn refuse_windows_options(resources: &exact::Resources) -> ApiResult<()> {
    let refuse = |what| {
        ApiError::invalid(format!("invalid option: {what} configuration is not supported on linux"))
    };
    if resources.io_maximum_bandwidth > 0 {
        return Err(refuse("QoS maximum bandwidth"));
    }
    if resources.io_maximum_iops > 0 {
        return Err(refuse("QoS maximum IOPs"));
    }
    if resources.cpu_count != 0 || resources.cpu_percent != 0 {
        return Err(refuse("CPU count or percent"));
    }
    Ok(())
}

fn ports_from_wire(
    wire: BTreeMap<String, Option<Vec<exact::PortBinding>>>,
) -> ApiResult<BTreeMap<ContainerPort, Vec<PortBinding>>> {
    let mut ports: BTreeMap<ContainerPort, Vec<PortBinding>> = BTreeMap::new();
    for (port, bindings) in wire {
        let bindings = bindings
            .unwrap_or_default()
            .into_iter()
            .map(|binding| {
                let host_ip = match binding.host_ip.as_str() {
                    "" => None,
                    ip => Some(ip.trim_matches(['[', ']']).parse().map_err(|_| {
                        ApiError::invalid(format!("invalid IP address: {}", binding.host_ip))
                    })?),
                };
                Ok(PortBinding { host_ip, host_port: binding.host_port })
            })
            .collect::<ApiResult<Vec<_>>>()?;
        ports.entry(port.parse()?).or_default().extend(bindings);
    }
    Ok(ports)
}

fn mount_from_wire(wire: exact::MountRequest) -> ApiResult<MountSpec> {
    let kind = match wire.kind.as_str() {
        "bind" => MountType::Bind,
        "volume" => MountType::Volume,
        "tmpfs" => MountType::Tmpfs,
        "image" => MountType::Image,
        other => {
            return Err(ApiError::invalid(format!(
                "invalid mount config for type \"{other}\": mount type unknown"
            )));
        }
    };
    Ok(MountSpec {
        kind,
        source: wire.source,
        target: wire.target,
        read_only: wire.read_only,
        consistency: wire.consistency,
        bind: wire.bind_options.map(|options| BindOptions {
            propagation: options.propagation,
            non_recursive: options.non_recursive,
            create_mountpoint: options.create_mountpoint,
            read_only_non_recursive: options.read_only_non_recursive,
            read_only_force_recursive: options.read_only_force_recursive,
        }),
        volume: wire.volume_options.map(|options| {
            let driver = options.driver_config.unwrap_or_default();
            VolumeOptions {
                no_copy: options.no_copy,
                labels: options.labels,
                driver: driver.name,
                driver_options: driver.options,
                subpath: options.subpath,
            }
        }),
        tmpfs: wire.tmpfs_options.map(|options| TmpfsOptions {
            size_bytes: options.size_bytes,
            mode: options.mode,
            options: options.options,
        }),
        image_subpath: wire.image_options.map(|options| options.subpath),
    })
}

pub(super) fn resources_from_wire(wire: exact::Resources) -> Resources {
    let throttles = |devices: Vec<exact::ThrottleDevice>| -> Vec<ThrottleDevice> {
        devices.into_iter().map(|d| ThrottleDevice { path: d.path, rate: d.rate }).collect()
    };
    Resources {
        cpu_shares: wire.cpu_shares,
        nano_cpus: wire.nano_cpus,
        cpu_period: wire.cpu_period,
        cpu_quota: wire.cpu_quota,
        cpu_realtime_period: wire.cpu_realtime_period,
        cpu_realtime_runtime: wire.cpu_realtime_runtime,
        cpuset_cpus: wire.cpuset_cpus,
        cpuset_mems: wire.cpuset_mems,
        memory: wire.memory,
        memory_reservation: wire.memory_reservation,
        memory_swap: wire.memory_swap,
        memory_swappiness: wire.memory_swappiness,
        oom_kill_disable: wire.oom_kill_disable,
        pids_limit: wire.pids_limit,
        blkio_weight: wire.blkio_weight,
        blkio_weight_device: wire
            .blkio_weight_device
            .into_iter()
            .map(|device| WeightDevice { path: device.path, weight: device.weight })
            .collect(),
        blkio_device_read_bps: throttles(wire.blkio_device_read_bps),
        blkio_device_write_bps: throttles(wire.blkio_device_write_bps),
        blkio_device_read_iops: throttles(wire.blkio_device_read_iops),
        blkio_device_write_iops: throttles(wire.blkio_device_write_iops),
        cgroup_parent: wire.cgroup_parent,
        devices: wire
            .devices
            .into_iter()
            .map(|device| DeviceMapping {
                path_on_host: device.path_on_host,
                path_in_container: device.path_in_container,
                cgroup_permissions: device.cgroup_permissions,
            })
            .collect(),
        device_cgroup_rules: wire.device_cgroup_rules.unwrap_or_default(),
        device_requests: wire
            .device_requests
            .unwrap_or_default()
            .into_iter()
            .map(device_request)
            .collect(),
        ulimits: wire
            .ulimits
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
    }
}

fn device_request(wire: exact::DeviceRequest) -> DeviceRequest {
    DeviceRequest {
        driver: wire.driver,
        count: wire.count,
        device_ids: wire.device_ids.unwrap_or_default(),
        capabilities: wire.capabilities.unwrap_or_default(),
        options: wire.options,
    }
}

pub(super) fn to_wire(config: &HostConfig, links: &[String]) -> exact::HostConfig {
    exact::HostConfig {
        host: exact::Host { links: or_null(links), ..host_to_wire(config) },
        resources: resources_to_wire(&config.resources),
    }
}

/// An empty list as Docker shows what was never set.
fn or_null<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn host_to_wire(config: &HostConfig) -> exact::Host {
    let (rows, columns) = config.console_size.unwrap_or_default();
    exact::Host {
        binds: or_null(&config.binds),
        container_id_file: config.container_id_file.clone(),
        log_config: exact::LogConfig {
            driver: config.log_config.driver.clone(),
            config: config.log_config.options.clone(),
        },
        // What the default means is what clients look for among the networks.
        network_mode: match &config.network_mode {
            NetworkMode::Default => NetworkMode::Bridge.to_string(),
            mode => mode.to_string(),
        },
        port_bindings: config.port_bindings.iter().map(port_to_wire).collect(),
        restart_policy: exact::RestartPolicy {
            name: config.restart_policy.name.to_string(),
            maximum_retry_count: config.restart_policy.maximum_retry_count.into(),
        },
        auto_remove: config.auto_remove,
        volume_driver: config.volume_driver.clone(),
        volumes_from: or_null(&config.volumes_from),
        console_size: [rows.into(), columns.into()],
        annotations: config.annotations.clone(),
        cap_add: or_null(&config.cap_add).map(exact::Words),
        cap_drop: or_null(&config.cap_drop).map(exact::Words),
        cgroupns_mode: config.cgroupns_mode.to_string(),
        dns: config.dns.clone(),
        dns_options: config.dns_options.clone(),
        dns_search: config.dns_search.clone(),
        extra_hosts: or_null(&config.extra_hosts),
        group_add: or_null(&config.group_add),
        ipc_mode: match &config.ipc_mode {
            IpcMode::Unset => IpcMode::Private.to_string(),
            mode => mode.to_string(),
        },
        cgroup: String::new(),
        // By the names that the others have now, which the configuration does not know.
        links: None,
        oom_score_adj: config.oom_score_adj,
        pid_mode: config.pid_mode.to_string(),
        privileged: config.privileged,
        publish_all_ports: config.publish_all_ports,
        readonly_rootfs: config.readonly_rootfs,
        security_opt: or_null(&config.security_opt),
        storage_opt: config.storage_opt.clone(),
        tmpfs: config.tmpfs.clone(),
        uts_mode: config.uts_mode.to_string(),
        userns_mode: config.userns_mode.to_string(),
        shm_size: config.shm_size_bytes,
        sysctls: config.sysctls.clone(),
        runtime: config.runtime.clone(),
        isolation: config.isolation.clone(),
        mounts: config.mounts.iter().map(mount_to_wire).collect(),
        masked_paths: config.masked_paths.clone(),
        readonly_paths: config.readonly_paths.clone(),
        init: config.init,
    }
}

fn port_to_wire(
    (port, bindings): (&ContainerPort, &Vec<PortBinding>),
) -> (String, Option<Vec<exact::PortBinding>>) {
    let bindings = bindings.iter().map(|binding| exact::PortBinding {
        host_ip: binding.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        host_port: binding.host_port.clone(),
    });
    (port.to_string(), Some(bindings.collect()))
}

fn mount_to_wire(mount: &MountSpec) -> exact::MountRequest {
    exact::MountRequest {
        kind: mount.kind.to_string(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: mount.bind.as_ref().map(|options| exact::BindOptions {
            propagation: options.propagation.clone(),
            non_recursive: options.non_recursive,
            create_mountpoint: options.create_mountpoint,
            read_only_non_recursive: options.read_only_non_recursive,
            read_only_force_recursive: options.read_only_force_recursive,
        }),
        volume_options: mount.volume.as_ref().map(|options| exact::VolumeOptions {
            no_copy: options.no_copy,
            labels: options.labels.clone(),
            subpath: options.subpath.clone(),
            driver_config: Some(exact::VolumeDriver {
                name: options.driver.clone(),
                options: options.driver_options.clone(),
            })
            .filter(|driver| *driver != exact::VolumeDriver::default()),
        }),
        image_options: mount
            .image_subpath
            .as_ref()
            .map(|subpath| exact::ImageOptions { subpath: subpath.clone() }),
        tmpfs_options: mount.tmpfs.as_ref().map(|options| exact::TmpfsOptions {
            size_bytes: options.size_bytes,
            mode: options.mode,
            options: options.options.clone(),
        }),
    }
}

fn resources_to_wire(limits: &Resources) -> exact::Resources {
    let throttles = |devices: &[ThrottleDevice]| -> Vec<exact::ThrottleDevice> {
        let convert =
            |d: &ThrottleDevice| exact::ThrottleDevice { path: d.path.clone(), rate: d.rate };
        devices.iter().map(convert).collect()
    };
    exact::Resources {
        cpu_shares: limits.cpu_shares,
        memory: limits.memory,
        nano_cpus: limits.nano_cpus,
        cgroup_parent: limits.cgroup_parent.clone(),
        blkio_weight: limits.blkio_weight,
        blkio_weight_device: limits
            .blkio_weight_device
            .iter()
            .map(|d| exact::WeightDevice { path: d.path.clone(), weight: d.weight })
            .collect(),
        blkio_device_read_bps: throttles(&limits.blkio_device_read_bps),
        blkio_device_write_bps: throttles(&limits.blkio_device_write_bps),
        blkio_device_read_iops: throttles(&limits.blkio_device_read_iops),
        blkio_device_write_iops: throttles(&limits.blkio_device_write_iops),
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpu_realtime_period: limits.cpu_realtime_period,
        cpu_realtime_runtime: limits.cpu_realtime_runtime,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        devices: limits
            .devices
            .iter()
            .map(|d| exact::DeviceMapping {
                path_on_host: d.path_on_host.clone(),
                path_in_container: d.path_in_container.clone(),
                cgroup_permissions: d.cgroup_permissions.clone(),
            })
            .collect(),
        device_cgroup_rules: or_null(&limits.device_cgroup_rules),
        device_requests: or_null(&limits.device_requests)
            .map(|requests| requests.into_iter().map(device_request_to_wire).collect()),
        memory_reservation: limits.memory_reservation,
        memory_swap: limits.memory_swap,
        memory_swappiness: limits.memory_swappiness,
        oom_kill_disable: limits.oom_kill_disable,
        pids_limit: limits.pids_limit,
        ulimits: limits
            .ulimits
            .iter()
            .map(|u| exact::Ulimit { name: u.name.clone(), hard: u.hard, soft: u.soft })
            .collect(),
        ..exact::Resources::default()
    }
}

fn device_request_to_wire(request: DeviceRequest) -> exact::DeviceRequest {
    exact::DeviceRequest {
        driver: request.driver,
        count: request.count,
        device_ids: Some(request.device_ids),
        capabilities: Some(request.capabilities),
        options: request.options,
    }
}
