//! The root file system: attached, made `/`, and finished.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::fs::Root;
use linux::mount::{self, MountAttr, Overlay, RDONLY, Tree};
use rustix::fs::{Mode, OFlags};

use super::ContainerPlan;
use crate::failure::During;
use crate::mount_options;
use crate::shim::protocol::{Failure, Rootfs};

const MS_SLAVE: u64 = 1 << 19;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Lets no mount of this namespace reach the host; the host's still come in.
pub(super) fn isolate_mounts() -> Result<(), Failure> {
    let slash = rustix::fs::open("/", DIRECTORY, Mode::empty()).during(|| "open /".to_owned())?;
    let attr = MountAttr { propagation: MS_SLAVE, ..MountAttr::default() };
    mount::set_attr(slash.as_fd(), attr, Tree::Recursive).during(|| "make / rslave".to_owned())
}

/// Mounts the container's overlay detached.
pub(crate) fn overlay(rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
    let overlay = Overlay {
        lowers: rootfs.lowers.clone(),
        upper: Some(rootfs.upper.clone()),
        work: Some(rootfs.work.clone()),
        options: rootfs.mount_options.clone(),
    };
    mount::overlay(&overlay).during(|| format!("mount overlay on {}", rootfs.upper.display()))
}

/// Mounts the root over the bundle directory.
pub(super) fn attach(plan: &ContainerPlan<'_>) -> Result<Root, Failure> {
    let tree = match plan.rootfs {
        Some(rootfs) => rootfs.try_clone().during(|| "take rootfs".to_owned())?,
        None => {
            let path = plan.spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path());
            let path = plan.bundle.join(path);
            mount::clone_tree(rustix::fs::CWD, &path, Tree::Recursive)
                .during(|| format!("open rootfs {}", path.display()))?
        }
    };
    let bundle = rustix::fs::open(plan.bundle, DIRECTORY, Mode::empty())
        .during(|| format!("open {}", plan.bundle.display()))?;
    mount::attach(&tree, &bundle).during(|| "attach rootfs".to_owned())?;
    Ok(Root::from_fd(tree))
}

/// Makes `root` the `/` of this mount namespace and drops what was mounted before.
pub(super) fn pivot(plan: &ContainerPlan<'_>, root: &Root) -> Result<(), Failure> {
    let has_mount_namespace = plan.created & linux::process::flags::NEWNS != 0;
    if !has_mount_namespace {
        return Err(Failure::other("a container needs a mount namespace of its own"));
    }
    let old = rustix::fs::open("/", DIRECTORY, Mode::empty()).during(|| "open /".to_owned())?;
    rustix::process::fchdir(root).during(|| "enter rootfs".to_owned())?;
    rustix::process::pivot_root(".", ".").during(|| "pivot_root".to_owned())?;
    // The old root is now stacked on the new one; it is reached by its descriptor only.
    rustix::process::fchdir(&old).during(|| "enter old root".to_owned())?;
    mount::detach(".").during(|| "unmount old root".to_owned())?;
    rustix::process::chdir("/").during(|| "chdir /".to_owned())
}

/// Sets the propagation of the finished tree, and the root read-only if it is to be.
pub(super) fn finish(plan: &ContainerPlan<'_>, root: &Root) -> Result<(), Failure> {
    let propagation =
        plan.spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_ref());
    if let Some(name) = propagation.filter(|name| !name.is_empty()) {
        let Some((flag, tree)) = mount_options::propagation(name) else {
            return Err(Failure::other(format!("unknown rootfs propagation {name:?}")));
        };
        let attr = MountAttr { propagation: flag, ..MountAttr::default() };
        mount::set_attr(root.as_fd(), attr, tree).during(|| format!("make / {name}"))?;
    }
    if plan.spec.root().as_ref().and_then(|root| root.readonly()) == Some(true) {
        let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
        mount::set_attr(root.as_fd(), attr, Tree::Single)
            .during(|| "make / read-only".to_owned())?;
    }
    Ok(())
}
