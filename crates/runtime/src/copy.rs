//! Copies a directory's content, for `tmpcopyup`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

/// Copies everything in `from` into `to`: directories, files and symlinks with mode and owner.
pub(crate) fn copy_directory(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, mode)?;
                let directory = read | OFlags::DIRECTORY;
                let below = rustix::fs::openat(from, name, directory, Mode::empty())?;
                let made = rustix::fs::openat(to, name, directory, Mode::empty())?;
                copy_directory(&below, &made)?;
            }
            FileType::RegularFile => {
                let mut source =
                    std::fs::File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
                let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut target = std::fs::File::from(rustix::fs::openat(to, name, write, mode)?);
                io::copy(&mut source, &mut target)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
            }
            // Sockets and the like mean nothing in a copy.
            _ => continue,
        }
        let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
        rustix::fs::chownat(to.as_fd(), name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
