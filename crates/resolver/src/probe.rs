//! Asking a server one question, to learn whether it answers at all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::message::{Answer, Query, kind};
use crate::random;

const PORT: u16 = 53;

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The response code; 0 is success.
    pub rcode: u8,
    /// Whether there was a record in it.
    pub has_data: bool,
    pub elapsed: Duration,
}

/// Asks for the address of `name`, or with an empty one for the servers of the root, which every
/// server knows. It is sent from the calling thread's network.
///
/// # Errors
/// When nothing comes back in time, or the server cannot be reached.
pub fn probe(server: IpAddr, name: &str, patience: Duration) -> io::Result<Probe> {
    const NS: u16 = 2;
    let query = Query::new(name, if name.is_empty() { NS } else { kind::A });
    let id = u16::try_from(random() & 0xffff).unwrap_or(0);
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(SocketAddr::new(server, PORT))?;
    let start = Instant::now();
    socket.send(&query.forwarded(id))?;
    let mut buffer = [0; 1500];
    loop {
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = Answer::parse(&buffer[..length], &query, id) {
            let (rcode, has_data) = (answer.rcode.0, answer.has_data());
            return Ok(Probe { rcode, has_data, elapsed: start.elapsed() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answers_is_told_from_one_that_does_not() {
        // Nobody listens at this address' port 53, or whoever does answers; both are news.
        let patience = Duration::from_millis(300);
        let start = Instant::now();
        let nobody = probe(IpAddr::from([127, 99, 98, 97]), "", patience);
        assert!(nobody.is_err() || start.elapsed() < patience);
        assert_eq!(Query::new("web.mynet", kind::A).name().as_deref(), Some("web.mynet"));
        assert_eq!(Query::new("", 2).name().as_deref(), Some(""));
    }
}
