//! One netlink socket: requests out, acknowledgements and dumps in.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket as RawSocket, SocketAddr};

/// The largest datagram the kernel builds for a dump is 32 KiB; acknowledgements repeat the request
/// only on request.
const RECEIVE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Socket {
    socket: RawSocket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = RawSocket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // An acknowledgement need not carry the request back.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Also receives what is told to a group.
    pub(super) fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_non_blocking(true)
    }

    /// The kernel's number for this socket; notifications carry that of who caused them.
    pub(super) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Lets one datagram be as large as a whole batch of rules.
    pub(super) fn allow_large_sends(&self, bytes: usize) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_send_buffer_size_force(self, bytes)?)
    }

    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends every message in one datagram and waits until each is acknowledged.
    ///
    /// The kernel goes on after a refusal; the error is the first refusal's, with its position.
    pub(super) fn execute<M: NetlinkSerializable>(
        &mut self,
        messages: impl IntoIterator<Item = (M, u16)>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let first = self.sequence.wrapping_add(1);
        for (message, flags) in messages {
            let sequence = self.next_sequence();
            append(&mut bytes, message, flags | NLM_F_REQUEST | NLM_F_ACK, sequence);
        }
        self.send(&bytes)?;
        let mut pending = self.sequence.wrapping_sub(first).wrapping_add(1);
        let mut result = Ok(());
        while pending > 0 {
            self.receive(|header, payload| {
                if header.sequence_number.wrapping_sub(first) > u32::MAX / 2 {
                    return; // left over from a request that was given up
                }
                if let Reply::Acknowledged(outcome) = payload {
                    pending -= 1;
                    if result.is_ok() {
                        result = outcome;
                    }
                }
            })?;
        }
        result
    }

    /// Asks for one object; `None` when there is none of that name.
    pub(super) fn get<M>(&mut self, message: M) -> io::Result<Option<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        match self.ask(message, 0) {
            Ok(mut answers) => Ok(answers.pop()),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for all objects of a kind.
    pub(super) fn dump<M>(&mut self, message: M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.ask(message, NLM_F_DUMP)
    }

    fn ask<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        let sequence = self.next_sequence();
        append(&mut bytes, message, flags | NLM_F_REQUEST, sequence);
        self.send(&bytes)?;
        let (mut answers, mut done, mut result) = (Vec::new(), false, Ok(()));
        while !done {
            self.receive(|header, reply| {
                if header.sequence_number != sequence {
                    return;
                }
                match reply {
                    Reply::Acknowledged(outcome) => {
                        result = outcome;
                        done = true;
                    }
                    Reply::Done => done = true,
                    Reply::Object(bytes) => {
                        // An object with an attribute this build cannot read is none we look for.
                        if let Ok(NetlinkMessage { payload, .. }) =
                            NetlinkMessage::deserialize(bytes)
                            && let NetlinkPayload::InnerMessage(object) = payload
                        {
                            answers.push(object);
                        }
                        done |= flags & NLM_F_DUMP == 0;
                    }
                }
            })?;
        }
        result.map(|()| answers)
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Hands every message of the next datagram to `each`.
    pub(super) fn receive(
        &mut self,
        mut each: impl FnMut(NetlinkHeader, Reply<'_>),
    ) -> io::Result<()> {
        self.buffer.clear();
        while let Err(error) = self.socket.recv(&mut self.buffer, 0) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let mut rest = self.buffer.as_slice();
        while let Some((header, body, next)) = split_message(rest) {
            let reply = match header.message_type {
                NLMSG_ERROR => Reply::Acknowledged(outcome(body)),
                NLMSG_DONE => Reply::Done,
                _ => Reply::Object(&rest[..HEADER_BYTES + body.len()]),
            };
            each(header, reply);
            rest = next;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to `self.socket`, which outlives this borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// One message from the kernel, its own kind undecoded.
pub(super) enum Reply<'a> {
    Acknowledged(io::Result<()>),
    Done,
    /// The whole message with its header.
    Object(&'a [u8]),
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;

fn split_message(bytes: &[u8]) -> Option<(NetlinkHeader, &[u8], &[u8])> {
    let header = bytes.get(..HEADER_BYTES)?;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?))
    };
    let length = usize::try_from(word(0)?).ok()?;
    let mut parsed = NetlinkHeader::default();
    parsed.message_type = u16::from_ne_bytes(header.get(4..6)?.try_into().ok()?);
    parsed.sequence_number = word(8)?;
    parsed.port_number = word(12)?;
    let body = bytes.get(HEADER_BYTES..length)?;
    Some((parsed, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn outcome(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().copied().map_or(-libc::EBADMSG, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// Appends a message, padded so that the next one may follow.
pub(super) fn append<M: NetlinkSerializable>(
    bytes: &mut Vec<u8>,
    message: M,
    flags: u16,
    sequence: u32,
) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
