//! The rows from `--add-host` to `--kernel-memory`.

use super::Check::{Does, Refuses, Says, Shows};
use super::{Row, act, row};
use crate::options::{acts, acts_of_cgroups, acts_of_engine};

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
        &[
            Shows("{{index .HostConfig.Annotations \"org.example.note\"}}", "yes"),
            Does(acts_of_engine::annotation),
        ],
    )
    .seen("it is in the runtime's configuration"),
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
                "(cd /sys/fs/cgroup; for file in blkio/blkio.bfq.weight io.bfq.weight io.weight; do \
                 cat $file 2>/dev/null && exit; done; echo none)",
                &["300", "default 300", "default 2930", "none"],
            ),
            Shows("{{.HostConfig.BlkioWeight}}", "300"),
            Refuses(&["--blkio-weight", "5"], "Range of blkio weight is from 10 to 1000"),
        ],
    ),
    row(
        "--blkio-weight-device",
        "The same for one device, which BFQ must schedule on cgroup v1",
        &["--blkio-weight-device", "{disk}:400"],
        &[
            Shows(
                "{{range .HostConfig.BlkioWeightDevice}}{{.Path}} {{.Weight}}{{end}}",
                "{disk} 400",
            ),
            Does(acts_of_cgroups::weight_of_device),
            Refuses(&["--blkio-weight-device", "{disk}:5"], "invalid weight for device: {disk}:5"),
            Refuses(
                &["--blkio-weight-device", "/tmp/x:50"],
                "bad format for device path: /tmp/x:50",
            ),
        ],
    )
    .seen(
        "the cgroup has it for a disk of its own, also after a restart; without BFQ it is refused",
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
    act(
        "--cpu-rt-period",
        "Period of real-time scheduling, of cgroup v1 with RT_GROUP_SCHED",
        "the cgroup has it; without it the kernel's lack is told",
        &[Does(acts_of_cgroups::realtime_period)],
    ),
    act(
        "--cpu-rt-runtime",
        "Real-time CPU per period, of cgroup v1 with RT_GROUP_SCHED",
        "more than the cgroup above has is refused with both named",
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
            Refuses(&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus: invalid format: x"),
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
            Does(acts::publish_all),
            Refuses(&["--expose", "none"], "invalid"),
        ],
    )
    .seen("`-P` publishes it"),
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
            Shows("{{.Config.Healthcheck.Interval}}", "1m30s"),
            Does(acts_of_engine::health_retries),
            Refuses(
                &["--health-cmd", "true", "--health-interval", "1us"],
                "Interval in Healthcheck cannot be less than 1ms",
            ),
        ],
    )
    .seen("at 100 ms three checks are done long before the default's first"),
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
            Does(acts_of_engine::health_retries),
            Refuses(
                &["--health-cmd", "true", "--health-retries", "-1"],
                "--health-retries cannot be negative",
            ),
        ],
    )
    .seen("with 3, the third failure makes it unhealthy"),
    row(
        "--health-start-interval",
        "Time between two checks in the start period",
        &["--health-cmd", "true", "--health-start-interval", "2s"],
        &[
            Shows("{{json .Config.Healthcheck.StartInterval}}", "2000000000"),
            Does(acts_of_engine::health_start),
        ],
    )
    .seen("checks come at its pace while the interval is an hour"),
    row(
        "--health-start-period",
        "Time in which failures do not count yet",
        &["--health-cmd", "true", "--health-start-period", "1m"],
        &[
            Shows("{{json .Config.Healthcheck.StartPeriod}}", "60000000000"),
            Does(acts_of_engine::health_start),
            Refuses(&["--health-cmd", "true", "--health-start-period", "-1s"], "negative"),
        ],
    )
    .seen("failures leave it starting, with none counted"),
    row(
        "--health-timeout",
        "Longest time that a check may take",
        &["--health-cmd", "true", "--health-timeout", "3s"],
        &[
            Shows("{{json .Config.Healthcheck.Timeout}}", "3000000000"),
            Does(acts_of_engine::health_timeout),
        ],
    )
    .seen("a check that takes longer is ended, and its log says so"),
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
        "the process has it; one outside of the subnet is refused by its name",
        &[
            Does(acts_of_engine::addresses),
            Refuses(&["--ip", "172.30.1.1"], USER_DEFINED),
            Refuses(&["--ip", "x"], "invalid IPv4 address: x"),
        ],
    ),
    act(
        "--ip6",
        "The IPv6 address on a user-defined network",
        "the process has it",
        &[Does(acts_of_engine::addresses), Refuses(&["--ip6", "fd00::1"], USER_DEFINED)],
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
            Refuses(
                &["--isolation", "hyperv"],
                "invalid isolation (hyperv): linux only supports 'default'",
            ),
        ],
    ),
    row(
        "--kernel-memory",
        "Nothing any more; the kernel's limit is gone",
        &["--kernel-memory", "64m"],
        &[Says("echo runs", &["runs"])],
    ),
];
