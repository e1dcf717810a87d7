//! A layer's directory while it is being filled from an archive.
//!
//! No path of an archive is ever given to the kernel as it is. The parent directory is opened with
//! openat2 such that links are followed as if the layer were `/` and nothing leads out of it; the
//! entry itself is then made by name in that directory, never through a link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::archive::{Entry, Time};
use crate::{Error, Result};

/// The kernel takes no longer path.
const MAX_PATH: usize = 4095;

/// A path within the layer, cleaned: relative, without `.`, `..` and doubled slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// Cleans a name as an archive has it. The root itself becomes the empty path.
    pub(crate) fn clean(name: &[u8]) -> Result<Self> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Err(Error::entry(name, "it leads out of the root with `..`"));
                    }
                }
                part => parts.push(part),
            }
        }
        let path = parts.join(&b'/');
        if path.len() > MAX_PATH {
            return Err(Error::entry(name, "the path is longer than 4095 bytes"));
        }
        Ok(Self(path))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path without its last component, and that component.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }
}

/// The directory of one layer.
pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
    /// The directory used last; most entries follow in the same one.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Times of directories, set when nothing in them changes any more.
    times: Vec<(Vec<u8>, Time)>,
}

impl Tree {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| Error::io("open", path, source))?;
        Ok(Self { root, path: path.to_owned(), parent: None, times: Vec::new() })
    }

    /// Wraps the failure of an operation on an entry: the entry's fault, or the disk's.
    pub(crate) fn fail(
        &self,
        path: &[u8],
        operation: &'static str,
        source: impl Into<io::Error>,
    ) -> Error {
        let source = source.into();
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        let problem = match errno {
            Some(Errno::NOTDIR) => "a parent of it is not a directory",
            Some(Errno::LOOP) => "a parent of it is a cycle of links",
            Some(Errno::XDEV) => "a parent of it leads out of the root",
            Some(Errno::NAMETOOLONG) => "a part of the name is longer than 255 bytes",
            Some(Errno::FBIG) => "it is larger than a file can be",
            _ => {
                let path = self.path.join(String::from_utf8_lossy(path).as_ref());
                return Error::io(operation, path, source);
            }
        };
        Error::entry(path, problem)
    }

    /// Opens a directory of the layer by path, links followed within the layer.
    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // The kernel gives up when anything on the system is renamed meanwhile.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Returns the directory that an entry goes into, making what is missing of it.
    pub(crate) fn parent(&mut self, path: &LayerPath) -> Result<BorrowedFd<'_>> {
        let (dir, _) = path.split();
        if self.parent.as_ref().is_none_or(|(cached, _)| cached != dir) {
            let opened = match self.open_dir(dir) {
                Err(Errno::NOENT) => self.make_dirs(dir),
                result => result,
            };
            let opened = opened.map_err(|source| self.fail(path.bytes(), "open", source))?;
            self.parent = Some((dir.to_owned(), opened));
        }
        match &self.parent {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Ok(self.root.as_fd()),
        }
    }

    /// Returns the directory that a path is in, `None` if there is none.
    pub(crate) fn existing_parent(&self, path: &LayerPath) -> Result<Option<OwnedFd>> {
        match self.open_dir(path.split().0) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(self.fail(path.bytes(), "open", source)),
        }
    }

    /// Makes the directories that an archive takes for granted, mode 0755 as Docker does.
    fn make_dirs(&self, dir: &[u8]) -> Result<OwnedFd, Errno> {
        let mut fd = self.open_dir(b"")?;
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain([dir.len()]) {
            fd = match self.open_dir(&dir[..end]) {
                Err(Errno::NOENT) => {
                    let start = dir[..end].iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
                    match rustix::fs::mkdirat(&fd, &dir[start..end], Mode::from_raw_mode(0o755)) {
                        // A link to nowhere: what follows would not be where the archive says.
                        Err(Errno::EXIST) => return Err(Errno::NOTDIR),
                        result => result?,
                    }
                    self.open_dir(&dir[..end])?
                }
                result => result?,
            };
        }
        Ok(fd)
    }

    /// Forgets the cached parent: a directory or link was replaced.
    pub(crate) fn forget_parent(&mut self) {
        self.parent = None;
    }

    /// Opens the directory of the layer itself.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Notes the time of a directory for `finish`.
    pub(crate) fn set_time_later(&mut self, path: &LayerPath, time: Time) {
        self.times.push((path.bytes().to_owned(), time));
    }

    /// Sets the times of all directories; deepest last does not matter, as nothing is made any more.
    pub(crate) fn finish(mut self) -> Result<()> {
        for (path, time) in std::mem::take(&mut self.times) {
            let dir = match self.open_dir(&path) {
                Ok(dir) => dir,
                // Replaced by something else later in the archive.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(source) => return Err(self.fail(&path, "open", source)),
            };
            set_time(&dir, b".", time).map_err(|source| self.fail(&path, "set time of", source))?;
        }
        Ok(())
    }
}

/// Returns the kind of what stands at a name, if anything does.
pub(crate) fn existing(
    parent: BorrowedFd<'_>,
    name: &[u8],
) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells whether a stat is a directory's.
pub(crate) fn is_dir(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Tells whether a stat is an overlay whiteout's.
pub(crate) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Sets the times of a name in a directory, of a link itself rather than its target.
pub(crate) fn set_time(parent: impl AsFd, name: &[u8], time: Time) -> Result<(), Errno> {
    rustix::fs::utimensat(parent, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives a new file its owner, attributes, mode and time. The owner goes first, because changing it
/// takes set-id bits and capabilities away.
pub(crate) fn dress_file(file: &File, entry: &Entry) -> Result<(), Errno> {
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid)?;
    for (name, value) in kept_xattrs(entry) {
        tolerate(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    rustix::fs::futimens(file, &timestamps(entry.mtime))
}

/// The same for anything else, by name.
pub(crate) fn dress_name(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    is_link: bool,
) -> Result<(), Errno> {
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    for (key, value) in kept_xattrs(entry) {
        let path = proc_path(parent, name);
        tolerate(rustix::fs::lsetxattr(&path, key, value, XattrFlags::empty()))?;
    }
    if !is_link {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    set_time(parent, name, entry.mtime)
}

/// Marks a directory as hiding everything that lower layers have in it.
pub(crate) fn set_opaque(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let path = proc_path(parent, name);
    rustix::fs::lsetxattr(&path, OPAQUE, b"y", XattrFlags::empty())
}

/// The attribute of opaque directories.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Symbolic links and O_PATH descriptors take attributes only by path.
pub(crate) fn proc_path(parent: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat()
}

/// Which attributes of an archive are applied. `trusted.*` steers overlayfs and stays ours.
pub(crate) fn is_kept_xattr(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

fn kept_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let kept = entry.xattrs.iter().filter(|(name, _)| is_kept_xattr(name) && !name.contains(&0));
    kept.map(|(name, value)| (name.as_slice(), value.as_slice()))
}

/// A filesystem without extended attributes, or a kind of file that takes none, is no reason to fail.
fn tolerate(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        result => result,
    }
}
