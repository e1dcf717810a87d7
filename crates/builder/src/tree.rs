//! A file tree that is copied from or onto: a context's directory, or the layers of a stage or image.
//!
//! Paths come from Dockerfiles and links from archives; nothing leads out of the tree. Links are
//! resolved here, name by name, because what a path finally is must be known as a path.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use engine::archive::Unpacked;
use images::{Digest, Hasher};
use linux::fs::{Mode, OFlags, Root};
use linux::mount::Overlay;
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::held::{Held, Received};
use crate::{Error, Result};

/// As the kernel has it.
const MAX_LINKS: usize = 40;

/// A tree.
#[derive(Debug)]
pub(crate) struct FileTree {
    root: Root,
    /// Whether it is a build's own directory, whose files layers may take as they are.
    is_own: bool,
    /// Files that a layer has taken, by device and inode. Held for an insertion.
    given: Mutex<HashSet<(u64, u64)>>,
    /// Digests of files' content by path, as they were asked for. Held for a lookup or an insertion.
    digests: Mutex<HashMap<Vec<u8>, Digest>>,
    /// What unpacking told, for a build's own directory. Nothing writes there any more.
    known: Option<Unpacked>,
    /// What the directory is to have, while nobody has wanted a file of it.
    held: Option<Box<Held>>,
}

/// Something in a tree, and where it is. Paths are relative to the root, without links in them.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    /// The target of a symbolic link.
    pub(crate) link: Vec<u8>,
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }
}

/// What a path is in the end.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is there.
    Node(Node),
    /// It is not; this is where it would be.
    Missing(Vec<u8>),
}

impl FileTree {
    /// Opens a directory of the build's own.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = Root::open(path).map_err(Error::io("open", path.display()))?;
        let (given, digests) = (Mutex::default(), Mutex::default());
        Ok(Self { root, is_own: true, given, digests, known: None, held: None })
    }

    /// Opens a directory of the build's own that an archive has just been received for.
    pub(crate) fn received(path: &Path, received: Received) -> Result<Self> {
        let tree = Self::open(path)?;
        Ok(match received {
            Received::Held(held) => Self { held: Some(held), ..tree },
            Received::Unpacked(known) => Self { known: Some(known), ..tree },
        })
    }

    /// Sees to it that the files are in the directory.
    pub(crate) fn unpack(&self) -> Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| held.unpack())
    }

    /// Takes a file away that is at a path without links in it.
    pub(crate) fn remove(&self, path: &[u8]) -> io::Result<()> {
        match &self.held {
            Some(held) => held.remove(path),
            None => remove(&self.root, path),
        }
    }

    /// Puts layers together, lowest first; `empty` is a directory with nothing in it. The caller holds
    /// the layers.
    pub(crate) fn of_layers(
        store: &images::Store,
        layers: &[Digest],
        empty: &Path,
    ) -> Result<Self> {
        let mut lowers = store.layer_dirs(layers)?;
        if lowers.is_empty() {
            return Self::open(empty);
        }
        if lowers.len() == 1 {
            lowers.push(empty.to_owned());
        }
        let options = vec!["index=off".to_owned()];
        let overlay = Overlay { lowers, upper: None, work: None, options };
        let mount = linux::mount::overlay(&overlay).map_err(Error::io("mount", "the layers"))?;
        Ok(Self {
            root: Root::from_fd(mount),
            is_own: false,
            given: Mutex::default(),
            digests: Mutex::default(),
            known: None,
            held: None,
        })
    }

    /// Tells whether a layer may take a file as it is: each goes to one, or two files of an image
    /// would be the same one.
    pub(crate) fn gives(&self, node: &Node) -> bool {
        let inode = (node.stat.st_dev, node.stat.st_ino);
        self.is_own && self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(inode)
    }

    /// Resolves a path, all links in it followed.
    pub(crate) fn find(&self, path: &[u8]) -> io::Result<Found> {
        let mut pending: Vec<Vec<u8>> = names(path);
        let mut real: Vec<u8> = Vec::new();
        let mut missing = false;
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                let end = real.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                real.truncate(end);
                // Above what is missing may be something.
                missing = missing && self.stat(&real)?.is_none();
                continue;
            }
            let below = joined(&real, &name);
            if missing {
                real = below;
                continue;
            }
            match self.stat(&below)? {
                None => {
                    missing = true;
                    real = below;
                }
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = self.read_link(&below)?;
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    pending.extend(names(&target));
                }
                Some(stat) => {
                    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    if !is_dir && !pending.is_empty() {
                        return Err(Errno::NOTDIR.into());
                    }
                    real = below;
                }
            }
        }
        if missing {
            return Ok(Found::Missing(real));
        }
        match self.node(&real)? {
            Some(node) => Ok(Found::Node(node)),
            None => Ok(Found::Missing(real)),
        }
    }

    /// Looks at a path that has no links in front of its last name.
    fn stat(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        if let Some(held) = self.held.as_ref().filter(|_| !path.is_empty()) {
            return held.stat(path);
        }
        let (parent, name) = match parent(&self.root, path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        if let Some(held) = &self.held {
            return held.read_link(path);
        }
        let (parent, name) = parent(&self.root, path)?;
        Ok(rustix::fs::readlinkat(&parent, name, Vec::new())?.into_bytes())
    }

    /// Looks at what is at a path, links not followed.
    pub(crate) fn node(&self, path: &[u8]) -> io::Result<Option<Node>> {
        let Some(stat) = self.stat(path)? else { return Ok(None) };
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let link = if is_link { self.read_link(path)? } else { Vec::new() };
        Ok(Some(Node { path: path.to_vec(), stat, link }))
    }

    /// Lists a directory by name, sorted.
    pub(crate) fn list(&self, path: &[u8]) -> io::Result<Vec<Node>> {
        if let Some(held) = &self.held {
            return held.list(path);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let shown = if path.is_empty() { b".".as_slice() } else { path };
        let dir = self.root.open_no_symlinks(OsStr::from_bytes(shown), flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        let mut nodes = Vec::with_capacity(names.len());
        for name in names {
            let stat = match rustix::fs::statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let link = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => rustix::fs::readlinkat(&dir, &*name, Vec::new())?.into_bytes(),
                _ => Vec::new(),
            };
            nodes.push(Node { path: joined(path, &name), stat, link });
        }
        Ok(nodes)
    }

    /// Opens a regular file.
    pub(crate) fn open_file(&self, path: &[u8]) -> io::Result<File> {
        self.unpack().map_err(io::Error::other)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = self.root.open_no_symlinks(OsStr::from_bytes(path), flags, Mode::empty())?;
        Ok(file.into())
    }

    /// Opens anything, to be mounted.
    pub(crate) fn open_path(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.unpack().map_err(io::Error::other)?;
        let shown = if path.is_empty() { b".".as_slice() } else { path };
        self.root.open_no_symlinks(OsStr::from_bytes(shown), OFlags::PATH, Mode::empty())
    }

    /// Reads a small file whole.
    pub(crate) fn read(&self, path: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        use io::Read as _;
        if let Some(held) = &self.held {
            return held.read(path, limit);
        }
        let mut bytes = Vec::new();
        self.open_file(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Reads the extended attributes that belong into layers, sorted.
    pub(crate) fn xattrs(&self, node: &Node) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let has_none =
            self.held.is_some() || self.known.as_ref().is_some_and(|known| !known.has_attributes);
        if has_none || !matches!(node.kind(), FileType::RegularFile | FileType::Directory) {
            return Ok(Vec::new());
        }
        let fd = self.open_path(&node.path)?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let mut buffer = vec![0; 4096];
        let length = loop {
            match rustix::fs::listxattr(path.as_str(), buffer.as_mut_slice()) {
                Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(1 << 17, 0),
                Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                listed => break listed?,
            }
        };
        let mut found = Vec::new();
        for name in buffer[..length].split(|byte| *byte == 0) {
            let kept = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
                || name == b"security.capability"
                || name.starts_with(b"system.posix_acl_");
            if kept {
                let mut value = vec![0; 1 << 16];
                let length = rustix::fs::getxattr(path.as_str(), name, value.as_mut_slice())?;
                value.truncate(length);
                found.push((name.to_vec(), value));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Hashes the content of files, several at a time; each file once in the tree's life.
    pub(crate) fn digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>> {
        let learnt = |node: &Node| match &self.held {
            Some(held) => held.digest(&node.path),
            None => self.known.as_ref()?.digests.get(&node.stat.st_ino).copied(),
        };
        let pending: Vec<&[u8]> = nodes
            .iter()
            .filter(|node| learnt(node).is_none())
            .map(|node| node.path.as_slice())
            .collect();
        self.hash_all(&pending)?;
        let hashed = self.lock();
        let digest = |node: &&Node| {
            learnt(node).or_else(|| hashed.get(&node.path).copied()).ok_or(Error::Cancelled)
        };
        nodes.iter().map(digest).collect()
    }

    fn hash_all(&self, paths: &[&[u8]]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.lock().contains_key(*path) {
                    continue;
                }
                let shown = String::from_utf8_lossy(path).into_owned();
                let digest =
                    self.open_file(path).and_then(hash).map_err(Error::io("read", shown))?;
                self.lock().insert(path.to_vec(), digest);
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let threads = threads.min(1 + paths.len() / 16);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                let ended = other.join().unwrap_or(Err(Error::Cancelled));
                result = result.and(ended);
            }
            result
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Digest>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the directory of a path that has no links in front of its last name; tells that name.
fn parent(root: &Root, path: &[u8]) -> io::Result<(OwnedFd, Vec<u8>)> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (dir, name) = match slash {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b".".as_slice(), path),
    };
    let name = if name.is_empty() { b".".to_vec() } else { name.to_vec() };
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    Ok((root.open_no_symlinks(OsStr::from_bytes(dir), flags, Mode::empty())?, name))
}

/// Takes a file away that is at a path without links in it.
pub(crate) fn remove(root: &Root, path: &[u8]) -> io::Result<()> {
    let (parent, name) = parent(root, path)?;
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
}

fn hash(mut file: File) -> io::Result<Digest> {
    use io::Read as _;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The names of a path, last first, without `.`.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

/// Puts a name below a path; the root is the empty path.
pub(crate) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => path.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

/// Takes `.`, `..` and doubled slashes out of a path, as text; the root is the empty path.
pub(crate) fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A path below a root, absolute, as people write it.
pub(crate) fn shown(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_never_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("/a/b", dir.path().join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../etc", dir.path().join("a/up")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let tree = FileTree::open(dir.path()).unwrap();
        let path = |text: &str| match tree.find(text.as_bytes()).unwrap() {
            Found::Node(node) => format!("+{}", String::from_utf8(node.path).unwrap()),
            Found::Missing(path) => format!("-{}", String::from_utf8(path).unwrap()),
        };
        assert_eq!(path("/abs/file"), "+a/b/file");
        assert_eq!(path("a/up/passwd"), "-etc/passwd");
        assert_eq!(path("../../a/./b"), "+a/b");
        assert_eq!(path("none/../a"), "+a");
        assert_eq!(path("/"), "+");
        assert!(tree.find(b"loop/x").is_err());
        assert!(tree.find(b"a/b/file/x").is_err());
    }

    #[test]
    fn digests_are_of_the_content() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let tree = FileTree::open(dir.path()).unwrap();
        let Found::Node(node) = tree.find(b"f").unwrap() else { panic!("f is there") };
        assert_eq!(tree.digests(&[&node]).unwrap(), [Digest::of(b"abc")]);
        let missing = Node { path: b"missing".to_vec(), ..node };
        assert!(tree.digests(&[&missing]).is_err());
    }

    #[test]
    fn what_unpacking_told_is_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content).unwrap();
        };
        let large = vec![b'l'; 200 << 10];
        add("replaced", b"old");
        add("small", b"small");
        add("replaced", b"new");
        add("large", &large);
        let mut link = tar::Header::new_gnu();
        link.set_size(0);
        link.set_entry_type(tar::EntryType::Link);
        archive.append_link(&mut link, "hard", "small").unwrap();
        let known = engine::archive::unpack_into(&*archive.into_inner().unwrap(), dir.path());
        let tree = FileTree::received(dir.path(), Received::Unpacked(known.unwrap())).unwrap();
        for (name, content) in
            [("replaced", &b"new"[..]), ("small", b"small"), ("hard", b"small"), ("large", &large)]
        {
            let Found::Node(node) = tree.find(name.as_bytes()).unwrap() else { panic!("{name}") };
            assert_eq!(tree.digests(&[&node]).unwrap(), [Digest::of(content)], "{name}");
        }
    }
}
