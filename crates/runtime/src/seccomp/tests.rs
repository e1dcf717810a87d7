use std::collections::HashSet;

use oci_spec::runtime::Capability;

use super::{Profile, compile};

fn names(capabilities: &[Capability]) -> HashSet<String> {
    let capabilities: HashSet<Capability> = capabilities.iter().copied().collect();
    let resolved = Profile::docker_default().resolve(&capabilities).unwrap();
    let allowed = |rule: &&oci_spec::runtime::LinuxSyscall| {
        rule.action() == oci_spec::runtime::LinuxSeccompAction::ScmpActAllow
            && rule.args().is_none()
    };
    resolved
        .syscalls()
        .iter()
        .flatten()
        .filter(allowed)
        .flat_map(|rule| rule.names().clone())
        .collect()
}

#[test]
fn capabilities_open_their_system_calls() {
    for (capability, call) in [
        (Capability::SysAdmin, "mount"),
        (Capability::SysAdmin, "unshare"),
        (Capability::SysChroot, "chroot"),
        (Capability::SysTime, "settimeofday"),
        (Capability::Bpf, "bpf"),
        (Capability::SysPtrace, "kcmp"),
    ] {
        assert!(!names(&[]).contains(call), "{call} without {capability:?}");
        assert!(names(&[capability]).contains(call), "{call} with {capability:?}");
    }
}

#[test]
fn what_broke_containers_before_is_closed() {
    let open = names(&[]);
    for call in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "keyctl",
        "add_key",
        "userfaultfd",
        "kexec_load",
        "open_by_handle_at",
        "setns",
        "clone3",
        "socket",
    ] {
        assert!(!open.contains(call), "{call}");
    }
}

#[test]
fn compiled_programs_are_kept_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let profile = Profile::docker_default().resolve(&HashSet::new()).unwrap();
    let first = compile(&profile, dir.path()).unwrap();
    assert_eq!(std::fs::metadata(&first).unwrap().len() % 8, 0);
    let start = std::time::Instant::now();
    assert_eq!(compile(&profile, dir.path()).unwrap(), first);
    println!("cached: {:?}", start.elapsed());
    let other = Profile::docker_default().resolve(&HashSet::from([Capability::SysAdmin])).unwrap();
    assert_ne!(compile(&other, dir.path()).unwrap(), first);
}

#[test]
fn users_profiles_are_read_and_judged() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO"}]}"#;
    let profile = Profile::parse(text).unwrap().resolve(&HashSet::new()).unwrap();
    assert_eq!(profile.syscalls().as_ref().unwrap()[0].names(), &["mkdir"]);
    super::compile::program(&profile).unwrap();
    for (text, said) in [
        ("{", "decode"),
        (r#"{"defaultAction":"SCMP_ACT_NOSUCH"}"#, "decode"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
            "either",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
            "either",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["b"],"action":"SCMP_ACT_LOG","includes":{"minKernel":"new"}}]}"#,
            "minKernel",
        ),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "NOTIFY"),
    ] {
        let result = Profile::parse(text)
            .and_then(|profile| profile.resolve(&HashSet::new()))
            .and_then(|profile| super::compile::program(&profile));
        assert!(result.unwrap_err().to_string().contains(said), "{text}");
    }
}
