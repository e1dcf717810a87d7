//! Building [`Failure`]s: what was being done, to what, and why it did not work.

use std::fmt::Display;
use std::io;

use crate::shim::protocol::{Failure, FailureKind};

impl Failure {
    /// A failure of no special kind.
    pub fn other(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Other, message: message.into() }
    }

    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::InvalidRequest, message: message.into() }
    }
}

/// Says what was being done when an error came.
pub(crate) trait During<T> {
    /// Puts `what()` before the error's text.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, io::Error> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::other(format!("{}: {}", what(), reason(&error))))
    }
}

impl<T> During<T> for Result<T, rustix::io::Errno> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(io::Error::from).during(what)
    }
}

/// The error's text as Go, and thus runc and Docker, print it: lower case, without a number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// Prints any error's chain on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Quotes as Go's `%q` does for the strings that matter here.
pub(crate) fn quoted(text: impl Display) -> String {
    format!("{:?}", text.to_string())
}
