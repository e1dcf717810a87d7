//! A cluster on one machine: a daemon, a master and an agent of our own, gone when dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::host::{Host, bin_dir};
use crate::wait::eventually;

/// What a test wants different from the default cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// More flags for `teu master`.
    pub master_flags: Vec<String>,
    /// More flags for `teu agent`.
    pub agent_flags: Vec<String>,
    /// Socket of an engine that is not ours, for the agent's containers.
    pub engine: Option<PathBuf>,
    /// Size of a memory file system for the agent's files, as tmpfs takes it. It is in the mount
    /// namespace of that agent process only: engines do not see it.
    pub agent_disk: Option<String>,
}

/// A running cluster. Dropping it stops agent and master, then the daemon with its containers.
#[derive(Debug)]
pub struct Cluster {
    master: Role,
    /// A master that waits to be one.
    standby: Option<Role>,
    agent: Role,
    host: Host,
}

/// One of the two processes, which may be stopped and started again at the same port.
#[derive(Debug)]
struct Role {
    name: &'static str,
    address: SocketAddr,
    flags: Vec<String>,
    work_dir: PathBuf,
    disk: Option<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Cluster {
    /// Starts a cluster with the default options.
    pub fn start() -> Result<Self> {
        Self::start_with(ClusterOptions::default())
    }

    /// Starts a cluster and waits until its agent is registered.
    pub fn start_with(options: ClusterOptions) -> Result<Self> {
        let host = Host::start()?;
        let dir = host.scratch().to_owned();
        let master = Role::new("master", &dir, options.master_flags)?;
        let mut agent = Role::new("agent", &dir, options.agent_flags)?;
        if !agent.flags.iter().any(|flag| flag.starts_with("--master=")) {
            agent.flags.push(format!("--master={}", master.address));
        }
        let engine = options.engine.unwrap_or_else(|| host.socket());
        agent.flags.push(format!("--docker_socket={}", engine.display()));
        agent.disk = options.agent_disk;
        agent.flags.push("--containerizers=docker,mesos".to_owned());
        let mut cluster = Self { master, standby: None, agent, host };
        cluster.start_master()?;
        cluster.start_agent()?;
        Ok(cluster)
    }

    /// Starts the master and waits until it answers.
    pub fn start_master(&mut self) -> Result<()> {
        self.master.start()?;
        let address = self.master.address;
        eventually("the master answers", || {
            self.master.check()?;
            crate::http::get_path(address, "/health").map(drop)
        })
    }

    /// Starts the agent and waits until the master calls it active.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent.start()?;
        eventually("the agent is registered", || {
            self.agent.check()?;
            // The master may not have missed an earlier one yet.
            std::net::TcpStream::connect(self.agent.address)?;
            let agents = self.get("/slaves")?;
            let agents = agents["slaves"].as_array().context("no list of agents")?;
            ensure!(agents.iter().any(|agent| agent["active"] == true), "{agents:?}");
            Ok(())
        })
    }

    /// Starts another master with the same flags and the same registry, and waits until it answers;
    /// where.
    pub fn start_standby(&mut self) -> Result<SocketAddr> {
        let mut standby = self.master.another("standby")?;
        standby.start()?;
        let address = standby.address;
        let standby = self.standby.insert(standby);
        eventually("the second master answers", || {
            standby.check()?;
            crate::http::get_path(address, "/health").map(drop)
        })?;
        Ok(address)
    }

    /// The one that stands by is spoken to from now on, and the other is kept.
    pub fn exchange_masters(&mut self) -> Result<()> {
        std::mem::swap(&mut self.master, self.standby.as_mut().context("nobody stands by")?);
        Ok(())
    }

    /// Sends the master a signal.
    pub fn signal_master(&self, signal: Signal) -> Result<()> {
        let child = self.master.child.as_ref().context("no master runs")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// From now on the master is the one that stood by.
    pub fn follow_standby(&mut self) -> Result<()> {
        self.master = self.standby.take().context("nobody stands by")?;
        Ok(())
    }

    /// Flags of the master that is started next, in the place of those of the same names.
    pub fn set_master_flags(&mut self, flags: &[&str]) {
        set_flags(&mut self.master.flags, flags);
    }

    /// Where the master's registry is at first.
    pub fn master_work_dir(&self) -> &Path {
        &self.master.work_dir
    }

    /// Starts the master and waits for nothing.
    pub fn launch_master(&mut self) -> Result<()> {
        self.master.start()
    }

    /// Waits until the master has ended by itself; what it has logged.
    pub fn master_fails(&mut self) -> Result<String> {
        let mut child = self.master.child.take().context("no master runs")?;
        let status = eventually("the master ends", || child.try_wait()?.context("still running"))?;
        ensure!(!status.success(), "the master ended with {status}");
        Ok(self.master.logged())
    }

    /// kill -9.
    pub fn kill_master(&mut self) -> Result<()> {
        self.master.kill()
    }

    /// kill -9.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.kill()
    }

    /// Flags of the agent that is started next, in the place of those of the same names.
    pub fn set_agent_flags(&mut self, flags: &[&str]) {
        set_flags(&mut self.agent.flags, flags);
    }

    /// Starts the next agent without a flag that begins so.
    pub fn drop_agent_flag(&mut self, flag: &str) {
        self.agent.flags.retain(|known| !known.starts_with(flag));
    }

    /// Starts the agent and waits for nothing.
    pub fn launch_agent(&mut self) -> Result<()> {
        self.agent.start()
    }

    /// Starts an agent that is expected to refuse; returns what it said.
    pub fn failing_agent(&mut self) -> Result<String> {
        self.agent.start()?;
        let mut child = self.agent.child.take().context("no child")?;
        let status = eventually("the agent ends", || child.try_wait()?.context("still running"))?;
        ensure!(!status.success(), "the agent ended with {status}");
        Ok(self.agent.logged())
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> Result<Pid> {
        self.agent.child.as_ref().map(Pid::from_child).context("no agent runs")
    }

    /// Waits until the agent has ended by itself, and well.
    pub fn agent_ends(&mut self) -> Result<()> {
        let mut child = self.agent.child.take().context("no agent runs")?;
        let status = eventually("the agent ends", || child.try_wait()?.context("still running"))?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.agent.logged());
        Ok(())
    }

    /// Starts an agent that ends by itself.
    pub fn passing_agent(&mut self) -> Result<()> {
        self.agent.start()?;
        self.agent_ends()
    }

    /// What the agent has logged.
    pub fn agent_log(&self) -> String {
        self.agent.logged()
    }

    /// The daemon that runs the containers.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The same, to stop and start it.
    pub fn host_mut(&mut self) -> &mut Host {
        &mut self.host
    }

    /// The master's address.
    pub fn master(&self) -> SocketAddr {
        self.master.address
    }

    /// The agent's address.
    pub fn agent(&self) -> SocketAddr {
        self.agent.address
    }

    /// Where the agent keeps what it needs to recover, and the sandboxes.
    pub fn agent_work_dir(&self) -> PathBuf {
        match (&self.agent.disk, &self.agent.child) {
            (Some(_), Some(child)) => {
                let inside = self.agent.work_dir.strip_prefix("/").unwrap_or(&self.agent.work_dir);
                Path::new("/proc").join(child.id().to_string()).join("root").join(inside)
            }
            _ => self.agent.work_dir.clone(),
        }
    }

    /// Reads an endpoint of the master.
    pub fn get(&self, path: &str) -> Result<Json> {
        let body = crate::http::get_path(self.master.address, path)?;
        serde_json::from_str(&body).with_context(|| format!("{path} answered {body:?}"))
    }

    /// Waits until the master says of some task of that name that it is in that state; returns it.
    pub fn task(&self, name: &str, state: &str) -> Result<Json> {
        eventually("the task is in the state", || {
            let tasks = self.get("/tasks?limit=1000")?;
            let tasks = tasks["tasks"].as_array().context("no list of tasks")?;
            let found = tasks.iter().find(|task| task["name"] == name && task["state"] == state);
            found.cloned().with_context(|| format!("no {name} is {state}: {tasks:?}"))
        })
    }

    /// Ends every framework, and so every task.
    pub fn teardown(&self) -> Result<()> {
        let state = self.get("/frameworks")?;
        for framework in state["frameworks"].as_array().into_iter().flatten() {
            let id = framework["id"].as_str().context("a framework without id")?;
            let form = format!("frameworkId={id}");
            crate::http::post(self.master.address, "/teardown", &form)?;
        }
        Ok(())
    }
}

fn set_flags(known: &mut Vec<String>, flags: &[&str]) {
    for flag in flags {
        let name = flag.split_inclusive('=').next().unwrap_or(flag);
        known.retain(|known| !known.starts_with(name));
        known.push((*flag).to_owned());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- master log ---\n{}", self.master.logged());
            eprintln!("--- agent log ---\n{}", self.agent.logged());
        }
        let left = self.clean_up();
        if left.is_empty() {
            return;
        }
        let told = format!("a test's cluster was not taken down:\n{}", left.join("\n"));
        // A test that has failed keeps its own message.
        assert!(std::thread::panicking(), "{told}\n{}", self.agent.logged());
        eprintln!("{told}");
    }
}

impl Cluster {
    /// Ends everything that runs, and both roles: with the agent, as it takes containers that vanish
    /// for tasks that failed, and as nobody else knows its processes.
    fn clean_up(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let mut tried =
            |what: Result<()>| left.extend(what.err().map(|error| format!("{error:#}")));
        if self.agent.runs() {
            self.host.expect_gone(runs(&self.agent_work_dir()));
            tried(self.agent.stop(Signal::USR1));
        } else {
            self.host.expect_gone(runs(&self.agent.work_dir));
            self.set_agent_flags(&["--recover=cleanup"]);
            tried(self.passing_agent());
        }
        for master in self.standby.iter_mut().chain([&mut self.master]) {
            if master.runs() {
                tried(master.stop(Signal::TERM));
            }
        }
        left
    }
}

/// The ids of containers that an agent has, or had.
fn runs(work_dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![work_dir.join("slaves")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if directory.ends_with("runs") {
                found.push(entry.file_name().to_string_lossy().into_owned());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    found.retain(|name| name != "latest");
    found
}

impl Role {
    fn new(name: &'static str, dir: &Path, mut flags: Vec<String>) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let work_dir = dir.join(name);
        std::fs::create_dir(&work_dir)?;
        flags.push(format!("--ip={}", address.ip()));
        flags.push(format!("--port={port}"));
        flags.push(format!("--work_dir={}", work_dir.display()));
        let log = dir.join(format!("{name}.log"));
        Ok(Self { name, address, flags, work_dir, disk: None, log, child: None })
    }

    /// One with the same flags at another port.
    fn another(&self, log: &str) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut flags = self.flags.clone();
        flags.retain(|flag| !flag.starts_with("--port="));
        flags.push(format!("--port={port}"));
        Ok(Self {
            name: self.name,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            flags,
            work_dir: self.work_dir.clone(),
            disk: None,
            log: self.log.with_file_name(format!("{log}.log")),
            child: None,
        })
    }

    fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(bin_dir().join("teu"));
        if let Some(size) = &self.disk {
            command = Command::new("unshare");
            let mount = format!("mount -t tmpfs -o size={size} tmpfs {}", self.work_dir.display());
            command.args(["-m", "sh", "-c", &format!("{mount} && exec \"$@\""), "sh"]);
            command.arg(bin_dir().join("teu"));
        }
        command.arg(self.name).args(&self.flags).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("start {command:?}"))?);
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
        {
            bail!("the {} ended with {status}: {}", self.name, self.logged());
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("no {} runs", self.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// A signal, and SIGKILL where that does not help.
    fn stop(&mut self, signal: Signal) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("no {} runs", self.name))?;
        kill_process(Pid::from_child(&child), signal)?;
        let what = format!("the {} ends after {signal:?}", self.name);
        let ended = eventually(&what, || child.try_wait()?.context("still running"));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let status = ended?;
        ensure!(status.success(), "the {} ended with {status}", self.name);
        Ok(())
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
