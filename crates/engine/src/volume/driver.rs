//! The options of the local driver: `type`, `device`, `o`, as mount(8) takes them.
//!
//! A bind needs no mount: the content simply is at the device's path. Anything else is mounted on
//! the volume's directory by its first user and unmounted after its last.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use linux::fs::Root;
use linux::mount::FsContext;

use super::Volume;
use crate::{Error, Result};

/// Checks names and completeness; values are the kernel's to check, at the first use.
pub(super) fn check_options(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let invalid = |text: String| Error::InvalidParameter(format!("create {name}: {text}"));
    for option in options.keys() {
        if !["type", "device", "o"].contains(&option.as_str()) {
            return Err(invalid(format!("invalid option: {option:?}")));
        }
    }
    if options.is_empty() {
        return Ok(());
    }
    for required in ["device", "type"] {
        if options.get(required).is_none_or(String::is_empty) {
            return Err(invalid(format!("missing required option: {required:?}")));
        }
    }
    Ok(())
}

/// Makes the content available and tells where it is.
pub(super) fn mount(volume: &Volume) -> Result<PathBuf> {
    if volume.options.is_empty() {
        return Ok(volume.mountpoint.clone());
    }
    let device = &volume.options["device"];
    let flags = flags(volume);
    if flags.iter().any(|flag| ["bind", "rbind"].contains(flag)) {
        let path = PathBuf::from(device);
        return match std::fs::metadata(&path) {
            Ok(_) => Ok(path),
            Err(source) => Err(failed(volume, source)),
        };
    }
    if is_mounted(volume)? {
        return Ok(volume.mountpoint.clone());
    }
    attach(volume, device, &flags).map_err(|source| failed(volume, source))?;
    Ok(volume.mountpoint.clone())
}

/// Undoes [`mount`]; nothing to do is no error.
pub(super) fn unmount(volume: &Volume) -> Result<()> {
    if volume.options.is_empty() || !is_mounted(volume)? {
        return Ok(());
    }
    linux::mount::detach(&volume.mountpoint).map_err(Error::io("unmount", &volume.mountpoint))
}

fn flags(volume: &Volume) -> Vec<&str> {
    let options = volume.options.get("o").map_or("", String::as_str);
    options.split(',').filter(|flag| !flag.is_empty()).collect()
}

fn attach(volume: &Volume, device: &str, flags: &[&str]) -> io::Result<()> {
    let context = FsContext::open(&volume.options["type"])?;
    context.set("source", device)?;
    let mut attributes = 0;
    for flag in flags {
        match *flag {
            "ro" => attributes |= linux::mount::RDONLY,
            "nosuid" => attributes |= linux::mount::NOSUID,
            "nodev" => attributes |= linux::mount::NODEV,
            "noexec" => attributes |= linux::mount::NOEXEC,
            "noatime" => attributes |= linux::mount::NOATIME,
            "rw" | "suid" | "dev" | "exec" | "relatime" | "defaults" => {}
            option => context.option(&resolved(option)?)?,
        }
    }
    let mount = context.create(attributes)?;
    linux::mount::attach(mount, Root::open(&volume.mountpoint)?)
}

/// Network file systems want `addr=` as a number; the kernel does not ask name servers.
fn resolved(option: &str) -> io::Result<String> {
    use std::net::ToSocketAddrs;
    let Some(host) = option.strip_prefix("addr=") else { return Ok(option.to_owned()) };
    let address = (host, 0).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other(format!("no address for {host}")))?;
    Ok(format!("addr={}", address.ip()))
}

/// A mount point is on another device than its parent. Good enough here: what we mount is never
/// the file system of the data root.
fn is_mounted(volume: &Volume) -> Result<bool> {
    let device = |path: &std::path::Path| {
        std::fs::metadata(path).map(|metadata| metadata.dev()).map_err(Error::io("stat", path))
    };
    let parent = volume.mountpoint.parent().unwrap_or(&volume.mountpoint);
    Ok(device(&volume.mountpoint)? != device(parent)?)
}

fn failed(volume: &Volume, source: io::Error) -> Error {
    let option = |name: &str| volume.options.get(name).map_or("", String::as_str);
    Error::InvalidParameter(format!(
        "failed to mount local volume: mount {}:{}, flags: {}, type: {}: {source}",
        option("device"),
        volume.mountpoint.display(),
        option("o"),
        option("type"),
    ))
}
