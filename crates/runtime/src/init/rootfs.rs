//! The root file system: attached, made `/`, and finished.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::fs::Root;
use linux::mount::{self, MountAttr, Overlay, RDONLY, Tree};
use rustix::fs::{Mode, OFlags};

use super::{ContainerPlan, UserNamespace};
use crate::failure::During;
use crate::hooks::{self, Moment};
use crate::mount_options;
use crate::shim::protocol::{Failure, Rootfs};

const MS_SLAVE: u64 = 1 << 19;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Lets no mount of this namespace reach the host; the host's still come in.
pub(crate) fn isolate_mounts() -> Result<(), Failure> {
    let slash = rustix::fs::open("/", DIRECTORY, Mode::empty()).during(|| "open /".to_owned())?;
    let attr = MountAttr { propagation: MS_SLAVE, ..MountAttr::default() };
    mount::set_attr(slash.as_fd(), attr, Tree::Recursive).during(|| "make / rslave".to_owned())
}

/// Mounts the container's overlay detached. With a user namespace this process has to have mounts
/// of its own.
pub(crate) fn overlay(
    rootfs: &Rootfs,
    bundle: &Path,
    user_namespace: Option<&UserNamespace>,
) -> Result<OwnedFd, Failure> {
    let what = || format!("mount overlay on {}", rootfs.upper.display());
    let mut overlay = Overlay {
        lowers: rootfs.lowers.clone(),
        upper: Some(rootfs.upper.clone()),
        work: Some(rootfs.work.clone()),
        options: rootfs.mount_options.clone(),
    };
    let Some(namespace) = user_namespace else { return mount::overlay(&overlay).during(what) };
    // Overlayfs wants both in one mount, so their directory is mapped as a whole.
    let (Some(own), Some(upper), Some(work)) =
        (rootfs.upper.parent(), rootfs.upper.file_name(), rootfs.work.file_name())
    else {
        return Err(Failure::invalid("the writable layer has no directory of its own"));
    };
    if rootfs.work.parent() != Some(own) {
        return Err(Failure::invalid("the writable layer and its work directory are apart"));
    }
    let layers: Vec<&Path> =
        std::iter::once(own).chain(rootfs.lowers.iter().map(PathBuf::as_path)).collect();
    namespace.with_layers(bundle, &layers, |mut places| {
        let own = places.remove(0);
        overlay.lowers = places;
        overlay.upper = Some(own.join(upper));
        overlay.work = Some(own.join(work));
        // Overlayfs writes as who mounted it, who must be somebody in the mapped layers.
        namespace.as_root(|| mount::overlay(&overlay).during(what))
    })
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
    // Hooks look for the root and for the config, both in the bundle.
    let place = if hooks::any(plan.spec, &[Moment::CreateContainer]) {
        hooks::make_rootfs(plan.bundle)?
    } else {
        plan.bundle.to_owned()
    };
    let opened = rustix::fs::open(&place, DIRECTORY, Mode::empty())
        .during(|| format!("open {}", place.display()))?;
    mount::attach(&tree, &opened).during(|| "attach rootfs".to_owned())?;
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
