//! The engine's error: one enum, whose Display is the wording clients of the Docker API expect.
//!
//! It does not know status codes; the daemon maps [`ErrorKind`] to them.

use std::path::PathBuf;

/// Shorthand for results of engine operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of failure an error is; the daemon turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object does not exist (404).
    NotFound,
    /// The request contradicts the object's state (409).
    Conflict,
    /// The request itself is wrong (400).
    InvalidParameter,
    /// The object is already in the requested state (304).
    NotModified,
    /// Something needed is away or busy (503).
    Unavailable,
    /// The caller may not do this (403).
    Forbidden,
    /// Nobody can have it yet (501).
    NotImplemented,
    /// Everything else (500).
    Internal,
}

/// A failed engine operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object of the given noun does not exist, for example `No such container: web`.
    #[error("No such {noun}: {name}")]
    NoSuch {
        /// The noun as Docker words it: `container`, `image`, `exec instance`, `volume`.
        noun: &'static str,
        /// What the caller asked for.
        name: String,
    },
    /// A not-found answer in other words.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts the present state.
    #[error("{0}")]
    Conflict(String),
    /// The request is malformed.
    #[error("{0}")]
    InvalidParameter(String),
    /// Nothing to do: the object already is as requested.
    #[error("{0}")]
    NotModified(String),
    /// Something needed is away or busy.
    #[error("{0}")]
    Unavailable(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The container's process could not be started. Kind depends on the cause, as Docker's does:
    /// a missing or unusable command is the caller's mistake.
    #[error("{message}")]
    StartFailed {
        /// The exit code the container is left with: 126, 127 or 128.
        exit_code: i32,
        /// The runtime's words.
        message: String,
    },
    /// A file operation failed.
    #[error("{operation} {path}: {source}", path = path.display())]
    Io {
        /// What was being done, as a verb: `read`, `create`, …
        operation: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// The state database refused.
    #[error("state database: {0}")]
    Store(String),
    /// The image store refused.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// The networks refused.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// Anything else; the text names the operation and the object.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuch { .. } | Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::InvalidParameter(_) => ErrorKind::InvalidParameter,
            Self::NotModified(_) => ErrorKind::NotModified,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::StartFailed { exit_code: 126 | 127, .. } => ErrorKind::InvalidParameter,
            Self::Images(error) => match error.kind() {
                images::ErrorKind::NotFound => ErrorKind::NotFound,
                images::ErrorKind::Conflict => ErrorKind::Conflict,
                images::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                images::ErrorKind::Unauthorized | images::ErrorKind::Forbidden => {
                    ErrorKind::Forbidden
                }
                images::ErrorKind::Unavailable => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::Network(error) => match error.kind() {
                network::ErrorKind::NotFound => ErrorKind::NotFound,
                network::ErrorKind::Conflict => ErrorKind::Conflict,
                network::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                network::ErrorKind::Forbidden => ErrorKind::Forbidden,
                network::ErrorKind::Unavailable => ErrorKind::Unavailable,
                network::ErrorKind::NotImplemented => ErrorKind::NotImplemented,
                network::ErrorKind::Internal => ErrorKind::Internal,
            },
            Self::StartFailed { .. } | Self::Io { .. } | Self::Store(_) | Self::Internal(_) => {
                ErrorKind::Internal
            }
        }
    }

    /// `No such container: NAME`.
    pub fn no_such_container(name: impl Into<String>) -> Self {
        Self::NoSuch { noun: "container", name: name.into() }
    }

    /// Makes a closure for `map_err` that names the operation and the file.
    pub fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}

impl From<crate::filter::FilterError> for Error {
    fn from(error: crate::filter::FilterError) -> Self {
        Self::InvalidParameter(error.to_string())
    }
}
