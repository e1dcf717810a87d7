//! Which devices the container may use: `devices.allow` and `devices.deny`, or a program on v2.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::controller::write;
use super::{Cgroup, CgroupError, devices_bpf};

/// Access to a device, as the kernel's bits.
pub(super) const MKNOD: u32 = 1;
pub(super) const READ: u32 = 2;
pub(super) const WRITE: u32 = 4;

/// One rule in the kernel's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) kind: Kind,
    /// `None`: any.
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    All,
    Block,
    Character,
}

/// What every container may do beside its own rules: make any node, use the default devices and
/// its terminals (runtime-spec config-linux.md#default-devices).
const DEFAULT: [Rule; 10] = [
    allow(Kind::Character, None, None, MKNOD),
    allow(Kind::Block, None, None, MKNOD),
    allow(Kind::Character, Some(1), Some(3), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(1), Some(5), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(1), Some(7), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(1), Some(8), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(1), Some(9), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(5), Some(0), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(5), Some(2), READ | WRITE | MKNOD),
    allow(Kind::Character, Some(136), None, READ | WRITE | MKNOD),
];

const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u32) -> Rule {
    Rule { allow: true, kind, major, minor, access }
}

pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(devices) = resources.devices().as_ref().filter(|devices| !devices.is_empty()) else {
        return Ok(());
    };
    let rules: Vec<_> = devices.iter().map(rule).chain(DEFAULT).collect();
    if let Some(directory) = cgroup.v1_directory("devices") {
        for rule in rules {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            write(&directory, file, text(&rule))?;
        }
        return Ok(());
    }
    match cgroup.unified_directory() {
        Some(directory) => devices_bpf::attach(&directory, &rules)
            .map_err(|source| CgroupError::Devices { path: directory, source }),
        None => Ok(()),
    }
}

fn rule(device: &LinuxDeviceCgroup) -> Rule {
    let kind = match device.typ() {
        None | Some(LinuxDeviceType::A | LinuxDeviceType::P) => Kind::All,
        Some(LinuxDeviceType::B) => Kind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Character,
    };
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let access = device.access().as_deref().unwrap_or("rwm").chars();
    let access = access.fold(0, |bits, letter| match letter {
        'r' => bits | READ,
        'w' => bits | WRITE,
        'm' => bits | MKNOD,
        _ => bits,
    });
    let (major, minor) = (number(device.major()), number(device.minor()));
    Rule { allow: device.allow(), kind, major, minor, access }
}

fn text(rule: &Rule) -> String {
    let kind = match rule.kind {
        // `a` takes in every number and access, whatever follows.
        Kind::All => return "a".to_owned(),
        Kind::Block => 'b',
        Kind::Character => 'c',
    };
    let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |it| it.to_string());
    let mut text = format!("{kind} {}:{} ", number(rule.major), number(rule.minor));
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if rule.access & bit != 0 {
            text.push(letter);
        }
    }
    text
}
