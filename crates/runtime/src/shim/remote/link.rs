//! A socket to a log service.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::RecvFlags;

use crate::shim::protocol::remote::Address;

/// How long a service may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixStream),
    Unixgram(UnixDatagram),
}

impl Link {
    pub(super) fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Udp(host) => udp(host),
            Address::Tcp(host) => tcp(host),
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            Address::Unixgram(path) => Self::unixgram(path),
        }
    }

    pub(super) fn unixgram(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self::Unixgram(socket))
    }

    /// Sends one message whole.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Unixgram(socket) => socket.send(message).map(drop),
            Self::Tcp(stream) => stream.write_all(message),
            Self::Unix(stream) => stream.write_all(message),
        }
    }

    /// Tells whether the other side has closed; what is written then would vanish without an error.
    pub(super) fn is_closed(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let peeked = match self {
            Self::Udp(_) | Self::Unixgram(_) => return false,
            Self::Tcp(stream) => rustix::net::recv(stream, &mut byte, flags),
            Self::Unix(stream) => rustix::net::recv(stream, &mut byte, flags),
        };
        peeked.is_ok_and(|(length, _)| length == 0)
    }
}

fn udp(host: &str) -> io::Result<Link> {
    first(host, |address| {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        Ok(Link::Udp(socket))
    })
}

fn tcp(host: &str) -> io::Result<Link> {
    first(host, |address| {
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_nodelay(true)?;
        Ok(Link::Tcp(stream))
    })
}

/// Tries the addresses of a host one after the other.
fn first(host: &str, open: impl Fn(SocketAddr) -> io::Result<Link>) -> io::Result<Link> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match open(address) {
            Ok(link) => return Ok(link),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
