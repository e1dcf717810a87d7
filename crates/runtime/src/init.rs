//! What a new process does between clone and execve, as pid 1 of a container or as an exec.
//!
//! The shim is single-threaded, so its child is a complete copy that may allocate; still nothing
//! here takes locks, waits for anybody but the kernel, or trusts a path of the container: mounts
//! and files are reached by descriptors ([`linux::fs::Root`], detached mounts).
//!
//! Order for init: cgroup, namespaces joined, bind sources opened, root mounted, mounts, devices,
//! terminal, pivot, masked paths, sysctls, then [`identity`] and execve. The shim learns the
//! outcome from the sync socket: end of file is success, a message is a [`Failure`].

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux::process;
use oci_spec::runtime::Process;

use crate::failure::During;
use crate::hooks::{self, Moment};
use crate::shim::protocol::{ConsoleSize, Failure};

pub(crate) mod container;
mod devices;
mod hidden;
mod identity;
mod mounts;
mod program;
mod rootfs;
mod terminal;
mod user_namespace;

pub(crate) use container::ContainerPlan;
pub(crate) use rootfs::{isolate_mounts, overlay};
pub(crate) use user_namespace::UserNamespace;

/// What every new process is given by the shim.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The OCI process.
    pub(crate) process: &'a Process,
    /// Its standard streams.
    pub(crate) stdio: Stdio,
    /// The seccomp filter's bytes.
    pub(crate) filter: Option<&'a [u8]>,
    /// The host's /proc, opened before any namespace was entered.
    pub(crate) host_proc: OwnedFd,
    /// Where the outcome goes.
    pub(crate) sync: OwnedFd,
    /// cgroup v1 `tasks` files to write oneself into.
    pub(crate) tasks: Vec<OwnedFd>,
    /// The user namespace to be in, if it is not the host's.
    pub(crate) user_namespace: Option<UserNamespace>,
}

/// Standard streams of a new process.
#[derive(Debug)]
pub(crate) enum Stdio {
    /// One descriptor each.
    Pipes {
        /// Read end.
        stdin: OwnedFd,
        /// Write end.
        stdout: OwnedFd,
        /// Write end.
        stderr: OwnedFd,
    },
    /// A terminal of the container's devpts, opened there.
    Terminal {
        /// Its size at start.
        size: Option<ConsoleSize>,
    },
}

/// Runs as init of the container; never returns but for the exit code after a failure.
pub(crate) fn run_init(plan: &ContainerPlan<'_>, launch: &mut Launch<'_>) -> i32 {
    let Err(failure) = prologue(launch).and_then(|()| container::enter(plan, launch));
    report(&launch.sync, &failure)
}

/// Runs as a further process of the container that `join` enters.
pub(crate) fn run_exec(
    launch: &mut Launch<'_>,
    join: impl FnOnce() -> Result<Option<OwnedFd>, Failure>,
) -> i32 {
    let result: Result<Infallible, Failure> = prologue(launch).and_then(|()| {
        let devpts = join()?;
        if let Some(namespace) = &launch.user_namespace {
            namespace.take_ids()?;
        }
        terminal::set_up_exec(launch, devpts)?;
        finish(launch, identity::Order::Exec, 0)
    });
    let Err(failure) = result;
    report(&launch.sync, &failure)
}

fn prologue(launch: &Launch<'_>) -> Result<(), Failure> {
    process::reset_signals();
    process::set_undumpable().during(|| "set undumpable".to_owned())?;
    rustix::process::setsid().during(|| "setsid".to_owned())?;
    for tasks in &launch.tasks {
        // Zero means the writer: the only form that needs no global lock in the kernel.
        rustix::io::write(tasks, b"0").during(|| "join cgroup".to_owned())?;
    }
    Ok(())
}

/// Becomes the user and then the program. A user namespace gets its own copies of the namespaces
/// `copied`.
fn finish(
    launch: &mut Launch<'_>,
    order: identity::Order<'_>,
    copied: u64,
) -> Result<Infallible, Failure> {
    let words = program::Words::new(launch.process)?;
    identity::apply_limits(launch)?;
    identity::confine(launch)?;
    terminal::install(launch)?;
    if let Some(namespace) = &launch.user_namespace {
        namespace.enter(copied)?;
    }
    identity::become_user(launch, order)?;
    let path = program::look_up(launch.process)?;
    identity::seal(launch)?;
    if let identity::Order::Init(plan) = order {
        // As the program would: it is the container's.
        hooks::run(&plan.subject(), Moment::StartContainer)?;
    }
    let error = process::execute(&path, &words.arguments, &words.environment);
    Err(program::execution_failure(launch.process, &path, &error))
}

/// Tells the shim that the namespaces are there, and waits until it has run what is to run now.
fn wait_for_shim(sync: &OwnedFd) -> Result<(), Failure> {
    let what = || "wait for hooks".to_owned();
    linux::socket::send_fds(sync, b"H", &[]).during(what)?;
    let mut answer = [0; 1];
    match rustix::io::read(sync, &mut answer).during(what)? {
        0 => Err(Failure::other("the shim gave up the container")),
        _ => Ok(()),
    }
}

fn report(sync: &OwnedFd, failure: &Failure) -> i32 {
    let mut message = vec![b'E'];
    // Serialising a struct of two strings cannot fail; without text the shim still learns of it.
    let _ = serde_json::to_writer(&mut message, failure);
    // The shim sees the exit code if it cannot be told.
    let _ = linux::socket::send_fds(sync, &message, &[]);
    1
}

/// Sends the terminal's master side (and the devpts root with init's) to the shim.
fn send_terminal(sync: &OwnedFd, fds: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    linux::socket::send_fds(sync, b"T", &fds).map(drop)
}
