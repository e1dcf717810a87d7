//! Fills an empty volume with what the image has at the mount's destination.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux::fs::{Mode, OFlags, Root};
use rustix::fs::{AtFlags, Dir, FileType, SeekFrom, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Deeper trees are not copied: each level holds two descriptors.
const MAX_DEPTH: usize = 256;

/// Copies `destination` of the image whose `layers` (topmost first) are given into the volume
/// whose content is at `volume`, if that is empty. Owner, mode, times, extended attributes, hard
/// links, holes and special files are kept. `marker` is a file that exists while the copy is under
/// way; where it exists already the copy was cut off and is redone.
///
/// # Errors
/// When something that is no directory is at the destination, or the copy fails.
pub fn copy_up(layers: &[PathBuf], destination: &str, volume: &Path, marker: &Path) -> Result<()> {
    let failed =
        |source| Error::Io { operation: "copy image content to", path: volume.into(), source };
    // One copy at a time; the others then find the volume filled.
    let lock = File::open(volume).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let unfinished = marker.exists();
    if !unfinished && !is_empty(volume).map_err(failed)? {
        return Ok(());
    }
    let root = image_root(layers).map_err(failed)?;
    let flags = OFlags::PATH;
    let source = match root.open_in_root(destination, flags, Mode::empty()) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let stat = rustix::fs::fstat(&source).map_err(|errno| failed(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::InvalidParameter(format!(
            "cannot mount volume over existing file, file exists {destination}"
        )));
    }
    let copy = || -> io::Result<()> {
        File::create(marker)?;
        let source = open_directory(&source, c".")?;
        let target = open_directory(Root::open(volume)?, c".")?;
        let copy = Copy { root: Root::open(volume)?, links: HashMap::new() };
        copy.run(source, target)?;
        std::fs::remove_file(marker)
    };
    copy().map_err(failed)
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

/// Opens the image's file tree. A single layer is one already; overlay needs two.
fn image_root(layers: &[PathBuf]) -> io::Result<Root> {
    if let [layer] = layers {
        return Root::open(layer);
    }
    let overlay = linux::mount::Overlay {
        lowers: layers.to_vec(),
        upper: None,
        work: None,
        options: Vec::new(),
    };
    Ok(Root::from_fd(linux::mount::overlay(&overlay)?))
}

fn open_directory(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

struct Copy {
    root: Root,
    /// Files with several names: device and inode to the first path in the volume.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn run(mut self, source: OwnedFd, target: OwnedFd) -> io::Result<()> {
        self.directory(&source, &target, Path::new(""), 0)
    }

    fn directory(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("{} is too deep", path.display())));
        }
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            self.entry(source, target, name, &path, depth).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
        let stat = rustix::fs::fstat(source)?;
        copy_attributes(source, target)?;
        rustix::fs::fchown(target, owner(&stat).0, owner(&stat).1)?;
        rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        Ok(rustix::fs::futimens(target, &times(&stat))?)
    }

    fn entry(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> io::Result<()> {
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            match rustix::fs::mkdirat(target, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let source = open_directory(source, name)?;
            let target = open_directory(target, name)?;
            return self.directory(&source, &target, path, depth + 1);
        }
        // Of a copy that was cut off.
        match rustix::fs::unlinkat(target, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let id = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&id) {
                let first = self.root.open_no_symlinks(
                    first,
                    OFlags::PATH | OFlags::NOFOLLOW,
                    Mode::empty(),
                )?;
                return Ok(rustix::fs::linkat(first, c"", target, name, AtFlags::EMPTY_PATH)?);
            }
            self.links.insert(id, path.to_owned());
        }
        match kind {
            FileType::RegularFile => return copy_file(source, target, name, &stat),
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(source, name, Vec::new())?;
                rustix::fs::symlinkat(text, target, name)?;
            }
            // A whiteout of a layer read by itself, or a socket, which nobody could answer.
            FileType::CharacterDevice if stat.st_rdev == 0 => return Ok(()),
            FileType::Socket | FileType::Unknown => return Ok(()),
            kind => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(target, name, kind, mode, stat.st_rdev)?;
                // The process's mask may have taken bits away.
                rustix::fs::chmodat(target, name, mode, AtFlags::empty())?;
            }
        }
        let (uid, gid) = owner(&stat);
        rustix::fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(target, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn copy_file(source: &OwnedFd, target: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = rustix::fs::openat(source, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    rustix::fs::ftruncate(&to, size)?;
    copy_data(&from, &to, size)?;
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(&to, uid, gid)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    // After the owner: changing it drops file capabilities.
    copy_attributes(&from, &to)?;
    Ok(rustix::fs::futimens(&to, &times(stat))?)
}

/// Copies what is not a hole.
fn copy_data(from: &OwnedFd, to: &OwnedFd, size: u64) -> io::Result<()> {
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size);
        let (mut from_offset, mut to_offset) = (start, start);
        while from_offset < end {
            let length = usize::try_from(end - from_offset).unwrap_or(1 << 30).min(1 << 30);
            let copied = rustix::fs::copy_file_range(
                from,
                Some(&mut from_offset),
                to,
                Some(&mut to_offset),
                length,
            );
            match copied {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    copy_by_hand(from, to, from_offset, end)?;
                    from_offset = end;
                    to_offset = end;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        position = end;
    }
    Ok(())
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let mut block = vec![0_u8; 128 << 10];
    let mut offset = start;
    while offset < end {
        let size = rustix::io::pread(from, &mut block, offset)?;
        if size == 0 {
            return Ok(());
        }
        let mut done = 0;
        while done < size {
            done += rustix::io::pwrite(to, &block[done..size], offset + done as u64)?;
        }
        offset += size as u64;
    }
    Ok(())
}

/// Copies extended attributes but those of overlayfs itself. What the target's file system does
/// not know is left out.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0_u8; 64 << 10];
    let size = match rustix::fs::flistxattr(from, &mut names) {
        Ok(size) => size,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let size = rustix::fs::fgetxattr(from, name, &mut value)?;
        match rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn owner(stat: &Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: i64::try_from(stat.st_atime_nsec).unwrap_or(0),
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
    }
}
