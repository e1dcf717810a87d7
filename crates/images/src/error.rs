//! What can go wrong with images, and the kind every error answers.

use std::io;
use std::path::PathBuf;

use crate::{Digest, ImageId};

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an error; the edge turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// The request contradicts the present state.
    Conflict,
    /// The caller sent something malformed.
    InvalidParameter,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The other side refuses.
    Forbidden,
    /// The other side, or a resource such as disk space, is not there now.
    Unavailable,
    /// The store itself failed.
    Internal,
}

/// An error of the image store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reference that breaks the grammar; the text is Docker's.
    #[error("{0}")]
    InvalidReference(String),
    /// A digest that is not `sha256:` and 64 hexadecimal digits.
    #[error("invalid digest {0:?}: want sha256:<64 lower-case hexadecimal digits>")]
    InvalidDigest(String),
    /// No image has that name, tag, digest or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// Several images share that id prefix.
    #[error("image id {0} is ambiguous: several images start with it")]
    Ambiguous(String),
    /// No layer or blob with that digest is stored.
    #[error("no content with digest {0} in the store")]
    NoSuchContent(Digest),
    /// A container has no writable layer here.
    #[error("no writable layer for container {0}")]
    NoSuchRwLayer(String),
    /// Removal or tagging conflicts with how things are used; the text is Docker's.
    #[error("{0}")]
    Conflict(String),
    /// The bytes do not have the digest that was promised.
    #[error("digest mismatch for {object}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was verified, such as `layer` or `blob`.
        object: String,
        /// The promised digest.
        expected: Digest,
        /// The digest of the bytes as they came.
        actual: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("size mismatch for {digest}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// The promised size.
        expected: u64,
        /// The size as it came.
        actual: u64,
    },
    /// An archive that is damaged, lies or is hostile.
    #[error("invalid archive: {0}")]
    InvalidArchive(String),
    /// An archive entry that may not be unpacked.
    #[error("invalid archive: entry {entry:?}: {problem}")]
    InvalidEntry {
        /// The entry's name as the archive has it.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An image config that cannot be used.
    #[error("invalid image config: {0}")]
    InvalidConfig(String),
    /// A manifest or index that cannot be used.
    #[error("invalid image manifest: {0}")]
    InvalidManifest(String),
    /// Any other malformed input.
    #[error("{0}")]
    InvalidParameter(String),
    /// The image is for another kind of machine.
    #[error(
        "image {image} is for platform {found}, this host is {wanted}; \
         pull or load a variant for {wanted}"
    )]
    WrongPlatform {
        /// The image as the user named it.
        image: String,
        /// The image's platform, such as `linux/arm64/v8`.
        found: String,
        /// This host's platform.
        wanted: String,
    },
    /// The disk is full.
    #[error(
        "no space left on device while writing {path}: free some space (system prune) and retry"
    )]
    DiskFull {
        /// What was being written.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Someone else is downloading this blob now.
    #[error("blob {0} is already being downloaded")]
    IngestBusy(Digest),
    /// Credentials are missing or wrong.
    #[error("{0}")]
    Unauthorized(String),
    /// The registry refuses.
    #[error("{0}")]
    Forbidden(String),
    /// A remote object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The registry or the network is not there now.
    #[error("{0}")]
    Unavailable(String),
    /// An operation on a file failed.
    #[error("{operation} {path}")]
    Io {
        /// What was tried, such as `open`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The source of an archive failed, not the archive.
    #[error("read archive")]
    ReadInput(#[source] io::Error),
    /// The sink of an archive failed.
    #[error("write archive")]
    WriteOutput(#[source] io::Error),
    /// The metadata database failed.
    #[error("image database")]
    Database(#[source] Box<redb::Error>),
    /// Metadata on disk that this version cannot read.
    #[error("image database: record {record} is damaged: {problem}")]
    DamagedRecord {
        /// Which record.
        record: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An image whose content has gone.
    #[error("image {image} is damaged: {problem}; remove it and pull or load it again")]
    DamagedImage {
        /// The image.
        image: ImageId,
        /// What is missing.
        problem: String,
    },
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Returns the class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage(_)
            | Self::NoSuchContent(_)
            | Self::NoSuchRwLayer(_)
            | Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) | Self::IngestBusy(_) => ErrorKind::Conflict,
            Self::InvalidReference(_)
            | Self::InvalidDigest(_)
            | Self::Ambiguous(_)
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::InvalidArchive(_)
            | Self::InvalidEntry { .. }
            | Self::InvalidConfig(_)
            | Self::InvalidManifest(_)
            | Self::InvalidParameter(_)
            | Self::ReadInput(_)
            | Self::WrongPlatform { .. } => ErrorKind::InvalidParameter,
            Self::Unauthorized(_) => ErrorKind::Unauthorized,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::Unavailable(_) | Self::DiskFull { .. } => ErrorKind::Unavailable,
            Self::Io { .. }
            | Self::WriteOutput(_)
            | Self::Database(_)
            | Self::DamagedRecord { .. }
            | Self::DamagedImage { .. }
            | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Wraps a failed file operation; a full disk gets its own variant.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        let (path, source) = (path.into(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.display().to_string(), source }
            }
            _ => Self::Io { operation, path, source },
        }
    }

    /// Wraps an error of the database.
    pub(crate) fn database(source: impl Into<redb::Error>) -> Self {
        match source.into() {
            redb::Error::Io(source) => Self::io("write", "the image database", source),
            other => Self::Database(Box::new(other)),
        }
    }

    /// Refuses one archive entry.
    pub(crate) fn entry(entry: &[u8], problem: impl Into<String>) -> Self {
        Self::InvalidEntry {
            entry: String::from_utf8_lossy(entry).chars().take(200).collect(),
            problem: problem.into(),
        }
    }
}
