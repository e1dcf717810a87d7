//! A context that is still the archive it came in: what is in it is known, no file is made of it yet.
//!
//! ```text
//! stream ──decompressed──> held archive (one file without a name)
//!             └─────────> names, attributes, digests      a build whose steps are all known ends here
//! held archive ──unpacked──> the context's directory       at the first look at a file
//! ```
//! Only what unpacking makes exactly as the archive says is held: an archive with anything else in it
//! is unpacked at once, what was read of it first.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use images::archive::read::{ArchiveReader, NoRecorder};
use images::archive::{Entry, EntryKind, Time};
use images::{Digest, Hasher};
use linux::fs::Root;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::tree::{Node, joined, remove};
use crate::{Error, Result};

/// Archives of more bytes, plain, are unpacked at once: they would be written twice.
const MAX_BYTES: u64 = 256 << 20;
/// So are those with a larger file, which is better hashed afterwards, beside others.
const MAX_FILE: u64 = 8 << 20;
/// So are those of more entries: what is known of each is in memory.
const MAX_ENTRIES: usize = 100_000;
/// As the kernel has it.
const MAX_NAME: usize = 255;
/// As the kernel has it, with the directory of the context in front.
const MAX_PATH: usize = 3000;
/// No device has this number, so that no file seems to be one of a real tree.
const DEVICE: u64 = u64::MAX;

/// What every file system can tell, in seconds since the epoch.
const MAX_TIME: u32 = i32::MAX.cast_unsigned();

const BUFFER: usize = 256 << 10;

/// The archive and what is in it.
#[derive(Debug)]
pub(crate) struct Held {
    directory: PathBuf,
    /// Held for a lookup, and while the archive is unpacked.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    known: Known,
    archive: File,
    is_unpacked: bool,
    /// What was taken out of the tree, and is not to be on the disk either.
    removed: Vec<Vec<u8>>,
}

/// What a context turned out to be.
pub(crate) enum Received {
    Held(Box<Held>),
    Unpacked(engine::archive::Unpacked),
}

/// Takes a context, plain or compressed, that is to be in `directory`, which is empty; `place` is a name
/// for the file that holds it, used for a moment. Blocks.
///
/// # Errors
/// Those of the archive and of the disk.
pub(crate) fn receive(input: impl Read, directory: &Path, place: &Path) -> Result<Received> {
    let archive = File::options().read(true).write(true).create_new(true).open(place);
    let mut archive = archive.map_err(Error::io("create", place.display()))?;
    std::fs::remove_file(place).map_err(Error::io("remove", place.display()))?;
    let input = images::decompressed(BufReader::with_capacity(BUFFER, input))?;
    let mut copied = Copied { input, archive: &archive, ended: None };
    let known = Known::read(&mut copied, directory)?;
    let Copied { input, ended, .. } = copied;
    let input_error = match ended {
        Some(Ended::Archive(error)) => return Err(Error::io("write", place.display())(error)),
        Some(Ended::Input(error)) => Some(error),
        None => None,
    };
    if let Some(known) = known {
        let state = State { known, archive, is_unpacked: false, removed: Vec::new() };
        let held = Held { directory: directory.to_owned(), state: Mutex::new(state) };
        return Ok(Received::Held(Box::new(held)));
    }
    archive.seek(SeekFrom::Start(0)).map_err(Error::io("read", place.display()))?;
    let rest = Failing(input_error).chain(input);
    let unpacked = engine::archive::unpack_into(archive.chain(rest), directory)?;
    Ok(Received::Unpacked(unpacked))
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes files of the archive, once.
    pub(crate) fn unpack(&self) -> Result<()> {
        let mut state = self.lock();
        if state.is_unpacked {
            return Ok(());
        }
        let shown = self.directory.display();
        state
            .archive
            .seek(SeekFrom::Start(0))
            .map_err(Error::io("read the archive for", &shown))?;
        engine::archive::unpack_into(&state.archive, &self.directory)?;
        let root = Root::open(&self.directory).map_err(Error::io("open", &shown))?;
        for path in &state.removed {
            remove(&root, path).map_err(Error::io("remove", crate::tree::shown(path).display()))?;
        }
        state.is_unpacked = true;
        Ok(())
    }

    pub(crate) fn stat(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        let state = self.lock();
        Ok(state.known.find(path)?.map(|known| state.known.stat(known)))
    }

    pub(crate) fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        match self.lock().known.find(path)? {
            Some(known) if known.kind == FileType::Symlink => Ok(known.link.clone()),
            Some(_) => Err(Errno::INVAL.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Lists a directory by name, sorted.
    pub(crate) fn list(&self, path: &[u8]) -> io::Result<Vec<Node>> {
        let state = self.lock();
        let known = &state.known;
        match known.find(path)? {
            // The root is no entry.
            None if path.is_empty() => {}
            Some(found) if found.kind == FileType::Directory => {}
            Some(_) => return Err(Errno::NOTDIR.into()),
            None => return Err(Errno::NOENT.into()),
        }
        let names = known.children.get(path).into_iter().flatten();
        let nodes = names.filter_map(|name| {
            let path = joined(path, name);
            let found = known.files.get(&path)?;
            Some(Node { stat: known.stat(found), link: found.link.clone(), path })
        });
        Ok(nodes.collect())
    }

    /// The digest of a file's content.
    pub(crate) fn digest(&self, path: &[u8]) -> Option<Digest> {
        self.lock().known.files.get(path)?.content.as_ref().map(|content| content.digest)
    }

    /// Reads a file from the archive.
    pub(crate) fn read(&self, path: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let found = state.known.find(path)?.ok_or(Errno::NOENT)?;
        let content = found.content.as_ref().ok_or(Errno::INVAL)?;
        if content.size > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(content.size).unwrap_or(usize::MAX)];
        state.archive.read_exact_at(&mut bytes, content.offset)?;
        Ok(bytes)
    }

    /// Takes a file out of the tree.
    pub(crate) fn remove(&self, path: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        match state.known.find(path)? {
            None => return Err(Errno::NOENT.into()),
            Some(found) if found.kind == FileType::Directory => return Err(Errno::ISDIR.into()),
            Some(_) => {}
        }
        let (parent, name) = split(path);
        state.known.files.remove(path);
        if let Some(names) = state.known.children.get_mut(parent) {
            names.remove(name);
        }
        state.removed.push(path.to_vec());
        match state.is_unpacked {
            true => remove(&Root::open(&self.directory)?, path),
            false => Ok(()),
        }
    }
}

/// What is in the archive, by path; the root is the empty path.
#[derive(Debug)]
struct Known {
    files: HashMap<Vec<u8>, Made>,
    /// Names in each directory that is not empty.
    children: HashMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// How many names a file with several has, by its number.
    names: HashMap<u64, u32>,
    /// That of the directory, of which others are made.
    root: Stat,
}

/// Something that will be made of an entry.
#[derive(Debug, Clone)]
struct Made {
    kind: FileType,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
    /// As an inode's: names of one file share it.
    number: u64,
    /// The target of a symbolic link.
    link: Vec<u8>,
    /// That of a regular file.
    content: Option<Content>,
}

#[derive(Debug, Clone)]
struct Content {
    offset: u64,
    size: u64,
    digest: Digest,
}

impl Known {
    /// Lists an archive; `None` if it cannot be held, or not be read.
    fn read(input: impl Read, directory: &Path) -> Result<Option<Self>> {
        let root = rustix::fs::stat(directory).map_err(io::Error::from);
        let root = root.map_err(Error::io("stat", directory.display()))?;
        let (files, children, names) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut known = Self { files, children, names, root };
        let position = Rc::new(Cell::new(0));
        let input = BufReader::with_capacity(BUFFER, input);
        let input = Counted { input, position: Rc::clone(&position) };
        let mut reader = ArchiveReader::new(input, NoRecorder);
        loop {
            let Ok(entry) = reader.next_entry() else { return Ok(None) };
            let Some(entry) = entry else { return Ok(Some(known)) };
            let offset = position.get();
            let is_large = entry.payload > MAX_FILE || offset + entry.payload > MAX_BYTES;
            if is_large || known.files.len() >= MAX_ENTRIES {
                return Ok(None);
            }
            let content = match entry.kind {
                EntryKind::File => hash(&mut reader, entry.payload)
                    .map(|digest| Some(Content { offset, size: entry.payload, digest })),
                _ => Some(None),
            };
            let Some(content) = content else { return Ok(None) };
            if known.add(entry, content).is_none() {
                return Ok(None);
            }
        }
    }

    /// Adds an entry; `None` if unpacking it is more than making it beside the others.
    fn add(&mut self, entry: Entry, content: Option<Content>) -> Option<()> {
        let path = cleaned(&entry.name)?;
        if path.is_empty() {
            // The directory itself, which is left as it is.
            return (entry.kind == EntryKind::Directory).then_some(());
        }
        let (parent, name) = split(&path);
        let has_parent = parent.is_empty()
            || self.files.get(parent).is_some_and(|made| made.kind == FileType::Directory);
        if !has_parent || self.files.contains_key(&path) {
            return None;
        }
        let made = match entry.kind {
            EntryKind::HardLink => {
                let target = self.files.get(&cleaned(&entry.link)?)?;
                let made = target.clone();
                made.content.as_ref()?;
                *self.names.entry(made.number).or_insert(1) += 1;
                made
            }
            _ => self.made(entry, content)?,
        };
        self.children.entry(parent.to_vec()).or_default().insert(name.to_vec());
        self.files.insert(path, made);
        Some(())
    }

    fn made(&self, entry: Entry, content: Option<Content>) -> Option<Made> {
        let kind = match entry.kind {
            EntryKind::File => FileType::RegularFile,
            EntryKind::Directory => FileType::Directory,
            EntryKind::Symlink => FileType::Symlink,
            _ => return None,
        };
        let is_link = kind == FileType::Symlink;
        let fits = entry.sparse.is_none()
            && entry.xattrs.is_empty()
            // That number means that nothing is to be changed.
            && entry.uid != u32::MAX
            && entry.gid != u32::MAX
            && u32::try_from(entry.mtime.secs).is_ok_and(|secs| secs <= MAX_TIME)
            && is_link != entry.link.is_empty()
            && entry.link.len() < MAX_PATH
            && !entry.link.contains(&0);
        fits.then_some(Made {
            kind,
            mode: if is_link { 0o777 } else { entry.mode & 0o7777 },
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            number: self.files.len() as u64,
            link: entry.link,
            content,
        })
    }

    /// Looks something up that has no links in front of its last name.
    fn find(&self, path: &[u8]) -> io::Result<Option<&Made>> {
        if let Some(made) = self.files.get(path) {
            return Ok(Some(made));
        }
        let mut above = split(path).0;
        while !above.is_empty() {
            match self.files.get(above) {
                Some(made) if made.kind == FileType::Directory => break,
                Some(_) => return Err(Errno::NOTDIR.into()),
                None => above = split(above).0,
            }
        }
        Ok(None)
    }

    fn stat(&self, made: &Made) -> Stat {
        let mut stat = self.root;
        stat.st_dev = DEVICE;
        stat.st_rdev = 0;
        stat.st_ino = made.number;
        stat.st_nlink = self.names.get(&made.number).copied().unwrap_or(1).into();
        stat.st_mode = made.kind.as_raw_mode() | made.mode;
        stat.st_uid = made.uid;
        stat.st_gid = made.gid;
        // That of a link is its target's.
        let size = made.content.as_ref().map_or(made.link.len() as u64, |content| content.size);
        stat.st_size = size.cast_signed();
        stat.st_mtime = made.mtime.secs;
        stat.st_mtime_nsec = made.mtime.nanos.into();
        stat
    }
}

/// A path without what is left out of paths; `None` if it leads up, or no file system takes it.
fn cleaned(name: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part if part.len() > MAX_NAME || part.contains(&0) => return None,
            part => path = joined(&path, part),
        }
    }
    (path.len() < MAX_PATH).then_some(path)
}

/// The directory of a path, and its name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Hashes the content of the present entry; `None` if it ends too early.
fn hash<R: BufRead>(reader: &mut ArchiveReader<R, NoRecorder>, size: u64) -> Option<Digest> {
    let mut hasher = Hasher::default();
    let mut left = size;
    while left > 0 {
        let piece = reader.content().ok()?;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        if length == 0 {
            return None;
        }
        hasher.update(&piece[..length]);
        reader.consume(length);
        left -= length as u64;
    }
    Some(hasher.finish())
}

/// Writes down what is read.
struct Copied<'a, R> {
    input: R,
    archive: &'a File,
    ended: Option<Ended>,
}

/// Why nothing more can be read.
enum Ended {
    /// The input's error, which is told once more to whoever goes on reading.
    Input(io::Error),
    Archive(io::Error),
}

impl<R: Read> Read for Copied<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let told = |error: &io::Error| io::Error::from(error.kind());
        let length = match self.input.read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let short = told(&error);
                self.ended = Some(Ended::Input(error));
                return Err(short);
            }
        };
        let written = (&mut &*self.archive).write_all(&buffer[..length]);
        written.map_err(|error| {
            let short = told(&error);
            self.ended = Some(Ended::Archive(error));
            short
        })?;
        Ok(length)
    }
}

/// Fails once, then ends.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Tells how far it was read.
struct Counted<R> {
    input: R,
    position: Rc<Cell<u64>>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.position.set(self.position.get() + length as u64);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.position.set(self.position.get() + length as u64);
        self.input.consume(length);
    }
}

#[cfg(test)]
mod tests;
