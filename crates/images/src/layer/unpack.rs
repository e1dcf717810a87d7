//! Unpacking one layer archive into a directory for overlayfs.
//!
//! Whiteouts (`.wh.name`) become 0/0 character devices and `.wh..wh..opq` the opaque attribute, as
//! overlayfs wants them. A whiteout speaks of lower layers only: with an entry of the same name in the
//! same archive it makes a directory opaque and is else without effect, in whatever order they come.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::recipe::RecipeWriter;
use super::tree::{self, LayerPath, Tree};
use crate::archive::read::{ArchiveReader, Recorder};
use crate::archive::{Entry, EntryKind, Extent};
use crate::{Error, Result};

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";

/// Where the bytes around the content go.
pub(crate) enum Record {
    /// The archive is kept elsewhere.
    Discard,
    /// They become the layer's recipe.
    Recipe(RecipeWriter),
}

impl Recorder for Record {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Discard => Ok(()),
            Self::Recipe(recipe) => recipe.raw(bytes),
        }
    }
}

/// Unpacks an archive into `<layer>/diff` and returns the bytes of content in it. With a recipe, files
/// that the archive itself replaces move to `<layer>/replaced`.
///
/// # Errors
/// `InvalidArchive` and `InvalidEntry` for the archive's faults, `DiskFull`, `Io`.
pub(crate) fn unpack(input: impl BufRead, layer: &Path, record: Record) -> Result<u64> {
    unpack_given(input, layer, record, &|_| None)
}

/// The same where some of the files are on the disk already: `give` opens what is to be at a path, with
/// the content and all attributes that the archive says. It becomes the layer's own by a link.
///
/// # Errors
/// As [`unpack`].
pub(crate) fn unpack_given(
    input: impl BufRead,
    layer: &Path,
    record: Record,
    give: &dyn Fn(&[u8]) -> Option<OwnedFd>,
) -> Result<u64> {
    let mut unpacker = Unpacker {
        give,
        tree: Tree::open(&layer.join("diff"))?,
        layer,
        size: 0,
        files: HashMap::new(),
        recording: matches!(record, Record::Recipe(_)),
    };
    let mut reader = ArchiveReader::new(input, record);
    while let Some(entry) = reader.next_entry()? {
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.tree.finish()?;
    if let Record::Recipe(recipe) = reader.finish()? {
        recipe.finish()?;
    }
    Ok(unpacker.size)
}

struct Unpacker<'a> {
    give: &'a dyn Fn(&[u8]) -> Option<OwnedFd>,
    tree: Tree,
    layer: &'a Path,
    size: u64,
    /// Inode to number of each file with content, so that a replaced one can be found again.
    files: HashMap<u64, u64>,
    recording: bool,
}

impl Unpacker<'_> {
    fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut ArchiveReader<R, Record>,
    ) -> Result<()> {
        let path = LayerPath::clean(&entry.name)?;
        if path.bytes().is_empty() {
            return self.root(entry);
        }
        let (dir, name) = path.split();
        if name == OPAQUE_MARK {
            return self.opaque(&path, dir);
        }
        // Bookkeeping of a filesystem that images were made on long ago.
        if path.bytes().split(|b| *b == b'/').any(|part| part.starts_with(WHITEOUT_META)) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&path, hidden);
        }
        match entry.kind {
            EntryKind::Directory => self.directory(&path, entry),
            EntryKind::File => {
                self.clear(&path)?;
                self.file(&path, entry, reader)
            }
            EntryKind::HardLink => self.hard_link(&path, entry),
            _ => {
                self.clear(&path)?;
                self.special(&path, entry)
            }
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::entry(&entry.name, "the root is not a directory"));
        }
        tree::dress_name(self.tree.root(), b".", entry, false)
            .map_err(|source| self.tree.fail(b"", "set attributes of", source))?;
        self.tree.set_time_later(&LayerPath::clean(b"")?, entry.mtime);
        Ok(())
    }

    fn opaque(&mut self, path: &LayerPath, dir: &[u8]) -> Result<()> {
        let parent = self.tree.parent(path)?;
        let marked = tree::set_opaque(parent, b".");
        marked.map_err(|source| self.tree.fail(dir, "mark opaque", source))
    }

    fn whiteout(&mut self, path: &LayerPath, hidden: &[u8]) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::entry(path.bytes(), "a whiteout of nothing"));
        }
        let parent = self.tree.parent(path)?;
        let result = match tree::existing(parent, hidden) {
            Ok(None) => {
                rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
            }
            Ok(Some(stat)) if tree::is_dir(&stat) => tree::set_opaque(parent, hidden),
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error),
        };
        result.map_err(|source| self.tree.fail(path.bytes(), "make whiteout", source))
    }

    fn directory(&mut self, path: &LayerPath, entry: &Entry) -> Result<()> {
        let name = path.split().1;
        let parent = self.tree.parent(path)?;
        let stat = tree::existing(parent, name)
            .map_err(|source| self.tree.fail(path.bytes(), "stat", source))?;
        if !stat.as_ref().is_some_and(tree::is_dir) {
            let hides_lower = stat.as_ref().is_some_and(tree::is_whiteout);
            if stat.is_some() {
                self.clear(path)?;
            }
            let parent = self.tree.parent(path)?;
            let mut made = rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
            if hides_lower {
                made = made.and_then(|()| tree::set_opaque(parent, name));
            }
            made.map_err(|source| self.tree.fail(path.bytes(), "make directory", source))?;
        }
        let parent = self.tree.parent(path)?;
        tree::dress_name(parent, name, entry, false)
            .map_err(|source| self.tree.fail(path.bytes(), "set attributes of", source))?;
        self.tree.set_time_later(path, entry.mtime);
        Ok(())
    }

    /// Makes room for an entry that is not a directory.
    fn clear(&mut self, path: &LayerPath) -> Result<()> {
        let name = path.split().1;
        let parent = self.tree.parent(path)?;
        let stat = tree::existing(parent, name)
            .map_err(|source| self.tree.fail(path.bytes(), "stat", source))?;
        let Some(stat) = stat else { return Ok(()) };
        if tree::is_dir(&stat) {
            self.remove_dir(path)?;
        } else if let Some(number) =
            self.files.get(&stat.st_ino).copied().filter(|_| self.recording)
        {
            self.keep_replaced(path, number)?;
        } else {
            let parent = self.tree.parent(path)?;
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
                .map_err(|source| self.tree.fail(path.bytes(), "remove", source))?;
        }
        self.tree.forget_parent();
        Ok(())
    }

    /// Removes a directory that the archive replaces by something else.
    fn remove_dir(&mut self, path: &LayerPath) -> Result<()> {
        let name = path.split().1;
        let parent = self.tree.parent(path)?;
        if self.recording {
            // Its files' content would be lost for the recipe; an empty one may go.
            return match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    Err(Error::entry(path.bytes(), "it replaces a directory that is not empty"))
                }
                Err(source) => Err(self.tree.fail(path.bytes(), "remove", source)),
                Ok(()) => Ok(()),
            };
        }
        crate::store::delete::delete_at(parent, name)
            .map_err(|source| self.tree.fail(path.bytes(), "remove", source))
    }

    fn keep_replaced(&mut self, path: &LayerPath, number: u64) -> Result<()> {
        let kept = self.layer.join("replaced");
        std::fs::create_dir_all(&kept).map_err(|source| Error::io("create", &kept, source))?;
        let name = path.split().1;
        let parent = self.tree.parent(path)?;
        rustix::fs::renameat(parent, name, rustix::fs::CWD, kept.join(number.to_string()))
            .map_err(|source| self.tree.fail(path.bytes(), "move aside", source))
    }

    fn file<R: BufRead>(
        &mut self,
        path: &LayerPath,
        entry: &Entry,
        reader: &mut ArchiveReader<R, Record>,
    ) -> Result<()> {
        if entry.sparse.is_none() && self.link_given(path, entry, reader)? {
            return Ok(());
        }
        let name = path.split().1;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = self.tree.parent(path)?;
        let opened = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let file: File =
            opened.map_err(|source| self.tree.fail(path.bytes(), "create", source))?.into();
        if entry.payload > 0 {
            self.number(path, &file)?;
        }
        let whole = [Extent { offset: 0, length: entry.size }];
        let extents = entry.sparse.as_deref().unwrap_or(&whole);
        for extent in extents.iter().filter(|extent| extent.length > 0) {
            self.content(path, &file, *extent, reader)?;
        }
        if entry.sparse.is_some() {
            let sized = rustix::fs::ftruncate(&file, entry.size);
            sized.map_err(|source| self.tree.fail(path.bytes(), "resize", source))?;
        }
        self.size += entry.payload;
        tree::dress_file(&file, entry)
            .map_err(|source| self.tree.fail(path.bytes(), "set attributes of", source))
    }

    /// Takes a file that is there already; tells whether there was one.
    fn link_given<R: BufRead>(
        &mut self,
        path: &LayerPath,
        entry: &Entry,
        reader: &mut ArchiveReader<R, Record>,
    ) -> Result<bool> {
        let Some(given) = (self.give)(path.bytes()) else { return Ok(false) };
        let parent = self.tree.parent(path)?;
        let linked =
            rustix::fs::linkat(&given, "", parent, path.split().1, AtFlags::EMPTY_PATH).is_ok();
        // On another file system, or with too many names: its content is in the archive as well.
        if !linked {
            return Ok(false);
        }
        if entry.payload > 0 {
            self.number(path, given)?;
        }
        let mut left = entry.size;
        while left > 0 {
            let length = reader.content()?.len();
            if length == 0 {
                return Err(too_short(path));
            }
            reader.consume(length);
            left = left.saturating_sub(length as u64);
        }
        if let Record::Recipe(recipe) = &mut reader.recorder
            && entry.size > 0
        {
            let whole = Extent { offset: 0, length: entry.size };
            recipe.content(path.bytes(), self.files.len() as u64, whole)?;
        }
        self.size += entry.payload;
        Ok(true)
    }

    fn number(&mut self, path: &LayerPath, file: impl AsFd) -> Result<()> {
        if self.recording {
            let stat = rustix::fs::fstat(file)
                .map_err(|source| self.tree.fail(path.bytes(), "stat", source))?;
            // Replaced files stay, so an inode number is never used twice.
            self.files.insert(stat.st_ino, self.files.len() as u64 + 1);
        }
        Ok(())
    }

    fn content<R: BufRead>(
        &mut self,
        path: &LayerPath,
        file: &File,
        extent: Extent,
        reader: &mut ArchiveReader<R, Record>,
    ) -> Result<()> {
        let mut done = 0;
        while done < extent.length {
            let piece = reader.content()?;
            if piece.is_empty() {
                return Err(too_short(path));
            }
            let left = usize::try_from(extent.length - done).unwrap_or(usize::MAX);
            let length = piece.len().min(left);
            file.write_all_at(&piece[..length], extent.offset + done)
                .map_err(|source| self.tree.fail(path.bytes(), "write", source))?;
            reader.consume(length);
            done += length as u64;
        }
        if let Record::Recipe(recipe) = &mut reader.recorder {
            recipe.content(path.bytes(), self.files.len() as u64, extent)?;
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &LayerPath, entry: &Entry) -> Result<()> {
        let target = LayerPath::clean(&entry.link)?;
        let wrong = |problem| Error::entry(path.bytes(), problem);
        if target.bytes().is_empty() || target == *path {
            return Err(wrong("a hard link to itself or to the root"));
        }
        // Looked up before anything of the same name is cleared away.
        let name = target.split().1;
        let dir = self.tree.existing_parent(&target)?;
        let dir = dir.ok_or_else(|| wrong("its target is not in the archive"))?;
        let stat = tree::existing(dir.as_fd(), name)
            .map_err(|source| self.tree.fail(target.bytes(), "stat", source))?;
        match stat {
            None => return Err(wrong("its target is not in the archive")),
            Some(stat) if tree::is_dir(&stat) => return Err(wrong("a hard link to a directory")),
            Some(stat) if tree::is_whiteout(&stat) => {
                return Err(wrong("a hard link to a whiteout"));
            }
            Some(_) => {}
        }
        self.clear(path)?;
        let parent = self.tree.parent(path)?;
        rustix::fs::linkat(&dir, name, parent, path.split().1, AtFlags::empty()).map_err(|source| {
            match source {
                Errno::NOENT => wrong("its target is replaced by itself"),
                source => self.tree.fail(path.bytes(), "link", source),
            }
        })
    }

    fn special(&mut self, path: &LayerPath, entry: &Entry) -> Result<()> {
        let name = path.split().1;
        let parent = self.tree.parent(path)?;
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        let mode = Mode::from_raw_mode(0o600);
        let made = match entry.kind {
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
        let made = made.and_then(|()| tree::dress_name(parent, name, entry, is_link));
        made.map_err(|source| match source {
            Errno::INVAL | Errno::NAMETOOLONG | Errno::NOENT if is_link => {
                Error::entry(path.bytes(), "a symbolic link with an impossible target")
            }
            source => self.tree.fail(path.bytes(), "create", source),
        })
    }
}

fn too_short(path: &LayerPath) -> Error {
    Error::entry(path.bytes(), "its content is shorter than its header says")
}

#[cfg(test)]
mod tests;
