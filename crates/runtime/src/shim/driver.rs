//! Who makes processes: this crate, or an OCI runtime.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::external::{self, External, Pending};
use super::job::Job;
use super::protocol::{ExecRequest, Failure, RuntimeConfig, ShimConfig};
use super::server::{INIT, Server, not_running};
use crate::failure::During;
use crate::hooks::{self, Moment};
use crate::init::UserNamespace;
use crate::spawn::{
    Container, Exec, StreamSetup, Sync, cgroup_failure, read_sync, spawn_exec, spawn_init,
};

/// The maker of processes.
#[derive(Debug)]
pub(super) enum Driver {
    /// This crate.
    Builtin,
    /// Another binary.
    External(External),
}

/// What came of the wish for a process.
#[derive(Debug)]
pub(super) enum Made {
    Job(Job),
    /// An external runtime makes it.
    Asked(Pending),
}

impl Driver {
    pub(super) fn new(config: &ShimConfig, bundle: &Path) -> Self {
        match &config.runtime {
            RuntimeConfig::Builtin => Self::Builtin,
            RuntimeConfig::Oci { path, args } => Self::External(External::new(
                path.clone(),
                args.clone(),
                bundle,
                &config.container_id,
            )),
        }
    }

    /// Lets an external runtime forget the container.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        match self {
            Self::Builtin => Ok(()),
            Self::External(external) => external.delete(),
        }
    }
}

impl Server {
    /// Makes the cgroup and init, and waits until its program runs. Init becomes a job as soon as
    /// it exists, so that a failure can be undone.
    pub(super) fn start_init(&mut self) -> Result<(), Failure> {
        match &mut self.driver {
            Driver::Builtin => self.start_builtin(),
            Driver::External(external) => {
                external::create_cgroup(&self.cgroup)?;
                let mut job = external.create(&self.spec, &self.config, &self.cgroup)?;
                job.stdin_once = self.config.stdin.once;
                self.jobs.insert(INIT.to_owned(), job);
                external.start()
            }
        }
    }

    fn start_builtin(&mut self) -> Result<(), Failure> {
        let resources = self.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        self.cgroup.create().map_err(cgroup_failure)?;
        if let Some(resources) = resources {
            self.cgroup.apply(resources).map_err(cgroup_failure)?;
            self.cgroup.apply_devices(resources).map_err(cgroup_failure)?;
        }
        let mut spawned = spawn_init(&Container {
            bundle: &self.bundle,
            spec: &self.spec,
            config: &self.config,
            cgroup: &self.cgroup,
            filter: self.filter.as_deref(),
        })?;
        self.rootfs = spawned.rootfs.take();
        let terminal = self.spec.process().as_ref().and_then(|process| process.terminal());
        let mut job = Job::new(spawned, terminal == Some(true));
        job.stdin_once = self.config.stdin.once;
        let outcome = self.hear_out(&mut job);
        self.jobs.insert(INIT.to_owned(), job);
        outcome
    }

    /// Waits until init's program runs.
    fn hear_out(&mut self, job: &mut Job) -> Result<(), Failure> {
        let sync = job.sync.take().ok_or_else(|| Failure::other("init has no sync socket"))?;
        loop {
            match read_sync(&sync)? {
                Some(Sync::Terminal(mut fds)) => {
                    if fds.len() > 1
                        && let Some(master) = fds.pop()
                    {
                        job.set_terminal(master)?;
                    }
                    self.devpts = fds.pop();
                }
                Some(Sync::Created) => {
                    hooks::run(&self.subject(job.pid), Moment::Created)?;
                    rustix::io::write(&sync, b"G").during(|| "let init go on".to_owned())?;
                }
                Some(Sync::Started) => return Ok(()),
                Some(Sync::Failed(failure)) => return Err(failure),
                // The socket blocks; nothing to read cannot be.
                None => {}
            }
        }
    }

    /// The container as hooks on this side see it.
    pub(super) fn subject(&self, pid: u32) -> hooks::Subject<'_> {
        let (spec, bundle) = (&self.spec, self.bundle.as_path());
        hooks::Subject { spec, id: &self.config.container_id, bundle, pid }
    }

    /// Runs hooks whose failure changes nothing any more; an external runtime runs its own.
    pub(super) fn run_late_hooks(&self, moment: Moment, pid: u32) -> Vec<String> {
        match self.driver {
            Driver::Builtin => hooks::run_all(&self.subject(pid), moment),
            Driver::External(_) => Vec::new(),
        }
    }

    /// Makes the process of an exec, or asks for it; its outcome is heard later.
    pub(super) fn spawn_exec(&mut self, request: &ExecRequest) -> Result<Made, Failure> {
        let terminal = request.process.terminal() == Some(true);
        let setup =
            StreamSetup { open_stdin: request.streams.stdin, terminal, size: request.console_size };
        if let Driver::External(external) = &mut self.driver {
            return external.exec(&request.process, setup).map(Made::Asked);
        }
        let devpts = self.devpts.as_ref().map(OwnedFd::try_clone);
        let filter = self.filter.as_deref().filter(|_| !request.unconfined);
        let init = self.jobs.get(INIT).ok_or_else(not_running)?;
        let spawned = spawn_exec(Exec {
            process: &request.process,
            init: &init.pidfd,
            init_pid: init.pid,
            cgroup: &self.cgroup,
            filter,
            devpts: devpts.and_then(Result::ok),
            setup,
            user_namespace: UserNamespace::of_running(&self.spec, init.pid)?,
        })?;
        Ok(Made::Job(Job::new(spawned, terminal)))
    }
}
