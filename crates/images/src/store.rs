//! The store.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::*;

/// The images of one data root. Clones share everything.
#[derive(Debug, Clone)]
pub struct Store {}

/// A layer that is unpacked, or was there already, and waits for its image to be registered.
/// Dropping it unregistered removes what was unpacked.
#[derive(Debug)]
pub struct UnpackedLayer {}

/// A blob on its way into the store; dropping it keeps the bytes for a later resume.
#[derive(Debug)]
pub struct Ingest {}

fn unfinished<T>() -> Result<T> {
    Err(Error::Internal("not implemented yet".to_owned()))
}

#[allow(unused_variables, reason = "signatures come before bodies")]
impl Store {
    /// Opens the store of a data root, makes what is missing, removes what is left over.
    pub fn open(data_root: &Path) -> Result<Self> {
        unfinished()
    }
    /// Finds an image by name, tag, digest, id or unique id prefix.
    pub fn resolve(&self, name: &str) -> Result<ImageId> {
        unfinished()
    }
    /// Lists images, newest first.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<ImageSummary>> {
        unfinished()
    }
    /// Returns everything about one image.
    pub fn inspect(&self, id: &ImageId) -> Result<ImageDetail> {
        unfinished()
    }
    /// Gives an image a name; the name moves if another image had it.
    pub fn tag(&self, id: &ImageId, reference: &Reference) -> Result<()> {
        unfinished()
    }
    /// Removes a name, or an image when it was its last name.
    pub fn remove(&self, name: &str, options: &RemoveOptions<'_>) -> Result<Vec<Removed>> {
        unfinished()
    }
    /// Returns how an image was made, newest step first.
    pub fn history(&self, id: &ImageId) -> Result<Vec<HistoryEntry>> {
        unfinished()
    }
    /// Removes unused images.
    pub fn prune(&self, options: &PruneOptions<'_>) -> Result<Pruned> {
        unfinished()
    }
    /// Tells how much disk images take.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        unfinished()
    }
    /// Returns the layer directories of an image, topmost first.
    pub fn layer_chain(&self, id: &ImageId) -> Result<Vec<PathBuf>> {
        unfinished()
    }
    /// Makes a container's writable layer; its layers stay even if the image goes.
    pub fn create_rw(&self, container_id: &str, id: &ImageId) -> Result<RwLayer> {
        unfinished()
    }
    /// Returns a container's writable layer.
    pub fn rw_layer(&self, container_id: &str) -> Result<RwLayer> {
        unfinished()
    }
    /// Removes a container's writable layer; fine if there is none.
    pub fn remove_rw(&self, container_id: &str) -> Result<()> {
        unfinished()
    }
    /// Lists what a container changed, sorted by path.
    pub fn rw_changes(&self, container_id: &str) -> Result<Vec<Change>> {
        unfinished()
    }
    /// Returns the bytes in a container's writable layer.
    pub fn rw_size(&self, container_id: &str) -> Result<u64> {
        unfinished()
    }
    /// Makes an image out of a container's changes.
    pub fn commit(&self, request: &CommitRequest) -> Result<ImageId> {
        unfinished()
    }
    /// Makes an image out of one filesystem archive, compressed or not.
    pub fn import(&self, archive: impl Read + Send, request: &ImportRequest) -> Result<ImageId> {
        unfinished()
    }
    /// Takes in an archive of images, Docker's or OCI layout, compressed or not.
    pub fn load(
        &self,
        archive: impl Read + Send,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Loaded>> {
        unfinished()
    }
    /// Writes an archive that `load` and `docker load` take.
    pub fn save(&self, names: &[String], output: impl Write) -> Result<()> {
        unfinished()
    }

    /// Tells whether a verified blob is stored.
    pub fn blob_exists(&self, digest: &Digest) -> bool {
        false
    }
    /// Opens a stored blob.
    pub fn open_blob(&self, digest: &Digest) -> Result<std::fs::File> {
        unfinished()
    }
    /// Starts or resumes taking in a blob. `IngestBusy` if another thread does that now.
    pub fn ingest(&self, digest: &Digest, size: u64) -> Result<Ingest> {
        unfinished()
    }
    /// Tells whether a layer is unpacked already, so that its blob need not be downloaded; holds it
    /// against removal.
    pub fn existing_layer(&self, diff_id: &Digest) -> Result<Option<UnpackedLayer>> {
        unfinished()
    }
    /// Unpacks a stored blob and verifies that its content is `diff_id`. `progress` gets compressed
    /// bytes read so far. Any number of layers may be unpacked at once.
    pub fn unpack_layer(
        &self,
        blob: &BlobDescriptor,
        diff_id: &Digest,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<UnpackedLayer> {
        unfinished()
    }
    /// Makes an image visible: config, layers, manifest and names in one transaction.
    pub fn register_image(&self, image: NewImage) -> Result<ImageId> {
        unfinished()
    }
    /// Returns a manifest kept by `register_image`.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>> {
        unfinished()
    }
    /// Returns the manifests that an image was registered with.
    pub fn manifests_of(&self, id: &ImageId) -> Result<Vec<Digest>> {
        unfinished()
    }
    /// Returns the blob of a layer for a push, compressing the layer if there is none yet.
    pub fn layer_blob(&self, diff_id: &Digest) -> Result<BlobDescriptor> {
        unfinished()
    }
    /// Records a name with a digest (`name@sha256:…`) for an image, after a push.
    pub fn add_repo_digest(
        &self,
        id: &ImageId,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<()> {
        unfinished()
    }
}

#[allow(unused_variables, reason = "signatures come before bodies")]
impl Ingest {
    /// Returns how many bytes are there already: the offset to resume at.
    pub fn offset(&self) -> u64 {
        0
    }
    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        unfinished()
    }
    /// Forgets all bytes, for a server that cannot resume.
    pub fn restart(&mut self) -> Result<()> {
        unfinished()
    }
    /// Verifies size and digest and makes the blob visible; a blob that is wrong is deleted.
    pub fn commit(self) -> Result<()> {
        unfinished()
    }
}
