//! Messages to upstreams, each from a socket of its own: a random port is the half of what makes
//! an answer hard to forge that the kernel checks.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::clients::{is_momentary, take_message};
use super::host::Host;
use crate::core::Via;
use crate::view::Upstream;

const PORT: u16 = 53;
const ANSWER_BYTES: usize = 65535;

/// All attempts, by number.
#[derive(Debug)]
pub(super) struct Attempts {
    attempts: BTreeMap<u64, Attempt>,
    host: Host,
}

#[derive(Debug)]
enum Attempt {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, outbox: Vec<u8>, inbox: Vec<u8> },
}

/// What an attempt brought.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    Answer(Vec<u8>),
    Failure,
}

impl Attempts {
    pub(super) fn new(host: Host) -> Self {
        Self { attempts: BTreeMap::new(), host }
    }

    /// Sends a message.
    pub(super) fn ask(
        &mut self,
        number: u64,
        upstream: Upstream,
        via: Via,
        bytes: &[u8],
    ) -> io::Result<()> {
        let to = SocketAddr::new(upstream.address, PORT);
        let attempt = if upstream.on_host {
            let bytes = bytes.to_vec();
            self.host.run(move || open(to, via, &bytes))?
        } else {
            open(to, via, bytes)?
        };
        self.attempts.insert(number, attempt);
        Ok(())
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.attempts.remove(&number);
    }

    pub(super) fn interests(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> {
        self.attempts.iter().map(|(number, attempt)| match attempt {
            Attempt::Udp(socket) => (*number, socket.as_fd(), PollFlags::IN),
            Attempt::Tcp { stream, outbox, .. } if outbox.is_empty() => {
                (*number, stream.as_fd(), PollFlags::IN)
            }
            Attempt::Tcp { stream, .. } => (*number, stream.as_fd(), PollFlags::OUT),
        })
    }

    pub(super) fn hear(&mut self, number: u64, flags: PollFlags) -> Heard {
        let Some(attempt) = self.attempts.get_mut(&number) else { return Heard::Nothing };
        let heard = match attempt {
            Attempt::Udp(socket) => {
                let mut buffer = vec![0; ANSWER_BYTES];
                socket.recv(&mut buffer).map(|length| {
                    buffer.truncate(length);
                    Heard::Answer(buffer)
                })
            }
            Attempt::Tcp { stream, outbox, .. } if flags.contains(PollFlags::OUT) => {
                stream.write(outbox).map(|length| {
                    outbox.drain(..length);
                    Heard::Nothing
                })
            }
            Attempt::Tcp { stream, inbox, .. } => read_answer(stream, inbox),
        };
        match heard {
            Ok(heard) => heard,
            Err(error) if is_momentary(error.kind()) => Heard::Nothing,
            Err(_) => Heard::Failure,
        }
    }
}

fn read_answer(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> io::Result<Heard> {
    let mut buffer = [0; 8192];
    let length = stream.read(&mut buffer)?;
    if length == 0 {
        return Ok(Heard::Failure);
    }
    inbox.extend_from_slice(&buffer[..length]);
    Ok(take_message(inbox).map_or(Heard::Nothing, Heard::Answer))
}

fn open(to: SocketAddr, via: Via, bytes: &[u8]) -> io::Result<Attempt> {
    match via {
        Via::Udp => {
            let any = match to.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let socket = UdpSocket::bind((any, 0))?;
            // Only his answers are received, and the news that nobody listens there.
            socket.connect(to)?;
            socket.set_nonblocking(true)?;
            socket.send(bytes)?;
            Ok(Attempt::Udp(socket))
        }
        Via::Tcp => {
            let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
            match rustix::net::connect(&socket, &to) {
                Ok(()) | Err(Errno::INPROGRESS) => {}
                Err(errno) => return Err(errno.into()),
            }
            let length = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            let outbox = [&length.to_be_bytes(), bytes].concat();
            Ok(Attempt::Tcp { stream: TcpStream::from(socket), outbox, inbox: Vec::new() })
        }
    }
}
