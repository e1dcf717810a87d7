//! What is kept on disk: networks for good, endpoints as long as the host runs.
//!
//! An endpoint describes kernel objects that end with the boot, so its file lies in the exec-root
//! and needs no fsync; a start pays for none.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::error::{Context as _, Error, Result};
use crate::overlay::Joined;
use crate::record::NetworkRecord;

const NETWORKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("networks");
const VERSION: u32 = 1;
/// Place on disk that is kept for the database.
const RESERVED: u64 = 128 << 10;
/// The extension of a record that is being written.
const UNFINISHED: &str = "tmp";

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    value: T,
}

pub(crate) struct Store {
    database: Database,
    path: PathBuf,
    endpoints: PathBuf,
    overlays: PathBuf,
}

impl Store {
    pub(crate) fn open(data_root: &Path, exec_root: &Path) -> Result<Self> {
        let endpoints = exec_root.join("network");
        let overlays = endpoints.join("overlays");
        for directory in [data_root, &endpoints, &overlays] {
            fs::create_dir_all(directory).context(|| format!("create {}", directory.display()))?;
        }
        let path = data_root.join("network.redb");
        linux::fs::make_private(&path, RESERVED).context(|| format!("open {}", path.display()))?;
        let database =
            Database::create(&path).map_err(|error| state_error(&path, error.to_string()))?;
        Ok(Self { database, path, endpoints, overlays })
    }

    /// All networks, in the order of their ids.
    pub(crate) fn networks(&self) -> Result<Vec<NetworkRecord>> {
        let read = || -> Result<Vec<Vec<u8>>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = match transaction.open_table(NETWORKS) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            table.iter()?.map(|entry| Ok(entry?.1.value().to_vec())).collect()
        };
        let records = read().map_err(|error| state_error(&self.path, error.to_string()))?;
        records.iter().map(|bytes| decode(&self.path, bytes)).collect()
    }

    pub(crate) fn put_network(&self, record: &NetworkRecord) -> Result<()> {
        let bytes = encode(&self.path, record)?;
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(NETWORKS)?.insert(record.id.as_str(), bytes.as_slice())?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| state_error(&self.path, error.to_string()))
    }

    pub(crate) fn remove_network(&self, id: &str) -> Result<()> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(NETWORKS)?.remove(id)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| state_error(&self.path, error.to_string()))
    }

    /// Endpoints of this and earlier processes since the boot.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        records(&self.endpoints)
    }

    pub(crate) fn put_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        write(&self.endpoint_path(&endpoint.id), endpoint)
    }

    pub(crate) fn remove_endpoint(&self, id: &str) -> Result<()> {
        remove(&self.endpoint_path(id))
    }

    fn endpoint_path(&self, id: &str) -> PathBuf {
        self.endpoints.join(format!("{id}.json"))
    }

    /// The networks of the swarm that containers of this host are in, or were when a process ended.
    pub(crate) fn overlays(&self) -> Result<Vec<Joined>> {
        records(&self.overlays)
    }

    pub(crate) fn put_overlay(&self, joined: &Joined) -> Result<()> {
        write(&self.overlay_path(&joined.record.id), joined)
    }

    pub(crate) fn remove_overlay(&self, id: &str) -> Result<()> {
        remove(&self.overlay_path(id))
    }

    fn overlay_path(&self, id: &str) -> PathBuf {
        self.overlays.join(format!("{id}.json"))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Reads the records of a directory. A file that was never finished goes.
fn records<T: for<'de> Deserialize<'de>>(directory: &Path) -> Result<Vec<T>> {
    let list = || format!("list {}", directory.display());
    let mut records = Vec::new();
    for entry in fs::read_dir(directory).context(list)? {
        let path = entry.context(list)?.path();
        // A directory of other things is none of them.
        if path.is_dir() {
            continue;
        }
        if path.extension() == Some(OsStr::new(UNFINISHED)) {
            // What it says, whole or not, has not happened.
            fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
            continue;
        }
        match fs::read(&path).context(list).and_then(|bytes| decode(&path, &bytes)) {
            Ok(record) => records.push(record),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "dropping a record of this boot");
                // It describes nothing; if it stays, the next start says so again.
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(records)
}

/// Writes a record of this boot. It ends with the boot, so nothing waits for the disk.
fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let temporary = path.with_extension(UNFINISHED);
    let bytes = encode(path, record)?;
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .context(|| format!("write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn encode<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(&Versioned { version: VERSION, value })
        .map_err(|error| state_error(path, error.to_string()))
}

fn decode<T: for<'de> Deserialize<'de>>(path: &Path, bytes: &[u8]) -> Result<T> {
    let decoded: Versioned<T> =
        serde_json::from_slice(bytes).map_err(|error| state_error(path, error.to_string()))?;
    if decoded.version == VERSION {
        return Ok(decoded.value);
    }
    Err(state_error(path, format!("written by another version ({})", decoded.version)))
}

fn state_error(path: &Path, message: String) -> Error {
    Error::State { path: path.display().to_string(), message }
}
