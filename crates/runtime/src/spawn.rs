//! The shim's side of a new process: streams, namespaces and cgroup opened, then clone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::process::{CloneArgs, Pidfd, clone_process, flags};
use linux::{namespace, socket};
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use crate::cgroup::{Cgroup, CgroupError};
use crate::failure::{During, chain};
use crate::init::{self, ContainerPlan, Launch, Stdio, UserNamespace};
use crate::shim::protocol::{ConsoleSize, Failure, FailureKind, ShimConfig};

/// Namespaces that an exec enters by itself; the pid namespace is entered before the clone.
const EXEC_NAMESPACES: u64 =
    flags::NEWNS | flags::NEWIPC | flags::NEWUTS | flags::NEWNET | flags::NEWCGROUP;

/// A process just cloned; it has not called execve yet.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) pidfd: Pidfd,
    /// Tells the outcome, see [`read_sync`].
    pub(crate) sync: OwnedFd,
    pub(crate) streams: Streams,
    /// The container's overlay, of init only.
    pub(crate) rootfs: Option<OwnedFd>,
}

/// The shim's ends of standard streams; all absent for a terminal, whose master comes by sync.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// How a process' standard streams are to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamSetup {
    pub(crate) open_stdin: bool,
    pub(crate) terminal: bool,
    pub(crate) size: Option<ConsoleSize>,
}

impl StreamSetup {
    /// Makes both sides.
    pub(crate) fn open(self) -> Result<(Stdio, Streams), Failure> {
        if self.terminal {
            return Ok((Stdio::Terminal { size: self.size }, Streams::default()));
        }
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(|| "pipe".to_owned());
        let (stdin, own_stdin) = if self.open_stdin {
            let (read, write) = pipe()?;
            (read, Some(nonblocking(write)?))
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            (null.during(|| "open /dev/null".to_owned())?, None)
        };
        let (own_stdout, stdout) = pipe()?;
        let (own_stderr, stderr) = pipe()?;
        let own = Streams {
            stdin: own_stdin,
            stdout: Some(nonblocking(own_stdout)?),
            stderr: Some(nonblocking(own_stderr)?),
        };
        Ok((Stdio::Pipes { stdin, stdout, stderr }, own))
    }
}

/// Makes reads and writes of `fd` return at once.
pub(crate) fn nonblocking(fd: OwnedFd) -> Result<OwnedFd, Failure> {
    let flags = rustix::fs::fcntl_getfl(&fd).during(|| "fcntl".to_owned())?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).during(|| "fcntl".to_owned())?;
    Ok(fd)
}

/// What a new container is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Container<'a> {
    pub(crate) bundle: &'a Path,
    pub(crate) spec: &'a Spec,
    pub(crate) config: &'a ShimConfig,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) filter: Option<&'a [u8]>,
}

/// Clones the container's init. The cgroup has been created and limited.
pub(crate) fn spawn_init(container: &Container<'_>) -> Result<Spawned, Failure> {
    let Container { bundle, spec, config, cgroup, filter } = *container;
    let process = process_of(spec)?;
    let user_namespace = UserNamespace::of(spec)?;
    if user_namespace.is_some() {
        // Layers are mounted in between, where nobody else is to see them.
        namespace::unshare(flags::NEWNS).during(|| "unshare mount namespace".to_owned())?;
        init::isolate_mounts()?;
    }
    let rootfs = config.rootfs.as_ref();
    let rootfs = rootfs.map(|it| init::overlay(it, bundle, user_namespace.as_ref())).transpose()?;
    let mut plan = ContainerPlan {
        rootfs: rootfs.as_ref(),
        spec,
        bundle,
        joined: Vec::new(),
        created: 0,
        new_cgroup_namespace: false,
        cgroup,
        id: &config.container_id,
    };
    let mut pid_namespace = None;
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    for wanted in namespaces.unwrap_or_default() {
        let kind = wanted.typ();
        match wanted.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(_) if kind == LinuxNamespaceType::User => {}
            Some(path) if kind == LinuxNamespaceType::Pid => {
                pid_namespace = Some(open_namespace(path)?);
            }
            Some(path) => plan.joined.push((kind, open_namespace(path)?)),
            None => match kind {
                LinuxNamespaceType::Cgroup => plan.new_cgroup_namespace = true,
                LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                    return Err(Failure::other(format!("a new {kind} namespace is not supported")));
                }
                _ => plan.created |= kind as u64,
            },
        }
    }
    let setup = StreamSetup {
        open_stdin: config.stdin.open,
        terminal: process.terminal() == Some(true),
        size: config.console_size,
    };
    let (stdio, streams) = setup.open()?;
    let (own_sync, sync) = sync_pair()?;
    let mut launch = Launch {
        process,
        stdio,
        filter,
        host_proc: open_proc()?,
        sync,
        tasks: cgroup.open_tasks().map_err(cgroup_failure)?,
        user_namespace,
    };
    let unified = cgroup.open_unified().map_err(cgroup_failure)?;
    let args = CloneArgs { namespaces: plan.created, cgroup: unified.as_ref().map(AsFd::as_fd) };
    let cloned = in_pid_namespace(pid_namespace.as_ref().map(AsFd::as_fd), || {
        clone_process(&args, || init::run_init(&plan, &mut launch))
    });
    let (pid, pidfd) = cloned.during(|| "clone init".to_owned())?;
    drop(plan);
    Ok(Spawned { pid, pidfd, sync: own_sync, streams, rootfs })
}

/// What an exec is made of.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    pub(crate) process: &'a Process,
    pub(crate) init: &'a Pidfd,
    pub(crate) init_pid: u32,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) filter: Option<&'a [u8]>,
    /// The container's devpts, if its config mounted one.
    pub(crate) devpts: Option<OwnedFd>,
    pub(crate) setup: StreamSetup,
    pub(crate) user_namespace: Option<UserNamespace>,
}

/// Clones a further process of the container.
pub(crate) fn spawn_exec(exec: Exec<'_>) -> Result<Spawned, Failure> {
    let (stdio, streams) = exec.setup.open()?;
    let (own_sync, sync) = sync_pair()?;
    let mut launch = Launch {
        process: exec.process,
        stdio,
        filter: exec.filter,
        host_proc: open_proc()?,
        sync,
        tasks: exec.cgroup.open_tasks().map_err(cgroup_failure)?,
        user_namespace: exec.user_namespace,
    };
    let unified = exec.cgroup.open_unified_beside(exec.init_pid).map_err(cgroup_failure)?;
    let (init, devpts) = (exec.init, exec.devpts);
    let args = CloneArgs { namespaces: 0, cgroup: unified.as_ref().map(AsFd::as_fd) };
    let join = || {
        namespace::join(init.as_fd(), EXEC_NAMESPACES)
            .during(|| "join the container's namespaces".to_owned())?;
        Ok(devpts)
    };
    let cloned = in_pid_namespace(Some(init.as_fd()), || {
        clone_process(&args, || init::run_exec(&mut launch, join))
    });
    let (pid, pidfd) = cloned.map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => stopped(),
        _ => Failure::other(format!("clone exec process: {error}")),
    })?;
    Ok(Spawned { pid, pidfd, sync: own_sync, streams, rootfs: None })
}

/// An exec came too late.
pub(crate) fn stopped() -> Failure {
    Failure {
        kind: FailureKind::NotRunning,
        message: "cannot exec in a stopped container".to_owned(),
    }
}

/// What came through a sync socket.
#[derive(Debug)]
pub(crate) enum Sync {
    /// The program runs.
    Started,
    /// The container's devpts, and the terminal's master if there is one.
    Terminal(Vec<OwnedFd>),
    /// Its namespaces are there; it waits for a byte.
    Created,
    /// It will not run.
    Failed(Failure),
}

/// Reads one message; `None` if a non-blocking socket has none yet.
pub(crate) fn read_sync(sync: &OwnedFd) -> Result<Option<Sync>, Failure> {
    let mut message = vec![0_u8; 64 << 10];
    let (length, fds) = match socket::recv_fds(sync, &mut message) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error).during(|| "hear of the new process".to_owned()),
    };
    Ok(Some(match message.get(..length).and_then(|message| message.split_first()) {
        None => Sync::Started,
        Some((b'H', _)) => Sync::Created,
        Some((b'T', _)) => Sync::Terminal(fds),
        Some((_, text)) => Sync::Failed(
            serde_json::from_slice(text)
                .unwrap_or_else(|_| Failure::other("the new process failed without a reason")),
        ),
    }))
}

pub(crate) fn cgroup_failure(error: CgroupError) -> Failure {
    Failure::other(chain(&error))
}

fn process_of(spec: &Spec) -> Result<&Process, Failure> {
    spec.process().as_ref().ok_or_else(|| Failure::invalid("the OCI config has no process"))
}

fn sync_pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during(|| "socketpair".to_owned())
}

fn open_proc() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/proc", flags, Mode::empty()).during(|| "open /proc".to_owned())
}

fn open_namespace(path: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during(|| format!("open namespace {}", path.display()))
}

/// Runs `work`, whose children are born in the pid namespace of `target`, and comes back.
fn in_pid_namespace<T>(
    target: Option<std::os::fd::BorrowedFd<'_>>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(target) = target else { return work() };
    let own =
        rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    namespace::join(target, flags::NEWPID)?;
    let result = work();
    namespace::join(own.as_fd(), flags::NEWPID)?;
    result
}
