//! Removing names and images.

use super::Store;
use crate::*;

#[allow(unused_variables, reason = "signatures come before bodies")]
impl Store {
    /// Removes a name, or an image when it was its last name.
    pub fn remove(&self, name: &str, options: &RemoveOptions<'_>) -> Result<Vec<Removed>> {
        Err(Error::Internal("not implemented yet".to_owned()))
    }
    /// Removes unused images.
    pub fn prune(&self, options: &PruneOptions<'_>) -> Result<Pruned> {
        Err(Error::Internal("not implemented yet".to_owned()))
    }
    /// Takes in an archive of images, Docker's or OCI layout, compressed or not.
    pub fn load(
        &self,
        archive: impl std::io::Read + Send,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Loaded>> {
        Err(Error::Internal("not implemented yet".to_owned()))
    }
    /// Writes an archive that `load` and `docker load` take.
    pub fn save(&self, names: &[String], output: impl std::io::Write) -> Result<()> {
        Err(Error::Internal("not implemented yet".to_owned()))
    }
    /// Returns the blob of a layer for a push, compressing the layer if there is none yet.
    pub fn layer_blob(&self, diff_id: &Digest) -> Result<BlobDescriptor> {
        Err(Error::Internal("not implemented yet".to_owned()))
    }
}
