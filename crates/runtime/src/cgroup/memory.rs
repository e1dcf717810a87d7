//! Memory and swap.

use std::path::Path;

use oci_spec::runtime::{LinuxMemory, LinuxResources};

use super::controller::{missing, or_max, read, read_key, write, write_some};
use super::{Cgroup, CgroupError};

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    if let Some(directory) = cgroup.v1_directory("memory") {
        return apply_v1(&directory, memory);
    }
    let is_set = [memory.limit(), memory.reservation(), memory.swap()]
        .iter()
        .any(|value| value.is_some_and(|value| value != 0));
    match cgroup.unified_directory() {
        Some(directory) if directory.join("memory.max").exists() => apply_v2(&directory, memory),
        _ if is_set => Err(missing("memory")),
        _ => Ok(()),
    }
}

fn apply_v1(directory: &Path, memory: &LinuxMemory) -> Result<(), CgroupError> {
    set_limits_v1(directory, memory)?;
    let reservation = memory.reservation().filter(|value| *value != 0);
    write_some(directory, "memory.soft_limit_in_bytes", reservation)?;
    write_some(directory, "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp())?;
    if memory.disable_oom_killer() == Some(true) {
        write(directory, "memory.oom_control", 1)?;
    }
    match memory.swappiness() {
        // The all-ones value is Docker's -1: leave it alone.
        Some(value) if value <= 100 => write(directory, "memory.swappiness", value),
        Some(value) if value != u64::MAX => {
            Err(CgroupError::Unsupported(format!("invalid memory swappiness value: {value}")))
        }
        _ => Ok(()),
    }
}

/// Memory may never exceed memory plus swap, so the order of the two writes depends on the way.
fn set_limits_v1(directory: &Path, memory: &LinuxMemory) -> Result<(), CgroupError> {
    let limit = memory.limit().filter(|value| *value != 0);
    // Without swap accounting in the kernel there is no file, and no way to limit it.
    let swap = memory
        .swap()
        .filter(|value| *value != 0)
        .filter(|_| directory.join("memory.memsw.limit_in_bytes").exists());
    // An unlimited memory with no word of swap means that swap is not to hold it back either.
    let swap = if limit == Some(-1) && swap.is_none() { Some(-1) } else { swap };
    let Some(swap) = swap.filter(|_| directory.join("memory.memsw.limit_in_bytes").exists()) else {
        return write_some(directory, "memory.limit_in_bytes", limit);
    };
    let current =
        super::controller::read_number(directory, "memory.memsw.limit_in_bytes").unwrap_or(0);
    let grows = swap < 0 || swap.unsigned_abs() > current;
    if grows {
        write(directory, "memory.memsw.limit_in_bytes", swap)?;
        write_some(directory, "memory.limit_in_bytes", limit)
    } else {
        write_some(directory, "memory.limit_in_bytes", limit)?;
        write(directory, "memory.memsw.limit_in_bytes", swap)
    }
}

fn apply_v2(directory: &Path, memory: &LinuxMemory) -> Result<(), CgroupError> {
    let limit = memory.limit().filter(|value| *value != 0);
    if let Some(swap) = swap_v2(memory)? {
        let set = write(directory, "memory.swap.max", swap.clone());
        // A kernel without swap accounting has no such file; no limit is then no loss.
        if set.is_err() && (swap != "max" || directory.join("memory.swap.max").exists()) {
            set?;
        }
    }
    write_some(directory, "memory.max", limit.map(or_max))?;
    let reservation = memory.reservation().filter(|value| *value != 0);
    write_some(directory, "memory.low", reservation.map(or_max))
}

/// OCI's swap is memory plus swap, cgroup v2's is swap alone.
fn swap_v2(memory: &LinuxMemory) -> Result<Option<String>, CgroupError> {
    let Some(swap) = memory.swap().filter(|value| *value != 0) else {
        let is_unlimited = memory.limit() == Some(-1);
        return Ok(is_unlimited.then(|| "max".to_owned()));
    };
    if swap < 0 {
        return Ok(Some("max".to_owned()));
    }
    match memory.limit().filter(|limit| *limit > 0) {
        Some(limit) if swap >= limit => Ok(Some((swap - limit).to_string())),
        Some(_) => {
            Err(CgroupError::Unsupported("memory+swap limit should be >= memory limit".to_owned()))
        }
        None => Err(CgroupError::Unsupported(
            "unable to set swap limit without memory limit".to_owned(),
        )),
    }
}

pub(super) fn oom_kills(cgroup: &Cgroup) -> u64 {
    if let Some(directory) = cgroup.v1_directory("memory") {
        return read_key(&directory, "memory.oom_control", "oom_kill").unwrap_or(0);
    }
    let directory = cgroup.unified_directory();
    directory.and_then(|it| read_key(&it, "memory.events", "oom_kill")).unwrap_or(0)
}

/// Bytes used and the most there may be (`None`: no limit).
pub(super) fn usage(cgroup: &Cgroup) -> (u64, Option<u64>) {
    let (directory, usage, limit) = match cgroup.v1_directory("memory") {
        Some(directory) => (directory, "memory.usage_in_bytes", "memory.limit_in_bytes"),
        None => match cgroup.unified_directory() {
            Some(directory) => (directory, "memory.current", "memory.max"),
            None => return (0, None),
        },
    };
    let number = |file| read(&directory, file).and_then(|text| text.parse::<u64>().ok());
    // v1 writes no limit as the largest multiple of a page.
    let limit = number(limit).filter(|limit| *limit < 0x7fff_ffff_ffff_0000);
    (number(usage).unwrap_or(0), limit)
}
