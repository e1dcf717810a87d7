//! A new container, from inside its namespaces: the order of things.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::namespace;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use super::{Launch, devices, hidden, identity, mounts, rootfs, terminal};
use crate::cgroup::Cgroup;
use crate::failure::During;
use crate::hooks::{self, Moment};
use crate::shim::protocol::Failure;

/// What init needs to know of the container.
#[derive(Debug)]
pub(crate) struct ContainerPlan<'a> {
    /// The OCI config.
    pub(crate) spec: &'a Spec,
    /// The bundle directory; the root is mounted over it, in init's mount namespace.
    pub(crate) bundle: &'a Path,
    /// Namespaces to join instead of creating, opened by path.
    pub(crate) joined: Vec<(LinuxNamespaceType, OwnedFd)>,
    /// `CLONE_NEW*` bits that init was cloned with.
    pub(crate) created: u64,
    /// Whether a cgroup namespace is to be created once init is in its cgroup.
    pub(crate) new_cgroup_namespace: bool,
    /// The container's cgroup.
    pub(crate) cgroup: &'a Cgroup,
    /// The overlay, mounted detached.
    pub(crate) rootfs: Option<&'a OwnedFd>,
    /// The container's id.
    pub(crate) id: &'a str,
}

impl ContainerPlan<'_> {
    /// The container as hooks in it see it.
    pub(super) fn subject(&self) -> hooks::Subject<'_> {
        let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        hooks::Subject { spec: self.spec, id: self.id, bundle: self.bundle, pid }
    }
}

/// Does everything from the first namespace to execve.
pub(super) fn enter(
    plan: &ContainerPlan<'_>,
    launch: &mut Launch<'_>,
) -> Result<Infallible, Failure> {
    join_namespaces(plan)?;
    if hooks::any(plan.spec, &[Moment::Created]) {
        super::wait_for_shim(&launch.sync)?;
    }
    let user_namespace = launch.user_namespace.as_ref();
    // Sources are opened while mounts still propagate as on the host and nothing hides them.
    let mut prepared = mounts::prepare(plan, user_namespace)?;
    rootfs::isolate_mounts()?;
    mounts::open_images(plan, &mut prepared, user_namespace)?;
    if let Some(namespace) = user_namespace {
        namespace.take_ids()?;
    }
    let root = rootfs::attach(plan)?;
    let mut state = mounts::State::default();
    for mount in prepared {
        mounts::attach(plan, &root, mount, user_namespace, &mut state)?;
    }
    if !state.dev_is_bound {
        devices::populate(plan, &root, user_namespace)?;
    }
    terminal::set_up_init(launch, &root, state.devpts.take())?;
    create_cwd(launch, &root)?;
    run_hooks(plan, launch)?;
    hidden::mask(plan, &root, &devices::host_null()?)?;
    hidden::make_read_only(plan, &root)?;
    rootfs::pivot(plan, &root)?;
    set_names(plan)?;
    identity::write_sysctls(plan, launch)?;
    rootfs::finish(plan, &root)?;
    let mut copied = linux::process::flags::NEWNS;
    if plan.new_cgroup_namespace {
        copied |= linux::process::flags::NEWCGROUP;
    }
    super::finish(launch, identity::Order::Init(plan), copied)
}

/// Runs the hooks that change the root from inside the container's namespaces, as the host's root.
fn run_hooks(plan: &ContainerPlan<'_>, launch: &Launch<'_>) -> Result<(), Failure> {
    if !hooks::any(plan.spec, &[Moment::CreateContainer]) {
        return Ok(());
    }
    if launch.user_namespace.is_some() {
        // To the files in there the host's root is nobody: what it is to make would be missing.
        return Err(Failure::other(
            "createContainer hooks do not work in a user namespace: take the host's (--userns host)",
        ));
    }
    hooks::run(&plan.subject(), Moment::CreateContainer)
}

fn join_namespaces(plan: &ContainerPlan<'_>) -> Result<(), Failure> {
    for (kind, namespace) in &plan.joined {
        // A pid namespace was joined by the shim before the clone; it is for children only.
        if *kind != LinuxNamespaceType::Pid {
            let bits = *kind as u64;
            namespace::join(namespace.as_fd(), bits).during(|| format!("join {kind} namespace"))?;
        }
    }
    if plan.new_cgroup_namespace {
        namespace::unshare(linux::process::flags::NEWCGROUP)
            .during(|| "unshare cgroup namespace".to_owned())?;
    }
    if plan.created & linux::process::flags::NEWNET != 0 {
        namespace::loopback_up().during(|| "set loopback up".to_owned())?;
    }
    Ok(())
}

fn set_names(plan: &ContainerPlan<'_>) -> Result<(), Failure> {
    let owns_uts = plan.created & linux::process::flags::NEWUTS != 0
        || plan.joined.iter().any(|(kind, _)| *kind == LinuxNamespaceType::Uts);
    if !owns_uts {
        return Ok(());
    }
    if let Some(name) = plan.spec.hostname() {
        rustix::system::sethostname(name.as_bytes()).during(|| format!("sethostname {name:?}"))?;
    }
    if let Some(name) = plan.spec.domainname() {
        rustix::system::setdomainname(name.as_bytes())
            .during(|| format!("setdomainname {name:?}"))?;
    }
    Ok(())
}

/// Makes the working directory if the image lacks it, while this is still root.
fn create_cwd(launch: &Launch<'_>, root: &linux::fs::Root) -> Result<(), Failure> {
    let cwd = launch.process.cwd();
    if cwd.as_os_str().is_empty() || cwd == Path::new("/") {
        return Ok(());
    }
    match root.open_in_root(cwd, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => root
            .create_dir_all(cwd, Mode::from_raw_mode(0o755))
            .map(drop)
            .during(|| format!("mkdir {}", cwd.display())),
        // Whether it can be entered shows when the user enters it.
        _ => Ok(()),
    }
}
