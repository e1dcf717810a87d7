//! A tar archive into a file tree that it can never leave.
//!
//! Of every entry the parent directory is opened by openat2 with the tree's root as `/`; the entry
//! itself is made by name in that directory and never through a link. Memory is bounded by the
//! archive reader's limits, disk by the disk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use images::archive::read::{ArchiveReader, NoRecorder};
use images::archive::{Entry, EntryKind, Extent, Time};
use images::{Digest, Hasher};
use linux::fs::{Mode, OFlags, Root};
use linux::user_namespace::IdMap;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Times of more directories are not restored.
const MAX_TIMES: usize = 100_000;

/// Larger files are better hashed afterwards, several at a time.
const MAX_LEARNT: u64 = 128 << 10;

/// Large files are read and written in pieces of this size.
const BUFFER: usize = 256 << 10;

/// How to unpack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnpackOptions<'a> {
    /// Refuse to replace a directory by something else, or the reverse.
    pub(super) keep_kinds: bool,
    /// Everything belongs to this user and group.
    pub(super) owner: Option<(u32, u32)>,
    /// What owners are called here, if not as in the archive.
    pub(super) map: Option<&'a IdMap>,
    /// Keep digests of what goes through.
    pub(super) learn: bool,
}

/// What is known of files by having unpacked them, as long as nobody else writes to them.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Digests of the content of small files, by inode number.
    pub digests: HashMap<u64, Digest>,
    /// Whether any entry has extended attributes.
    pub has_attributes: bool,
}

/// Unpacks an archive, plain or compressed, into the directory `place` of the tree.
pub(super) fn unpack(
    input: impl Read,
    root: &Root,
    place: &Path,
    options: UnpackOptions<'_>,
) -> Result<Unpacked> {
    let input = images::decompressed(BufReader::with_capacity(BUFFER, input))?;
    let mut reader = ArchiveReader::new(BufReader::with_capacity(BUFFER, input), NoRecorder);
    let unpacked = Unpacked::default();
    let mut unpacker = Unpacker { root, place, options, parent: None, times: Vec::new(), unpacked };
    while let Some(entry) = reader.next_entry()? {
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.finish();
    Ok(unpacker.unpacked)
}

struct Unpacker<'a> {
    root: &'a Root,
    place: &'a Path,
    options: UnpackOptions<'a>,
    /// The directory used last; most entries follow in the same one.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Times of directories, set when nothing in them changes any more.
    times: Vec<(PathBuf, Time)>,
    unpacked: Unpacked,
}

impl Unpacker<'_> {
    fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut ArchiveReader<R, NoRecorder>,
    ) -> Result<()> {
        let relative = self.inside(&entry.name)?;
        let path = self.place.join(&relative);
        let (Some(parent), Some(name)) = (path.parent(), relative.file_name()) else {
            // The directory itself.
            return Ok(());
        };
        let parent = self.open_parent(parent).map_err(|error| self.failed(entry, error))?;
        self.unpacked.has_attributes |= kept_attributes(entry).next().is_some();
        if entry.kind == EntryKind::File {
            return self.file(entry, reader, &parent, name);
        }
        self.clear(entry, &parent, name)?;
        let failed = |error: io::Error| self.failed(entry, error);
        let mode = Mode::from_raw_mode(0o700);
        match entry.kind {
            EntryKind::File | EntryKind::HardLink => {
                return self.hard_link(entry, &parent, name);
            }
            EntryKind::Directory => match rustix::fs::mkdirat(&parent, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno.into())),
            },
            EntryKind::Symlink => {
                let link = OsStr::from_bytes(&entry.link);
                rustix::fs::symlinkat(link, &parent, name).map_err(|e| failed(e.into()))?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let kind = match entry.kind {
                    EntryKind::CharDevice => FileType::CharacterDevice,
                    EntryKind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                rustix::fs::mknodat(&parent, name, kind, mode, device)
                    .map_err(|errno| failed(errno.into()))?;
            }
        }
        self.dress_name(entry, &parent, name).map_err(|errno| failed(errno.into()))?;
        if entry.kind == EntryKind::Directory && self.times.len() < MAX_TIMES {
            self.times.push((path, entry.mtime));
        }
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut ArchiveReader<R, NoRecorder>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = create();
        // Hardly ever is something there, so it is not looked for first.
        if file.as_ref().is_err_and(|errno| *errno == Errno::EXIST) {
            self.clear(entry, parent, name)?;
            file = create();
        }
        let mut file = File::from(file.map_err(|errno| self.failed(entry, errno.into()))?);
        let digest = self.content(entry, reader, &mut file)?;
        let done = self.dress_file(entry, &file).map_err(io::Error::from);
        if self.options.learn {
            let inode = done.and_then(|()| Ok(file.metadata()?.ino()));
            let inode = inode.map_err(|error| self.failed(entry, error))?;
            // A number that a file had before that is gone by now tells of this one.
            match digest {
                Some(digest) => drop(self.unpacked.digests.insert(inode, digest)),
                None => drop(self.unpacked.digests.remove(&inode)),
            }
            return Ok(());
        }
        done.map_err(|error| self.failed(entry, error))
    }

    /// Cleans the name of an entry; one that leads out of the place is refused.
    fn inside(&self, name: &[u8]) -> Result<PathBuf> {
        let mut path = PathBuf::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if !path.pop() {
                        return Err(Error::InvalidParameter(format!(
                            "{:?} is outside of {:?}",
                            String::from_utf8_lossy(name),
                            self.place
                        )));
                    }
                }
                part => path.push(OsStr::from_bytes(part)),
            }
        }
        Ok(path)
    }

    fn open_parent(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        if let Some((open, fd)) = &self.parent
            && open == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(self.root.create_dir_all(path, Mode::from_raw_mode(0o755))?);
        if super::path::is_pseudo(&fd)? {
            return Err(Errno::PERM.into());
        }
        self.parent = Some((path.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Takes away what stands where an entry goes, but for a directory where one goes.
    fn clear(&mut self, entry: &Entry, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        let failed = |errno: Errno| self.failed(entry, errno.into());
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let becomes_directory = entry.kind == EntryKind::Directory;
        if self.options.keep_kinds && is_directory != becomes_directory {
            let kind = |directory| if directory { "directory" } else { "non-directory" };
            return Err(Error::InvalidParameter(format!(
                "cannot overwrite {} {:?} with {} {:?}",
                kind(is_directory),
                self.place.join(name),
                kind(becomes_directory),
                String::from_utf8_lossy(&entry.name),
            )));
        }
        match (is_directory, becomes_directory) {
            (true, true) => Ok(()),
            (true, false) => {
                remove_tree(parent, name, 0).map_err(|error| self.failed(entry, error))?;
                self.parent = None;
                Ok(())
            }
            (false, _) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
                self.parent = None;
                Ok(())
            }
        }
    }

    /// Writes the content; tells its digest if it is small and that is wanted.
    fn content<R: BufRead>(
        &self,
        entry: &Entry,
        reader: &mut ArchiveReader<R, NoRecorder>,
        file: &mut File,
    ) -> Result<Option<Digest>> {
        let failed = |error| self.failed(entry, error);
        let whole = [Extent { offset: 0, length: entry.payload }];
        let extents = entry.sparse.as_deref().unwrap_or(&whole);
        let is_learnt = self.options.learn && entry.sparse.is_none() && entry.payload <= MAX_LEARNT;
        let mut hasher = is_learnt.then(Hasher::default);
        if entry.sparse.is_some() {
            file.set_len(entry.size).map_err(failed)?;
        }
        for extent in extents {
            if entry.sparse.is_some() {
                file.seek(SeekFrom::Start(extent.offset)).map_err(failed)?;
            }
            let mut left = extent.length;
            while left > 0 {
                let piece = reader.content()?;
                let size = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                if size == 0 {
                    return Err(Error::InvalidParameter(format!(
                        "archive ends inside of {:?}",
                        String::from_utf8_lossy(&entry.name)
                    )));
                }
                file.write_all(&piece[..size]).map_err(failed)?;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece[..size]);
                }
                reader.consume(size);
                left -= size as u64;
            }
        }
        Ok(hasher.map(Hasher::finish))
    }

    fn hard_link(&self, entry: &Entry, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        let target = self.place.join(self.inside(&entry.link)?);
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let linked = self.root.open_in_root(target, flags, Mode::empty()).and_then(|target| {
            Ok(rustix::fs::linkat(target, c"", parent, name, AtFlags::EMPTY_PATH)?)
        });
        linked.map_err(|error| self.failed(entry, error))
    }

    fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        let (mut uid, mut gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        if let Some(map) = self.options.map {
            // Who is nobody in the container cannot own anything there.
            uid = map.outside_uid(uid).or(map.outside_uid(0)).unwrap_or(uid);
            gid = map.outside_gid(gid).or(map.outside_gid(0)).unwrap_or(gid);
        }
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// The owner first: changing it takes set-id bits and capabilities away.
    fn dress_file(&self, entry: &Entry, file: &File) -> Result<(), Errno> {
        let (uid, gid) = self.owner(entry);
        rustix::fs::fchown(file, uid, gid)?;
        for (name, value) in kept_attributes(entry) {
            tolerate(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
        rustix::fs::futimens(file, &timestamps(entry.mtime))
    }

    fn dress_name(&self, entry: &Entry, parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        let (uid, gid) = self.owner(entry);
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        for (key, value) in kept_attributes(entry) {
            let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
            path.extend_from_slice(name.as_bytes());
            tolerate(rustix::fs::lsetxattr(path, key, value, XattrFlags::empty()))?;
        }
        if entry.kind != EntryKind::Symlink {
            chmod(parent.as_fd(), name, entry)?;
        }
        let times = timestamps(entry.mtime);
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn finish(&mut self) {
        for (path, time) in std::mem::take(&mut self.times) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            // Replaced later in the archive, or by the container: its time is no longer ours.
            if let Ok(directory) = self.root.open_in_root(&path, flags, Mode::empty()) {
                let _ = rustix::fs::futimens(directory, &timestamps(time));
            }
        }
    }

    /// Words a failure: the place's state, the entry's fault, or the disk's.
    fn failed(&self, entry: &Entry, source: io::Error) -> Error {
        let path = self.place.join(OsStr::from_bytes(&entry.name));
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            Some(Errno::ROFS) => Error::Forbidden(format!(
                "container rootfs or volume is marked read-only: {}",
                path.display()
            )),
            Some(
                Errno::NOTDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::XDEV
                | Errno::INVAL
                | Errno::NOENT
                | Errno::PERM
                | Errno::BUSY,
            ) => Error::InvalidParameter(format!("unpack {}: {source}", path.display())),
            _ => Error::Io { operation: "unpack", path, source },
        }
    }
}

/// Changes the mode of the very thing that was just made, even if a link took its place.
fn chmod(parent: std::os::fd::BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(entry.mode))
}

/// `trusted.*` steers overlayfs and stays ours.
fn kept_attributes(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let kept = |name: &[u8]| {
        (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
            || name == b"security.capability"
            || name.starts_with(b"system.posix_acl_")
    };
    let attributes = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    attributes.filter(move |(name, _)| kept(name) && !name.contains(&0))
}

/// A file system without extended attributes is no reason to fail.
fn tolerate(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        result => result,
    }
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Removes a directory with all that is in it, never through a link.
fn remove_tree(parent: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
    if depth > 400 {
        return Err(io::Error::other("directory is too deep to be replaced"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for child in Dir::read_from(&directory)? {
        let child = child?;
        let child = OsStr::from_bytes(child.file_name().to_bytes());
        if child == "." || child == ".." {
            continue;
        }
        match rustix::fs::unlinkat(&directory, child, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => remove_tree(&directory, child, depth + 1)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}
