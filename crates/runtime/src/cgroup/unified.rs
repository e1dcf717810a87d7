//! What is particular to the v2 hierarchy.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::controller::{missing, read, write};
use super::{Cgroup, CgroupError, create_directories, freezer};

/// Creates the directories and hands every controller down to the last.
pub(super) fn create(root: &Path, relative: &Path) -> Result<(), CgroupError> {
    let mut directory = PathBuf::from(root);
    for name in relative {
        let controllers = read(&directory, "cgroup.controllers").unwrap_or_default();
        for controller in controllers.split_ascii_whitespace() {
            // One at a time: a controller that cannot be handed down (an rt process with cpu) must
            // not keep the others back. Its limits then fail by name.
            let _ = write(&directory, "cgroup.subtree_control", format!("+{controller}"));
        }
        directory.push(name);
        create_directories(&directory)?;
    }
    Ok(())
}

/// Writes `linux.resources.unified`, file by file.
pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(files) = resources.unified() else { return Ok(()) };
    for (file, value) in files {
        let is_plain = !file.contains('/') && !file.starts_with('.');
        match cgroup.unified_directory().filter(|_| is_plain) {
            Some(directory) if cgroup.hierarchies().is_unified() => {
                write(&directory, file, value)?;
            }
            _ => return Err(missing(file)),
        }
    }
    Ok(())
}

/// Waits, within limits, until the last process has left.
pub(super) fn wait_until_empty(directory: &Path) {
    freezer::wait_for_event(directory, "populated 0");
}
