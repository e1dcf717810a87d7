//! What a long operation tells while it runs; one value per JSON message of Docker's stream.

use std::borrow::Cow;

use crate::Digest;

/// One message of a pull, push, load or import.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A line of its own: `{"status":…,"id":…}`. `id` is a tag for `Pulling from …`, mostly `None`.
    Status {
        /// The text.
        status: String,
        /// What the line is about.
        id: Option<String>,
    },
    /// A step of one layer: `{"status":…,"progressDetail":{…},"id":"<12 hex>"}`.
    Layer {
        /// The layer's short id.
        id: String,
        /// What happens to it.
        state: LayerState,
    },
    /// Plain text: `{"stream":…}`, with its line feed.
    Stream(String),
    /// The end of a push: `{"aux":{"Tag":…,"Digest":…,"Size":…}}`.
    Pushed {
        /// The tag pushed.
        tag: String,
        /// The manifest's digest.
        digest: Digest,
        /// The manifest's size in bytes.
        size: u64,
    },
}

/// What happens to a layer. Sizes are bytes; `total` `None` when nobody said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerState {
    /// Queued for download.
    PullingFsLayer,
    /// Waits for its turn.
    Waiting,
    /// Comes over the network.
    Downloading { current: u64, total: Option<u64> },
    /// The digest is being checked.
    VerifyingChecksum,
    /// All bytes are here.
    DownloadComplete,
    /// Is being unpacked; counts compressed bytes.
    Extracting { current: u64, total: Option<u64> },
    /// Done.
    PullComplete,
    /// Nothing to download.
    AlreadyExists,
    /// The download broke and starts again where it stopped.
    Retrying { seconds: u64 },
    /// A push looks at the layer.
    Preparing,
    /// Goes over the network.
    Pushing { current: u64, total: Option<u64> },
    /// The registry has it now.
    Pushed,
    /// The registry had it already.
    LayerAlreadyExists,
    /// The registry took it from another of its repositories.
    Mounted { from: String },
    /// A load reads it.
    Loading { current: u64, total: Option<u64> },
}

impl LayerState {
    /// Returns Docker's words for this state.
    pub fn status(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::PullingFsLayer => "Pulling fs layer",
            Self::Waiting => "Waiting",
            Self::Downloading { .. } => "Downloading",
            Self::VerifyingChecksum => "Verifying Checksum",
            Self::DownloadComplete => "Download complete",
            Self::Extracting { .. } => "Extracting",
            Self::PullComplete => "Pull complete",
            Self::AlreadyExists => "Already exists",
            Self::Retrying { seconds } => {
                let plural = if *seconds == 1 { "" } else { "s" };
                return Cow::Owned(format!("Retrying in {seconds} second{plural}"));
            }
            Self::Preparing => "Preparing",
            Self::Pushing { .. } => "Pushing",
            Self::Pushed => "Pushed",
            Self::LayerAlreadyExists => "Layer already exists",
            Self::Mounted { from } => return Cow::Owned(format!("Mounted from {from}")),
            Self::Loading { .. } => "Loading layer",
        })
    }

    /// Returns (current, total) for `progressDetail`.
    pub fn counts(&self) -> Option<(u64, Option<u64>)> {
        match self {
            Self::Downloading { current, total }
            | Self::Extracting { current, total }
            | Self::Pushing { current, total }
            | Self::Loading { current, total } => Some((*current, *total)),
            _ => None,
        }
    }
}
