//! The flags of `teu agent`: Mesos' names, all of them. What acts comes first; the rest is refused
//! with the reason.

use anyhow::{Result, bail};
use flags::{Flag, Values, refused, switch, value};

const NO_AUTHORIZER: &str = "who is let in with --http_credentials may do everything";
const NO_CNI: &str = "containers get their networks from the Docker engine";
const NO_CSI: &str = "there are no resource providers, so no volumes of CSI plugins";
const NO_DISK_ISOLATOR: &str = "the disk that a sandbox uses is not limited; the engine limits a \
                                container's own files with the parameter `storage-opt`";
const NO_GPU: &str = "GPUs are not isolated; hand devices over with the parameter `device`";
const NO_IPV6: &str = "messages of libprocess are IPv4; containers tell the addresses they have";
const NO_MODULES: &str = "modules are C++ code";
const NO_OVERSUBSCRIPTION: &str = "there is no oversubscription";
const NO_PERF: &str = "perf events are not sampled";
const NO_PORT_MAPPING: &str =
    "network/port_mapping is not available; the Docker engine separates networks";
const NO_PORTS_ISOLATOR: &str =
    "network/ports is not available; ports of containers on a bridge are checked at the launch";
const NO_STORE: &str = "the Docker engine pulls and keeps images";
const NO_DRIVER_EXECUTORS: &str = "executors of the HTTP API only can register";
const ONE_CGROUP_TREE: &str =
    "processes are in /teu-agent of every hierarchy that is mounted; there is nothing to choose";

/// Every flag.
pub(crate) static TABLE: &[Flag] = &[
    value("master", None, "Where the master is: host:port, or zk://host:port,host:port/path."),
    value("zk_session_timeout", Some("10secs"), "How long ZooKeeper may take to say who leads."),
    value("ip", None, "Address to listen on, and to be reached at unless another is advertised."),
    value("ip_discovery_command", None, "Command that prints the address to listen on."),
    value("port", Some("5051"), "Port to listen on."),
    value("advertise_ip", None, "Address that masters and executors are told."),
    value("advertise_port", None, "Port that masters and executors are told."),
    value("hostname", None, "Name that frameworks are told; default: the host's own."),
    switch(
        "hostname_lookup",
        true,
        "Tell the host's name where --hostname is not given, else its address.",
    ),
    value("domain", None, "Region and zone of the agent, as JSON."),
    value("work_dir", None, "Where sandboxes and checkpoints are kept."),
    value(
        "resources",
        None,
        "What to offer, as text ('cpus:4;mem:4096;ports:[31000-32000]'), as JSON, or the path of a file with either; the rest is detected.",
    ),
    value("attributes", None, "What the agent is like: 'rack:r1;level:10;range:[1-3]'."),
    value("default_role", Some("*"), "Role of resources that name none."),
    value(
        "containerizers",
        Some("docker,mesos"),
        "Which are used, the first that fits: docker, mesos.",
    ),
    value("docker", Some("docker"), "What the shown `docker run` lines begin with."),
    value(
        "docker_socket",
        Some("/run/teu/teu.sock"),
        "Socket of the Docker-compatible engine; also tcp://host:port.",
    ),
    value(
        "docker_config",
        None,
        "Credentials for registries: a config.json or .dockercfg as a path, or its content.",
    ),
    switch(
        "docker_kill_orphans",
        true,
        "Remove containers that an earlier agent in this work_dir has left.",
    ),
    value(
        "docker_stop_timeout",
        Some("0ns"),
        "Grace for containers that are killed without one of their own.",
    ),
    value("docker_remove_delay", Some("0ns"), "How long to keep a container that has ended."),
    value(
        "default_container_dns",
        None,
        "Name servers of containers on bridges and networks of users that name none, as JSON; its list `docker` only.",
    ),
    switch("cgroups_enable_cfs", false, "Limit CPU to what a task asked for, not only weigh it."),
    switch(
        "cgroups_limit_swap",
        false,
        "Limit memory and swap together, of processes of the mesos containerizer.",
    ),
    value(
        "executor_environment_variables",
        None,
        "Variables of all tasks and executors, as a JSON object; those of a command win.",
    ),
    value(
        "executor_registration_timeout",
        Some("1mins"),
        "How long an executor may take to subscribe.",
    ),
    value(
        "executor_reregistration_timeout",
        Some("15secs"),
        "How long an executor may take to come back after the agent's restart, 15secs at most.",
    ),
    value(
        "executor_shutdown_grace_period",
        Some("5secs"),
        "How long anything may take to end by itself.",
    ),
    value("recovery_timeout", Some("15mins"), "How long executors wait for an agent that is gone."),
    value(
        "registration_backoff_factor",
        Some("1secs"),
        "Bound of the first random pause between attempts to register.",
    ),
    value(
        "recover",
        Some("reconnect"),
        "reconnect: carry on with what runs; cleanup: end it, then this agent.",
    ),
    switch(
        "strict",
        true,
        "Refuse to start with checkpoints that cannot be read; --no-strict leaves those out.",
    ),
    value(
        "reconfiguration_policy",
        Some("equal"),
        "equal: refuse a changed configuration; additive: allow more of everything.",
    ),
    value(
        "fetcher_cache_size",
        Some("2GB"),
        "What URIs with `cache` may take up; 0B for no cache.",
    ),
    value(
        "fetcher_cache_dir",
        None,
        "Where they are kept, in a directory of this agent's own; default: `fetch` of the work_dir.",
    ),
    value(
        "fetcher_stall_timeout",
        Some("1mins"),
        "How long a download may stand still before it is given up.",
    ),
    value("frameworks_home", None, "Directory that relative URIs are in."),
    value("gc_delay", Some("1weeks"), "How long the sandbox of an ended executor is kept."),
    value(
        "gc_disk_headroom",
        Some("0.1"),
        "Share of the disk that counts as used, so that sandboxes go before it is full.",
    ),
    value("disk_watch_interval", Some("1mins"), "How often sandboxes and the disk are looked at."),
    value(
        "max_completed_executors_per_framework",
        Some("150"),
        "Executors of the past remembered for each framework.",
    ),
    value(
        "http_heartbeat_interval",
        Some("30secs"),
        "How often subscribed executors hear a heartbeat.",
    ),
    value(
        "credential",
        None,
        "File of a principal and a secret, which prove to the master who this is: JSON, or the two.",
    ),
    value("authenticatee", Some("crammd5"), "How that is proved: crammd5 is the only way."),
    value(
        "authentication_backoff_factor",
        Some("1secs"),
        "By how much the second attempt may take longer than the first at least; it doubles.",
    ),
    value("authentication_timeout_min", Some("5secs"), "How long an attempt may take at least."),
    value("authentication_timeout_max", Some("1mins"), "How long an attempt may take at most."),
    switch("authenticate_http_readonly", false, "Ask for credentials where state is read."),
    switch("authenticate_http_readwrite", false, "Ask for credentials where state is changed."),
    value(
        "http_credentials",
        None,
        "File of those who are let in: JSON, or lines of a principal and a secret.",
    ),
    switch(
        "authenticate_http_executors",
        false,
        "Ask executors for the token that each is started with, signed with --jwt_secret_key.",
    ),
    value(
        "jwt_secret_key",
        None,
        "File of the key that executors' tokens are signed with; without it they get none.",
    ),
    value(
        "http_authenticators",
        None,
        "What is taken: basic, jwt or both; default: basic, and jwt where executors are asked.",
    ),
    value(
        "firewall_rules",
        None,
        "Endpoints that answer nobody, as JSON: {\"disabled_endpoints\": {\"paths\": [\"/files/browse\"]}}; or a file with it.",
    ),
    switch(
        "switch_user",
        true,
        "Give sandboxes, and processes of the mesos containerizer, to the framework's user.",
    ),
    value(
        "sandbox_directory",
        Some("/mnt/mesos/sandbox"),
        "Where containers see their sandbox; this value only.",
    ),
    value(
        "isolation",
        Some("cgroups/cpu,cgroups/mem"),
        "What limits processes of the mesos containerizer; these two only.",
    ),
    value("launcher", Some("linux"), "What starts them: linux is the only one."),
    value("image_providers", Some("DOCKER"), "Kinds of images: DOCKER is the only one."),
    switch("systemd_enable_support", false, "Not available: true is refused."),
    switch(
        "http_command_executor",
        false,
        "Not available, command tasks have no executor program: true is refused.",
    ),
    value("logging_level", Some("INFO"), "INFO, WARNING or ERROR; DEBUG for more."),
    switch("quiet", false, "Log errors only."),
    value(
        "external_log_file",
        None,
        "File to which others write this log; /files/read and READ_FILE show it as /slave/log.",
    ),
    refused("acls", NO_AUTHORIZER),
    refused("authorizer", NO_AUTHORIZER),
    refused("agent_features", "an agent cannot do less than it can"),
    refused("agent_subsystems", "put the agent into a cgroup of its service's, such as systemd's"),
    refused("slave_subsystems", "put the agent into a cgroup of its service's, such as systemd's"),
    refused("allowed_capabilities", "use the parameters cap-add and cap-drop of a container"),
    refused(
        "allowed_devices",
        "devices are handed over with the parameter `device` of a container",
    ),
    refused("appc_simple_discovery_uri_prefix", "images of type APPC are not supported"),
    refused("appc_store_dir", "images of type APPC are not supported"),
    refused("executor_secret_key", "an old name: write --jwt_secret_key"),
    refused("bounding_capabilities", "use the parameters cap-add and cap-drop of a container"),
    refused("effective_capabilities", "use the parameters cap-add and cap-drop of a container"),
    refused("cgroups_cpu_enable_pids_and_tids_count", "processes are always counted"),
    refused("cgroups_destroy_timeout", "a cgroup is killed as a whole, which takes no time"),
    refused("cgroups_hierarchy", ONE_CGROUP_TREE),
    refused("cgroups_root", ONE_CGROUP_TREE),
    refused("cgroups_net_cls_primary_handle", NO_PORT_MAPPING),
    refused("cgroups_net_cls_secondary_handles", NO_PORT_MAPPING),
    refused("check_agent_port_range_only", NO_PORTS_ISOLATOR),
    refused("container_ports_isolated_range", NO_PORTS_ISOLATOR),
    refused("container_ports_watch_interval", NO_PORTS_ISOLATOR),
    refused("enforce_container_ports", NO_PORTS_ISOLATOR),
    refused("container_disk_watch_interval", NO_DISK_ISOLATOR),
    refused("enforce_container_disk_quota", NO_DISK_ISOLATOR),
    refused("xfs_kill_containers", NO_DISK_ISOLATOR),
    refused("xfs_project_range", NO_DISK_ISOLATOR),
    refused("xfs_quota_headroom", NO_DISK_ISOLATOR),
    refused("container_logger", NO_MODULES),
    refused("csi_plugin_config_dir", NO_CSI),
    refused("disk_profile_adaptor", NO_CSI),
    refused("resource_provider_config_dir", NO_CSI),
    refused("default_container_info", "frameworks say what they run in"),
    refused("default_container_shm_size", "use the parameter `shm-size` of a container"),
    refused("disallow_sharing_agent_ipc_namespace", "tasks without an image share it always"),
    refused("disallow_sharing_agent_pid_namespace", "tasks without an image share it always"),
    refused("docker_ignore_runtime", "what an image says of its run is the engine's business"),
    refused("docker_mesos_image", "run this agent on the host"),
    refused("docker_registry", "the engine pulls images; configure its mirrors"),
    refused("docker_store_dir", NO_STORE),
    refused("docker_volume_checkpoint_dir", "volumes are the engine's, which remembers them"),
    refused("docker_volume_chown", "volumes are the engine's, and have the owner they have there"),
    refused("image_gc_config", NO_STORE),
    refused("image_provisioner_backend", NO_STORE),
    refused("domain_socket_location", "executors reach the agent at its port"),
    refused("http_executor_domain_sockets", "executors reach the agent at its port"),
    refused("egress_burst", NO_PORT_MAPPING),
    refused("egress_ceil_limit", NO_PORT_MAPPING),
    refused("egress_flow_classifier_parent", NO_PORT_MAPPING),
    refused("egress_rate_limit_per_container", NO_PORT_MAPPING),
    refused("egress_rate_per_cpu", NO_PORT_MAPPING),
    refused("egress_unique_flow_per_container", NO_PORT_MAPPING),
    refused("ephemeral_ports_per_container", NO_PORT_MAPPING),
    refused("eth0_name", NO_PORT_MAPPING),
    refused("ingress_burst", NO_PORT_MAPPING),
    refused("ingress_ceil_limit", NO_PORT_MAPPING),
    refused("ingress_isolate_existing_containers", NO_PORT_MAPPING),
    refused("ingress_rate_limit_per_container", NO_PORT_MAPPING),
    refused("ingress_rate_per_cpu", NO_PORT_MAPPING),
    refused("lo_name", NO_PORT_MAPPING),
    refused("maximum_egress_rate_limit", NO_PORT_MAPPING),
    refused("maximum_ingress_rate_limit", NO_PORT_MAPPING),
    refused("minimum_egress_rate_limit", NO_PORT_MAPPING),
    refused("minimum_ingress_rate_limit", NO_PORT_MAPPING),
    refused("network_enable_rate_statistics", NO_PORT_MAPPING),
    refused("network_enable_snmp_statistics", NO_PORT_MAPPING),
    refused("network_enable_socket_statistics_details", NO_PORT_MAPPING),
    refused("network_enable_socket_statistics_summary", NO_PORT_MAPPING),
    refused("network_link_speed", NO_PORT_MAPPING),
    refused("network_rate_statistics_interval", NO_PORT_MAPPING),
    refused("network_rate_statistics_window", NO_PORT_MAPPING),
    refused("executor_reregistration_retry_interval", NO_DRIVER_EXECUTORS),
    refused("initialize_driver_logging", NO_DRIVER_EXECUTORS),
    refused("gc_non_executor_container_sandboxes", "such sandboxes go with their executor's"),
    refused("hadoop_home", "hdfs URIs are not fetched"),
    refused("hooks", NO_MODULES),
    refused("host_path_volume_force_creation", "make the directories of volumes beforehand"),
    refused("ip6", NO_IPV6),
    refused("ip6_discovery_command", NO_IPV6),
    refused("launcher_dir", "there are no helper programs"),
    refused(
        "log_dir",
        "the log goes to standard error; name the file it ends in with --external_log_file",
    ),
    refused("logbufsecs", "the log is never held back"),
    refused("master_detector", NO_MODULES),
    refused("memory_profiling", "use a profiler of the operating system"),
    refused("modules", NO_MODULES),
    refused("modules_dir", NO_MODULES),
    refused("network_cni_config_dir", NO_CNI),
    refused("network_cni_metrics", NO_CNI),
    refused("network_cni_plugins_dir", NO_CNI),
    refused("network_cni_root_dir_persist", NO_CNI),
    refused("nvidia_gpu_devices", NO_GPU),
    refused("oversubscribed_resources_interval", NO_OVERSUBSCRIPTION),
    refused("qos_controller", NO_OVERSUBSCRIPTION),
    refused("qos_correction_interval_min", NO_OVERSUBSCRIPTION),
    refused("resource_estimator", NO_OVERSUBSCRIPTION),
    refused("revocable_cpu_low_priority", NO_OVERSUBSCRIPTION),
    refused("perf_duration", NO_PERF),
    refused("perf_events", NO_PERF),
    refused("perf_interval", NO_PERF),
    refused(
        "runtime_dir",
        "everything is kept in the work_dir, and told apart by the host's boot id",
    ),
    refused("seccomp_config_dir", "use the parameter `security-opt` of a container"),
    refused("seccomp_profile_name", "use the parameter `security-opt` of a container"),
    refused("secret_resolver", "there are no secrets"),
    refused("systemd_runtime_directory", "the agent needs nothing of systemd"),
    refused("volume_gid_range", "a volume is given to the user of the task that mounts it"),
    refused("zk", "write --master=zk://host:port/path"),
];

/// Flags that are there for the values which say what this agent does anyway.
const ONLY: [(&str, &[&str], &str); 6] = [
    ("sandbox_directory", &[crate::docker::SANDBOX], "it is /mnt/mesos/sandbox in every container"),
    ("launcher", &["linux"], "processes are started in cgroups"),
    ("image_providers", &["DOCKER"], "images of type APPC are not supported"),
    ("authenticatee", &["crammd5"], "crammd5 is the only one"),
    (
        "systemd_enable_support",
        &["false"],
        "processes outlive the agent in cgroups of their own; let its service have KillMode=process",
    ),
    ("http_command_executor", &["false"], "command tasks have no executor program"),
];

/// Isolators whose work is done.
const ISOLATORS: [&str; 2] = ["cgroups/cpu", "cgroups/mem"];

/// Refuses values that are known and mean something this agent does not do.
///
/// # Errors
/// Names the flag and says why.
pub(crate) fn check(values: &Values) -> Result<()> {
    for (name, allowed, why) in ONLY {
        let value = values.text(name);
        if !allowed.contains(&value) {
            bail!("flag '--{name}': '{value}' is not available: {why}");
        }
    }
    let isolation: Vec<&str> = values.text("isolation").split(',').map(str::trim).collect();
    if let Some(other) = isolation.iter().find(|one| !ISOLATORS.contains(one)) {
        bail!("flag '--isolation': '{other}' is not available: there are {}", ISOLATORS.join(", "));
    }
    if let Some(missing) = ISOLATORS.iter().find(|one| !isolation.contains(one)) {
        bail!("flag '--isolation': {missing} cannot be left out: it is always there");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use flags::{Parsed, parse};

    use super::*;

    /// Every flag of mesos-agent 1.11 and of its main branch since, with the old names that it
    /// still takes.
    const OF_MESOS: &str = include_str!("options/of_mesos.txt");

    fn checked(line: &str) -> Result<()> {
        let args = line.split(' ').filter(|arg| !arg.is_empty()).map(str::to_owned);
        match parse(TABLE, args, []).expect("known flags") {
            Parsed::Run(values) => check(&values),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_flag_of_mesos_acts_or_is_refused_by_name() {
        assert!(OF_MESOS.lines().count() > 160);
        assert_eq!(flags::unknown(TABLE, OF_MESOS), [""; 0]);
    }

    #[test]
    fn values_that_mean_more_than_there_is_are_refused() {
        for good in ["", "--isolation=cgroups/mem,cgroups/cpu", "--no-systemd_enable_support"] {
            checked(good).expect("good flags");
        }
        for (bad, text) in [
            ("--isolation=cgroups/cpu,cgroups/mem,disk/du", "'disk/du' is not available"),
            ("--isolation=cgroups/cpu", "cgroups/mem cannot be left out"),
            ("--authenticatee=mine", "'mine' is not available: crammd5 is the only one"),
            ("--launcher=posix", "'posix' is not available: processes are started in cgroups"),
            ("--image_providers=APPC,DOCKER", "APPC are not supported"),
            ("--sandbox_directory=/sandbox", "/mnt/mesos/sandbox in every container"),
            ("--systemd_enable_support", "KillMode=process"),
        ] {
            let told = checked(bad).expect_err("a bad flag").to_string();
            assert!(told.contains(text), "{told}");
        }
    }

    #[test]
    fn the_page_of_flags_is_this_table() {
        let page = flags::page("agent", TABLE);
        expect_file!["../../../docs/agent-flags.md"].assert_eq(&page);
    }
}
