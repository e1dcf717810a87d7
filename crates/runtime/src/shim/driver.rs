//! Who makes processes: this crate, or an OCI runtime.

use super::job::Job;
use super::protocol::{ExecRequest, Failure, RuntimeConfig, ShimConfig};
use super::server::Server;
use crate::spawn::{Exec, StreamSetup, spawn_exec};

/// The maker of processes.
#[derive(Debug)]
pub(crate) enum Driver {
    /// This crate.
    Builtin,
}

impl Driver {
    pub(super) fn new(config: &RuntimeConfig) -> Result<Self, Failure> {
        match config {
            RuntimeConfig::Builtin => Ok(Self::Builtin),
            RuntimeConfig::Oci { .. } => Err(Failure::other("external runtimes: not yet")),
        }
    }

    /// Lets an external runtime forget the container.
    pub(super) fn delete(&mut self, config: &ShimConfig) -> Result<(), Failure> {
        let _ = config;
        Ok(())
    }
}

impl Server {
    /// Makes the process of an exec; its outcome is heard later.
    pub(super) fn spawn_exec(&mut self, request: &ExecRequest) -> Result<Job, Failure> {
        let terminal = request.process.terminal() == Some(true);
        let setup =
            StreamSetup { open_stdin: request.streams.stdin, terminal, size: request.console_size };
        let devpts = self.devpts.as_ref().map(std::os::fd::OwnedFd::try_clone);
        let filter = self.filter.as_deref().filter(|_| !request.unconfined);
        let init = self.jobs.get(super::server::INIT);
        let init = init.ok_or_else(super::server::not_running)?;
        let spawned = spawn_exec(Exec {
            process: &request.process,
            init: &init.pidfd,
            cgroup: &self.cgroup,
            filter,
            devpts: devpts.and_then(Result::ok),
            setup,
        })?;
        Ok(Job::new(spawned, terminal))
    }
}
