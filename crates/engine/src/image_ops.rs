//! What images and containers have to do with each other: commit, import with changes, removal
//! and prune that respect containers, and the events of images.

use std::sync::Arc;

use images::{ImageId, Progress, Pruned, Reference, Removed};

use crate::archive::ByteStream;
use crate::filter::Filters;
use crate::{Engine, Result};

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

impl Engine {
    /// Makes an image out of a container's changes. "Engine API ImageCommit".
    ///
    /// # Errors
    /// NotFound; InvalidParameter for a change that is none; Conflict for a dead container.
    pub async fn commit(&self, container: &str, options: CommitOptions) -> Result<ImageId> {
        let _ = (container, options);
        crate::pending()
    }

    /// Makes an image out of one archive of a file tree. "Engine API ImageCreate, fromSrc".
    ///
    /// # Errors
    /// InvalidParameter for a bad archive or change.
    pub async fn image_import(
        &self,
        archive: ByteStream,
        options: ImportOptions,
    ) -> Result<ImageId> {
        let _ = (archive, options);
        crate::pending()
    }

    /// Takes in an archive of images. Names are told through `progress`.
    ///
    /// # Errors
    /// InvalidParameter for a bad archive.
    pub async fn image_load(&self, archive: ByteStream, progress: ProgressSink) -> Result<()> {
        let _ = (archive, progress);
        crate::pending()
    }

    /// Writes an archive of images.
    ///
    /// # Errors
    /// NotFound for a name.
    pub async fn image_save(&self, names: Vec<String>) -> Result<ByteStream> {
        let _ = names;
        crate::pending()
    }

    /// Gives an image a name.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_tag(&self, image: &str, reference: Reference) -> Result<()> {
        let _ = (image, reference);
        crate::pending()
    }

    /// Removes a name, or an image with its last name, unless containers use it.
    ///
    /// # Errors
    /// NotFound; Conflict in Docker's words.
    pub async fn image_remove(
        &self,
        image: &str,
        options: ImageRemoveOptions,
    ) -> Result<Vec<Removed>> {
        let _ = (image, options);
        crate::pending()
    }

    /// Removes images that no container uses. Filters: `dangling` (true), `label`, `label!`,
    /// `until`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn image_prune(&self, filters: Filters) -> Result<Pruned> {
        let _ = filters;
        crate::pending()
    }
}

/// How to remove an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageRemoveOptions {
    /// Although several names or a stopped container refer to it.
    pub force: bool,
    /// Keep parents that lose their last child.
    pub no_prune: bool,
}
