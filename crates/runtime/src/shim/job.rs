//! A process of the container with its standard streams: init, or an exec.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux::process::{Exit, Pidfd};
use rustix::io::Errno;
use rustix::termios::Winsize;

use super::log::Source;
use super::protocol::Failure;
use crate::failure::During;
use crate::spawn::{Spawned, Streams, nonblocking};

/// Standard input that waits for the process to read.
const STDIN_LIMIT: usize = 64 << 10;

/// A process and the shim's ends of its streams.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pid: u32,
    pub(super) pidfd: Pidfd,
    pub(super) tty: bool,
    /// Present until the program runs.
    pub(super) sync: Option<OwnedFd>,
    pub(super) exit: Option<Exit>,
    /// Closed for good when the first client's input ends.
    pub(super) stdin_once: bool,
    stdin: Option<OwnedFd>,
    stdin_pending: VecDeque<u8>,
    stdin_ends: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// What a read of output brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// This many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end.
    End,
}

impl Job {
    pub(super) fn new(spawned: Spawned, tty: bool) -> Self {
        let Spawned { pid, pidfd, sync, streams, rootfs: _ } = spawned;
        Self { sync: Some(sync), ..Self::running(pid, pidfd, streams, tty) }
    }

    /// A process that an external runtime has started already.
    pub(super) fn running(pid: u32, pidfd: Pidfd, streams: Streams, tty: bool) -> Self {
        Self {
            pid,
            pidfd,
            tty,
            sync: None,
            exit: None,
            stdin_once: false,
            stdin: streams.stdin,
            stdin_pending: VecDeque::new(),
            stdin_ends: false,
            stdout: streams.stdout,
            stderr: streams.stderr,
        }
    }

    /// Takes the master side of the process' terminal.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) -> Result<(), Failure> {
        let master = nonblocking(master)?;
        self.stdin = Some(master.try_clone().during(|| "duplicate terminal".to_owned())?);
        self.stdout = Some(master);
        Ok(())
    }

    /// Tells whether output may still come.
    pub(super) fn has_output(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    pub(super) fn output(&self, source: Source) -> Option<&OwnedFd> {
        match source {
            Source::Stdout => self.stdout.as_ref(),
            Source::Stderr => self.stderr.as_ref(),
        }
    }

    /// Reads what the process has written.
    pub(super) fn read(&mut self, source: Source, buffer: &mut [u8]) -> Output {
        let stream = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        let Some(fd) = stream else { return Output::Nothing };
        match rustix::io::read(&*fd, buffer) {
            Ok(length) if length > 0 => Output::Bytes(length),
            Err(Errno::AGAIN | Errno::INTR) => Output::Nothing,
            // A terminal whose last user is gone reads EIO.
            Ok(_) | Err(_) => {
                *stream = None;
                Output::End
            }
        }
    }

    /// Gives up output that somebody outside the container still holds open.
    pub(super) fn abandon_output(&mut self) {
        self.stdout = None;
        self.stderr = None;
    }

    /// The stream to write to, if there is something to write.
    pub(super) fn stdin_waiting(&self) -> Option<&OwnedFd> {
        self.stdin.as_ref().filter(|_| !self.stdin_pending.is_empty())
    }

    pub(super) fn has_open_stdin(&self) -> bool {
        self.stdin.is_some() && !self.stdin_ends
    }

    pub(super) fn accepts_stdin(&self) -> bool {
        self.stdin_pending.len() < STDIN_LIMIT
    }

    /// Queues input.
    pub(super) fn push_stdin(&mut self, bytes: &[u8]) {
        if self.has_open_stdin() {
            self.stdin_pending.extend(bytes);
            self.write_stdin();
        }
    }

    /// Ends input once what is queued has been written.
    pub(super) fn end_stdin(&mut self) {
        self.stdin_ends = true;
        self.write_stdin();
    }

    /// Writes as much as the process takes.
    pub(super) fn write_stdin(&mut self) {
        while let Some(fd) = &self.stdin {
            let (head, _) = self.stdin_pending.as_slices();
            if head.is_empty() {
                break;
            }
            match rustix::io::write(fd, head) {
                Ok(length) => drop(self.stdin_pending.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The process has closed its end: nobody will read the rest.
                Err(_) => {
                    self.stdin_pending.clear();
                    self.stdin = None;
                }
            }
        }
        // A terminal's input is not closed: its master is the output as well.
        if self.stdin_ends && !self.tty {
            self.stdin = None;
        }
    }

    /// Sets the size of the terminal.
    pub(super) fn resize(&self, rows: u16, cols: u16) -> Result<(), Failure> {
        let master = self.stdout.as_ref().filter(|_| self.tty);
        let master = master.ok_or_else(|| Failure::invalid("the process has no terminal"))?;
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master.as_fd(), size)
            .map_err(io::Error::from)
            .during(|| "resize terminal".to_owned())
    }
}
