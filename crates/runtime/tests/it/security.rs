//! What a container must not be able to do, one test per class.

use std::os::unix::fs::symlink;

use runtime::shim::protocol::{Empty, Request};
use serde_json::{Value, json};

use crate::harness::{CAPS, Container, can_run};

/// CVE-2019-5736: the runtime's binary, reached through /proc/self/exe, is not writable.
#[test]
fn the_shims_binary_cannot_be_written_from_inside() {
    if !can_run() {
        return;
    }
    // The interpreter of the "program" is whatever process starts it: the shim's child.
    let mut container = Container::new(&["sleep", "600"]);
    let started = container.start().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.pid)).unwrap();
    let parent: u32 =
        stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    let exe = format!("/proc/{parent}/exe");
    let error = std::fs::OpenOptions::new().write(true).open(exe).unwrap_err();
    // Busy comes before read-only; neither lets anybody in, and only the latter stays.
    assert!(matches!(error.raw_os_error(), Some(libc::EROFS | libc::ETXTBSY)), "{error}");
    let flags = rustix::fs::statvfs(format!("/proc/{parent}/exe")).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
}

/// CVE-2024-21626: no descriptor of the host is left open.
#[test]
fn no_descriptor_leaks_into_init_or_exec() {
    if !can_run() {
        return;
    }
    let script = "ls /proc/self/fd; touch /tmp/listed; sleep 600";
    let mut container = Container::new(&["sh", "-c", script]);
    container.start().unwrap();
    container.exec("w", &["sh", "-c", "until test -e /tmp/listed; do :; done"]).unwrap();
    let (_, output) = container.exec("e", &["ls", "/proc/self/fd"]).unwrap();
    // The fourth is the directory being listed.
    assert_eq!(output, "0\n1\n2\n3\n");
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
    assert_eq!(container.logged(), output);
}

/// The same class: a working directory through a descriptor that leads out of the root.
#[test]
fn a_working_directory_outside_the_root_is_refused() {
    if !can_run() {
        return;
    }
    for fd in 3..16 {
        let mut container = Container::new(&["pwd"]);
        container.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        // A descriptor of the container's own root is no way out.
        if container.start().is_ok() {
            container.wait();
            assert_eq!(container.logged(), "/\n", "descriptor {fd}");
        }
    }
}

/// CVE-2025-31133 and kin: links in the image decide neither what covers a masked path nor where
/// devices and the console go.
#[test]
fn links_in_the_image_redirect_nothing() {
    if !can_run() {
        return;
    }
    let mut container =
        Container::new(&["sh", "-c", "cat /proc/keys; cat /host/secret; ls -l /dev/null"]);
    container.spec["process"]["terminal"] = json!(true);
    let lower = container.directory.join("lower");
    let secret = container.directory.join("secret");
    std::fs::write(&secret, "outside").unwrap();
    std::fs::create_dir_all(lower.join("dev")).unwrap();
    symlink("/proc/sysrq-trigger", lower.join("dev/null")).unwrap();
    symlink("/proc/sysrq-trigger", lower.join("dev/console")).unwrap();
    symlink(&container.directory, lower.join("host")).unwrap();
    container.start().unwrap();
    container.wait();
    let log = container.logged();
    assert!(!log.contains("outside") && log.contains("crw-rw-rw-"), "{log}");

    // A /proc that is a link is refused, not followed.
    let mut container = Container::new(&["true"]);
    let lower = container.directory.join("lower");
    symlink("/tmp", lower.join("proc")).unwrap();
    let failure = container.start().unwrap_err();
    assert!(failure.message.contains("ordinary directory"), "{failure}");
}

#[test]
fn nothing_is_mounted_inside_proc_and_destinations_stay_in_the_root() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["true"]);
    let source = container.directory.join("lower/etc");
    add_mount(
        &mut container,
        &json!({"destination": "/proc/fs", "type": "bind", "source": source, "options": ["rbind"]}),
    );
    let failure = container.start().unwrap_err();
    assert!(failure.message.contains("inside /proc"), "{failure}");

    let mut container = Container::new(&["cat", "/etc/passwd"]);
    let outside = container.directory.join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, container.directory.join("lower/out")).unwrap();
    let source = source_of(&container);
    add_mount(
        &mut container,
        &json!({"destination": "/out/../out/x", "type": "bind", "source": source, "options": ["rbind", "ro"]}),
    );
    assert_eq!(container.run().0, 0);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn cgroups_proc_and_masked_paths_are_read_only_or_hidden() {
    if !can_run() {
        return;
    }
    let script = "for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max \
                  /proc/sys/kernel/hostname /proc/sysrq-trigger; do \
                  test -e $f && (echo 1 >$f) 2>/dev/null && echo wrote $f; done; \
                  cat /proc/kcore /proc/keys 2>/dev/null | wc -c; \
                  ls /proc/scsi /sys/firmware 2>/dev/null | grep -v : | grep -c .; exit 0";
    let mut container = Container::new(&["sh", "-c", script]);
    let (code, log) = container.run();
    assert_eq!((code, log.as_str()), (0, "0\n0\n"));
}

/// The filter, capabilities and no_new_privs hold for init and for exec alike.
#[test]
fn exec_is_confined_as_init_is() {
    if !can_run() {
        return;
    }
    for no_new_privileges in [false, true] {
        let script = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status";
        let mut container = Container::new(&["sh", "-c", &format!("{script}; sleep 600")]);
        container.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        // One instruction: allow everything.
        let filter = container.directory.join("filter.bpf");
        std::fs::write(&filter, [6, 0, 0, 0, 0, 0, 0xff, 0x7f]).unwrap();
        container.config.seccomp_bpf = Some(filter);
        container.start().unwrap();
        let (_, exec) = container.exec("e", &["sh", "-c", script]).unwrap();
        // Nothing that the shim or its parents ignored stays ignored.
        let (_, status) = container.exec("s", &["cat", "/proc/self/status"]).unwrap();
        assert!(status.contains("SigIgn:\t0000000000000000"), "{status}");
        container.until_logged(&exec);
        container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
        container.wait();
        assert_eq!(container.logged(), exec);
        assert!(exec.contains("CapBnd:\t00000000a80425fb"), "{exec}");
        assert!(exec.contains("CapEff:\t00000000a80425fb"), "{exec}");
        assert!(exec.contains("Seccomp:\t2"), "{exec}");
        assert!(exec.contains(&format!("NoNewPrivs:\t{}", u8::from(no_new_privileges))), "{exec}");
    }
}

#[test]
fn devices_beyond_the_list_cannot_be_opened() {
    if !can_run() {
        return;
    }
    let script = "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; head -c 4 /dev/zero | wc -c; \
                  mknod /tmp/null c 1 3 && echo x >/tmp/null && echo fine";
    let mut container = Container::new(&["sh", "-c", script]);
    let (_, log) = container.run();
    assert!(log.contains("/tmp/kmsg: Operation not permitted"), "{log}");
    assert!(log.contains("4\n") && log.contains("fine\n"), "{log}");
}

fn add_mount(container: &mut Container, mount: &Value) {
    container.spec["mounts"].as_array_mut().unwrap().push(mount.clone());
}

fn source_of(container: &Container) -> String {
    container.directory.join("lower/etc").display().to_string()
}

/// Docker's default profile lets our own init through, and keeps a new user namespace, the door to
/// most kernel bugs, shut for init and exec.
#[test]
fn the_default_profile_holds_and_lets_programs_start() {
    if !can_run() {
        return;
    }
    let names = CAPS.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
    let capabilities = serde_json::from_str(&format!("[{names}]")).unwrap();
    for (uid, no_new_privileges) in [(0, false), (0, true), (1000, false), (1000, true)] {
        // What it complains comes by another stream, at any place.
        let script = "unshare -U true 2>/dev/null || echo shut; id -u";
        let mut container = Container::new(&["sh", "-c", &format!("{script}; sleep 600")]);
        let profile = runtime::seccomp::Profile::docker_default().resolve(&capabilities).unwrap();
        let filter = runtime::seccomp::compile(&profile, &container.directory).unwrap();
        container.config.seccomp_bpf = Some(filter);
        container.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        container.spec["process"]["user"] = json!({"uid": uid, "gid": uid});
        container.start().unwrap();
        let (_, output) = container.exec("e", &["sh", "-c", script]).unwrap();
        assert!(output.contains(&format!("shut\n{uid}\n")), "{output}");
        // An exec may be faster than init.
        container.until_logged("shut");
        container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
        container.wait();
    }
}
