//! Device nodes and the usual symlinks of /dev.

use std::os::fd::OwnedFd;
use std::path::Path;

use linux::fs::{Mode, OFlags, Root};
use linux::mount::{self, Tree};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, FileType, Gid, Uid};
use rustix::io::Errno;

use super::{ContainerPlan, UserNamespace};
use crate::failure::During;
use crate::shim::protocol::Failure;

/// The nodes every container has (runtime-spec config-linux.md#default-devices): name, numbers.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
];

/// A node to make.
struct Node<'a> {
    path: &'a Path,
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
    owner: Option<(u32, u32)>,
}

/// Fills /dev.
pub(super) fn populate(
    plan: &ContainerPlan<'_>,
    root: &Root,
    user_namespace: Option<&UserNamespace>,
) -> Result<(), Failure> {
    let directory = Mode::from_raw_mode(0o755);
    let dev = root.create_dir_all("/dev", directory).during(|| "create /dev".to_owned())?;
    // Modes are as asked for, whatever umask the shim was started with.
    let umask = rustix::process::umask(Mode::empty());
    for (name, major, minor) in DEFAULT {
        let kind = FileType::CharacterDevice;
        let path = Path::new(name);
        let node = Node { path, kind, major, minor, mode: 0o666, owner: None };
        make_node(&dev, name, &node)?;
    }
    let linux = plan.spec.linux().as_ref();
    for device in linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default() {
        make_device(root, device, user_namespace)?;
    }
    rustix::process::umask(umask);
    for (target, name) in LINKS {
        if name == "core" && !Path::new(target).exists() {
            continue;
        }
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).during(|| format!("create /dev/{name}")),
        }
    }
    // An image's own ptmx would belong to another devpts.
    match rustix::fs::unlinkat(&dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).during(|| "remove /dev/ptmx".to_owned()),
    }
    rustix::fs::symlinkat("pts/ptmx", &dev, "ptmx").during(|| "create /dev/ptmx".to_owned())
}

fn make_device(
    root: &Root,
    device: &LinuxDevice,
    user_namespace: Option<&UserNamespace>,
) -> Result<(), Failure> {
    let path = device.path();
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => {
            return Err(Failure::other(format!("device {}: no such type", path.display())));
        }
    };
    let number = |value: i64| {
        u32::try_from(value)
            .map_err(|_| Failure::other(format!("device {}: bad number", path.display())))
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::other(format!("device {}: no file name", path.display())));
    };
    let parent = root
        .create_dir_all(parent, Mode::from_raw_mode(0o755))
        .during(|| format!("create {}", parent.display()))?;
    let node = Node {
        path,
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: owner(device, user_namespace)?,
    };
    make_node(&parent, name, &node)
}

/// Whose a device is, as the host calls them; `None`: root's, as whatever is made here.
fn owner(
    device: &LinuxDevice,
    user_namespace: Option<&UserNamespace>,
) -> Result<Option<(u32, u32)>, Failure> {
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    if (uid, gid) == (0, 0) {
        return Ok(None);
    }
    Ok(Some(match user_namespace {
        None => (uid, gid),
        Some(namespace) => (namespace.uid(uid)?, namespace.gid(gid)?),
    }))
}

fn make_node(
    parent: &OwnedFd,
    name: impl rustix::path::Arg + Copy,
    node: &Node<'_>,
) -> Result<(), Failure> {
    let what = || format!("create device {}", node.path.display());
    let mode = Mode::from_raw_mode(node.mode);
    let number = rustix::fs::makedev(node.major, node.minor);
    match rustix::fs::mknodat(parent, name, node.kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        // The device cgroup or a user namespace forbids mknod; the host's own node will do.
        Err(Errno::PERM) => return bind_node(parent, name, node),
        Err(errno) => return Err(errno).during(what),
    }
    if let Some((uid, gid)) = node.owner {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .during(what)?;
    }
    Ok(())
}

fn bind_node(
    parent: &OwnedFd,
    name: impl rustix::path::Arg + Copy,
    node: &Node<'_>,
) -> Result<(), Failure> {
    let what = || format!("bind device {}", node.path.display());
    let source = Path::new("/dev").join(node.path);
    let clone = mount::clone_tree(rustix::fs::CWD, &source, Tree::Single).during(what)?;
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let target =
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).during(what)?;
    mount::attach(&clone, &target).during(what)
}

/// Opens the host's /dev/null as a place to bind, and makes sure that it is the null device.
pub(super) fn host_null() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .during(|| "open /dev/null".to_owned())?;
    let stat = rustix::fs::fstat(&null).during(|| "stat /dev/null".to_owned())?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(Failure::other("/dev/null is not the null device")) }
}
