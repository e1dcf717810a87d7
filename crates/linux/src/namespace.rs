//! Namespaces, entered only on threads made for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Runs `work` on a new thread that has joined the namespace `namespace`, and waits for it.
///
/// The calling thread stays where it is. Works for every namespace a thread can enter (network,
/// UTS, IPC, cgroup, and mount since the thread gets its own fs_struct), not for pid and user.
///
/// # Errors
/// If the thread cannot be started or setns(2) fails; `work` does not run then.
///
/// # Panics
/// Resumes a panic of `work`.
pub fn in_namespace<T, F>(namespace: BorrowedFd<'_>, work: F) -> io::Result<T>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(
            scope,
            move || {
                enter(namespace)?;
                Ok(work())
            },
        )?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `work` on a new thread with a copy of the mounts, and waits for it.
///
/// What `work` mounts is seen by nobody else and ends with the thread and the descriptors it
/// leaves open.
///
/// # Errors
/// If the thread cannot be started or unshare(2) fails; `work` does not run then.
///
/// # Panics
/// Resumes a panic of `work`.
pub fn with_private_mounts<T, F>(work: F) -> io::Result<T>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mounts".to_owned()).spawn_scoped(
            scope,
            move || {
                copy_mounts()?;
                Ok(work())
            },
        )?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn copy_mounts() -> io::Result<()> {
    // SAFETY: unshare takes no pointers; it affects the calling thread, which was made for this.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if unshared != 0 {
        return Err(io::Error::last_os_error());
    }
    // Nothing comes back to the host from here.
    let private =
        rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE;
    Ok(rustix::mount::mount_change("/", private)?)
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // A mount namespace is refused to a task that shares its root and cwd with others.
    // SAFETY: unshare takes no pointers; it affects the calling thread, which was made for this.
    let unshared = unsafe { libc::unshare(libc::CLONE_FS) };
    if unshared != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: setns takes no pointers; the descriptor is borrowed and thus open.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), 0) };
    if entered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves this process into the namespaces `kinds` (`CLONE_NEW*` bits) of `target`: a namespace's
/// own descriptor, or a pidfd, whose namespaces of all those kinds are joined at once.
///
/// # Errors
/// As setns(2).
pub fn join(target: BorrowedFd<'_>, kinds: u64) -> io::Result<()> {
    let bits = i32::try_from(kinds).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: setns takes no pointers; the descriptor is borrowed and thus open.
    let joined = unsafe { libc::setns(target.as_raw_fd(), bits) };
    if joined == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the namespaces `kinds` (`CLONE_NEW*` bits) for new ones.
///
/// # Errors
/// As unshare(2).
pub fn unshare(kinds: u64) -> io::Result<()> {
    let bits = i32::try_from(kinds).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: unshare takes an integer.
    let done = unsafe { libc::unshare(bits) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tells which user namespace owns a namespace, by its inode.
///
/// # Errors
/// As ioctl(2) with `NS_GET_USERNS`; `EPERM` for an owner outside of the caller's own.
pub fn owner(namespace: impl AsFd) -> io::Result<u64> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the request takes no argument; the descriptor is borrowed and thus open.
    let fd = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us.
    let owner = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(rustix::fs::fstat(owner)?.st_ino)
}

/// Sets the loopback interface of the current network namespace up.
///
/// # Errors
/// As ioctl(2) with `SIOCSIFFLAGS`.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    // SAFETY: the name is terminated and the kernel reads and writes within the struct.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the flags are the member that the call above filled in.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | 1; // IFF_UP
    // SAFETY: as above.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
