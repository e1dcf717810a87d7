//! How many processes there may be.

use oci_spec::runtime::LinuxResources;

use super::controller::{missing, or_max, write};
use super::{Cgroup, CgroupError};

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(pids) = resources.pids() else { return Ok(()) };
    // runtime-spec: 0 and negative mean no limit.
    let limit = if pids.limit() > 0 { pids.limit() } else { -1 };
    match cgroup.directory("pids") {
        Some(directory) if directory.join("pids.max").exists() => {
            write(&directory, "pids.max", or_max(limit))
        }
        _ if limit < 0 => Ok(()),
        _ => Err(missing("pids")),
    }
}
