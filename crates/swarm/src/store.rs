//! The books on disk.
//!
//! ```text
//! <data-root>/swarm/manager.redb   table objects: "cluster", "node/<id>", "network/<id>",
//!                                                 "attachment/<network>/<container>" -> JSON
//!                                  table meta:    "version" -> 1
//! ```
//! A commit is durable when it returns.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::books::{Books, Change};
use crate::error::{Code, Error, Result};
use crate::model::Cluster;

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const VERSION: u32 = 1;
const CLUSTER: &str = "cluster";
/// What the database may keep of its pages; the books themselves are in memory anyway.
const CACHE_BYTES: usize = 1 << 20;

/// How long a process that has just given up the data root may hold the file.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// The open store.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// The file's name in the directory of the swarm's state.
    pub(crate) const FILE: &'static str = "manager.redb";

    /// Makes a store for a new swarm.
    pub(crate) fn create(dir: &Path, cluster: Cluster) -> Result<(Self, Books)> {
        let store = Self::open_file(dir)?;
        store.commit(&[Change::Cluster(Box::new(cluster.clone()))])?;
        Ok((store, Books::new(cluster)))
    }

    /// Opens the store of a swarm that is there.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Books)> {
        let store = Self::open_file(dir)?;
        let changes = store.load()?;
        let cluster = changes.iter().find_map(|change| match change {
            Change::Cluster(cluster) => Some((**cluster).clone()),
            _ => None,
        });
        let cluster = cluster.ok_or_else(|| {
            let text = format!("read {}: there is no swarm in it", store.path.display());
            Error::new(Code::Internal, text)
        })?;
        let mut books = Books::new(cluster);
        for change in changes {
            books.apply(change);
        }
        Ok((store, books))
    }

    /// Makes changes durable, all or none.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<()> {
        self.try_commit(changes).map_err(|error| self.failed("write", &error))
    }

    fn open_file(dir: &Path) -> Result<Self> {
        let path = dir.join(Self::FILE);
        let failed =
            |error: redb::Error| Error::internal(format!("open {}", path.display()), &error);
        let deadline = Instant::now() + PATIENCE;
        let database = loop {
            match Database::builder().set_cache_size(CACHE_BYTES).create(&path) {
                // Whoever had the data root before has given it up, and not yet closed all files.
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                opened => break opened.map_err(|error| failed(error.into()))?,
            }
        };
        let store = Self { path: path.clone(), database };
        let version = store.prepare().map_err(failed)?;
        if version != VERSION {
            let text = format!(
                "open {}: it has format {version}, and this version knows {VERSION}",
                path.display()
            );
            return Err(Error::new(Code::Internal, text));
        }
        Ok(store)
    }

    /// Makes the tables; the version they are of.
    fn prepare(&self) -> Result<u32, redb::Error> {
        let change = self.database.begin_write()?;
        change.open_table(OBJECTS)?;
        let version = {
            let mut meta = change.open_table(META)?;
            let found = meta.get("version")?.map(|version| version.value());
            match found {
                Some(version) => version,
                None => {
                    meta.insert("version", VERSION)?;
                    VERSION
                }
            }
        };
        change.commit()?;
        Ok(version)
    }

    fn load(&self) -> Result<Vec<Change>> {
        let entries = self.entries().map_err(|error| self.failed("read", &error))?;
        let read = |(key, value): (String, Vec<u8>)| {
            serde_json::from_slice(&value).map_err(|error| {
                Error::internal(format!("read {} of {}", key, self.path.display()), &error)
            })
        };
        entries.into_iter().map(read).collect()
    }

    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(OBJECTS)?;
        let mut entries = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            entries.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(entries)
    }

    fn try_commit(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(OBJECTS)?;
            for change in changes {
                let (key, is_there) = key_of(change);
                if is_there {
                    let json = serde_json::to_vec(change).expect("an object is JSON");
                    table.insert(key.as_str(), json.as_slice())?;
                } else {
                    table.remove(key.as_str())?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn failed(&self, action: &str, error: &redb::Error) -> Error {
        Error::internal(format!("{action} {}", self.path.display()), error)
    }
}

/// Under which key an object is kept, and whether it is there after the change.
fn key_of(change: &Change) -> (String, bool) {
    match change {
        Change::Cluster(_) => (CLUSTER.to_owned(), true),
        Change::Node(node) => (format!("node/{}", node.id), true),
        Change::NodeGone(id) => (format!("node/{id}"), false),
        Change::Network(network) => (format!("network/{}", network.id), true),
        Change::NetworkGone(id) => (format!("network/{id}"), false),
        Change::Attachment(attachment) => {
            let request = &attachment.request;
            (format!("attachment/{}/{}", request.network_id, request.container_id), true)
        }
        Change::AttachmentGone(network, container) => {
            (format!("attachment/{network}/{container}"), false)
        }
    }
}
