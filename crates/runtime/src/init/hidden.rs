//! Paths of the container that its processes must not see or not write.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux::fs::{Mode, OFlags, Root};
use linux::mount::{self, FsContext, MountAttr, RDONLY, Tree};

use super::ContainerPlan;
use crate::failure::During;
use crate::shim::protocol::Failure;

/// Covers each masked path: a file by the host's /dev/null, a directory by an empty tmpfs.
///
/// `null` was opened on the host, so nothing in the image can stand in for it. This happens before
/// the old root is left, because a mount can be cloned only in its own namespace.
pub(super) fn mask(plan: &ContainerPlan<'_>, root: &Root, null: &OwnedFd) -> Result<(), Failure> {
    let linux = plan.spec.linux().as_ref();
    let paths = linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = open(root, path)? else { continue };
        let stat = rustix::fs::fstat(&target).during(|| format!("mask {path:?}"))?;
        let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        let cover = match (&empty, is_directory) {
            (_, false) => mount::clone_tree(null, "", Tree::Single),
            // One file system covers all; only the mounts differ.
            (Some(empty), true) => mount::clone_tree(empty, "", Tree::Single),
            (None, true) => empty_directory(),
        };
        let cover = cover.during(|| format!("mask {path:?}"))?;
        mount::attach(&cover, &target).during(|| format!("mask {path:?}"))?;
        if is_directory && empty.is_none() {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// Covers each read-only path by itself, read-only.
pub(super) fn make_read_only(plan: &ContainerPlan<'_>, root: &Root) -> Result<(), Failure> {
    let linux = plan.spec.linux().as_ref();
    let paths = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    for path in paths {
        let Some(target) = open(root, path)? else { continue };
        cover_read_only(&target).during(|| format!("make {path:?} read-only"))?;
    }
    Ok(())
}

fn cover_read_only(target: &OwnedFd) -> io::Result<()> {
    let clone = mount::clone_tree(target, "", Tree::Recursive)?;
    let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
    mount::set_attr(clone.as_fd(), attr, Tree::Recursive)?;
    mount::attach(&clone, target)
}

fn empty_directory() -> io::Result<OwnedFd> {
    let context = FsContext::open("tmpfs")?;
    context.set("source", "tmpfs")?;
    context.set("size", "0")?;
    context.set("nr_inodes", "1")?;
    context.set("mode", "755")?;
    context.create(RDONLY)
}

/// `None` for a path that this kernel or image does not have.
fn open(root: &Root, path: &str) -> Result<Option<OwnedFd>, Failure> {
    match root.open_in_root(path, OFlags::PATH, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(error).during(|| format!("open {path:?}")),
        },
    }
}
