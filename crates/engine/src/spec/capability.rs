//! Capabilities: Docker's default set, `--cap-add`, `--cap-drop`, `--privileged`.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use crate::container::HostConfig;
use crate::{Error, Result};

/// Every capability, at the index of its number in the kernel.
pub(super) const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What a container has when it asks for nothing.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// One word of `--cap-add` or `--cap-drop`.
enum Word {
    All,
    One(Capability),
}

fn parse(word: &str) -> Option<Word> {
    let upper = word.to_ascii_uppercase();
    if upper == "ALL" {
        return Some(Word::All);
    }
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    name.parse().ok().map(Word::One)
}

/// Checks the words of `cap_add` and `cap_drop`.
///
/// # Errors
/// InvalidParameter naming the first unknown capability.
pub(crate) fn validate(host_config: &HostConfig) -> Result<()> {
    let lists = [("CapAdd", &host_config.cap_add), ("CapDrop", &host_config.cap_drop)];
    for (field, words) in lists {
        if let Some(word) = words.iter().find(|word| parse(word).is_none()) {
            return Err(Error::InvalidParameter(format!(
                "invalid {field}: unknown capability: \"CAP_{}\"",
                word.to_ascii_uppercase().trim_start_matches("CAP_").escape_default()
            )));
        }
    }
    Ok(())
}

/// Gives the capabilities of the container's process.
pub(crate) fn of_container(
    host_config: &HostConfig,
    bounding: &HashSet<Capability>,
) -> HashSet<Capability> {
    wanted(host_config).intersection(bounding).copied().collect()
}

/// Gives a set as the kernel's bits.
pub(crate) fn bits(capabilities: &HashSet<Capability>) -> u64 {
    let numbers =
        ALL.iter().enumerate().filter(|(_, capability)| capabilities.contains(capability));
    numbers.fold(0, |bits, (number, _)| bits | 1 << number)
}

/// Gives the sets of the container's process.
pub(super) fn sets(
    host_config: &HostConfig,
    bounding: &HashSet<Capability>,
) -> Result<LinuxCapabilities> {
    build(of_container(host_config, bounding))
}

/// Gives the sets of a process that has all rights there are to give.
pub(super) fn privileged_sets(bounding: &HashSet<Capability>) -> Result<LinuxCapabilities> {
    build(bounding.clone())
}

fn build(capabilities: HashSet<Capability>) -> Result<LinuxCapabilities> {
    LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .permitted(capabilities.clone())
        .effective(capabilities)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .map_err(super::invalid)
}

/// Applies Docker's rules: privileged beats all; `ALL` in add starts from everything, `ALL` in
/// drop from nothing; single words come after.
fn wanted(host_config: &HostConfig) -> HashSet<Capability> {
    if host_config.privileged {
        return ALL.into_iter().collect();
    }
    let add: Vec<_> = host_config.cap_add.iter().filter_map(|word| parse(word)).collect();
    let drop: Vec<_> = host_config.cap_drop.iter().filter_map(|word| parse(word)).collect();
    let add_all = add.iter().any(|word| matches!(word, Word::All));
    let drop_all = drop.iter().any(|word| matches!(word, Word::All));
    let mut set: HashSet<_> = match (add_all, drop_all) {
        (true, _) => ALL.into_iter().collect(),
        (false, true) => HashSet::new(),
        (false, false) => DEFAULT.into_iter().collect(),
    };
    if !drop_all {
        for word in &drop {
            if let Word::One(capability) = word {
                set.remove(capability);
            }
        }
    }
    if !add_all {
        set.extend(add.iter().filter_map(|word| match word {
            Word::One(capability) => Some(*capability),
            Word::All => None,
        }));
    }
    set
}
