//! Who the process is and what it may do: limits, user, capabilities, seccomp.

use std::io::Write;
use std::path::Path;

use linux::credentials::{self, Capabilities, CapabilitySet, Keep};
use linux::process;
use oci_spec::runtime::{Capability, LinuxCapabilities, PosixRlimitType};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::{ContainerPlan, Launch};
use crate::failure::{During, quoted, reason};
use crate::shim::protocol::Failure;

const CAP_SYS_ADMIN: u32 = 21;

/// Whose start this is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'a> {
    /// The container's first process.
    Init(&'a ContainerPlan<'a>),
    /// A further one.
    Exec,
}

/// Sets rlimits and the out-of-memory score.
pub(super) fn apply_limits(launch: &Launch<'_>) -> Result<(), Failure> {
    let process = launch.process;
    if let Some(score) = process.oom_score_adj() {
        write_proc(launch, "self/oom_score_adj", &score.to_string())
            .during(|| format!("set oom_score_adj to {score}"))?;
    }
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let kind = limit.typ();
        let what = || format!("error setting rlimit type {kind:?}");
        let bounded = |value: u64| (value != u64::MAX).then_some(value);
        let value = Rlimit { current: bounded(limit.soft()), maximum: bounded(limit.hard()) };
        rustix::process::setrlimit(resource(kind), value).during(what)?;
    }
    Ok(())
}

/// Asks the kernel to confine what is executed next by the process's AppArmor profile. Whoever is
/// not confined may, with or without privileges.
pub(super) fn confine(launch: &Launch<'_>) -> Result<(), Failure> {
    let Some(profile) = launch.process.apparmor_profile() else { return Ok(()) };
    let order = format!("exec {profile}");
    let written = match write_proc(launch, "self/attr/apparmor/exec", &order) {
        // Kernels before 5.8 have one file for the module that is the only one.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_proc(launch, "self/attr/exec", &order)
        }
        other => other,
    };
    written.during(|| format!("apply apparmor profile {profile}"))
}

/// Writes the sysctls through the host's procfs, which the container cannot have tampered with.
/// Those of a namespace act on the writer's.
pub(super) fn write_sysctls(plan: &ContainerPlan<'_>, launch: &Launch<'_>) -> Result<(), Failure> {
    let linux = plan.spec.linux().as_ref();
    let Some(sysctls) = linux.and_then(|linux| linux.sysctl().as_ref()) else { return Ok(()) };
    for (key, value) in sysctls {
        let path = format!("sys/{}", sysctl_path(key));
        write_proc(launch, &path, value).during(|| format!("write sysctl {key} = {value:?}"))?;
    }
    Ok(())
}

/// Dots separate, unless a slash comes first: then slashes separate and dots are part of a name.
fn sysctl_path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(position) if key.as_bytes()[position] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn write_proc(launch: &Launch<'_>, path: &str, value: &str) -> std::io::Result<()> {
    let root = linux::fs::Root::from_fd(launch.host_proc.try_clone()?);
    let file = root.open_beneath(path, OFlags::WRONLY, Mode::empty())?;
    std::fs::File::from(file).write_all(value.as_bytes())
}

/// Drops to the user and his capabilities. The filter comes before, if it may only be loaded with
/// privileges that are about to go.
pub(super) fn become_user(launch: &Launch<'_>, order: Order<'_>) -> Result<(), Failure> {
    let process = launch.process;
    let user = process.user();
    let no_new_privileges = process.no_new_privileges() == Some(true);
    if !no_new_privileges {
        load_filter(launch)?;
    }
    let wanted = process.capabilities().as_ref().map(|wanted| capabilities(wanted, order));
    if let Some(wanted) = &wanted {
        credentials::limit_bounding_set(wanted.bounding)
            .during(|| "drop bounding capabilities".to_owned())?;
    }
    // As root first: the image's author may have set a directory that only root can search.
    let entered = rustix::process::chdir(cwd_of(process.cwd()));
    credentials::keep_capabilities(Keep::Yes).during(|| "keep capabilities".to_owned())?;
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    credentials::set_user(user.uid(), user.gid(), groups)
        .during(|| format!("set user {}:{}", user.uid(), user.gid()))?;
    credentials::keep_capabilities(Keep::No).during(|| "keep capabilities".to_owned())?;
    if let Some(mask) = user.umask() {
        rustix::process::umask(Mode::from_raw_mode(mask));
    }
    if let Some(wanted) = &wanted {
        credentials::set_capabilities(wanted).during(|| "set capabilities".to_owned())?;
    }
    check_cwd(process.cwd(), entered)?;
    if no_new_privileges {
        process::set_no_new_privileges().during(|| "set no_new_privs".to_owned())?;
    }
    Ok(())
}

/// The last thing before execve: the filter of a process that needs no privilege to load it.
pub(super) fn seal(launch: &Launch<'_>) -> Result<(), Failure> {
    if launch.process.no_new_privileges() == Some(true) { load_filter(launch) } else { Ok(()) }
}

fn load_filter(launch: &Launch<'_>) -> Result<(), Failure> {
    let Some(filter) = launch.filter else { return Ok(()) };
    process::load_seccomp_filter(filter, 0).during(|| "load seccomp filter".to_owned())
}

fn cwd_of(cwd: &Path) -> &Path {
    if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd }
}

/// Enters the working directory as the user if root was not allowed to (NFS), and makes sure that
/// it is inside the root.
fn check_cwd(cwd: &Path, entered: Result<(), Errno>) -> Result<(), Failure> {
    let cwd = cwd_of(cwd);
    let denied = |errno: Errno| {
        let (path, error) = (quoted(cwd.display()), reason(&errno.into()));
        Failure::other(format!("chdir to cwd ({path}) set in config.json failed: {error}"))
    };
    match entered {
        Err(Errno::ACCESS | Errno::PERM) => rustix::process::chdir(cwd).map_err(denied)?,
        other => other.map_err(denied)?,
    }
    // getcwd gives "(unreachable)/…" for a directory outside the root, such as one reached
    // through a leaked descriptor in /proc/self/fd.
    let actual = rustix::process::getcwd(Vec::new()).map_err(denied)?;
    if actual.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure::other(
            "current working directory is outside of container mount namespace root",
        ))
    }
}

fn capabilities(wanted: &LinuxCapabilities, order: Order<'_>) -> Capabilities {
    let set = |names: &Option<std::collections::HashSet<Capability>>| {
        let mut set = CapabilitySet::default();
        for name in names.iter().flatten() {
            set.insert(&name.to_string());
        }
        set
    };
    // What this process itself lacks it cannot give: a set within our own bounds.
    let own = credentials::bounding_set();
    debug_assert!(
        matches!(order, Order::Exec) || own.contains(CAP_SYS_ADMIN),
        "init needs privileges"
    );
    Capabilities {
        bounding: set(wanted.bounding()).intersection(own),
        effective: set(wanted.effective()).intersection(own),
        permitted: set(wanted.permitted()).intersection(own),
        inheritable: set(wanted.inheritable()).intersection(own),
        ambient: set(wanted.ambient()).intersection(own),
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}
