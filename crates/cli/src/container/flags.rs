//! The flags that describe a container, shared by `run` and `create`.

use crate::container::checks;
use crate::grammar::{
    BYTES, DECIMAL, DURATION, FILTER, Flag, INT, LIST, MAP, ON, STRING, STRINGS, SWAP_BYTES,
    SWITCH, Type, UINT, UINT16, checked, flag, short,
};

const ATTACH: Type = checked("list", checks::attach);
const ENV: Type = checked("list", checks::env);
const LABEL: Type = checked("list", checks::label);
const ADD_HOST: Type = checked("list", checks::add_host);
const DNS: Type = checked("list", checks::ip_address);
const DNS_SEARCH: Type = checked("list", checks::domain);
const BPS: Type = checked("list", checks::device_bps);
const IOPS: Type = checked("list", checks::device_iops);
const WEIGHT_DEVICE: Type = checked("list", checks::weight_device);
const CGROUP_RULE: Type = checked("list", checks::cgroup_rule);
const ULIMIT: Type = checked("ulimit", checks::ulimit);
const SYSCTL: Type = checked("map", checks::sysctl);
const LINK: Type = checked("list", checks::link);
const MOUNT: Type = checked("mount", crate::container::mounts::check);
const NETWORK: Type = checked("network", crate::container::networks::check);
const PUBLISH: Type = checked("list", crate::container::ports::check);
const GPUS: Type = checked("gpu-request", crate::container::devices::check_gpus);

/// What a container is made of.
pub(crate) static CONTAINER: &[Flag] = &[
    flag("add-host", ADD_HOST, "Add a host name with its address to /etc/hosts (host:ip)"),
    flag("annotation", MAP, "Add an annotation that the OCI runtime sees"),
    short('a', "attach", ATTACH, "Attach to STDIN, STDOUT or STDERR"),
    flag("blkio-weight", UINT16.or("0"), "Relative weight of block IO, 10 to 1000, or 0 for none"),
    flag("blkio-weight-device", WEIGHT_DEVICE, "Relative weight of block IO on a device"),
    flag("cap-add", LIST, "Add Linux capabilities"),
    flag("cap-drop", LIST, "Drop Linux capabilities"),
    flag("cgroup-parent", STRING, "Parent cgroup of the container"),
    flag("cgroupns", STRING, "Cgroup namespace: host or private"),
    flag("cidfile", STRING, "Write the container's id to this file"),
    flag("cpu-count", INT, ""),
    flag("cpu-percent", INT, ""),
    flag("cpu-period", INT, "Period of the CPU quota in microseconds"),
    flag("cpu-quota", INT, "CPU time per period in microseconds"),
    flag("cpu-rt-period", INT, "Period of real-time CPU in microseconds"),
    flag("cpu-rt-runtime", INT, "Real-time CPU per period in microseconds"),
    short('c', "cpu-shares", INT, "Relative weight of CPU time"),
    flag("cpus", DECIMAL, "Number of CPUs"),
    flag("cpuset-cpus", STRING, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", STRING, "Memory nodes to use (0-3, 0,1)"),
    flag("device", LIST, "Add a device of the host (host[:container][:rwm])"),
    flag("device-cgroup-rule", CGROUP_RULE, "Add a rule to the allowed devices"),
    flag("device-read-bps", BPS, "Limit the bytes per second read from a device"),
    flag("device-read-iops", IOPS, "Limit the reads per second from a device"),
    flag("device-write-bps", BPS, "Limit the bytes per second written to a device"),
    flag("device-write-iops", IOPS, "Limit the writes per second to a device"),
    flag("disable-content-trust", ON, ""),
    flag("dns", DNS, "Set DNS servers"),
    flag("dns-opt", LIST, ""),
    flag("dns-option", LIST, "Set DNS options"),
    flag("dns-search", DNS_SEARCH, "Set DNS search domains, or . for none"),
    flag("domainname", STRING, "NIS domain name of the container"),
    flag("entrypoint", STRING, "Replace the image's entrypoint"),
    short('e', "env", ENV, "Set environment variables"),
    flag("env-file", LIST, "Read environment variables from a file"),
    flag("expose", LIST, "Expose a port or a range of ports"),
    flag("gpus", GPUS, "Add GPUs ('all' for every one)"),
    flag("group-add", LIST, "Join additional groups"),
    flag("health-cmd", STRING, "Command that checks the container's health"),
    flag("health-interval", DURATION.or("0s"), "Time between two checks (ms|s|m|h)"),
    flag("health-on-failure", STRING, "What to do when unhealthy: none, kill, restart or stop"),
    flag("health-retries", INT, "Failures in a row that mean unhealthy"),
    flag("health-start-interval", DURATION.or("0s"), "Time between two checks in the start period"),
    flag("health-start-period", DURATION.or("0s"), "Time in which failures do not count yet"),
    flag("health-timeout", DURATION.or("0s"), "Longest time that a check may take"),
    short('h', "hostname", STRING, "Host name of the container"),
    flag("init", SWITCH, "Run an init that forwards signals and reaps processes"),
    short('i', "interactive", SWITCH, "Keep STDIN open even if not attached"),
    flag("io-maxbandwidth", BYTES, ""),
    flag("io-maxiops", UINT, ""),
    flag("ip", STRING, "IPv4 address (172.30.100.104)"),
    flag("ip6", STRING, "IPv6 address (2001:db8::33)"),
    flag("ipc", STRING, "IPC mode: none, private, shareable, host or container:NAME"),
    flag("isolation", STRING, "Isolation technology"),
    flag("kernel-memory", BYTES, ""),
    short('l', "label", LABEL, "Set a label (key[=value])"),
    flag("label-file", LIST, "Read labels from a file, one per line"),
    flag("link", LINK, "Link to another container"),
    flag("link-local-ip", LIST, "Link-local addresses"),
    flag("log-driver", STRING, "Logging driver"),
    flag("log-opt", LIST, "Options of the logging driver"),
    flag("mac-address", STRING, "MAC address (92:d0:c6:0a:29:33)"),
    short('m', "memory", BYTES, "Memory limit"),
    flag("memory-reservation", BYTES, "Soft memory limit"),
    flag("memory-swap", SWAP_BYTES, "Limit of memory and swap together, -1 for unlimited swap"),
    flag("memory-swappiness", INT.or("-1"), "Readiness to swap, 0 to 100"),
    flag("mount", MOUNT, "Attach a mount (type=bind|volume|tmpfs|image,source=…,target=…)"),
    flag("name", STRING, "Name of the container"),
    flag("net", NETWORK, ""),
    flag("net-alias", LIST, ""),
    flag(
        "network",
        NETWORK,
        "Connect to a network: bridge, host, none, container:NAME or a network's name",
    ),
    flag("network-alias", LIST, "Add a name in the network"),
    flag("no-healthcheck", SWITCH, "Turn the image's health check off"),
    flag("oom-kill-disable", SWITCH, "Do not kill when out of memory"),
    flag("oom-score-adj", INT, "Preference when the host is out of memory (-1000 to 1000)"),
    flag("pid", STRING, "PID namespace: host or container:NAME"),
    flag("pids-limit", INT, "Limit of processes, -1 for unlimited"),
    flag("platform", STRING, "Platform of the image (os/arch)"),
    flag("privileged", SWITCH, "Give the container all privileges"),
    short('p', "publish", PUBLISH, "Publish a port to the host ([[ip:]host:]container[/protocol])"),
    short('P', "publish-all", SWITCH, "Publish all exposed ports to free ports"),
    flag("pull", STRING.or("missing"), "Pull the image first: always, missing or never"),
    short('q', "quiet", SWITCH, "Say nothing while pulling"),
    flag("read-only", SWITCH, "Make the root file system read-only"),
    flag(
        "restart",
        STRING.or("no"),
        "Restart policy: no, on-failure[:N], always or unless-stopped",
    ),
    flag("rm", SWITCH, "Remove the container and its anonymous volumes when it exits"),
    flag("runtime", STRING, "OCI runtime to use"),
    flag("security-opt", LIST, "Security options"),
    flag("shm-size", BYTES, "Size of /dev/shm"),
    flag("stop-signal", STRING, "Signal that stops the container"),
    flag("stop-timeout", INT, "Seconds to wait before killing the container"),
    flag("storage-opt", LIST, "Options of the storage driver"),
    flag("sysctl", SYSCTL, "Set kernel parameters of the container's namespaces"),
    flag("tmpfs", LIST, "Mount a tmpfs (path[:options])"),
    short('t', "tty", SWITCH, "Allocate a pseudo-terminal"),
    flag("ulimit", ULIMIT, "Set resource limits (type=soft[:hard])"),
    flag("use-api-socket", SWITCH, "Give the container the engine's socket"),
    short('u', "user", STRING, "User and group by name or id (user[:group])"),
    flag("userns", STRING, "User namespace: host, auto[:size=N,…] or map:uidmapping=C:H:N,…"),
    flag("uts", STRING, "UTS namespace: host"),
    short('v', "volume", LIST, "Mount a volume or a path of the host ([source:]target[:options])"),
    flag("volume-driver", STRING, "Driver of the volumes"),
    flag("volumes-from", LIST, "Mount the volumes of other containers"),
    short('w', "workdir", STRING, "Working directory in the container"),
];

/// What only `run` takes.
pub(crate) static RUN_ONLY: &[Flag] = &[
    short('d', "detach", SWITCH, "Run in the background and print the container's id"),
    DETACH_KEYS,
    SIG_PROXY,
];

pub(crate) const DETACH_KEYS: Flag =
    flag("detach-keys", STRING, "Keys that detach from the container");
pub(crate) const SIG_PROXY: Flag = flag("sig-proxy", ON, "Forward signals to the process");
pub(crate) const FILTERS: Flag = short('f', "filter", FILTER, "Show only what fits the conditions");
pub(crate) const PLATFORMS: Flag = flag("platform", STRINGS, "Only this platform (os/arch)");

/// What `update` takes.
pub(crate) static UPDATE: &[Flag] = &[
    flag("blkio-weight", UINT16.or("0"), "Relative weight of block IO, 10 to 1000, or 0 for none"),
    flag("cpu-period", INT, "Period of the CPU quota in microseconds"),
    flag("cpu-quota", INT, "CPU time per period in microseconds"),
    flag("cpu-rt-period", INT, "Period of real-time CPU in microseconds"),
    flag("cpu-rt-runtime", INT, "Real-time CPU per period in microseconds"),
    short('c', "cpu-shares", INT, "Relative weight of CPU time"),
    flag("cpus", DECIMAL, "Number of CPUs"),
    flag("cpuset-cpus", STRING, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", STRING, "Memory nodes to use (0-3, 0,1)"),
    flag("kernel-memory", BYTES, ""),
    short('m', "memory", BYTES, "Memory limit"),
    flag("memory-reservation", BYTES, "Soft memory limit"),
    flag("memory-swap", SWAP_BYTES, "Limit of memory and swap together, -1 for unlimited swap"),
    flag("pids-limit", INT, "Limit of processes, -1 for unlimited"),
    flag("restart", STRING, "Restart policy: no, on-failure[:N], always or unless-stopped"),
];
