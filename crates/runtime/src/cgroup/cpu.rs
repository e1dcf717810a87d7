//! Shares and quota of processor time.

use oci_spec::runtime::{LinuxCpu, LinuxResources};
use std::path::Path;

use super::controller::{missing, read, write, write_some};
use super::{Cgroup, CgroupError};

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    let is_set = cpu.shares().is_some_and(|shares| shares != 0)
        || cpu.quota().is_some_and(|quota| quota != 0)
        || cpu.period().is_some_and(|period| period != 0)
        || cpu.realtime_runtime().is_some()
        || cpu.realtime_period().is_some()
        || cpu.burst().is_some()
        || cpu.idle().is_some();
    if !is_set {
        return Ok(());
    }
    if let Some(directory) = cgroup.v1_directory("cpu") {
        return apply_v1(&directory, cpu);
    }
    match cgroup.unified_directory() {
        Some(directory) if directory.join("cpu.max").exists() => apply_v2(&directory, cpu),
        _ => Err(missing("cpu")),
    }
}

fn apply_v1(directory: &Path, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    write_some(directory, "cpu.shares", cpu.shares().filter(|shares| *shares != 0))?;
    write_some(directory, "cpu.rt_period_us", cpu.realtime_period().filter(|v| *v != 0))?;
    write_some(directory, "cpu.rt_runtime_us", cpu.realtime_runtime().filter(|v| *v != 0))?;
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        // A period shorter than the old quota is refused until the new quota is set.
        if write(directory, "cpu.cfs_period_us", period).is_err() {
            write_some(directory, "cpu.cfs_quota_us", quota)?;
            write(directory, "cpu.cfs_period_us", period)?;
        }
    }
    write_some(directory, "cpu.cfs_quota_us", quota)?;
    write_some(directory, "cpu.cfs_burst_us", cpu.burst())?;
    write_some(directory, "cpu.idle", cpu.idle())
}

fn apply_v2(directory: &Path, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    let weight = cpu.shares().filter(|shares| *shares != 0).map(shares_to_weight);
    write_some(directory, "cpu.idle", cpu.idle())?;
    write_some(directory, "cpu.weight", weight)?;
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let current = read(directory, "cpu.max").unwrap_or_default();
        let (old_quota, old_period) = current.split_once(' ').unwrap_or(("max", "100000"));
        let quota = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            Some(_) => "max".to_owned(),
            None => old_quota.to_owned(),
        };
        let period = period.map_or_else(|| old_period.to_owned(), |period| period.to_string());
        write(directory, "cpu.max", format!("{quota} {period}"))?;
    }
    write_some(directory, "cpu.max.burst", cpu.burst())
}

/// Converts `cpu.shares` (2 to 262144) to `cpu.weight` (1 to 10000), with 1024 becoming 100.
///
/// The curve is that of current runc and crun: `10^((l² + 125 l) / 612 − 7 / 34)`, l the binary
/// logarithm of the shares, rounded up.
pub fn shares_to_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    #[allow(clippy::cast_precision_loss, reason = "shares are below 2^18 here")]
    let logarithm = (shares as f64).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the curve stays between 1 and 10000"
    )]
    let weight = 10_f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}
