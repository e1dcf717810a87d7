//! A directory as a root that paths from outside cannot leave, by openat2(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// Each component is created and opened by itself, so that a symlink in the tree is followed
    /// within the root only.
    ///
    /// # Errors
    /// `ENOTDIR` if a component exists and is no directory, else as mkdirat(2) and openat2(2).
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let path = path.as_ref();
        match self.open_in_root(path, flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut done = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    let parent = self.open_in_root(&done, flags, Mode::empty())?;
                    done.push(name);
                    match rustix::fs::mkdirat(&parent, name, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Component::ParentDir => done.push(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        self.open_in_root(&done, flags, Mode::empty())
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

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
