//! Weight and throttling of block devices.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};

use super::controller::{missing, write};
use super::{Cgroup, CgroupError};

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(io) = resources.block_io() else { return Ok(()) };
    if let Some(directory) = cgroup.v1_directory("blkio") {
        return apply_v1(&directory, io);
    }
    match cgroup.unified_directory() {
        Some(directory) if directory.join("io.max").exists() => apply_v2(&directory, io),
        _ if is_set(io) => Err(missing("io")),
        _ => Ok(()),
    }
}

fn is_set(io: &LinuxBlockIo) -> bool {
    io.weight().is_some_and(|weight| weight != 0)
        || throttles(io).iter().any(|(_, _, devices)| !devices.is_empty())
}

/// v1 file, v2 key and devices of each throttle.
fn throttles(io: &LinuxBlockIo) -> [(&'static str, &'static str, &[LinuxThrottleDevice]); 4] {
    [
        ("read_bps", "rbps", io.throttle_read_bps_device().as_deref().unwrap_or_default()),
        ("write_bps", "wbps", io.throttle_write_bps_device().as_deref().unwrap_or_default()),
        ("read_iops", "riops", io.throttle_read_iops_device().as_deref().unwrap_or_default()),
        ("write_iops", "wiops", io.throttle_write_iops_device().as_deref().unwrap_or_default()),
    ]
}

fn apply_v1(directory: &Path, io: &LinuxBlockIo) -> Result<(), CgroupError> {
    // The plain names went with the CFQ scheduler in Linux 5.0; BFQ has its own.
    let file = |name: &str| {
        let plain = format!("blkio.{name}");
        if directory.join(&plain).exists() { plain } else { format!("blkio.bfq.{name}") }
    };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        write(directory, &file("weight"), weight)?;
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        write(directory, "blkio.leaf_weight", weight)?;
    }
    for device in io.weight_device().as_deref().unwrap_or_default() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let number = format!("{}:{}", device.major(), device.minor());
            write(directory, &file("weight_device"), format!("{number} {weight}"))
                .map_err(|error| explain(error, &number))?;
        }
    }
    for (name, _, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            write(directory, &format!("blkio.throttle.{name}_device"), value)?;
        }
    }
    Ok(())
}

fn apply_v2(directory: &Path, io: &LinuxBlockIo) -> Result<(), CgroupError> {
    let has_bfq = directory.join("io.bfq.weight").exists();
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        if has_bfq {
            write(directory, "io.bfq.weight", weight)?;
        } else {
            write(directory, "io.weight", weight_to_io_weight(weight))?;
        }
    }
    for device in io.weight_device().as_deref().unwrap_or_default() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            if has_bfq {
                write(directory, "io.bfq.weight", format!("{number} {weight}"))
                    .map_err(|error| explain(error, &number))?;
            } else {
                // The cost model knows weights per device as well, in numbers of its own.
                let weight = weight_to_io_weight(weight);
                write(directory, "io.weight", format!("{number} {weight}"))?;
            }
        }
    }
    for (_, key, devices) in throttles(io) {
        for device in devices {
            let rate =
                if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            write(
                directory,
                "io.max",
                format!("{}:{} {key}={rate}", device.major(), device.minor()),
            )?;
        }
    }
    Ok(())
}

/// The kernel refuses a weight of a device that BFQ does not schedule.
fn explain(error: CgroupError, number: &str) -> CgroupError {
    match error {
        CgroupError::Write { path, value, source }
            if source.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
        {
            CgroupError::Unsupported(format!(
                "failed to write {value:?} to {}: {source}: BFQ does not schedule device {number}; \
                 ls -l /dev/block/{number} names it, and bfq written to its \
                 /sys/block/NAME/queue/scheduler makes it do so",
                path.display()
            ))
        }
        other => other,
    }
}

/// Maps 10..=1000 linearly to 1..=10000.
pub(super) fn weight_to_io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.max(10) - 10) * 9999 / 990
}
