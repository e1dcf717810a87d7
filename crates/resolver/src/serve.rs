//! Sockets and clock around [`Core`]: one thread that decides, one poll, until the shim is gone or nobody has
//! asked for a while.

mod attempts;
mod clients;
mod host;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, Resource, Rlimit};

use crate::core::{Client, Core, Output};
use crate::serve::attempts::{Attempts, Heard};
use crate::serve::clients::Clients;
use crate::serve::host::Host;
use crate::view::Files;

/// Who has nothing to do gives his memory back: the next query starts another.
const IDLE: Duration = Duration::from_secs(300);
/// A query has 12 bytes, a name, and little more.
const QUERY_BYTES: usize = 2048;
const QUERIES_AT_A_TIME: usize = 64;
/// Enough for all attempts of all open questions.
const DESCRIPTORS: u64 = 8192;

/// What the resolver is started with.
#[derive(Debug)]
pub struct Sockets {
    /// Bound to [`crate::ADDRESS`] in the container's network.
    pub udp: OwnedFd,
    /// The same, and listening.
    pub tcp: OwnedFd,
    /// The host's network; the calling thread is in the container's.
    pub host: OwnedFd,
}

/// What a polled descriptor stands for.
#[derive(Debug, Clone, Copy)]
enum Token {
    Parent,
    Udp,
    Tcp,
    Client(u64),
    Attempt(u64),
}

/// Answers the queries of the container in `bundle`.
///
/// Returns when the parent process has ended, or nobody has asked for five minutes; queries that
/// come after that wait in the sockets.
///
/// # Errors
/// When the sockets cannot be used.
pub fn serve(bundle: &Path, sockets: Sockets) -> io::Result<()> {
    Server::new(bundle, sockets)?.run()
}

struct Server {
    core: Core,
    files: Files,
    parent: OwnedFd,
    udp: UdpSocket,
    tcp: TcpListener,
    clients: Clients,
    attempts: Attempts,
    active: Instant,
}

impl Server {
    fn new(bundle: &Path, sockets: Sockets) -> io::Result<Self> {
        let parent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
        let parent = rustix::process::pidfd_open(parent, PidfdFlags::empty())?;
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let current = Some(DESCRIPTORS.min(limit.maximum.unwrap_or(DESCRIPTORS)));
        // With fewer, fewer questions are open at a time.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current, ..limit });
        let (udp, tcp) = (UdpSocket::from(sockets.udp), TcpListener::from(sockets.tcp));
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        // From here on nothing needs a right.
        let host = Host::start(sockets.host)?;
        Ok(Self {
            core: Core::new(crate::random),
            files: Files::new(bundle),
            parent,
            udp,
            tcp,
            clients: Clients::default(),
            attempts: Attempts::new(host),
            active: Instant::now(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.poll()?;
            let mut output = Vec::new();
            let now = Instant::now();
            if ready.iter().any(|(token, _)| matches!(token, Token::Udp | Token::Client(_))) {
                self.refresh();
            }
            for (token, flags) in ready {
                match token {
                    // The container ends, and its network with it.
                    Token::Parent => return Ok(()),
                    Token::Udp => self.receive(now, &mut output),
                    Token::Tcp => self.clients.accept(&self.tcp, now),
                    Token::Client(number) => self.hear_client(now, number, flags, &mut output),
                    Token::Attempt(number) => self.hear_upstream(now, number, flags, &mut output),
                }
            }
            self.core.tick(now, &mut output);
            self.act(now, output);
            self.clients.end_idle(now);
            if self.is_idle(now) {
                return Ok(());
            }
        }
    }

    fn poll(&self) -> io::Result<Vec<(Token, PollFlags)>> {
        let mut interests: Vec<(Token, BorrowedFd<'_>, PollFlags)> = vec![
            (Token::Parent, self.parent.as_fd(), PollFlags::IN),
            (Token::Udp, self.udp.as_fd(), PollFlags::IN),
        ];
        if self.clients.has_room() {
            interests.push((Token::Tcp, self.tcp.as_fd(), PollFlags::IN));
        }
        let clients = self.clients.interests();
        interests.extend(clients.map(|(number, fd, flags)| (Token::Client(number), fd, flags)));
        let attempts = self.attempts.interests();
        interests.extend(attempts.map(|(number, fd, flags)| (Token::Attempt(number), fd, flags)));
        let mut fds: Vec<_> =
            interests.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let due = [self.core.due(), self.clients.due(), Some(self.active + IDLE)];
        let due = due.into_iter().flatten().min();
        // A millisecond more, so that what is due then is due.
        let left =
            due.map(|due| due.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = interests.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|((token, ..), fd)| (*token, fd.revents())).collect())
    }

    fn refresh(&mut self) {
        let before = std::mem::take(&mut self.core.view.upstreams);
        self.core.view.upstreams.clone_from(&before);
        self.files.refresh(&mut self.core.view);
        if self.core.view.upstreams != before {
            self.core.upstreams_changed();
        }
    }

    fn receive(&mut self, now: Instant, output: &mut Vec<Output>) {
        let mut buffer = [0; QUERY_BYTES];
        for _ in 0..QUERIES_AT_A_TIME {
            // Errors are news of earlier answers that nobody took.
            let Ok((length, from)) = self.udp.recv_from(&mut buffer) else { return };
            self.active = now;
            self.core.query(now, Client::Udp(from), &buffer[..length], output);
        }
    }

    fn hear_client(
        &mut self,
        now: Instant,
        number: u64,
        flags: PollFlags,
        output: &mut Vec<Output>,
    ) {
        for packet in self.clients.hear(number, flags, now) {
            self.active = now;
            self.core.query(now, Client::Tcp(number), &packet, output);
        }
    }

    fn hear_upstream(
        &mut self,
        now: Instant,
        number: u64,
        flags: PollFlags,
        output: &mut Vec<Output>,
    ) {
        match self.attempts.hear(number, flags) {
            Heard::Nothing => {}
            Heard::Answer(bytes) => self.core.answer(now, number, &bytes, output),
            Heard::Failure => self.core.failed(now, number, output),
        }
    }

    /// Does what the core wants; what fails at once makes it want more.
    fn act(&mut self, now: Instant, mut output: Vec<Output>) {
        while !output.is_empty() {
            for wish in std::mem::take(&mut output) {
                match wish {
                    Output::Reply { client: Client::Udp(to), bytes } => {
                        // A client that is gone, or whose buffer is full, asks again.
                        let _ = self.udp.send_to(&bytes, to);
                    }
                    Output::Reply { client: Client::Tcp(number), bytes } => {
                        self.clients.reply(number, &bytes);
                    }
                    Output::Ask { attempt, upstream, via, bytes } => {
                        if self.attempts.ask(attempt, upstream, via, &bytes).is_err() {
                            self.core.failed(now, attempt, &mut output);
                        }
                    }
                    Output::Forget { attempt } => self.attempts.forget(attempt),
                }
            }
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        now >= self.active + IDLE && self.clients.is_empty() && self.core.due().is_none()
    }
}
