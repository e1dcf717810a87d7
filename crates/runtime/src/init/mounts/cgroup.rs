//! The container's view of its cgroup: one cgroup2 mount, or a tmpfs with a mount per v1 hierarchy.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use linux::fs::{Mode, Root};
use linux::mount::{self, FsContext, MountAttr, NODEV, NOEXEC, NOSUID, RDONLY, Tree};
use rustix::io::Errno;

use super::{ContainerPlan, Prepared, failed};
use crate::failure::During;
use crate::shim::protocol::Failure;
use std::os::fd::AsFd;

/// Opens the cgroup's own directory in each hierarchy, for a container that shares the host's
/// cgroup namespace. The name is the place under the mount; empty for v2.
pub(super) fn open_sources(plan: &ContainerPlan<'_>) -> Result<Vec<(PathBuf, OwnedFd)>, Failure> {
    let cgroup = plan.cgroup;
    let directories: Vec<_> = if cgroup.hierarchies().is_unified() {
        cgroup
            .unified_directory()
            .map(|directory| (PathBuf::new(), directory))
            .into_iter()
            .collect()
    } else {
        cgroup.v1_directories().map(|(v1, path)| (v1.directory_name(), path)).collect()
    };
    let open = |(name, directory): (PathBuf, PathBuf)| {
        let clone = mount::clone_tree(rustix::fs::CWD, &directory, Tree::Single)
            .during(|| format!("open cgroup {}", directory.display()))?;
        Ok((name, clone))
    };
    directories.into_iter().map(open).collect()
}

/// Mounts it.
pub(super) fn attach(
    plan: &ContainerPlan<'_>,
    root: &Root,
    prepared: &Prepared<'_>,
) -> Result<(), Failure> {
    let mount = prepared.mount;
    let target = super::directory_for(root, prepared)?;
    // Always these, and `ro` for every mount: a writable one would let root in the container
    // raise its own limits.
    let mut attr = NOSUID | NODEV | NOEXEC;
    if prepared.options.is_read_only() {
        attr |= RDONLY;
    }
    if plan.cgroup.hierarchies().is_unified() {
        let made = match prepared.cgroup_sources.first() {
            Some((_, source)) => {
                with_attributes(source, attr).and_then(|()| mount::attach(source, &target))
            }
            None => FsContext::open("cgroup2")
                .and_then(|context| context.create(attr))
                .and_then(|made| mount::attach(made, &target)),
        };
        return made.during(|| failed(mount, "mount cgroup2"));
    }
    let base = FsContext::open("tmpfs")
        .and_then(|context| {
            context.set("source", "tmpfs")?;
            context.set("mode", "755")?;
            context.create(attr & !RDONLY)
        })
        .during(|| failed(mount, "mount tmpfs"))?;
    mount::attach(&base, &target).during(|| failed(mount, "attach tmpfs"))?;
    attach_v1(plan, prepared, &base, attr)?;
    with_attributes(&base, attr).during(|| failed(mount, "make read-only"))
}

fn attach_v1(
    plan: &ContainerPlan<'_>,
    prepared: &Prepared<'_>,
    base: &OwnedFd,
    attr: u64,
) -> Result<(), Failure> {
    let mount = prepared.mount;
    let mut sources = prepared.cgroup_sources.iter();
    for (v1, _) in plan.cgroup.v1_directories() {
        let name = v1.directory_name();
        let what = || failed(mount, &format!("mount {}", name.display()));
        rustix::fs::mkdirat(base, &name, Mode::from_raw_mode(0o755)).during(what)?;
        let target = rustix::fs::openat(
            base,
            &name,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        )
        .during(what)?;
        match sources.next() {
            Some((_, source)) => with_attributes(source, attr)
                .and_then(|()| mount::attach(source, &target))
                .during(what)?,
            None => {
                let made = FsContext::open("cgroup").and_then(|context| {
                    context.set("source", v1.name.as_deref().unwrap_or("cgroup"))?;
                    v1.mount_options().iter().try_for_each(|option| context.option(option))?;
                    context.create(attr)
                });
                made.and_then(|made| mount::attach(made, &target)).during(what)?;
            }
        }
        for controller in v1.controllers.iter().filter(|_| v1.controllers.len() > 1) {
            match rustix::fs::symlinkat(&name, base, controller.as_str()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).during(what),
            }
        }
    }
    Ok(())
}

fn with_attributes(mounted: &OwnedFd, attr: u64) -> std::io::Result<()> {
    let attr = MountAttr { set: attr, ..MountAttr::default() };
    mount::set_attr(mounted.as_fd(), attr, Tree::Single)
}
