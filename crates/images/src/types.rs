//! What the store is asked and what it answers: plain values, not what is on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{Digest, ImageConfig, ImageId, Reference, RunConfig};

/// One image of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSummary {
    /// The image.
    pub id: ImageId,
    /// The image it was committed or built from, if that is here.
    pub parent: Option<ImageId>,
    /// Familiar `name:tag` forms, sorted.
    pub repo_tags: Vec<String>,
    /// Familiar `name@digest` forms, sorted.
    pub repo_digests: Vec<String>,
    /// Seconds since the epoch; 0 when the config does not say.
    pub created: i64,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// Bytes of the layers that other images have too; `None` unless asked for.
    pub shared_size: Option<u64>,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
    /// Number of layers.
    pub layers: usize,
    /// Whether the image has no tag and no child: what a prune removes.
    pub dangling: bool,
}

/// Everything about one image.
#[derive(Debug, Clone)]
pub struct ImageDetail {
    /// The image.
    pub id: ImageId,
    /// The config's bytes as they came.
    pub config_bytes: Vec<u8>,
    /// The same, read.
    pub config: ImageConfig,
    /// The image it was committed or built from, if that is here.
    pub parent: Option<ImageId>,
    /// Familiar `name:tag` forms, sorted.
    pub repo_tags: Vec<String>,
    /// Familiar `name@digest` forms, sorted.
    pub repo_digests: Vec<String>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// When an image was last tagged, RFC 3339 UTC; `None` when never here.
    pub last_tag_time: Option<String>,
    /// Digests of the layer archives, lowest first.
    pub layers: Vec<Digest>,
    /// Layer directories, topmost first.
    pub layer_dirs: Vec<PathBuf>,
}

/// Which images to list. Empty fields do not restrict; times are seconds since the epoch.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Also parents of other images that have no name.
    pub all: bool,
    /// Only (or only not) images without a tag and without children.
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must match.
    pub labels: Vec<String>,
    /// None of these may match.
    pub not_labels: Vec<String>,
    /// Images created before these images.
    pub before: Vec<String>,
    /// Images created after these images.
    pub since: Vec<String>,
    /// Globs over names; one must match, and only the matching names are shown.
    pub references: Vec<String>,
    /// Images created before this time.
    pub until: Option<i64>,
    /// Compute `shared_size`.
    pub shared_size: bool,
}

/// How somebody uses an image, in the words of Docker's conflict message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The container's id.
    pub container_id: String,
    /// Whether it runs; then not even force removes the image.
    pub running: bool,
}

/// How to remove an image. `in_use` is asked per image.
pub struct RemoveOptions<'a> {
    /// Remove although several names or a stopped container refer to it.
    pub force: bool,
    /// Keep parents that lose their last child.
    pub no_prune: bool,
    /// Tells whether a container uses the image.
    pub in_use: &'a dyn Fn(&ImageId) -> Option<ImageUse>,
}

impl std::fmt::Debug for RemoveOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoveOptions")
            .field("force", &self.force)
            .field("no_prune", &self.no_prune)
            .finish_non_exhaustive()
    }
}

/// One thing that a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away (familiar form).
    Untagged(String),
    /// An image (`sha256:…`) was deleted.
    Deleted(String),
}

/// Which images to prune.
pub struct PruneOptions<'a> {
    /// Only dangling images (Docker's default); else every image that no container uses.
    pub dangling_only: bool,
    /// Labels as in [`ListFilter`].
    pub labels: Vec<String>,
    /// Labels as in [`ListFilter`].
    pub not_labels: Vec<String>,
    /// Only images created before this time, seconds since the epoch.
    pub until: Option<i64>,
    /// Tells whether a container uses the image.
    pub in_use: &'a dyn Fn(&ImageId) -> Option<ImageUse>,
}

impl std::fmt::Debug for PruneOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PruneOptions")
            .field("dangling_only", &self.dangling_only)
            .field("labels", &self.labels)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed, in order.
    pub removed: Vec<Removed>,
    /// Bytes of the layers that went.
    pub space_reclaimed: u64,
}

/// One line of an image's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image after this step; `None` (shown as `<missing>`) when it is not here.
    pub id: Option<ImageId>,
    /// Seconds since the epoch.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// Familiar names of that image.
    pub tags: Vec<String>,
    /// Bytes of the step's layer.
    pub size: u64,
    /// The message.
    pub comment: String,
}

/// How much disk the images take.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DiskUsage {
    /// Bytes of all layers, each counted once.
    pub layers_size: u64,
    /// Every image, with `shared_size`.
    pub images: Vec<ImageSummary>,
}

/// Where a container's filesystem lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RwLayer {
    /// The writable directory.
    pub upper: PathBuf,
    /// Overlayfs' work directory.
    pub work: PathBuf,
    /// Layer directories, topmost first.
    pub lowers: Vec<PathBuf>,
}

/// What happened to a path of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// `C`
    Modified,
    /// `A`
    Added,
    /// `D`
    Deleted,
}

/// One line of `diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Absolute path within the container.
    pub path: PathBuf,
}

/// A new image out of a container's changes.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Whose changes.
    pub container_id: String,
    /// The image the container runs.
    pub base: ImageId,
    /// The new image's run config, changes applied.
    pub config: RunConfig,
    /// `-a`
    pub author: String,
    /// `-m`
    pub comment: String,
    /// The container's command line, for the history.
    pub created_by: String,
    /// The engine's version, for `docker_version`.
    pub docker_version: String,
    /// The name to move to the new image.
    pub tag: Option<Reference>,
}

/// A new image out of one filesystem archive.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The run config, changes applied.
    pub config: RunConfig,
    /// The message; also the comment of the history.
    pub message: String,
    /// Where the archive came from, for the history.
    pub created_by: String,
    /// The name to move to the new image.
    pub tag: Option<Reference>,
    /// `os/architecture`; this host's when `None`.
    pub platform: Option<String>,
}

/// What a load brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names it got; none for an image saved by id.
    pub names: Vec<Reference>,
}

/// A blob as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDescriptor {
    /// Digest of the bytes as transferred.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// The media type.
    pub media_type: String,
}

/// A manifest or index, kept so that its digest can be given out and pushed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The media type.
    pub media_type: String,
    /// The bytes as they came.
    pub bytes: Vec<u8>,
}

/// An image about to be registered: in one transaction, or not at all.
#[derive(Debug)]
pub struct NewImage {
    /// The config's bytes, verbatim.
    pub config: Vec<u8>,
    /// One per `diff_id` of the config, lowest first.
    pub layers: Vec<crate::UnpackedLayer>,
    /// The manifest whose config this is, if there was one.
    pub manifest: Option<Manifest>,
    /// Names to move to the image, each with a tag or a digest.
    pub references: Vec<Reference>,
    /// The image it was made from.
    pub parent: Option<ImageId>,
}
