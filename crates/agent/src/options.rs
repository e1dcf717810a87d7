//! The flags of `teu agent`: Mesos' names, for what there is.

use flags::{Flag, refused, switch, value};

const NO_CNI: &str = "containers get their networks from the Docker engine";
const NO_AUTH: &str =
    "this agent has no authentication yet; bind it to an internal address with --ip";
const NO_IMAGES: &str = "images are run by the docker containerizer only";

/// Every flag.
pub(crate) static TABLE: &[Flag] = &[
    value("master", None, "Where the master is: host:port."),
    value("ip", None, "Address to listen on and to be reached at."),
    value("port", Some("5051"), "Port to listen on."),
    value("hostname", None, "Name that frameworks are told; default: the host's own."),
    value("work_dir", None, "Where sandboxes and checkpoints are kept."),
    value(
        "resources",
        None,
        "What to offer: 'cpus:4;mem:4096;ports:[31000-32000]'; the rest is detected.",
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
    value("docker_config", None, "Directory of the config.json with credentials for registries."),
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
    switch("cgroups_enable_cfs", false, "Limit CPU to what a task asked for, not only weigh it."),
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
    value(
        "reconfiguration_policy",
        Some("equal"),
        "equal: refuse a changed configuration; additive: allow more of everything.",
    ),
    value("gc_delay", Some("1weeks"), "How long the sandbox of an ended executor is kept."),
    value(
        "http_heartbeat_interval",
        Some("30secs"),
        "How often subscribed executors hear a heartbeat.",
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
    value("logging_level", Some("INFO"), "INFO, WARNING or ERROR; DEBUG for more."),
    switch("quiet", false, "Log errors only."),
    refused("zk", "write --master=host:port"),
    refused("image_providers", NO_IMAGES),
    refused("image_provisioner_backend", NO_IMAGES),
    refused("appc_store_dir", NO_IMAGES),
    refused("docker_store_dir", NO_IMAGES),
    refused("docker_registry", "the engine pulls images; configure its mirrors"),
    refused("docker_mesos_image", "run this agent on the host"),
    refused("network_cni_config_dir", NO_CNI),
    refused("network_cni_plugins_dir", NO_CNI),
    refused("authenticate_http_executors", NO_AUTH),
    refused("authenticate_http_readonly", NO_AUTH),
    refused("authenticate_http_readwrite", NO_AUTH),
    refused("http_credentials", NO_AUTH),
    refused("credential", NO_AUTH),
    refused("acls", NO_AUTH),
    refused(
        "isolation",
        "cgroups limit what the mesos containerizer starts; there is nothing to choose",
    ),
    refused("launcher", "there is one launcher"),
    refused("launcher_dir", "there are no helper programs"),
    refused("modules", "modules are C++ code"),
    refused("modules_dir", "modules are C++ code"),
    refused("hooks", "hooks are C++ code"),
    refused("resource_provider_config_dir", "there are no resource providers"),
    refused("resource_estimator", "there is no oversubscription"),
    refused("qos_controller", "there is no oversubscription"),
    refused(
        "default_container_dns",
        "set the engine's DNS servers, or the parameter `dns` of a container",
    ),
    refused("default_container_info", "frameworks say what they run in"),
    refused("effective_capabilities", "use the parameters cap-add and cap-drop of a container"),
    refused("frameworks_home", "URIs of tasks have to be absolute"),
    refused("hadoop_home", "hdfs URIs are not fetched"),
    refused("domain", "fault domains are not supported"),
];
