//! Limits on what containers' writable layers may hold, by projects of the file system.
//!
//! Each limited layer is a project of its own. Which one is written nowhere but in the directories
//! themselves: whoever looks for a free number looks at them.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::PoisonError;

use super::rw::entries;
use super::{Paths, Store, delete};
use crate::{Error, Result};

/// The first number that is tried: far from where people and other engines begin to count.
const FIRST_PROJECT: u32 = 0x7e00_0000;

/// The parts of a writable layer that grow. Overlayfs moves files from one to the other, which only
/// works within a project.
const PARTS: [&str; 2] = ["work", "upper"];

impl Store {
    /// Tells whether writable layers can be limited here: whether the file system enforces limits
    /// of projects.
    ///
    /// # Errors
    /// `Io`.
    pub fn can_limit(&self) -> Result<bool> {
        let rw = &self.paths().rw;
        File::open(rw)
            .and_then(linux::quota::is_enforced)
            .map_err(|source| Error::io("ask for quotas of", rw, source))
    }

    /// Limits what a container's fresh writable layer may hold. The limit goes with the layer.
    ///
    /// # Errors
    /// `Io`, also where [`Store::can_limit`] is false.
    pub fn limit_rw(&self, container_id: &str, bytes: u64) -> Result<()> {
        let dir = self.paths().rw.join(container_id);
        let fail = |source| Error::io("limit the size of", &dir, source);
        let root = File::open(&self.paths().rw).map_err(fail)?;
        // Between finding a free number and taking it nobody else may.
        let _turn = self.0.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.projects()?;
        let mut free = (FIRST_PROJECT..u32::MAX).filter(|project| !taken.contains(project));
        let project = loop {
            let project = free.next().expect("more numbers than directories");
            // Somebody else's files may have it as well.
            let usage = linux::quota::usage(&root, project).map_err(fail)?;
            if usage.bytes == 0 && usage.inodes == 0 && usage.limit_bytes.is_none() {
                break project;
            }
        };
        for part in PARTS {
            let part = File::open(dir.join(part)).map_err(fail)?;
            linux::quota::set_project(part, project).map_err(fail)?;
        }
        // After them: a limit that no directory leads to would stay for ever.
        linux::quota::limit_project(&root, project, Some(bytes)).map_err(fail)
    }

    fn projects(&self) -> Result<HashSet<u32>> {
        Ok(entries(&self.paths().rw)?.iter().filter_map(|dir| project_of(dir)).collect())
    }
}

/// Deletes a writable layer, and its limit if it has one.
pub(super) fn delete_rw(paths: &Paths, dir: &Path) -> Result<()> {
    // First: once no directory leads to the number any more, nobody would find the limit again.
    if let Some(project) = project_of(dir) {
        let freed =
            File::open(&paths.rw).and_then(|root| linux::quota::limit_project(root, project, None));
        if let Err(error) = freed {
            // The next open of the store tries again.
            tracing::warn!(project, %error, "quota of a removed container stays");
        }
    }
    delete::delete(dir)
}

/// Lifts limits that nothing has any more: of layers that somebody deleted while no daemon looked,
/// or that one died between deleting and lifting. Other engines on the same file system are left
/// alone, as a layer's two directories count in its project as long as they are there.
pub(super) fn sweep(paths: &Paths) -> std::io::Result<()> {
    let root = File::open(&paths.rw)?;
    if !linux::quota::is_enforced(&root)? {
        return Ok(());
    }
    let mut first = FIRST_PROJECT;
    while let Some((project, usage)) = linux::quota::next(&root, first)? {
        if usage.inodes == 0 && usage.bytes == 0 && usage.limit_bytes.is_some() {
            linux::quota::limit_project(&root, project, None)?;
            tracing::info!(project, "quota that nothing had any more is lifted");
        }
        let Some(following) = project.checked_add(1) else { break };
        first = following;
    }
    Ok(())
}

/// The project of a writable layer that has a limit.
fn project_of(dir: &Path) -> Option<u32> {
    // What is half made or half deleted may lack either part.
    PARTS.iter().find_map(|part| {
        let part = File::open(dir.join(part)).ok()?;
        linux::quota::project_of(part).ok().filter(|project| *project >= FIRST_PROJECT)
    })
}
