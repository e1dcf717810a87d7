//! Deleting trees that containers made: any depth, with few open descriptors and little stack.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Directories nested deeper than this are moved up before they are deleted.
const MAX_DEPTH: usize = 64;

/// Deletes a file or tree; fine if there is none, or if somebody else deletes it at the same time.
pub(crate) fn delete(path: &Path) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::io("delete", path, io::Error::from(io::ErrorKind::InvalidInput)));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(dir, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        parent => parent.map_err(|source| Error::io("open", dir, source))?,
    };
    delete_at(parent.as_fd(), std::os::unix::ffi::OsStrExt::as_bytes(name))
        .map_err(|source| Error::io("delete", path, source))
}

/// Deletes what stands at a name in a directory; fine if nothing does.
pub(crate) fn delete_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let top = match open_dir(parent, name) {
        // Somebody else deletes it too.
        Err(Errno::NOENT) => return Ok(()),
        top => top?,
    };
    let mut moved = 0;
    loop {
        empty_dir(&top, &top, MAX_DEPTH, &mut moved)?;
        // What was moved up while emptying is deleted in the next round.
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            result => return result,
        }
    }
}

fn open_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn empty_dir(top: &OwnedFd, dir: &OwnedFd, depth: usize, moved: &mut u64) -> Result<(), Errno> {
    let names = match names(dir) {
        Err(Errno::NOENT) => return Ok(()),
        names => names?,
    };
    for name in names {
        match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        if depth == 0 {
            *moved += 1;
            let aside = format!(".deleting-{}-{moved}", rustix::process::getpid().as_raw_nonzero());
            match rustix::fs::renameat(dir, &name, top, &aside) {
                // Left from an earlier, interrupted deletion: the next round gets it.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => continue,
                result => result?,
            }
            continue;
        }
        let child = match open_dir(dir, &name) {
            Err(Errno::NOENT) => continue,
            child => child?,
        };
        empty_dir(top, &child, depth - 1, moved)?;
        match rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
