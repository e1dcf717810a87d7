//! A file tree that is copied from or onto: a context's directory, or the layers of a stage or image.
//!
//! Paths come from Dockerfiles and links from archives; nothing leads out of the tree. Links are
//! resolved here, name by name, because what a path finally is must be known as a path.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use images::{Digest, Hasher};
use linux::fs::{Mode, OFlags, Root};
use linux::mount::Overlay;
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::{Error, Result};

/// As the kernel has it.
const MAX_LINKS: usize = 40;

/// A tree.
#[derive(Debug)]
pub(crate) struct FileTree {
    root: Root,
    /// Digests of files' content by path, as they were asked for. Held for a lookup or an insertion.
    digests: Mutex<HashMap<Vec<u8>, Digest>>,
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
    /// Opens a directory of the host's.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = Root::open(path).map_err(Error::io("open", path.display()))?;
        Ok(Self { root, digests: Mutex::default() })
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
        Ok(Self { root: Root::from_fd(mount), digests: Mutex::default() })
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

    fn parent(&self, path: &[u8]) -> io::Result<(OwnedFd, Vec<u8>)> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = match slash {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b".".as_slice(), path),
        };
        let name = if name.is_empty() { b".".to_vec() } else { name.to_vec() };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.root.open_no_symlinks(OsStr::from_bytes(dir), flags, Mode::empty())?, name))
    }

    /// Looks at a path that has no links in front of its last name.
    fn stat(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        let (parent, name) = match self.parent(path) {
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
        let (parent, name) = self.parent(path)?;
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
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = self.root.open_no_symlinks(OsStr::from_bytes(path), flags, Mode::empty())?;
        Ok(file.into())
    }

    /// Opens anything, to be mounted.
    pub(crate) fn open_path(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let shown = if path.is_empty() { b".".as_slice() } else { path };
        self.root.open_no_symlinks(OsStr::from_bytes(shown), OFlags::PATH, Mode::empty())
    }

    /// Reads a small file whole.
    pub(crate) fn read(&self, path: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        use io::Read as _;
        let mut bytes = Vec::new();
        self.open_file(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Reads the extended attributes that belong into layers, sorted.
    pub(crate) fn xattrs(&self, node: &Node) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if !matches!(node.kind(), FileType::RegularFile | FileType::Directory) {
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
    pub(crate) fn digests(&self, paths: &[&[u8]]) -> Result<Vec<Digest>> {
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
        })?;
        let known = self.lock();
        paths.iter().map(|path| known.get(*path).copied().ok_or(Error::Cancelled)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Digest>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        assert_eq!(tree.digests(&[b"f"]).unwrap(), [Digest::of(b"abc")]);
        assert!(tree.digests(&[b"missing"]).is_err());
    }
}
