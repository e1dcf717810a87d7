//! What can go wrong between a client and an Engine API server.

use std::path::PathBuf;

/// The result of a client call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host string cannot be used.
    #[error("{0}")]
    Host(String),
    /// Nobody answers at `host`.
    #[error("cannot connect to the daemon at {host}")]
    Connect {
        host: String,
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key file cannot be used.
    #[error("{}: {message}", path.display())]
    Tls { path: PathBuf, message: String },
    /// The server answered with an error; `message` is its own text.
    #[error("Error response from daemon: {message}")]
    Status { status: u16, message: String },
    /// A stream reported an error in the middle of a successful answer.
    #[error("{0}")]
    Stream(String),
    /// The answer is not HTTP, or the connection broke.
    #[error("error during connect: {0}")]
    Http(String),
    /// The answer is not what the API promises.
    #[error("cannot understand the daemon's answer: {0}")]
    Decode(#[from] serde_json::Error),
    /// The server did not hand the connection over.
    #[error("the daemon did not switch to a raw stream")]
    NotHijacked,
    /// The request cannot be written as HTTP.
    #[error("invalid request: {0}")]
    Request(String),
}

impl Error {
    /// Wraps an error of the HTTP layer with its chain, which alone says what happened.
    pub(crate) fn http(error: hyper::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::Http(text)
    }

    /// The HTTP status of the server's refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The server's own words, or this error's.
    pub fn message(&self) -> String {
        match self {
            Self::Status { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}
