//! Request bodies: JSON with a limit and a deadline, or a stream for archives.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ApiResult};
use crate::params::printable;

/// Largest JSON body. The largest legitimate one is a create request with a seccomp profile.
const JSON_LIMIT: usize = 4 << 20;

/// As much is read of a body that is too large, and dropped: whose connection is closed while it sends
/// may never read why.
const DRAINED: usize = 64 << 20;

/// How long a client may take to send a JSON body.
const JSON_TIMEOUT: Duration = Duration::from_secs(60);

/// A JSON request body; `None` if the request had none.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) Option<T>);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        json(request).await
    }
}

/// Reads a request's JSON body.
pub(crate) async fn json<T: DeserializeOwned>(request: Request) -> ApiResult<JsonBody<T>> {
    let (parts, body) = request.into_parts();
    let bytes = read_limited(body).await?;
    if bytes.is_empty() {
        return Ok(JsonBody(None));
    }
    check_content_type(&parts.headers)?;
    parse(&bytes).map(JsonBody)
}

/// Reads a small body whole.
async fn read_limited(body: Body) -> ApiResult<Bytes> {
    match tokio::time::timeout(JSON_TIMEOUT, within_limit(body)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(ApiError::invalid(format!(
            "request body too large: the limit is {JSON_LIMIT} bytes"
        ))),
        Ok(Err(error)) => Err(ApiError::invalid(format!("reading the request body: {error}"))),
        Err(_) => Err(ApiError::invalid("the request body took too long to arrive")),
    }
}

/// A body, or none if it is too large.
async fn within_limit(mut body: Body) -> Result<Option<Bytes>, axum::Error> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        if length <= JSON_LIMIT {
            bytes.extend_from_slice(&data);
        } else if length > DRAINED {
            break;
        }
    }
    Ok((length <= JSON_LIMIT).then(|| bytes.into()))
}

/// Parses JSON, answering as Docker does when it is not.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::invalid(format!("invalid JSON: {}", printable(&error.to_string())))
    })
}

fn check_content_type(headers: &HeaderMap) -> ApiResult<()> {
    let value = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or(""));
    let mime = value.split(';').next().unwrap_or("").trim();
    if mime.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "unsupported Content-Type header ({}): must be 'application/json'",
        printable(value)
    )))
}
