//! Descriptors sent over Unix sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Once;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// How many descriptors one message carries at most; the kernel's own limit is little more.
pub const MAX_FDS: usize = 250;

/// Sends `bytes` (at least one) and `fds` (at most [`MAX_FDS`]) in one message.
///
/// # Errors
/// As sendmsg(2).
pub fn send_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let data = [IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives one message and the descriptors that came with it, which are close-on-exec.
///
/// # Errors
/// As recvmsg(2).
pub fn recv_fds(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(bytes)];
    let message = rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    Ok((message.bytes, fds))
}

/// Takes the descriptors `first..first + count` that the process was started with, as a service
/// manager hands over sockets, and makes them close-on-exec. They can be taken once.
///
/// # Errors
/// When one of them is not open, or they were taken before.
pub fn take_inherited(first: RawFd, count: u32) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: Once = Once::new();
    let mut fresh = false;
    TAKEN.call_once(|| fresh = true);
    if !fresh {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let end = i32::try_from(count).ok().and_then(|count| first.checked_add(count));
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    let set_cloexec = |fd: RawFd| {
        // SAFETY: the descriptor is only borrowed for one fcntl(2), which answers EBADF if it is
        // not open; nothing is read, written or closed through it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)
    };
    // All or nothing: no descriptor is owned before every one is known to be open.
    for fd in first..end {
        set_cloexec(fd)?;
    }
    // SAFETY: each is open (checked above) and was opened by whoever started this process, so no
    // other owner exists in it; the `Once` keeps it so.
    Ok((first..end).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_crosses_a_socket() {
        let (left, right) = UnixStream::pair().unwrap();
        let path = std::env::temp_dir().join(format!("teu-socket-{}", std::process::id()));
        std::fs::write(&path, "hello").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        send_fds(&left, b"x", &[file.as_fd()]).unwrap();
        let mut byte = [0; 1];
        let (length, mut fds) = recv_fds(&right, &mut byte).unwrap();
        assert_eq!((length, fds.len()), (1, 1));
        let mut content = String::new();
        std::fs::File::from(fds.remove(0)).read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello");
    }
}
