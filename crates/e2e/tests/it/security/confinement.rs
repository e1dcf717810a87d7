//! What a process in a container must not reach.

use std::collections::HashSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, bin_dir};

use super::archive::sha256;
use super::with_host;

/// Tries one system call after the other and prints how each failed.
const PROBE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TRY(name, call) do { errno = 0; long r = (long)(call); \
    printf("%s %s\n", name, r >= 0 ? "OPEN" : errno == EPERM || errno == ENOSYS ? "shut" : "other"); } while (0)
int main(void) {
    static char zero[256];
    TRY("io_uring_setup", syscall(425, 1, zero));
    TRY("vsock", socket(40, SOCK_STREAM, 0));
    TRY("alg", socket(38, SOCK_SEQPACKET, 0));
    TRY("unshare", syscall(SYS_unshare, CLONE_NEWUSER));
    TRY("clone", syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0));
    TRY("clone3", syscall(435, zero, 88));
    TRY("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    TRY("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    TRY("bpf", syscall(SYS_bpf, 0, zero, 128));
    TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
    TRY("perf_event_open", syscall(SYS_perf_event_open, zero, 0, -1, -1, 0));
    TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, zero, 0));
    TRY("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0));
    TRY("move_mount", syscall(429, 0, "", 0, "", 0));
    TRY("setns", syscall(SYS_setns, 0, 0));
    TRY("init_module", syscall(SYS_init_module, zero, 0, ""));
    TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    TRY("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    TRY("settimeofday", syscall(SYS_settimeofday, zero, 0));
    return 0;
}
"#;

#[test]
fn the_default_profile_shuts_dangerous_calls_for_init_and_exec() -> Result<()> {
    with_host(|host| {
        let probe = compile(host.scratch(), PROBE)?;
        let mount = format!("{}:/probe:ro", probe.display());
        let teu = host.teu();
        teu.run(&["run", "-d", "--name", "box", "-v", &mount, "busybox", "sleep", "600"])?;
        for args in [
            &["run", "--rm", "-v", &mount, "busybox", "/probe"][..],
            &["run", "--rm", "-u", "user", "-v", &mount, "busybox", "/probe"],
            &["exec", "box", "/probe"],
            &["exec", "-u", "user", "box", "/probe"],
        ] {
            let said = teu.run(args)?;
            ensure!(said.lines().count() == 19, "{args:?}: {said}");
            ensure!(said.lines().all(|line| line.ends_with(" shut")), "{args:?}: {said}");
        }
        Ok(())
    })
}

fn compile(dir: &Path, source: &str) -> Result<PathBuf> {
    let (text, program) = (dir.join("probe.c"), dir.join("probe"));
    std::fs::write(&text, source)?;
    let made = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&text).output()?;
    ensure!(made.status.success(), "cc: {}", String::from_utf8_lossy(&made.stderr));
    Ok(program)
}

#[test]
fn the_programs_of_the_host_cannot_be_overwritten() -> Result<()> {
    with_host(|host| {
        let programs = ["teu", "teu-shim"].map(|name| bin_dir().join(name));
        let hash = |path: &PathBuf| std::fs::read(path).map(|bytes| sha256(&bytes));
        let before: Vec<String> = programs.iter().map(hash).collect::<Result<_, _>>()?;
        let teu = host.teu();
        let entry = host.scratch().join("entry");
        std::fs::write(&entry, "#!/proc/self/exe\n")?;
        std::fs::set_permissions(&entry, PermissionsExt::from_mode(0o755))?;
        let mount = format!("{}:/entry:ro", entry.display());
        // Whatever starts in the container is opened for writing as soon as it shows.
        let attack = "while :; do for p in /proc/[0-9]*; do \
                      (echo overwritten >$p/exe) 2>/dev/null && echo wrote $p; done; done";
        for privileges in
            [&["--init"][..], &["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"]]
        {
            let mut args = vec!["run", "-d", "--rm", "--name", "box", "-v", &mount];
            args.extend(privileges);
            args.extend(["busybox", "sh", "-c", attack]);
            teu.run(&args)?;
            for _ in 0..8 {
                let refused = teu.try_run(&["exec", "box", "/entry"])?;
                ensure!(refused.code != 0, "{refused:?}");
                teu.run(&["exec", "box", "true"])?;
            }
            let started = teu.try_run(&["run", "--rm", "-v", &mount, "busybox", "/entry"])?;
            ensure!(started.code != 0, "{started:?}");
            let log = teu.run(&["logs", "box"])?;
            ensure!(!log.contains("wrote"), "{log}");
            teu.run(&["rm", "-f", "box"])?;
        }
        let after: Vec<String> = programs.iter().map(hash).collect::<Result<_, _>>()?;
        ensure!(before == after, "a program was changed");
        Ok(())
    })
}

/// CVE-2022-24769 and CVE-2022-36109.
#[test]
fn users_get_their_groups_and_no_capability() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let script = "grep -E '^(Groups|Cap(Inh|Prm|Eff|Amb))' /proc/self/status";
        teu.run(&["run", "-d", "--name", "box", "busybox", "sleep", "600"])?;
        for user in ["user", "1000", "1000:1000"] {
            for start in [&["run", "--rm", "-u", user, "busybox"][..], &["exec", "-u", user, "box"]]
            {
                let said = teu.run(&[start, &["sh", "-c", script]].concat())?;
                let groups = line(&said, "Groups:")?;
                // The primary group is among the supplementary ones: dropping it gains nothing.
                ensure!(groups.split_whitespace().any(|group| group == "1000"), "{user}: {said}");
                ensure!(!groups.split_whitespace().any(|group| group == "0"), "{user}: {said}");
                for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                    ensure!(line(&said, set)? == "0000000000000000", "{user}: {said}");
                }
            }
        }
        for start in [&["run", "--rm", "busybox"][..], &["exec", "box"]] {
            let said = teu.run(&[start, &["sh", "-c", script]].concat())?;
            for set in ["CapInh:", "CapAmb:"] {
                ensure!(line(&said, set)? == "0000000000000000", "{said}");
            }
        }
        Ok(())
    })
}

fn line<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(found.with_context(|| format!("no {name} in {text}"))?.trim())
}

/// CVE-2022-0492 and every other file through which the kernel is told what to run.
#[test]
fn the_kernels_settings_are_out_of_reach() -> Result<()> {
    with_host(|host| {
        let script = "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe \
            /proc/sys/vm/overcommit_memory /proc/sysrq-trigger /proc/irq/default_smp_affinity \
            /proc/bus/x /proc/fs/x /sys/kernel/uevent_helper /sys/fs/cgroup/release_agent \
            /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/notify_on_release \
            /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do \
            (echo 0 >$f) 2>/dev/null && echo wrote $f; done; \
            mkdir /tmp/c; mount -t cgroup -o memory none /tmp/c 2>/dev/null && echo mounted; \
            mount -t cgroup2 none /tmp/c 2>/dev/null && echo mounted; \
            mount -o remount,rw /sys 2>/dev/null && echo remounted; \
            unshare -Ur true 2>/dev/null && echo unshared; \
            for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
            mkdir $d/below 2>/dev/null && echo made $d; done; \
            mknod /tmp/mem c 1 1 && cat /tmp/mem >/dev/null 2>&1 && echo read memory; echo done";
        let teu = host.teu();
        teu.run(&["run", "-d", "--name", "box", "busybox", "sleep", "600"])?;
        let said = teu.run(&["run", "--rm", "busybox", "sh", "-c", script])?;
        ensure!(said == "done\n", "{said}");
        let said = teu.run(&["exec", "box", "sh", "-c", script])?;
        ensure!(said == "done\n", "{said}");
        Ok(())
    })
}

/// Processes of one container neither see nor trace those of another, nor those of the host.
#[test]
fn containers_do_not_see_each_others_processes() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        teu.run(&["run", "-d", "--name", "one", "busybox", "sleep", "4711"])?;
        let pid = init_pid(&teu, "one")?;
        let script = format!("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /proc/{pid} 2>&1");
        let said = teu.run(&[
            "run",
            "--rm",
            "--cap-add",
            "SYS_PTRACE",
            "busybox",
            "sh",
            "-c",
            &format!("{script}; true"),
        ])?;
        // The script itself names neither.
        ensure!(!said.contains("sleep 4711") && said.contains("No such file"), "{said}");
        Ok(())
    })
}

fn init_pid(teu: &Client, name: &str) -> Result<u32> {
    Ok(teu.run(&["inspect", "-f", "{{.State.Pid}}", name])?.trim().parse()?)
}

fn parent_of(pid: u32) -> Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().nth(1);
    Ok(fields.context("a parent")?.parse()?)
}

/// CVE-2020-15257: with the host's network, a container reaches the host's abstract sockets.
#[test]
fn our_sockets_have_paths_that_only_root_may_use() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        teu.run(&["run", "-d", "--name", "box", "--net", "host", "busybox", "sleep", "600"])?;
        let shim = parent_of(init_pid(&teu, "box")?)?;
        let ours: HashSet<String> = [shim, host.daemon_pid().context("a daemon")?]
            .into_iter()
            .map(sockets_of)
            .collect::<Result<Vec<_>>>()?
            .concat()
            .into_iter()
            .collect();
        ensure!(!ours.is_empty(), "the shim listens");
        for line in std::fs::read_to_string("/proc/net/unix")?.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [.., inode, name] = fields[..] else { continue };
            ensure!(!(ours.contains(inode) && name.starts_with('@')), "{line}");
        }
        let mut sockets = 0;
        each_below(&host.exec_root(), &mut |path, metadata| {
            if metadata.file_type().is_socket() {
                sockets += 1;
                ensure!(
                    metadata.mode() & 0o777 == 0o600,
                    "{}: {:o}",
                    path.display(),
                    metadata.mode()
                );
            }
            Ok(())
        })?;
        ensure!(sockets > 0, "the shim's socket is below the exec root");
        Ok(())
    })
}

fn sockets_of(pid: u32) -> Result<Vec<String>> {
    let mut inodes = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed meanwhile.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        let target = target.display().to_string();
        inodes
            .extend(target.strip_prefix("socket:[").map(|rest| rest.trim_end_matches(']').into()));
    }
    Ok(inodes)
}

fn each_below(
    directory: &Path,
    judge: &mut dyn FnMut(&Path, &std::fs::Metadata) -> Result<()>,
) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        judge(&path, &metadata)?;
        if metadata.is_dir() {
            each_below(&path, judge)?;
        }
    }
    Ok(())
}

/// CVE-2021-41091: users of the host reach neither containers' files nor their environments, even
/// where the data root was made by somebody with other ideas.
#[test]
fn the_daemons_files_are_roots_alone() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = Host::start()?;
    host.load_busybox()?;
    host.stop_daemon()?;
    let open = || PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(host.data_root(), open())?;
    std::fs::set_permissions(host.data_root().join("containers"), open())?;
    std::fs::set_permissions(host.exec_root().join("containers"), open())?;
    std::fs::set_permissions(host.data_root().join("state.redb"), open())?;
    host.start_daemon()?;
    let teu = host.teu();
    teu.run(&[
        "run", "-d", "--name", "box", "-e", "SECRET=x", "-v", "vol:/v", "busybox", "sleep", "600",
    ])?;
    let mode = |path: PathBuf| -> Result<u32> {
        let metadata = std::fs::metadata(&path).with_context(|| path.display().to_string())?;
        Ok(metadata.mode() & 0o7777)
    };
    ensure!(mode(host.data_root())? == 0o710);
    ensure!(mode(host.data_root().join("containers"))? == 0o710);
    for directory in ["layers", "rw", "content"] {
        ensure!(mode(host.data_root().join(directory))? == 0o700, "{directory}");
    }
    for file in ["state.redb", "images.redb", "network.redb", "events.jsonl"] {
        ensure!(mode(host.data_root().join(file))? == 0o600, "{file}");
    }
    ensure!(mode(host.exec_root().join("containers"))? == 0o700);
    ensure!(mode(host.exec_root())? & 0o022 == 0);
    ensure!(mode(host.socket())? == 0o660);
    let log = teu.run(&["inspect", "-f", "{{.LogPath}}", "box"])?;
    ensure!(mode(log.trim().into())? & 0o007 == 0);
    Ok(())
}

/// What a container prints is content of its log, never a record of it.
#[test]
fn a_container_cannot_forge_log_records() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let forged = r#"{"log":"forged\n","stream":"stderr","time":"2000-01-01T00:00:00Z"}"#;
        let script = format!("printf '%s\\n' 'a\"}}' '{forged}'; printf '\\r\\033[2J\\377\\n'");
        teu.run(&["run", "--name", "box", "busybox", "sh", "-c", &script])?;
        let path = teu.run(&["inspect", "-f", "{{.LogPath}}", "box"])?;
        let text = std::fs::read_to_string(path.trim())?;
        ensure!(text.lines().count() == 3, "{text}");
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line)?;
            ensure!(record["stream"] == "stdout", "{line}");
        }
        let shown = teu.try_run(&["logs", "box"])?;
        ensure!(shown.stderr.is_empty() && shown.stdout.contains(forged), "{shown:?}");
        Ok(())
    })
}
