//! What handlers take out of a request besides its query and its JSON.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use hyper::upgrade::OnUpgrade;

use crate::error::ApiError;
use crate::version::ApiVersion;

/// The name in the path, decoded, without the slash that old clients put in front.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::invalid(error.body_text()))?;
        Ok(Self(name.strip_prefix('/').map_or(name.clone(), str::to_owned)))
    }
}

/// Whether, and how, the connection can be taken over for raw bytes.
pub(crate) struct Upgrade(pub(crate) Option<OnUpgrade>);

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let asked = parts.headers.contains_key(header::UPGRADE);
        Ok(Self(parts.extensions.remove::<OnUpgrade>().filter(|_| asked)))
    }
}

/// Content type of a container's output.
pub(crate) fn stream_type(tty: bool, version: ApiVersion) -> &'static str {
    const MULTIPLEXED_TYPE: ApiVersion = ApiVersion(42);
    if tty || version < MULTIPLEXED_TYPE {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

/// A header as text; absent or not text is empty.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}
