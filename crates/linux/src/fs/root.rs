//! A directory as a root that paths from outside cannot leave, by openat2(2).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// An open directory that bounds the resolution of untrusted paths.
///
/// Two ways to resolve: *beneath* refuses (`EXDEV`) absolute paths, `..` above the root and
/// symlinks that lead out; *in root* treats the directory as `/`, as chroot(2) would. Magic links
/// (/proc/self/fd/…) are refused by both.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory `path`, which is trusted.
    ///
    /// # Errors
    /// As open(2) with `O_PATH | O_DIRECTORY`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path.as_ref(), flags, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Takes an open directory (`O_PATH` suffices), such as a detached mount.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Gives the directory back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens `path`, refusing whatever leads out of the root. `O_CLOEXEC` is added.
    ///
    /// # Errors
    /// `EXDEV` for a path that leaves the root, else as openat2(2).
    pub fn open_beneath(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        self.resolve(path.as_ref(), flags, mode, ResolveFlags::BENEATH)
    }

    /// Opens `path` with the directory as `/`. `O_CLOEXEC` is added.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn open_in_root(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        self.resolve(path.as_ref(), flags, mode, ResolveFlags::IN_ROOT)
    }

    /// Opens `path` refusing every symlink on the way, the last component included.
    ///
    /// # Errors
    /// `ELOOP` at a symlink, else as openat2(2).
    pub fn open_no_symlinks(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        self.resolve(path.as_ref(), flags, mode, resolve)
    }

    /// Opens the directory `path` (`O_PATH`), creating what is missing of it with `mode`.
    ///
    /// Symlinks are followed as [`Self::open_in_root`] would, also where they dangle: then their
    /// target is created.
    ///
    /// # Errors
    /// `ENOTDIR` if a component exists and is no directory, `ELOOP` after 40 symlinks, else as
    /// mkdirat(2) and openat2(2).
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_in_root(path.as_ref(), flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let real = self.create(path.as_ref(), Leaf::Directory, mode)?;
        self.open_no_symlinks(real, flags, Mode::empty())
    }

    /// Opens the file `path` (`O_PATH`, of any kind), creating an empty one if it is missing, and
    /// its directories, with `mode` for both.
    ///
    /// # Errors
    /// As [`Self::create_dir_all`].
    pub fn create_file_all(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<OwnedFd> {
        match self.open_in_root(path.as_ref(), OFlags::PATH, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let real = self.create(path.as_ref(), Leaf::File, mode)?;
        self.open_no_symlinks(real, OFlags::PATH, Mode::empty())
    }

    /// Creates what is missing of `path`; gives the path without any symlink.
    fn create(&self, path: &Path, leaf: Leaf, mode: Mode) -> io::Result<PathBuf> {
        let mut pending: Vec<_> = names(path);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let parent_flags = OFlags::PATH | OFlags::DIRECTORY;
            let parent = self.open_no_symlinks(&real, parent_flags, Mode::empty())?;
            let mut target = [0_u8; 4096];
            match rustix::fs::readlinkat_raw(&parent, &*name, &mut target[..]) {
                Ok(length) => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP.into());
                    }
                    let target = Path::new(std::ffi::OsStr::from_bytes(&target[..length]));
                    if target.is_absolute() {
                        real = PathBuf::from("/");
                    }
                    pending.extend(names(target));
                    continue;
                }
                // It exists and is no symlink.
                Err(Errno::INVAL) => {}
                Err(Errno::NOENT) => make(&parent, &name, leaf, pending.is_empty(), mode)?,
                Err(errno) => return Err(errno.into()),
            }
            real.push(name);
        }
        Ok(real)
    }

    fn resolve(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        how: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        // openat2 refuses mode bits where nothing is created.
        let creates = flags.intersects(OFlags::CREATE | OFlags::TMPFILE);
        let mode = if creates { mode } else { Mode::empty() };
        let how = how | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, how) {
                // A rename or mount raced with the resolution of `..`; nothing was opened.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Directory,
    File,
}

/// The names of `path`, last first, without `.` and `/`.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

fn make(parent: &OwnedFd, name: &OsStr, leaf: Leaf, is_last: bool, mode: Mode) -> io::Result<()> {
    let made = if is_last && leaf == Leaf::File {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags | OFlags::WRONLY, mode).map(drop)
    } else {
        rustix::fs::mkdirat(parent, name, mode)
    };
    match made {
        // Somebody else made it meanwhile; what it is shows when it is opened.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
