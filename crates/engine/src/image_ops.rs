//! What images and containers have to do with each other: commit, import with changes, removal
//! and prune that respect containers, and the events of images.

mod changes;
mod commit;
mod operations;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use images::{Progress, Reference};

use crate::container::ContainerConfig;

/// Told what a long operation does.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// An image to make out of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The new image's name; `None` leaves it without one.
    pub reference: Option<Reference>,
    /// `-m`
    pub comment: String,
    /// `-a`
    pub author: String,
    /// What differs from the container's configuration, before `changes`.
    pub config: ContainerConfig,
    /// Dockerfile instructions to apply, one a line.
    pub changes: Vec<String>,
    /// Freeze the container's processes meanwhile.
    pub pause: bool,
}

/// An image to make out of a file tree.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The new image's name.
    pub reference: Option<Reference>,
    /// `-m`
    pub message: String,
    /// Dockerfile instructions to apply, one a line.
    pub changes: Vec<String>,
    /// `os[/architecture[/variant]]`.
    pub platform: Option<String>,
    /// Where the archive came from, for the history.
    pub source: String,
}

/// How to remove an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageRemoveOptions {
    /// Although several names or a stopped container refer to it.
    pub force: bool,
    /// Keep parents that lose their last child.
    pub no_prune: bool,
}
