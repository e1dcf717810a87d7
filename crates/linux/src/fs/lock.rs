//! An exclusive advisory lock on a file, which names its holder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; `holder` is its pid if the file names one.
    #[error("{path} is locked by {}", match holder { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    Held { path: PathBuf, holder: Option<u32> },
    /// The file could not be opened, locked or written.
    #[error("lock {path}")]
    Io { path: PathBuf, source: io::Error },
}

/// Holds an exclusive flock(2) on a file whose content is the holder's pid.
///
/// The lock ends with this value, or with the process, whichever comes first. The file itself
/// stays, because removing it would let two holders lock two different files of one name.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
    last_holder: Option<u32>,
}

impl FileLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it.
    pub fn acquire(path: impl AsRef<Path>) -> Result<Self, LockError> {
        let path = path.as_ref();
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut content = String::new();
                let holder = file.read_to_string(&mut content).ok();
                let holder = holder.and_then(|_| content.trim().parse().ok());
                return Err(LockError::Held { path: path.to_owned(), holder });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        let mut content = String::new();
        let last_holder = file.read_to_string(&mut content).ok();
        let last_holder = last_holder.and_then(|_| content.trim().parse().ok());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file, last_holder })
    }

    /// The process that had the lock before, if the file says so. It may live on, and its number
    /// may be another's by now.
    #[must_use]
    pub fn last_holder(&self) -> Option<u32> {
        self.last_holder
    }
}
