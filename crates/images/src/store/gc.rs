//! What metadata does not name is garbage: swept after removals, at open, and looked for by `verify`.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use redb::WriteTransaction;

use super::database::{self, CONFIGS, IMAGES, ImageRecord, LAYERS, LayerRecord, Read as _};
use super::rw::entries;
use super::{State, Store, delete, quota};
use crate::{Digest, Error, Hasher, ImageId, Result};

/// Downloads that nobody resumed for so long are given up.
const ABANDONED_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);

/// Something that [`Store::verify`] found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The object, such as `layer sha256:…`.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Store {
    /// Removes everything that no metadata names, and writable layers that are half deleted. Directories
    /// may hold a lot: they are only listed here, and deleted by a thread that [`Store::wait_swept`]
    /// waits for.
    pub(crate) fn collect_garbage(&self, half_deleted: Vec<PathBuf>) -> Result<()> {
        let write = self.write()?;
        let mut blobs = Vec::new();
        let mut candidates = Vec::new();
        for (diff_id, record) in write.records::<LayerRecord>(LAYERS)? {
            // Without its directory a record only keeps a pull from bringing the layer again.
            if !self.paths().diff(&record.cache_id).is_dir() {
                tracing::warn!(layer = %diff_id, "layer directory is missing");
                database::delete(&write, LAYERS, &diff_id.to_string())?;
                blobs.extend(record.blob);
            } else {
                candidates.push(diff_id);
            }
        }
        let removed = unreferenced(&write, &self.state(), &candidates)?;
        forget(&write, &removed)?;
        write.commit().map_err(Error::database)?;
        blobs.extend(removed.into_iter().filter_map(|(_, record)| record.blob));
        for blob in blobs {
            self.delete_blob(&blob.digest)?;
        }
        self.sweep(self.strays()?, half_deleted)?;
        self.give_up_downloads(SystemTime::now())
    }

    /// Removes those of the layers that nothing refers to any more.
    pub(crate) fn release_layers(&self, diff_ids: &[Digest]) -> Result<()> {
        if diff_ids.is_empty() {
            return Ok(());
        }
        // Most containers leave an image behind that still has all layers: no transaction for that.
        if unreferenced(&self.read()?, &self.state(), diff_ids)?.is_empty() {
            return Ok(());
        }
        let write = self.write()?;
        let removed = self.forget_layers(&write, diff_ids)?;
        write.commit().map_err(Error::database)?;
        self.delete_layers(removed)
    }

    /// Takes the records of unreferenced layers away; their bytes go after the transaction, by
    /// [`Store::delete_layers`].
    pub(crate) fn forget_layers(
        &self,
        write: &WriteTransaction,
        diff_ids: &[Digest],
    ) -> Result<Vec<(Digest, LayerRecord)>> {
        let mut state = self.state();
        let removed = unreferenced(write, &state, diff_ids)?;
        state.going.extend(removed.iter().map(|(diff_id, _)| *diff_id));
        drop(state);
        forget(write, &removed)?;
        Ok(removed)
    }

    /// Deletes the bytes of layers whose records are gone.
    pub(crate) fn delete_layers(&self, removed: Vec<(Digest, LayerRecord)>) -> Result<()> {
        let mut result = Ok(());
        for (diff_id, record) in removed {
            self.state().going.remove(&diff_id);
            tracing::debug!(layer = %diff_id, "layer removed");
            // One failure does not keep the others; what stays goes at the next open.
            result = result.and(delete::delete(&self.paths().layer(&record.cache_id)));
            if let Some(blob) = record.blob {
                result = result.and(self.delete_blob(&blob.digest));
            }
        }
        result
    }

    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let layers = self.read()?.records::<LayerRecord>(LAYERS)?;
        let state = self.state();
        let is_used = state.pins.contains_key(digest)
            || state.ingests.contains(digest)
            || layers
                .iter()
                .filter_map(|(_, layer)| layer.blob.as_ref())
                .any(|b| b.digest == *digest);
        if is_used {
            return Ok(());
        }
        delete::delete(&self.paths().blob(digest))
    }

    /// Lists layer directories that no record names: staged, half deleted, just forgotten. Right only
    /// while nothing is being unpacked.
    fn strays(&self) -> Result<Vec<PathBuf>> {
        let layers = self.read()?.records::<LayerRecord>(LAYERS)?;
        let known: HashSet<String> = layers.into_iter().map(|(_, layer)| layer.cache_id).collect();
        let mut strays = entries(&self.paths().layers)?;
        strays.retain(|dir| {
            let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
            !name.is_some_and(|name| known.contains(&name))
        });
        Ok(strays)
    }

    /// Deletes directories without anybody waiting.
    fn sweep(&self, layers: Vec<PathBuf>, writable: Vec<PathBuf>) -> Result<()> {
        if layers.is_empty() && writable.is_empty() {
            return Ok(());
        }
        let paths = self.paths().clone();
        let thread = std::thread::Builder::new().name("sweep".to_owned()).spawn(move || {
            // What fails is found again at the next open.
            let told = |path: &Path, result: Result<()>| {
                if let Err(error) = result {
                    tracing::warn!(path = %path.display(), %error, "leftover not deleted");
                }
            };
            layers.iter().for_each(|path| told(path, delete::delete(path)));
            writable.iter().for_each(|path| told(path, quota::delete_rw(&paths, path)));
        });
        let thread = thread.map_err(|source| {
            Error::io("start the thread that cleans", &self.paths().layers, source)
        })?;
        *self.0.sweep.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Deletes old downloads, finished or not, that no image came of.
    pub(crate) fn give_up_downloads(&self, now: SystemTime) -> Result<()> {
        let layers = self.read()?.records::<LayerRecord>(LAYERS)?;
        let used: HashSet<String> =
            layers.into_iter().filter_map(|(_, layer)| Some(layer.blob?.digest.hex())).collect();
        for dir in [&self.paths().ingest, &self.paths().blobs] {
            for path in entries(dir)? {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                if !name.is_some_and(|name| used.contains(&name)) && is_old(&path, now) {
                    delete::delete(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Checks everything stored against its digest; takes as long as reading all of it does.
    ///
    /// # Errors
    /// `Database`, `Io` when the check itself fails.
    pub fn verify(&self) -> Result<Vec<Fault>> {
        let read = self.read()?;
        let mut faults = Vec::new();
        for (digest, record) in read.records::<ImageRecord>(IMAGES)? {
            let mut fault = |problem: String| {
                faults.push(Fault { object: format!("image {digest}"), problem });
            };
            match read.bytes(CONFIGS, &digest.to_string())? {
                None => fault("its config is missing".to_owned()),
                Some(config) if ImageId::of_config(&config).digest() != digest => {
                    fault("its config has another digest".to_owned());
                }
                Some(_) => {}
            }
            for diff_id in record.diff_ids {
                if read.layer(&diff_id)?.is_none() {
                    fault(format!("layer {diff_id} is missing"));
                }
            }
        }
        for (diff_id, record) in read.records::<LayerRecord>(LAYERS)? {
            let mut fault = |problem: String| {
                faults.push(Fault { object: format!("layer {diff_id}"), problem });
            };
            if !self.paths().diff(&record.cache_id).is_dir() {
                fault("its directory is missing".to_owned());
                continue;
            }
            match self.layer_archive(&diff_id).and_then(hash) {
                Ok(actual) if actual == diff_id => {}
                Ok(actual) => fault(format!("its content has digest {actual}")),
                Err(error) => fault(format!("its archive cannot be rebuilt: {error}")),
            }
            if let Some(blob) = record.blob {
                match self.open_blob(&blob.digest).and_then(hash::<File>) {
                    Ok(actual) if actual == blob.digest => {}
                    Ok(actual) => fault(format!("its blob has digest {actual}")),
                    Err(error) => fault(format!("its blob cannot be read: {error}")),
                }
            }
        }
        Ok(faults)
    }
}

fn hash<R: std::io::Read>(mut input: R) -> Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer).map_err(Error::ReadInput)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn is_old(path: &Path, now: SystemTime) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified
        .is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > ABANDONED_AFTER))
}

/// Finds those of the layers that no image, container or running operation refers to.
fn unreferenced(
    read: &impl database::Read,
    state: &State,
    diff_ids: &[Digest],
) -> Result<Vec<(Digest, LayerRecord)>> {
    let mut used: HashSet<Digest> = state.rw.values().flatten().copied().collect();
    used.extend(state.pins.keys());
    for (_, image) in read.records::<ImageRecord>(IMAGES)? {
        used.extend(image.diff_ids);
    }
    used.extend(super::steps::layers(read)?);
    let mut found = Vec::new();
    for diff_id in diff_ids.iter().collect::<HashSet<_>>() {
        if !used.contains(diff_id)
            && let Some(record) = read.layer(diff_id)?
        {
            found.push((*diff_id, record));
        }
    }
    Ok(found)
}

fn forget(write: &WriteTransaction, layers: &[(Digest, LayerRecord)]) -> Result<()> {
    for (diff_id, _) in layers {
        database::delete(write, LAYERS, &diff_id.to_string())?;
    }
    Ok(())
}
