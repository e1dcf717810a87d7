//! The metadata: tables and records of `images.redb`.
//!
//! Records are JSON, so that a later version can add fields. Configs and manifests are in the database
//! rather than in files: they are small, and one transaction then makes an image visible as a whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TransactionError,
    WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, ImageId, Result};

type Table = TableDefinition<'static, &'static str, &'static [u8]>;

/// `version` → the format of everything here.
const META: Table = TableDefinition::new("meta");
/// Image id → [`ImageRecord`].
pub(crate) const IMAGES: Table = TableDefinition::new("images");
/// Image id → the config's bytes, verbatim.
pub(crate) const CONFIGS: Table = TableDefinition::new("configs");
/// Canonical reference with a tag or a digest → image id.
pub(crate) const NAMES: Table = TableDefinition::new("names");
/// Manifest digest → media type, line feed, bytes.
pub(crate) const MANIFESTS: Table = TableDefinition::new("manifests");
/// Diff id → [`LayerRecord`].
pub(crate) const LAYERS: Table = TableDefinition::new("layers");
/// Key of a build step → [`crate::StepRecord`].
pub(crate) const STEPS: Table = TableDefinition::new("steps");

const VERSION: &[u8] = b"1";
/// Place on disk that is kept for the database, so that images can be removed from a full one.
const RESERVED: u64 = 1 << 20;

/// What is known of an image besides its config.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Lowest first.
    pub(crate) diff_ids: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<ImageId>,
    /// Manifests that have this config.
    #[serde(default)]
    pub(crate) manifests: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_tag_time: Option<String>,
}

/// What is known of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Its directory in `layers/`: random, so that a layer that is being deleted and one that comes
    /// anew never meet.
    pub(crate) cache_id: String,
    /// Bytes of its files' content.
    pub(crate) size: u64,
    /// Bytes of the uncompressed archive.
    pub(crate) archive_size: u64,
    /// The compressed archive, if one is kept; else the layer has a recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<BlobRecord>,
}

/// A layer's compressed archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) media_type: String,
}

/// The open database. After a failed write, as on a full disk, it refuses everything until it is
/// opened anew; that is done at the next use.
pub(crate) struct Handle {
    path: PathBuf,
    /// `None` when opening it anew failed. Held to look at it or to open it, not while it is used.
    database: Mutex<Option<Arc<Database>>>,
    /// Something was written since a reader last looked whether that failed.
    written: AtomicBool,
}

impl Handle {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let database = Mutex::new(Some(Arc::new(open(&path)?)));
        Ok(Self { path, database, written: AtomicBool::new(false) })
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction> {
        if self.written.swap(false, Ordering::Relaxed) {
            // Readers are told late, when what they look for is not in memory.
            self.begin(|database| match database.try_begin_write() {
                Err(TransactionError::WouldBlock) => {
                    self.written.store(true, Ordering::Relaxed);
                    Ok(())
                }
                began => began.map(drop),
            })?;
        }
        self.begin(ReadableDatabase::begin_read)
    }

    pub(crate) fn write(&self) -> Result<WriteTransaction> {
        self.written.store(true, Ordering::Relaxed);
        self.begin(Database::begin_write)
    }

    fn begin<T>(
        &self,
        begin: impl Fn(&Database) -> std::result::Result<T, TransactionError>,
    ) -> Result<T> {
        let database = self.current(None)?;
        match begin(&database) {
            Err(TransactionError::Storage(redb::StorageError::PreviousIo)) => {
                let database = self.current(Some(database))?;
                begin(&database).map_err(Error::database)
            }
            began => began.map_err(Error::database),
        }
    }

    /// Returns the database, another one than `failed`.
    fn current(&self, failed: Option<Arc<Database>>) -> Result<Arc<Database>> {
        let mut current = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(open), Some(failed)) = (&*current, &failed)
            && Arc::ptr_eq(open, failed)
        {
            *current = None;
        }
        // The file is locked until the last holder is gone; who comes too early tries again later.
        drop(failed);
        if let Some(open) = &*current {
            return Ok(Arc::clone(open));
        }
        let opened = Arc::new(Database::create(&self.path).map_err(Error::database)?);
        Ok(Arc::clone(current.insert(opened)))
    }
}

/// Opens or makes the database.
fn open(path: &Path) -> Result<Database> {
    linux::fs::make_private(path, RESERVED).map_err(|source| Error::io("open", path, source))?;
    let database = Database::create(path).map_err(Error::database)?;
    let write = database.begin_write().map_err(Error::database)?;
    {
        for table in [IMAGES, CONFIGS, NAMES, MANIFESTS, LAYERS, STEPS] {
            write.open_table(table).map_err(Error::database)?;
        }
        let mut meta = write.open_table(META).map_err(Error::database)?;
        let version = meta.get("version").map_err(Error::database)?;
        let version = version.map(|value| value.value().to_vec());
        match version {
            None => drop(meta.insert("version", VERSION).map_err(Error::database)?),
            Some(version) if version == VERSION => {}
            Some(version) => {
                return Err(Error::DamagedRecord {
                    record: "version".to_owned(),
                    problem: format!(
                        "format {} is from another version of the program",
                        String::from_utf8_lossy(&version)
                    ),
                });
            }
        }
    }
    write.commit().map_err(Error::database)?;
    Ok(database)
}

/// Reading, the same within a read and a write transaction.
pub(crate) trait Read {
    /// Returns the value of a key.
    fn bytes(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>>;
    /// Returns all keys and values that start with a prefix, in order.
    fn all(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;

    /// Returns a record.
    fn record<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>> {
        self.bytes(table, key)?.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// Returns all records.
    fn records<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(Digest, T)>> {
        let decoded = self.all(table, "")?.into_iter().map(|(key, bytes)| {
            let record = decode(&key, &bytes)?;
            Ok((key.parse()?, record))
        });
        decoded.collect()
    }

    /// Returns an image's record.
    fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        self.record(IMAGES, &id.to_string())
    }

    /// Returns an image's config.
    fn config(&self, id: &ImageId) -> Result<Vec<u8>> {
        let bytes = self.bytes(CONFIGS, &id.to_string())?;
        bytes.ok_or_else(|| Error::NoSuchImage(id.to_string()))
    }

    /// Returns a layer's record.
    fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>> {
        self.record(LAYERS, &diff_id.to_string())
    }

    /// Returns all canonical names with their images.
    fn names(&self) -> Result<Vec<(String, ImageId)>> {
        let parsed = self.all(NAMES, "")?.into_iter().map(|(name, id)| {
            let id = image_id(&name, &id)?;
            Ok((name, id))
        });
        parsed.collect()
    }

    /// Returns the image that has a canonical name.
    fn named(&self, name: &str) -> Result<Option<ImageId>> {
        self.bytes(NAMES, name)?.map(|id| image_id(name, &id)).transpose()
    }
}

fn image_id(name: &str, bytes: &[u8]) -> Result<ImageId> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::DamagedRecord { record: name.to_owned(), problem: "not an image id".to_owned() }
    })
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::DamagedRecord {
        record: key.to_owned(),
        problem: source.to_string(),
    })
}

macro_rules! read {
    ($transaction:ty) => {
        impl Read for $transaction {
            fn bytes(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>> {
                let table = self.open_table(table).map_err(Error::database)?;
                let value = table.get(key).map_err(Error::database)?;
                Ok(value.map(|value| value.value().to_vec()))
            }

            fn all(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
                let table = self.open_table(table).map_err(Error::database)?;
                let mut found = Vec::new();
                for item in table.range(prefix..).map_err(Error::database)? {
                    let (key, value) = item.map_err(Error::database)?;
                    if !key.value().starts_with(prefix) {
                        break;
                    }
                    found.push((key.value().to_owned(), value.value().to_vec()));
                }
                Ok(found)
            }
        }
    };
}
read!(ReadTransaction);
read!(WriteTransaction);

/// Writes raw bytes.
pub(crate) fn put(write: &WriteTransaction, table: Table, key: &str, value: &[u8]) -> Result<()> {
    let mut table = write.open_table(table).map_err(Error::database)?;
    table.insert(key, value).map_err(Error::database)?;
    Ok(())
}

/// Writes a record.
pub(crate) fn put_record(
    write: &WriteTransaction,
    table: Table,
    key: &str,
    record: &impl Serialize,
) -> Result<()> {
    let bytes = serde_json::to_vec(record)
        .map_err(|source| Error::Internal(format!("encode {key}: {source}")))?;
    put(write, table, key, &bytes)
}

/// Takes a key away.
pub(crate) fn delete(write: &WriteTransaction, table: Table, key: &str) -> Result<()> {
    let mut table = write.open_table(table).map_err(Error::database)?;
    table.remove(key).map_err(Error::database)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::store::tests::root_only;

    #[test]
    fn a_full_disk_fails_writes_only_while_it_is_full() {
        root_only!();
        let disk = linux::mount::FsContext::open("tmpfs").unwrap();
        disk.set("size", "4m").unwrap();
        let disk = disk.create(0).unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}", disk.as_raw_fd()));
        let handle = Handle::open(root.join("images.redb")).unwrap();
        let ballast = root.join("ballast");
        // Fails when the disk is full.
        let _ = std::fs::write(&ballast, vec![1; 8 << 20]).unwrap_err();
        let record = |name: &str| {
            let write = handle.write()?;
            put(&write, CONFIGS, name, &vec![1; 100_000])?;
            write.commit().map_err(Error::database)
        };
        let mut names = 0..;
        let error = names.find_map(|name| record(&name.to_string()).err()).unwrap();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        // What was there is, and room can be made.
        let kept = handle.read().unwrap().all(CONFIGS, "").unwrap().len();
        assert!(kept > 0, "the reserve is used");
        assert!(record("more").is_err());
        let write = handle.write().unwrap();
        delete(&write, CONFIGS, "0").unwrap();
        write.commit().unwrap();
        std::fs::remove_file(&ballast).unwrap();
        record("more").unwrap();
        assert_eq!(handle.read().unwrap().all(CONFIGS, "").unwrap().len(), kept);
    }
}
