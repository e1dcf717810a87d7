//! Makes the sources of a container's mounts ready, right before a start.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use linux::fs::{Mode, OFlags, Root};

use super::VolumeStore;
use crate::container::{MountPoint, MountType};
use crate::{Error, Result};

/// A mount whose source exists.
#[derive(Debug)]
pub struct PreparedMount {
    /// What to mount; for a subpath a `/proc` path that needs `_guard` alive until the mount is
    /// made.
    pub source: PathBuf,
    /// Whether it is a volume whose options say where its files are.
    pub is_foreign: bool,
    /// Holds the very file that was checked, so that nobody can put a link in its place.
    _guard: Option<OwnedFd>,
}

impl PreparedMount {
    fn of(source: PathBuf) -> Self {
        Self { source, is_foreign: false, _guard: None }
    }
}

/// Makes every mount's source ready, in the order given: makes missing directories of `-v`,
/// mounts volumes with options, resolves paths inside volumes.
///
/// # Errors
/// InvalidParameter for a missing bind source, NotFound for a missing volume.
pub fn prepare_mounts(store: &VolumeStore, mounts: &[MountPoint]) -> Result<Vec<PreparedMount>> {
    mounts.iter().map(|mount| prepare(store, mount)).collect()
}

fn prepare(store: &VolumeStore, mount: &MountPoint) -> Result<PreparedMount> {
    match mount.kind {
        MountType::Bind => {
            check_bind(mount)?;
            Ok(PreparedMount::of(mount.source.clone()))
        }
        MountType::Volume => {
            let source = store.mount(&mount.name)?;
            let prepared = if mount.subpath.is_empty() {
                PreparedMount::of(source)
            } else {
                within(&source, &mount.subpath)?
            };
            Ok(PreparedMount { is_foreign: store.has_options(&mount.name), ..prepared })
        }
        MountType::Tmpfs | MountType::Image => Ok(PreparedMount::of(mount.source.clone())),
    }
}

fn check_bind(mount: &MountPoint) -> Result<()> {
    let path = &mount.source;
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && mount.create_source => {
            DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|source| {
                Error::InvalidParameter(format!(
                    "error while creating mount source path '{}': mkdir {0}: {source}",
                    path.display()
                ))
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::InvalidParameter(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                path.display()
            )))
        }
        Err(error) => Err(Error::InvalidParameter(format!(
            "invalid mount config for type \"bind\": stat {}: {error}",
            path.display()
        ))),
    }
}

/// Opens a path inside a volume without ever leaving it: the content belongs to containers.
fn within(volume: &Path, subpath: &str) -> Result<PreparedMount> {
    let failed = |source: io::Error| {
        Error::InvalidParameter(format!("cannot access subpath {subpath:?}: {source}"))
    };
    let root = Root::open(volume).map_err(failed)?;
    let file = root.open_in_root(subpath, OFlags::PATH, Mode::empty()).map_err(failed)?;
    let source = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    Ok(PreparedMount { _guard: Some(file), ..PreparedMount::of(source) })
}
