//! Answers, in the words of Mesos.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cluster::master::Reply;
use endpoints::authentication::Denied;
use hyper::body::Frame;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};

use super::media::{JSON, Media};
use super::stream::{EventStream, OperatorStream};
use crate::handle::Gone;

pub(crate) type Response = hyper::Response<Body>;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// What is left of it; no piece is empty.
    Whole(VecDeque<Bytes>),
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
            Self::Whole(left) => Poll::Ready(left.pop_front().map(|b| Ok(Frame::data(b)))),
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
            Self::Whole(left) => left.is_empty(),
            Self::Events(_) | Self::Operator(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(left) => {
                let left = left.iter().map(|piece| piece.len() as u64).sum();
                hyper::body::SizeHint::with_exact(left)
            }
            Self::Events(_) | Self::Operator(_) => hyper::body::SizeHint::default(),
        }
    }
}

fn respond(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Response {
    respond_in_pieces(status, content_type, [body])
}

fn respond_in_pieces(
    status: StatusCode,
    content_type: Option<&'static str>,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Response {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    let mut response = hyper::Response::new(Body::Whole(pieces));
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

/// 200 with JSON, or with a script that calls `jsonp` with it.
pub(crate) fn jsonp(text: String, jsonp: Option<&str>) -> Response {
    jsonp_in_pieces(vec![text], jsonp)
}

/// The same of a long text, which is let go of piece by piece.
pub(crate) fn jsonp_in_pieces(text: Vec<String>, jsonp: Option<&str>) -> Response {
    let text = text.into_iter().map(Bytes::from);
    match jsonp {
        None => respond_in_pieces(StatusCode::OK, Some(JSON), text),
        Some(function) => {
            let call = std::iter::once(Bytes::from(format!("{function}(")));
            let pieces = call.chain(text).chain([Bytes::from_static(b")")]);
            respond_in_pieces(StatusCode::OK, Some("text/javascript"), pieces)
        }
    }
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
