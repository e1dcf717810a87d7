//! What builds leave behind for later ones: finished steps, each with the layer that it made.
//!
//! A step is known by a key that its maker computed from all that went into it. The layer of a step
//! stays as long as the step does, whether or not an image has it.

use std::os::fd::OwnedFd;

use redb::ReadableTableMetadata as _;
use serde::{Deserialize, Serialize};

use super::database::{self, Read, STEPS};
use super::{Store, UnpackedLayer};
use crate::layer::pipeline;
use crate::layer::recipe::RecipeWriter;
use crate::layer::unpack::{self, Record};
use crate::{Digest, Error, Result};

/// A finished step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The layer it made; `None` when it left the files as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Bytes of the layer's files.
    pub size: u64,
    /// Seconds since the epoch.
    pub created_at: i64,
    /// Seconds since the epoch.
    pub last_used_at: i64,
    /// How often it was used again.
    pub uses: u64,
    /// The key of the step it stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The step as people read it.
    pub description: String,
    /// What the maker needs to know of it.
    #[serde(default)]
    pub note: serde_json::Value,
}

/// Lists the layers that steps have.
pub(super) fn layers(read: &impl Read) -> Result<Vec<Digest>> {
    let mut found = Vec::new();
    for (key, bytes) in read.all(STEPS, "")? {
        found.extend(decode(&key, &bytes)?.layer);
    }
    Ok(found)
}

fn decode(key: &str, bytes: &[u8]) -> Result<StepRecord> {
    serde_json::from_slice(bytes).map_err(|source| Error::DamagedRecord {
        record: format!("step {key}"),
        problem: source.to_string(),
    })
}

impl Store {
    /// Makes a layer of an archive, which is taken as it is: not compressed, and trusted no more than
    /// any other.
    ///
    /// # Errors
    /// Those of unpacking; nothing stays behind.
    pub fn layer_from_archive<R: std::io::Read>(
        &self,
        open: impl FnOnce() -> R + Send,
    ) -> Result<UnpackedLayer> {
        self.layer_of_files(open, &|_| None)
    }

    /// The same where some of the archive's files are on the disk already: `give` opens what the
    /// archive has at a path, if it is there with the same content and attributes and nobody will
    /// change it any more. Such a file gets another name in the layer and is not written again.
    ///
    /// # Errors
    /// As [`Store::layer_from_archive`].
    pub fn layer_of_files<R: std::io::Read>(
        &self,
        open: impl FnOnce() -> R + Send,
        give: &dyn Fn(&[u8]) -> Option<OwnedFd>,
    ) -> Result<UnpackedLayer> {
        let staged = self.stage()?;
        let record = Record::Recipe(RecipeWriter::create(&staged.dir.join("recipe"))?);
        let dir = &staged.dir;
        let (size, hashed) = pipeline::run_plain(
            || Ok(open()),
            move |archive| unpack::unpack_given(archive, dir, record, give),
        )?;
        Ok(self.unpacked(staged, size, &hashed))
    }

    /// Gives a layer its place, so that containers can stand on it before any image has it. It stays
    /// while the answer is held. Its files reach the disk when an image or a step names it.
    ///
    /// # Errors
    /// `Database`, `Io`.
    pub fn keep_layer(&self, mut layer: UnpackedLayer) -> Result<UnpackedLayer> {
        if layer.staged.is_none() {
            return Ok(layer);
        }
        let mut write = self.write()?;
        // What names the layer waits for the disk. Until then it is garbage after a power cut.
        write.set_durability(redb::Durability::None).map_err(Error::database)?;
        self.state().unsynced.insert(layer.diff_id);
        self.register_layer(&write, &mut layer)?;
        write.commit().map_err(Error::database)?;
        if let Some(staged) = layer.staged.as_mut() {
            staged.kept = !staged.is_staging();
        }
        layer.staged = None;
        Ok(layer)
    }

    /// Returns the directories of layers given lowest first, topmost first. The caller holds them.
    ///
    /// # Errors
    /// `NoSuchContent` for a layer that is not here.
    pub fn layer_dirs(&self, diff_ids: &[Digest]) -> Result<Vec<std::path::PathBuf>> {
        self.chain(diff_ids)
    }

    /// Reads the archive of a layer: its size, and the bytes whose digest is the diff id.
    ///
    /// # Errors
    /// `NoSuchContent`, `Io`.
    pub fn read_layer(
        &self,
        layer: &UnpackedLayer,
    ) -> Result<(u64, Box<dyn std::io::Read + Send>)> {
        Ok((layer.archive_size, self.layer_archive(&layer.diff_id)?))
    }

    /// Looks steps up; a step whose layer is gone counts as unknown.
    ///
    /// # Errors
    /// `Database`.
    pub fn step(&self, key: &str) -> Result<Option<StepRecord>> {
        let read = self.read()?;
        let Some(bytes) = read.bytes(STEPS, key)? else { return Ok(None) };
        let record = decode(key, &bytes)?;
        let is_whole = match &record.layer {
            Some(diff_id) => read.layer(diff_id)?.is_some(),
            None => true,
        };
        Ok(is_whole.then_some(record))
    }

    /// Records finished steps, durably with their layers, in one transaction. The caller holds the
    /// layers.
    ///
    /// # Errors
    /// `NoSuchContent` for a layer that is not here, `Database`, `Io`.
    pub fn put_steps(&self, steps: &[(String, StepRecord)]) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let unsynced: Vec<Digest> = self.state().unsynced.iter().copied().collect();
        let named = steps.iter().filter_map(|(_, step)| step.layer);
        if named.into_iter().any(|layer| unsynced.contains(&layer)) {
            self.sync(&unsynced)?;
        }
        let write = self.write()?;
        for (key, step) in steps {
            if let Some(diff_id) = &step.layer
                && write.layer(diff_id)?.is_none()
            {
                return Err(Error::NoSuchContent(*diff_id));
            }
            database::put_record(&write, STEPS, key, step)?;
        }
        write.commit().map_err(Error::database)
    }

    /// Lists all steps.
    ///
    /// # Errors
    /// `Database`.
    pub fn steps(&self) -> Result<Vec<(String, StepRecord)>> {
        let all = self.read()?.all(STEPS, "")?;
        all.into_iter().map(|(key, bytes)| decode(&key, &bytes).map(|step| (key, step))).collect()
    }

    /// Forgets steps, and deletes the layers that nothing else has. Returns the bytes of those.
    ///
    /// # Errors
    /// `Database`, `Io`.
    pub fn remove_steps(&self, keys: &[String]) -> Result<u64> {
        let write = self.write()?;
        let mut layers = Vec::new();
        {
            let mut table = write.open_table(STEPS).map_err(Error::database)?;
            for key in keys {
                let removed = table.remove(key.as_str()).map_err(Error::database)?;
                if let Some(bytes) = removed.map(|value| value.value().to_vec()) {
                    layers.extend(decode(key, &bytes)?.layer);
                }
            }
            let left = table.len();
            tracing::debug!(removed = keys.len(), left = ?left.ok(), "build steps forgotten");
        }
        let gone = self.forget_layers(&write, &layers)?;
        write.commit().map_err(Error::database)?;
        let bytes = gone.iter().map(|(_, layer)| layer.size).sum();
        self.delete_layers(gone)?;
        Ok(bytes)
    }
}
