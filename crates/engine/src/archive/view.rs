//! A container's file tree as its processes see it, running or not.
//!
//! A running container's tree is `/proc/PID/root`, opened once for a process that is verified to be
//! the container's. That of a stopped one is put together on a thread with mounts of its own: the
//! layers, and the volumes in their places. Either way paths are resolved by openat2 with the
//! tree's root as `/`, so that no link in a container leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use linux::fs::{Mode, OFlags, Root};
use linux::mount::{MountAttr, Overlay, Tree};
use linux::user_namespace::IdMap;

use crate::container::{MountPoint, MountType};
use crate::{Error, Result};

/// Where a container's files are.
#[derive(Debug)]
pub(super) enum View {
    /// Process 1 of a running container.
    Running {
        /// Its number.
        pid: u32,
        /// When it began, so that another process of that number is not taken for it.
        start_ticks: u64,
        /// Its ids on the host, if they are not the host's.
        map: Option<IdMap>,
    },
    /// A stopped container.
    Stopped {
        /// Its layers.
        layer: images::RwLayer,
        /// Its mounts with their prepared sources.
        mounts: Vec<(MountPoint, PathBuf)>,
        /// A directory nobody else uses, to mount on.
        anchor: PathBuf,
    },
    /// The layers alone, without volumes, to be read only.
    Layers(images::RwLayer),
}

impl View {
    /// What owners of its files are called on the host, if not as in the container.
    pub(super) fn map(&self) -> Option<IdMap> {
        match self {
            Self::Running { map, .. } => map.clone(),
            Self::Stopped { .. } | Self::Layers(_) => None,
        }
    }

    /// Runs `work` with the tree.
    pub(super) fn with<T: Send>(self, work: impl FnOnce(&Root) -> Result<T> + Send) -> Result<T> {
        match self {
            Self::Running { pid, start_ticks, map } => {
                let root = running(pid, start_ticks).map_err(|source| {
                    Error::Conflict(format!("container's process {pid} is gone: {source}"))
                })?;
                let ids = map.and_then(|map| map.outside_uid(0).zip(map.outside_gid(0)));
                match ids {
                    None => work(&root),
                    // Directories made on the way are root's, as root is called inside.
                    Some((uid, gid)) => linux::credentials::with_ids(uid, gid, || work(&root))
                        .map_err(Error::io("take the ids of root in", "/"))?,
                }
            }
            Self::Layers(layer) => work(&layers(&layer)?),
            Self::Stopped { layer, mounts, .. } if mounts.is_empty() => {
                work(&Root::from_fd(writable(&layer)?))
            }
            Self::Stopped { layer, mounts, anchor } => {
                linux::namespace::with_private_mounts(|| {
                    work(&assembled(&layer, &mounts, &anchor)?)
                })
                .map_err(Error::io("copy the mounts for", "/"))?
            }
        }
    }
}

fn running(pid: u32, start_ticks: u64) -> io::Result<Root> {
    let root = Root::open(format!("/proc/{pid}/root"))?;
    // After the opening: the number was this process' all the time.
    if linux::process::start_ticks(pid)? != start_ticks {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(root)
}

/// The upper directory as one more read-only layer: this may be done beside a running container.
fn layers(layer: &images::RwLayer) -> Result<Root> {
    let lowers = std::iter::once(&layer.upper).chain(&layer.lowers).cloned().collect();
    let options = vec!["index=off".to_owned()];
    let overlay = Overlay { lowers, upper: None, work: None, options };
    let mount = linux::mount::overlay(&overlay).map_err(Error::io("mount", &layer.upper))?;
    Ok(Root::from_fd(mount))
}

fn writable(layer: &images::RwLayer) -> Result<OwnedFd> {
    let overlay = Overlay {
        lowers: layer.lowers.clone(),
        upper: Some(layer.upper.clone()),
        work: Some(layer.work.clone()),
        options: vec!["index=off".to_owned()],
    };
    linux::mount::overlay(&overlay).map_err(Error::io("mount", &layer.upper))
}

fn assembled(
    layer: &images::RwLayer,
    mounts: &[(MountPoint, PathBuf)],
    anchor: &std::path::Path,
) -> Result<Root> {
    // Before anything is mounted: sources may be below the anchor.
    let mut sources = Vec::new();
    for (mount, source) in mounts {
        if matches!(mount.kind, MountType::Bind | MountType::Volume) {
            sources.push((mount, clone(mount, source)?));
        }
    }
    sources.sort_by_key(|(mount, _)| mount.destination.matches('/').count());
    let root = writable(layer)?;
    let place = Root::open(anchor).map_err(Error::io("open", anchor))?;
    linux::mount::attach(&root, &place).map_err(Error::io("mount on", anchor))?;
    let root = Root::from_fd(root);
    for (mount, source) in sources {
        attach(&root, mount, &source)?;
    }
    Ok(root)
}

/// Clones what is at the source; a path in /proc stands for the file behind it.
fn clone(mount: &MountPoint, source: &std::path::Path) -> Result<OwnedFd> {
    let failed = |error| Error::Io { operation: "open", path: source.to_owned(), source: error };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::open(source, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let tree = if mount.non_recursive { Tree::Single } else { Tree::Recursive };
    let clone = linux::mount::clone_tree(&file, "", tree).map_err(failed)?;
    if !mount.writable {
        let attr = MountAttr { set: linux::mount::RDONLY, clear: 0, propagation: 0 };
        let fd = std::os::fd::AsFd::as_fd(&clone);
        linux::mount::set_attr(fd, attr, Tree::Recursive).map_err(failed)?;
    }
    Ok(clone)
}

/// Attaches a mount at its destination, which is made if it is missing, as a start does.
fn attach(root: &Root, mount: &MountPoint, source: &OwnedFd) -> Result<()> {
    let failed = |error| Error::Io {
        operation: "mount on",
        path: PathBuf::from(&mount.destination),
        source: error,
    };
    let is_directory =
        File::from(source.try_clone().map_err(failed)?).metadata().map_err(failed)?.is_dir();
    let mode = Mode::from_raw_mode(0o755);
    let target = if is_directory {
        root.create_dir_all(&mount.destination, mode)
    } else {
        let (parent, name) = mount.destination.rsplit_once('/').unwrap_or(("", ""));
        root.create_dir_all(parent, mode).and_then(|parent| {
            match root.open_in_root(&mount.destination, OFlags::PATH, Mode::empty()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::EXCL;
                    rustix::fs::openat(&parent, name, flags | OFlags::CLOEXEC, mode)?;
                    root.open_in_root(&mount.destination, OFlags::PATH, Mode::empty())
                }
                other => other,
            }
        })
    };
    linux::mount::attach(source, target.map_err(failed)?).map_err(failed)
}
