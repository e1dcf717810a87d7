//! Network namespaces as descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Makes a network namespace, runs `prepare` inside it, and returns to the caller's own.
///
/// The namespace lives as long as the descriptor, a socket opened by `prepare`, or a process in
/// it. Call this on a thread made for it: should the way back fail, the thread is lost to its own
/// namespace, which is why the error is then all it has to give.
///
/// # Errors
/// If the namespace cannot be made (EPERM, ENOSPC, ENOMEM) or left, or `prepare` fails.
pub fn make_network_namespace<T>(
    prepare: impl FnOnce() -> io::Result<T>,
) -> io::Result<(OwnedFd, T)> {
    let home = own_namespace()?;
    // SAFETY: unshare takes no pointers and moves the calling thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let made = own_namespace().and_then(|namespace| Ok((namespace, prepare()?)));
    rustix::thread::move_into_link_name_space(
        home.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )?;
    made
}

/// Opens the network namespace of a process.
///
/// # Errors
/// If the process is gone or hidden.
pub fn network_namespace_of(pid: u32) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/{pid}/ns/net"))?.into())
}

fn own_namespace() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}
