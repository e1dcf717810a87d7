//! Limits: from Docker's fields to the runtime specification's.

use std::os::unix::fs::MetadataExt;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxMemory, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
    LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use super::invalid;
use crate::container::{Resources, ThrottleDevice, WeightDevice};
use crate::{Error, Result};

/// The period that `--cpus` is counted in, in µs.
const CPUS_PERIOD: u64 = 100_000;

/// Translates everything but device rules; what is unset stays out.
///
/// # Errors
/// InvalidParameter naming a device that is none.
pub(crate) fn limits(resources: &Resources) -> Result<LinuxResources> {
    let mut builder = LinuxResourcesBuilder::default();
    if let Some(memory) = memory(resources)? {
        builder = builder.memory(memory);
    }
    if let Some(cpu) = cpu(resources) {
        builder = builder.cpu(cpu);
    }
    if let Some(block_io) = block_io(resources)? {
        builder = builder.block_io(block_io);
    }
    if let Some(limit) = resources.pids_limit {
        let limit = if limit <= 0 { -1 } else { limit };
        builder = builder.pids(LinuxPidsBuilder::default().limit(limit).build().map_err(invalid)?);
    }
    builder.build().map_err(invalid)
}

fn memory(resources: &Resources) -> Result<Option<LinuxMemory>> {
    let mut builder = LinuxMemoryBuilder::default();
    let mut any = false;
    if resources.memory > 0 {
        builder = builder.limit(resources.memory);
        any = true;
    }
    if resources.memory_reservation > 0 {
        builder = builder.reservation(resources.memory_reservation);
        any = true;
    }
    if resources.memory_swap != 0 {
        builder = builder.swap(resources.memory_swap);
        any = true;
    }
    if let Some(swappiness) = resources.memory_swappiness.and_then(|n| u64::try_from(n).ok()) {
        builder = builder.swappiness(swappiness);
        any = true;
    }
    if resources.oom_kill_disable == Some(true) {
        builder = builder.disable_oom_killer(true);
        any = true;
    }
    Ok(if any { Some(builder.build().map_err(invalid)?) } else { None })
}

fn cpu(resources: &Resources) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    let unset = cpu.clone();
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    cpu.set_shares(positive(resources.cpu_shares));
    cpu.set_period(positive(resources.cpu_period));
    cpu.set_quota(Some(resources.cpu_quota).filter(|quota| *quota != 0));
    cpu.set_realtime_period(positive(resources.cpu_realtime_period));
    cpu.set_realtime_runtime(Some(resources.cpu_realtime_runtime).filter(|time| *time != 0));
    if let Some(nanos) = positive(resources.nano_cpus) {
        cpu.set_period(Some(CPUS_PERIOD));
        let quota = u128::from(nanos) * u128::from(CPUS_PERIOD) / 1_000_000_000;
        cpu.set_quota(i64::try_from(quota).ok());
    }
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    cpu.set_cpus(given(&resources.cpuset_cpus));
    cpu.set_mems(given(&resources.cpuset_mems));
    (cpu != unset).then_some(cpu)
}

fn block_io(resources: &Resources) -> Result<Option<LinuxBlockIo>> {
    let lists = [
        &resources.blkio_device_read_bps,
        &resources.blkio_device_write_bps,
        &resources.blkio_device_read_iops,
        &resources.blkio_device_write_iops,
    ];
    let nothing = resources.blkio_weight == 0
        && resources.blkio_weight_device.is_empty()
        && lists.iter().all(|list| list.is_empty());
    if nothing {
        return Ok(None);
    }
    let mut builder = LinuxBlockIoBuilder::default();
    if resources.blkio_weight > 0 {
        builder = builder.weight(resources.blkio_weight);
    }
    let weights: Result<Vec<_>> = resources.blkio_weight_device.iter().map(weight).collect();
    let throttles = |list: &[ThrottleDevice]| list.iter().map(throttle).collect::<Result<Vec<_>>>();
    builder
        .weight_device(weights?)
        .throttle_read_bps_device(throttles(lists[0])?)
        .throttle_write_bps_device(throttles(lists[1])?)
        .throttle_read_iops_device(throttles(lists[2])?)
        .throttle_write_iops_device(throttles(lists[3])?)
        .build()
        .map(Some)
        .map_err(invalid)
}

fn weight(device: &WeightDevice) -> Result<LinuxWeightDevice> {
    let (major, minor) = device_numbers(&device.path)?;
    LinuxWeightDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .weight(device.weight)
        .build()
        .map_err(invalid)
}

fn throttle(device: &ThrottleDevice) -> Result<LinuxThrottleDevice> {
    let (major, minor) = device_numbers(&device.path)?;
    LinuxThrottleDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .rate(device.rate)
        .build()
        .map_err(invalid)
}

fn device_numbers(path: &str) -> Result<(i64, i64)> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        Error::InvalidParameter(format!("stat {}: {error}", path.escape_default()))
    })?;
    Ok(split(metadata.rdev()))
}

/// Splits a device number into major and minor.
pub(super) fn split(device: u64) -> (i64, i64) {
    (i64::from(rustix::fs::major(device)), i64::from(rustix::fs::minor(device)))
}
