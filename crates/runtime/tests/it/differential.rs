//! The same OCI config under our runtime and under runc: a process must see the same.

use std::path::{Path, PathBuf};

use runtime::shim::client;
use runtime::shim::protocol::{Empty, ExecStarted, Request, RuntimeConfig, State};
use serde_json::json;

use crate::harness::{Container, can_run, read_frames};

const RUNC: &str = "/usr/sbin/runc";

fn has_runc() -> bool {
    if !Path::new(RUNC).exists() {
        eprintln!("skipped: needs {RUNC}");
        return false;
    }
    can_run()
}

fn use_runc(container: &mut Container) {
    container.config.runtime = RuntimeConfig::Oci { path: PathBuf::from(RUNC), args: Vec::new() };
}

/// Runs `script` in a container changed by `change`, under both, and compares what it says.
fn check(script: &str, change: impl Fn(&mut Container), normalise: impl Fn(&str) -> String) {
    if !has_runc() {
        return;
    }
    let run = |with_runc: bool| {
        let mut container = Container::new(&["sh", "-c", script]);
        change(&mut container);
        if with_runc {
            use_runc(&mut container);
        }
        let (code, log) = container.run();
        (code, normalise(&log.replace(&container.config.container_id, "ID")))
    };
    let (ours, theirs) = (run(false), run(true));
    assert_eq!(ours.0, theirs.0, "exit code");
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.1.lines().collect(), theirs.1.lines().collect());
    assert_eq!(ours, theirs, "\nours:\n{}\nrunc:\n{}", ours.join("\n"), theirs.join("\n"));
}

fn same(log: &str) -> String {
    log.to_owned()
}

#[test]
fn status_and_limits_are_the_same() {
    let script = "grep -E '^(Umask|[GU]id|Groups|SigBlk|Cap|NoNewPrivs|Seccomp|Cpus_allowed):' \
                  /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; id; \
                  cat /proc/self/attr/current 2>/dev/null; exit 5";
    for (uid, no_new_privileges) in [(0, false), (1000, true)] {
        check(
            script,
            |container| {
                let process = &mut container.spec["process"];
                process["user"] = json!({"uid": uid, "gid": uid, "additionalGids": [10, 20]});
                process["noNewPrivileges"] = json!(no_new_privileges);
                process["oomScoreAdj"] = json!(100);
                process["rlimits"] = json!([
                    {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096},
                    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
                ]);
                process["capabilities"]["ambient"] = json!(["CAP_KILL"]);
                process["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
            },
            same,
        );
    }
}

#[test]
fn mounts_are_the_same() {
    let normalise = |log: &str| {
        let mut lines: Vec<_> = log.lines().map(normalise_mount).collect();
        lines.sort();
        lines.join("\n")
    };
    for readonly in [false, true] {
        check(
            "cat /proc/self/mountinfo",
            |container| {
                container.spec["root"]["readonly"] = json!(readonly);
                let etc = container.directory.join("lower/etc");
                let mounts = container.spec["mounts"].as_array_mut().unwrap();
                for (name, options) in [
                    ("/ro", json!(["rbind", "ro", "rprivate"])),
                    ("/deep/er", json!(["bind", "nosuid", "nodev", "noexec"])),
                    ("/shared", json!(["rbind", "rslave"])),
                ] {
                    mounts.push(json!({"destination": name, "type": "bind", "source": etc, "options": options}));
                }
                mounts.push(json!({"destination": "/etc/one", "type": "bind",
                    "source": etc.join("passwd"), "options": ["rbind", "ro"]}));
                mounts.push(json!({"destination": "/ram", "type": "tmpfs", "source": "tmpfs",
                    "options": ["noexec", "size=1m", "mode=700"]}));
            },
            normalise,
        );
    }
}

/// Keeps what a container can tell: place, options, kind, source; not numbers and peers.
fn normalise_mount(line: &str) -> String {
    let (left, right) = line.split_once(" - ").unwrap_or((line, ""));
    let fields: Vec<_> = left.split(' ').collect();
    let mut right = right.split(' ');
    let (kind, source) = (right.next().unwrap_or(""), right.next().unwrap_or(""));
    // What covers a masked directory is named differently by different versions.
    let source = if kind == "tmpfs" { "" } else { source };
    match fields[4] {
        // We take the host's null device, so that an image's cannot stand in for it.
        path @ ("/proc/keys" | "/proc/kcore" | "/proc/timer_list" | "/proc/sched_debug") => {
            format!("{path} masked")
        }
        // We make the directory of the v1 hierarchies read-only as well.
        "/sys/fs/cgroup" => format!("/sys/fs/cgroup {kind}"),
        path => format!("{path} {} {kind} {source}", fields[5]),
    }
}

#[test]
fn devices_environment_and_names_are_the_same() {
    let script = "ls -ln /dev | sed 's/  */ /g' | cut -d' ' -f1,3,4,5,6,11- | grep -v total; \
                  env | sort; hostname; pwd; cat /proc/sys/net/ipv4/ip_forward \
                  /proc/sys/kernel/msgmax; ls /proc/self/fd; ip link show lo | head -1; readlink /proc/1/exe";
    check(
        script,
        |container| {
            container.spec["process"]["cwd"] = json!("/made/for/it");
            container.spec["process"]["env"] = json!(["PATH=/bin", "A=b c"]);
            container.spec["linux"]["sysctl"] =
                json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"});
            container.spec["linux"]["devices"] = json!([
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o660,
                 "uid": 7, "gid": 8}
            ]);
        },
        same,
    );
}

#[test]
fn cgroups_are_the_same() {
    let script = "sort /proc/self/cgroup | grep -v '^0'; cd /sys/fs/cgroup; ls -l | sed 's/.*[0-9] //' ; for f in \
                  memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
                  memory/memory.soft_limit_in_bytes pids/pids.max cpu/cpu.shares \
                  cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus \
                  cpuset/cpuset.mems devices/devices.list memory.max memory.swap.max memory.low \
                  pids.max cpu.max cpuset.cpus cpuset.mems; do test -e $f && echo $f && sort $f; done; \
                  (echo 1 >memory/memory.limit_in_bytes) 2>&1 | sed 's/.*: //'";
    check(
        script,
        |container| {
            let resources = &mut container.spec["linux"]["resources"];
            resources["memory"] =
                json!({"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432});
            resources["pids"] = json!({"limit": 50});
            resources["cpu"] =
                json!({"shares": 512, "quota": 50000, "period": 100_000, "cpus": "0"});
        },
        // Older versions of runc allow the tun device by default.
        |log| log.replace("c 10:200 rwm\n", ""),
    );
}

#[test]
fn failures_to_start_are_the_same() {
    if !has_runc() {
        return;
    }
    for program in ["foo", "/x", "/etc/passwd"] {
        let failures = [false, true].map(|with_runc| {
            let mut container = Container::new(&[program]);
            if with_runc {
                use_runc(&mut container);
            }
            container.start().unwrap_err()
        });
        let [ours, theirs] = failures;
        assert_eq!(ours.kind, theirs.kind, "{ours} / {theirs}");
        let words = |text: &str| text[text.find("exec: ").unwrap()..].to_owned();
        assert_eq!(words(&ours.message), words(&theirs.message));
    }
}

/// What an exec waits for, nobody else does: here the runtime itself takes its time.
#[test]
fn an_exec_that_the_runtime_is_slow_with_holds_up_nobody() {
    if !has_runc() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" exec \"*) read line <{} ;; esac\nexec {RUNC} \"$@\"\n",
        gate.display()
    );
    let path = dir.path().join("slow");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut container = Container::new(&["sh", "-c", "sleep 600"]);
    container.config.runtime = RuntimeConfig::Oci { path, args: Vec::new() };
    container.start().unwrap();
    std::thread::scope(|scope| {
        let exec = scope.spawn(|| container.exec("slow", &["sh", "-c", "echo made; exit 4"]));
        // Opens once the runtime reads, so the exec is under way and stuck.
        let mut gate = std::fs::OpenOptions::new().write(true).open(&gate).unwrap();
        assert!(container.request::<State>(&Request::State).unwrap().exit.is_none());
        container.request::<Empty>(&Request::Pause).unwrap();
        container.request::<Empty>(&Request::Resume).unwrap();
        std::io::Write::write_all(&mut gate, b"go\n").unwrap();
        let (code, output) = exec.join().unwrap().unwrap();
        assert_eq!((code, output.as_str()), (4, "made\n"));
    });
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    assert_eq!(container.wait().exit_code, 137);
}

#[test]
fn runc_execs_pauses_and_has_a_terminal() {
    if !has_runc() {
        return;
    }
    let mut container = Container::new(&["sh", "-c", "tty; sleep 600"]);
    use_runc(&mut container);
    container.set_terminal();
    container.start().unwrap();
    let (code, output) = container.exec("one", &["sh", "-c", "hostname; exit 4"]).unwrap();
    assert_eq!((code, output.as_str()), (4, "teu-test\n"));
    let mut request = container.exec_request("two", &["tty"]);
    request.process.set_terminal(Some(true));
    let request = Request::Exec(Box::new(request));
    let (_, connection) = client::request::<ExecStarted>(container.socket(), &request).unwrap();
    assert!(read_frames(connection).starts_with("/dev/pts/"));
    container.request::<Empty>(&Request::Pause).unwrap();
    container.request::<Empty>(&Request::Resume).unwrap();
    assert!(!container.request::<State>(&Request::State).unwrap().paused);
    container.until_logged("/dev/pts/0");
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    let exit = container.wait();
    assert_eq!((exit.exit_code, exit.warnings), (137, Vec::<String>::new()));
    assert!(container.logged().starts_with("/dev/pts/0"));
}
