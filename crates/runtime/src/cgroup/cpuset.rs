//! Processors and memory nodes.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::controller::{missing, read, write, write_some};
use super::{Cgroup, CgroupError, create_directories};

/// Creates the v1 directories, each with its parent's processors and nodes: a v1 cpuset without
/// any takes no process.
pub(super) fn create(root: &Path, relative: &Path) -> Result<(), CgroupError> {
    let mut directory = PathBuf::from(root);
    for name in relative {
        let parent = directory.clone();
        directory.push(name);
        create_directories(&directory)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if read(&directory, file).is_some_and(|value| value.is_empty()) {
                write(&directory, file, read(&parent, file).unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    let cpus = cpu.cpus().as_ref().filter(|cpus| !cpus.is_empty());
    let mems = cpu.mems().as_ref().filter(|mems| !mems.is_empty());
    if cpus.is_none() && mems.is_none() {
        return Ok(());
    }
    match cgroup.directory("cpuset") {
        Some(directory) if directory.join("cpuset.cpus").exists() => {
            write_some(&directory, "cpuset.cpus", cpus)?;
            write_some(&directory, "cpuset.mems", mems)
        }
        _ => Err(missing("cpuset")),
    }
}
