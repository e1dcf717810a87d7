//! The table: option, effect, a container that has it, and what must be seen.

use anyhow::Result;

use super::{acts, logs};
use crate::World;

/// One option.
pub(super) struct Row {
    pub(super) option: &'static str,
    /// What it does, for the page.
    pub(super) effect: &'static str,
    /// What its [`Check::Does`] looks at, for the page.
    pub(super) seen: &'static str,
    /// The container's options; none: the row has no container of its own.
    pub(super) args: &'static [&'static str],
    pub(super) checks: &'static [Check],
}

pub(super) enum Check {
    /// What the script prints, trimmed, is one of these.
    Says(&'static str, &'static [&'static str]),
    /// What a template of inspect prints.
    Shows(&'static str, &'static str),
    /// These options of `run` make it fail with this message, or another after ` | `.
    Refuses(&'static [&'static str], &'static str),
    Does(fn(&World) -> Result<()>),
}

use Check::{Does, Refuses, Says, Shows};

impl Row {
    pub(super) fn script(&self) -> &'static str {
        let script = self.checks.iter().find_map(|check| match check {
            Says(script, _) => Some(*script),
            _ => None,
        });
        script.unwrap_or("true")
    }

    pub(super) fn says(&self) -> Option<&'static [&'static str]> {
        self.checks.iter().find_map(|check| match check {
            Says(_, wanted) => Some(*wanted),
            _ => None,
        })
    }
}

/// A profile that forbids one system call.
pub(super) const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;

/// A device as a vendor describes it.
pub(super) const DEVICES: &str = r#"{"cdiVersion": "0.6.0", "kind": "example.com/sail",
  "devices": [{"name": "main", "containerEdits": {"env": ["SAIL=main"],
    "deviceNodes": [{"path": "/dev/sail", "hostPath": "/dev/full", "permissions": "r"}],
    "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/etc/sail"}]}}]}"#;

/// Reads a limit where v1 has it, else where v2 has it.
macro_rules! limit {
    ($old:literal, $new:literal) => {
        concat!("cat /sys/fs/cgroup/", $old, " 2>/dev/null || cat /sys/fs/cgroup/", $new)
    };
}

/// The same of a file that not every kernel has.
macro_rules! limit_if_any {
    ($old:literal, $new:literal) => {
        concat!(
            "cat /sys/fs/cgroup/",
            $old,
            " 2>/dev/null || cat /sys/fs/cgroup/",
            $new,
            " 2>/dev/null || echo none"
        )
    };
}

const fn row(
    option: &'static str,
    effect: &'static str,
    args: &'static [&'static str],
    checks: &'static [Check],
) -> Row {
    Row { option, effect, seen: "", args, checks }
}

const fn act(
    option: &'static str,
    effect: &'static str,
    seen: &'static str,
    checks: &'static [Check],
) -> Row {
    Row { option, effect, seen, args: &[], checks }
}

/// What options about endpoints need.
const USER_DEFINED: &str = "supported";

pub(super) static ROWS: &[Row] = &[
    row(
        "--add-host",
        "A line in `/etc/hosts`; `host-gateway` is the host's address on the bridge",
        &["--add-host", "db:10.9.8.7", "--add-host", "six=[fd00::6]"],
        &[
            Says("grep -w -e db -e six /etc/hosts | tr '\\t' ' '", &["10.9.8.7 db\nfd00::6 six"]),
            Shows("{{join .HostConfig.ExtraHosts \" \"}}", "db:10.9.8.7 six:fd00::6"),
            Refuses(&["--add-host", "db"], "bad format for add-host: \"db\""),
            Refuses(
                &["--add-host", "db:1.2.3.400"],
                "invalid IP address in add-host: \"1.2.3.400\"",
            ),
        ],
    ),
    row(
        "--annotation",
        "Handed to the OCI runtime, kept with the container",
        &["--annotation", "org.example.note=yes"],
        &[Shows("{{index .HostConfig.Annotations \"org.example.note\"}}", "yes")],
    ),
    act(
        "--attach",
        "Chooses the streams that `run` shows",
        "`-a stderr` shows the errors and nothing else",
        &[
            Does(acts::attach),
            Refuses(&["-a", "stdio"], "valid streams are STDIN, STDOUT and STDERR"),
            Refuses(
                &["-d", "-a", "stdout"],
                "conflicting options: cannot specify both --attach and --detach",
            ),
        ],
    ),
    row(
        "--blkio-weight",
        "Relative weight of block IO: `blkio.bfq.weight`, `io.bfq.weight` or `io.weight`",
        &["--blkio-weight", "300"],
        &[
            Says(
                limit_if_any!("blkio/blkio.bfq.weight", "io.bfq.weight"),
                &["300", "default 300", "none"],
            ),
            Shows("{{.HostConfig.BlkioWeight}}", "300"),
            Refuses(&["--blkio-weight", "5"], "Range of blkio weight is from 10 to 1000"),
        ],
    ),
    row(
        "--blkio-weight-device",
        "The same for one device, where the kernel has BFQ",
        &["--blkio-weight-device", "{disk}:400"],
        &[
            Shows(
                "{{range .HostConfig.BlkioWeightDevice}}{{.Path}} {{.Weight}}{{end}}",
                "{disk} 400",
            ),
            Refuses(&["--blkio-weight-device", "{disk}:5"], "invalid weight for device: {disk}:5"),
            Refuses(
                &["--blkio-weight-device", "/tmp/x:50"],
                "bad format for device path: /tmp/x:50",
            ),
        ],
    ),
    row(
        "--cap-add",
        "Adds capabilities to Docker's fourteen",
        &["--cap-add", "NET_ADMIN"],
        &[
            Says("grep CapEff /proc/self/status | cut -f2", &["00000000a80435fb"]),
            Refuses(&["--cap-add", "FLY"], "invalid CapAdd: unknown capability: \"CAP_FLY\""),
        ],
    ),
    row(
        "--cap-drop",
        "Takes capabilities away; `ALL` takes all",
        &["--cap-drop", "all", "--cap-add", "CAP_CHOWN"],
        &[
            Says(
                "grep -e CapEff -e CapBnd /proc/self/status | cut -f2",
                &["0000000000000001\n0000000000000001"],
            ),
            Refuses(&["--cap-drop", "FLY"], "invalid CapDrop: unknown capability: \"CAP_FLY\""),
        ],
    ),
    act(
        "--cgroup-parent",
        "The cgroup below which the container's is",
        "the process is in `/harbour/ID`",
        &[
            Does(acts::cgroup_parent),
            Refuses(&["--cgroup-parent", "/a/../.."], "invalid cgroup parent '/a/../..'"),
        ],
    ),
    row(
        "--cgroupns",
        "A cgroup namespace of its own, or the host's",
        &["--cgroupns", "private"],
        &[
            Says("cut -d: -f3 /proc/self/cgroup | sort -u", &["/"]),
            Shows("{{.HostConfig.CgroupnsMode}}", "private"),
            Refuses(&["--cgroupns", "none"], "invalid"),
        ],
    ),
    act(
        "--cidfile",
        "Writes the container's id into a file that must not exist",
        "the file holds 64 digits; a second run refuses it",
        &[Does(acts::cidfile)],
    ),
    act(
        "--cpu-count",
        "Windows only",
        "",
        &[Refuses(
            &["--cpu-count", "1"],
            "invalid option: CPU count or percent configuration is not supported on linux | only supported on a Docker daemon running on windows",
        )],
    ),
    act(
        "--cpu-percent",
        "Windows only",
        "",
        &[Refuses(
            &["--cpu-percent", "50"],
            "invalid option: CPU count or percent configuration is not supported on linux | only supported on a Docker daemon running on windows",
        )],
    ),
    row(
        "--cpu-period",
        "Length of the period of a CPU quota: `cpu.cfs_period_us`, `cpu.max`",
        &["--cpu-period", "50000"],
        &[
            Says(limit!("cpu/cpu.cfs_period_us", "cpu.max"), &["50000", "max 50000"]),
            Refuses(
                &["--cpu-period", "10"],
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ),
        ],
    ),
    row(
        "--cpu-quota",
        "CPU time per period: `cpu.cfs_quota_us`, `cpu.max`",
        &["--cpu-quota", "20000"],
        &[
            Says(limit!("cpu/cpu.cfs_quota_us", "cpu.max"), &["20000", "20000 100000"]),
            Refuses(&["--cpu-quota", "10"], "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ],
    ),
    row(
        "--cpu-rt-period",
        "Period of real-time scheduling, of cgroup v1 with RT_GROUP_SCHED",
        &["--cpu-rt-period", "1000000"],
        &[Shows("{{.HostConfig.CpuRealtimePeriod}}", "1000000")],
    ),
    act(
        "--cpu-rt-runtime",
        "Real-time CPU per period, of cgroup v1 with RT_GROUP_SCHED",
        "",
        &[Refuses(
            &["--cpu-rt-runtime", "950000"],
            "kernel does not support CPU real-time scheduler | cpu.rt_runtime_us",
        )],
    ),
    row(
        "--cpu-shares",
        "Relative weight: `cpu.shares`, `cpu.weight`",
        &["--cpu-shares", "512"],
        &[
            Says(limit!("cpu/cpu.shares", "cpu.weight"), &["512", "59"]),
            Refuses(
                &["--cpu-shares", "-1"],
                "invalid CPU shares (-1): value must be a positive integer",
            ),
        ],
    ),
    row(
        "--cpus",
        "A quota of a period of 100 ms",
        &["--cpus", "0.5"],
        &[
            Says(limit!("cpu/cpu.cfs_quota_us", "cpu.max"), &["50000", "50000 100000"]),
            Shows("{{.HostConfig.NanoCpus}}", "500000000"),
            Refuses(&["--cpus", "1000"], "Range of CPUs is from 0.01 to"),
            Refuses(
                &["--cpus", "1", "--cpu-quota", "5000"],
                "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
            ),
        ],
    ),
    row(
        "--cpuset-cpus",
        "The CPUs it may run on",
        &["--cpuset-cpus", "0"],
        &[
            Says("grep Cpus_allowed_list /proc/self/status | cut -f2", &["0"]),
            Refuses(
                &["--cpuset-cpus", "0-999"],
                "Requested CPUs are not available - requested 0-999, available:",
            ),
            Refuses(&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus"),
        ],
    ),
    row(
        "--cpuset-mems",
        "The memory nodes it may use",
        &["--cpuset-mems", "0"],
        &[
            Says("grep Mems_allowed_list /proc/self/status | cut -f2", &["0"]),
            Refuses(
                &["--cpuset-mems", "99"],
                "Requested memory nodes are not available - requested 99, available:",
            ),
        ],
    ),
    act("--detach", "Prints the id and leaves", "", &[Does(acts::detach)]),
    act(
        "--detach-keys",
        "The keys that leave a terminal",
        "typed at a terminal, `run` ends with 0 and the container goes on",
        &[
            Does(acts::detach_keys),
            Refuses(&["--detach-keys", "shift-a"], "detach keys | received 400"),
        ],
    ),
    row(
        "--device",
        "A device of the host, made and allowed; a directory brings all below it",
        &["--device", "/dev/full:/dev/brimful:r"],
        &[
            Says(
                "ls -l /dev/brimful | tr -s ' ' | cut -d' ' -f1,5,6; head -c 3 /dev/brimful | wc -c; echo x 2>/dev/null >/dev/brimful || echo refused",
                &["crw-rw-rw- 1, 7\n3\nrefused"],
            ),
            Shows(
                "{{range .HostConfig.Devices}}{{.PathOnHost}} {{.PathInContainer}} {{.CgroupPermissions}}{{end}}",
                "/dev/full /dev/brimful r",
            ),
            Refuses(&["--device", "/dev/full:/dev/x:q"], "bad mode specified: q"),
            Refuses(&["--device", "/dev/none-such"], "/dev/none-such"),
            Does(acts::cdi),
        ],
    ),
    row(
        "--device-cgroup-rule",
        "Allows devices by their numbers",
        &["--device-cgroup-rule", "b {numbers} rm"],
        &[
            Says(
                "rm -f /tmp/disk; mknod /tmp/disk b $(echo {numbers} | tr : ' ') && dd if=/tmp/disk count=0 2>/dev/null && echo opened; echo x 2>/dev/null >/tmp/disk || echo refused",
                &["opened\nrefused"],
            ),
            Refuses(&["--device-cgroup-rule", "c 1:11 x"], "invalid device cgroup format"),
        ],
    ),
    row(
        "--device-read-bps",
        "Bytes per second read: `blkio.throttle`, `io.max`",
        &["--device-read-bps", "{disk}:1mb"],
        &[
            Says(
                limit!("blkio/blkio.throttle.read_bps_device", "io.max"),
                &["{numbers} 1048576", "{numbers} rbps=1048576 wbps=max riops=max wiops=max"],
            ),
            Refuses(&["--device-read-bps", "{disk}:fast"], "invalid rate for device: {disk}:fast"),
        ],
    ),
    row(
        "--device-read-iops",
        "Reads per second",
        &["--device-read-iops", "{disk}:1000"],
        &[
            Says(
                limit!("blkio/blkio.throttle.read_iops_device", "io.max"),
                &["{numbers} 1000", "{numbers} rbps=max wbps=max riops=1000 wiops=max"],
            ),
            Refuses(&["--device-read-iops", "{disk}:fast"], "invalid rate for device: {disk}:fast"),
        ],
    ),
    row(
        "--device-write-bps",
        "Bytes per second written",
        &["--device-write-bps", "{disk}:2mb"],
        &[
            Says(
                limit!("blkio/blkio.throttle.write_bps_device", "io.max"),
                &["{numbers} 2097152", "{numbers} rbps=max wbps=2097152 riops=max wiops=max"],
            ),
            Refuses(&["--device-write-bps", "disk:1mb"], "bad format for device path: disk:1mb"),
        ],
    ),
    row(
        "--device-write-iops",
        "Writes per second",
        &["--device-write-iops", "{disk}:2000"],
        &[
            Says(
                limit!("blkio/blkio.throttle.write_iops_device", "io.max"),
                &["{numbers} 2000", "{numbers} rbps=max wbps=max riops=max wiops=2000"],
            ),
            Refuses(&["--device-write-iops", "{disk}"], "bad format: {disk}"),
        ],
    ),
    row(
        "--disable-content-trust",
        "Nothing any more; content trust was removed from Docker",
        &["--disable-content-trust"],
        &[Says("echo runs", &["runs"])],
    ),
    row(
        "--dns",
        "A name server in `/etc/resolv.conf`",
        &["--dns", "10.1.2.3"],
        &[
            Says("grep nameserver /etc/resolv.conf", &["nameserver 10.1.2.3"]),
            Refuses(&["--dns", "example"], "IP address is not correctly formatted: example"),
        ],
    ),
    row(
        "--dns-opt",
        "Another name of `--dns-option`",
        &["--dns-opt", "ndots:4"],
        &[Says("grep options /etc/resolv.conf", &["options ndots:4"])],
    ),
    row(
        "--dns-option",
        "A resolver's option in `/etc/resolv.conf`",
        &["--dns-option", "ndots:3"],
        &[Says("grep options /etc/resolv.conf", &["options ndots:3"])],
    ),
    row(
        "--dns-search",
        "A search domain; `.` for none",
        &["--dns-search", "harbour.example"],
        &[
            Says("grep search /etc/resolv.conf", &["search harbour.example"]),
            Refuses(&["--dns-search", "a b"], "is not a valid domain"),
        ],
    ),
    row(
        "--domainname",
        "The UTS namespace's domain name, and part of the name in `/etc/hosts`",
        &["--domainname", "example", "-h", "ship"],
        &[
            Says(
                "cat /proc/sys/kernel/domainname; grep -c 'ship.example ship' /etc/hosts",
                &["example\n1"],
            ),
            Shows("{{.Config.Domainname}}", "example"),
        ],
    ),
    row(
        "--entrypoint",
        "Replaces the image's, and forgets its command",
        &["--entrypoint", "/bin/busybox"],
        &[
            Says("echo through the entrypoint", &["through the entrypoint"]),
            Shows("{{json .Config.Entrypoint}}", "[\"/bin/busybox\"]"),
            Does(acts::entrypoint),
        ],
    ),
    row(
        "--env",
        "A variable; without a value the client's own",
        &["--env", "COLOUR=blue", "--env", "EMPTY="],
        &[
            Says("echo \"$COLOUR-$EMPTY-\"", &["blue--"]),
            Refuses(&["--env", "=x"], "invalid environment variable: =x"),
        ],
    ),
    row(
        "--env-file",
        "Variables of a file",
        &["--env-file", "{scratch}/env"],
        &[
            Says("echo $FROM_FILE", &["yes"]),
            Refuses(&["--env-file", "/no/such/file"], "no such file or directory"),
        ],
    ),
    row(
        "--expose",
        "Ports that `--publish-all` publishes",
        &["--expose", "8080-8081/udp"],
        &[
            Shows(
                "{{range $port, $none := .Config.ExposedPorts}}{{$port}} {{end}}",
                "8080/udp 8081/udp",
            ),
            Refuses(&["--expose", "none"], "invalid"),
        ],
    ),
    act(
        "--gpus",
        "Asks a device driver; there is none beside CDI",
        "",
        &[Refuses(
            &["--gpus", "all"],
            "could not select device driver \"\" with capabilities: [[gpu]]",
        )],
    ),
    row(
        "--group-add",
        "A further group, by name or number",
        &["--group-add", "extra", "--group-add", "77"],
        &[Says("id -G", &["0 77 1001"]), Refuses(&["--group-add", "nobody-here"], "nobody-here")],
    ),
    act(
        "--health-cmd",
        "A command that tells whether all is well",
        "the state turns healthy, then unhealthy",
        &[Does(acts::health)],
    ),
    row(
        "--health-interval",
        "Time between two checks",
        &["--health-cmd", "true", "--health-interval", "90s"],
        &[
            Shows("{{json .Config.Healthcheck.Interval}}", "90000000000"),
            Refuses(
                &["--health-cmd", "true", "--health-interval", "1us"],
                "Interval in Healthcheck cannot be less than 1ms",
            ),
        ],
    ),
    act(
        "--health-on-failure",
        "Beyond Docker: what to do with an unhealthy one: none, kill, restart or stop",
        "it ends, ends by force, or is started again",
        &[Does(acts::health_on_failure)],
    ),
    row(
        "--health-retries",
        "Failures in a row that mean unhealthy",
        &["--health-cmd", "true", "--health-retries", "7"],
        &[
            Shows("{{.Config.Healthcheck.Retries}}", "7"),
            Refuses(
                &["--health-cmd", "true", "--health-retries", "-1"],
                "--health-retries cannot be negative",
            ),
        ],
    ),
    row(
        "--health-start-interval",
        "Time between two checks in the start period",
        &["--health-cmd", "true", "--health-start-interval", "2s"],
        &[Shows("{{json .Config.Healthcheck.StartInterval}}", "2000000000")],
    ),
    row(
        "--health-start-period",
        "Time in which failures do not count yet",
        &["--health-cmd", "true", "--health-start-period", "1m"],
        &[
            Shows("{{json .Config.Healthcheck.StartPeriod}}", "60000000000"),
            Refuses(&["--health-cmd", "true", "--health-start-period", "-1s"], "negative"),
        ],
    ),
    row(
        "--health-timeout",
        "Longest time that a check may take",
        &["--health-cmd", "true", "--health-timeout", "3s"],
        &[Shows("{{json .Config.Healthcheck.Timeout}}", "3000000000")],
    ),
    act(
        "--help",
        "Lists the options",
        "the list names this option's neighbours",
        &[Does(acts::help)],
    ),
    row(
        "--hostname",
        "The UTS namespace's name, `/etc/hostname`, `/etc/hosts` and `$HOSTNAME`",
        &["--hostname", "ship"],
        &[
            Says(
                "hostname; cat /etc/hostname; echo $HOSTNAME; grep -c ship /etc/hosts",
                &["ship\nship\nship\n1"],
            ),
            Refuses(&["--hostname", "a b"], "hostname"),
            Refuses(
                &["--uts", "host", "--hostname", "x"],
                "conflicting options: hostname and the UTS mode",
            ),
        ],
    ),
    row(
        "--init",
        "A small init as process 1 that forwards signals and reaps",
        &["--init"],
        &[
            Says(
                "cat /proc/1/comm; test $$ -ne 1 && echo not the first",
                &["docker-init\nnot the first", "teu-init\nnot the first", "init\nnot the first"],
            ),
            Shows("{{.HostConfig.Init}}", "true"),
        ],
    ),
    act(
        "--interactive",
        "Keeps standard input open",
        "what is typed comes back",
        &[Does(acts::interactive)],
    ),
    act(
        "--io-maxbandwidth",
        "Windows only",
        "",
        &[Refuses(
            &["--io-maxbandwidth", "1m"],
            "invalid option: QoS maximum bandwidth configuration is not supported on linux | only supported on a Docker daemon running on windows",
        )],
    ),
    act(
        "--io-maxiops",
        "Windows only",
        "",
        &[Refuses(
            &["--io-maxiops", "10"],
            "invalid option: QoS maximum IOPs configuration is not supported on linux | only supported on a Docker daemon running on windows",
        )],
    ),
    act(
        "--ip",
        "The address on a user-defined network",
        "",
        &[Refuses(&["--ip", "172.30.1.1"], USER_DEFINED), Refuses(&["--ip", "x"], "invalid")],
    ),
    act(
        "--ip6",
        "The IPv6 address on a user-defined network",
        "",
        &[Refuses(&["--ip6", "fd00::1"], USER_DEFINED)],
    ),
    row(
        "--ipc",
        "The IPC namespace: own, shareable, none, the host's or another container's",
        &["--ipc", "container:donor"],
        &[
            Says("test -d /dev/shm && echo shared", &["shared"]),
            Does(acts::ipc),
            Refuses(&["--ipc", "bogus"], "invalid IPC mode: bogus"),
        ],
    ),
    row(
        "--isolation",
        "`default` is all that Linux has",
        &["--isolation", "default"],
        &[
            Shows("{{.HostConfig.Isolation}}", "default"),
            Refuses(&["--isolation", "hyperv"], "invalid isolation"),
        ],
    ),
    row(
        "--kernel-memory",
        "Nothing any more; the kernel's limit is gone",
        &["--kernel-memory", "64m"],
        &[Says("echo runs", &["runs"])],
    ),
    row(
        "--label",
        "A label, beside the image's",
        &["--label", "tier=front", "--label", "bare"],
        &[
            Shows("{{index .Config.Labels \"tier\"}}", "front"),
            Refuses(&["--label", "a b=c"], "label 'a b' contains whitespaces"),
        ],
    ),
    row(
        "--label-file",
        "Labels of a file",
        &["--label-file", "{scratch}/labels"],
        &[Shows("{{index .Config.Labels \"from.file\"}}", "yes")],
    ),
    act(
        "--link",
        "Another container under an alias",
        "",
        &[Refuses(
            &["--net", "host", "--link", "donor:db"],
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
        )],
    ),
    row(
        "--link-local-ip",
        "A further address of its link",
        &["--link-local-ip", "169.254.8.8"],
        &[Says("ip -o addr show eth0 | grep -c 'inet 169.254.8.8/16'", &["1"])],
    ),
    Row {
        option: "--log-driver",
        effect: "Where the output goes: json-file, local, journald, syslog, gelf, fluentd or none",
        seen: "a listener of each protocol gets the lines, and `logs` shows them",
        args: &["--log-driver", "json-file"],
        checks: &[
            Shows("{{.HostConfig.LogConfig.Type}}", "json-file"),
            Says("echo logged", &["logged"]),
            Does(logs::drivers),
            Refuses(
                &["--log-driver", "pigeon"],
                "logger: no log driver named 'pigeon' is registered",
            ),
        ],
    },
    Row {
        option: "--log-opt",
        effect: "Options of the driver: rotation, tags, attributes, `mode` and `max-buffer-size`",
        seen: "rotated files, tags, labels and modes",
        args: &[
            "--log-opt",
            "max-size=1m",
            "--log-opt",
            "max-file=3",
            "--log-opt",
            "tag={{.Name}}",
        ],
        checks: &[
            Shows("{{index .HostConfig.LogConfig.Config \"max-file\"}}", "3"),
            Does(logs::options),
            Refuses(
                &["--log-driver", "none", "--log-opt", "max-size=1m"],
                "invalid logging opts for driver none",
            ),
            Refuses(
                &["--log-opt", "colour=red"],
                "unknown log opt 'colour' for json-file log driver",
            ),
            Refuses(
                &["--log-opt", "mode=sometimes"],
                "logger: logging mode not supported: sometimes",
            ),
            Refuses(
                &["--log-opt", "max-buffer-size=4m"],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
        ],
    },
    row(
        "--mac-address",
        "The address of its link",
        &["--mac-address", "92:d0:c6:0a:29:33"],
        &[
            Says("cat /sys/class/net/eth0/address", &["92:d0:c6:0a:29:33"]),
            Refuses(&["--mac-address", "x"], "x is not a valid mac address"),
        ],
    ),
    row(
        "--memory",
        "The limit: `memory.limit_in_bytes`, `memory.max`",
        &["--memory", "64m"],
        &[
            Says(limit!("memory/memory.limit_in_bytes", "memory.max"), &["67108864"]),
            Shows("{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", "67108864 134217728"),
            Refuses(&["--memory", "4m"], "Minimum memory limit allowed is 6MB"),
            Refuses(&["--memory", "lots"], "invalid size: 'lots'"),
        ],
    ),
    row(
        "--memory-reservation",
        "The soft limit: `memory.soft_limit_in_bytes`, `memory.low`",
        &["--memory-reservation", "32m"],
        &[
            Says(limit!("memory/memory.soft_limit_in_bytes", "memory.low"), &["33554432"]),
            Refuses(
                &["-m", "32m", "--memory-reservation", "64m"],
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ),
        ],
    ),
    row(
        "--memory-swap",
        "Memory and swap together: `memory.memsw.limit_in_bytes`, `memory.swap.max`",
        &["-m", "64m", "--memory-swap", "96m"],
        &[
            Says(
                limit_if_any!("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
                &["100663296", "33554432", "none"],
            ),
            Shows("{{.HostConfig.MemorySwap}}", "100663296"),
            Refuses(
                &["--memory-swap", "96m"],
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
        ],
    ),
    row(
        "--memory-swappiness",
        "Readiness to swap, of cgroup v1: `memory.swappiness`",
        &["--memory-swappiness", "10"],
        &[
            Says(limit_if_any!("memory/memory.swappiness", "memory.swappiness"), &["10", "none"]),
            Refuses(
                &["--memory-swappiness", "101"],
                "invalid value: 101. Valid memory swappiness range is 0-100",
            ),
        ],
    ),
    row(
        "--mount",
        "A mount in the long form: bind, volume, tmpfs or image",
        &[
            "--mount",
            "type=bind,src={scratch},dst=/files,ro",
            "--mount",
            "type=tmpfs,dst=/t,tmpfs-size=1m",
        ],
        &[
            Says(
                "cat /files/note; touch /files/x 2>/dev/null || echo read-only; df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2",
                &["ahoy\nread-only\n1024"],
            ),
            Refuses(
                &["--mount", "type=bind,src=/no/such,dst=/x"],
                "bind source path does not exist: /no/such",
            ),
            Refuses(&["--mount", "type=sail,dst=/x"], "sail"),
        ],
    ),
    act(
        "--name",
        "Its name, which nothing else may have",
        "",
        &[Does(acts::name), Refuses(&["--name", "-x"], "Invalid container name (-x)")],
    ),
    row(
        "--net",
        "Another name of `--network`",
        &["--net", "none"],
        &[Says("ls /sys/class/net", &["lo"]), Shows("{{.HostConfig.NetworkMode}}", "none")],
    ),
    act(
        "--net-alias",
        "Another name of `--network-alias`",
        "",
        &[Refuses(
            &["--net", "bridge", "--net-alias", "db"],
            "network-scoped aliases are only supported for user-defined networks",
        )],
    ),
    row(
        "--network",
        "The network, also in the long form with its options",
        &["--network", "container:donor"],
        &[
            Says("ls /sys/class/net | tr '\\n' ' '", &["eth0 lo"]),
            Does(acts::network_host),
            Refuses(&["--network", "no-such-net"], "no-such-net"),
            Refuses(
                &["--network", "container:donor", "-p", "80"],
                "conflicting options: port publishing and the container type network mode",
            ),
            Refuses(
                &["--network", "container:donor", "-h", "x"],
                "conflicting options: hostname and the network mode",
            ),
            Refuses(
                &["--network", "container:donor", "--dns", "1.1.1.1"],
                "conflicting options: dns and the network mode",
            ),
            Refuses(
                &["--network", "container:donor", "--add-host", "a:1.1.1.1"],
                "conflicting options: custom host-to-IP mapping and the network mode",
            ),
            Refuses(
                &["--network", "container:donor", "--expose", "80"],
                "conflicting options: port exposing and the container type network mode",
            ),
        ],
    ),
    act(
        "--network-alias",
        "A further name on a user-defined network",
        "",
        &[Refuses(
            &["--net", "bridge", "--network-alias", "db"],
            "network-scoped aliases are only supported for user-defined networks",
        )],
    ),
    row(
        "--no-healthcheck",
        "Turns the image's check off",
        &["--no-healthcheck"],
        &[
            Shows("{{json .Config.Healthcheck.Test}}", "[\"NONE\"]"),
            Refuses(
                &["--no-healthcheck", "--health-cmd", "true"],
                "--no-healthcheck conflicts with --health-* options",
            ),
        ],
    ),
    row(
        "--oom-kill-disable",
        "The OOM killer leaves it alone, of cgroup v1: `memory.oom_control`",
        &["--oom-kill-disable", "-m", "64m"],
        &[Says(
            "(cat /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null || echo none) | head -1",
            &["oom_kill_disable 1", "none"],
        )],
    ),
    row(
        "--oom-score-adj",
        "`/proc/self/oom_score_adj`",
        &["--oom-score-adj", "300"],
        &[
            Says("cat /proc/self/oom_score_adj", &["300"]),
            Refuses(
                &["--oom-score-adj", "2000"],
                "Invalid value 2000, range for oom score adj is [-1000, 1000]",
            ),
        ],
    ),
    row(
        "--pid",
        "The PID namespace: the host's or another container's",
        &["--pid", "container:donor"],
        &[
            Says("cat /proc/1/cmdline | tr '\\0' ' '", &["sleep 6000"]),
            Does(acts::pid_host),
            Refuses(&["--pid", "bogus"], "--pid: invalid PID mode"),
        ],
    ),
    row(
        "--pids-limit",
        "`pids.max`; 0 and less are unlimited",
        &["--pids-limit", "42"],
        &[
            Says(limit!("pids/pids.max", "pids.max"), &["42"]),
            Shows("{{.HostConfig.PidsLimit}}", "42"),
        ],
    ),
    act(
        "--platform",
        "The image's platform, which must be the host's",
        "",
        &[Does(acts::platform)],
    ),
    row(
        "--privileged",
        "All capabilities and devices, no filter, nothing hidden",
        &["--privileged"],
        &[
            Says(
                "grep Seccomp: /proc/self/status | cut -f2; test -c /dev/kmsg && echo devices; touch /proc/sys/kernel/panic && echo writable",
                &["0\ndevices\nwritable"],
            ),
            Shows("{{.HostConfig.Privileged}}", "true"),
        ],
    ),
    act(
        "--publish",
        "A port of the host leads to the container's",
        "a page comes through the port; a taken one names its holder",
        &[
            Does(acts::publish),
            Refuses(&["-p", "80:none"], "invalid"),
            Refuses(&["-p", "1-3:1-2"], "ranges"),
        ],
    ),
    act(
        "--publish-all",
        "Every exposed port gets a free one of the host",
        "the port shown is one of the ephemeral range",
        &[Does(acts::publish_all)],
    ),
    act(
        "--pull",
        "When to pull: always, missing or never",
        "",
        &[
            Does(acts::pull),
            Refuses(
                &["--pull", "perhaps"],
                "invalid pull option: 'perhaps': must be one of \"always\", \"missing\" or \"never\"",
            ),
        ],
    ),
    act(
        "--quiet",
        "No progress of a pull",
        "a pull through `run -q` says nothing",
        &[Does(acts::quiet)],
    ),
    row(
        "--read-only",
        "The root is read-only; `/dev`, `/proc` and tmpfs mounts are not",
        &["--read-only", "--tmpfs", "/t"],
        &[
            Says(
                "touch /x 2>&1 | cut -d: -f3; touch /t/x /dev/shm/x && echo those are not",
                &["Read-only file system\nthose are not"],
            ),
            Shows("{{.HostConfig.ReadonlyRootfs}}", "true"),
        ],
    ),
    act(
        "--restart",
        "When it comes back by itself",
        "`on-failure:2` runs it three times",
        &[
            Does(acts::restart),
            Refuses(&["--restart", "sometimes"], "invalid restart policy"),
            Refuses(
                &["--restart", "always:3"],
                "invalid restart policy: maximum retry count can only be used with 'on-failure'",
            ),
        ],
    ),
    act(
        "--rm",
        "Removes it and its anonymous volumes when it ends",
        "neither is listed any more",
        &[Does(acts::rm)],
    ),
    act(
        "--runtime",
        "The OCI runtime that makes it",
        "`--runtime runc` runs",
        &[
            Does(acts::runtime),
            Refuses(&["--runtime", "sail"], "unknown or invalid runtime name: sail"),
        ],
    ),
    row(
        "--security-opt",
        "seccomp, apparmor, label, no-new-privileges, writable-cgroups, systempaths",
        &[
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            "seccomp={scratch}/seccomp.json",
        ],
        &[
            Says(
                "grep NoNewPrivs /proc/self/status | cut -f2; mkdir /x 2>/dev/null || echo forbidden",
                &["1\nforbidden"],
            ),
            Does(acts::security),
            Refuses(&["--security-opt", "sail=high"], "invalid --security-opt 2: \"sail=high\""),
            Refuses(&["--security-opt", "seccomp=/no/such"], "/no/such"),
        ],
    ),
    row(
        "--shm-size",
        "The size of `/dev/shm`",
        &["--shm-size", "8m"],
        &[
            Says("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", &["8192"]),
            Shows("{{.HostConfig.ShmSize}}", "8388608"),
            Refuses(&["--shm-size", "big"], "invalid size: 'big'"),
        ],
    ),
    act(
        "--sig-proxy",
        "Whether `run` forwards the signals it gets",
        "SIGTERM to the client ends the container's sleep",
        &[Does(acts::sig_proxy)],
    ),
    row(
        "--stop-signal",
        "The signal that `stop` sends",
        &["--stop-signal", "SIGUSR1"],
        &[
            Shows("{{.Config.StopSignal}}", "SIGUSR1"),
            Does(acts::stop_signal),
            Refuses(&["--stop-signal", "SIGSAIL"], "SIGSAIL"),
        ],
    ),
    row(
        "--stop-timeout",
        "How long `stop` waits before it kills",
        &["--stop-timeout", "0"],
        &[Shows("{{.Config.StopTimeout}}", "0"), Does(acts::stop_timeout)],
    ),
    act(
        "--storage-opt",
        "`size=`: the most that its own layer may take, by project quotas",
        "on a file system with quotas writing ends at the size",
        &[
            Does(acts::storage_opt),
            Refuses(&["--storage-opt", "size=1g"], "pquota"),
            Refuses(&["--storage-opt", "colour=red"], "colour"),
        ],
    ),
    row(
        "--sysctl",
        "A parameter of its namespaces",
        &["--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.msgmax=4096"],
        &[
            Says("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax", &["77\n4096"]),
            Refuses(&["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic"),
            Refuses(
                &["--net", "host", "--sysctl", "net.ipv4.ip_forward=1"],
                "not allowed in host network namespace",
            ),
        ],
    ),
    row(
        "--tmpfs",
        "A file system in memory",
        &["--tmpfs", "/t:size=2m,mode=0700"],
        &[
            Says(
                "df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /t; grep ' /t ' /proc/mounts | grep -c 'nosuid,nodev,noexec'",
                &["2048\n700\n1"],
            ),
            Refuses(&["--tmpfs", "/t:colour=red"], "colour"),
            Refuses(&["--tmpfs", "/"], "/"),
        ],
    ),
    row(
        "--tty",
        "A terminal",
        &["--tty"],
        &[Says("tty; echo $TERM", &["/dev/pts/0\nxterm"]), Shows("{{.Config.Tty}}", "true")],
    ),
    row(
        "--ulimit",
        "Limits of the process",
        &["--ulimit", "nofile=100:200", "--ulimit", "core=0"],
        &[
            Says("ulimit -n; ulimit -Hn; ulimit -c", &["100\n200\n0"]),
            Refuses(
                &["--ulimit", "nofile=300:200"],
                "ulimit soft limit must be less than or equal to hard limit: 300 > 200",
            ),
            Refuses(&["--ulimit", "sails=1"], "invalid ulimit type: sails"),
        ],
    ),
    act(
        "--use-api-socket",
        "The engine's socket inside",
        "the socket is at `/var/run/docker.sock`, the client's credentials beside it",
        &[Does(acts::api_socket)],
    ),
    row(
        "--user",
        "User and group by name or number, of the container's own files",
        &["--user", "user:extra"],
        &[
            Says("id -u; id -g; id -un", &["1000\n1001\nuser"]),
            Refuses(&["--user", "nosuch"], "unable to find user nosuch"),
        ],
    ),
    row(
        "--userns",
        "The user namespace; `host` is the daemon's",
        &["--userns", "host"],
        &[
            Says("cat /proc/self/uid_map | tr -s ' '", &["0 0 4294967295"]),
            Shows("{{.HostConfig.UsernsMode}}", "host"),
            Refuses(&["--userns", "bogus"], "--userns: invalid USER mode"),
        ],
    ),
    row(
        "--uts",
        "The UTS namespace; `host` is the host's",
        &["--uts", "host"],
        &[
            Shows("{{.HostConfig.UTSMode}}", "host"),
            Does(acts::uts_host),
            Refuses(&["--uts", "bogus"], "--uts: invalid UTS mode"),
        ],
    ),
    row(
        "--volume",
        "A volume, or a path of the host",
        &["--volume", "{scratch}:/files:ro", "--volume", "kept:/kept", "--volume", "/anonymous"],
        &[
            Says(
                "cat /files/note; touch /files/x 2>/dev/null || echo read-only; echo x >>/kept/log; wc -l </kept/log; ls -d /anonymous",
                &["ahoy\nread-only\n1\n/anonymous", "ahoy\nread-only\n2\n/anonymous"],
            ),
            Refuses(&["--volume", "aa:/x", "--volume", "bb:/x"], "Duplicate mount point: /x"),
            Refuses(&["--volume", "aa:relative"], "invalid"),
            Refuses(&["--volume", "aa:/x:sail"], "invalid mode: sail"),
        ],
    ),
    row(
        "--volume-driver",
        "The driver of its volumes; `local` is built in",
        &["--volume-driver", "local", "-v", "/v"],
        &[
            Shows("{{range .Mounts}}{{.Driver}}{{end}}", "local"),
            Refuses(
                &["--volume-driver", "sail", "-v", "x:/v"],
                "sail | registry docker.io cannot be reached",
            ),
        ],
    ),
    row(
        "--volumes-from",
        "The mounts of another container",
        &["--volumes-from", "donor:ro"],
        &[
            Says("touch /shared/x 2>/dev/null || echo read-only", &["read-only"]),
            Refuses(&["--volumes-from", "nobody"], "nobody"),
        ],
    ),
    row(
        "--workdir",
        "The directory it starts in, made if it is not there",
        &["--workdir", "/deep/down"],
        &[
            Says("pwd", &["/deep/down"]),
            Refuses(
                &["--workdir", "deep"],
                "the working directory 'deep' is invalid, it needs to be an absolute path",
            ),
        ],
    ),
];
