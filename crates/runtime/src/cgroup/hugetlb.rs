//! Huge pages, one limit per page size.

use oci_spec::runtime::LinuxResources;

use super::controller::{missing, write};
use super::{Cgroup, CgroupError};

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(limits) = resources.hugepage_limits() else { return Ok(()) };
    let is_v1 = cgroup.v1_directory("hugetlb").is_some();
    for limit in limits {
        let Some(directory) = cgroup.directory("hugetlb") else { return Err(missing("hugetlb")) };
        let file = if is_v1 {
            format!("hugetlb.{}.limit_in_bytes", limit.page_size())
        } else {
            format!("hugetlb.{}.max", limit.page_size())
        };
        if !directory.join(&file).exists() {
            return Err(missing("hugetlb"));
        }
        write(&directory, &file, limit.limit())?;
    }
    Ok(())
}
