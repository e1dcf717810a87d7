//! Long answers, line by line as things happen, and archives on their way in.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use engine::archive::ByteStream;
use futures_util::{Stream, StreamExt};
use serde::Serialize;

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
pub(crate) fn incoming(body: Body) -> ByteStream {
    body.into_data_stream().map(|chunk| chunk.map_err(io::Error::other)).boxed()
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
    message: String,
}

impl From<ApiError> for StreamError {
    fn from(error: ApiError) -> Self {
        Self { detail: StreamErrorDetail { message: error.message.clone() }, error: error.message }
    }
}
