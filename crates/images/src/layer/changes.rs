//! What a container changed: its writable layer compared with the layers below.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::tree::{OPAQUE, existing, is_dir, is_whiteout, proc_path};
use super::walk::{self, Item, Visitor};
use crate::{Change, ChangeKind, Error, Result};

/// Lists changes, sorted by path. `lowers` are topmost first.
pub(crate) fn changes(upper: &Path, lowers: &[PathBuf]) -> Result<Vec<Change>> {
    let lowers = lowers.iter().map(|lower| walk::open_root(lower)).collect::<Result<Vec<_>>>()?;
    let all = (0..lowers.len()).collect();
    let mut comparison = Comparison {
        upper,
        lowers,
        visible: HashMap::from([(Vec::new(), all)]),
        open: Vec::new(),
        found: BTreeMap::new(),
    };
    walk::walk(upper, &mut comparison)?;
    let found = comparison.found.into_iter();
    Ok(found.map(|(path, kind)| Change { kind, path }).collect())
}

struct Comparison<'a> {
    upper: &'a Path,
    lowers: Vec<OwnedFd>,
    /// For directories still to be listed: which lower layers can be seen in them, as overlayfs merges.
    visible: HashMap<Vec<u8>, Vec<usize>>,
    /// The present directory in each of those.
    open: Vec<(usize, OwnedFd)>,
    found: BTreeMap<PathBuf, ChangeKind>,
}

impl Comparison<'_> {
    /// Returns what the image has at a name of the present directory, and which layers merge there.
    fn lower(&self, name: &[u8]) -> Result<(Option<Stat>, Vec<usize>), Errno> {
        let mut first = None;
        let mut merged = Vec::new();
        for (index, dir) in &self.open {
            let Some(stat) = existing(dir.as_fd(), name)? else { continue };
            if is_whiteout(&stat) || (first.is_some() && !is_dir(&stat)) {
                break;
            }
            let is_last = !is_dir(&stat) || is_opaque(dir.as_fd(), name);
            first = first.or(Some(stat));
            merged.push(*index);
            if is_last {
                break;
            }
        }
        Ok((first, merged))
    }

    fn add(&mut self, path: &[u8], kind: ChangeKind) {
        let absolute = Path::new("/").join(OsStr::from_bytes(path));
        // What holds an addition or deletion has changed as well.
        if kind != ChangeKind::Modified
            && let Some(parent) = absolute.parent().filter(|parent| *parent != Path::new("/"))
        {
            self.found.entry(parent.to_owned()).or_insert(ChangeKind::Modified);
        }
        self.found.insert(absolute, kind);
    }
}

impl Visitor for Comparison<'_> {
    fn enter(&mut self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        self.open.clear();
        let visible = self.visible.remove(path).unwrap_or_default();
        if is_opaque(dir, b".") {
            return Ok(());
        }
        for index in visible {
            let dir = walk::open_below(&self.lowers[index], path);
            let dir =
                dir.map_err(|source| Error::io("open", walk::shown(self.upper, path), source))?;
            self.open.push((index, dir));
        }
        Ok(())
    }

    fn item(&mut self, item: &Item<'_>) -> Result<()> {
        let (lower, merged) = self
            .lower(item.name)
            .map_err(|source| Error::io("stat", walk::shown(self.upper, item.path), source))?;
        if is_whiteout(item.stat) {
            if lower.is_some() {
                self.add(item.path, ChangeKind::Deleted);
            }
            return Ok(());
        }
        if is_dir(item.stat) && lower.as_ref().is_none_or(is_dir) {
            self.visible.insert(item.path.to_vec(), merged);
        }
        match lower {
            None => self.add(item.path, ChangeKind::Added),
            // A directory is copied up for what is in it; alone that is no change of it.
            Some(lower) if is_dir(&lower) && is_dir(item.stat) && same_dir(&lower, item.stat) => {}
            Some(_) => self.add(item.path, ChangeKind::Modified),
        }
        Ok(())
    }
}

fn same_dir(a: &Stat, b: &Stat) -> bool {
    a.st_mode == b.st_mode
        && (a.st_uid, a.st_gid) == (b.st_uid, b.st_gid)
        && (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}

/// Tells whether a directory hides what lies below it.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    let mut value = [0; 1];
    matches!(rustix::fs::lgetxattr(proc_path(dir, name), OPAQUE, &mut value), Ok(1) if value[0] == b'y')
}

/// Adds up the content of a writable layer: each inode once, holes not at all.
pub(crate) fn size(upper: &Path) -> Result<u64> {
    let mut sum = Sum { seen: HashSet::new(), bytes: 0 };
    walk::walk(upper, &mut sum)?;
    Ok(sum.bytes)
}

struct Sum {
    seen: HashSet<u64>,
    bytes: u64,
}

impl Visitor for Sum {
    fn enter(&mut self, _dir: BorrowedFd<'_>, _path: &[u8]) -> Result<()> {
        Ok(())
    }

    fn item(&mut self, item: &Item<'_>) -> Result<()> {
        if !is_dir(item.stat) && (item.stat.st_nlink == 1 || self.seen.insert(item.stat.st_ino)) {
            let size = u64::try_from(item.stat.st_size).unwrap_or(0);
            let allocated = u64::try_from(item.stat.st_blocks).unwrap_or(0) * 512;
            self.bytes += size.min(allocated);
        }
        Ok(())
    }
}
