//! Calls of schedulers that follow each other on a connection of their own: those that came together
//! are handed to the driver together and answered together. A framework with thousands of tasks makes
//! tens of thousands of calls, two for each task only to acknowledge what it was told.
//!
//! Only what is plain is done here: whole requests whose answer is known before the driver has seen
//! them. With the first that is anything else the connection goes, for good, to the HTTP server.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cluster::master::{Input, Scheduler};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::media::Media;
use super::route::{self, Endpoint};
use super::{Server, scheduler};
use crate::socket;

/// With more headers than this, or longer ones, a request is for the HTTP server.
const HEADERS_MAX: usize = 32;
const HEAD_MAX: usize = 8 * 1024;

/// A longer body is for the HTTP server, which reads it without keeping what was read twice.
const BODY_MAX: usize = 16 << 20;

/// What a buffer begins with.
enum Next<'a> {
    /// A call, and the length of the whole request.
    Call(Plain<'a>, usize),
    /// The beginning of what may become a call. Whether its headers are there.
    Unfinished { head: bool },
    /// Something for the HTTP server.
    Other,
}

/// A request that has the form of a call.
struct Plain<'a> {
    path: &'a str,
    media: Media,
    stream: &'a str,
    authorization: Option<&'a str>,
    body: &'a [u8],
}

impl Server {
    /// Takes the calls that a connection begins with. Whether the connection goes on otherwise, with
    /// what is left in `buffer`.
    pub(crate) async fn take_calls(
        &self,
        connection: &mut TcpStream,
        buffer: &mut BytesMut,
        head_timeout: Duration,
    ) -> io::Result<bool> {
        let mut deadline = Instant::now() + head_timeout;
        loop {
            let mut calls = Vec::new();
            let head = loop {
                match next(buffer) {
                    Next::Call(plain, length) => match self.certain(&plain) {
                        Some(call) => {
                            calls.push(call);
                            buffer.advance(length);
                        }
                        None => break None,
                    },
                    Next::Unfinished { head } => break Some(head),
                    Next::Other => break None,
                }
            };
            if !calls.is_empty() {
                let answers = accepted().repeat(calls.len());
                if self.handle.tell_all(calls).await.is_err() {
                    // The master is ending.
                    return Ok(false);
                }
                connection.write_all(answers.as_bytes()).await?;
                deadline = Instant::now() + head_timeout;
            }
            let Some(head) = head else { return Ok(true) };
            let silent = buffer.is_empty();
            if silent {
                // Most connections are silent most of the time.
                *buffer = BytesMut::new();
            }
            let more = socket::read(&*connection, buffer);
            let more = if head || silent { more.await } else { timeout_at(deadline, more).await? };
            if !more? {
                return Ok(false);
            }
            if silent {
                deadline = Instant::now() + head_timeout;
            }
        }
    }

    /// A call that is accepted whatever comes of it, from a scheduler that may make it.
    fn certain(&self, plain: &Plain<'_>) -> Option<Input> {
        let (_, principal) = self.facts.gate.admit(plain.path, plain.authorization).ok()?;
        let call = plain.media.read(plain.body).ok()?;
        if !scheduler::is_certain(self, plain.stream, &call) {
            return None;
        }
        let from = Some(Scheduler::Stream(plain.stream.into()));
        Some(Input::Call { request: None, from, principal, call: Box::new(call) })
    }
}

/// Finds out what a buffer begins with.
fn next(buffer: &[u8]) -> Next<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let start = match request.parse(buffer) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_MAX => {
            return Next::Unfinished { head: false };
        }
        _ => return Next::Other,
    };
    let Some((mut plain, length)) = plain(&request) else { return Next::Other };
    match buffer.get(start..start + length) {
        Some(body) => {
            plain.body = body;
            Next::Call(plain, start + length)
        }
        None => Next::Unfinished { head: true },
    }
}

/// A request as a call without its body, and the body's length; none if anything is unusual.
fn plain<'a>(request: &httparse::Request<'_, 'a>) -> Option<(Plain<'a>, usize)> {
    let path = request.path?;
    let ours = request.method == Some("POST")
        && request.version == Some(1)
        && route::find(path).is_some_and(|found| found.endpoint == Endpoint::Scheduler);
    if !ours {
        return None;
    }
    let (mut media, mut stream, mut authorization, mut length) = (None, None, None, None);
    for header in &*request.headers {
        let value = std::str::from_utf8(header.value).ok()?;
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let unusual = if is("Content-Length") {
            length.replace(value).is_some()
        } else if is("Content-Type") {
            media.replace(Media::of(value)?).is_some()
        } else if is("Mesos-Stream-Id") {
            stream.replace(value).is_some()
        } else if is("Authorization") {
            authorization.replace(value).is_some()
        } else if is("Connection") {
            !value.eq_ignore_ascii_case("keep-alive")
        } else {
            is("Transfer-Encoding") || is("Expect") || is("Upgrade")
        };
        if unusual {
            return None;
        }
    }
    let digits = length.filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))?;
    let length = digits.parse().ok().filter(|length| *length <= BODY_MAX)?;
    Some((Plain { path, media: media?, stream: stream?, authorization, body: &[] }, length))
}

/// The answer to one call, as the HTTP server writes it.
fn accepted() -> String {
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&jiff::Timestamp::now())
        .unwrap_or_default();
    format!("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n")
}

#[cfg(test)]
mod tests;
