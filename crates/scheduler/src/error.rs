//! What can go wrong between a framework and a master.

use std::path::PathBuf;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with what was tried and what the other side said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text given as the masters' addresses cannot be used.
    #[error("cannot use {address:?} as a master: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// Why not, and what to give instead.
        reason: &'static str,
    },
    /// ZooKeeper does not tell who leads.
    #[error("cannot find the leading master")]
    Election(#[source] Box<election::Error>),
    /// Nobody answers there.
    #[error("cannot connect to the master at {address}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("the connection to the master at {address} broke: {message}")]
    Http {
        /// `host:port`.
        address: String,
        /// The HTTP layer's own words.
        message: String,
    },
    /// The master took longer than the deadline.
    #[error("the master at {address} did not answer within {seconds} s ({doing})")]
    Timeout {
        /// `host:port`.
        address: String,
        /// The deadline.
        seconds: u64,
        /// What was waited for.
        doing: &'static str,
    },
    /// The master ended the stream of events.
    #[error("the master at {address} closed the stream of events")]
    Closed {
        /// `host:port`.
        address: String,
    },
    /// The master answered with an HTTP error; `message` is its own text.
    #[error("the master at {address} refused {call}: {status} {message}")]
    Status {
        /// `host:port`.
        address: String,
        /// The call, such as `ACCEPT`.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// The master's words.
        message: String,
    },
    /// A redirect that leads nowhere.
    #[error("the master at {address} redirects to {location:?}, which names no master")]
    Redirect {
        /// `host:port`.
        address: String,
        /// The `Location` header.
        location: String,
    },
    /// A record of the stream cannot be read.
    #[error("cannot understand an event of the master at {address}: {message}")]
    Decode {
        /// `host:port`.
        address: String,
        /// What is wrong with it.
        message: String,
    },
    /// The master will not have this framework: `message` is the text of its ERROR event.
    /// Nothing follows; subscribing again the same way would fail the same way.
    #[error("the master refuses this framework: {message}")]
    Refused {
        /// The master's words.
        message: String,
    },
    /// A call was made while no subscription is up. Offers made before are void by now.
    #[error("not subscribed: {call} was not sent")]
    NotSubscribed {
        /// The call, such as `ACCEPT`.
        call: &'static str,
    },
    /// The file that keeps the framework's id cannot be used.
    #[error("cannot {doing} the framework's id in {}", path.display())]
    Store {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn http(address: &str, error: &hyper::Error) -> Self {
        Self::Http { address: address.to_owned(), message: chain(error) }
    }

    /// Whether trying again later can help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Election(_)
            | Self::Connect { .. }
            | Self::Http { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Redirect { .. }
            | Self::Decode { .. } => true,
            // 401 and 403 among them stay what they are; a master in recovery says 503.
            Self::Status { status, .. } => *status >= 500 || *status == 404,
            Self::Address { .. }
            | Self::Refused { .. }
            | Self::NotSubscribed { .. }
            | Self::Store { .. } => false,
        }
    }
}

/// The error and its sources in one line: the HTTP layer's outermost words say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
