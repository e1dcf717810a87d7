//! What a manager or this host's part in a swarm refuses, in the words of Docker's clients.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Result of an operation of the swarm.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of refusals, by the names that Docker's managers give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// The request itself is wrong.
    InvalidArgument,
    /// There is no such object.
    NotFound,
    /// The name, subnet or address is somebody's.
    AlreadyExists,
    /// Not for this node, or not for containers that no service made.
    PermissionDenied,
    /// The object is not in a state for it.
    FailedPrecondition,
    /// No subnet or address is left.
    ResourceExhausted,
    /// An operation of Docker's that is not here.
    Unimplemented,
    /// Nobody answered in time.
    DeadlineExceeded,
    /// Nobody is there, or this host is in no swarm.
    Unavailable,
    /// The disk or something else that nobody asked for failed.
    Internal,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A refusal or a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    /// Its kind.
    pub code: Code,
    /// What a client is told.
    pub message: String,
}

impl Error {
    /// An error with a text of this host's own.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What a manager answers: with the frame that Docker's clients know and look for.
    pub(crate) fn answer(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: format!("rpc error: code = {code} desc = {message}") }
    }

    /// A failure that says nothing of the request.
    pub(crate) fn internal(what: impl fmt::Display, source: &dyn std::error::Error) -> Self {
        let mut message = format!("{what}: {source}");
        let mut cause = source.source();
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        Self { code: Code::Internal, message }
    }
}

impl From<crate::ca::CaError> for Error {
    fn from(error: crate::ca::CaError) -> Self {
        Self::internal("the swarm's certificates", &error)
    }
}
