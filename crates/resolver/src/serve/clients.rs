//! Clients that ask over TCP: messages with their length before them, one after another.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

const CLIENTS_MAX: usize = 128;
const IDLE: Duration = Duration::from_secs(20);
/// What one may be behind with reading before nothing more is read from it.
const OUTBOX_BYTES: usize = 256 << 10;

/// All connections, by number.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: BTreeMap<u64, TcpClient>,
    last_number: u64,
}

#[derive(Debug)]
struct TcpClient {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    active: Instant,
    /// It sends no more.
    ended: bool,
    /// Questions whose answers it waits for.
    open: usize,
}

impl Clients {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.clients.len() < CLIENTS_MAX
    }

    pub(super) fn accept(&mut self, listener: &TcpListener, now: Instant) {
        while self.has_room()
            && let Ok((stream, _)) = listener.accept()
        {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let _ = stream.set_nodelay(true); // only slower without
            self.last_number += 1;
            let (inbox, outbox) = (Vec::new(), Vec::new());
            let client = TcpClient { stream, inbox, outbox, active: now, ended: false, open: 0 };
            self.clients.insert(self.last_number, client);
        }
    }

    pub(super) fn interests(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(|(number, client)| {
            let mut flags = PollFlags::empty();
            if !client.ended && client.outbox.len() < OUTBOX_BYTES {
                flags |= PollFlags::IN;
            }
            if !client.outbox.is_empty() {
                flags |= PollFlags::OUT;
            }
            (*number, client.stream.as_fd(), flags)
        })
    }

    /// Reads what a client has sent: whole messages.
    pub(super) fn hear(&mut self, number: u64, flags: PollFlags, now: Instant) -> Vec<Vec<u8>> {
        let Some(client) = self.clients.get_mut(&number) else { return Vec::new() };
        client.active = now;
        let hung_up = flags.contains(PollFlags::HUP) && !flags.contains(PollFlags::IN);
        let is_dead = hung_up || flags.intersects(PollFlags::ERR | PollFlags::NVAL);
        let packets = if flags.contains(PollFlags::IN) { client.read() } else { Some(Vec::new()) };
        let Some(packets) = packets.filter(|_| !is_dead && client.write()) else {
            self.clients.remove(&number);
            return Vec::new();
        };
        client.open += packets.len();
        self.end_if_done(number);
        packets
    }

    pub(super) fn reply(&mut self, number: u64, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Ok(length) = u16::try_from(bytes.len()) else { return };
        client.open = client.open.saturating_sub(1);
        client.outbox.extend_from_slice(&length.to_be_bytes());
        client.outbox.extend_from_slice(bytes);
        if !client.write() {
            self.clients.remove(&number);
            return;
        }
        self.end_if_done(number);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.clients.values().map(|client| client.active + IDLE).min()
    }

    pub(super) fn end_idle(&mut self, now: Instant) {
        self.clients.retain(|_, client| now < client.active + IDLE);
    }

    fn end_if_done(&mut self, number: u64) {
        let is_done =
            |client: &TcpClient| client.ended && client.open == 0 && client.outbox.is_empty();
        if self.clients.get(&number).is_some_and(is_done) {
            self.clients.remove(&number);
        }
    }
}

impl TcpClient {
    /// `None`: the connection is broken.
    fn read(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => self.inbox.extend_from_slice(&buffer[..length]),
            Err(error) if is_momentary(error.kind()) => {}
            Err(_) => return None,
        }
        let mut packets = Vec::new();
        while let Some(packet) = take_message(&mut self.inbox) {
            packets.push(packet);
        }
        Some(packets)
    }

    fn write(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(length) => drop(self.outbox.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

pub(super) fn is_momentary(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Takes the first message out of what has come, once it is whole.
pub(super) fn take_message(inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = inbox.split_first_chunk::<2>()?;
    let message = rest.get(..usize::from(u16::from_be_bytes(*length)))?.to_vec();
    inbox.drain(..2 + message.len());
    Some(message)
}
