//! One client of the shim's socket.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::Serialize;

use super::protocol::{Failure, MAX_REQUEST_BYTES, Reply, Request, Streams, frame};

/// Output a client may be behind before its container has to wait.
const OUTBOX_LIMIT: usize = 256 << 10;

/// What the connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// The request has not come yet.
    Request,
    /// Answered when init has exited.
    WaitInit,
    /// Answered when this exec has exited.
    WaitExec(String),
    /// Answered when this exec's program runs; `None` detached, else streams follow.
    Starting { exec_id: String, streams: Option<Streams> },
    /// Becomes `Streaming` of init with the answer, once init has been started.
    Attaching(Streams),
    /// Carries frames of a job.
    Streaming { job: String, streams: Streams },
    /// Closed once everything is written.
    Closing,
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) phase: Phase,
    line: Vec<u8>,
    /// What came with the request.
    sockets: Vec<OwnedFd>,
    outbox: Vec<u8>,
    written: usize,
    decoder: frame::Decoder,
    /// No more input comes from it.
    pub(super) input_ended: bool,
    /// It is gone.
    pub(super) broken: bool,
}

/// What reading from a client brought.
#[derive(Debug)]
pub(super) enum Input {
    /// Nothing whole yet.
    Nothing,
    /// The request.
    Request(Box<Request>),
    /// No request that can be understood.
    Malformed(String),
    /// Bytes for standard input, and whether it ends with them.
    Stdin { bytes: Vec<u8>, ends: bool },
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            phase: Phase::Request,
            line: Vec::new(),
            sockets: Vec::new(),
            outbox: Vec::new(),
            written: 0,
            decoder: frame::Decoder::default(),
            input_ended: false,
            broken: false,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn wants_write(&self) -> bool {
        self.written < self.outbox.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.outbox.len() - self.written >= OUTBOX_LIMIT
    }

    pub(super) fn is_done(&self) -> bool {
        self.broken || (self.phase == Phase::Closing && !self.wants_write())
    }

    /// Reads what has come.
    pub(super) fn read(&mut self) -> Input {
        let mut buffer = [0_u8; 16 << 10];
        let length = match linux::socket::recv_fds(&self.stream, &mut buffer) {
            Ok((length, sockets)) => {
                // Others close: only a request has use for them.
                if self.phase == Phase::Request {
                    self.sockets.extend(sockets);
                }
                length
            }
            Err(error) if would_block(&error) => return Input::Nothing,
            Err(_) => {
                self.broken = true;
                0
            }
        };
        let bytes = &buffer[..length];
        if length == 0 {
            self.input_ended = true;
        }
        match &self.phase {
            Phase::Request => self.read_request(bytes),
            Phase::Streaming { .. } => self.read_frames(bytes),
            // The other side has closed or says what nobody asked for.
            _ => {
                self.broken |= length == 0 && !matches!(self.phase, Phase::Closing);
                Input::Nothing
            }
        }
    }

    /// The descriptors that came with the request.
    pub(super) fn take_sockets(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.sockets)
    }

    fn read_request(&mut self, bytes: &[u8]) -> Input {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            if self.input_ended {
                self.broken = true;
            } else if self.line.len() >= MAX_REQUEST_BYTES {
                return Input::Malformed("request is too long".to_owned());
            }
            return Input::Nothing;
        };
        self.line.extend_from_slice(&bytes[..end]);
        // A client may send its first frames together with the request.
        self.decoder.push(&bytes[end + 1..]);
        let line = std::mem::take(&mut self.line);
        match serde_json::from_slice(&line) {
            Ok(request) => Input::Request(Box::new(request)),
            Err(error) => Input::Malformed(format!("malformed request: {error}")),
        }
    }

    fn read_frames(&mut self, bytes: &[u8]) -> Input {
        self.decoder.push(bytes);
        self.take_frames()
    }

    /// Takes the frames that have come so far.
    pub(super) fn take_frames(&mut self) -> Input {
        let mut taken = Vec::new();
        let mut ends = self.input_ended;
        loop {
            match self.decoder.next_frame() {
                Ok(Some((frame::Stream::Stdin, []))) => ends = true,
                Ok(Some((frame::Stream::Stdin, payload))) => taken.extend_from_slice(payload),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.broken = true;
                    ends = true;
                    break;
                }
            }
        }
        Input::Stdin { bytes: taken, ends }
    }

    /// Queues a reply and tries to send it.
    pub(super) fn reply<T: Serialize>(&mut self, reply: Result<T, Failure>) {
        let reply = match reply {
            Ok(value) => Reply::Ok(value),
            Err(failure) => Reply::Error(failure),
        };
        match serde_json::to_vec(&reply) {
            Ok(line) => {
                self.outbox.extend_from_slice(&line);
                self.outbox.push(b'\n');
            }
            Err(_) => self.broken = true,
        }
        self.flush();
    }

    /// Queues a reply, after which the connection ends.
    pub(super) fn finish<T: Serialize>(&mut self, reply: Result<T, Failure>) {
        self.phase = Phase::Closing;
        self.reply(reply);
    }

    /// Queues output and tries to send it.
    pub(super) fn frame(&mut self, stream: frame::Stream, payload: &[u8]) {
        frame::encode(stream, payload, &mut self.outbox);
        self.flush();
    }

    /// Sends as much as the client takes.
    pub(super) fn flush(&mut self) {
        while self.wants_write() && !self.broken {
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if would_block(&error) => break,
                Err(_) => self.broken = true,
            }
        }
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.outbox.shrink_to(4 << 10);
            self.written = 0;
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
