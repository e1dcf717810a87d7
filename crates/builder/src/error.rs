//! What can go wrong with a build.

use crate::diagnostic::{Diagnostic, Span};

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an error; the edge turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something named does not exist.
    NotFound,
    /// The request or the Dockerfile is wrong.
    InvalidParameter,
    /// The other side, or a resource, is not there now.
    Unavailable,
    /// The caller may not do this.
    Forbidden,
    /// Everything else.
    Internal,
}

/// A failed build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Dockerfile that cannot be understood.
    #[error("dockerfile parse error on line {line}: {text}")]
    Syntax {
        /// The line.
        line: usize,
        /// Message, place, advice.
        text: String,
    },
    /// An instruction that failed, with its place.
    #[error("{source}\n{place}")]
    At {
        /// File, line, column, the line itself.
        place: String,
        /// Why.
        source: Box<Self>,
    },
    /// A command of RUN that ended with another code than 0.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// The last lines that it wrote.
        tail: String,
    },
    /// Anything wrong about the request or an instruction.
    #[error("{0}")]
    Invalid(String),
    /// Something named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A resource that is not there now.
    #[error("{0}")]
    Unavailable(String),
    /// The client left, or another stage failed.
    #[error("build cancelled")]
    Cancelled,
    /// A file operation failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The image store refused.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// An image that could not be had, and whose name looks like a stage's.
    #[error("{source} (did you mean the stage {stage}?)")]
    StageMeant {
        /// The stage's name.
        stage: String,
        /// Why the image could not be had.
        source: Box<Self>,
    },
    /// A registry refused.
    #[error(transparent)]
    Registry(#[from] images::registry::RegistryError),
}

impl Error {
    /// Returns the class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax { .. } | Self::Invalid(_) | Self::Command { .. } => {
                ErrorKind::InvalidParameter
            }
            Self::At { source, .. } | Self::StageMeant { source, .. } => source.kind(),
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Cancelled | Self::Io { .. } => ErrorKind::Internal,
            Self::Engine(error) => match error.kind() {
                engine::ErrorKind::NotFound => ErrorKind::NotFound,
                engine::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                engine::ErrorKind::Unavailable => ErrorKind::Unavailable,
                engine::ErrorKind::Forbidden => ErrorKind::Forbidden,
                _ => ErrorKind::Internal,
            },
            Self::Images(error) => of_images(error.kind()),
            Self::Registry(error) => of_images(error.kind()),
        }
    }

    /// The exit code and last lines of the command that failed, if it was one.
    pub fn command(&self) -> Option<(i32, &str)> {
        match self {
            Self::At { source, .. } => source.command(),
            Self::Command { code, tail, .. } => Some((*code, tail)),
            _ => None,
        }
    }

    /// Makes a closure for `map_err` that names the operation and the file.
    pub(crate) fn io<E: Into<std::io::Error>>(
        operation: &'static str,
        path: impl std::fmt::Display,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { operation, path: path.to_string(), source: source.into() }
    }
}

fn of_images(kind: images::ErrorKind) -> ErrorKind {
    match kind {
        images::ErrorKind::NotFound => ErrorKind::NotFound,
        images::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
        images::ErrorKind::Unauthorized | images::ErrorKind::Forbidden => ErrorKind::Forbidden,
        images::ErrorKind::Unavailable => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// A Dockerfile's name and text, to point into.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// Turns a mistake in the file into an error.
    pub(crate) fn mistake(&self, found: &Diagnostic) -> Error {
        let mut text = found.message.clone();
        if let Some(help) = &found.help {
            text.push_str(&format!(" ({help})"));
        }
        text.push('\n');
        text.push_str(&found.place(&self.name, &self.text));
        Error::Syntax { line: found.span.line, text }
    }

    /// Adds the place to an error, once.
    pub(crate) fn at(&self, span: Span, error: Error) -> Error {
        match error {
            Error::At { .. } | Error::Syntax { .. } | Error::Cancelled => error,
            error => {
                let place = Diagnostic::new(span, "").place(&self.name, &self.text);
                Error::At { place, source: Box::new(error) }
            }
        }
    }
}
