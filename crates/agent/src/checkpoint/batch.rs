//! Records that are written and made durable together, so that a hundred cost little more than one.
//!
//! Files are written as they come, beside their places or to their ends. Then all of them are
//! synced at once, which file systems with a journal answer with one commit; then they are renamed
//! into place, and the directories synced likewise. A crash in between leaves some of the records:
//! nothing that depends on any of them has been done then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prost::Message;

use super::{StoreError, failed, frame};

/// How many files are synced at the same time.
const THREADS: usize = 8;

/// What is written and not yet durable.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Beside their places, in order.
    written: Vec<Written>,
    appended: BTreeMap<PathBuf, File>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Written {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl Batch {
    /// A file of these bytes, whole or not at all.
    pub(super) fn replace(&mut self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let directory = parent(path);
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        let beside = beside(path);
        // A later one of this batch takes the place of an earlier, which may not have been renamed.
        self.written.retain(|earlier| earlier.path != path);
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = write().map_err(failed("write", path))?;
        self.written.push(Written { file, beside, path: path.to_owned() });
        self.directories.insert(directory.to_owned());
        Ok(())
    }

    pub(super) fn message(
        &mut self,
        path: &Path,
        message: &impl Message,
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        frame(&mut bytes, message);
        self.replace(path, &bytes)
    }

    /// A file whose being there is all that it says.
    pub(super) fn mark(&mut self, path: &Path) -> Result<(), StoreError> {
        let directory = parent(path);
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        File::create(path).map_err(failed("create", path))?;
        self.directories.insert(directory.to_owned());
        Ok(())
    }

    /// A link to `target`, whole or not at all.
    pub(super) fn link(&mut self, path: &Path, target: &str) -> Result<(), StoreError> {
        let beside = beside(path);
        let write = || {
            let _ = fs::remove_file(&beside); // left by an agent that was killed here
            std::os::unix::fs::symlink(target, &beside)?;
            fs::rename(&beside, path)
        };
        write().map_err(failed("link", path))?;
        self.directories.insert(parent(path).to_owned());
        Ok(())
    }

    /// One more message at the end of a file.
    pub(super) fn append(&mut self, path: &Path, message: &impl Message) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        frame(&mut bytes, message);
        let mut write = || {
            if !self.appended.contains_key(path) {
                let directory = parent(path);
                fs::create_dir_all(directory)?;
                let file = File::options().create(true).append(true).open(path)?;
                self.directories.insert(directory.to_owned());
                self.appended.insert(path.to_owned(), file);
            }
            let Some(file) = self.appended.get_mut(path) else { return Ok(()) };
            let before = file.metadata()?.len();
            if let Err(error) = file.write_all(&bytes) {
                // Half a line would make every later one unreadable.
                file.set_len(before)?;
                return Err(error);
            }
            Ok(())
        };
        write().map_err(failed("append to", path))
    }

    /// Nothing below that directory has to become durable any more: it has been removed.
    pub(super) fn forget(&mut self, directory: &Path) {
        self.written.retain(|one| !one.path.starts_with(directory));
        self.appended.retain(|path, _| !path.starts_with(directory));
        self.directories.retain(|path| !path.starts_with(directory));
    }

    /// Makes all of it durable.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        let written = self.written.iter().map(|one| (&one.file, one.path.as_path()));
        let appended = self.appended.iter().map(|(path, file)| (file, path.as_path()));
        let files: Vec<(&File, &Path)> = written.chain(appended).collect();
        together(&files, |(file, path)| file.sync_data().map_err(failed("sync", path)))?;
        for one in &self.written {
            fs::rename(&one.beside, &one.path).map_err(failed("rename", &one.path))?;
        }
        let directories: Vec<&Path> = self.directories.iter().map(PathBuf::as_path).collect();
        together(&directories, |path| {
            let sync = || -> io::Result<()> { File::open(path)?.sync_all() };
            sync().map_err(failed("sync", path))
        })
    }
}

/// Where a file is while it is written; no two files of a batch have the same place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Does something to all, at the same time; tells the first error.
fn together<T: Copy + Sync>(
    all: &[T],
    action: impl Fn(T) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    if all.len() < 2 {
        return all.iter().try_for_each(|one| action(*one));
    }
    let share = all.len().div_ceil(THREADS);
    let action = &action;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(share)
            .map(|some| scope.spawn(move || some.iter().try_for_each(|one| action(*one))))
            .collect();
        let mut result = Ok(());
        for thread in threads {
            let ended = match thread.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            result = result.and(ended);
        }
        result
    })
}
