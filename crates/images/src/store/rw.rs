//! Writable layers of containers.
//!
//! Which layers a container stands on is in a small file beside them rather than in the database:
//! creating a container then waits for no disk, and the file survives a kill of the daemon. The layers
//! stay as long as the file names them, even when the image is removed by force.

use std::collections::HashMap;
use std::path::PathBuf;

use super::database::Read as _;
use super::{Paths, State, Store, quota, skeleton};
use crate::{Digest, Error, ImageId, Result, RwLayer};

/// The prefix of writable layers on their way out.
const REMOVING: &str = ".removing-";
/// The read-only layer right under the container's own; see [`skeleton`].
const INIT: &str = "init";

impl Store {
    /// Makes a container's writable layer.
    ///
    /// # Errors
    /// `InvalidParameter` for an id that is no file name, `NoSuchImage`, `Conflict` when the container
    /// has one already, `Io`.
    pub fn create_rw(&self, container_id: &str, id: &ImageId) -> Result<RwLayer> {
        check_id(container_id)?;
        let diff_ids = {
            // Removal looks at containers' layers under the same lock: either it sees this container
            // or this call sees that the image is gone.
            let mut state = self.state();
            let record = self.read()?.image(id)?;
            let record = record.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
            claim(&mut state, container_id, &record.diff_ids)?;
            record.diff_ids
        };
        self.make_claimed(container_id, &diff_ids)
    }

    /// Makes a writable layer on layers that no image needs to have. The caller holds them.
    ///
    /// # Errors
    /// As [`Store::create_rw`]; `NoSuchContent` for a layer that is not here.
    pub fn create_rw_on(&self, container_id: &str, diff_ids: &[Digest]) -> Result<RwLayer> {
        check_id(container_id)?;
        claim(&mut self.state(), container_id, diff_ids)?;
        self.make_claimed(container_id, diff_ids)
    }

    fn make_claimed(&self, container_id: &str, diff_ids: &[Digest]) -> Result<RwLayer> {
        let made = self.make_rw(container_id, diff_ids);
        if made.is_err() {
            let _ = self.remove_rw(container_id); // The first error is the one to tell.
        }
        made
    }

    fn make_rw(&self, container_id: &str, diff_ids: &[Digest]) -> Result<RwLayer> {
        let dir = self.paths().rw.join(container_id);
        let fail = |source| Error::io("create", &dir, source);
        let list: String = diff_ids.iter().map(|diff_id| format!("{diff_id}\n")).collect();
        std::fs::create_dir(&dir).map_err(fail)?;
        std::fs::create_dir(dir.join("work")).map_err(fail)?;
        std::fs::create_dir(dir.join("upper")).map_err(fail)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.join("upper"), mode).map_err(fail)?;
        let mut lowers = self.chain(diff_ids)?;
        // The container's root directory looks like the image's.
        if let Some(top) = lowers.first() {
            skeleton::copy_identity(top, &dir.join("upper")).map_err(fail)?;
        }
        std::fs::create_dir(dir.join(INIT)).map_err(fail)?;
        skeleton::fill(&lowers, &dir.join(INIT)).map_err(fail)?;
        lowers.insert(0, dir.join(INIT));
        // Named last: without it the directory is garbage.
        std::fs::write(dir.join("layers.new"), list).map_err(fail)?;
        std::fs::rename(dir.join("layers.new"), dir.join("layers")).map_err(fail)?;
        Ok(RwLayer { upper: dir.join("upper"), work: dir.join("work"), lowers })
    }

    /// Returns a container's writable layer.
    ///
    /// # Errors
    /// `NoSuchRwLayer`, `NoSuchContent` when a layer is gone.
    pub fn rw_layer(&self, container_id: &str) -> Result<RwLayer> {
        let diff_ids = self.rw_diff_ids(container_id)?;
        let dir = self.paths().rw.join(container_id);
        let mut lowers = self.chain(&diff_ids)?;
        lowers.insert(0, dir.join(INIT));
        Ok(RwLayer { upper: dir.join("upper"), work: dir.join("work"), lowers })
    }

    pub(crate) fn rw_diff_ids(&self, container_id: &str) -> Result<Vec<Digest>> {
        let found = self.state().rw.get(container_id).cloned();
        found.ok_or_else(|| Error::NoSuchRwLayer(container_id.to_owned()))
    }

    /// Keeps the layers of an image that a container mounts, until [`Store::remove_rw`] of the
    /// container. `number` tells a container's several ones apart.
    ///
    /// # Errors
    /// As [`Store::create_rw`].
    pub fn hold_image(&self, container_id: &str, number: usize, id: &ImageId) -> Result<()> {
        self.create_rw(&held_id(container_id, number), id).map(drop)
    }

    /// The same for layers that no image needs to have. The caller holds them meanwhile.
    ///
    /// # Errors
    /// As [`Store::create_rw_on`].
    pub fn hold_layers(
        &self,
        container_id: &str,
        number: usize,
        diff_ids: &[Digest],
    ) -> Result<()> {
        self.create_rw_on(&held_id(container_id, number), diff_ids).map(drop)
    }

    /// Returns the directories of a held image, topmost first, at least two as overlayfs wants.
    ///
    /// # Errors
    /// As [`Store::rw_layer`].
    pub fn held_image(&self, container_id: &str, number: usize) -> Result<Vec<PathBuf>> {
        let mut layer = self.rw_layer(&held_id(container_id, number))?;
        // Without the container's skeleton on top; its upper directory stays empty.
        layer.lowers.remove(0);
        layer.lowers.push(layer.upper);
        Ok(layer.lowers)
    }

    /// Removes a container's writable layer, the images it holds, and layers that only they still
    /// held; fine if there is none.
    ///
    /// # Errors
    /// `Io`; then the next open of the store completes it.
    pub fn remove_rw(&self, container_id: &str) -> Result<()> {
        let prefix = format!("{container_id}{HELD}");
        let held: Vec<String> =
            self.state().rw.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        // These first: whoever looks for leftovers finds them by the container's own.
        for key in held {
            self.remove_one(&key)?;
        }
        self.remove_one(container_id)
    }

    fn remove_one(&self, container_id: &str) -> Result<()> {
        check_id(container_id)?;
        let paths = self.paths();
        let dir = paths.rw.join(container_id);
        let aside = paths.rw.join(format!("{REMOVING}{container_id}"));
        quota::delete_rw(paths, &aside)?;
        match std::fs::rename(&dir, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("rename", dir, error));
            }
            _ => {}
        }
        let diff_ids = self.state().rw.remove(container_id).unwrap_or_default();
        quota::delete_rw(paths, &aside)?;
        self.release_layers(&diff_ids)
    }
}

fn claim(state: &mut State, container_id: &str, diff_ids: &[Digest]) -> Result<()> {
    if state.rw.contains_key(container_id) {
        return Err(Error::Conflict(format!(
            "container {container_id} has a writable layer already"
        )));
    }
    state.rw.insert(container_id.to_owned(), diff_ids.to_vec());
    Ok(())
}

/// Between a container's id and the number of an image it holds.
const HELD: &str = "-image-";

fn held_id(container_id: &str, number: usize) -> String {
    format!("{container_id}{HELD}{number}")
}

/// Container ids become file names.
fn check_id(container_id: &str) -> Result<()> {
    let fine = !container_id.is_empty()
        && container_id.len() <= 128
        && container_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fine {
        return Ok(());
    }
    Err(Error::InvalidParameter(format!("{container_id:?} is not a container id")))
}

/// The writable layers that an open finds.
#[derive(Default)]
pub(crate) struct Recorded {
    /// Layers under each, lowest first.
    pub(crate) rw: HashMap<String, Vec<Digest>>,
    /// Those whose deletion was begun: the rest may be a lot, and nobody waits for it.
    pub(crate) half_deleted: Vec<PathBuf>,
}

/// Reads which layers each container has, and removes writable layers that are not whole.
pub(crate) fn recorded(paths: &Paths) -> Result<Recorded> {
    let mut recorded = Recorded::default();
    for dir in entries(&paths.rw)? {
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let list = std::fs::read_to_string(dir.join("layers"));
        let parsed = list.ok().and_then(|list| {
            list.lines().map(|line| line.parse::<Digest>().ok()).collect::<Option<Vec<_>>>()
        });
        match parsed {
            Some(diff_ids) if !name.starts_with(REMOVING) => {
                recorded.rw.insert(name, diff_ids);
            }
            // A power cut may take the small file and leave the data; that is not ours to delete.
            _ if !name.starts_with(REMOVING) && has_data(&dir.join("upper")) => {
                tracing::warn!(path = %dir.display(), "writable layer without its list of layers");
            }
            _ if name.starts_with(REMOVING) => recorded.half_deleted.push(dir),
            _ => quota::delete_rw(paths, &dir)?,
        }
    }
    Ok(recorded)
}

fn has_data(upper: &std::path::Path) -> bool {
    std::fs::read_dir(upper).is_ok_and(|mut entries| entries.next().is_some())
}

/// Lists a directory of ours.
pub(crate) fn entries(dir: &std::path::Path) -> Result<Vec<PathBuf>> {
    let fail = |source| Error::io("read", dir, source);
    let listed = std::fs::read_dir(dir).map_err(fail)?;
    listed.map(|entry| entry.map(|entry| entry.path()).map_err(fail)).collect()
}
