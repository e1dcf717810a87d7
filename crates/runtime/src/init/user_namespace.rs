//! The user namespace of a container whose ids are not the host's.
//!
//! Files keep on disk the ids that the container sees: layers are mounted with their ids mapped, and
//! an overlay is put on top. The container is set up with the power of the host's root and the ids
//! of the container's, so that whatever is made on the way belongs to the latter; right before the
//! program the namespace is entered, and the mounts become copies that it owns and cannot take
//! apart.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::mount::{self, FsContext, Tree};
use linux::process::flags;
use linux::user_namespace::{IdMap, IdRange};
use linux::{credentials, namespace};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use crate::failure::During;
use crate::shim::protocol::Failure;
use crate::spawn::stopped;

/// Where the mapped layers are mounted, in the bundle, while the overlay is put together.
const LAYERS: &str = "layers";

/// A container's user namespace.
#[derive(Debug)]
pub(crate) struct UserNamespace {
    namespace: OwnedFd,
    map: IdMap,
    /// The host's ids of root inside.
    root: (u32, u32),
}

impl UserNamespace {
    /// Opens the namespace that the config names; `None` where it names none.
    pub(crate) fn of(spec: &Spec) -> Result<Option<Self>, Failure> {
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
        let mut namespaces = namespaces.unwrap_or_default().iter();
        let Some(wanted) = namespaces.find(|it| it.typ() == LinuxNamespaceType::User) else {
            return Ok(None);
        };
        let path = wanted.path().as_deref().unwrap_or(Path::new(""));
        if path.as_os_str().is_empty() {
            // The other namespaces have to be its own from their beginning.
            return Err(Failure::other(
                "a new user namespace is not supported: the config has to name one by its path",
            ));
        }
        let namespace = File::open(path).during(|| format!("open namespace {}", path.display()))?;
        Self::new(spec, namespace.into()).map(Some)
    }

    /// Opens the namespace of a container that runs, which `of` knew when it started.
    pub(crate) fn of_running(spec: &Spec, init: u32) -> Result<Option<Self>, Failure> {
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
        let mut namespaces = namespaces.unwrap_or_default().iter();
        if !namespaces.any(|it| it.typ() == LinuxNamespaceType::User) {
            return Ok(None);
        }
        let namespace = File::open(format!("/proc/{init}/ns/user")).map_err(|_| stopped())?;
        Self::new(spec, namespace.into()).map(Some)
    }

    fn new(spec: &Spec, namespace: OwnedFd) -> Result<Self, Failure> {
        let linux = spec.linux().as_ref();
        let map = IdMap {
            uids: ranges(linux.and_then(|linux| linux.uid_mappings().as_deref())),
            gids: ranges(linux.and_then(|linux| linux.gid_mappings().as_deref())),
        };
        let (Some(uid), Some(gid)) = (map.outside_uid(0), map.outside_gid(0)) else {
            return Err(Failure::invalid("the user namespace's map has no user 0 and group 0"));
        };
        Ok(Self { namespace, map, root: (uid, gid) })
    }

    /// The host's id of a user inside.
    pub(super) fn uid(&self, uid: u32) -> Result<u32, Failure> {
        self.map.outside_uid(uid).ok_or_else(|| {
            Failure::other(format!("user {uid} is not in the container's user namespace"))
        })
    }

    /// The host's id of a group inside.
    pub(super) fn gid(&self, gid: u32) -> Result<u32, Failure> {
        self.map.outside_gid(gid).ok_or_else(|| {
            Failure::other(format!("group {gid} is not in the container's user namespace"))
        })
    }

    /// From here on, what this process makes belongs to root inside.
    pub(super) fn take_ids(&self) -> Result<(), Failure> {
        credentials::set_effective_ids(self.root.0, self.root.1)
            .during(|| format!("take the ids {}:{}", self.root.0, self.root.1))
    }

    /// The host's ids of root inside.
    pub(super) fn root(&self) -> (u32, u32) {
        self.root
    }

    /// Shows the detached `mount` with the container's ids.
    pub(super) fn map_mount(&self, mount: &OwnedFd, tree: Tree) -> std::io::Result<()> {
        mount::set_idmap(mount.as_fd(), self.namespace.as_fd(), tree)
    }

    /// Enters the namespace for good. `copied` (`CLONE_NEW*` bits) is copied to become its own.
    pub(super) fn enter(&self, copied: u64) -> Result<(), Failure> {
        namespace::join(self.namespace.as_fd(), flags::NEWUSER)
            .during(|| "join user namespace".to_owned())?;
        if copied != 0 {
            namespace::unshare(copied).during(|| "take over namespaces".to_owned())?;
        }
        Ok(())
    }

    /// Mounts each of the directories with mapped ids and gives `work` their places, in this
    /// process's own mount namespace. They are taken away after.
    pub(super) fn with_layers<T>(
        &self,
        bundle: &Path,
        layers: &[&Path],
        work: impl FnOnce(Vec<PathBuf>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let place = bundle.join(LAYERS);
        let what = || format!("mount layers on {}", place.display());
        std::fs::create_dir_all(&place).during(what)?;
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&place, directory, Mode::empty()).during(what)?;
        let base = FsContext::open("tmpfs").and_then(|context| context.create(0)).during(what)?;
        mount::attach(&base, opened).during(what)?;
        let mut places = Vec::with_capacity(layers.len());
        for (number, layer) in layers.iter().enumerate() {
            let name = number.to_string();
            rustix::fs::mkdirat(&base, &name, Mode::from_raw_mode(0o755)).during(what)?;
            let target = rustix::fs::openat(&base, &name, directory, Mode::empty()).during(what)?;
            self.clone_mapped(layer)
                .and_then(|clone| mount::attach(clone, target))
                .map_err(|error| unsupported(layer, &error))?;
            places.push(place.join(name));
        }
        let result = work(places);
        mount::detach(&place).during(what)?;
        result
    }

    fn clone_mapped(&self, directory: &Path) -> std::io::Result<OwnedFd> {
        let clone = mount::clone_tree(rustix::fs::CWD, directory, Tree::Single)?;
        self.map_mount(&clone, Tree::Single)?;
        Ok(clone)
    }

    /// Runs `work` as root inside would be seen from outside, and comes back.
    pub(super) fn as_root<T>(
        &self,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.take_ids()?;
        let result = work();
        credentials::set_effective_ids(0, 0).during(|| "return to the ids 0:0".to_owned())?;
        result
    }
}

/// Kernels before 5.12 do not know the call, many file systems not the mapping.
pub(super) fn unsupported(path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!(
        "mount {} with the ids of a user namespace: {error}; the kernel and the file system must \
         support ID-mapped mounts",
        path.display()
    ))
}

fn ranges(mappings: Option<&[LinuxIdMapping]>) -> Vec<IdRange> {
    let range = |mapping: &LinuxIdMapping| IdRange {
        inside: mapping.container_id(),
        outside: mapping.host_id(),
        size: mapping.size(),
    };
    mappings.unwrap_or_default().iter().map(range).collect()
}
