//! The mounts of the OCI config, in its order.
//!
//! A mount is built detached, given its attributes, and attached to a descriptor of its
//! destination that openat2(2) resolved within the root. Nothing can be swapped in between.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::fs::{Mode, OFlags, Root};
use linux::mount::{self, FsContext, MountAttr, Tree};
use oci_spec::runtime::Mount;
use rustix::fs::{AtFlags, Gid, Uid};

use super::{ContainerPlan, UserNamespace, user_namespace};
use crate::failure::During;
use crate::mount_options::MountOptions;
use crate::shim::protocol::Failure;

mod cgroup;
mod image;

const MS_SLAVE: u64 = 1 << 19;
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// A mount whose source has been opened.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) mount: &'a Mount,
    pub(super) options: MountOptions,
    /// The detached clone of a bind mount's source, or an image's files.
    pub(super) source: Option<OwnedFd>,
    /// Sources of a cgroup mount without a cgroup namespace.
    pub(super) cgroup_sources: Vec<(PathBuf, OwnedFd)>,
}

impl Prepared<'_> {
    fn kind(&self) -> &str {
        self.mount.typ().as_deref().unwrap_or_default()
    }

    fn is_cgroup(&self) -> bool {
        self.source.is_none() && matches!(self.kind(), "cgroup" | "cgroup2")
    }
}

/// What later steps need to know of the mounts made.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The root of the container's devpts.
    pub(super) devpts: Option<OwnedFd>,
    /// Whether /dev is a bind mount, which is left alone.
    pub(super) dev_is_bound: bool,
}

/// Opens every bind mount's source.
pub(super) fn prepare<'a>(
    plan: &ContainerPlan<'a>,
    user_namespace: Option<&UserNamespace>,
) -> Result<Vec<Prepared<'a>>, Failure> {
    let mounts = plan.spec.mounts().as_deref().unwrap_or_default();
    mounts.iter().map(|mount| prepare_one(plan, mount, user_namespace)).collect()
}

/// Puts the layers of every image mount together, once nothing that is mounted on the way can reach
/// the host.
pub(super) fn open_images(
    plan: &ContainerPlan<'_>,
    prepared: &mut [Prepared<'_>],
    user_namespace: Option<&UserNamespace>,
) -> Result<(), Failure> {
    for image in prepared.iter_mut().filter(|prepared| image::is_image(prepared)) {
        image.source = Some(image::open(image, plan.bundle, user_namespace)?);
    }
    Ok(())
}

fn prepare_one<'a>(
    plan: &ContainerPlan<'a>,
    mount: &'a Mount,
    user_namespace: Option<&UserNamespace>,
) -> Result<Prepared<'a>, Failure> {
    let mut options = MountOptions::parse(mount.options().as_deref().unwrap_or_default())?;
    if options.bind.is_none() && mount.typ().as_deref() == Some("bind") {
        options.bind = Some(Tree::Single);
    }
    let mut prepared = Prepared { mount, options, source: None, cgroup_sources: Vec::new() };
    if let Some(tree) = prepared.options.bind {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        // Relative sources are relative to the bundle (runtime-spec config.md#mounts).
        let source = plan.bundle.join(source);
        let clone = clone_source(&source, tree)
            .during(|| failed(mount, &format!("open {}", source.display())))?;
        if let Some(tree) = prepared.options.idmap {
            let Some(namespace) = user_namespace else {
                return Err(Failure::invalid(failed(mount, "idmap needs a user namespace")));
            };
            namespace
                .map_mount(&clone, tree)
                .map_err(|error| user_namespace::unsupported(&source, &error))?;
        }
        prepared.source = Some(clone);
    } else if prepared.is_cgroup() && !plan.new_cgroup_namespace {
        prepared.cgroup_sources = cgroup::open_sources(plan)?;
    }
    Ok(prepared)
}

/// Clones a bind mount's source. `/proc/PID/fd/N`, a file that another process holds so that it
/// cannot be swapped, lies on that process's mounts, which this namespace cannot clone: the file of
/// that name here is taken, provided that it is the same one.
fn clone_source(source: &Path, tree: Tree) -> io::Result<OwnedFd> {
    if let Some((pid, path)) = within_process(source) {
        return clone_from_process(pid, &path, tree);
    }
    let cloned = mount::clone_tree(rustix::fs::CWD, source, tree);
    let refused = matches!(&cloned, Err(error) if error.kind() == io::ErrorKind::InvalidInput);
    if !refused || !source.starts_with("/proc") {
        return cloned;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let held = rustix::fs::open(source, flags, Mode::empty())?;
    let name = rustix::fs::readlink(source, Vec::new())?;
    let here = rustix::fs::open(name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let (held, same) = (rustix::fs::fstat(held)?, rustix::fs::fstat(&here)?);
    if (held.st_dev, held.st_ino) != (same.st_dev, same.st_ino) {
        return Err(rustix::io::Errno::STALE.into());
    }
    mount::clone_tree(&here, "", tree)
}

/// Takes `/proc/<pid>/root/<path>` apart.
fn within_process(source: &Path) -> Option<(u32, PathBuf)> {
    let rest = source.strip_prefix("/proc").ok()?;
    let pid = rest.components().next()?.as_os_str().to_str()?.parse().ok()?;
    let path = rest.strip_prefix(format!("{pid}/root")).ok()?;
    Some((pid, Path::new("/").join(path)))
}

/// Clones a mount of another process' namespace, which takes being in there.
fn clone_from_process(pid: u32, path: &Path, tree: Tree) -> io::Result<OwnedFd> {
    let open = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)
    };
    let theirs = open(&format!("/proc/{pid}/ns/mnt"))?;
    let own = open("/proc/self/ns/mnt")?;
    let kind = linux::process::flags::NEWNS;
    linux::namespace::join(theirs.as_fd(), kind)?;
    let clone = mount::clone_tree(rustix::fs::CWD, path, tree);
    linux::namespace::join(own.as_fd(), kind)?;
    clone
}

/// Attaches one mount.
pub(super) fn attach(
    plan: &ContainerPlan<'_>,
    root: &Root,
    mut prepared: Prepared<'_>,
    user_namespace: Option<&UserNamespace>,
    state: &mut State,
) -> Result<(), Failure> {
    let mount = prepared.mount;
    if prepared.is_cgroup() {
        return cgroup::attach(plan, root, &prepared);
    }
    if let Some(source) = &prepared.source {
        state.dev_is_bound |= mount.destination() == Path::new("/dev");
        return bind(root, &prepared, source);
    }
    let target = directory_for(root, &prepared)?;
    if let Some(namespace) = user_namespace {
        map_ids(&mut prepared, namespace)?;
    }
    let made = new_file_system(&prepared, &target)
        .during(|| failed(mount, &format!("mount {}", prepared.kind())))?;
    if let Some(namespace) = user_namespace.filter(|_| prepared.kind() == "devpts") {
        // The kernel gives its root to the host's, whoever mounts it.
        let (uid, gid) = namespace.root();
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&made, "", owner.0, owner.1, AtFlags::EMPTY_PATH)
            .during(|| failed(mount, "change owner"))?;
    }
    mount::attach(&made, &target).during(|| failed(mount, "attach"))?;
    set_propagation(&made, &prepared)?;
    if prepared.options.copy_up {
        copy_up(root, mount.destination(), &target)
            .during(|| failed(mount, "copy the image's content"))?;
        set_attributes(&made, &prepared)?;
    }
    if prepared.kind() == "devpts" {
        state.devpts = Some(made);
    }
    Ok(())
}

/// Options name users and groups by the container's ids, the kernel wants the host's.
fn map_ids(prepared: &mut Prepared<'_>, namespace: &UserNamespace) -> Result<(), Failure> {
    for option in &mut prepared.options.data {
        let Some((key, Ok(id))) = option.split_once('=').map(|(k, v)| (k, v.parse())) else {
            continue;
        };
        *option = match key {
            "uid" => format!("uid={}", namespace.uid(id)?),
            "gid" => format!("gid={}", namespace.gid(id)?),
            _ => continue,
        };
    }
    Ok(())
}

fn new_file_system(prepared: &Prepared<'_>, target: &OwnedFd) -> io::Result<OwnedFd> {
    let kind = prepared.kind();
    let context = FsContext::open(kind)?;
    let source = prepared.mount.source().as_deref().unwrap_or(Path::new(kind));
    // Virtual file systems have no source, but mountinfo shows it: keep what the config says.
    context.set_path("source", source)?;
    let mut has_mode = false;
    for option in &prepared.options.data {
        has_mode |= option.starts_with("mode=");
        context.option(option)?;
    }
    if kind == "tmpfs" && !has_mode {
        // A tmpfs over a directory of the image keeps that directory's mode.
        let mode = rustix::fs::fstat(target)?.st_mode & 0o7777;
        context.set("mode", &format!("{mode:o}"))?;
    }
    let attr = prepared.options.attr.set | prepared.options.recursive.set;
    // The tmpfs is filled first and made read-only after.
    let attr = if prepared.options.copy_up { attr & !mount::RDONLY } else { attr };
    context.create(attr)
}

/// The directory that a new file system goes on.
fn directory_for(root: &Root, prepared: &Prepared<'_>) -> Result<OwnedFd, Failure> {
    let mount = prepared.mount;
    let destination = mount.destination();
    let mode = Mode::from_raw_mode(0o755);
    let target =
        root.create_dir_all(destination, mode).during(|| failed(mount, "create mountpoint"))?;
    if matches!(prepared.kind(), "proc" | "sysfs") {
        // A symlink here would put the real /proc elsewhere and leave a fake one to trust.
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        return root
            .open_no_symlinks(destination, flags, Mode::empty())
            .during(|| failed(mount, "must be mounted on ordinary directory"));
    }
    refuse_proc(mount, &target)?;
    Ok(target)
}

fn bind(root: &Root, prepared: &Prepared<'_>, source: &OwnedFd) -> Result<(), Failure> {
    let mount = prepared.mount;
    let destination = mount.destination();
    let mode = Mode::from_raw_mode(0o755);
    let stat = rustix::fs::fstat(source).during(|| failed(mount, "stat source"))?;
    let target = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => root.create_dir_all(destination, mode),
        _ => root.create_file_all(destination, mode),
    };
    let target = target.during(|| failed(mount, "create mountpoint"))?;
    refuse_proc(mount, &target)?;
    set_attributes(source, prepared)?;
    if prepared.options.propagation.is_some() {
        set_propagation(source, prepared)?;
    } else {
        let attr = MountAttr { propagation: MS_SLAVE, ..MountAttr::default() };
        mount::set_attr(source.as_fd(), attr, Tree::Recursive)
            .during(|| failed(mount, "make rslave"))?;
    }
    mount::attach(source, &target).during(|| failed(mount, "attach"))
}

pub(super) fn set_attributes(mounted: &OwnedFd, prepared: &Prepared<'_>) -> Result<(), Failure> {
    let options = &prepared.options;
    for (attr, tree) in [(options.recursive, Tree::Recursive), (options.attr, Tree::Single)] {
        if attr != MountAttr::default() {
            mount::set_attr(mounted.as_fd(), attr, tree)
                .during(|| failed(prepared.mount, "set attributes"))?;
        }
    }
    Ok(())
}

fn set_propagation(mounted: &OwnedFd, prepared: &Prepared<'_>) -> Result<(), Failure> {
    let Some((flag, tree)) = prepared.options.propagation else { return Ok(()) };
    let attr = MountAttr { propagation: flag, ..MountAttr::default() };
    mount::set_attr(mounted.as_fd(), attr, tree)
        .during(|| failed(prepared.mount, "set propagation"))
}

/// Files of /proc that may be covered, such as those of lxcfs.
const COVERABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Refuses a mount inside procfs, wherever the destination's symlinks led.
fn refuse_proc(mount: &Mount, target: &OwnedFd) -> Result<(), Failure> {
    let stat = rustix::fs::fstatfs(target).during(|| failed(mount, "statfs mountpoint"))?;
    let destination = mount.destination();
    if stat.f_type != PROC_SUPER_MAGIC
        || COVERABLE.iter().any(|path| destination == Path::new(path))
    {
        return Ok(());
    }
    Err(Failure::other(failed(mount, "cannot be mounted because it is inside /proc")))
}

/// Copies what `root` has under a new mount into it.
fn copy_up(root: &Root, destination: &Path, under: &OwnedFd) -> io::Result<()> {
    let above =
        root.open_in_root(destination, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let under = rustix::fs::openat(
        under,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    crate::copy::copy_directory(&under, &above)
}

fn failed(mount: &Mount, what: &str) -> String {
    let kind = mount.typ().as_deref().unwrap_or("none");
    format!("mount {:?} ({kind}): {what}", mount.destination().display().to_string())
}
