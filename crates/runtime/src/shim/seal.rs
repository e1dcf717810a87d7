//! Keeps containers from writing to the shim's binary.
//!
//! Between clone and execve a container's process is this binary, and `/proc/<pid>/exe` leads to
//! it: root in a container could open it for writing there and own the host at the next start
//! (CVE-2019-5736). So the shim runs from a read-only mount of its directory that exists nowhere
//! else: an open through `/proc/<pid>/exe` passes that mount and gets `EROFS`. The mount is
//! detached and its only descriptor closes at execve, so there is nothing left to make writable;
//! and the file's pages stay those of the one binary, shared by every shim.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
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
    // The directory, not the file: attributes can be changed at the root of a mount only, and from
    // the file no path leads up to it.
    let tree = mount::clone_tree(rustix::fs::CWD, directory, Tree::Single)?;
    let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
    mount::set_attr(tree.as_fd(), attr, Tree::Single)?;
    let path = Path::new("/proc/self/fd").join(tree.as_raw_fd().to_string()).join(name);
    Err(Command::new(path).arg0("teu-shim").args(arguments).exec())
}
