//! Requests out of a stream of bytes.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::Upid;
use super::upid::unescape;

/// Headers longer than this are refused.
const HEAD_MAX: usize = 16 * 1024;

/// More headers than libprocess sends.
const HEADERS_MAX: usize = 64;

/// One message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The process that is meant.
    pub to: String,
    /// The message's name, such as `mesos.internal.PingSlaveMessage`.
    pub name: String,
    /// Who sent it; the same thing for messages of one sender that follow each other.
    pub from: Arc<Upid>,
    /// The message.
    pub body: Bytes,
}

/// Why a stream holds no further message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The request is no HTTP.
    #[error("the request is not HTTP: {0}")]
    Http(String),
    /// The path does not name a process and a message.
    #[error("the path '{0}' does not name a process and a message")]
    Path(String),
    /// No header says who sends.
    #[error("Failed to determine sender from request headers")]
    Sender,
    /// The message is longer than is allowed.
    #[error("a message of {length} bytes is longer than the {max} allowed")]
    TooLong {
        /// What was announced, or had come so far.
        length: u64,
        /// What the decoder was made for.
        max: usize,
    },
}

/// Who speaks on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A process that sends messages.
    Libprocess,
    /// Anybody else.
    Http,
}

/// Tells from a connection's first bytes who speaks; `None` until the headers are complete.
pub fn dialect(first: &[u8]) -> Option<Dialect> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(first) {
        Ok(httparse::Status::Partial) if first.len() < HEAD_MAX => None,
        Ok(httparse::Status::Complete(_)) if request.method == Some("POST") => {
            let from = request.headers.iter().any(is_libprocess);
            Some(if from { Dialect::Libprocess } else { Dialect::Http })
        }
        // What is wrong with it is for the HTTP server to say.
        _ => Some(Dialect::Http),
    }
}

fn is_libprocess(header: &httparse::Header<'_>) -> bool {
    header.name.eq_ignore_ascii_case("Libprocess-From")
        || (header.name.eq_ignore_ascii_case("User-Agent")
            && header.value.starts_with(b"libprocess/"))
}

/// Finds the messages in a stream that comes in pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    head: Option<Head>,
    /// Who sent the last message, as it was written and as it was read.
    sender: Option<(Box<str>, Arc<Upid>)>,
    max: usize,
}

#[derive(Debug)]
struct Head {
    to: String,
    name: String,
    from: Arc<Upid>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Sized(usize),
    Chunked { so_far: BytesMut, whole: Option<Bytes> },
}

impl Decoder {
    /// A decoder that refuses messages of more than `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), head: None, sender: None, max }
    }

    /// Where the next bytes of the stream go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next message, or `None` until more of the stream has come.
    ///
    /// # Errors
    /// If the stream is not made of messages; it cannot be read on then.
    pub fn next_request(&mut self) -> Result<Option<Request>, FrameError> {
        let mut head = match self.head.take() {
            Some(head) => head,
            None => match self.take_head()? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        match self.take_body(&mut head.body)? {
            Some(body) => {
                let Head { to, name, from, .. } = head;
                Ok(Some(Request { to, name, from, body }))
            }
            None => {
                self.head = Some(head);
                Ok(None)
            }
        }
    }

    fn take_head(&mut self) -> Result<Option<Head>, FrameError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let parsed =
            request.parse(&self.buffer).map_err(|error| FrameError::Http(error.to_string()))?;
        let httparse::Status::Complete(length) = parsed else {
            if self.buffer.len() > HEAD_MAX {
                return Err(FrameError::Http("the headers do not end".to_owned()));
            }
            return Ok(None);
        };
        let path = request.path.unwrap_or_default();
        let (to, name) = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .and_then(|(to, name)| Some((unescape(to)?, name.to_owned())))
            .ok_or_else(|| FrameError::Path(path.to_owned()))?;
        let from = sender(request.headers, &mut self.sender)?;
        let body = body(request.headers, self.max)?;
        self.buffer.advance(length);
        Ok(Some(Head { to, name, from, body }))
    }

    fn take_body(&mut self, body: &mut Body) -> Result<Option<Bytes>, FrameError> {
        match body {
            Body::Sized(length) if self.buffer.len() < *length => Ok(None),
            Body::Sized(length) => Ok(Some(self.buffer.split_to(*length).freeze())),
            Body::Chunked { so_far, whole } => self.take_chunks(so_far, whole),
        }
    }

    fn take_chunks(
        &mut self,
        so_far: &mut BytesMut,
        whole: &mut Option<Bytes>,
    ) -> Result<Option<Bytes>, FrameError> {
        loop {
            let size = httparse::parse_chunk_size(&self.buffer)
                .map_err(|_| FrameError::Http("a chunk's size is no number".to_owned()))?;
            let httparse::Status::Complete((start, size)) = size else {
                return Ok(None);
            };
            let length = size.saturating_add(so_far.len() as u64);
            let size = usize::try_from(size)
                .ok()
                .filter(|_| length <= self.max as u64)
                .ok_or(FrameError::TooLong { length, max: self.max })?;
            if self.buffer.len() < start + size + 2 {
                return Ok(None);
            }
            if &self.buffer[start + size..start + size + 2] != b"\r\n" {
                return Err(FrameError::Http("a chunk is longer than it says".to_owned()));
            }
            self.buffer.advance(start);
            let chunk = self.buffer.split_to(size);
            self.buffer.advance(2);
            if size == 0 {
                let last = std::mem::take(so_far).freeze();
                return Ok(Some(whole.take().unwrap_or(last)));
            }
            // Almost every message is one chunk, which then need not be copied.
            match whole.take() {
                None if so_far.is_empty() => *whole = Some(chunk.freeze()),
                first => {
                    so_far.extend_from_slice(&first.unwrap_or_default());
                    so_far.extend_from_slice(&chunk);
                }
            }
        }
    }
}

/// Who sends a request, by its headers; none if they do not say.
pub fn sender_of<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Upid> {
    named(header)?.trim().parse().ok()
}

fn named<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
    header("Libprocess-From")
        .or_else(|| header("User-Agent").and_then(|agent| agent.strip_prefix("libprocess/")))
}

/// Reads who sends, unless that is who sent the last time.
fn sender(
    headers: &[httparse::Header<'_>],
    last: &mut Option<(Box<str>, Arc<Upid>)>,
) -> Result<Arc<Upid>, FrameError> {
    let text = |name: &str| {
        headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let from = named(text).ok_or(FrameError::Sender)?;
    match last {
        Some((text, upid)) if **text == *from => Ok(Arc::clone(upid)),
        _ => {
            let upid: Arc<Upid> = Arc::new(from.trim().parse().map_err(|_| FrameError::Sender)?);
            *last = Some((from.into(), Arc::clone(&upid)));
            Ok(upid)
        }
    }
}

fn body(headers: &[httparse::Header<'_>], max: usize) -> Result<Body, FrameError> {
    for header in headers {
        if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                let coding = String::from_utf8_lossy(header.value);
                return Err(FrameError::Http(format!("unknown transfer coding {coding}")));
            }
            return Ok(Body::Chunked { so_far: BytesMut::new(), whole: None });
        }
    }
    let length = headers.iter().find(|header| header.name.eq_ignore_ascii_case("Content-Length"));
    let Some(length) = length else { return Ok(Body::Sized(0)) };
    let length: u64 = std::str::from_utf8(length.value)
        .ok()
        .and_then(|digits| digits.trim().parse().ok())
        .ok_or_else(|| FrameError::Http("Content-Length is no number".to_owned()))?;
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= max)
        .map(Body::Sized)
        .ok_or(FrameError::TooLong { length, max })
}
