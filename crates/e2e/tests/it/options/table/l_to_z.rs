//! The rows from `--label` to `--workdir`.

use super::Check::{Does, Refuses, Says, Shows};
use super::{Row, act, row};
use crate::options::{acts, acts_of_engine, logs};

pub(super) static ROWS: &[Row] = &[
    row(
        "--label",
        "A label, beside the image's",
        &["--label", "tier=front", "--label", "bare"],
        &[
            Shows("{{index .Config.Labels \"tier\"}}", "front"),
            Does(acts_of_engine::labels),
            Refuses(&["--label", "a b=c"], "label 'a b' contains whitespaces"),
        ],
    )
    .seen("`ps --filter` finds it"),
    row(
        "--label-file",
        "Labels of a file",
        &["--label-file", "{scratch}/labels"],
        &[
            Shows("{{index .Config.Labels \"from.file\"}}", "yes"),
            Does(acts_of_engine::labels_of_a_file),
            Refuses(&["--label-file", "{scratch}/spaced"], "'a b' contains whitespaces"),
        ],
    )
    .seen("`ps --filter` finds it"),
    row(
        "--link",
        "Another container of the default network under an alias",
        &["--link", "donor:db"],
        &[
            Says("env | grep -c ^DB_NAME=/; grep -c '\tdb .* donor$' /etc/hosts", &["1\n1"]),
            Shows("{{len .HostConfig.Links}}", "1"),
            Refuses(
                &["--net", "host", "--link", "donor:db"],
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ),
            Refuses(
                &["--link", "no-such:db"],
                "could not get container for no-such: No such container: no-such",
            ),
            Refuses(&["--link", "donor:a:b"], "bad format for links"),
        ],
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
                "error looking up logging plugin pigeon: plugin \"pigeon\" not found",
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
            Refuses(
                &["--log-driver", "syslog", "--log-opt", "syslog-tls-cert=/x"],
                "send to a relay on this host that speaks TLS",
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
            Refuses(
                &["--net", "host", "--mac-address", "92:d0:c6:0a:29:33"],
                "conflicting options: mac-address and the network mode",
            ),
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
        "others find it by that name",
        &[
            Does(acts_of_engine::aliases),
            Refuses(
                &["--net", "bridge", "--net-alias", "db"],
                "network-scoped aliases are only supported for user-defined networks",
            ),
        ],
    ),
    row(
        "--network",
        "The network, also in the long form with its options",
        &["--network", "container:donor"],
        &[
            Says("ls /sys/class/net | tr '\\n' ' '", &["eth0 lo"]),
            Does(acts::network_host),
            Does(acts::network_container),
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
        "others find it by that name",
        &[
            Does(acts_of_engine::aliases),
            Refuses(
                &["--net", "bridge", "--network-alias", "db"],
                "network-scoped aliases are only supported for user-defined networks",
            ),
        ],
    ),
    row(
        "--no-healthcheck",
        "Turns the image's check off",
        &["--no-healthcheck"],
        &[
            Shows("{{json .Config.Healthcheck.Test}}", "[\"NONE\"]"),
            Does(acts_of_engine::no_healthcheck),
            Refuses(
                &["--no-healthcheck", "--health-cmd", "true"],
                "--no-healthcheck conflicts with --health-* options",
            ),
        ],
    )
    .seen("a container of an image with a check has no health"),
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
        "Options of the storage driver: `size=` limits what the container's own layer may hold, where \
         the file system of the data root counts by project (ext4 or xfs with `prjquota`)",
        "written to the limit and not beyond on ext4 with quotas (`layer_quotas`); without them a \
         limit that nothing would keep is refused",
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
        "The user namespace: `host` is the host's, nothing the daemon's default (`--userns-remap`). \
         Beyond Docker, `auto[:size=N,…]` takes a range of ids \
         that no other container has, `map:uidmapping=C:H:N,…` those named ([security.md](security.md))",
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
            Refuses(&["--volume", "aa:relative"], "mount path must be absolute"),
            Refuses(&["--volume", "/tmp:/x:nocopy"], "field VolumeOptions must not be specified"),
            Refuses(&["--volume", "aa:/x:sail"], "invalid mode: sail"),
        ],
    ),
    row(
        "--volume-driver",
        "The driver of its volumes; `local` is built in",
        &["--volume-driver", "local", "-v", "/v"],
        &[
            Says("grep -c ' /v ' /proc/mounts; echo x >/v/x && cat /v/x", &["1\nx"]),
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
