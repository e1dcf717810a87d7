//! Mounts: the system's, the generated files', the user's.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::{SpecInput, invalid};
use crate::container::{IpcMode, MountPoint, MountType};
use crate::{Error, Result};

/// Gives all mounts in the order they are to be made. A mount of the user's replaces the system's
/// at the same place.
pub(super) fn mounts(input: &SpecInput<'_>) -> Result<Vec<Mount>> {
    let points = &input.record.mounts;
    let tmpfs = &input.record.host_config.tmpfs;
    let taken = |destination: &str| {
        let theirs = points.iter().map(|point| &point.destination).chain(tmpfs.keys());
        theirs.map(Path::new).any(|theirs| {
            theirs == Path::new(destination)
                || (theirs == Path::new("/dev") && destination.starts_with("/dev/"))
        })
    };
    let mut mounts: Vec<Mount> = system(input)?
        .into_iter()
        .filter(|mount| !mount.destination().to_str().is_some_and(taken))
        .collect();
    let is_mapped = input.record.id_map.is_some();
    let mut users = Vec::new();
    for (number, (point, source)) in points.iter().zip(input.sources).enumerate() {
        users.push(match input.image_layers.get(&number) {
            Some(layers) => image(point, layers, input.is_builtin)?,
            None => user(point, source, is_mapped && !input.foreign.get(number).unwrap_or(&false))?,
        });
    }
    for (destination, options) in &input.record.host_config.tmpfs {
        let options = crate::volume::tmpfs_options(options)?;
        users.push(mount(destination, "tmpfs", Path::new("tmpfs"), options)?);
    }
    for (destination, source) in [
        ("/etc/resolv.conf", &input.paths.resolv_conf),
        ("/etc/hostname", &input.paths.hostname),
        ("/etc/hosts", &input.paths.hosts),
    ] {
        if !taken(destination) {
            users.push(generated(destination, source, input)?);
        }
    }
    if let Some(init) = &input.init {
        let options = ["bind", "ro"].map(str::to_owned).to_vec();
        users.push(mount(super::process::INIT_DESTINATION, "bind", init, options)?);
    }
    // An outer mount must not hide an inner one.
    users.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(users);
    Ok(mounts)
}

fn system(input: &SpecInput<'_>) -> Result<Vec<Mount>> {
    let host_config = &input.record.host_config;
    let security = super::SecurityOptions::parse(host_config)?;
    let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let simple = |destination: &str, kind: &str, options: &str| {
        mount(destination, kind, Path::new(kind), words(options))
    };
    let sys =
        if host_config.privileged { "nosuid,noexec,nodev,rw" } else { "nosuid,noexec,nodev,ro" };
    let cgroup = if security.writable_cgroups { sys.replace(",ro", ",rw") } else { sys.to_owned() };
    let mut mounts = vec![
        simple("/proc", "proc", "nosuid,noexec,nodev")?,
        mount(
            "/dev",
            "tmpfs",
            Path::new("tmpfs"),
            words("nosuid,strictatime,mode=755,size=65536k"),
        )?,
        simple("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")?,
        simple("/sys", "sysfs", sys)?,
        simple("/sys/fs/cgroup", "cgroup", &cgroup)?,
    ];
    // In the host's namespace this shows the host's queues, whether the host has them mounted or not.
    mounts.push(simple("/dev/mqueue", "mqueue", "nosuid,noexec,nodev")?);
    if host_config.ipc_mode != IpcMode::None {
        mounts.push(match &input.shared_shm {
            Some(source) => {
                mount("/dev/shm", "bind", source, words("rbind,rprivate,nosuid,noexec,nodev"))?
            }
            None => {
                let options =
                    format!("nosuid,noexec,nodev,mode=1777,size={}", input.shm_size_bytes);
                mount("/dev/shm", "tmpfs", Path::new("shm"), words(&options))?
            }
        });
    }
    Ok(mounts)
}

fn generated(destination: &str, source: &Path, input: &SpecInput<'_>) -> Result<Mount> {
    let access = if input.record.host_config.readonly_rootfs { "ro" } else { "rw" };
    let mut options = ["rbind", "rprivate", access].map(str::to_owned).to_vec();
    // Root's in the container as well.
    options.extend(input.record.id_map.as_ref().map(|_| "idmap".to_owned()));
    mount(destination, "bind", source, options)
}

fn user(point: &MountPoint, source: &Path, is_mapped: bool) -> Result<Mount> {
    if point.kind == MountType::Tmpfs {
        let mut options = point.tmpfs_options.clone();
        if !point.writable {
            options.push("ro".to_owned());
        }
        return mount(&point.destination, "tmpfs", Path::new("tmpfs"), options);
    }
    let mut options = vec![if point.non_recursive { "bind" } else { "rbind" }.to_owned()];
    let propagation =
        if point.propagation.is_empty() { "rprivate" } else { point.propagation.as_str() };
    options.push(propagation.to_owned());
    // A volume holds the ids that containers see, so that each has its own map; a path of the host
    // is as it is, and so is what a volume with options mounts.
    if is_mapped && point.kind == MountType::Volume {
        options.push("idmap".to_owned());
    }
    if !point.writable {
        options.push("ro".to_owned());
        if !point.read_only_non_recursive && !point.non_recursive {
            options.push("rro".to_owned());
        }
    }
    mount(&point.destination, "bind", source, options)
}

/// The runtime in the shim takes a layer an option and a path in the image, others what mount(2)
/// takes.
fn image(point: &MountPoint, layers: &[PathBuf], is_builtin: bool) -> Result<Mount> {
    let mut options = vec!["ro".to_owned()];
    if is_builtin {
        options.extend(layers.iter().map(|layer| format!("lowerdir+={}", layer.display())));
        if !point.subpath.is_empty() {
            options.push(format!("x-subpath={}", point.subpath));
        }
    } else if point.subpath.is_empty() {
        let layers: Vec<String> =
            layers.iter().map(|layer| layer.display().to_string().replace(':', "\\:")).collect();
        options.push(format!("lowerdir={}", layers.join(":")));
    } else {
        return Err(Error::InvalidParameter(
            "a path in a mounted image needs the builtin runtime".to_owned(),
        ));
    }
    mount(&point.destination, "overlay", Path::new("overlay"), options)
}

/// A shared or slave mount needs a root that lets it be so.
pub(super) fn rootfs_propagation(points: &[MountPoint]) -> Option<String> {
    let any =
        |words: [&str; 2]| points.iter().any(|point| words.contains(&point.propagation.as_str()));
    if any(["shared", "rshared"]) {
        Some("shared".to_owned())
    } else if any(["slave", "rslave"]) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

fn mount(destination: &str, kind: &str, source: &Path, options: Vec<String>) -> Result<Mount> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .map_err(invalid)
}
