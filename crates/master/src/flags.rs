//! The command line of `teu master`: Mesos' names and units.

use ::flags::{Flag, path, refused, switch, value};

const NO_AUTH: &str = "who is let in with --credentials may do everything; keep others out with a \
                       firewall";
const NO_MODULES: &str = "modules are not supported";
const OLD_NAME: &str = "an old name: write 'agent' for 'slave'";
const NO_CONSTRAINTS_LIMIT: &str = "offer constraints need no limit: their expressions take time that \
                                    grows with the text only";
const NO_UI: &str = "there is no web interface; `teu cluster status` tells the same";

/// Every flag, in the order of `--help`.
pub(crate) static TABLE: &[Flag] = &[
    value("work_dir", Some("/var/lib/teu/master"), "Where the registry is kept."),
    value("ip", None, "Address to listen on; all of them if not given."),
    value("port", Some("5050"), "Port to listen on."),
    value("advertise_ip", None, "Address that agents and frameworks are told."),
    value("advertise_port", None, "Port that agents and frameworks are told."),
    value("hostname", None, "Host name that agents and frameworks are told."),
    switch("hostname_lookup", true, "Tell the machine's host name and not its address."),
    value("cluster", None, "Name of the cluster, for people."),
    value("domain", None, "Region and zone of the master, as JSON."),
    value("registry", Some("replicated_log"), "replicated_log (on disk) or in_memory."),
    value("quorum", Some("1"), "Masters that must agree: one, which leads."),
    value(
        "zk",
        None,
        "ZooKeeper in which masters stand for election and are found: zk://host:2181,host:2181/path, or \
         zk://user:password@host:2181/path.",
    ),
    value(
        "zk_session_timeout",
        Some("10secs"),
        "How long ZooKeeper remembers a master that it does not hear; a leader ends before that.",
    ),
    value("roles", None, "Roles that frameworks may use, with commas between; any if not given."),
    value("weights", None, "Weights of roles: role=weight,role=weight."),
    value("allocation_interval", Some("1secs"), "How often offers are made."),
    value("allocator", Some("hierarchical"), "The allocator: hierarchical is the only one."),
    value("role_sorter", Some("drf"), "The order of roles: drf is the only one."),
    value("framework_sorter", Some("drf"), "The order of frameworks: drf is the only one."),
    value(
        "min_allocatable_resources",
        Some("cpus:0.01|mem:32"),
        "Offers hold at least one of these amounts.",
    ),
    value("fair_sharing_excluded_resource_names", None, "Resources that do not count as a share."),
    switch(
        "filter_gpu_resources",
        true,
        "Offer agents with GPUs to GPU_RESOURCES frameworks only.",
    ),
    value("offer_timeout", None, "After what time unused offers are rescinded."),
    value(
        "agent_ping_timeout",
        Some("15secs"),
        "How long to wait for an agent's answer to a ping.",
    ),
    value("max_agent_ping_timeouts", Some("5"), "Unanswered pings until an agent is unreachable."),
    value(
        "agent_reregister_timeout",
        Some("10mins"),
        "Time for agents to come back to a new master.",
    ),
    value("agent_removal_rate_limit", None, "Agents made unreachable at most: 1/10mins."),
    switch("require_agent_domain", false, "Refuse agents that do not tell their region and zone."),
    value("max_executors_per_agent", None, "Executors on one agent at most."),
    value("max_completed_frameworks", Some("50"), "Frameworks of the past that are remembered."),
    value(
        "max_completed_tasks_per_framework",
        Some("1000"),
        "Tasks of the past remembered for each.",
    ),
    value(
        "max_unreachable_tasks_per_framework",
        Some("1000"),
        "Unreachable tasks remembered for each.",
    ),
    value("max_operator_event_stream_subscribers", Some("1000"), "Operators that listen at most."),
    value("registry_gc_interval", Some("15mins"), "How often long lost agents are forgotten."),
    value("registry_max_agent_age", Some("2weeks"), "When a lost agent is forgotten."),
    value("registry_max_agent_count", Some("102400"), "Lost agents that are remembered at most."),
    switch("publish_per_framework_metrics", true, "Whether metrics tell frameworks apart."),
    value("logging_level", Some("INFO"), "INFO, WARNING or ERROR."),
    value(
        "external_log_file",
        None,
        "File to which others write this log; /files/read and LIST_FILES show it as /master/log.",
    ),
    switch("quiet", false, "Log warnings and errors only."),
    switch("authenticate_agents", false, "Let only agents register that prove who they are."),
    switch(
        "authenticate_frameworks",
        false,
        "The same for drivers of the older kind; for those over HTTP: --authenticate_http_frameworks.",
    ),
    switch("authenticate_http_frameworks", false, "Ask schedulers over HTTP for credentials."),
    switch("authenticate_http_readonly", false, "Ask for credentials where state is read."),
    switch("authenticate_http_readwrite", false, "Ask for credentials where state is changed."),
    value(
        "credentials",
        None,
        "File of those who are let in: JSON, or lines of a principal and a secret.",
    ),
    value(
        "authenticators",
        Some("crammd5"),
        "How agents and drivers prove it: crammd5 is the only way.",
    ),
    value(
        "authentication_v0_timeout",
        Some("15secs"),
        "How long an agent or a driver may take to prove it.",
    ),
    value(
        "firewall_rules",
        None,
        "Endpoints that answer nobody, as JSON: {\"disabled_endpoints\": {\"paths\": [\"/files/browse\"]}}; or a file with it.",
    ),
    path(
        "whitelist",
        "File of the hosts whose agents are offered, one a line; read again every 5 seconds.",
    ),
    value(
        "rate_limits",
        None,
        "How fast drivers of the older kind may speak, by principal, as JSON or a file with it; not those over HTTP.",
    ),
    value("http_authenticators", Some("basic"), "basic is the only one."),
    value("http_framework_authenticators", Some("basic"), "basic is the only one."),
    switch("root_submissions", true, "Whether tasks may run as root: false is refused."),
    refused("acls", NO_AUTH),
    refused("authorizers", NO_AUTH),
    refused(
        "log_dir",
        "the log goes to standard error; name the file it ends in with --external_log_file",
    ),
    refused("hooks", NO_MODULES),
    refused("modules", NO_MODULES),
    refused("modules_dir", NO_MODULES),
    refused("ip_discovery_command", "give the address with --ip or --advertise_ip"),
    refused("master_contender", NO_MODULES),
    refused("master_detector", NO_MODULES),
    refused("memory_profiling", "use a profiler of the operating system"),
    refused("registry_strict", "the registry is always strict"),
    refused("webui_dir", NO_UI),
    refused("allocator_agent_recovery_factor", "offers are made as soon as agents are back"),
    refused("allocator_recovery_timeout", "offers are made as soon as agents are back"),
    refused("authenticate", "an old name: write --authenticate_frameworks"),
    refused("authenticate_http", "an old name: write --authenticate_http_readwrite"),
    refused("authenticate_slaves", "an old name: write --authenticate_agents"),
    refused("initialize_driver_logging", "there are no drivers in this program"),
    refused("log_auto_initialize", "the registry is made when it is not there"),
    refused("logbufsecs", "the log is never held back"),
    refused("max_executors_per_slave", OLD_NAME),
    refused("max_slave_ping_timeouts", OLD_NAME),
    refused("offer_constraints_re2_max_mem", NO_CONSTRAINTS_LIMIT),
    refused("offer_constraints_re2_max_program_size", NO_CONSTRAINTS_LIMIT),
    refused("recovery_agent_removal_limit", "agents that do not come back are removed one by one"),
    refused("recovery_slave_removal_limit", "agents that do not come back are removed one by one"),
    refused("registry_fetch_timeout", "the registry is a file of this machine"),
    refused("registry_store_timeout", "the registry is a file of this machine"),
    refused("slave_ping_timeout", OLD_NAME),
    refused("slave_removal_rate_limit", OLD_NAME),
    refused("slave_reregister_timeout", OLD_NAME),
    refused("user_sorter", "an old name: write --role_sorter"),
];

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    /// Every flag of mesos-master 1.11 and of its main branch since, with the old names that it
    /// still takes.
    const OF_MESOS: &str = include_str!("flags/of_mesos.txt");

    #[test]
    fn every_flag_of_mesos_acts_or_is_refused_by_name() {
        assert!(OF_MESOS.lines().count() > 70);
        assert_eq!(::flags::unknown(TABLE, OF_MESOS), [""; 0]);
    }

    #[test]
    fn the_page_of_flags_is_this_table() {
        let page = ::flags::page("master", TABLE);
        expect_file!["../../../docs/master-flags.md"].assert_eq(&page);
    }
}
