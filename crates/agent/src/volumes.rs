//! The directories of persistent volumes, from CREATE to DESTROY; containers come and go meanwhile.
//!
//! A volume is moved aside before it is deleted, so that one of the same name that is created anew
//! is empty at once, however long the deletion takes. What an agent that was killed has left aside
//! is deleted by the next.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use cluster::agent::VolumeId;

use crate::layout::Layout;

/// What could not be done with a volume.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the volume {}: {why}", path.display())]
pub(crate) struct VolumeError {
    doing: &'static str,
    path: PathBuf,
    why: io::Error,
}

/// The volumes of an agent.
#[derive(Debug)]
pub(crate) struct Volumes {
    layout: Layout,
    /// The thread that deletes, which can take long. It ends with this.
    deleter: Option<Sender<()>>,
    count: u64,
}

impl Volumes {
    pub(crate) fn new(layout: Layout) -> Self {
        let aside = Arc::new(layout.removed_volumes());
        // Unbounded, of words that say nothing: as many as volumes are destroyed.
        let (deleter, words) = channel();
        let _ = deleter.send(()); // what an earlier agent has left
        let thread = std::thread::Builder::new().name("volumes".to_owned()).spawn(move || {
            while words.recv().is_ok() {
                empty(&aside);
            }
        });
        let deleter = match thread {
            Ok(_) => Some(deleter),
            Err(error) => {
                tracing::error!(%error, "destroyed volumes will be deleted by the next agent");
                None
            }
        };
        Self { layout, deleter, count: 0 }
    }

    /// Makes sure that a volume is there.
    pub(crate) fn make(&self, id: &VolumeId) -> Result<PathBuf, VolumeError> {
        let path = self.layout.volume(&id.role, &id.id);
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(why) => Err(VolumeError { doing: "create", path, why }),
        }
    }

    /// Takes a volume away; its content is deleted in a while.
    pub(crate) fn delete(&mut self, id: &VolumeId) {
        let path = self.layout.volume(&id.role, &id.id);
        if let Err(error) = self.put_aside(&path) {
            if error.kind() == io::ErrorKind::NotFound {
                return; // no task has ever used it
            }
            let error = VolumeError { doing: "delete", path, why: error };
            tracing::error!(%error, "a destroyed volume is still there: delete it by hand");
            return;
        }
        tracing::info!(role = id.role, volume = id.id, "volume destroyed");
        if let Some(deleter) = &self.deleter {
            let _ = deleter.send(()); // without its thread the next agent deletes it
        }
    }

    fn put_aside(&mut self, path: &Path) -> io::Result<()> {
        let aside = self.layout.removed_volumes();
        fs::create_dir_all(&aside)?;
        self.count += 1;
        // The process id keeps apart what an earlier agent has left.
        fs::rename(path, aside.join(format!("{}-{}", std::process::id(), self.count)))
    }
}

/// Deletes everything in a directory.
fn empty(directory: &Path) {
    let Ok(listing) = fs::read_dir(directory) else { return };
    for entry in listing.filter_map(Result::ok) {
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "cannot delete a destroyed volume");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destroyed_volume_is_gone_and_its_name_is_free() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(dir.path());
        let mut volumes = Volumes::new(layout.clone());
        let id = VolumeId { role: "a/b".to_owned(), id: "../v".to_owned() };
        for _ in 0..2 {
            let path = volumes.make(&id).expect("made");
            assert!(path.starts_with(dir.path().join("volumes/roles")));
            assert_eq!(fs::read_dir(&path).expect("there").count(), 0);
            fs::write(path.join("file"), "x").expect("written");
            volumes.delete(&id);
            assert!(!path.exists());
        }
        volumes.delete(&id);
    }
}
