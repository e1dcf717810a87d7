//! Containers made by an OCI runtime's binary, such as runc (runtime-spec runtime.md#operations).
//!
//! ```text
//! <bundle>/oci/config.json   the OCI config with root and cgroup filled in
//! <bundle>/oci/rootfs        where the overlay is mounted, in the shim's own mount namespace
//! <bundle>/oci/state         the runtime's --root
//! <bundle>/oci/log*.json     its messages
//! ```
//! The runtime creates and execs; its processes become the shim's children by subreaping. Signals,
//! freezing, limits and statistics go to the cgroup and the processes directly, as for our own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio as Redirect};

use linux::mount;
use linux::namespace;
use linux::process::{Pidfd, flags};
use oci_spec::runtime::{Process, RootBuilder, Spec};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};

use super::job::Job;
use super::protocol::{ConsoleSize, Failure, FailureKind, ShimConfig};
use crate::cgroup::Cgroup;
use crate::failure::During;
use crate::init::{self, Stdio};
use crate::spawn::{StreamSetup, Streams, cgroup_failure};

/// An OCI runtime and the container it has.
#[derive(Debug)]
pub(super) struct External {
    path: PathBuf,
    args: Vec<String>,
    /// `<bundle>/oci`.
    directory: PathBuf,
    container_id: String,
    /// How many processes it has been asked for; names their files.
    count: u64,
}

/// A process wanted of the runtime.
struct Wanted<'a> {
    arguments: Vec<&'a str>,
    setup: StreamSetup,
}

impl External {
    pub(super) fn new(path: PathBuf, args: Vec<String>, bundle: &Path, container_id: &str) -> Self {
        let directory = bundle.join("oci");
        Self { path, args, directory, container_id: container_id.to_owned(), count: 0 }
    }

    /// Mounts the root and creates the container; its program does not run yet.
    pub(super) fn create(
        &mut self,
        spec: &Spec,
        config: &ShimConfig,
        cgroup: &Cgroup,
    ) -> Result<Job, Failure> {
        let rootfs = self.mount_root(spec, config)?;
        let mut spec = spec.clone();
        let readonly = spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly);
        let root = RootBuilder::default().path(rootfs).readonly(readonly.unwrap_or(false)).build();
        spec.set_root(Some(root.map_err(|error| Failure::other(error.to_string()))?));
        if let Some(mut linux) = spec.linux().clone() {
            linux.set_cgroups_path(Some(config.cgroup.clone()));
            spec.set_linux(Some(linux));
        }
        write_json(&self.directory.join("config.json"), &spec)?;
        let process = spec.process().as_ref();
        let setup = StreamSetup {
            open_stdin: config.stdin.open,
            terminal: process.and_then(Process::terminal) == Some(true),
            size: config.console_size,
        };
        let bundle = self.directory.display().to_string();
        let job =
            self.ask(Wanted { arguments: vec!["create", "--bundle", &bundle], setup })?.wait()?;
        // The runtime knows v1 only in a hybrid set-up; the v2 directory kills and freezes.
        if let Some(directory) = cgroup.unified_directory() {
            std::fs::write(directory.join("cgroup.procs"), job.pid.to_string())
                .during(|| "enter the v2 cgroup".to_owned())?;
        }
        Ok(job)
    }

    /// Runs the created container's program.
    pub(super) fn start(&self) -> Result<(), Failure> {
        self.call(&["start"])
    }

    /// Asks for a further process; it is there once the runtime has ended, which may take its time.
    pub(super) fn exec(
        &mut self,
        process: &Process,
        setup: StreamSetup,
    ) -> Result<Pending, Failure> {
        let path = self.directory.join(format!("process-{}.json", self.count));
        write_json(&path, process)?;
        let file = path.display().to_string();
        let mut pending =
            self.ask(Wanted { arguments: vec!["exec", "--detach", "--process", &file], setup })?;
        pending.files.push(path);
        Ok(pending)
    }

    /// Lets the runtime forget the container.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        if !self.directory.join("state").exists() {
            return Ok(());
        }
        let deleted = self.call(&["delete", "--force"]);
        // The mount is in this namespace only and ends with the shim; it must not keep the
        // directory, though.
        let _ = mount::detach(self.directory.join("rootfs"));
        let _ = std::fs::remove_dir_all(&self.directory);
        deleted
    }

    fn mount_root(&self, spec: &Spec, config: &ShimConfig) -> Result<PathBuf, Failure> {
        let bundle = self.directory.parent().unwrap_or(Path::new("/"));
        namespace::unshare(flags::NEWNS).during(|| "unshare mount namespace".to_owned())?;
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        init::isolate_mounts()?;
        let target = self.directory.join("rootfs");
        std::fs::create_dir_all(&target).during(|| format!("create {}", target.display()))?;
        let Some(rootfs) = &config.rootfs else {
            let path = spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path());
            return Ok(bundle.join(path));
        };
        let tree = init::overlay(rootfs, bundle, None)?;
        let place = rustix::fs::open(&target, directory, Mode::empty())
            .during(|| format!("open {}", target.display()))?;
        mount::attach(tree, place).during(|| "attach rootfs".to_owned())?;
        Ok(target)
    }

    /// Has the runtime make a process, and does not wait for it.
    fn ask(&mut self, wanted: Wanted<'_>) -> Result<Pending, Failure> {
        self.count += 1;
        let terminal = wanted.setup.terminal;
        let size = wanted.setup.size;
        let pid_file = self.directory.join(format!("pid-{}", self.count));
        let log = self.directory.join(format!("log-{}.json", self.count));
        let mut command = self.command(wanted.arguments[0], &log);
        command.args(&wanted.arguments[1..]).arg("--pid-file").arg(&pid_file);
        let console = if terminal { Some(Console::listen(&self.directory)?) } else { None };
        if let Some(console) = &console {
            command.arg("--console-socket").arg(&console.path);
        }
        let (stdio, streams) = wanted.setup.open()?;
        match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr)
            }
            Stdio::Terminal { .. } => {
                command.stdin(Redirect::null()).stdout(Redirect::null()).stderr(Redirect::null())
            }
        };
        let child = command.arg(&self.container_id).spawn();
        // The command holds the other ends of the pipes.
        drop(command);
        let child = child.during(|| format!("run {}", self.path.display()))?;
        let files = vec![pid_file.clone(), log.clone()];
        let runtime = self.path.clone();
        Ok(Pending { child, runtime, console, master: None, streams, size, pid_file, log, files })
    }

    fn call(&self, arguments: &[&str]) -> Result<(), Failure> {
        let log = self.directory.join("log.json");
        // A log of an earlier command would be taken for this one's.
        let _ = std::fs::remove_file(&log);
        let mut command = self.command(arguments[0], &log);
        command.args(&arguments[1..]).arg(&self.container_id);
        command.stdin(Redirect::null()).stdout(Redirect::null()).stderr(Redirect::null());
        let mut child = command.spawn().during(|| format!("run {}", self.path.display()))?;
        let status = child.wait().during(|| format!("wait for {}", self.path.display()))?;
        outcome(&self.path, &log, status)
    }

    fn command(&self, verb: &str, log: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .arg("--root")
            .arg(self.directory.join("state"))
            .arg("--log")
            .arg(log)
            .args(["--log-format", "json"])
            .arg(verb);
        command
    }
}

/// A process that the runtime was asked for: the runtime still works on it.
#[derive(Debug)]
pub(super) struct Pending {
    child: Child,
    /// The runtime's binary.
    runtime: PathBuf,
    /// Where the terminal will come from.
    console: Option<Console>,
    master: Option<OwnedFd>,
    streams: Streams,
    size: Option<ConsoleSize>,
    pid_file: PathBuf,
    log: PathBuf,
    /// Of no use once it is over.
    files: Vec<PathBuf>,
}

impl Pending {
    /// The socket on which a terminal is awaited.
    pub(super) fn console(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().filter(|_| self.master.is_none()).map(|c| c.listener.as_fd())
    }

    /// Takes the terminal that has come.
    pub(super) fn take_console(&mut self) -> Result<(), Failure> {
        if let Some(console) = self.console.as_ref().filter(|_| self.master.is_none()) {
            self.master = console.try_receive()?;
        }
        Ok(())
    }

    /// Gives up: whatever the runtime is at, it is for nothing.
    pub(super) fn abandon(mut self) {
        // It may have ended by itself, and is reaped either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Tells how the runtime ended, if it has; it is reaped then.
    pub(super) fn try_wait(&mut self) -> Option<io::Result<ExitStatus>> {
        self.child.try_wait().transpose()
    }

    fn wait(mut self) -> Result<Job, Failure> {
        if let Some(console) = &self.console {
            self.master = console.receive(&self.child)?;
        }
        let status = self.child.wait();
        self.complete(status)
    }

    /// Finds the process that the runtime, which has ended, made. That must not be reaped yet.
    pub(super) fn complete(mut self, status: io::Result<ExitStatus>) -> Result<Job, Failure> {
        self.take_console()?;
        let status = status.during(|| format!("wait for {}", self.runtime.display()))?;
        outcome(&self.runtime, &self.log, status)?;
        let pid = std::fs::read_to_string(&self.pid_file);
        let pid = pid.during(|| "read the pid file".to_owned())?;
        let pid: u32 =
            pid.trim().parse().map_err(|_| Failure::other("the pid file holds no pid"))?;
        let pidfd = Pidfd::open(pid).during(|| format!("open process {pid}"))?;
        let streams = std::mem::take(&mut self.streams);
        let mut job = Job::running(pid, pidfd, streams, self.console.is_some());
        if let Some(master) = self.master.take() {
            job.set_terminal(master)?;
            if let Some(size) = self.size {
                job.resize(size.rows, size.cols)?;
            }
        }
        Ok(job)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        for file in &self.files {
            // They go with the bundle at the latest.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Reads the runtime's complaint, if it has one.
fn outcome(runtime: &Path, log: &Path, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let complaint = log.lines().rev().find_map(error_message);
    let name = runtime.file_name().unwrap_or(runtime.as_os_str()).to_string_lossy();
    let message = complaint.unwrap_or_else(|| format!("{name} ended with {status}"));
    Err(Failure { kind: kind_of(&message), message })
}

fn error_message(line: &str) -> Option<String> {
    let entry: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_error = matches!(entry.get("level")?.as_str()?, "error" | "fatal");
    if is_error { Some(entry.get("msg")?.as_str()?.to_owned()) } else { None }
}

fn kind_of(message: &str) -> FailureKind {
    if message.contains("is a directory") {
        FailureKind::IsDirectory
    } else if message.contains("permission denied") {
        FailureKind::Permission
    } else if message.contains("executable file not found")
        || message.contains("exec: ") && message.contains("no such file or directory")
    {
        FailureKind::NotFound
    } else {
        FailureKind::Other
    }
}

/// The socket over which the runtime sends a terminal's master.
#[derive(Debug)]
struct Console {
    listener: UnixListener,
    path: PathBuf,
    _directory: OwnedFd,
}

impl Console {
    fn listen(directory: &Path) -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty())
            .during(|| format!("open {}", directory.display()))?;
        // Through this process' descriptor, because a socket's address is short.
        let number = opened.as_raw_fd();
        // Several execs may wait for one at the same time.
        let path = format!("/proc/{}/fd/{number}/console-{number}", std::process::id());
        let path = PathBuf::from(path);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).during(|| "listen for a console".to_owned())?;
        Ok(Self { listener, path, _directory: opened })
    }

    /// Waits for the master; `None` if the runtime ends without sending one.
    fn receive(&self, runtime: &Child) -> Result<Option<OwnedFd>, Failure> {
        let what = || "receive the console".to_owned();
        let ended = Pidfd::open(runtime.id()).during(what)?;
        let mut fds =
            [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        while let Err(errno) = rustix::event::poll(&mut fds, None) {
            if errno != rustix::io::Errno::INTR {
                return Err(io::Error::from(errno)).during(what);
            }
        }
        if fds[0].revents().is_empty() {
            return Ok(None);
        }
        self.accept()
    }

    /// Takes the master if it has come.
    fn try_receive(&self) -> Result<Option<OwnedFd>, Failure> {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(1..) => self.accept(),
            // None yet, or interrupted: asked again when it comes.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// The runtime sends at once after it connects.
    fn accept(&self) -> Result<Option<OwnedFd>, Failure> {
        let what = || "receive the console".to_owned();
        let (socket, _) = self.listener.accept().during(what)?;
        let mut name = [0_u8; 4096];
        let (_, fds) = linux::socket::recv_fds(&socket, &mut name).during(what)?;
        Ok(fds.into_iter().next())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The bundle goes as a whole; a socket more in it does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Failure> {
    let written = serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|bytes| std::fs::write(path, bytes));
    written.during(|| format!("write {}", path.display()))
}

/// Creates the cgroup that the runtime will fill; it sets the limits itself.
pub(super) fn create_cgroup(cgroup: &Cgroup) -> Result<(), Failure> {
    cgroup.create().map_err(cgroup_failure)
}
