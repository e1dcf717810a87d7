//! The layer that a COPY, ADD or WORKDIR makes: an archive, put together in the order of its entries.
//!
//! Directories on the way are in it with the attributes that they have below, since the topmost layer
//! decides about a directory.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use images::archive::{Entry, EntryKind, Time, write};
use rustix::fs::FileType;

use crate::select::Selection;
use crate::tree::{FileTree, Found, Node, joined, shown};
use crate::{Error, Result};

/// What new files get instead of their source's attributes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dress {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: Option<ModeChange>,
    /// No file becomes newer, in seconds since the epoch.
    pub(crate) newest: Option<i64>,
    /// Time of what has no source.
    pub(crate) now: i64,
}

/// `--chmod`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// An octal number.
    Exactly(u32),
    /// `u+x,go=`.
    Symbolic(Vec<(u32, char, String)>),
}

impl ModeChange {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)?;
            return Some(Self::Exactly(mode));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '='])?;
            let mut who = 0;
            for letter in clause[..at].chars() {
                who |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return None,
                };
            }
            let who = if at == 0 { 0o7777 } else { who };
            let rights = &clause[at + 1..];
            if !rights.chars().all(|letter| "rwxXst".contains(letter)) {
                return None;
            }
            changes.push((who, clause[at..].chars().next()?, rights.to_owned()));
        }
        Some(Self::Symbolic(changes))
    }

    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Exactly(mode) => *mode,
            Self::Symbolic(changes) => changes.iter().fold(mode, |mode, (who, how, rights)| {
                let bits = rights.chars().fold(0, |bits, letter| {
                    bits | match letter {
                        'r' => 0o444,
                        'w' => 0o222,
                        'x' => 0o111,
                        'X' if is_dir || mode & 0o111 != 0 => 0o111,
                        's' => 0o6000,
                        't' => 0o1000,
                        _ => 0,
                    }
                }) & who;
                match how {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !who) | bits,
                }
            }),
        }
    }
}

/// Puts an archive together.
pub(crate) struct LayerArchive {
    /// What the layer is to be on; `None` when it must not depend on that.
    base: Option<Arc<FileTree>>,
    dress: Dress,
    parts: VecDeque<Part>,
    directories: HashSet<Vec<u8>>,
    /// First source and first path of each file with several names, by device and inode.
    links: HashMap<(u64, u64), (Vec<u8>, Vec<u8>)>,
    gifts: Gifts,
}

/// A file in a tree.
type Gift = (Arc<FileTree>, Vec<u8>);

/// Files that are in a build's own directory as they are to be in the layer.
#[derive(Default)]
pub(crate) struct Gifts {
    /// By path in the layer; `None` for a path that comes several times.
    files: HashMap<Vec<u8>, Option<Gift>>,
}

impl Gifts {
    fn note(&mut self, path: &[u8], gift: Option<Gift>) {
        match self.files.entry(path.to_vec()) {
            Slot::Occupied(mut known) => drop(known.insert(None)),
            Slot::Vacant(free) => drop(free.insert(gift)),
        }
    }

    /// Opens what is to be at a path.
    pub(crate) fn open(&self, path: &[u8]) -> Option<OwnedFd> {
        let (tree, source) = self.files.get(path)?.as_ref()?;
        // What cannot be opened is read from the archive, which tells the error.
        tree.open_path(source).ok()
    }
}

enum Part {
    Bytes(Vec<u8>),
    File { tree: Arc<FileTree>, path: Vec<u8>, size: u64 },
}

impl LayerArchive {
    pub(crate) fn new(base: Option<Arc<FileTree>>, dress: Dress) -> Self {
        Self {
            base,
            dress,
            parts: VecDeque::new(),
            directories: HashSet::new(),
            links: HashMap::new(),
            gifts: Gifts::default(),
        }
    }

    /// Finds what is at a path below, links followed; the path as text where there is no below.
    fn find(&self, path: &[u8]) -> Result<Found> {
        match &self.base {
            Some(base) => base.find(path).map_err(Error::io("resolve", shown(path).display())),
            None => Ok(Found::Missing(
                crate::tree::cleaned(&String::from_utf8_lossy(path)).into_bytes(),
            )),
        }
    }

    /// Adds a directory and those in front of it; returns where it is in the end.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let real = match self.find(path)? {
            Found::Node(node) if !node.is_dir() => return Err(not_a_directory(path)),
            Found::Node(node) => node.path,
            Found::Missing(path) => path,
        };
        let ends: Vec<usize> = real
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at)
            .chain([real.len()])
            .collect();
        for end in ends {
            self.one_directory(&real[..end])?;
        }
        Ok(real)
    }

    fn one_directory(&mut self, path: &[u8]) -> Result<()> {
        if path.is_empty() || self.directories.contains(path) {
            return Ok(());
        }
        match self.below(path)? {
            Some(node) if !node.is_dir() => return Err(not_a_directory(path)),
            Some(node) => {
                let mut entry = described(&node, path);
                if let Some(base) = &self.base {
                    entry.xattrs =
                        base.xattrs(&node).map_err(Error::io("read", shown(path).display()))?;
                }
                self.header(entry);
            }
            None => {
                let mut entry = Entry::new(path, EntryKind::Directory);
                entry.mode = 0o755;
                entry.mtime = Time { secs: self.dress.now, nanos: 0 };
                (entry.uid, entry.gid) = self.dress.owner.unwrap_or((0, 0));
                self.header(entry);
            }
        }
        self.directories.insert(path.to_vec());
        Ok(())
    }

    fn below(&self, path: &[u8]) -> Result<Option<Node>> {
        match &self.base {
            Some(base) => base.node(path).map_err(Error::io("stat", shown(path).display())),
            None => Ok(None),
        }
    }

    fn header(&mut self, entry: Entry) {
        self.file_header(entry, None);
    }

    fn file_header(&mut self, mut entry: Entry, gift: Option<Gift>) {
        if entry.kind == EntryKind::File {
            self.gifts.note(&entry.name, gift);
        }
        if entry.kind == EntryKind::Directory {
            entry.name.push(b'/');
        }
        if let Some(newest) = self.dress.newest
            && entry.mtime.secs >= newest
        {
            entry.mtime = Time { secs: newest, nanos: 0 };
        }
        let bytes = write::header(&entry);
        // Small parts go together, so that reading them costs little.
        match self.parts.back_mut() {
            Some(Part::Bytes(last)) if last.len() < 64 << 10 => last.extend_from_slice(&bytes),
            _ => self.parts.push_back(Part::Bytes(bytes)),
        }
    }

    fn padding(&mut self, size: u64) {
        let padding = write::padding(size);
        if !padding.is_empty() {
            self.parts.push_back(Part::Bytes(padding.to_vec()));
        }
    }

    /// Adds everything that sources stand for.
    pub(crate) fn copy(&mut self, selections: &[Selection], destination: &str) -> Result<()> {
        let path = destination.as_bytes();
        let several = selections.len() > 1;
        let said_directory = destination.ends_with('/') || destination.ends_with("/.");
        for selection in selections {
            if selection.is_directory {
                self.tree(selection, path)?;
                continue;
            }
            let exists = matches!(self.find(path)?, Found::Node(node) if node.is_dir())
                || self.directories.contains(crate::tree::cleaned(destination).as_bytes());
            for item in &selection.items {
                let target = match said_directory || several || exists {
                    true => {
                        let dir = self.directory(path)?;
                        joined(&dir, &item.under)
                    }
                    false => self.file_target(path)?,
                };
                self.item(selection, &item.node, target)?;
            }
        }
        Ok(())
    }

    /// A file's own place; its directory is added.
    fn file_target(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let real = match self.find(path)? {
            Found::Node(node) => node.path,
            Found::Missing(path) => path,
        };
        if real.is_empty() {
            return Err(Error::Invalid(
                "cannot copy a file to /: write /NAME or a directory".into(),
            ));
        }
        let (dir, name) = match real.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (real[..slash].to_vec(), real[slash + 1..].to_vec()),
            None => (Vec::new(), real),
        };
        let dir = self.directory(&dir)?;
        Ok(joined(&dir, &name))
    }

    fn tree(&mut self, selection: &Selection, destination: &[u8]) -> Result<()> {
        let existed = matches!(self.find(destination)?, Found::Node(_));
        let top = match existed {
            true => self.directory(destination)?,
            false => {
                let real = self.file_target_or_root(destination)?;
                let first = selection.items.first().filter(|item| item.under.is_empty());
                match first {
                    Some(item) if !real.is_empty() && !self.directories.contains(&real) => {
                        self.item(selection, &item.node, real.clone())?;
                    }
                    _ => drop(self.directory(&real)?),
                }
                real
            }
        };
        for item in selection.items.iter().filter(|item| !item.under.is_empty()) {
            let target = joined(&top, &item.under);
            // With --parents a source's directories may not be among its items.
            if let Some(slash) = target.iter().rposition(|byte| *byte == b'/') {
                self.one_directory_chain(&target[..slash])?;
            }
            self.item(selection, &item.node, target)?;
        }
        Ok(())
    }

    fn file_target_or_root(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        if crate::tree::cleaned(&String::from_utf8_lossy(path)).is_empty() {
            return Ok(Vec::new());
        }
        self.file_target(path)
    }

    fn one_directory_chain(&mut self, path: &[u8]) -> Result<()> {
        if !self.directories.contains(path) {
            self.directory(path)?;
        }
        Ok(())
    }

    fn item(&mut self, selection: &Selection, node: &Node, target: Vec<u8>) -> Result<()> {
        let below = self.below(&target)?;
        let mut entry = described(node, &target);
        match (node.is_dir(), &below) {
            (true, Some(below)) if !below.is_dir() => return Err(not_a_directory(&target)),
            (false, Some(below)) if below.is_dir() => {
                return Err(Error::Invalid(format!(
                    "cannot copy over the directory {}: remove it first, or copy into it",
                    shown(&target).display()
                )));
            }
            _ => {}
        }
        if !selection.keep_owner {
            (entry.uid, entry.gid) = (0, 0);
        }
        if let Some(owner) = self.dress.owner {
            (entry.uid, entry.gid) = owner;
        }
        if let Some(mode) = self.dress.mode.as_ref().filter(|_| entry.kind != EntryKind::Symlink) {
            entry.mode = mode.apply(entry.mode, node.is_dir());
        }
        let fail = |source| Error::Io {
            operation: "read",
            path: shown(&node.path).display().to_string(),
            source,
        };
        if node.is_dir() {
            if self.directories.insert(target) {
                entry.xattrs = selection.tree.xattrs(node).map_err(fail)?;
                self.header(entry);
            }
            return Ok(());
        }
        if node.kind() == FileType::Socket {
            return Ok(());
        }
        let key = (node.stat.st_dev, node.stat.st_ino);
        if node.stat.st_nlink > 1 {
            match self.links.get(&key) {
                // Of one source that is copied twice there are two files, as layers that have it
                // already must make no difference.
                Some((source, _)) if *source == node.path => {}
                Some((_, first)) => {
                    entry.kind = EntryKind::HardLink;
                    entry.link.clone_from(first);
                    entry.size = 0;
                    entry.payload = 0;
                    self.header(entry);
                    return Ok(());
                }
                None => drop(self.links.insert(key, (node.path.clone(), target.clone()))),
            }
        }
        entry.xattrs = selection.tree.xattrs(node).map_err(fail)?;
        let size = entry.payload;
        let source = described(node, &target);
        let is_same = (entry.uid, entry.gid, entry.mode) == (source.uid, source.gid, source.mode)
            && self.dress.newest.is_none_or(|newest| entry.mtime.secs < newest);
        let is_given = is_same && node.kind() == FileType::RegularFile && size > 0;
        let gift = (is_given && selection.tree.gives(node))
            .then(|| (Arc::clone(&selection.tree), node.path.clone()));
        self.file_header(entry, gift);
        if node.kind() == FileType::RegularFile && size > 0 {
            let tree = Arc::clone(&selection.tree);
            self.parts.push_back(Part::File { tree, path: node.path.clone(), size });
            self.padding(size);
        }
        Ok(())
    }

    /// Adds a file with its content.
    pub(crate) fn inline(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let target = self.file_target(path.as_bytes())?;
        let mut entry = Entry::new(target, EntryKind::File);
        entry.mode = self.dress.mode.as_ref().map_or(0o644, |mode| mode.apply(0o644, false));
        (entry.uid, entry.gid) = self.dress.owner.unwrap_or((0, 0));
        entry.mtime = Time { secs: self.dress.now, nanos: 0 };
        entry.size = content.len() as u64;
        entry.payload = entry.size;
        self.header(entry);
        self.parts.push_back(Part::Bytes(content.to_vec()));
        self.padding(content.len() as u64);
        Ok(())
    }

    /// Tells whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Gives the archive's bytes.
    pub(crate) fn into_reader(self) -> ArchiveReader {
        self.into_parts().0
    }

    /// Gives the archive's bytes, and those of its files that need not be written again.
    pub(crate) fn into_parts(mut self) -> (ArchiveReader, Gifts) {
        self.parts.push_back(Part::Bytes(write::END.to_vec()));
        let current = Current::Bytes(io::Cursor::new(Vec::new()));
        (ArchiveReader { parts: self.parts, current }, self.gifts)
    }
}

fn not_a_directory(path: &[u8]) -> Error {
    Error::Invalid(format!("cannot copy to non-directory: {}", shown(path).display()))
}

fn described(node: &Node, target: &[u8]) -> Entry {
    let kind = match node.kind() {
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::Fifo => EntryKind::Fifo,
        _ => EntryKind::File,
    };
    let stat = &node.stat;
    let mut entry = Entry::new(target, kind);
    entry.mode = if kind == EntryKind::Symlink { 0o777 } else { stat.st_mode & 0o7777 };
    (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    entry.mtime = Time { secs: stat.st_mtime, nanos };
    entry.link.clone_from(&node.link);
    entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if kind == EntryKind::File {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.payload = entry.size;
    }
    entry
}

/// Reads an archive; files are opened when their turn comes.
pub(crate) struct ArchiveReader {
    parts: VecDeque<Part>,
    current: Current,
}

enum Current {
    Bytes(io::Cursor<Vec<u8>>),
    File { file: File, left: u64, path: Vec<u8> },
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.current {
                Current::Bytes(bytes) => {
                    let length = bytes.read(buffer)?;
                    if length > 0 || buffer.is_empty() {
                        return Ok(length);
                    }
                }
                Current::File { file, left, path } if *left > 0 => {
                    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    let length = file.read(&mut buffer[..room])?;
                    if length == 0 {
                        let path = shown(path);
                        let text = format!("{} became shorter while it was copied", path.display());
                        return Err(io::Error::other(text));
                    }
                    *left -= length as u64;
                    return Ok(length);
                }
                Current::File { .. } => {}
            }
            self.current = match self.parts.pop_front() {
                None => return Ok(0),
                Some(Part::Bytes(bytes)) => Current::Bytes(io::Cursor::new(bytes)),
                Some(Part::File { tree, path, size }) => {
                    Current::File { file: tree.open_file(&path)?, left: size, path }
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selections(tree: &Arc<FileTree>, sources: &[&str]) -> Vec<Selection> {
        let none = dockerignore::Patterns::default();
        let options = crate::select::Options { parents: false, exclude: &none, keep_owner: true };
        let select = |source: &&str| crate::select::select(tree, source, options).unwrap();
        sources.iter().flat_map(select).collect()
    }

    #[test]
    fn only_what_is_the_same_is_given_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "1").unwrap();
        std::fs::write(dir.path().join("d/empty"), "").unwrap();
        let given = |dress: Dress, sources: &[&str]| {
            let tree = Arc::new(FileTree::open(dir.path()).unwrap());
            let mut archive = LayerArchive::new(None, dress);
            archive.copy(&selections(&tree, sources), "/x/").unwrap();
            let (_, gifts) = archive.into_parts();
            ["x/f", "x/empty", "x/d/f"].map(|path| gifts.open(path.as_bytes()).is_some())
        };
        assert_eq!(given(Dress::default(), &["d"]), [true, false, false]);
        let mode = ModeChange::parse("0111");
        assert_eq!(given(Dress { mode, ..Dress::default() }, &["d"]), [false; 3]);
        assert_eq!(given(Dress { newest: Some(1), ..Dress::default() }, &["d"]), [false; 3]);
        // The same file twice is two files; two files at one path are in the archive.
        assert_eq!(given(Dress::default(), &["/", "d"]), [false, false, true]);
        assert_eq!(given(Dress::default(), &["d", "d/f"]), [false; 3]);
        let tree = FileTree::open(dir.path()).unwrap();
        let node = tree.node(b"d/f").unwrap().unwrap();
        assert!(tree.gives(&node) && !tree.gives(&node), "another layer has it");
    }

    #[test]
    fn another_name_of_a_source_makes_no_other_layer() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "1").unwrap();
        let bytes = || {
            let tree = Arc::new(FileTree::open(dir.path()).unwrap());
            let mut archive = LayerArchive::new(None, Dress::default());
            archive.copy(&selections(&tree, &["f", "/"]), "/x/").unwrap();
            archive.copy(&selections(&tree, &["f"]), "/y/").unwrap();
            let mut bytes = Vec::new();
            archive.into_reader().read_to_end(&mut bytes).unwrap();
            bytes
        };
        let first = bytes();
        // As a layer that took the file as its own.
        let other = tempfile::tempdir().unwrap();
        std::fs::hard_link(dir.path().join("f"), other.path().join("f")).unwrap();
        assert!(bytes() == first);
    }

    #[test]
    fn modes_are_numbers_and_words() {
        let changed = |text: &str, mode| ModeChange::parse(text).unwrap().apply(mode, false);
        assert_eq!(changed("0755", 0o600), 0o755);
        assert_eq!(changed("u+x,go=", 0o644), 0o700);
        assert_eq!(changed("a+r", 0o600), 0o644);
        assert_eq!(changed("go-rw", 0o666), 0o600);
        assert_eq!(changed("u=rwx,go=rX", 0o600), 0o700 | 0o044 | 0o011);
        for bad in ["9", "u+q", "x", "77777"] {
            assert_eq!(ModeChange::parse(bad), None, "{bad}");
        }
    }
}
