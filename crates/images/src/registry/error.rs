//! What can go wrong between us and a registry, in Docker's words where Docker has words for it.

use std::fmt;

use reqwest::StatusCode;

use crate::{Digest, ErrorKind};

/// An operation on a registry that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No address of the registry answered.
    #[error("registry {registry} cannot be reached: {}{}", tried.join("; "), advice(hint))]
    Unreachable { registry: String, tried: Vec<String>, hint: String },
    /// The image does not exist, or we may not see it: registries do not tell which.
    #[error(
        "pull access denied for {name}, repository does not exist or may require '{program} login': {reply}"
    )]
    PullDenied { name: String, program: String, reply: Box<ApiError> },
    #[error(
        "push access denied for {name}, it may be protected or require '{program} login {registry}': {reply}"
    )]
    PushDenied { name: String, registry: String, program: String, reply: Box<ApiError> },
    #[error("repository {name} not found: {reply}")]
    RepositoryNotFound { name: String, reply: Box<ApiError> },
    #[error("manifest for {reference} not found: {reply}")]
    ManifestNotFound { reference: String, reply: Box<ApiError> },
    /// The registry answered with an error.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// The connection broke, or what came over it is no HTTP.
    #[error("{action} from registry {registry}: {message}")]
    Transport { action: &'static str, registry: String, message: String },
    /// A file of a web server did not come.
    #[error("{request}: {message}")]
    Download { request: String, message: String },
    #[error(
        "no matching manifest for {platform} in the manifest list entries: {}",
        offered(available)
    )]
    NoMatchingManifest { platform: String, available: Vec<String> },
    /// A single manifest that is for another platform than asked for.
    #[error(
        "image {reference} is for {actual}, which does not match the platform {wanted}: use --platform {actual} to pull it all the same"
    )]
    WrongPlatform { reference: String, wanted: String, actual: String },
    /// The registry sent something that breaks the rules.
    #[error("{what} of {reference} from registry is invalid: {message}")]
    Invalid { what: &'static str, reference: String, message: String },
    #[error("{what} is larger than the {limit} bytes allowed")]
    TooLarge { what: String, limit: u64 },
    #[error(
        "{what} has digest {actual}, expected {expected}: the registry's content is damaged or was tampered with"
    )]
    DigestMismatch { what: String, expected: Digest, actual: Digest },
    #[error("{what} is not supported: {message}")]
    Unsupported { what: String, message: String },
    #[error("{message}")]
    InvalidConfig { message: String },
    #[error("{message}")]
    InvalidRequest { message: String },
    /// The local store refused or failed.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

impl From<ApiError> for RegistryError {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

impl RegistryError {
    /// Returns the class of the error, from which the API's status code follows.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PullDenied { .. }
            | Self::RepositoryNotFound { .. }
            | Self::ManifestNotFound { .. }
            | Self::NoMatchingManifest { .. } => ErrorKind::NotFound,
            Self::Api(reply) | Self::PushDenied { reply, .. } => reply.kind(),
            Self::Unreachable { .. } | Self::Transport { .. } | Self::Download { .. } => {
                ErrorKind::Unavailable
            }
            Self::WrongPlatform { .. }
            | Self::Unsupported { .. }
            | Self::InvalidConfig { .. }
            | Self::InvalidRequest { .. } => ErrorKind::InvalidParameter,
            Self::Invalid { .. } | Self::TooLarge { .. } | Self::DigestMismatch { .. } => {
                ErrorKind::Internal
            }
            Self::Store(error) => error.kind(),
        }
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Api(error) => error.is_temporary(),
            _ => false,
        }
    }
}

fn advice(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(": {hint}") }
}

fn offered(available: &[String]) -> String {
    if available.is_empty() {
        "the list names no platform".to_owned()
    } else {
        format!("available are {}", available.join(", "))
    }
}

/// An error reply of a registry or a token server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    /// Codes with their messages, as the registry sent them; empty if the body was of another form.
    pub errors: Vec<(String, String)>,
    /// What was asked: method and URL without query.
    pub request: String,
    /// The body's beginning when it was not the usual JSON.
    pub body: String,
}

impl std::error::Error for ApiError {}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.is_empty() {
            let status = StatusCode::from_u16(self.status)
                .map_or(self.status.to_string(), |s| s.to_string());
            write!(f, "unexpected status from {} request: {status}", self.request)?;
            if !self.body.is_empty() {
                write!(f, ": {}", self.body)?;
            }
            return Ok(());
        }
        for (at, (code, message)) in self.errors.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            let code = code.to_lowercase().replace('_', " ");
            write!(f, "{separator}{code}: {message}")?;
        }
        Ok(())
    }
}

impl ApiError {
    /// Reads the error out of a reply's body. Whatever the body holds becomes one short line of printable text.
    pub(crate) fn from_body(status: StatusCode, request: String, body: &[u8]) -> Self {
        let errors = parse_errors(body);
        let body = if errors.is_empty() {
            printable(&String::from_utf8_lossy(body))
        } else {
            String::new()
        };
        Self { status: status.as_u16(), errors, request, body }
    }

    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.errors.iter().any(|(have, _)| have.eq_ignore_ascii_case(code))
    }

    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self.status, 401 | 403) || self.has_code("UNAUTHORIZED") || self.has_code("DENIED")
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status == 404
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }

    fn kind(&self) -> ErrorKind {
        match self.status {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            _ if self.is_temporary() => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }
}

/// The `{"errors": […]}` of the distribution specification, and the `{"details": "…"}` of token servers.
fn parse_errors(body: &[u8]) -> Vec<(String, String)> {
    const MAX_ERRORS: usize = 8;
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return Vec::new() };
    let text = |value: &serde_json::Value, key: &str| {
        value.get(key).and_then(serde_json::Value::as_str).map(printable).unwrap_or_default()
    };
    let Some(errors) = value.get("errors").and_then(serde_json::Value::as_array) else {
        let details = text(&value, "details");
        return if details.is_empty() {
            Vec::new()
        } else {
            vec![("UNAUTHORIZED".to_owned(), details)]
        };
    };
    errors
        .iter()
        .take(MAX_ERRORS)
        .map(|error| {
            let (code, message) = (text(error, "code"), text(error, "message"));
            let message =
                if message.is_empty() { code.to_lowercase().replace('_', " ") } else { message };
            (if code.is_empty() { "unknown".to_owned() } else { code }, message)
        })
        .collect()
}

/// Foreign text for a terminal or a log: one line, no control characters, at most 300 characters.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean = text.split_whitespace().collect::<Vec<_>>().join(" ");
    clean.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::ApiError;

    #[test]
    fn replies_become_one_printable_line() {
        let rows: &[(&[u8], &str)] = &[
            (
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
                "manifest unknown: manifest unknown",
            ),
            (br#"{"errors":[{"code":"DENIED"}]}"#, "denied: denied"),
            (
                br#"{"errors":[{"code":"A_B","message":"x\u001b[31my\nz"},{"message":"q"}]}"#,
                "a b: x[31my z; unknown: q",
            ),
            (br#"{"details":"incorrect username or password"}"#, "unauthorized: incorrect username or password"),
            (b"<html>\x1b]0;t\x07</html>", "unexpected status from GET u request: 500 Internal Server Error: <html>]0;t</html>"),
            (br#"{"errors":[]}"#, "unexpected status from GET u request: 500 Internal Server Error: {\"errors\":[]}"),
            (b"", "unexpected status from GET u request: 500 Internal Server Error"),
        ];
        for (body, expected) in rows {
            let error =
                ApiError::from_body(StatusCode::INTERNAL_SERVER_ERROR, "GET u".into(), body);
            assert_eq!(error.to_string(), *expected);
        }
    }
}
