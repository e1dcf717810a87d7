//! API versions: the `/v1.N` prefix of request paths, and what is refused.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Uri, uri::PathAndQuery};
use docker_api::models::{API_VERSION, MIN_API_VERSION};

use crate::error::ApiError;

/// The version a request is answered in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(pub(crate) u32);

/// Minor number of [`API_VERSION`].
pub(crate) const MAX: ApiVersion = ApiVersion(51);

/// Minor number of [`MIN_API_VERSION`].
pub(crate) const MIN: ApiVersion = ApiVersion(24);

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// Takes the version off the path; requests without one get the newest.
pub(crate) fn strip(uri: &Uri) -> Result<(ApiVersion, Option<Uri>), ApiError> {
    let Some(rest) = uri.path().strip_prefix("/v") else { return Ok((MAX, None)) };
    let (version, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok((MAX, None));
    }
    let version = parse(version)?;
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let path_and_query = PathAndQuery::try_from(path_and_query)
        .map_err(|error| ApiError::invalid(format!("invalid request path: {error}")))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    let uri = Uri::from_parts(parts)
        .map_err(|error| ApiError::invalid(format!("invalid request path: {error}")))?;
    Ok((version, Some(uri)))
}

fn parse(text: &str) -> Result<ApiVersion, ApiError> {
    let too_old = || {
        ApiError::invalid(format!(
            "client version {text} is too old. Minimum supported API version is \
             {MIN_API_VERSION}, please upgrade your client to a newer version"
        ))
    };
    let too_new = || {
        ApiError::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {API_VERSION}"
        ))
    };
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    // Numbers too large to hold are newer than anything.
    let major: u32 = major.parse().unwrap_or(u32::MAX);
    let minor = ApiVersion(minor.parse().unwrap_or(u32::MAX));
    match major {
        0 => Err(too_old()),
        1 if minor < MIN => Err(too_old()),
        1 if minor > MAX => Err(too_new()),
        1 => Ok(minor),
        _ => Err(too_new()),
    }
}

impl<S: Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str) -> Result<(u32, String), String> {
        let uri: Uri = uri.parse().unwrap();
        let (version, stripped) = strip(&uri).map_err(|error| error.message)?;
        Ok((version.0, stripped.unwrap_or(uri).to_string()))
    }

    #[test]
    fn the_prefix_is_taken_off() {
        assert_eq!(check("/v1.41/info?a=b").unwrap(), (41, "/info?a=b".to_owned()));
        assert_eq!(check("/info").unwrap(), (51, "/info".to_owned()));
        assert_eq!(check("/version").unwrap(), (51, "/version".to_owned()));
        assert_eq!(check("/volumes/v1.20").unwrap(), (51, "/volumes/v1.20".to_owned()));
        assert_eq!(check("/v1.24").unwrap(), (24, "/".to_owned()));
    }

    #[test]
    fn versions_out_of_range_are_refused_with_dockers_words() {
        assert_eq!(
            check("/v1.99/info").unwrap_err(),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert_eq!(
            check("/v1.23/info").unwrap_err(),
            "client version 1.23 is too old. Minimum supported API version is 1.24, please \
             upgrade your client to a newer version"
        );
        assert!(check("/v99999999999999.1/info").is_err());
        assert!(check("/v0.9/info").is_err());
    }

    #[test]
    fn numbers_agree_with_texts() {
        assert_eq!(MAX.to_string(), API_VERSION);
        assert_eq!(MIN.to_string(), MIN_API_VERSION);
    }
}
