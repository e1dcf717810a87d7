//! Containers on the wire exactly as Docker writes and reads them.
//!
//! Written, a value that is not set shows as its zero value, `null` or `[]`, wherever Docker shows
//! it; read, `null` and a missing key both mean the zero value. Source of truth: Engine API v1.51,
//! `ContainerCreate` and `ContainerInspect`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// Keys of a set: JSON objects whose values are empty objects.
pub type Set = BTreeMap<String, Empty>;

/// `{}`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer)?;
        Ok(Self {})
    }
}

/// A list of words; a single string is a list of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a string or a list of strings")]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::One(word) => vec![word],
            Either::Many(words) => words,
        }))
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + DeserializeOwned,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares structs whose fields read `null` as the zero value.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty = $wire:literal, )* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $(
            #[doc = concat!("`", $wire, "`")]
            $(#[$field_meta])*
            #[serde(rename = $wire, deserialize_with = "null_is_default")]
            pub $field: $type,
        )* }
    )*};
}

/// Body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerCreate {
    /// The portable half, its fields at the top level.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// `HostConfig`
    #[serde(rename = "HostConfig", deserialize_with = "null_is_default")]
    pub host_config: HostConfig,
    /// `NetworkingConfig`
    #[serde(rename = "NetworkingConfig", deserialize_with = "null_is_default")]
    pub networking_config: NetworkingConfig,
}

/// Body of `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerUpdate {
    /// Limits, their fields at the top level.
    #[serde(flatten)]
    pub resources: Resources,
    /// `RestartPolicy`
    #[serde(rename = "RestartPolicy")]
    pub restart_policy: Option<RestartPolicy>,
}

wire! {
    /// The portable half of a container's configuration.
    ContainerConfig {
        hostname: String = "Hostname",
        domainname: String = "Domainname",
        user: String = "User",
        attach_stdin: bool = "AttachStdin",
        attach_stdout: bool = "AttachStdout",
        attach_stderr: bool = "AttachStderr",
        #[serde(skip_serializing_if = "is_default")]
        exposed_ports: Set = "ExposedPorts",
        tty: bool = "Tty",
        open_stdin: bool = "OpenStdin",
        stdin_once: bool = "StdinOnce",
        env: Vec<String> = "Env",
        cmd: Option<Words> = "Cmd",
        #[serde(skip_serializing_if = "Option::is_none")]
        healthcheck: Option<Healthcheck> = "Healthcheck",
        #[serde(skip_serializing_if = "is_default")]
        args_escaped: bool = "ArgsEscaped",
        image: String = "Image",
        volumes: Option<Set> = "Volumes",
        working_dir: String = "WorkingDir",
        entrypoint: Option<Words> = "Entrypoint",
        #[serde(skip_serializing_if = "is_default")]
        network_disabled: bool = "NetworkDisabled",
        #[serde(skip_serializing_if = "is_default")]
        mac_address: String = "MacAddress",
        on_build: Option<Vec<String>> = "OnBuild",
        labels: BTreeMap<String, String> = "Labels",
        #[serde(skip_serializing_if = "is_default")]
        stop_signal: String = "StopSignal",
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_timeout: Option<i64> = "StopTimeout",
        #[serde(skip_serializing_if = "Option::is_none")]
        shell: Option<Words> = "Shell",
    }

    /// How health is probed; durations in nanoseconds.
    Healthcheck {
        #[serde(skip_serializing_if = "is_default")]
        test: Vec<String> = "Test",
        #[serde(skip_serializing_if = "is_default")]
        interval: i64 = "Interval",
        #[serde(skip_serializing_if = "is_default")]
        timeout: i64 = "Timeout",
        #[serde(skip_serializing_if = "is_default")]
        start_period: i64 = "StartPeriod",
        #[serde(skip_serializing_if = "is_default")]
        start_interval: i64 = "StartInterval",
        #[serde(skip_serializing_if = "is_default")]
        retries: i64 = "Retries",
        /// Beyond Docker: `kill`, `restart` or `stop`.
        #[serde(skip_serializing_if = "is_default")]
        on_failure: String = "OnFailure",
    }

    /// Endpoints to make with a container, by network.
    NetworkingConfig {
        endpoints_config: BTreeMap<String, Option<EndpointSettings>> = "EndpointsConfig",
    }

    /// A container's side of a network.
    EndpointSettings {
        ipam_config: Option<EndpointIpam> = "IPAMConfig",
        links: Option<Vec<String>> = "Links",
        aliases: Option<Vec<String>> = "Aliases",
        mac_address: String = "MacAddress",
        driver_opts: Option<BTreeMap<String, String>> = "DriverOpts",
        gw_priority: i64 = "GwPriority",
        network_id: String = "NetworkID",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        ip_address: String = "IPAddress",
        ip_prefix_len: i64 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        global_ipv6_address: String = "GlobalIPv6Address",
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        dns_names: Option<Vec<String>> = "DNSNames",
    }

    /// Addresses asked for.
    EndpointIpam {
        #[serde(skip_serializing_if = "is_default")]
        ipv4_address: String = "IPv4Address",
        #[serde(skip_serializing_if = "is_default")]
        ipv6_address: String = "IPv6Address",
        #[serde(skip_serializing_if = "is_default")]
        link_local_ips: Vec<String> = "LinkLocalIPs",
    }
}

wire! {
    /// Body of `POST /networks/create`.
    NetworkCreate {
        name: String = "Name",
        driver: String = "Driver",
        scope: String = "Scope",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_only: bool = "ConfigOnly",
        config_from: ConfigReference = "ConfigFrom",
        enable_ipv4: Option<bool> = "EnableIPv4",
        enable_ipv6: Option<bool> = "EnableIPv6",
        ipam: Ipam = "IPAM",
        options: BTreeMap<String, String> = "Options",
        labels: BTreeMap<String, String> = "Labels",
    }

    /// The network whose configuration is used.
    ConfigReference {
        network: String = "Network",
    }

    /// Where a network's addresses come from.
    Ipam {
        driver: String = "Driver",
        options: Option<BTreeMap<String, String>> = "Options",
        config: Vec<IpamPool> = "Config",
    }

    /// One subnet.
    IpamPool {
        subnet: String = "Subnet",
        ip_range: String = "IPRange",
        gateway: String = "Gateway",
        auxiliary_addresses: BTreeMap<String, String> = "AuxiliaryAddresses",
    }

    /// Body of `POST /networks/{id}/connect`.
    NetworkConnect {
        container: String = "Container",
        endpoint_config: EndpointSettings = "EndpointConfig",
    }

    /// Body of `POST /networks/{id}/disconnect`.
    NetworkDisconnect {
        container: String = "Container",
        force: bool = "Force",
    }
}

/// The host's half of a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// Everything but the limits, its fields at the top level.
    #[serde(flatten)]
    pub host: Host,
    /// Limits, their fields at the top level.
    #[serde(flatten)]
    pub resources: Resources,
}

wire! {
    /// The fields of [`HostConfig`] that are not limits.
    Host {
        binds: Option<Vec<String>> = "Binds",
        container_id_file: String = "ContainerIDFile",
        log_config: LogConfig = "LogConfig",
        network_mode: String = "NetworkMode",
        port_bindings: BTreeMap<String, Option<Vec<PortBinding>>> = "PortBindings",
        restart_policy: RestartPolicy = "RestartPolicy",
        auto_remove: bool = "AutoRemove",
        volume_driver: String = "VolumeDriver",
        volumes_from: Option<Vec<String>> = "VolumesFrom",
        console_size: [u32; 2] = "ConsoleSize",
        #[serde(skip_serializing_if = "is_default")]
        annotations: BTreeMap<String, String> = "Annotations",
        cap_add: Option<Words> = "CapAdd",
        cap_drop: Option<Words> = "CapDrop",
        cgroupns_mode: String = "CgroupnsMode",
        dns: Vec<String> = "Dns",
        dns_options: Vec<String> = "DnsOptions",
        dns_search: Vec<String> = "DnsSearch",
        extra_hosts: Option<Vec<String>> = "ExtraHosts",
        group_add: Option<Vec<String>> = "GroupAdd",
        ipc_mode: String = "IpcMode",
        cgroup: String = "Cgroup",
        links: Option<Vec<String>> = "Links",
        oom_score_adj: i64 = "OomScoreAdj",
        pid_mode: String = "PidMode",
        privileged: bool = "Privileged",
        publish_all_ports: bool = "PublishAllPorts",
        readonly_rootfs: bool = "ReadonlyRootfs",
        security_opt: Option<Vec<String>> = "SecurityOpt",
        #[serde(skip_serializing_if = "is_default")]
        storage_opt: BTreeMap<String, String> = "StorageOpt",
        #[serde(skip_serializing_if = "is_default")]
        tmpfs: BTreeMap<String, String> = "Tmpfs",
        uts_mode: String = "UTSMode",
        userns_mode: String = "UsernsMode",
        shm_size: i64 = "ShmSize",
        #[serde(skip_serializing_if = "is_default")]
        sysctls: BTreeMap<String, String> = "Sysctls",
        runtime: String = "Runtime",
        isolation: String = "Isolation",
        #[serde(skip_serializing_if = "is_default")]
        mounts: Vec<MountRequest> = "Mounts",
        masked_paths: Option<Vec<String>> = "MaskedPaths",
        readonly_paths: Option<Vec<String>> = "ReadonlyPaths",
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<bool> = "Init",
    }

    /// Limits.
    Resources {
        cpu_shares: i64 = "CpuShares",
        memory: i64 = "Memory",
        nano_cpus: i64 = "NanoCpus",
        cgroup_parent: String = "CgroupParent",
        blkio_weight: u16 = "BlkioWeight",
        blkio_weight_device: Vec<WeightDevice> = "BlkioWeightDevice",
        blkio_device_read_bps: Vec<ThrottleDevice> = "BlkioDeviceReadBps",
        blkio_device_write_bps: Vec<ThrottleDevice> = "BlkioDeviceWriteBps",
        blkio_device_read_iops: Vec<ThrottleDevice> = "BlkioDeviceReadIOps",
        blkio_device_write_iops: Vec<ThrottleDevice> = "BlkioDeviceWriteIOps",
        cpu_period: i64 = "CpuPeriod",
        cpu_quota: i64 = "CpuQuota",
        cpu_realtime_period: i64 = "CpuRealtimePeriod",
        cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
        cpuset_cpus: String = "CpusetCpus",
        cpuset_mems: String = "CpusetMems",
        devices: Vec<DeviceMapping> = "Devices",
        device_cgroup_rules: Option<Vec<String>> = "DeviceCgroupRules",
        device_requests: Option<Vec<DeviceRequest>> = "DeviceRequests",
        memory_reservation: i64 = "MemoryReservation",
        memory_swap: i64 = "MemorySwap",
        memory_swappiness: Option<i64> = "MemorySwappiness",
        oom_kill_disable: Option<bool> = "OomKillDisable",
        pids_limit: Option<i64> = "PidsLimit",
        ulimits: Vec<Ulimit> = "Ulimits",
        cpu_count: i64 = "CpuCount",
        cpu_percent: i64 = "CpuPercent",
        io_maximum_iops: u64 = "IOMaximumIOps",
        io_maximum_bandwidth: u64 = "IOMaximumBandwidth",
    }

    /// Where output goes.
    LogConfig {
        driver: String = "Type",
        config: BTreeMap<String, String> = "Config",
    }

    /// When a container comes back by itself.
    RestartPolicy {
        name: String = "Name",
        maximum_retry_count: i64 = "MaximumRetryCount",
    }

    /// One host side of a published port.
    PortBinding {
        host_ip: String = "HostIp",
        host_port: String = "HostPort",
    }

    /// A device's block IO weight.
    WeightDevice {
        path: String = "Path",
        weight: u16 = "Weight",
    }

    /// A device's throttle.
    ThrottleDevice {
        path: String = "Path",
        rate: u64 = "Rate",
    }

    /// A host device shown to a container.
    DeviceMapping {
        path_on_host: String = "PathOnHost",
        path_in_container: String = "PathInContainer",
        cgroup_permissions: String = "CgroupPermissions",
    }

    /// Devices asked of a driver.
    DeviceRequest {
        driver: String = "Driver",
        count: i64 = "Count",
        device_ids: Option<Vec<String>> = "DeviceIDs",
        capabilities: Option<Vec<Vec<String>>> = "Capabilities",
        options: BTreeMap<String, String> = "Options",
    }

    /// A resource limit of the process.
    Ulimit {
        name: String = "Name",
        hard: i64 = "Hard",
        soft: i64 = "Soft",
    }

    /// A mount in the long form.
    MountRequest {
        #[serde(skip_serializing_if = "is_default")]
        kind: String = "Type",
        #[serde(skip_serializing_if = "is_default")]
        source: String = "Source",
        #[serde(skip_serializing_if = "is_default")]
        target: String = "Target",
        #[serde(skip_serializing_if = "is_default")]
        read_only: bool = "ReadOnly",
        #[serde(skip_serializing_if = "is_default")]
        consistency: String = "Consistency",
        #[serde(skip_serializing_if = "Option::is_none")]
        bind_options: Option<BindOptions> = "BindOptions",
        #[serde(skip_serializing_if = "Option::is_none")]
        volume_options: Option<VolumeOptions> = "VolumeOptions",
        #[serde(skip_serializing_if = "Option::is_none")]
        image_options: Option<ImageOptions> = "ImageOptions",
        #[serde(skip_serializing_if = "Option::is_none")]
        tmpfs_options: Option<TmpfsOptions> = "TmpfsOptions",
    }

    /// Options of a bind mount.
    BindOptions {
        #[serde(skip_serializing_if = "is_default")]
        propagation: String = "Propagation",
        #[serde(skip_serializing_if = "is_default")]
        non_recursive: bool = "NonRecursive",
        #[serde(skip_serializing_if = "is_default")]
        create_mountpoint: bool = "CreateMountpoint",
        #[serde(skip_serializing_if = "is_default")]
        read_only_non_recursive: bool = "ReadOnlyNonRecursive",
        #[serde(skip_serializing_if = "is_default")]
        read_only_force_recursive: bool = "ReadOnlyForceRecursive",
    }

    /// Options of a volume mount.
    VolumeOptions {
        #[serde(skip_serializing_if = "is_default")]
        no_copy: bool = "NoCopy",
        #[serde(skip_serializing_if = "is_default")]
        labels: BTreeMap<String, String> = "Labels",
        #[serde(skip_serializing_if = "is_default")]
        subpath: String = "Subpath",
        #[serde(skip_serializing_if = "Option::is_none")]
        driver_config: Option<VolumeDriver> = "DriverConfig",
    }

    /// Driver of a volume made by a mount.
    VolumeDriver {
        #[serde(skip_serializing_if = "is_default")]
        name: String = "Name",
        #[serde(skip_serializing_if = "is_default")]
        options: BTreeMap<String, String> = "Options",
    }

    /// Options of an image mount.
    ImageOptions {
        #[serde(skip_serializing_if = "is_default")]
        subpath: String = "Subpath",
    }

    /// Options of a tmpfs mount.
    TmpfsOptions {
        #[serde(skip_serializing_if = "is_default")]
        size_bytes: i64 = "SizeBytes",
        #[serde(skip_serializing_if = "is_default")]
        mode: u32 = "Mode",
        #[serde(skip_serializing_if = "is_default")]
        options: Vec<Vec<String>> = "Options",
    }

    /// Answer of `GET /containers/{id}/json`.
    ContainerInspect {
        id: String = "Id",
        created: String = "Created",
        path: String = "Path",
        args: Vec<String> = "Args",
        state: ContainerState = "State",
        image: String = "Image",
        resolv_conf_path: String = "ResolvConfPath",
        hostname_path: String = "HostnamePath",
        hosts_path: String = "HostsPath",
        log_path: String = "LogPath",
        name: String = "Name",
        restart_count: i64 = "RestartCount",
        driver: String = "Driver",
        platform: String = "Platform",
        mount_label: String = "MountLabel",
        process_label: String = "ProcessLabel",
        app_armor_profile: String = "AppArmorProfile",
        exec_ids: Option<Vec<String>> = "ExecIDs",
        host_config: HostConfig = "HostConfig",
        graph_driver: GraphDriver = "GraphDriver",
        #[serde(skip_serializing_if = "Option::is_none")]
        size_rw: Option<i64> = "SizeRw",
        #[serde(skip_serializing_if = "Option::is_none")]
        size_root_fs: Option<i64> = "SizeRootFs",
        mounts: Vec<MountPoint> = "Mounts",
        config: ContainerConfig = "Config",
        network_settings: NetworkSettings = "NetworkSettings",
    }

    /// What a container is doing.
    ContainerState {
        status: String = "Status",
        running: bool = "Running",
        paused: bool = "Paused",
        restarting: bool = "Restarting",
        oom_killed: bool = "OOMKilled",
        dead: bool = "Dead",
        pid: i64 = "Pid",
        exit_code: i64 = "ExitCode",
        error: String = "Error",
        started_at: String = "StartedAt",
        finished_at: String = "FinishedAt",
        #[serde(skip_serializing_if = "Option::is_none")]
        health: Option<Health> = "Health",
    }

    /// Health of a container whose health is probed.
    Health {
        status: String = "Status",
        failing_streak: i64 = "FailingStreak",
        log: Vec<HealthResult> = "Log",
    }

    /// One probe.
    HealthResult {
        start: String = "Start",
        end: String = "End",
        exit_code: i64 = "ExitCode",
        output: String = "Output",
    }

    /// Where a container's or image's layers are.
    GraphDriver {
        data: BTreeMap<String, String> = "Data",
        name: String = "Name",
    }

    /// Something mounted into a container.
    MountPoint {
        #[serde(skip_serializing_if = "is_default")]
        kind: String = "Type",
        #[serde(skip_serializing_if = "is_default")]
        name: String = "Name",
        source: String = "Source",
        destination: String = "Destination",
        #[serde(skip_serializing_if = "is_default")]
        driver: String = "Driver",
        mode: String = "Mode",
        rw: bool = "RW",
        propagation: String = "Propagation",
    }

    /// A container's networks. The fields beside `networks` and `ports` repeat the endpoint of the
    /// default bridge; clients up to API 1.51 read them.
    NetworkSettings {
        bridge: String = "Bridge",
        sandbox_id: String = "SandboxID",
        sandbox_key: String = "SandboxKey",
        ports: BTreeMap<String, Option<Vec<PortBinding>>> = "Ports",
        hairpin_mode: bool = "HairpinMode",
        link_local_ipv6_address: String = "LinkLocalIPv6Address",
        link_local_ipv6_prefix_len: i64 = "LinkLocalIPv6PrefixLen",
        secondary_ip_addresses: Option<Vec<String>> = "SecondaryIPAddresses",
        secondary_ipv6_addresses: Option<Vec<String>> = "SecondaryIPv6Addresses",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        global_ipv6_address: String = "GlobalIPv6Address",
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        ip_address: String = "IPAddress",
        ip_prefix_len: i64 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        mac_address: String = "MacAddress",
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// One row of `GET /containers/json`.
    ContainerSummary {
        id: String = "Id",
        names: Vec<String> = "Names",
        image: String = "Image",
        image_id: String = "ImageID",
        command: String = "Command",
        created: i64 = "Created",
        ports: Vec<Port> = "Ports",
        #[serde(skip_serializing_if = "Option::is_none")]
        size_rw: Option<i64> = "SizeRw",
        #[serde(skip_serializing_if = "Option::is_none")]
        size_root_fs: Option<i64> = "SizeRootFs",
        labels: BTreeMap<String, String> = "Labels",
        state: String = "State",
        status: String = "Status",
        host_config: SummaryHostConfig = "HostConfig",
        network_settings: SummaryNetworks = "NetworkSettings",
        mounts: Vec<MountPoint> = "Mounts",
    }

    /// A container's port, published or not.
    Port {
        #[serde(skip_serializing_if = "is_default")]
        ip: String = "IP",
        private_port: u16 = "PrivatePort",
        #[serde(skip_serializing_if = "is_default")]
        public_port: u16 = "PublicPort",
        protocol: String = "Type",
    }

    /// The part of the host's half that lists show.
    SummaryHostConfig {
        #[serde(skip_serializing_if = "is_default")]
        network_mode: String = "NetworkMode",
        #[serde(skip_serializing_if = "is_default")]
        annotations: BTreeMap<String, String> = "Annotations",
    }

    /// The networks that lists show.
    SummaryNetworks {
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// Body of `POST /containers/{id}/exec`.
    ExecCreate {
        user: String = "User",
        privileged: bool = "Privileged",
        tty: bool = "Tty",
        console_size: Option<[u32; 2]> = "ConsoleSize",
        attach_stdin: bool = "AttachStdin",
        attach_stderr: bool = "AttachStderr",
        attach_stdout: bool = "AttachStdout",
        detach: bool = "Detach",
        #[serde(alias = "detachKeys")] // as docker-py writes it
        detach_keys: String = "DetachKeys",
        env: Vec<String> = "Env",
        working_dir: String = "WorkingDir",
        cmd: Words = "Cmd",
    }

    /// Body of `POST /exec/{id}/start`.
    ExecStart {
        detach: bool = "Detach",
        tty: bool = "Tty",
        console_size: Option<[u32; 2]> = "ConsoleSize",
    }

    /// Answer of `GET /exec/{id}/json`.
    ExecInspect {
        id: String = "ID",
        running: bool = "Running",
        exit_code: Option<i64> = "ExitCode",
        process_config: ExecProcess = "ProcessConfig",
        open_stdin: bool = "OpenStdin",
        open_stderr: bool = "OpenStderr",
        open_stdout: bool = "OpenStdout",
        can_remove: bool = "CanRemove",
        container_id: String = "ContainerID",
        detach_keys: String = "DetachKeys",
        pid: i64 = "Pid",
    }

    /// What an exec runs.
    ExecProcess {
        tty: bool = "tty",
        entrypoint: String = "entrypoint",
        arguments: Vec<String> = "arguments",
        privileged: bool = "privileged",
        #[serde(skip_serializing_if = "is_default")]
        user: String = "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_missing_are_zero() {
        let create: ContainerCreate = serde_json::from_str(
            r#"{"Image": "x", "Cmd": "true", "Env": null, "Volumes": {"/v": {}, "/w": null},
                "HostConfig": {"Memory": 5, "PortBindings": {"80/tcp": null}, "Dns": null},
                "NetworkingConfig": {"EndpointsConfig": {"bridge": null}}}"#,
        )
        .unwrap();
        assert_eq!(create.config.cmd, Some(Words(vec!["true".into()])));
        assert_eq!(create.config.volumes.unwrap().len(), 2);
        assert_eq!(create.host_config.resources.memory, 5);
        assert!(create.host_config.host.port_bindings["80/tcp"].is_none());
        assert_eq!(create.networking_config.endpoints_config["bridge"], None);
        let empty: ContainerCreate = serde_json::from_str(r#"{"HostConfig": null}"#).unwrap();
        assert_eq!(empty, ContainerCreate::default());
    }

    #[test]
    fn wrong_types_are_refused() {
        for body in [
            r#"{"Image": 3}"#,
            r#"{"Env": "a=b"}"#,
            r#"{"HostConfig": {"Memory": "5m"}}"#,
            r#"{"HostConfig": {"PortBindings": []}}"#,
            r#"{"Cmd": [1]}"#,
        ] {
            assert!(serde_json::from_str::<ContainerCreate>(body).is_err(), "{body}");
        }
    }

    #[test]
    fn zero_values_are_written_where_docker_writes_them() {
        let inspect = serde_json::to_value(ContainerInspect::default()).unwrap();
        assert!(inspect["ExecIDs"].is_null());
        assert!(inspect["HostConfig"]["Binds"].is_null());
        assert_eq!(inspect["HostConfig"]["ConsoleSize"], serde_json::json!([0, 0]));
        assert_eq!(inspect["HostConfig"]["PidsLimit"], serde_json::Value::Null);
        assert_eq!(inspect["HostConfig"].get("Mounts"), None);
        assert_eq!(inspect["NetworkSettings"]["IPAddress"], "");
        assert_eq!(inspect["Config"]["Cmd"], serde_json::Value::Null);
        assert_eq!(inspect.get("SizeRw"), None);
    }
}
