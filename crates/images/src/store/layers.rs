//! Layers: unpacking into a staging directory, and the chain of directories of an image.
//!
//! A layer is kept once per diff id, whatever lies below it: its directory depends on nothing else.
//! Until its image is registered it is in `layers/.staging-<cache id>` and nobody sees it.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::database::{BlobRecord, LayerRecord, Read as _};
use super::{Pin, Store, delete};
use crate::layer::pipeline;
use crate::layer::recipe::{RecipeReader, RecipeWriter};
use crate::layer::unpack::{self, Record};
use crate::{BlobDescriptor, Digest, Error, ImageId, Result};

/// The prefix of layers that are not registered yet.
pub(crate) const STAGING: &str = ".staging-";

/// A layer that is unpacked, or was there already, and waits for its image to be registered.
/// Dropping it unregistered removes what was unpacked.
#[derive(Debug)]
pub struct UnpackedLayer {
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    /// Bytes of the uncompressed archive.
    pub(crate) archive_size: u64,
    pub(crate) blob: Option<BlobRecord>,
    /// `None` when the layer was there already.
    pub(crate) staged: Option<Staged>,
    /// Keeps the layer and its blob until the image refers to them.
    pub(crate) _pins: Vec<Pin>,
}

impl UnpackedLayer {
    /// Returns the digest of the uncompressed archive.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Returns the bytes of content of the layer's files.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A layer's directory before it belongs to an image; deleted when dropped, unless kept.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) dir: PathBuf,
    pub(crate) cache_id: String,
    pub(crate) kept: bool,
}

impl Staged {
    /// Whether it still waits: a layer that another image brought meanwhile does for ever.
    pub(crate) fn is_staging(&self) -> bool {
        self.dir.ends_with(format!("{STAGING}{}", self.cache_id))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = delete::delete(&self.dir)
        {
            // The next open of the store tries again.
            tracing::warn!(path = %self.dir.display(), %error, "staged layer left behind");
        }
    }
}

/// Which bytes a layer's archive can be rebuilt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The blob it was unpacked from.
    Blob,
    /// A recipe over its files.
    Recipe,
}

impl Store {
    /// Returns a layer if it is unpacked already, so that its blob need not be downloaded; holds it
    /// against removal.
    ///
    /// # Errors
    /// `Database`.
    pub fn existing_layer(&self, diff_id: &Digest) -> Result<Option<UnpackedLayer>> {
        let pin = self.pin(*diff_id);
        if self.state().going.contains(diff_id) {
            return Ok(None);
        }
        Ok(self.read()?.layer(diff_id)?.map(|record| UnpackedLayer {
            diff_id: *diff_id,
            size: record.size,
            archive_size: record.archive_size,
            blob: None,
            staged: None,
            _pins: vec![pin],
        }))
    }

    /// Unpacks a stored blob and verifies that its content is `diff_id`. `progress` gets the compressed
    /// bytes read so far. Any number of layers may be unpacked at once.
    ///
    /// # Errors
    /// `DigestMismatch` naming both digests, `InvalidArchive`, `InvalidEntry`, `NoSuchContent`,
    /// `DiskFull`, `Io`; nothing stays behind.
    pub fn unpack_layer(
        &self,
        blob: &BlobDescriptor,
        diff_id: &Digest,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<UnpackedLayer> {
        let pin = self.pin(blob.digest);
        let file = self.open_blob(&blob.digest)?;
        let record = BlobRecord {
            digest: blob.digest,
            size: blob.size,
            media_type: blob.media_type.clone(),
        };
        let mut layer = match self.existing_layer(diff_id)? {
            Some(layer) => layer,
            None => {
                let input = Counted { input: file, read: 0, progress };
                self.unpack_verified(input, diff_id, Keep::Blob)?
            }
        };
        layer.blob = Some(record);
        layer._pins.push(pin);
        Ok(layer)
    }

    /// Unpacks an archive, compressed or not, that must be `diff_id`.
    pub(crate) fn unpack_verified(
        &self,
        input: impl Read + Send,
        diff_id: &Digest,
        keep: Keep,
    ) -> Result<UnpackedLayer> {
        let layer = self.unpack_stream(input, keep)?;
        if layer.diff_id != *diff_id {
            return Err(Error::DigestMismatch {
                object: "layer".to_owned(),
                expected: *diff_id,
                actual: layer.diff_id,
            });
        }
        Ok(layer)
    }

    /// Unpacks an archive, compressed or not.
    pub(crate) fn unpack_stream(
        &self,
        input: impl Read + Send,
        keep: Keep,
    ) -> Result<UnpackedLayer> {
        let staged = self.stage()?;
        let record = match keep {
            Keep::Blob => Record::Discard,
            Keep::Recipe => Record::Recipe(RecipeWriter::create(&staged.dir.join("recipe"))?),
        };
        let dir = &staged.dir;
        let (size, hashed) =
            pipeline::run(input, move |archive| unpack::unpack(archive, dir, record))?;
        Ok(self.unpacked(staged, size, &hashed))
    }

    /// A layer of which no blob is kept.
    pub(super) fn unpacked(
        &self,
        staged: Staged,
        size: u64,
        hashed: &pipeline::Hashed,
    ) -> UnpackedLayer {
        UnpackedLayer {
            diff_id: hashed.digest,
            size,
            archive_size: hashed.size,
            blob: None,
            staged: Some(staged),
            _pins: vec![self.pin(hashed.digest)],
        }
    }

    /// Makes an empty staging directory.
    pub(crate) fn stage(&self) -> Result<Staged> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|source| Error::io("read", "/dev/urandom", source))?;
        let cache_id = format!("{:016x}", u64::from_ne_bytes(random));
        let dir = self.paths().layers.join(format!("{STAGING}{cache_id}"));
        let staged = Staged { dir, cache_id, kept: false };
        let diff = staged.dir.join("diff");
        std::fs::create_dir_all(&diff).map_err(|source| Error::io("create", &diff, source))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&diff, mode)
            .map_err(|source| Error::io("set mode of", &diff, source))?;
        Ok(staged)
    }

    /// Returns the layer directories of an image, topmost first, as overlayfs wants them.
    ///
    /// # Errors
    /// `NoSuchImage`, `DamagedImage` when a layer is gone.
    pub fn layer_chain(&self, id: &ImageId) -> Result<Vec<PathBuf>> {
        let read = self.read()?;
        let record = read.image(id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        self.chain(&record.diff_ids).map_err(|error| match error {
            Error::NoSuchContent(diff_id) => {
                Error::DamagedImage { image: *id, problem: format!("layer {diff_id} is missing") }
            }
            error => error,
        })
    }

    /// Returns the directories of layers given lowest first, topmost first.
    pub(crate) fn chain(&self, diff_ids: &[Digest]) -> Result<Vec<PathBuf>> {
        let read = self.read()?;
        let mut dirs: Vec<PathBuf> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids.iter().rev() {
            let record = read.layer(diff_id)?.ok_or(Error::NoSuchContent(*diff_id))?;
            let dir = self.paths().diff(&record.cache_id);
            // Overlayfs refuses the same directory twice. The upper one says all that the lower one
            // could say: whatever either has, hides or leaves alone, the upper one decides.
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        Ok(dirs)
    }

    /// Opens the archive of a layer: the bytes whose digest is the diff id.
    pub(crate) fn layer_archive(&self, diff_id: &Digest) -> Result<Box<dyn Read + Send>> {
        let record = self.layer_record(diff_id)?;
        match &record.blob {
            Some(blob) if self.blob_exists(&blob.digest) => {
                let file = io::BufReader::with_capacity(256 << 10, self.open_blob(&blob.digest)?);
                Ok(Box::new(crate::compression::decompressed(file)?))
            }
            _ => Ok(Box::new(RecipeReader::open(&self.paths().layer(&record.cache_id))?)),
        }
    }

    pub(crate) fn layer_record(&self, diff_id: &Digest) -> Result<LayerRecord> {
        self.read()?.layer(diff_id)?.ok_or(Error::NoSuchContent(*diff_id))
    }
}

/// Tells how far a file has been read.
struct Counted<'a> {
    input: File,
    read: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.read += length as u64;
        (self.progress)(self.read);
        Ok(length)
    }
}
