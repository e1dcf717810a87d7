//! Changes to limits and restart policy of a container that exists.

use super::host_config::HostConfig;
use super::request::UpdateRequest;
use super::validate;
use crate::spec::HostFacts;
use crate::{Error, Result};

/// Applies what the request sets.
///
/// # Errors
/// As for the same values at create; Conflict where the two contradict.
pub(super) fn apply(
    host_config: &mut HostConfig,
    request: &UpdateRequest,
    host: &HostFacts,
) -> Result<()> {
    let new = &request.resources;
    let old = &mut host_config.resources;
    if new.nano_cpus > 0 && (old.cpu_period > 0 || old.cpu_quota > 0) {
        return Err(Error::Conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already \
             been set"
                .to_owned(),
        ));
    }
    if (new.cpu_period > 0 || new.cpu_quota > 0) && old.nano_cpus > 0 {
        return Err(Error::Conflict(
            "Conflicting options: CPU Period/Quota cannot be updated as NanoCPUs has already \
             been set"
                .to_owned(),
        ));
    }
    let numbers = [
        (&mut old.cpu_shares, new.cpu_shares),
        (&mut old.nano_cpus, new.nano_cpus),
        (&mut old.cpu_period, new.cpu_period),
        (&mut old.cpu_quota, new.cpu_quota),
        (&mut old.cpu_realtime_period, new.cpu_realtime_period),
        (&mut old.cpu_realtime_runtime, new.cpu_realtime_runtime),
        (&mut old.memory_reservation, new.memory_reservation),
    ];
    for (old, new) in numbers {
        if new != 0 {
            *old = new;
        }
    }
    if new.memory != 0 {
        if new.memory_swap == 0 && old.memory_swap > 0 && new.memory > old.memory_swap {
            return Err(Error::Conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the \
                 memoryswap at the same time"
                    .to_owned(),
            ));
        }
        old.memory = new.memory;
    }
    if new.memory_swap != 0 {
        old.memory_swap = new.memory_swap;
    }
    if !new.cpuset_cpus.is_empty() {
        old.cpuset_cpus.clone_from(&new.cpuset_cpus);
    }
    if !new.cpuset_mems.is_empty() {
        old.cpuset_mems.clone_from(&new.cpuset_mems);
    }
    if new.blkio_weight != 0 {
        old.blkio_weight = new.blkio_weight;
    }
    if new.pids_limit.is_some() {
        old.pids_limit = new.pids_limit.map(|limit| if limit <= 0 { -1 } else { limit });
    }
    if let Some(policy) = &request.restart_policy {
        if host_config.auto_remove && policy.name != super::RestartPolicyName::No {
            return Err(Error::Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
                    .to_owned(),
            ));
        }
        validate::restart_policy(policy)?;
        host_config.restart_policy = policy.clone();
    }
    validate::resources(&host_config.resources, host)
}
