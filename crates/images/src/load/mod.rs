//! Taking in an archive of images: `docker save`'s layouts, old and new, and OCI layouts.
//!
//! The archive is read once, as a stream. Layers are unpacked as they come, before it is known what they
//! belong to: an archive names its images only at its end. What no image turns out to need goes again.

mod contents;
mod layout;

use std::io::{BufReader, Read};
use std::thread;

use self::contents::Contents;
use self::layout::Planned;
use crate::compression::decompressed;
use crate::store::Store;
use crate::store::layers::UnpackedLayer;
use crate::{
    BlobDescriptor, Digest, Error, ImageConfig, ImageId, LayerState, Loaded, NewImage, Progress,
    Result,
};

/// Layers that are unpacked at the same time.
const PARALLEL: usize = 8;

impl Store {
    /// Takes in an archive of images, compressed or not. Images that came before an error stay.
    ///
    /// # Errors
    /// `InvalidArchive`, `InvalidManifest`, `InvalidConfig`, `DigestMismatch`, `WrongPlatform` when
    /// nothing in the archive is for this host, `DiskFull`, `Io`.
    pub fn load(
        &self,
        archive: impl Read + Send,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Loaded>> {
        let archive = Box::new(decompressed(BufReader::with_capacity(256 << 10, archive))?);
        let mut contents = Contents::read(self, archive, progress)?;
        let planned = layout::plan(&contents)?;
        let mut loaded = Vec::new();
        let mut foreign = None;
        for planned in planned {
            match self.load_one(&mut contents, planned, progress) {
                Ok(image) => loaded.push(image),
                // One archive may hold an image for several platforms.
                Err(error @ Error::WrongPlatform { .. }) => foreign = foreign.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match foreign {
            Some(error) if loaded.is_empty() => Err(error),
            _ => Ok(loaded),
        }
    }

    fn load_one(
        &self,
        contents: &mut Contents,
        planned: Planned,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Loaded> {
        let bytes = contents.json(&planned.config)?.to_vec();
        let id = ImageId::of_config(&bytes);
        let config = ImageConfig::parse(&bytes)?;
        let shown = planned.references.first().map_or_else(|| id.to_string(), ToString::to_string);
        config.check_platform(&shown)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != planned.layers.len() {
            return Err(Error::InvalidManifest(format!(
                "image {shown} has {} layers, its config names {}",
                planned.layers.len(),
                diff_ids.len()
            )));
        }
        let layers = self.layers(contents, &planned.layers, diff_ids, progress)?;
        for reference in &planned.references {
            if let Ok(old) = self.resolve(&reference.canonical())
                && old != id
            {
                progress(Progress::Stream(format!(
                    "The image {reference} already exists, renaming the old one with ID {old} to empty string\n"
                )));
            }
        }
        self.register_image(NewImage {
            config: bytes,
            layers,
            manifest: planned.manifest,
            references: planned.references.clone(),
            parent: None,
        })?;
        for name in &planned.references {
            progress(Progress::Stream(format!("Loaded image: {name}\n")));
        }
        if planned.references.is_empty() {
            progress(Progress::Stream(format!("Loaded image ID: {id}\n")));
        }
        Ok(Loaded { id, names: planned.references })
    }

    /// Brings all layers of an image: those unpacked on the way, and the compressed ones now, side by
    /// side.
    fn layers(
        &self,
        contents: &mut Contents,
        paths: &[String],
        diff_ids: &[Digest],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<UnpackedLayer>> {
        let mut layers: Vec<Option<UnpackedLayer>> = Vec::new();
        let mut compressed: Vec<(usize, BlobDescriptor)> = Vec::new();
        for (index, (path, diff_id)) in paths.iter().zip(diff_ids).enumerate() {
            let layer =
                match contents.take_layer(path)? {
                    contents::Found::Layer(layer) => Some(layer),
                    contents::Found::Blob(blob) => {
                        compressed.push((index, blob));
                        None
                    }
                    // Left out of the archive, or used by an image before: fine if it is here.
                    contents::Found::Nothing => {
                        let existing = self.existing_layer(diff_id)?;
                        Some(existing.ok_or_else(|| {
                            Error::InvalidArchive(format!("layer {path} is missing"))
                        })?)
                    }
                };
            layers.push(layer);
        }
        for batch in compressed.chunks(PARALLEL) {
            let unpacked: Vec<Result<UnpackedLayer>> = thread::scope(|scope| {
                let threads: Vec<_> = batch
                    .iter()
                    .map(|(index, blob)| {
                        let diff_id = &diff_ids[*index];
                        scope.spawn(move || self.unpack_shown(blob, diff_id, progress))
                    })
                    .collect();
                let panicked = |_| Err(Error::Internal("unpacking panicked".to_owned()));
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
            });
            for ((index, _), layer) in batch.iter().zip(unpacked) {
                layers[*index] = Some(layer?);
            }
        }
        Ok(layers.into_iter().flatten().collect())
    }

    fn unpack_shown(
        &self,
        blob: &BlobDescriptor,
        diff_id: &Digest,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<UnpackedLayer> {
        let (id, total) = (diff_id.short(), Some(blob.size));
        self.unpack_layer(blob, diff_id, &|current| {
            let state = LayerState::Loading { current, total };
            progress(Progress::Layer { id: id.clone(), state });
        })
    }
}

#[cfg(test)]
mod tests;
