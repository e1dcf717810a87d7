//! Project quotas: how much the files of one project may take together, on file systems that count
//! by project. A project is a number that directories hand on to what is made in them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Quotas count users, groups and projects; these calls are about the last.
const PROJECTS: u32 = 2;
const GET: u32 = 0x80_0007;
const SET: u32 = 0x80_0008;
/// Like [`GET`], of the first project from a number on that has something to tell.
const NEXT: u32 = 0x80_0009;
const GET_STATE: u32 = 0x5805;
/// In the state's flags: project limits are enforced, not only counted.
const ENFORCED: u16 = 1 << 5;
/// The unit of limits; usage is in bytes.
const BLOCK_BYTES: u64 = 1024;

/// quotactl(2)'s `nextdqblk`, which is `dqblk` with a name for what fills that up.
#[repr(C)]
#[derive(Default)]
struct Limits {
    hard_blocks: u64,
    soft_blocks: u64,
    used_bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    used_inodes: u64,
    block_grace: u64,
    inode_grace: u64,
    valid: u32,
    project: u32,
}

/// Which of [`Limits`] counts: the two on blocks.
const BLOCK_LIMITS: u32 = 1;

/// quotactl(2)'s `fs_quota_stat`, of which the beginning is enough; the kernel writes about eighty
/// bytes.
#[repr(C, align(8))]
struct State {
    _version: i8,
    flags: u16,
    _rest: [u8; 252],
}

/// ioctl_xfs_fsgetxattr(2)'s `fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    _extent_size: u32,
    _extents: u32,
    project: u32,
    _rest: [u32; 3],
}

const GET_ATTRIBUTES: u32 = 0x801c_581f;
const SET_ATTRIBUTES: u32 = 0x401c_5820;
/// What is made in the directory belongs to the same project.
const INHERIT: u32 = 0x200;

/// What a project takes, and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
    /// `None` is without limit.
    pub limit_bytes: Option<u64>,
}

/// Tells whether limits of projects hold on the file system that `dir` is on.
///
/// # Errors
/// Only such that say nothing about quotas; a file system without any is `false`.
pub fn is_enforced(dir: impl AsFd) -> io::Result<bool> {
    let mut state = State { _version: 0, flags: 0, _rest: [0; 252] };
    match quotactl(dir, GET_STATE, 0, &mut state) {
        Ok(()) => Ok(state.flags & ENFORCED != 0),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL | libc::ESRCH | libc::EOPNOTSUPP) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Returns the project of a file; 0 is none in particular.
///
/// # Errors
/// `ENOTTY`, `EOPNOTSUPP` on file systems without projects.
pub fn project_of(file: impl AsFd) -> io::Result<u32> {
    attributes(&file).map(|attributes| attributes.project)
}

/// Makes an empty directory, and whatever will be made in it, a project's.
///
/// # Errors
/// As ioctl_xfs_fssetxattr(2).
pub fn set_project(dir: impl AsFd, project: u32) -> io::Result<()> {
    let mut attributes = attributes(&dir)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the request takes one such struct, which outlives the call.
    let result = unsafe {
        libc::ioctl(dir.as_fd().as_raw_fd(), SET_ATTRIBUTES.into(), std::ptr::from_ref(&attributes))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn attributes(file: &impl AsFd) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the request fills one such struct, which outlives the call.
    let result = unsafe {
        libc::ioctl(
            file.as_fd().as_raw_fd(),
            GET_ATTRIBUTES.into(),
            std::ptr::from_mut(&mut attributes),
        )
    };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

/// Limits what a project may take; `None` takes the limit away.
///
/// # Errors
/// As quotactl(2): `ESRCH` where projects are not counted, `EPERM` without CAP_SYS_ADMIN.
pub fn limit_project(dir: impl AsFd, project: u32, bytes: Option<u64>) -> io::Result<()> {
    let blocks = bytes.map_or(0, |bytes| bytes.div_ceil(BLOCK_BYTES).max(1));
    let mut limits = Limits {
        hard_blocks: blocks,
        soft_blocks: blocks,
        valid: BLOCK_LIMITS,
        ..Limits::default()
    };
    quotactl(dir, SET, project, &mut limits)
}

/// Returns the first project from `first` on that has files or a limit, with what it takes; `None`
/// when there is none, or the kernel cannot tell.
///
/// # Errors
/// As quotactl(2).
pub fn next(dir: impl AsFd, first: u32) -> io::Result<Option<(u32, Usage)>> {
    let mut limits = Limits::default();
    match quotactl(dir, NEXT, first, &mut limits) {
        Ok(()) => Ok(Some((limits.project, limits.into()))),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOSYS | libc::EINVAL | libc::ESRCH | libc::EOPNOTSUPP) => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// Returns what a project takes.
///
/// # Errors
/// As quotactl(2).
pub fn usage(dir: impl AsFd, project: u32) -> io::Result<Usage> {
    let mut limits = Limits::default();
    match quotactl(dir, GET, project, &mut limits) {
        Ok(()) => {}
        // Nobody has used that number yet.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(limits.into())
}

impl From<Limits> for Usage {
    fn from(limits: Limits) -> Self {
        Self {
            bytes: limits.used_bytes,
            inodes: limits.used_inodes,
            limit_bytes: Some(limits.hard_blocks * BLOCK_BYTES).filter(|bytes| *bytes > 0),
        }
    }
}

/// By descriptor: by name it would take the block device, which a container's host may not show.
fn quotactl<T>(dir: impl AsFd, command: u32, id: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: each of the commands above reads or fills one struct of the kind its caller gives,
    // which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            dir.as_fd().as_raw_fd(),
            command << 8 | PROJECTS,
            id,
            std::ptr::from_mut(argument),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
