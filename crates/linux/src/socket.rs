//! Descriptors sent over Unix sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Sends `bytes` (at least one) and `fds` (at most 8) in one message.
///
/// # Errors
/// As sendmsg(2).
pub fn send_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
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
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
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
