//! Long answers, line by line as things happen, and archives on their way in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderValue, Response, header};
use engine::archive::ByteStream;
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::error::ApiError;

/// One line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|error| {
        // Only maps with keys that are not strings could fail, and there are none.
        tracing::error!(%error, "an answer cannot be written as JSON");
        b"{}".to_vec()
    });
    // CR LF, as Docker ends the lines of its streams.
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// A 200 answer of JSON lines.
pub(crate) fn json_lines<S>(lines: S) -> Response<Body>
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    with_type(Body::from_stream(lines.map(Ok::<_, io::Error>)), "application/json")
}

/// A 200 answer with a body of the given type.
pub(crate) fn with_type(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A request's body as the engine takes archives.
///
/// When the engine gives up on an archive, the rest of it is still taken off the connection, within
/// bounds: closed at once, a client in the middle of sending sees a broken pipe instead of the answer.
pub(crate) fn incoming(body: Body) -> ByteStream {
    Incoming { body: Some(body.into_data_stream()), runtime: Handle::current() }.boxed()
}

/// How much of an unwanted body is read, and for how long.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

struct Incoming {
    body: Option<BodyDataStream>,
    runtime: Handle,
}

impl Stream for Incoming {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let chunk = ready!(body.poll_next_unpin(context));
        if !matches!(chunk, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(chunk.map(|chunk| chunk.map_err(io::Error::other)))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        // Ends by itself: at the end of the body, of the connection, or of its bounds.
        self.runtime.spawn(tokio::time::timeout(DRAIN_TIME, drain(body)));
    }
}

async fn drain(mut body: BodyDataStream) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(chunk)) = body.next().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

/// How a failure shows in a stream whose status has been sent already.
#[derive(Debug, Serialize)]
pub(crate) struct StreamError {
    #[serde(rename = "errorDetail")]
    detail: StreamErrorDetail,
    error: String,
}

#[derive(Debug, Serialize)]
struct StreamErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    message: String,
}

impl StreamError {
    /// The failure of a command that ended with this code.
    pub(crate) fn of_command(code: i32, message: String) -> Self {
        Self {
            detail: StreamErrorDetail { code: Some(code), message: message.clone() },
            error: message,
        }
    }
}

impl From<ApiError> for StreamError {
    fn from(error: ApiError) -> Self {
        let detail = StreamErrorDetail { code: None, message: error.message.clone() };
        Self { detail, error: error.message }
    }
}
