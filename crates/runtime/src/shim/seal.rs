//! Keeps containers from writing to the shim's binary.
//!
//! Between clone and execve a container's process is this binary, and `/proc/<pid>/exe` leads to
//! it: root in a container could open it for writing there and own the host at the next start
//! (CVE-2019-5736). So the shim runs from a read-only mount of its directory that exists nowhere
//! else: an open through `/proc/<pid>/exe` passes that mount and gets `EROFS`. The mount is
//! detached and its only descriptors are the daemon's or close at execve, so there is nothing for a
//! container to make writable; and the file's pages stay those of the one binary, shared by every
//! shim. The daemon makes the mount once and starts shims from there ([`SealedBinary`]); one that
//! is started otherwise starts itself again.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use linux::mount::{self, MountAttr, RDONLY, Tree};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

const EXE: &str = "/proc/self/exe";

/// Tells whether this process runs from a mount that cannot be written.
fn is_sealed() -> io::Result<bool> {
    let exe = rustix::fs::open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = rustix::fs::fstatvfs(exe)?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

/// Starts this program again from a read-only mount, with `arguments`; returns at once if it runs
/// from one already.
///
/// # Errors
/// When the mount cannot be made. The program must not go on then.
pub(super) fn seal(arguments: &[&OsStr]) -> io::Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let exe = std::fs::read_link(EXE)?;
    let (Some(directory), Some(name)) = (exe.parent(), exe.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let tree = read_only(directory)?;
    Err(Command::new(path_in(&tree, name)).arg0("teu-shim").args(arguments).exec())
}

/// Clones the mount of a directory, to be written by nobody.
fn read_only(directory: &Path) -> io::Result<OwnedFd> {
    // The directory, not the file: attributes can be changed at the root of a mount only, and from
    // the file no path leads up to it.
    let tree = mount::clone_tree(rustix::fs::CWD, directory, Tree::Single)?;
    let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
    mount::set_attr(tree.as_fd(), attr, Tree::Single)?;
    Ok(tree)
}

fn path_in(tree: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(tree.as_raw_fd().to_string()).join(name)
}

/// The shim's binary on a read-only mount, from where it need not start itself a second time.
#[derive(Debug)]
pub struct SealedBinary {
    tree: OwnedFd,
    name: OsString,
}

impl SealedBinary {
    /// Makes the mount. Whoever replaces the binary in its directory replaces it here as well.
    ///
    /// # Errors
    /// When the mount cannot be made.
    pub fn new(binary: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (binary.parent(), binary.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Self { tree: read_only(directory)?, name: name.to_owned() })
    }

    /// The path for a child of this process to execute.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path_in(&self.tree, &self.name)
    }
}
