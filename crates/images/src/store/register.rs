//! Making an image visible: everything about it in one transaction.

use std::fs::File;

use redb::WriteTransaction;

use super::content::sync_dir;
use super::database::{
    self, BlobRecord, CONFIGS, IMAGES, ImageRecord, LAYERS, LayerRecord, MANIFESTS, NAMES,
    Read as _,
};
use super::{Store, now};
use crate::{
    Digest, Error, ImageConfig, ImageId, Manifest, NewImage, Reference, Result, UnpackedLayer,
};

impl Store {
    /// Makes an image visible: config, layers, manifest and names, or nothing of it.
    ///
    /// # Errors
    /// `InvalidConfig` when the config is unusable or does not fit the layers, `NoSuchContent` when a
    /// layer was removed meanwhile, `Database`, `Io`.
    pub fn register_image(&self, mut image: NewImage) -> Result<ImageId> {
        let config = ImageConfig::parse(&image.config)?;
        check_layers(&config, &image.layers)?;
        self.make_durable(&image.layers)?;
        let id = ImageId::of_config(&image.config);
        let write = self.write()?;
        let mut moved = false;
        for layer in &mut image.layers {
            moved |= self.register_layer(&write, layer)?;
        }
        if moved {
            sync_dir(&self.paths().layers)?;
        }
        self.write_image(&write, &id, &image, &config)?;
        write.commit().map_err(Error::database)?;
        for staged in image.layers.iter_mut().filter_map(|layer| layer.staged.as_mut()) {
            // A layer that another image brought meanwhile stays staged and goes.
            staged.kept = !staged.dir.ends_with(format!(".staging-{}", staged.cache_id));
        }
        tracing::info!(image = %id, layers = image.layers.len(), "image registered");
        Ok(id)
    }

    /// One sync of the whole filesystem is much cheaper than one per file, and after it a power cut
    /// leaves no image whose files are empty.
    fn make_durable(&self, layers: &[UnpackedLayer]) -> Result<()> {
        let unsynced: Vec<Digest> = self.state().unsynced.iter().copied().collect();
        let is_volatile =
            |layer: &UnpackedLayer| layer.staged.is_some() || unsynced.contains(&layer.diff_id);
        if layers.iter().any(is_volatile) { self.sync(&unsynced) } else { Ok(()) }
    }

    /// Brings everything written so far to the disk, the layers given among it.
    pub(super) fn sync(&self, unsynced: &[Digest]) -> Result<()> {
        let dir = &self.paths().layers;
        let opened = File::open(dir).map_err(|source| Error::io("open", dir, source))?;
        rustix::fs::syncfs(&opened).map_err(|source| Error::io("sync", dir, source))?;
        let mut state = self.state();
        state.unsynced.retain(|diff_id| !unsynced.contains(diff_id));
        Ok(())
    }

    /// Gives a layer its place; tells whether its directory moved there, which is not on the disk yet.
    pub(super) fn register_layer(
        &self,
        write: &WriteTransaction,
        layer: &mut UnpackedLayer,
    ) -> Result<bool> {
        let key = layer.diff_id.to_string();
        let blob = layer.blob.clone().filter(|blob| self.blob_exists(&blob.digest));
        if let Some(mut record) = write.layer(&layer.diff_id)? {
            if record.blob.is_none() && blob.is_some() {
                record.blob = blob;
                database::put_record(write, LAYERS, &key, &record)?;
            }
            return Ok(false);
        }
        let Some(staged) = &mut layer.staged else {
            return Err(Error::NoSuchContent(layer.diff_id));
        };
        let dir = self.paths().layer(&staged.cache_id);
        std::fs::rename(&staged.dir, &dir)
            .map_err(|source| Error::io("rename", &staged.dir, source))?;
        staged.dir = dir;
        let record = LayerRecord {
            cache_id: staged.cache_id.clone(),
            size: layer.size,
            archive_size: layer.archive_size,
            blob,
        };
        database::put_record(write, LAYERS, &key, &record)?;
        Ok(true)
    }

    fn write_image(
        &self,
        write: &WriteTransaction,
        id: &ImageId,
        image: &NewImage,
        config: &ImageConfig,
    ) -> Result<()> {
        let key = id.to_string();
        let mut record = match write.image(id)? {
            Some(record) => record,
            None => {
                let parent = match &image.parent {
                    Some(parent) => write.image(parent)?.map(|_| *parent),
                    None => None,
                };
                ImageRecord {
                    diff_ids: config.rootfs.diff_ids.clone(),
                    parent,
                    manifests: Vec::new(),
                    last_tag_time: None,
                }
            }
        };
        if let Some(manifest) = &image.manifest {
            put_manifest(write, &mut record, manifest)?;
        }
        for reference in &image.references {
            put_name(write, id, reference)?;
            record.last_tag_time = Some(now());
        }
        database::put(write, CONFIGS, &key, &image.config)?;
        database::put_record(write, IMAGES, &key, &record)
    }

    /// Records a name with a digest (`name@sha256:…`) for an image, after a push.
    ///
    /// # Errors
    /// `NoSuchImage`, `Database`.
    pub fn add_repo_digest(
        &self,
        id: &ImageId,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<()> {
        let write = self.write()?;
        let mut record = write.image(id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        let digest = put_manifest(&write, &mut record, manifest)?;
        put_name(&write, id, &reference.with_digest(digest))?;
        database::put_record(&write, IMAGES, &id.to_string(), &record)?;
        write.commit().map_err(Error::database)
    }

    /// Records the blob that a layer was compressed to.
    pub(crate) fn set_layer_blob(&self, diff_id: &Digest, blob: BlobRecord) -> Result<()> {
        let write = self.write()?;
        let mut record = write.layer(diff_id)?.ok_or(Error::NoSuchContent(*diff_id))?;
        record.blob = Some(blob);
        database::put_record(&write, LAYERS, &diff_id.to_string(), &record)?;
        write.commit().map_err(Error::database)
    }

    /// Returns a manifest kept by [`Store::register_image`].
    ///
    /// # Errors
    /// `Database`.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>> {
        let Some(stored) = self.read()?.bytes(MANIFESTS, &digest.to_string())? else {
            return Ok(None);
        };
        let end = stored.iter().position(|byte| *byte == b'\n').unwrap_or(stored.len());
        let media_type = String::from_utf8_lossy(&stored[..end]).into_owned();
        let bytes = stored.get(end + 1..).unwrap_or_default().to_vec();
        Ok(Some(Manifest { media_type, bytes }))
    }

    /// Returns the digests of the manifests that an image is known by.
    ///
    /// # Errors
    /// `NoSuchImage`, `Database`.
    pub fn manifests_of(&self, id: &ImageId) -> Result<Vec<Digest>> {
        let record = self.read()?.image(id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        Ok(record.manifests)
    }
}

fn check_layers(config: &ImageConfig, layers: &[UnpackedLayer]) -> Result<()> {
    let wanted = &config.rootfs.diff_ids;
    if wanted.len() != layers.len() {
        return Err(Error::InvalidConfig(format!(
            "rootfs names {} layers, the image has {}",
            wanted.len(),
            layers.len()
        )));
    }
    for (expected, layer) in wanted.iter().zip(layers) {
        if *expected != layer.diff_id {
            return Err(Error::DigestMismatch {
                object: "layer".to_owned(),
                expected: *expected,
                actual: layer.diff_id,
            });
        }
    }
    Ok(())
}

fn put_manifest(
    write: &WriteTransaction,
    record: &mut ImageRecord,
    manifest: &Manifest,
) -> Result<Digest> {
    let digest = Digest::of(&manifest.bytes);
    let media_type = manifest.media_type.replace(['\n', '\r'], "");
    let stored = [media_type.as_bytes(), b"\n", &manifest.bytes].concat();
    database::put(write, MANIFESTS, &digest.to_string(), &stored)?;
    if !record.manifests.contains(&digest) {
        record.manifests.push(digest);
    }
    Ok(digest)
}

/// Gives a name to an image. With a digest the tag says nothing about what is here.
pub(crate) fn put_name(
    write: &WriteTransaction,
    id: &ImageId,
    reference: &Reference,
) -> Result<()> {
    let name = match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference.clone().or_latest(),
    };
    database::put(write, NAMES, &name.canonical(), id.to_string().as_bytes())
}
