//! Making a layer of a container's writable directory: archive, digest and a directory of its own.
//!
//! Every file is read once: the bytes go to the new layer's directory and, in a thread of its own, into
//! the digest. The archive itself is not stored; headers go to the recipe. So committing costs one read
//! and one write of the content and no compression. Where the filesystem can share extents between
//! files, it does not even cost the write.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::changes::is_opaque;
use super::recipe::RecipeWriter;
use super::tree::{self, LayerPath, Tree, is_whiteout, proc_path};
use super::walk::{self, Item, Visitor};
use crate::archive::read::Recorder as _;
use crate::archive::{Entry, EntryKind, Extent, Time, write};
use crate::{Digest, Error, Hasher, Result};

const CHUNK: usize = 256 << 10;
const QUEUE: usize = 8;
/// A file in more pieces than this is archived with its holes filled.
const MAX_EXTENTS: usize = 4096;

/// A layer made of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    pub(crate) archive_size: u64,
    /// Nothing was changed at all.
    pub(crate) is_empty: bool,
}

/// Copies `upper` to `<layer>/diff` and writes `<layer>/recipe`. No file becomes newer than `newest`.
///
/// # Errors
/// `DiskFull`, `Io`; `Conflict` for what overlayfs left in a form that has no archive.
pub(crate) fn pack(upper: &Path, layer: &Path, newest: Option<i64>) -> Result<Packed> {
    thread::scope(|scope| {
        let (to_hash, chunks) = sync_channel(QUEUE);
        let (used, recycled) = channel();
        let hasher = scope.spawn(move || {
            let mut hasher = Hasher::default();
            let mut archive_size = 0;
            for chunk in chunks {
                let chunk: Vec<u8> = chunk;
                hasher.update(&chunk);
                archive_size += chunk.len() as u64;
                let _ = used.send(chunk); // The packer has ended.
            }
            (hasher.finish(), archive_size)
        });
        let mut packer = Packer {
            upper,
            newest,
            tree: Tree::open(&layer.join("diff"))?,
            recipe: RecipeWriter::create(&layer.join("recipe"))?,
            to_hash,
            recycled,
            links: HashMap::new(),
            files: 0,
            size: 0,
            entries: 0,
            can_clone: true,
        };
        let walked = walk::walk(upper, &mut packer).and_then(|()| packer.raw(&write::END));
        let Packer { tree, recipe, to_hash, size, entries, .. } = packer;
        drop(to_hash);
        let joined = hasher.join().map_err(|_| Error::Internal("hashing panicked".into()))?;
        let (diff_id, archive_size) = joined;
        walked?;
        tree.finish()?;
        recipe.finish()?;
        Ok(Packed { diff_id, size, archive_size, is_empty: entries == 0 })
    })
}

struct Packer<'a> {
    upper: &'a Path,
    newest: Option<i64>,
    tree: Tree,
    recipe: RecipeWriter,
    to_hash: SyncSender<Vec<u8>>,
    recycled: Receiver<Vec<u8>>,
    /// The first path of each file that has several.
    links: HashMap<u64, Vec<u8>>,
    files: u64,
    size: u64,
    entries: u64,
    can_clone: bool,
}

impl Visitor for Packer<'_> {
    fn enter(&mut self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        if path.is_empty() || !is_opaque(dir, b".") {
            return Ok(());
        }
        let mark = LayerPath::clean(&[path, b"/.wh..wh..opq"].concat())?;
        self.header(&Entry::new(mark.bytes(), EntryKind::File))?;
        let parent = self.tree.parent(&mark)?;
        let marked = tree::set_opaque(parent, b".");
        marked.map_err(|source| self.tree.fail(path, "mark opaque", source))
    }

    fn item(&mut self, item: &Item<'_>) -> Result<()> {
        if is_whiteout(item.stat) {
            return self.whiteout(item);
        }
        let Some(kind) = kind(item.stat) else { return Ok(()) };
        // Such a name means something else in an archive.
        if item.name.starts_with(b".wh.") {
            tracing::warn!(path = %walk::shown(self.upper, item.path).display(), "reserved name left out");
            return Ok(());
        }
        let mut entry = describe(item, kind);
        entry.mtime = self.clamped(entry.mtime);
        if kind != EntryKind::Directory && item.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&item.stat.st_ino).cloned() {
                return self.link(&entry, item, first);
            }
            self.links.insert(item.stat.st_ino, item.path.to_vec());
        }
        let path = LayerPath::clean(item.path)?;
        if kind == EntryKind::File {
            return self.file(&path, &mut entry, item);
        }
        entry.xattrs = match self.xattrs(&proc_path(item.dir, item.name), item)? {
            Some(xattrs) => xattrs,
            None => return Ok(()),
        };
        self.special(&path, entry, item)
    }
}

impl Packer<'_> {
    fn fail(
        &self,
        item: &Item<'_>,
        operation: &'static str,
        source: impl Into<io::Error>,
    ) -> Error {
        Error::io(operation, walk::shown(self.upper, item.path), source)
    }

    fn clamped(&self, time: Time) -> Time {
        match self.newest {
            Some(newest) if time.secs >= newest => Time { secs: newest, nanos: 0 },
            _ => time,
        }
    }

    /// Appends archive bytes that are no file's content.
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.recipe.raw(bytes)?;
        self.hash(bytes.to_vec())
    }

    fn hash(&mut self, chunk: Vec<u8>) -> Result<()> {
        self.to_hash.send(chunk).map_err(|_| Error::Internal("hashing stopped".into()))
    }

    fn header(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        self.raw(&write::header(entry))
    }

    fn whiteout(&mut self, item: &Item<'_>) -> Result<()> {
        let path = LayerPath::clean(item.path)?;
        let (dir, name) = path.split();
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        let mut entry = Entry::new([dir, slash, b".wh.", name].concat(), EntryKind::File);
        entry.mtime = self.clamped(time(item.stat));
        self.header(&entry)?;
        let parent = self.tree.parent(&path)?;
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|source| self.tree.fail(path.bytes(), "make whiteout", source))
    }

    fn link(&mut self, entry: &Entry, item: &Item<'_>, first: Vec<u8>) -> Result<()> {
        let path = LayerPath::clean(item.path)?;
        let target = LayerPath::clean(&first)?;
        let Some(dir) = self.tree.existing_parent(&target)? else { return Ok(()) };
        let parent = self.tree.parent(&path)?;
        let name = path.split().1;
        match rustix::fs::linkat(&dir, target.split().1, parent, name, AtFlags::empty()) {
            // The first name vanished before it could be copied.
            Err(Errno::NOENT) => return Ok(()),
            result => result.map_err(|source| self.tree.fail(path.bytes(), "link", source))?,
        }
        let mut entry = Entry { kind: EntryKind::HardLink, link: first, ..entry.clone() };
        entry.xattrs.clear();
        self.header(&entry)
    }

    fn special(&mut self, path: &LayerPath, mut entry: Entry, item: &Item<'_>) -> Result<()> {
        if entry.kind == EntryKind::Symlink {
            entry.link = match rustix::fs::readlinkat(item.dir, item.name, Vec::new()) {
                Ok(link) => link.into_bytes(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(source) => return Err(self.fail(item, "read", source)),
            };
        }
        let name = path.split().1;
        let parent = self.tree.parent(path)?;
        let mode = Mode::from_raw_mode(0o700);
        let device = item.stat.st_rdev;
        let made = match entry.kind {
            EntryKind::Directory => rustix::fs::mkdirat(parent, name, mode),
            EntryKind::Symlink => rustix::fs::symlinkat(entry.link.as_slice(), parent, name),
            EntryKind::CharDevice => {
                rustix::fs::mknodat(parent, name, FileType::CharacterDevice, mode, device)
            }
            EntryKind::BlockDevice => {
                rustix::fs::mknodat(parent, name, FileType::BlockDevice, mode, device)
            }
            _ => rustix::fs::mknodat(parent, name, FileType::Fifo, mode, 0),
        };
        let is_link = entry.kind == EntryKind::Symlink;
        made.and_then(|()| tree::dress_name(parent, name, &entry, is_link))
            .map_err(|source| self.tree.fail(path.bytes(), "create", source))?;
        if entry.kind == EntryKind::Directory {
            self.tree.set_time_later(path, entry.mtime);
            entry.name.push(b'/');
        }
        self.header(&entry)
    }

    fn file(&mut self, path: &LayerPath, entry: &mut Entry, item: &Item<'_>) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source: File = match rustix::fs::openat(item.dir, item.name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(source) => return Err(self.fail(item, "open", source)),
        };
        let stat = rustix::fs::fstat(&source).map_err(|source| self.fail(item, "stat", source))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let by_fd = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&source));
        entry.xattrs = self.xattrs(by_fd.as_bytes(), item)?.unwrap_or_default();
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.sparse = extents(&source, &stat).map_err(|source| self.fail(item, "read", source))?;
        let whole = vec![Extent { offset: 0, length: entry.size }];
        let extents = entry.sparse.clone().unwrap_or(whole);
        entry.payload = extents.iter().map(|extent| extent.length).sum();
        self.header(entry)?;
        let name = path.split().1;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let parent = self.tree.parent(path)?;
        let created = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let target: File =
            created.map_err(|source| self.tree.fail(path.bytes(), "create", source))?.into();
        if entry.payload > 0 {
            self.files += 1;
        }
        let cloned = self.clone_content(&source, &target, entry.payload);
        // What is hashed must be what is kept, even if the container writes meanwhile.
        let copy = match cloned {
            true => Copy { source: &target, target: None, path },
            false => Copy { source: &source, target: Some(&target), path },
        };
        for extent in extents.into_iter().filter(|extent| extent.length > 0) {
            self.content(&copy, extent)?;
        }
        self.raw(write::padding(entry.payload))?;
        rustix::fs::ftruncate(&target, entry.size)
            .and_then(|()| tree::dress_file(&target, entry))
            .map_err(|source| self.tree.fail(path.bytes(), "set attributes of", source))?;
        self.size += entry.payload;
        Ok(())
    }

    /// Shares the content between source and target where the filesystem can.
    fn clone_content(&mut self, source: &File, target: &File, payload: u64) -> bool {
        if !self.can_clone || payload == 0 {
            return false;
        }
        match rustix::fs::ioctl_ficlone(target, source) {
            Ok(()) => true,
            Err(_) => {
                self.can_clone = false;
                false
            }
        }
    }

    fn content(&mut self, copy: &Copy<'_>, extent: Extent) -> Result<()> {
        let mut done = 0;
        while done < extent.length {
            let left = usize::try_from(extent.length - done).unwrap_or(usize::MAX);
            let mut chunk = self.recycled.try_recv().unwrap_or_default();
            chunk.resize(left.min(CHUNK), 0);
            let at = extent.offset + done;
            let read = read_at(copy.source, &mut chunk, at).map_err(|source| {
                Error::io("read", walk::shown(self.upper, copy.path.bytes()), source)
            })?;
            // Cut short while being read: the archive has promised its size already.
            chunk[read..].fill(0);
            if let Some(target) = copy.target {
                target
                    .write_all_at(&chunk, at)
                    .map_err(|source| self.tree.fail(copy.path.bytes(), "write", source))?;
            }
            done += chunk.len() as u64;
            self.hash(chunk)?;
        }
        self.recipe.content(copy.path.bytes(), self.files, extent)
    }

    /// Returns the attributes that belong into an archive, sorted; `None` when the file has vanished.
    fn xattrs(&self, path: &[u8], item: &Item<'_>) -> Result<Option<Xattrs>> {
        let follow = item.stat.st_mode & 0o170_000 == 0o100_000;
        let names = match list_xattrs(path, follow) {
            Ok(names) => names,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::OPNOTSUPP) => return Ok(Some(Vec::new())),
            Err(source) => return Err(self.fail(item, "list attributes of", source)),
        };
        let mut found = Vec::new();
        for name in names {
            if matches!(name.as_slice(), b"trusted.overlay.redirect" | b"trusted.overlay.metacopy")
            {
                return Err(Error::Conflict(format!(
                    "{} was renamed or copied by reference by overlayfs: mount with \
                     redirect_dir=off,metacopy=off to commit",
                    walk::shown(self.upper, item.path).display()
                )));
            }
            if tree::is_kept_xattr(&name) {
                match get_xattr(path, &name, follow) {
                    Ok(value) => found.push((name, value)),
                    Err(Errno::NODATA | Errno::NOENT) => {}
                    Err(source) => return Err(self.fail(item, "read attribute of", source)),
                }
            }
        }
        found.sort();
        Ok(Some(found))
    }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

struct Copy<'a> {
    source: &'a File,
    /// `None` when the content is shared already.
    target: Option<&'a File>,
    path: &'a LayerPath,
}

fn kind(stat: &Stat) -> Option<EntryKind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::Fifo => EntryKind::Fifo,
        // A socket without its process is nothing, and tar has no word for it.
        _ => return None,
    })
}

fn time(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

fn describe(item: &Item<'_>, kind: EntryKind) -> Entry {
    let mut entry = Entry::new(item.path, kind);
    entry.mode = item.stat.st_mode & 0o7777;
    (entry.uid, entry.gid) = (item.stat.st_uid, item.stat.st_gid);
    entry.mtime = time(item.stat);
    let device = item.stat.st_rdev;
    entry.device = (rustix::fs::major(device), rustix::fs::minor(device));
    entry
}

/// Finds the runs of content of a file with holes; `None` for one without.
fn extents(file: &File, stat: &Stat) -> Result<Option<Vec<Extent>>, Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if u64::try_from(stat.st_blocks).unwrap_or(0) * 512 >= size {
        return Ok(None);
    }
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(offset) => offset,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(offset))?.min(size);
        if offset >= end || extents.len() == MAX_EXTENTS {
            return Ok(None);
        }
        extents.push(Extent { offset, length: end - offset });
        at = end;
    }
    // GNU tar takes the file's size from the end of the last piece.
    if extents.last().is_none_or(|last| last.offset + last.length < size) {
        extents.push(Extent { offset: size, length: 0 });
    }
    Ok(Some(extents))
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn list_xattrs(path: &[u8], follow: bool) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 1024];
    let length = loop {
        let listed = match follow {
            true => rustix::fs::listxattr(path, buffer.as_mut_slice()),
            false => rustix::fs::llistxattr(path, buffer.as_mut_slice()),
        };
        match listed {
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(1 << 17, 0),
            result => break result?,
        }
    };
    let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

fn get_xattr(path: &[u8], name: &[u8], follow: bool) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 1 << 16];
    let length = match follow {
        true => rustix::fs::getxattr(path, name, value.as_mut_slice())?,
        false => rustix::fs::lgetxattr(path, name, value.as_mut_slice())?,
    };
    value.truncate(length);
    Ok(value)
}

#[cfg(test)]
mod tests;
