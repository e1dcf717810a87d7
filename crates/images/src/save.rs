//! Writing images to one archive that both Docker and OCI tools load.
//!
//! The archive is an OCI layout (`index.json`, `oci-layout`, `blobs/sha256/…`) with Docker's
//! `manifest.json` and `repositories` beside it. Layers go in uncompressed, under their diff ids, each
//! once, and are verified while they are written. Times are fixed, so the same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, Write};

use serde::Serialize;
use serde_json::json;

use crate::archive::{Entry, EntryKind, write};
use crate::layer::pipeline;
use crate::registry::manifest::{Descriptor, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::store::Store;
use crate::store::database::LayerRecord;
use crate::store::names::named;
use crate::{Digest, Error, ImageConfig, ImageId, Reference, Result};

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// One image of the archive.
struct Saved {
    id: ImageId,
    names: Vec<Reference>,
    config: Vec<u8>,
    layers: Vec<(Digest, LayerRecord)>,
}

/// One item of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerItem {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Store {
    /// Writes images and their names to an archive that [`Store::load`] and `docker load` take. A name
    /// without a tag stands for all tags of that repository; an id brings no name along.
    ///
    /// # Errors
    /// `NoSuchImage`, `DamagedImage` when a layer is not what it was, `WriteOutput`.
    pub fn save(&self, names: &[String], output: impl Write) -> Result<()> {
        let images = self.selected(names)?;
        // Held until the end: a removal meanwhile must not take a layer away.
        let _pins: Vec<_> = images
            .iter()
            .flat_map(|image| &image.layers)
            .map(|(diff_id, _)| self.pin(*diff_id))
            .collect();
        let mut archive = Output(output);
        archive.directory("blobs/")?;
        archive.directory("blobs/sha256/")?;
        let mut written = BTreeSet::new();
        for image in &images {
            for (diff_id, layer) in &image.layers {
                if written.insert(*diff_id) {
                    self.save_layer(&mut archive, &image.id, diff_id, layer)?;
                }
            }
            if written.insert(image.id.digest()) {
                archive.file(&blob_path(&image.id.digest()), &image.config)?;
            }
        }
        let mut index = Vec::new();
        for image in &images {
            let manifest = image.manifest()?;
            let digest = Digest::of(&manifest);
            if written.insert(digest) {
                archive.file(&blob_path(&digest), &manifest)?;
            }
            index.extend(image.index_entries(digest, manifest.len() as u64)?);
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index});
        archive.json("index.json", &index)?;
        let items: Vec<DockerItem> = images.iter().map(Saved::docker_item).collect();
        archive.json("manifest.json", &items)?;
        archive.json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
        archive.json("repositories", &repositories(&images))?;
        archive.raw(&write::END)?;
        archive.0.flush().map_err(Error::WriteOutput)
    }

    /// Finds the images of a list of names, each once, with the names to save.
    fn selected(&self, names: &[String]) -> Result<Vec<Saved>> {
        let mut order: Vec<ImageId> = Vec::new();
        let mut chosen: BTreeMap<ImageId, BTreeSet<Reference>> = BTreeMap::new();
        for name in names {
            for (id, reference) in self.named_or_id(name)? {
                if !order.contains(&id) {
                    order.push(id);
                }
                chosen.entry(id).or_default().extend(reference);
            }
        }
        let images = order.into_iter().map(|id| {
            let detail = self.inspect(&id)?;
            let layers = detail.layers.iter().map(|diff_id| {
                let record = self.layer_record(diff_id).map_err(|_| Error::DamagedImage {
                    image: id,
                    problem: format!("layer {diff_id} is missing"),
                });
                Ok((*diff_id, record?))
            });
            Ok(Saved {
                id,
                names: chosen.remove(&id).unwrap_or_default().into_iter().collect(),
                layers: layers.collect::<Result<_>>()?,
                config: detail.config_bytes,
            })
        });
        images.collect()
    }

    fn named_or_id(&self, name: &str) -> Result<Vec<(ImageId, Option<Reference>)>> {
        let read = self.read()?;
        let Ok(reference) = Reference::parse(name) else {
            return Ok(vec![(self.resolve(name)?, None)]);
        };
        if reference.tag().is_none() && reference.digest().is_none() {
            let mut tags = Vec::new();
            for (name, id) in crate::store::database::Read::names(&read)? {
                let found = Reference::parse(&name)?;
                if found.repository() == reference.repository() && found.digest().is_none() {
                    tags.push((id, Some(found)));
                }
            }
            if !tags.is_empty() {
                return Ok(tags);
            }
        }
        match named(&read, &reference)? {
            Some(id) => {
                Ok(vec![(id, (reference.digest().is_none()).then(|| reference.or_latest()))])
            }
            None => Ok(vec![(self.resolve(name)?, None)]),
        }
    }

    fn save_layer(
        &self,
        output: &mut Output<impl Write>,
        id: &ImageId,
        diff_id: &Digest,
        layer: &LayerRecord,
    ) -> Result<()> {
        let damaged = |problem: String| Error::DamagedImage { image: *id, problem };
        output.header(&blob_path(diff_id), layer.archive_size)?;
        let mut left = layer.archive_size;
        let copied = pipeline::run_plain(
            || self.layer_archive(diff_id),
            |archive| {
                loop {
                    let piece = archive.fill_buf().map_err(|source| {
                        damaged(format!("layer {diff_id} cannot be read: {source}"))
                    })?;
                    let length = piece.len();
                    if length == 0 {
                        return Ok(());
                    }
                    left = left
                        .checked_sub(length as u64)
                        .ok_or_else(|| damaged(format!("layer {diff_id} is larger than it was")))?;
                    output.raw(piece)?;
                    archive.consume(length);
                }
            },
        );
        let ((), hashed) = copied?;
        if hashed.digest != *diff_id {
            return Err(damaged(format!("layer {diff_id} now has digest {}", hashed.digest)));
        }
        output.raw(write::padding(layer.archive_size))
    }
}

impl Saved {
    fn manifest(&self) -> Result<Vec<u8>> {
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
        };
        let layers: Vec<Descriptor> = self
            .layers
            .iter()
            .map(|(diff_id, layer)| descriptor(LAYER_TYPE, *diff_id, layer.archive_size))
            .collect();
        encode(&json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, self.id.digest(), self.config.len() as u64),
            "layers": layers,
        }))
    }

    /// Returns one entry of the index per name, or one without a name.
    fn index_entries(&self, digest: Digest, size: u64) -> Result<Vec<serde_json::Value>> {
        let config = ImageConfig::parse(&self.config)?;
        let mut platform = json!({"architecture": config.architecture, "os": config.os});
        if !config.variant.is_empty() {
            platform["variant"] = json!(config.variant);
        }
        let entry = json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": platform,
        });
        if self.names.is_empty() {
            return Ok(vec![entry]);
        }
        let named = self.names.iter().map(|name| {
            let mut entry = entry.clone();
            entry["annotations"] = json!({
                "io.containerd.image.name": name.canonical(),
                "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
            });
            entry
        });
        Ok(named.collect())
    }

    fn docker_item(&self) -> DockerItem {
        let names: Vec<String> = self.names.iter().map(Reference::to_string).collect();
        DockerItem {
            config: blob_path(&self.id.digest()),
            repo_tags: (!names.is_empty()).then_some(names),
            layers: self.layers.iter().map(|(diff_id, _)| blob_path(diff_id)).collect(),
        }
    }
}

/// Repository → tag → top layer, for very old readers.
fn repositories(images: &[Saved]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in images {
        let Some((top, _)) = image.layers.last() else { continue };
        for name in &image.names {
            let tags = repositories.entry(name.familiar_name()).or_default();
            tags.insert(name.tag().unwrap_or_default().to_owned(), top.hex());
        }
    }
    repositories
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Internal(format!("encode JSON: {source}")))
}

/// The archive being written.
struct Output<W>(W);

impl<W: Write> Output<W> {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(Error::WriteOutput)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        let mut entry = Entry::new(name, EntryKind::Directory);
        entry.mode = 0o755;
        self.raw(&write::header(&entry))
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let mut entry = Entry::new(name, EntryKind::File);
        entry.mode = 0o644;
        (entry.size, entry.payload) = (size, size);
        self.raw(&write::header(&entry))
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.header(name, content.len() as u64)?;
        self.raw(content)?;
        self.raw(write::padding(content.len() as u64))
    }

    fn json(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        self.file(name, &encode(value)?)
    }
}
