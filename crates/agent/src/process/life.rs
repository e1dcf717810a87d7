//! The life of one process, as the agent sees it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::agent::{ContainerEvent, Exit, Launch};
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{
    CommandInfo, ContainerInfo, LinuxInfo, Resource, ResourceStatistics, TaskInfo, Volume,
};
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResources, LinuxResourcesBuilder,
};
use runtime::cgroup::{Cgroup, Hierarchies};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::launcher::{self, EXIT, Identity, PID, SPEC, Spec, start_time};
use super::mark;
use crate::containers::{Command, Live, Reporter, SIGKILL, SIGTERM};
use crate::docker::{How, Job, sandbox_path, scalar, variables};
use crate::fetch::Fetcher;
use crate::nested::InProcess;
use crate::{health, sandbox};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MEGABYTE: f64 = 1_048_576.0;
/// Below it is a cgroup for each container.
const CGROUPS: &str = "/teu-agent";
/// How long the launcher may take to say whom it has started.
const LAUNCHING: Duration = Duration::from_secs(30);

/// The containerizer.
#[derive(Debug)]
pub(crate) struct Processes {
    /// `<work_dir>/processes`.
    pub(crate) directory: PathBuf,
    /// Whose the cgroups are: the work directory.
    pub(crate) owner: String,
    pub(crate) hierarchies: Hierarchies,
    /// Requests limit the CPU as well.
    pub(crate) cfs: bool,
    /// Memory is limited together with swap.
    pub(crate) limit_swap: bool,
    /// Whether commands may have users of their own.
    pub(crate) switch_user: bool,
    /// Variables of every process, unless its command has them.
    pub(crate) defaults: BTreeMap<String, String>,
    pub(crate) fetcher: Arc<Fetcher>,
}

struct Refused(String);

impl Processes {
    /// Looks after a process until nobody needs it any more.
    pub(crate) async fn manage(
        self: Arc<Self>,
        job: Job,
        how: How,
        mut commands: mpsc::Receiver<Command>,
        reporter: Reporter,
    ) {
        let begun = match how {
            How::Start => self.start(&job, &mut commands, &reporter).await,
            How::Reattach => self.reattach(&job).map(|found| (found, None)),
        };
        match begun {
            Err(Refused(message)) => {
                // The launcher may have been on its way when an earlier agent was killed.
                self.remove_cgroup(&job.launch.container_id.to_string()).await;
                let reason = match how {
                    How::Start => Reason::ContainerLaunchFailed,
                    How::Reattach => Reason::AgentRestarted,
                };
                reporter.send(ContainerEvent::Refused { reason, message }).await;
            }
            Ok((identity, child)) => {
                let launched = ContainerEvent::Launched {
                    data: Bytes::new(),
                    network_infos: None,
                    pid: Some(identity.child),
                };
                reporter.send(launched).await;
                let exit = self.watch(&job, identity, &mut commands, &reporter).await;
                reap(child).await;
                self.remove_cgroup(&job.launch.container_id.to_string()).await;
                reporter.send(ContainerEvent::Ended(exit)).await;
            }
        }
        loop {
            match commands.recv().await {
                Some(Command::Remove) => break,
                Some(_) => {}
                None => return,
            }
        }
        let _ = fs::remove_dir_all(self.home(&job)); // a stale record is all that is left otherwise
    }

    /// Where commands run that are told to run inside of a process.
    pub(crate) fn inside(&self, job: &Job) -> Option<InProcess> {
        // What is wrong with it keeps the process itself from starting.
        let environment = self.environment(job, command(&job.launch)?).ok()?;
        Some(InProcess {
            home: self.home(job),
            cgroup: self.cgroup(job.launch.container_id.as_str()).ok()?,
            sandbox: job.sandbox.clone(),
            environment: environment.into_iter().collect(),
            user: job.user,
            switch_user: self.switch_user,
        })
    }

    fn home(&self, job: &Job) -> PathBuf {
        self.directory.join(job.launch.container_id.as_str())
    }

    fn cgroup(&self, container: &str) -> Result<Cgroup, runtime::cgroup::CgroupError> {
        let below = container.replace('.', "/");
        Cgroup::new(self.hierarchies.clone(), &Path::new(CGROUPS).join(below))
    }

    /// Sets the limits of a container's cgroup: its own, or those of all it is in with.
    fn limit(&self, launch: &Launch, all: &[Resource]) -> Result<(), runtime::cgroup::CgroupError> {
        let cgroup = self.cgroup(launch.container_id.as_str())?;
        let Some((outer, _)) = launch.container_id.split() else {
            return cgroup
                .apply(&self.limits(&Launch { resources: all.to_vec(), ..launch.clone() }));
        };
        if launch.task.as_ref().is_some_and(has_own_limits) {
            return cgroup.apply(&self.limits(launch));
        }
        let whole = Launch { resources: all.to_vec(), task: None, ..launch.clone() };
        self.cgroup(outer.as_str())?.apply(&self.limits(&whole))
    }

    /// Kills what is left in a container's cgroup, and removes it.
    pub(crate) async fn remove_cgroup(&self, container: &str) {
        let cgroup = self.cgroup(container);
        let removed = tokio::task::spawn_blocking(move || cgroup.and_then(|c| c.remove())).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(container_id = container, %error, "cannot remove the cgroup");
        }
    }

    async fn start(
        &self,
        job: &Job,
        commands: &mut mpsc::Receiver<Command>,
        reporter: &Reporter,
    ) -> Result<(Identity, Option<std::process::Child>), Refused> {
        let command =
            command(&job.launch).ok_or_else(|| Refused("there is no command".to_owned()))?;
        let refused = |why: String| Refused(format!("Failed to launch container: {why}"));
        if let Some(why) = job.launch.task.as_ref().and_then(health::unsupported) {
            return Err(refused(why));
        }
        let container = match &job.launch.task {
            Some(task) => task.container.as_deref(),
            None => job.launch.executor.container.as_deref(),
        };
        if let Some(why) = unsupported(&job.launch, container) {
            return Err(refused(why));
        }
        tokio::select! {
            fetched = self.fetcher.all(&command.uris, &job.sandbox, job.user) => {
                fetched.map_err(|e| refused(e.to_string()))?;
            }
            () = crate::containers::killed(commands) => {
                return Err(Refused("Container destroyed while it was being prepared".to_owned()));
            }
        }
        reporter.send(ContainerEvent::Starting).await;
        self.launch(job, command).await.map_err(|e| refused(format!("{e:#}")))
    }

    async fn launch(
        &self,
        job: &Job,
        command: &CommandInfo,
    ) -> anyhow::Result<(Identity, Option<std::process::Child>)> {
        let home = self.home(job);
        fs::create_dir_all(&home)?;
        link_volumes(job)?;
        let cgroup = self.cgroup(job.launch.container_id.as_str())?;
        cgroup.create()?;
        let whole = self.cgroup(job.launch.container_id.root().as_str())?;
        if let Err(error) = mark::set(&whole, &self.owner) {
            tracing::warn!(%error, "cannot mark the cgroup: it would outlive the work directory");
        }
        self.limit(&job.launch, job.launch.group.as_ref().unwrap_or(&job.launch.resources))?;
        let spec = self.spec(job, command, &cgroup).map_err(anyhow::Error::msg)?;
        launcher::replace(&home.join(SPEC), &serde_json::to_vec(&spec)?)?;
        let mut child = StdCommand::new("/proc/self/exe")
            .arg("agent")
            .arg(launcher::WORD)
            .arg(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let begun = self.begun(&home, &mut child).await;
        if begun.is_err() {
            let _ = cgroup.remove(); // nothing has entered it
        }
        Ok((begun?, Some(child)))
    }

    /// Waits until the launcher has said whom it started, or why it could not.
    async fn begun(
        &self,
        home: &Path,
        child: &mut std::process::Child,
    ) -> anyhow::Result<Identity> {
        let wait = async {
            loop {
                if let Some(identity) = read::<Identity>(&home.join(PID)) {
                    return Ok(identity);
                }
                if child.try_wait()?.is_some() && !home.join(PID).exists() {
                    return match read::<launcher::Exit>(&home.join(EXIT)) {
                        Some(launcher::Exit::Failed(why)) => Err(anyhow::anyhow!(why)),
                        _ => Err(anyhow::anyhow!("the launcher ended")),
                    };
                }
                // The kernel could tell through inotify; this is over within milliseconds.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match tokio::time::timeout(LAUNCHING, wait).await {
            Ok(begun) => begun,
            Err(_) => Err(anyhow::anyhow!("the launcher says nothing")),
        }
    }

    fn spec(&self, job: &Job, command: &CommandInfo, cgroup: &Cgroup) -> Result<Spec, String> {
        let (program, arguments) = program(command)?;
        Ok(Spec {
            version: 1,
            program,
            arguments,
            environment: self.environment(job, command)?.into_iter().collect(),
            directory: job.sandbox.clone(),
            stdout: job.sandbox.join(sandbox::STDOUT),
            stderr: job.sandbox.join(sandbox::STDERR),
            user: job.user.map(|user| (user.uid, user.gid)),
            cgroup: entrances(cgroup),
        })
    }

    /// What the process, and the commands that check it, find in their environment.
    fn environment(
        &self,
        job: &Job,
        command: &CommandInfo,
    ) -> Result<BTreeMap<String, String>, String> {
        let mut all = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        all.extend(self.defaults.clone());
        all.extend(variables(Some(command))?);
        all.extend(job.environment.clone());
        Ok(all)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked ranges of one host"
    )]
    fn limits(&self, launch: &Launch) -> LinuxResources {
        let limit = |name: &str| launch.task.as_ref()?.limits.get(name).map(|l| l.value);
        let mut all = LinuxResourcesBuilder::default();
        if let Some(cpus) = scalar(&launch.resources, "cpus") {
            let mut cpu = LinuxCpuBuilder::default().shares((cpus * 1024.0).max(2.0) as u64);
            let quota = limit("cpus").filter(|l| l.is_finite()).or(self.cfs.then_some(cpus));
            if let Some(quota) = quota {
                cpu = cpu.period(100_000_u64).quota((quota * 100_000.0).max(1000.0) as i64);
            }
            if let Ok(cpu) = cpu.build() {
                all = all.cpu(cpu);
            }
        }
        if let Some(memory) = limit("mem").or_else(|| scalar(&launch.resources, "mem"))
            && memory.is_finite()
        {
            let bytes = (memory.max(32.0) * MEGABYTE) as i64;
            let mut memory = LinuxMemoryBuilder::default().limit(bytes);
            if self.limit_swap {
                memory = memory.swap(bytes); // of both together
            }
            if let Ok(memory) = memory.build() {
                all = all.memory(memory);
            }
        }
        all.build().unwrap_or_default()
    }

    fn reattach(&self, job: &Job) -> Result<Identity, Refused> {
        let home = self.home(job);
        read::<Identity>(&home.join(PID))
            .ok_or_else(|| Refused("The agent restarted before the process was started".to_owned()))
    }

    /// From the start to the exit.
    async fn watch(
        &self,
        job: &Job,
        identity: Identity,
        commands: &mut mpsc::Receiver<Command>,
        reporter: &Reporter,
    ) -> Exit {
        // It has been started with the same one, so there is nothing wrong with it.
        let environment = command(&job.launch).map(|command| self.environment(job, command));
        let environment = environment.and_then(Result::ok).unwrap_or_default();
        let target = health::Target::Process {
            pid: identity.child,
            sandbox: job.sandbox.clone(),
            environment: environment.into_iter().collect(),
            user: job.user,
        };
        let probes = health::run(job.launch.task.as_ref(), target, reporter);
        let ended = ended(identity);
        let resizes = self.resizes(job);
        tokio::pin!(ended, probes, resizes);
        let mut kill_at: Option<tokio::time::Instant> = None;
        let container = job.launch.container_id.as_str();
        loop {
            let kill = async {
                match kill_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut ended => break,
                () = &mut probes => {}
                () = &mut resizes => {}
                () = kill => {
                    self.signal(container, SIGKILL);
                    kill_at = None;
                }
                command = commands.recv() => match command {
                    Some(Command::Stop(grace)) => {
                        self.signal(container, SIGTERM);
                        let at = tokio::time::Instant::now() + grace;
                        kill_at = Some(kill_at.map_or(at, |before| before.min(at)));
                    }
                    Some(Command::Destroy | Command::Signal(SIGKILL)) => {
                        self.signal(container, SIGKILL);
                    }
                    Some(Command::Signal(signal)) => signal_one(identity.child, signal),
                    Some(Command::Remove) => {}
                    None => {
                        ended.await;
                        break;
                    }
                },
            }
        }
        self.exit(job)
    }

    /// Gives the processes what their tasks need, as those come and go.
    async fn resizes(&self, job: &Job) {
        let mut resources = job.resources.clone();
        let mut current = job.launch.group.clone().unwrap_or(job.launch.resources.clone());
        loop {
            let wanted = resources.borrow_and_update().clone();
            if wanted != current {
                if let Err(error) = self.limit(&job.launch, &wanted) {
                    tracing::warn!(container_id = %job.launch.container_id, %error, "cannot resize the cgroup");
                }
                current = wanted;
            }
            if resources.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn signal(&self, container: &str, signal: i32) {
        let sent = self.cgroup(container).and_then(|cgroup| cgroup.signal_all(signal));
        if let Err(error) = sent {
            tracing::warn!(container_id = container, %error, "cannot signal the processes");
        }
    }

    fn exit(&self, job: &Job) -> Exit {
        let killed = self.cgroup(job.launch.container_id.as_str()).map_or(0, |c| c.oom_kills());
        let out_of_memory = killed > 0;
        match read::<launcher::Exit>(&self.home(job).join(EXIT)) {
            Some(launcher::Exit::Code(code)) => {
                let message = format!("Command exited with status {code}");
                Exit { code: Some(code), out_of_memory, message }
            }
            Some(launcher::Exit::Signal(signal)) => {
                let why = if out_of_memory { ": it used more memory than it may" } else { "" };
                let message = format!("Command terminated with signal {}{why}", name(signal));
                Exit { code: None, out_of_memory, message }
            }
            Some(launcher::Exit::Failed(message)) => Exit { code: None, out_of_memory, message },
            None => {
                let message =
                    "The launcher was killed, so nobody knows how the process ended".to_owned();
                Exit { code: None, out_of_memory, message }
            }
        }
    }

    /// How a process has ended, as wait(2) tells it; gone with its removal.
    pub(crate) fn status(&self, container: &str) -> Option<i32> {
        match read::<launcher::Exit>(&self.directory.join(container).join(EXIT))? {
            launcher::Exit::Code(code) => Some((code & 0xff) << 8),
            launcher::Exit::Signal(signal) => Some(signal),
            launcher::Exit::Failed(_) => None,
        }
    }

    /// Ends processes that no run knows of.
    pub(crate) async fn remove_orphans(self: Arc<Self>, live: Live) {
        let listing = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let recorded: Vec<String> =
            listing.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        for name in &recorded {
            if !live.has(name) {
                self.remove_orphan(name).await;
            }
        }
        // Those whose records went with an earlier work directory of this name.
        for whole in mark::owned(&self.hierarchies, Path::new(CGROUPS), &self.owner) {
            if !whole.iter().any(|name| live.has(name) || recorded.contains(name)) {
                for name in &whole {
                    self.remove_orphan(name).await;
                }
            }
        }
    }

    async fn remove_orphan(&self, name: &str) {
        tracing::info!(container_id = name, "removing an orphan");
        self.remove_cgroup(name).await;
        let home = self.directory.join(name);
        // Its launcher still writes down how it ended.
        if let Some(identity) = read::<Identity>(&home.join(PID)) {
            let _ = tokio::time::timeout(LAUNCHING, ended(identity)).await; // then it is stuck
        }
        let _ = fs::remove_dir_all(home); // tried again at the next start
        if let Some((outer, _)) = name.rsplit_once('.')
            && let Ok(cgroup) = self.cgroup(outer)
        {
            let v1 = cgroup.v1_directories().map(|(_, directory)| directory);
            for directory in v1.chain(cgroup.unified_directory()) {
                let _ = fs::remove_dir(directory); // there is another one in it
            }
        }
    }

    /// What a process and its children use.
    pub(crate) fn statistics(
        &self,
        container: &str,
        resources: &[Resource],
    ) -> Option<ResourceStatistics> {
        let cgroup = self.cgroup(container).ok().filter(Cgroup::exists)?;
        let stats = cgroup.stats();
        let seconds = |nanos: u64| Some(Duration::from_nanos(nanos).as_secs_f64());
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let memory =
            |names: [&str; 2]| names.iter().find_map(|name| stats.memory_stat.get(*name).copied());
        Some(ResourceStatistics {
            timestamp: now.as_secs_f64(),
            processes: u32::try_from(stats.pids_current).ok(),
            cpus_user_time_secs: seconds(stats.cpu_user_ns),
            cpus_system_time_secs: seconds(stats.cpu_system_ns),
            cpus_limit: scalar(resources, "cpus"),
            mem_total_bytes: Some(stats.memory_usage_bytes),
            mem_limit_bytes: stats.memory_limit_bytes,
            mem_rss_bytes: memory(["rss", "anon"]),
            mem_anon_bytes: memory(["rss", "anon"]),
            mem_file_bytes: memory(["cache", "file"]),
            mem_cache_bytes: memory(["cache", "file"]),
            ..ResourceStatistics::default()
        })
    }
}

/// Signals one process and no other of its cgroup.
fn signal_one(process: u32, signal: i32) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(signal)) {
        let _ = kill_process(process, signal); // it may have ended
    }
}

/// The program that a command runs, and its arguments from its own name on.
pub(crate) fn program(command: &CommandInfo) -> Result<(String, Vec<String>), String> {
    if command.shell() {
        let value = command.value.clone().ok_or("Shell specified but no command value provided")?;
        return Ok(("/bin/sh".to_owned(), vec!["sh".to_owned(), "-c".to_owned(), value]));
    }
    let value = command.value.clone().ok_or("there is no program to run")?;
    let arguments = match command.arguments.as_slice() {
        [] => vec![value.clone()],
        given => given.to_vec(),
    };
    Ok((value, arguments))
}

/// The files through which a process enters a cgroup.
pub(crate) fn entrances(cgroup: &Cgroup) -> Vec<PathBuf> {
    let v1 = cgroup.v1_directories().map(|(_, directory)| directory);
    v1.chain(cgroup.unified_directory()).map(|it| it.join("cgroup.procs")).collect()
}

fn command(launch: &Launch) -> Option<&CommandInfo> {
    match &launch.task {
        Some(task) => task.command.as_ref(),
        None => launch.executor.command.as_ref(),
    }
}

/// Whether a task of several wants more than a part of what they may use together.
fn has_own_limits(task: &TaskInfo) -> bool {
    let linux = task.container.as_deref().and_then(|container| container.linux_info.as_ref());
    !task.limits.is_empty() || linux.is_some_and(|linux| !linux.share_cgroups())
}

/// What of a container this containerizer cannot give.
fn unsupported(launch: &Launch, container: Option<&ContainerInfo>) -> Option<String> {
    if let Some(why) = crate::docker::group_refusal(launch) {
        return Some(why);
    }
    let container = container?;
    let no = |what: &str| {
        Some(format!(
            "without an image a task is a process of this host and has no {what} of its own"
        ))
    };
    if !container.network_infos.is_empty() {
        return no("network");
    }
    if container.hostname.is_some() {
        return no("host name");
    }
    if container.tty_info.is_some() {
        return no("terminal");
    }
    if container.rlimit_info.as_ref().is_some_and(|limits| !limits.rlimits.is_empty()) {
        return no("resource limits (rlimit_info)");
    }
    let linux = container.linux_info.clone().unwrap_or_default();
    if (LinuxInfo { share_cgroups: None, ..linux }) != LinuxInfo::default() {
        return no("namespaces, capabilities or seccomp filter (linux_info)");
    }
    let path = |volume: &Volume| volume.source.as_ref().is_some_and(|it| it.sandbox_path.is_some());
    container.volumes.iter().find(|volume| !path(volume)).map(|volume| {
        format!(
            "the volume at '{}' cannot be mounted: without an image a task sees the host's files, \
             and of volumes only those of type SANDBOX_PATH",
            volume.container_path
        )
    })
}

/// Persistent volumes, and directories that are shared with others, appear in the sandbox as links.
fn link_volumes(job: &Job) -> anyhow::Result<()> {
    let container = job.launch.task.as_ref().and_then(|task| task.container.as_deref());
    let mut all = job.persistent.clone();
    for volume in container.map(|it| it.volumes.as_slice()).unwrap_or_default() {
        let directory = sandbox_path(job, volume).map_err(anyhow::Error::msg)?;
        all.extend(directory.map(|directory| (directory, volume.clone())));
    }
    for (directory, volume) in &all {
        let path = Path::new(&volume.container_path);
        if path.is_absolute()
            || path.components().any(|c| matches!(c, std::path::Component::ParentDir))
        {
            anyhow::bail!("the volume at '{}' has to be inside the sandbox", path.display());
        }
        let target = job.sandbox.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if !target.is_symlink() {
            std::os::unix::fs::symlink(directory, &target)?;
        }
    }
    Ok(())
}

/// A signal as the C library calls it, which is what Mesos tells.
fn name(signal: i32) -> String {
    let name = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        31 => "Bad system call",
        other => return other.to_string(),
    };
    name.to_owned()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Ends with the launcher.
#[expect(
    deprecated,
    reason = "an OwnedFd stays open while it is registered; the other form is unsafe"
)]
async fn ended(identity: Identity) {
    let Some(fd) = open(identity) else { return };
    if let Ok(fd) = AsyncFd::with_interest(fd, tokio::io::Interest::READABLE) {
        let _ = fd.readable().await; // an error means that the kernel cannot tell; the file can
    }
}

/// The launcher itself, or nothing when another process has its number.
fn open(identity: Identity) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(identity.pid).ok()?)?;
    let fd = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    (start_time(identity.pid) == Some(identity.started)).then_some(fd)
}

async fn reap(child: Option<std::process::Child>) {
    if let Some(mut child) = child {
        let wait = move || -> io::Result<()> { child.wait().map(drop) };
        let _ = tokio::task::spawn_blocking(wait).await; // it has ended
    }
}
