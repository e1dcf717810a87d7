//! Paths inside a container, as a client writes them.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use linux::fs::{Mode, OFlags, Root};
use rustix::fs::{FileType, Stat};

use super::PathStat;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// A path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerPath {
    /// Absolute, without `.`, `..` and doubled slashes.
    pub(super) clean: PathBuf,
    /// It ended in `/` or `/.`: a link at its end is followed.
    pub(super) follow: bool,
    /// It ended in `/.`: the content is meant rather than the directory.
    pub(super) content: bool,
}

impl ContainerPath {
    pub(super) fn new(text: &str) -> Self {
        let content = text == "." || text.ends_with("/.");
        let mut clean = PathBuf::from("/");
        for component in Path::new(text).components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => drop(clean.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Self { clean, follow: content || text.ends_with('/'), content }
    }

    /// The name that the path has in an archive of it.
    pub(super) fn archive_name(&self) -> &OsStr {
        if self.content { OsStr::new(".") } else { self.file_name() }
    }

    fn file_name(&self) -> &OsStr {
        self.clean.file_name().unwrap_or(OsStr::new("/"))
    }

    /// Opens what is there, as a place only.
    pub(super) fn open(&self, root: &Root) -> io::Result<OwnedFd> {
        let follow = if self.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let file = root.open_in_root(&self.clean, OFlags::PATH | follow, Mode::empty())?;
        if is_pseudo(&file)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }

    /// Describes what is there.
    pub(super) fn stat(&self, root: &Root, file: &OwnedFd) -> io::Result<PathStat> {
        let stat = rustix::fs::fstat(file)?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let link_target = match is_link {
            true => resolved(root, &self.clean)?.to_string_lossy().into_owned(),
            false => String::new(),
        };
        Ok(PathStat {
            name: self.file_name().to_string_lossy().into_owned(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode,
            modified_at: modified(&stat),
            link_target,
        })
    }
}

fn modified(stat: &Stat) -> Timestamp {
    let nanos = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Timestamp::new(stat.st_mtime, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether the file belongs to the kernel rather than the container. Reading one can block or
/// never end, and says nothing that a copy could keep.
pub(super) fn is_pseudo(file: &OwnedFd) -> io::Result<bool> {
    /// From linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, mqueue, securityfs, debugfs,
    /// tracefs, bpf.
    const MAGICS: [i64; 10] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x7363_6673,
        0x6462_6720,
        0x7472_6163,
        0xcafe_4a11,
    ];
    Ok(MAGICS.contains(&rustix::fs::fstatfs(file)?.f_type))
}

/// Follows all links of a path with the root as `/`. A word about where things are: whoever opens
/// the result does so by openat2 again.
fn resolved(root: &Root, path: &Path) -> io::Result<PathBuf> {
    let names = |path: &Path| -> VecDeque<Vec<u8>> {
        path.as_os_str().as_bytes().split(|b| *b == b'/').map(<[u8]>::to_vec).collect()
    };
    let mut waiting = names(path);
    let mut done = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = waiting.pop_front() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(OsStr::from_bytes(&name)),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let Ok(file) = root.open_in_root(&done, flags, Mode::empty()) else { continue };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&file, c"", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_owned();
        done.pop();
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        let mut front = names(&target);
        front.append(&mut waiting);
        waiting = front;
    }
    Ok(done)
}
