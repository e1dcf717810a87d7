//! What a container wants mounted: from the words of `-v`, `--mount`, `--volumes-from` and the
//! image's `VOLUME` to a list of mount points. Pure; nothing is created or looked up here but the
//! existence of a bind's source.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Volume;
use crate::container::{BindOptions, HostConfig, MountPoint, MountSpec, MountType, VolumeOptions};
use crate::{Error, Result};

/// A volume to make or to find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Empty: draw a name.
    pub name: String,
    /// Empty: `local`.
    pub driver: String,
    /// `type`, `device`, `o`.
    pub driver_options: BTreeMap<String, String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// A mount point, and the volume that must be made for it, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPlan {
    /// Complete but for the volume's name and source.
    pub point: MountPoint,
    /// For a volume mount.
    pub volume: Option<VolumeRequest>,
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Collects a container's mounts. Later sources replace earlier ones at the same destination, in
/// the order `--volumes-from`, `-v`, `--mount`; `volumes` (the image's and the configuration's)
/// fill what is left. `mounts_of` gives the mounts of another container.
///
/// # Errors
/// InvalidParameter in Docker's words; those of `mounts_of`.
pub fn plan_mounts(
    volumes: &BTreeSet<String>,
    host: &HostConfig,
    mounts_of: impl Fn(&str) -> Result<Arc<Vec<MountPoint>>>,
) -> Result<Vec<MountPlan>> {
    let mut plans: BTreeMap<String, MountPlan> = BTreeMap::new();
    for text in &host.volumes_from {
        let (container, writable) = parse_volumes_from(text)?;
        for point in mounts_of(container)?.iter() {
            let point = MountPoint { writable: point.writable && writable, ..point.clone() };
            plans.insert(point.destination.clone(), MountPlan { point, volume: None });
        }
    }
    let mut explicit = BTreeSet::new();
    for destination in host.tmpfs.keys() {
        check_destination(destination)?;
        explicit.insert(clean(destination));
    }
    let binds = host.binds.iter().map(|bind| parse_bind(bind, &host.volume_driver));
    let mounts = host.mounts.iter().map(plan_spec);
    for plan in binds.chain(mounts) {
        let plan = plan?;
        let destination = plan.point.destination.clone();
        if !explicit.insert(destination.clone()) {
            return Err(invalid(format!("Duplicate mount point: {destination}")));
        }
        plans.insert(destination, plan);
    }
    for text in volumes {
        let plan = parse_bind(text, &host.volume_driver)?;
        let destination = plan.point.destination.clone();
        if !explicit.contains(&destination) {
            plans.entry(destination).or_insert(plan);
        }
    }
    Ok(plans.into_values().collect())
}

fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidParameter(text.into())
}

/// Parses `container[:mode]` into the container and whether it may write.
fn parse_volumes_from(text: &str) -> Result<(&str, bool)> {
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    if text.is_empty() {
        return Err(invalid("volumes-from specification cannot be an empty string"));
    }
    if container.is_empty() {
        return Err(invalid(format!("malformed volumes-from specification: {text}")));
    }
    let parsed = Mode::parse(mode).filter(|mode| mode.propagation.is_none() && !mode.no_copy);
    let parsed = parsed.ok_or_else(|| invalid(format!("invalid mode: {mode}")))?;
    Ok((container, !parsed.read_only))
}

/// The last part of `-v`, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mode<'a> {
    read_only: bool,
    no_copy: bool,
    propagation: Option<&'a str>,
}

impl<'a> Mode<'a> {
    /// `None` for an unknown word, or two of one sort.
    fn parse(text: &'a str) -> Option<Self> {
        let mut mode = Self::default();
        let mut seen = BTreeSet::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let sort = match word {
                "ro" | "rw" => {
                    mode.read_only = word == "ro";
                    "access"
                }
                // Labels of SELinux, which this engine has no use for.
                "z" | "Z" => "label",
                "nocopy" => {
                    mode.no_copy = true;
                    "copy"
                }
                "consistent" | "cached" | "delegated" | "default" => "consistency",
                word if PROPAGATIONS.contains(&word) => {
                    mode.propagation = Some(word);
                    "propagation"
                }
                _ => return None,
            };
            if !seen.insert(sort) {
                return None;
            }
        }
        Some(mode)
    }
}

/// Parses `[source:]destination[:mode]`.
fn parse_bind(text: &str, volume_driver: &str) -> Result<MountPlan> {
    let malformed = || invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode_text) = match parts[..] {
        [target] => ("", target, ""),
        // A mode on a volume without a name: there is no such thing.
        [_, mode] if Mode::parse(mode).is_some() => return Err(malformed()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(malformed()),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(malformed());
    }
    let mode =
        Mode::parse(mode_text).ok_or_else(|| invalid(format!("invalid mode: {mode_text}")))?;
    let kind = if source.starts_with('/') { MountType::Bind } else { MountType::Volume };
    if mode.no_copy && kind == MountType::Bind {
        let reason = wrapped(kind, "field VolumeOptions must not be specified");
        return Err(invalid(format!("invalid volume specification: '{text}': {reason}")));
    }
    let bind = mode.propagation.map(|propagation| BindOptions {
        propagation: propagation.to_owned(),
        ..BindOptions::default()
    });
    let volume = (kind == MountType::Volume).then(|| VolumeOptions {
        no_copy: mode.no_copy,
        driver: volume_driver.to_owned(),
        ..VolumeOptions::default()
    });
    let spec = MountSpec {
        kind,
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: mode.read_only,
        bind,
        volume,
        ..MountSpec::default()
    };
    check(&spec).map_err(|reason| {
        invalid(format!("invalid volume specification: '{text}': {}", wrapped(kind, &reason)))
    })?;
    let mut plan = plan_checked(&spec)?;
    plan.point.mode = mode_text.to_owned();
    plan.point.create_source = kind == MountType::Bind;
    Ok(plan)
}

/// Plans a mount in the long form. A missing bind source is an error here.
fn plan_spec(spec: &MountSpec) -> Result<MountPlan> {
    check(spec).map_err(|reason| invalid(wrapped(spec.kind, &reason)))?;
    let created = spec.bind.as_ref().is_some_and(|bind| bind.create_mountpoint);
    if spec.kind == MountType::Bind && !created && !Path::new(&spec.source).exists() {
        let reason = format!("bind source path does not exist: {}", spec.source);
        return Err(invalid(wrapped(spec.kind, &reason)));
    }
    plan_checked(spec)
}

fn wrapped(kind: MountType, reason: &str) -> String {
    format!("invalid mount config for type \"{kind}\": {reason}")
}

fn plan_checked(spec: &MountSpec) -> Result<MountPlan> {
    let mut point = MountPoint {
        kind: spec.kind,
        destination: clean(&spec.target),
        writable: !spec.read_only,
        ..MountPoint::default()
    };
    let mut volume = None;
    match spec.kind {
        MountType::Bind => {
            let bind = spec.bind.clone().unwrap_or_default();
            point.source = PathBuf::from(clean(&spec.source));
            point.create_source = bind.create_mountpoint;
            point.non_recursive = bind.non_recursive;
            point.read_only_non_recursive = bind.read_only_non_recursive;
            point.read_only_force_recursive = bind.read_only_force_recursive;
            point.propagation = match bind.propagation.as_str() {
                "" => "rprivate".to_owned(),
                _ => bind.propagation,
            };
        }
        MountType::Volume => {
            let options = spec.volume.clone().unwrap_or_default();
            point.driver = Volume::DRIVER.to_owned();
            point.anonymous = spec.source.is_empty();
            point.no_copy = options.no_copy;
            point.subpath = options.subpath;
            volume = Some(VolumeRequest {
                name: spec.source.clone(),
                driver: options.driver,
                driver_options: options.driver_options,
                labels: options.labels,
            });
        }
        MountType::Tmpfs => {
            point.tmpfs_options = super::tmpfs::of_spec(spec.tmpfs.as_ref())
                .map_err(|reason| invalid(wrapped(spec.kind, &reason)))?;
        }
        MountType::Image => {
            point.name.clone_from(&spec.source);
            point.subpath = spec.image_subpath.clone().unwrap_or_default();
            point.writable = false;
        }
    }
    Ok(MountPlan { point, volume })
}

fn check_destination(target: &str) -> Result<()> {
    check_target(target).map_err(invalid)
}

fn check_target(target: &str) -> Result<(), String> {
    if target.is_empty() {
        return Err("field Target must not be empty".to_owned());
    }
    check_absolute(target)?;
    if clean(target) == "/" {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(())
}

fn check_absolute(path: &str) -> Result<(), String> {
    if path.contains('\0') {
        return Err(format!("invalid mount path: {path:?} contains a null byte"));
    }
    if path.starts_with('/') {
        return Ok(());
    }
    Err(format!("invalid mount path: '{path}' mount path must be absolute"))
}

fn check(spec: &MountSpec) -> Result<(), String> {
    check_target(&spec.target)?;
    let extra = |field: &str| Err(format!("field {field} must not be specified"));
    if spec.bind.is_some() && spec.kind != MountType::Bind {
        return extra("BindOptions");
    }
    if spec.volume.is_some() && spec.kind != MountType::Volume {
        return extra("VolumeOptions");
    }
    if spec.tmpfs.is_some() && spec.kind != MountType::Tmpfs {
        return extra("TmpfsOptions");
    }
    if spec.image_subpath.is_some() && spec.kind != MountType::Image {
        return extra("ImageOptions");
    }
    match spec.kind {
        MountType::Bind => check_bind(spec),
        MountType::Volume => check_volume(spec),
        MountType::Tmpfs if !spec.source.is_empty() => extra("Source"),
        MountType::Tmpfs => Ok(()),
        MountType::Image if spec.source.is_empty() => {
            Err("field Source must not be empty".to_owned())
        }
        MountType::Image => check_local("image", spec.image_subpath.as_deref().unwrap_or("")),
    }
}

fn check_bind(spec: &MountSpec) -> Result<(), String> {
    if spec.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    let bind = spec.bind.clone().unwrap_or_default();
    if !bind.propagation.is_empty() && !PROPAGATIONS.contains(&bind.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", bind.propagation));
    }
    if bind.read_only_non_recursive && bind.read_only_force_recursive {
        return Err("ReadOnlyNonRecursive and ReadOnlyForceRecursive exclude each other".to_owned());
    }
    check_absolute(&spec.source)
}

fn check_volume(spec: &MountSpec) -> Result<(), String> {
    let subpath = spec.volume.as_ref().map_or("", |volume| &volume.subpath);
    if spec.source.is_empty() {
        if !subpath.is_empty() {
            return Err("must not set Subpath when using anonymous volumes".to_owned());
        }
        if spec.read_only {
            return Err("must not set ReadOnly mode when using anonymous volumes".to_owned());
        }
    }
    check_local("volume", subpath)
}

fn check_local(noun: &str, subpath: &str) -> Result<(), String> {
    let mut depth = 0_i32;
    for component in Path::new(subpath).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => depth = -1,
        }
        if depth < 0 {
            return Err(format!("subpath must be a relative path within the {noun}"));
        }
    }
    Ok(())
}

/// Removes `.`, `..` and doubled slashes from an absolute path, as text.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
