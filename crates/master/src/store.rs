//! The registry on disk.
//!
//! ```text
//! <work_dir>/registry.redb   table registry: key -> value, as the core writes them
//!                            table meta:     "version" -> 1, "lineage" and "term" of masters that
//!                                            stand for election
//! ```
//! A commit is durable when it returns. There is one writer, so nothing waits for a lock.

use std::path::{Path, PathBuf};

use cluster::registry::{LoadError, Registry, Write};
use election::Lineage;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use thiserror::Error;

const REGISTRY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registry");
const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const VERSION: u32 = 1;
const FILE: &str = "registry.redb";

/// What the database may keep of its pages. They are read at the start and to be changed, and the
/// kernel keeps them too; without a limit the whole registry would be held here once more.
const CACHE_BYTES: usize = 1 << 20;

/// Why the registry cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory is not there and cannot be made.
    #[error("create the directory {path}")]
    Directory {
        /// `--work_dir`
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Another master works there.
    #[error("open {path}: another master has it open; give this one a --work_dir of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or the disk refuses.
    #[error("{action} {path}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// The file was written by a later version.
    #[error("open {path}: it has format {found}, and this version knows {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// A value is not what its key says.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The open registry.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens the registry in a directory, makes it if it is not there, and reads it.
    ///
    /// # Errors
    /// If it cannot be opened, read or understood.
    pub(crate) fn open(work_dir: &Path) -> Result<(Self, Registry), StoreError> {
        std::fs::create_dir_all(work_dir)
            .map_err(|source| StoreError::Directory { path: work_dir.to_owned(), source })?;
        let path = work_dir.join(FILE);
        let database = match Database::builder().set_cache_size(CACHE_BYTES).create(&path) {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(StoreError::InUse { path });
            }
            Err(error) => return Err(failed("open", &path)(error.into())),
        };
        let store = Self { path, database };
        let registry = store.load()?;
        Ok((store, registry))
    }

    fn load(&self) -> Result<Registry, StoreError> {
        let failed = failed("read", &self.path);
        let version = self.prepare().map_err(&failed)?;
        if version != VERSION {
            return Err(StoreError::Version { path: self.path.clone(), found: version });
        }
        let pairs = self.pairs().map_err(&failed)?;
        Ok(Registry::load(pairs)?)
    }

    /// Makes the tables; the version they are of.
    fn prepare(&self) -> Result<u32, redb::Error> {
        let change = self.database.begin_write()?;
        change.open_table(REGISTRY)?;
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

    fn pairs(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(REGISTRY)?;
        let mut pairs = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            pairs.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(pairs)
    }

    /// What tells this registry from others; made up where it is asked for the first time.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn lineage(&self) -> Result<Lineage, StoreError> {
        let read = || -> Result<Option<Lineage>, redb::Error> {
            let meta = self.database.begin_read()?.open_table(META)?;
            let (registry, term) = (meta.get("lineage")?, meta.get("term")?);
            let lineage = registry.zip(term);
            Ok(lineage
                .map(|(registry, term)| Lineage { registry: registry.value(), term: term.value() }))
        };
        match read().map_err(failed("read", &self.path))? {
            Some(lineage) => Ok(lineage),
            None => {
                let lineage = Lineage { registry: rand::random(), term: 0 };
                self.keep_lineage(lineage)?;
                Ok(lineage)
            }
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn keep_lineage(&self, lineage: Lineage) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let change = self.database.begin_write()?;
            {
                let mut meta = change.open_table(META)?;
                meta.insert("lineage", lineage.registry)?;
                meta.insert("term", lineage.term)?;
            }
            change.commit()?;
            Ok(())
        };
        write().map_err(failed("write", &self.path))
    }

    /// How much is kept.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn bytes(&self) -> Result<u64, StoreError> {
        let stored = || -> Result<u64, redb::Error> {
            let table = self.database.begin_read()?.open_table(REGISTRY)?;
            Ok(table.stats()?.stored_bytes())
        };
        stored().map_err(failed("read", &self.path))
    }

    /// Makes changes durable, all or none.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.try_commit(writes).map_err(failed("write", &self.path))
    }

    fn try_commit(&self, writes: &[Write]) -> Result<(), redb::Error> {
        let change = self.database.begin_write()?;
        {
            let mut table = change.open_table(REGISTRY)?;
            for Write { key, value } in writes {
                match value {
                    Some(value) => drop(table.insert(&**key, &**value)?),
                    None => drop(table.remove(&**key)?),
                }
            }
        }
        change.commit()?;
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(redb::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Database { action, path: path.clone(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;
