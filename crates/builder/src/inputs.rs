//! What is sent ahead of a build: secrets, and further contexts. Each is for one build, which names
//! it; what no build has named after a while goes.
//!
//! ```text
//! <data-root>/builder/inputs/<id>/     the files of a context; secrets are in memory alone
//! ```

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::archive::ByteStream;
use engine::archive::stream::{StreamReader, on_own_thread};
use futures_util::StreamExt as _;

use crate::request::Secret;
use crate::{Builder, Error, Result};

/// The largest secret, as in BuildKit.
const MAX_SECRET_BYTES: usize = 500 << 10;
/// For how long an input waits for its build.
const MAX_AGE: Duration = Duration::from_secs(600);
/// More than any client sends ahead.
const MAX_WAITING: usize = 256;

/// What waits for its build.
#[derive(Debug)]
pub(crate) struct Inputs {
    root: PathBuf,
    /// Held for a lookup or an insertion.
    waiting: Arc<Mutex<HashMap<String, Input>>>,
}

#[derive(Debug)]
enum Input {
    Secret(Secret),
    Files(Directory),
}

/// A directory that goes when dropped.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            // Its build has it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "input of a build left behind");
            }
        }
    }
}

impl Inputs {
    /// Starts with none; those of an earlier daemon go.
    pub(crate) fn open(root: PathBuf) -> Self {
        // There mostly is none.
        drop(Directory(root.clone()));
        Self { root, waiting: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Input>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: String, input: Input) -> Result<String> {
        {
            let mut waiting = self.lock();
            if waiting.len() >= MAX_WAITING {
                return Err(Error::Unavailable(format!(
                    "{MAX_WAITING} secrets and contexts wait for their builds already: start those, \
                     or wait {} s until they go",
                    MAX_AGE.as_secs()
                )));
            }
            waiting.insert(id.clone(), input);
        }
        let (waiting, own) = (Arc::clone(&self.waiting), id.clone());
        // One short task for each that waits, of which there are few.
        tokio::spawn(async move {
            tokio::time::sleep(MAX_AGE).await;
            let late = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
            drop(late);
        });
        Ok(id)
    }

    /// Makes a directory that is there as long as the answer.
    pub(crate) fn directory(&self) -> Result<Directory> {
        let directory = Directory(self.root.join(random()?));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&directory.0).map_err(Error::io("create", directory.0.display()))?;
        Ok(directory)
    }

    fn take_secret(&self, id: &str) -> Result<Secret> {
        match self.lock().remove(id) {
            Some(Input::Secret(secret)) => Ok(secret),
            _ => Err(gone("secret", id)),
        }
    }

    /// Moves the files of a context to `target`, which is an empty directory.
    pub(crate) fn take_files(&self, id: &str, target: &Path) -> Result<()> {
        let found = self.lock().remove(id);
        match found {
            Some(Input::Files(directory)) => {
                fs::rename(&directory.0, target).map_err(Error::io("rename", directory.0.display()))
            }
            _ => Err(gone("context", id)),
        }
    }
}

fn gone(what: &str, id: &str) -> Error {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(40).collect();
    Error::Invalid(format!(
        "no {what} {shown:?} was sent ahead: each is for one build, within {} s",
        MAX_AGE.as_secs()
    ))
}

fn random() -> Result<String> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(Error::io("read", "/dev/urandom"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

async fn collect(mut bytes: ByteStream, limit: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = bytes.next().await {
        all.extend_from_slice(&chunk.map_err(Error::io("receive", "the secret"))?);
        if all.len() > limit {
            return Err(Error::Invalid(format!("the secret is larger than {limit} bytes")));
        }
    }
    Ok(all)
}

impl Builder {
    /// Takes a secret for a build to come; returns what to call it.
    ///
    /// # Errors
    /// Invalid when it is too large.
    pub async fn add_secret(&self, bytes: ByteStream) -> Result<String> {
        let bytes = collect(bytes, MAX_SECRET_BYTES).await?;
        self.inner.inputs.add(random()?, Input::Secret(Secret(bytes.into())))
    }

    /// Takes the files of a context for a build to come; returns what to call it.
    ///
    /// # Errors
    /// Those of the archive and of the disk.
    pub async fn add_context(&self, archive: ByteStream) -> Result<String> {
        let directory = self.inner.inputs.directory()?;
        let (reader, target) = (StreamReader::new(archive), directory.0.clone());
        on_own_thread(move || engine::archive::unpack_into(reader, &target)).await?;
        self.inner.inputs.add(random()?, Input::Files(directory))
    }

    /// Takes a secret that was sent ahead.
    ///
    /// # Errors
    /// Invalid when there is none of that name.
    pub fn take_secret(&self, id: &str) -> Result<Secret> {
        self.inner.inputs.take_secret(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_input_is_for_one_build() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("inputs");
        let inputs = Inputs::open(root.clone());
        let secret = Input::Secret(Secret(b"s".as_slice().into()));
        let id = inputs.add("1".into(), secret).unwrap();
        assert!(inputs.take_files(&id, dir.path()).is_err(), "it is no context");
        assert!(inputs.take_secret(&id).is_err(), "it was named already");
        fs::create_dir_all(root.join("2")).unwrap();
        inputs.add("2".into(), Input::Files(Directory(root.join("2")))).unwrap();
        fs::create_dir_all(root.join("3")).unwrap();
        inputs.add("3".into(), Input::Files(Directory(root.join("3")))).unwrap();
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        inputs.take_files("2", &target).unwrap();
        drop(inputs);
        drop(Inputs::open(root.clone()));
        assert!(target.exists() && !root.exists());
    }
}
