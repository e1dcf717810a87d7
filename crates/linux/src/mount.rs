//! Mounts by descriptor: built detached, changed detached, attached once right.
//!
//! Every function works on descriptors of mounts and directories, never on the text of a path
//! that somebody else may change meanwhile.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

pub use rustix::mount::MountPropagationFlags;

/// The layers of an overlay mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Read-only layers, topmost first. At least one.
    pub lowers: Vec<PathBuf>,
    /// Upper directory; with none the mount is read-only and needs two lowers.
    pub upper: Option<PathBuf>,
    /// Work directory, on the file system of `upper`.
    pub work: Option<PathBuf>,
    /// More options as `key` or `key=value`, such as `metacopy=on`.
    pub options: Vec<String>,
}

/// What to change about a mount, as in `struct mount_attr`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`; 0 leaves propagation alone.
    pub propagation: u64,
}

/// `MOUNT_ATTR_RDONLY`.
pub const RDONLY: u64 = 0x01;
/// `MOUNT_ATTR_NOSUID`.
pub const NOSUID: u64 = 0x02;
/// `MOUNT_ATTR_NODEV`.
pub const NODEV: u64 = 0x04;
/// `MOUNT_ATTR_NOEXEC`.
pub const NOEXEC: u64 = 0x08;
/// `MOUNT_ATTR__ATIME`, the mask that must be cleared when one of the atime modes is set.
pub const ATIME_MASK: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`.
pub const NOATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICTATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NODIRATIME: u64 = 0x80;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const NOSYMFOLLOW: u64 = 0x0020_0000;

/// Mounts `overlay` detached: the mount is nowhere to be seen and ends with the descriptor,
/// unless [`attach`] puts it somewhere.
///
/// # Errors
/// As fsopen(2), fsconfig(2) and fsmount(2). The text carries the kernel's own explanation
/// from the file system context when it gave one.
pub fn overlay(overlay: &Overlay) -> io::Result<OwnedFd> {
    let context = FsContext::open("overlay")?;
    context.set("source", "overlay")?;
    // One option per layer has no page-size limit and no escaping. Older kernels cannot be asked:
    // up to 6.4 they take any option and fail at the end without saying which it was.
    if takes_single_layers(rustix::system::uname().release().to_bytes()) {
        for lower in &overlay.lowers {
            context.set_path("lowerdir+", lower)?;
        }
    } else {
        context.set("lowerdir", &joined_lowers(&overlay.lowers)?)?;
    }
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
        context.set_path("upperdir", upper)?;
        context.set_path("workdir", work)?;
    }
    for option in &overlay.options {
        context.option(option)?;
    }
    context.create(0)
}

/// Tells from its release whether a kernel is 6.8 or newer.
fn takes_single_layers(release: &[u8]) -> bool {
    let release = String::from_utf8_lossy(release);
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 8)
}

fn joined_lowers(lowers: &[PathBuf]) -> io::Result<String> {
    let mut joined = String::new();
    for lower in lowers {
        let text = lower.to_str().ok_or(Errno::INVAL)?;
        if !joined.is_empty() {
            joined.push(':');
        }
        for character in text.chars() {
            if matches!(character, ':' | ',' | '\\') {
                joined.push('\\');
            }
            joined.push(character);
        }
    }
    Ok(joined)
}

/// A file system being configured; becomes a detached mount.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
}

impl FsContext {
    /// Begins a new instance of the file system type `kind`.
    ///
    /// # Errors
    /// `ENODEV` for an unknown type.
    pub fn open(kind: &str) -> io::Result<Self> {
        Ok(Self { fd: rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)? })
    }

    /// Sets `key=value`.
    ///
    /// # Errors
    /// As fsconfig(2), with the kernel's message.
    pub fn set(&self, key: &str, value: &str) -> io::Result<()> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value).map_err(|e| self.explain(e))
    }

    /// Sets `key` to a path, as text.
    ///
    /// # Errors
    /// As [`Self::set`]; `EINVAL` for a path that is no UTF-8.
    pub fn set_path(&self, key: &str, value: &Path) -> io::Result<()> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value).map_err(|e| self.explain(e))
    }

    /// Sets an option as written for mount(8): `key` or `key=value`.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn option(&self, option: &str) -> io::Result<()> {
        match option.split_once('=') {
            Some((key, value)) => self.set(key, value),
            None => rustix::mount::fsconfig_set_flag(&self.fd, option).map_err(|e| self.explain(e)),
        }
    }

    /// Creates the file system and mounts it detached with the `MOUNT_ATTR_*` bits `attr`.
    ///
    /// # Errors
    /// As fsconfig(2) and fsmount(2), with the kernel's message.
    pub fn create(&self, attr: u64) -> io::Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.fd).map_err(|e| self.explain(e))?;
        let attr = u32::try_from(attr).map_err(|_| Errno::INVAL)?;
        let attr = MountAttrFlags::from_bits_retain(attr);
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attr)
            .map_err(|e| self.explain(e))
    }

    fn explain(&self, errno: Errno) -> io::Error {
        let mut buffer = [0_u8; 512];
        let Ok(length) = rustix::io::read(&self.fd, &mut buffer) else { return errno.into() };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let text = text.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start();
        let source: io::Error = errno.into();
        if text.is_empty() {
            source
        } else {
            io::Error::new(source.kind(), Explained { errno, text: text.to_owned() })
        }
    }
}

/// An error number with the kernel's own words.
#[derive(Debug)]
struct Explained {
    errno: Errno,
    text: String,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", io::Error::from(self.errno), self.text)
    }
}

impl std::error::Error for Explained {}

/// Clones the mount at `path` under `dir` (or of `dir` itself for an empty path) detached.
///
/// # Errors
/// As open_tree(2).
pub fn clone_tree(dir: impl AsFd, path: impl AsRef<Path>, tree: Tree) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if tree == Tree::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path.as_ref(), flags)?)
}

/// Whether an operation is for one mount or for all below it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// This mount only.
    Single,
    /// This mount and every mount below.
    Recursive,
}

/// Attaches the detached `mount` on the open directory or file `target`.
///
/// # Errors
/// As move_mount(2).
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Changes attributes or propagation of the mount that `mount` is in (its root).
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attr(mount: BorrowedFd<'_>, attr: MountAttr, tree: Tree) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attr.set,
        attr_clr: attr.clear,
        propagation: attr.propagation,
        userns_fd: 0,
    };
    set_attr_raw(mount, &attr, tree)
}

/// Maps the ids of the detached `mount` by the user namespace `user_namespace`.
///
/// # Errors
/// As mount_setattr(2) with `MOUNT_ATTR_IDMAP`.
pub fn set_idmap(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    tree: Tree,
) -> io::Result<()> {
    let userns_fd = u64::try_from(user_namespace.as_raw_fd()).map_err(|_| Errno::BADF)?;
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd,
    };
    set_attr_raw(mount, &attr, tree)
}

fn set_attr_raw(mount: BorrowedFd<'_>, attr: &libc::mount_attr, tree: Tree) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if tree == Tree::Recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a valid C string, `attr` points to an initialised struct of the size
    // given, and the kernel keeps no reference to either.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lazily unmounts what is mounted at `path`.
///
/// # Errors
/// As umount2(2) with `MNT_DETACH`.
pub fn detach(path: impl AsRef<Path>) -> io::Result<()> {
    let path = CString::new(path.as_ref().as_os_str().as_encoded_bytes())?;
    Ok(rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("6.18.44-fc-v669", true),
            ("6.8.0-31-generic", true),
            ("6.1.0-40-amd64", false),
            ("5.15.167.4-microsoft-standard-WSL2", false),
            ("7.0", true),
        ] {
            assert_eq!(takes_single_layers(release.as_bytes()), expected, "{release}");
        }
    }

    #[test]
    fn joined_layers_are_escaped() {
        let joined = joined_lowers(&["/a:b".into(), "/c,d".into()]).unwrap();
        assert_eq!(joined, "/a\\:b:/c\\,d");
    }
}
