//! Walking a container's writable layer, in a fixed order.
//!
//! A directory's entries come sorted, all of them before those of its subdirectories; so no more than
//! one directory is open at a time however deep a container nests them. Processes of the container may
//! be at work meanwhile: links are never followed and what vanishes is passed over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::tree::is_dir;
use crate::{Error, Result};

/// One name in a directory.
pub(crate) struct Item<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a [u8],
    /// Relative to the root.
    pub(crate) path: &'a [u8],
    pub(crate) stat: &'a Stat,
}

/// What is done with what is found.
pub(crate) trait Visitor {
    /// A directory (the root has the empty path) is about to be listed.
    fn enter(&mut self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<()>;
    /// Something in it.
    fn item(&mut self, item: &Item<'_>) -> Result<()>;
}

/// Opens a directory below a root by path, through no link and onto no other filesystem.
pub(crate) fn open_below(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b".".as_slice() } else { path };
    loop {
        match rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Opens the directory that everything else is looked up in.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|source| Error::io("open", path, source))
}

/// Returns a path below a root for a message.
pub(crate) fn shown(root: &Path, path: &[u8]) -> PathBuf {
    root.join(String::from_utf8_lossy(path).as_ref())
}

/// Visits everything in a directory.
pub(crate) fn walk(root: &Path, visitor: &mut impl Visitor) -> Result<()> {
    let root_dir = open_root(root)?;
    let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let dir = match open_below(&root_dir, &path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => continue,
            Err(source) => return Err(Error::io("open", shown(root, &path), source)),
        };
        visitor.enter(dir.as_fd(), &path)?;
        let names = sorted_names(&dir);
        let names = names.map_err(|source| Error::io("read", shown(root, &path), source))?;
        let mut subdirs = Vec::new();
        for name in names {
            let stat = match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(source) => return Err(Error::io("stat", shown(root, &path), source)),
            };
            let item_path = match path.as_slice() {
                b"" => name.clone(),
                path => [path, b"/", &name].concat(),
            };
            let item = Item { dir: dir.as_fd(), name: &name, path: &item_path, stat: &stat };
            visitor.item(&item)?;
            if is_dir(&stat) {
                subdirs.push(item_path);
            }
        }
        pending.extend(subdirs.into_iter().rev());
    }
    Ok(())
}

fn sorted_names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}
