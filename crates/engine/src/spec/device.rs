//! Devices: nodes that appear inside, and rules on what may be opened.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::{invalid, resource};
use crate::container::{DeviceMapping, HostConfig};
use crate::{Error, Result};

/// How deep a directory of devices is searched.
const MAX_DEPTH: usize = 8;

/// Gives the nodes besides the default ones, which the runtime makes by itself.
pub(super) fn devices(host_config: &HostConfig) -> Result<Vec<LinuxDevice>> {
    let mut devices = Vec::new();
    if host_config.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), 0, &mut devices)?;
    }
    for mapping in &host_config.resources.devices {
        add(mapping, &mut devices)?;
    }
    Ok(devices)
}

/// Gives the rules: nothing, but making nodes, the default devices, and what was asked for.
pub(super) fn rules(
    host_config: &HostConfig,
    devices: &[LinuxDevice],
) -> Result<Vec<LinuxDeviceCgroup>> {
    if host_config.privileged {
        return Ok(vec![rule(true, LinuxDeviceType::A, None, None, "rwm")?]);
    }
    let mut rules = vec![
        rule(false, LinuxDeviceType::A, None, None, "rwm")?,
        rule(true, LinuxDeviceType::C, None, None, "m")?,
        rule(true, LinuxDeviceType::B, None, None, "m")?,
    ];
    // null, zero, full, random, urandom, tty, console, ptmx, and every pts.
    let default = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    for (major, minor) in default {
        rules.push(rule(true, LinuxDeviceType::C, Some(major), Some(minor), "rwm")?);
    }
    rules.push(rule(true, LinuxDeviceType::C, Some(136), None, "rwm")?);
    for mapping in &host_config.resources.devices {
        let access = permissions(mapping);
        let inside = destination(mapping);
        for device in devices.iter().filter(|device| device.path().starts_with(&inside)) {
            let (major, minor) = (Some(device.major()), Some(device.minor()));
            rules.push(rule(true, device.typ(), major, minor, access)?);
        }
    }
    for text in &host_config.resources.device_cgroup_rules {
        rules.push(parse_rule(text)?);
    }
    Ok(rules)
}

/// Checks a rule of `--device-cgroup-rule`.
///
/// # Errors
/// InvalidParameter in Docker's words.
pub(crate) fn validate_rule(text: &str) -> Result<()> {
    parse_rule(text).map(drop)
}

fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || {
        Error::InvalidParameter(format!(
            "invalid device cgroup rule format: '{}'",
            text.escape_default()
        ))
    };
    let mut words = text.split(' ');
    let mut word = || words.next();
    let (Some(kind), Some(numbers), Some(access), None) = (word(), word(), word(), word()) else {
        return Err(wrong());
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let letters = !access.is_empty() && access.len() <= 3;
    if !letters || !access.chars().all(|letter| "rwm".contains(letter)) {
        return Err(wrong());
    }
    rule(true, kind, number(major)?, number(minor)?, access)
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup> {
    let mut builder = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access);
    if let Some(major) = major {
        builder = builder.major(major);
    }
    if let Some(minor) = minor {
        builder = builder.minor(minor);
    }
    builder.build().map_err(invalid)
}

fn add(mapping: &DeviceMapping, devices: &mut Vec<LinuxDevice>) -> Result<()> {
    let source = Path::new(&mapping.path_on_host);
    let missing = |error: std::io::Error| {
        // The words by which Docker's command line knows that it has to end with 127.
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        Error::InvalidParameter(format!(
            "error gathering device information while adding custom device \"{}\": {reason}",
            mapping.path_on_host.escape_default()
        ))
    };
    // A device may be named by a symlink such as /dev/disk/by-id/….
    let real = std::fs::canonicalize(source).map_err(missing)?;
    if real.is_dir() {
        return collect(&real, &destination(mapping), 0, devices);
    }
    match node(&real, &destination(mapping))? {
        Some(device) => {
            push(devices, device);
            Ok(())
        }
        None => Err(Error::InvalidParameter(format!(
            "error gathering device information while adding custom device \"{}\": \
             not a device node",
            mapping.path_on_host.escape_default()
        ))),
    }
}

/// Adds every device below `from`, as it appears below `to`.
fn collect(from: &Path, to: &Path, depth: usize, devices: &mut Vec<LinuxDevice>) -> Result<()> {
    // What is no device of the host's, or is made anew in each container.
    const SKIPPED: [&str; 9] =
        ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev", "ptmx"];
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        let target = to.join(&name);
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&entry.path(), &target, depth + 1, devices)?;
        } else if let Some(device) = node(&entry.path(), &target)? {
            push(devices, device);
        }
    }
    Ok(())
}

/// A later mapping of the same path wins.
pub(super) fn push(devices: &mut Vec<LinuxDevice>, device: LinuxDevice) {
    devices.retain(|other| other.path() != device.path());
    devices.push(device);
}

/// Describes a device of the host as it appears inside; `None` for what is none.
pub(super) fn node(path: &Path, target: &Path) -> Result<Option<LinuxDevice>> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(None) };
    let kind = metadata.file_type();
    let kind = if kind.is_block_device() {
        LinuxDeviceType::B
    } else if kind.is_char_device() {
        LinuxDeviceType::C
    } else {
        return Ok(None);
    };
    let (major, minor) = resource::split(metadata.rdev());
    LinuxDeviceBuilder::default()
        .path(target)
        .typ(kind)
        .major(major)
        .minor(minor)
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()
        .map(Some)
        .map_err(invalid)
}

fn destination(mapping: &DeviceMapping) -> PathBuf {
    let path = if mapping.path_in_container.is_empty() {
        &mapping.path_on_host
    } else {
        &mapping.path_in_container
    };
    PathBuf::from(path)
}

fn permissions(mapping: &DeviceMapping) -> &str {
    if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions }
}
