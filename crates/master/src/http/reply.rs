//! Answers, in the words of Mesos.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cluster::master::Reply;
use endpoints::authentication::Denied;
use hyper::body::Frame;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use tokio::sync::mpsc::UnboundedReceiver;

use super::media::{JSON, Media};
use super::stream::{EventStream, OperatorStream};
use crate::handle::Gone;

pub(crate) type Response = hyper::Response<Body>;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// None when it was taken, or is empty.
    Whole(Option<Bytes>),
    /// What was written of it, what is being written, and what comes after that.
    Growing {
        ready: VecDeque<String>,
        rest: UnboundedReceiver<String>,
        end: Option<&'static str>,
    },
    Events(Box<EventStream>),
    Operator(Box<OperatorStream>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(left) => Poll::Ready(left.take().map(|b| Ok(Frame::data(b)))),
            Self::Growing { ready, rest, end } => {
                let next = match ready.pop_front() {
                    Some(piece) => Some(piece),
                    None => ready!(rest.poll_recv(cx)),
                };
                let next = next.map(Bytes::from).or_else(|| end.take().map(Bytes::from));
                Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Events(stream) => {
                stream.poll_next(cx).map(|next| next.map(|b| Ok(Frame::data(b))))
            }
            Self::Operator(stream) => {
                stream.poll_next(cx).map(|next| next.map(|b| Ok(Frame::data(b))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(left) => left.is_none(),
            Self::Growing { .. } | Self::Events(_) | Self::Operator(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(left) => {
                let left = left.as_ref().map_or(0, Bytes::len);
                hyper::body::SizeHint::with_exact(left as u64)
            }
            Self::Growing { .. } | Self::Events(_) | Self::Operator(_) => {
                hyper::body::SizeHint::default()
            }
        }
    }
}

fn respond(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Response {
    respond_with(status, content_type, Body::Whole(Some(body).filter(|body| !body.is_empty())))
}

fn respond_with(status: StatusCode, content_type: Option<&'static str>, body: Body) -> Response {
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    respond(status, None, Bytes::new())
}

/// An error with its text.
pub(crate) fn error(status: StatusCode, text: impl Into<String>) -> Response {
    respond(status, Some("text/plain; charset=utf-8"), Bytes::from(text.into()))
}

/// 400
pub(crate) fn bad_request(text: impl Into<String>) -> Response {
    error(StatusCode::BAD_REQUEST, text)
}

/// 401, with what would let the client in.
pub(crate) fn unauthorized(denied: Denied) -> Response {
    let mut response = error(StatusCode::UNAUTHORIZED, denied.text);
    if let Ok(challenge) = HeaderValue::from_str(&denied.challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// 404
pub(crate) fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 Not Found.")
}

/// 405
pub(crate) fn method_not_allowed(allowed: &[&str], got: &Method) -> Response {
    let quoted: Vec<String> = allowed.iter().map(|method| format!("'{method}'")).collect();
    let text = format!(
        "405 Method Not Allowed. Expecting one of {{ {} }}, but received '{got}'.",
        quoted.join(", ")
    );
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, text);
    if let Ok(allow) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// 200 with JSON.
pub(crate) fn json(text: String) -> Response {
    respond(StatusCode::OK, Some(JSON), text.into())
}

const SCRIPT: &str = "text/javascript";

/// 200 with JSON, or with a script that calls `jsonp` with it.
pub(crate) fn jsonp(text: String, jsonp: Option<&str>) -> Response {
    match jsonp {
        None => json(text),
        Some(function) => {
            respond(StatusCode::OK, Some(SCRIPT), format!("{function}({text})").into())
        }
    }
}

/// The same of a text whose pieces are being written: what is there leaves while the rest is made.
/// The length is told if it is known, which it is of a single piece.
pub(crate) async fn jsonp_in_pieces(
    mut text: UnboundedReceiver<String>,
    function: Option<&str>,
) -> Response {
    let first = text.recv().await.unwrap_or_default();
    let Some(second) = text.recv().await else { return jsonp(first, function) };
    let mut ready = VecDeque::from([first, second]);
    let (mut content_type, mut end) = (JSON, None);
    if let Some(function) = function {
        ready.push_front(format!("{function}("));
        (content_type, end) = (SCRIPT, Some(")"));
    }
    respond_with(StatusCode::OK, Some(content_type), Body::Growing { ready, rest: text, end })
}

/// 200 with text of some type.
pub(crate) fn text(content_type: &'static str, text: impl Into<Bytes>) -> Response {
    respond(StatusCode::OK, Some(content_type), text.into())
}

/// 200 with a message.
pub(crate) fn message(media: Media, bytes: Vec<u8>) -> Response {
    respond(StatusCode::OK, Some(media.name()), bytes.into())
}

/// Text with another status than 200.
pub(crate) fn text_with(status: StatusCode, text: &'static str) -> Response {
    error(status, text)
}

/// A stream of records.
pub(crate) fn stream(
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
) -> Response {
    let mut response = hyper::Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().extend(headers.into_iter().map(|(name, value)| (Some(name), value)));
    response
}

/// What the core answered.
pub(crate) fn from_core(reply: Result<Reply, Gone>) -> Response {
    match reply {
        Ok(Reply::Streaming | Reply::Ok) => empty(StatusCode::OK),
        Ok(Reply::Accepted) => empty(StatusCode::ACCEPTED),
        Ok(Reply::BadRequest(text)) => bad_request(text),
        Ok(Reply::Forbidden(text)) => error(StatusCode::FORBIDDEN, text),
        Ok(Reply::NotFound(text)) => error(StatusCode::NOT_FOUND, text),
        Ok(Reply::Conflict(text)) => error(StatusCode::CONFLICT, text),
        Ok(Reply::Unavailable(text)) => error(StatusCode::SERVICE_UNAVAILABLE, text),
        Err(gone) => ending(gone),
    }
}

/// 503: the master is ending.
pub(crate) fn ending(gone: Gone) -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())
}

#[cfg(test)]
mod tests;
