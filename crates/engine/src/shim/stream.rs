//! Streams of attached clients: the shim's frames on one side, Docker's bytes on the other.
//!
//! Both use the same frames. So without a terminal output passes through untouched, and with one
//! the frames are taken off. Input is put into frames, and searched for the detach keys.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use runtime::shim::protocol::{Attached, Reply};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use crate::container::AttachStream;

const HEADER_BYTES: usize = 8;
/// The longest reply line that makes sense.
const MAX_REPLY_BYTES: usize = 64 << 10;
/// How much input is put into one frame.
const MAX_INPUT_BYTES: usize = 32 << 10;

/// Makes a client's stream of a connection to the shim. `begun` holds what was read of it already;
/// `reply_pending` tells whether the reply line is still to come.
pub(crate) fn attach_stream(
    connection: UnixStream,
    begun: Vec<u8>,
    reply_pending: bool,
    tty: bool,
    detach_keys: Vec<u8>,
) -> AttachStream {
    parts(connection, begun, reply_pending, tty, detach_keys).0
}

/// The same for an exec. The stream does not end before `ended` has, unless by a detach: whoever
/// saw its end may ask for what came of it.
pub(crate) fn exec_stream(
    connection: UnixStream,
    begun: Vec<u8>,
    tty: bool,
    detach_keys: Vec<u8>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> AttachStream {
    let (stream, detached) = parts(connection, begun, false, tty, detach_keys);
    let ended = async move {
        tokio::select! {
            () = ended => {}
            () = detached.cancelled() => {}
        }
    };
    let end = End { ended: Some(Box::pin(ended)) };
    AttachStream { reader: Box::new(stream.reader.chain(end)), ..stream }
}

fn parts(
    connection: UnixStream,
    begun: Vec<u8>,
    reply_pending: bool,
    tty: bool,
    detach_keys: Vec<u8>,
) -> (AttachStream, CancellationToken) {
    let (read, write) = connection.into_split();
    let detached = CancellationToken::new();
    let state = if reply_pending { ReadState::Reply } else { ReadState::first(tty) };
    let stream = AttachStream {
        reader: Box::new(OutputReader { inner: read, begun, at: 0, tty, state }),
        writer: Box::new(InputWriter {
            inner: write,
            out: Vec::new(),
            at: 0,
            closing: false,
            // Only someone at a terminal means to detach; in a pipe the same bytes are data.
            keys: DetachKeys { keys: if tty { detach_keys } else { Vec::new() }, matched: 0 },
            detached: detached.clone(),
        }),
        tty,
    };
    (stream, detached)
}

/// Nothing, but not at once.
struct End {
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ended) = &mut self.ended {
            ready!(ended.as_mut().poll(context));
            self.ended = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Makes a stream that says `message` and ends, as a failed exec does for its client.
pub(crate) fn error_stream(message: &str, tty: bool) -> AttachStream {
    let mut bytes = Vec::new();
    let text = format!("{message}\r\n");
    if !tty {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(text.as_bytes());
    AttachStream {
        reader: Box::new(io::Cursor::new(bytes)),
        writer: Box::new(tokio::io::sink()),
        tty,
    }
}

#[derive(Debug)]
enum ReadState {
    /// The reply line has not been read whole.
    Reply,
    /// Everything goes through as it is.
    Through,
    /// A frame's header is being read.
    Header { bytes: [u8; HEADER_BYTES], have: usize },
    /// So much of a frame's payload is left.
    Payload(usize),
}

impl ReadState {
    fn first(tty: bool) -> Self {
        if tty { Self::Header { bytes: [0; HEADER_BYTES], have: 0 } } else { Self::Through }
    }
}

#[derive(Debug)]
struct OutputReader {
    inner: OwnedReadHalf,
    /// Read but not handed on; `at` is where the rest begins.
    begun: Vec<u8>,
    at: usize,
    tty: bool,
    state: ReadState,
}

impl OutputReader {
    /// Reads from what was begun, else from the connection, at most `limit` bytes.
    fn poll_some(
        &mut self,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let limit = limit.min(buffer.remaining());
        if self.at < self.begun.len() {
            let count = limit.min(self.begun.len() - self.at);
            buffer.put_slice(&self.begun[self.at..self.at + count]);
            self.at += count;
            if self.at == self.begun.len() {
                self.begun = Vec::new();
                self.at = 0;
            }
            return Poll::Ready(Ok(count));
        }
        let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(limit));
        ready!(Pin::new(&mut self.inner).poll_read(ctx, &mut limited))?;
        let count = limited.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Reads the reply line; true when it is there, false at the end of the stream.
    fn poll_reply(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let reply: Reply<Attached> = serde_json::from_slice(&self.begun[..end])?;
                reply.into_result().map_err(|failure| io::Error::other(failure.message))?;
                self.begun.drain(..=end);
                return Poll::Ready(Ok(true));
            }
            if self.begun.len() > MAX_REPLY_BYTES {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let mut space = [0; 4096];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(ctx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.begun.extend(buffer.filled());
        }
    }
}

impl AsyncRead for OutputReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                ReadState::Reply => {
                    match ready!(this.poll_reply(ctx)) {
                        Ok(true) => this.state = ReadState::first(this.tty),
                        Ok(false) => return Poll::Ready(Ok(())),
                        // The container did not start: its starter is told why, not the attached.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                            return Poll::Ready(Ok(()));
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                ReadState::Through => {
                    return match ready!(this.poll_some(ctx, buffer, usize::MAX)) {
                        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                            Poll::Ready(Err(error))
                        }
                        _ => Poll::Ready(Ok(())),
                    };
                }
                ReadState::Header { bytes, have } => {
                    let (mut bytes, mut have) = (*bytes, *have);
                    let mut rest = ReadBuf::new(&mut bytes[have..]);
                    let outcome = this.poll_some(ctx, &mut rest, HEADER_BYTES);
                    let count = ready!(outcome)?;
                    have += count;
                    if count == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    this.state = if have < HEADER_BYTES {
                        ReadState::Header { bytes, have }
                    } else {
                        let [_, _, _, _, a, b, c, d] = bytes;
                        let length = usize::try_from(u32::from_be_bytes([a, b, c, d]));
                        ReadState::Payload(length.map_err(|_| io::ErrorKind::InvalidData)?)
                    };
                }
                ReadState::Payload(0) => this.state = ReadState::first(true),
                ReadState::Payload(left) => {
                    let left = *left;
                    let count = ready!(this.poll_some(ctx, buffer, left))?;
                    this.state = ReadState::Payload(left - count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

#[derive(Debug)]
struct InputWriter {
    inner: OwnedWriteHalf,
    /// A frame on its way; `at` is where the rest begins.
    out: Vec<u8>,
    at: usize,
    /// Whether the end of input is in `out` or was sent.
    closing: bool,
    keys: DetachKeys,
    /// Cancelled when the keys were pressed.
    detached: CancellationToken,
}

impl InputWriter {
    fn poll_out(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.out.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(ctx, &self.out[self.at..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += count;
        }
        self.out.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }

    fn frame(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.out.extend([0; 4]);
        self.out.extend(length.to_be_bytes());
        self.out.extend(payload);
    }
}

impl AsyncWrite for InputWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(ctx))?;
        let taken = &bytes[..bytes.len().min(MAX_INPUT_BYTES)];
        match self.keys.filter(taken) {
            Filtered::Input(input) => {
                if !input.is_empty() {
                    self.frame(&input);
                }
            }
            Filtered::Detach => {
                self.detached.cancel();
                // Ends the reading side too, and so the client's attachment.
                let _ = rustix::net::shutdown(
                    AsRef::<UnixStream>::as_ref(&self.inner),
                    rustix::net::Shutdown::Both,
                ); // the shim may have gone first
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "read escape sequence",
                )));
            }
        }
        // What the socket does not take now goes with the next call.
        let _ = self.poll_out(ctx)?;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            let rest = self.keys.take_held();
            if !rest.is_empty() {
                self.frame(&rest);
            }
            self.frame(&[]);
        }
        self.poll_out(ctx)
    }
}

enum Filtered {
    Input(Vec<u8>),
    Detach,
}

/// Looks for a key sequence in input that comes in pieces.
#[derive(Debug)]
struct DetachKeys {
    keys: Vec<u8>,
    /// How many keys were seen and held back.
    matched: usize,
}

impl DetachKeys {
    fn filter(&mut self, bytes: &[u8]) -> Filtered {
        if self.keys.is_empty() {
            return Filtered::Input(bytes.to_vec());
        }
        let mut input = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Filtered::Detach;
                }
                continue;
            }
            input.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(*byte == self.keys[0]);
            if self.matched == 0 {
                input.push(*byte);
            }
        }
        Filtered::Input(input)
    }

    fn take_held(&mut self) -> Vec<u8> {
        let held = self.keys[..self.matched].to_vec();
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: Option<&[u8]>) {
        let mut keys = DetachKeys { keys: vec![16, 17], matched: 0 };
        let mut input = Vec::new();
        for piece in pieces {
            match keys.filter(piece) {
                Filtered::Input(bytes) => input.extend(bytes),
                Filtered::Detach => return assert_eq!(None, expected, "{pieces:?}"),
            }
        }
        input.extend(keys.take_held());
        assert_eq!(Some(input.as_slice()), expected, "{pieces:?}");
    }

    #[test]
    fn detach_keys_are_found_across_pieces_and_else_passed_on() {
        check(&[b"abc"], Some(b"abc"));
        check(&[&[16, 17]], None);
        check(&[b"a", &[16], &[17]], None);
        check(&[&[16], b"x"], Some(&[16, b'x']));
        check(&[&[16, 16, 17]], None);
        check(&[&[16]], Some(&[16]));
    }
}
