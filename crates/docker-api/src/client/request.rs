//! Requests and answers: path, query, JSON and streamed bodies both ways.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Host, Idle, Result};

/// One line of a streamed JSON answer may not be longer than this.
const MAX_LINE: usize = 16 << 20;
/// What a refusal may say, at most.
const MAX_ERROR_BODY: usize = 1 << 20;

/// The body of a request.
#[derive(Default)]
pub struct Body(Content);

#[derive(Default)]
enum Content {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Content::Empty => "Body::Empty",
            Content::Full(_) => "Body::Full",
            Content::Stream(_) => "Body::Stream",
        })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Content::Empty => Poll::Ready(None),
            Content::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|item| item.map(|r| r.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Full(bytes) => bytes.is_empty(),
            Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// A request of the Engine API; `path` is without the version.
#[derive(Debug)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
    has_query: bool,
    json: Option<serde_json::Error>,
}

impl Request {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Body::default(),
            has_query: false,
            json: None,
        }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn head(path: impl Into<String>) -> Self {
        Self::new(Method::HEAD, path)
    }

    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a query parameter; both sides are percent-encoded here.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.path.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        encode_into(&mut self.path, name);
        self.path.push('=');
        encode_into(&mut self.path, value.as_ref());
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `name=1` when `on`.
    #[must_use]
    pub fn query_flag(self, name: &str, on: bool) -> Self {
        if on { self.query(name, "1") } else { self }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.body = Body(Content::Full(bytes.into())),
            Err(error) => self.json = Some(error),
        }
        self.header(CONTENT_TYPE.as_str(), "application/json")
    }

    /// Sets a streamed body, such as a tar.
    #[must_use]
    pub fn stream(
        mut self,
        content_type: &str,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        self.body = Body(Content::Stream(Box::pin(stream)));
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    pub(crate) fn into_http(
        self,
        version: &str,
        host: &Host,
        common: &[(String, String)],
    ) -> Result<hyper::Request<Body>> {
        if let Some(error) = self.json {
            return Err(Error::Request(error.to_string()));
        }
        let mut uri = String::with_capacity(self.path.len() + 8);
        uri.push_str(host.prefix());
        if !version.is_empty() {
            uri.push_str("/v");
            uri.push_str(version);
        }
        uri.push_str(&self.path);
        let invalid = |e: &dyn std::fmt::Display| Error::Request(e.to_string());
        let mut request = hyper::Request::builder()
            .method(self.method)
            .uri(uri)
            .header(HOST, host.authority())
            .body(self.body)
            .map_err(|e| invalid(&e))?;
        for (name, value) in common.iter().chain(&self.headers) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| invalid(&e))?;
            let value = HeaderValue::from_str(value).map_err(|e| invalid(&e))?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Percent-encodes a path segment such as a container's or an image's name.
///
/// A slash stays, because image names have them.
pub fn encode_path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        encode_into(&mut out, part);
    }
    out
}

fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'@' => {
                out.push(char::from(byte))
            }
            _ => {
                let _ = write!(out, "%{byte:02X}"); // a String takes every write
            }
        }
    }
}

/// An answer whose body is read on demand.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: hyper::HeaderMap,
    body: Incoming,
    /// Goes back to the pool when the body was read to its end; a connection
    /// with unread data is closed instead.
    connection: Option<(SendRequest<Body>, Idle)>,
    line: BytesMut,
}

impl Response {
    pub(crate) fn new(
        response: hyper::Response<Incoming>,
        connection: Option<(SendRequest<Body>, Idle)>,
    ) -> Self {
        let (parts, body) = response.into_parts();
        let mut response = Self {
            status: parts.status,
            headers: parts.headers,
            body,
            connection,
            line: BytesMut::new(),
        };
        if response.body.is_end_stream() {
            response.release();
        }
        response
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// Reads the next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.body.frame().await {
                None => {
                    self.release();
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Error::http)?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Reads the whole body as one JSON value.
    ///
    /// # Errors
    /// When the connection breaks or the body is not such a value.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Reads the next value of a stream of JSON values, one per line; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks or a line is not such a value.
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.line.iter().position(|b| *b == b'\n') {
                let line = self.line.split_to(end + 1);
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(serde_json::from_slice(line)?));
            }
            if self.line.len() > MAX_LINE {
                return Err(Error::Http("a line of the answer is too long".to_owned()));
            }
            match self.chunk().await? {
                Some(chunk) => self.line.extend_from_slice(&chunk),
                None if self.line.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let line = std::mem::take(&mut self.line);
                    return Ok(Some(serde_json::from_slice(line.trim_ascii())?));
                }
            }
        }
    }

    /// Turns a refusal into an error that carries the server's message.
    pub(crate) async fn into_error(mut self) -> Error {
        #[derive(serde::Deserialize)]
        struct Message {
            message: String,
        }
        let status = self.status;
        let mut body = BytesMut::new();
        while body.len() < MAX_ERROR_BODY {
            match self.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break, // the status says enough
            }
        }
        let message = match serde_json::from_slice::<Message>(&body) {
            Ok(parsed) => parsed.message,
            Err(_) => String::from_utf8_lossy(body.trim_ascii()).into_owned(),
        };
        let message = if message.is_empty() { status.to_string() } else { message };
        Error::Status { status: status.as_u16(), message }
    }

    fn release(&mut self) {
        if let Some((sender, idle)) = self.connection.take()
            && !sender.is_closed()
        {
            idle.lock().expect("nothing panics while it holds the lock").push(sender);
        }
    }
}
