//! The state database: one record per container, every change durable before it is acknowledged.
//!
//! ```text
//! <data-root>/state.redb   table containers: id -> JSON of ContainerRecord
//!                          table meta:       "version" -> 1
//! ```
//! One thread owns the database. Changes that arrive while it writes are committed together, so
//! that fifty starts at once cost a few syncs, not fifty.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use crate::container::{ContainerId, ContainerRecord};
use crate::{Error, Result};

const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const VERSION: u32 = 1;
/// Place on disk that is kept for the database, so that containers can be removed from a full one.
const RESERVED: u64 = 1 << 20;
/// How many changes may wait for the thread before callers wait to hand theirs over.
const QUEUED: usize = 1024;
/// How many changes one commit takes at most.
const BATCH: usize = 256;

/// The handle on the database's thread.
#[derive(Debug)]
pub(crate) struct Store {
    /// `None` once closed. Held only to clone or take the sender.
    jobs: Mutex<Option<SyncSender<Job>>>,
    /// Held only to take the handle at close.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Job {
    id: ContainerId,
    /// `None` deletes.
    bytes: Option<Vec<u8>>,
    done: oneshot::Sender<Result<()>>,
}

impl Store {
    /// Opens the database and reads every record.
    ///
    /// # Errors
    /// When the file is damaged or was written by a newer version.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<ContainerRecord>)> {
        // Records hold environments, and those hold secrets.
        linux::fs::make_private(path, RESERVED).map_err(Error::io("open", path))?;
        let database = Database::create(path).map_err(failed)?;
        let records = prepare(&database)?;
        let (jobs, queue) = sync_channel(QUEUED);
        let thread = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn({
                let path = path.to_owned();
                move || run(&path, database, &queue)
            })
            .map_err(Error::io("start the thread of", path))?;
        let store = Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) };
        Ok((store, records))
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// When the disk refuses; the old record stays then.
    pub(crate) async fn put(&self, record: &ContainerRecord) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| Error::Store(error.to_string()))?;
        self.submit(record.id.clone(), Some(bytes)).await
    }

    /// Forgets a record durably; none is fine.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.submit(id.clone(), None).await
    }

    async fn submit(&self, id: ContainerId, bytes: Option<Vec<u8>>) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = jobs.ok_or_else(closed)?;
        let job = Job { id, bytes, done };
        // The queue is long and short-lived; only when it is full does a thread have to wait.
        if let Err(error) = jobs.try_send(job) {
            let job = match error {
                std::sync::mpsc::TrySendError::Full(job) => job,
                std::sync::mpsc::TrySendError::Disconnected(_) => return Err(closed()),
            };
            let sent = tokio::task::spawn_blocking(move || jobs.send(job)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(closed());
            }
        }
        answer.await.map_err(|_| closed())?
    }

    /// Writes what is queued and closes the database.
    pub(crate) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the state database's thread panicked");
        }
    }
}

fn prepare(database: &Database) -> Result<Vec<ContainerRecord>> {
    let read = database.begin_read().map_err(failed)?;
    let fresh = match read.open_table(META) {
        Ok(meta) => {
            let version = meta.get("version").map_err(failed)?.map(|version| version.value());
            if let Some(version) = version.filter(|version| *version > VERSION) {
                return Err(Error::Store(format!(
                    "written by a newer version (layout {version}, this one knows {VERSION}); \
                     run that version"
                )));
            }
            version.is_none()
        }
        Err(redb::TableError::TableDoesNotExist(_)) => true,
        Err(error) => return Err(failed(error)),
    };
    if fresh {
        let write = database.begin_write().map_err(failed)?;
        write.open_table(META).map_err(failed)?.insert("version", VERSION).map_err(failed)?;
        write.open_table(CONTAINERS).map_err(failed)?;
        write.commit().map_err(failed)?;
        return Ok(Vec::new());
    }
    let containers = read.open_table(CONTAINERS).map_err(failed)?;
    let mut records = Vec::new();
    for entry in containers.iter().map_err(failed)? {
        let (id, bytes) = entry.map_err(failed)?;
        match serde_json::from_slice(bytes.value()) {
            Ok(record) => records.push(record),
            // One unreadable record must not keep every other container from coming back.
            Err(error) => {
                tracing::error!(container_id = id.value(), %error, "container record unreadable");
            }
        }
    }
    Ok(records)
}

/// After a failed write the database refuses everything until it is opened anew.
fn run(path: &Path, database: Database, queue: &Receiver<Job>) {
    let mut database = Some(database);
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter().take(BATCH - 1));
        let open = || Database::create(path).map_err(|error| error.to_string());
        let outcome = database.take().map_or_else(open, Ok).and_then(|opened| {
            commit(&opened, &jobs)?;
            database = Some(opened);
            Ok(())
        });
        for job in jobs {
            let answer = match &outcome {
                Ok(()) => Ok(()),
                Err(message) => Err(Error::Store(message.clone())),
            };
            // The asker may have gone; what it asked for is done all the same.
            let _ = job.done.send(answer);
        }
    }
}

fn commit(database: &Database, jobs: &[Job]) -> std::result::Result<(), String> {
    let apply = || -> std::result::Result<(), redb::Error> {
        let write = database.begin_write()?;
        {
            let mut table = write.open_table(CONTAINERS)?;
            for job in jobs {
                match &job.bytes {
                    Some(bytes) => table.insert(job.id.as_str(), bytes.as_slice())?,
                    None => table.remove(job.id.as_str())?,
                };
            }
        }
        Ok(write.commit()?)
    };
    apply().map_err(|error| error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Store(error.to_string())
}

fn closed() -> Error {
    Error::Unavailable("the daemon is shutting down".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[tokio::test]
    async fn a_full_disk_fails_writes_only_while_it_is_full() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let disk = linux::mount::FsContext::open("tmpfs").unwrap();
        disk.set("size", "4m").unwrap();
        let disk = disk.create(0).unwrap();
        let root = std::path::PathBuf::from(format!("/proc/self/fd/{}", disk.as_raw_fd()));
        let (store, _) = Store::open(&root.join("state.redb")).unwrap();
        let ballast = root.join("ballast");
        // Fails when the disk is full.
        let _ = std::fs::write(&ballast, vec![1; 8 << 20]).unwrap_err();
        let put = |id: &ContainerId| store.submit(id.clone(), Some(vec![1; 100_000]));
        let first = ContainerId::random();
        put(&first).await.unwrap();
        let error = loop {
            if let Err(error) = put(&ContainerId::random()).await {
                break error;
            }
        };
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(put(&ContainerId::random()).await.is_err());
        store.remove(&first).await.unwrap();
        std::fs::remove_file(&ballast).unwrap();
        for _ in 0..5 {
            put(&ContainerId::random()).await.unwrap();
        }
        store.close();
    }
}
