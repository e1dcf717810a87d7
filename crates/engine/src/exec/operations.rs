//! The operations on execs that [`Engine`] offers.

use std::time::Duration;

use linux::fs::Root;
use runtime::shim::protocol::{
    ConsoleSize, Empty, ExecExit, ExecRequest, ExecStarted, Request, Streams,
};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::{ExecConfig, ExecSnapshot, ExecStartOptions, Phase};
use crate::container::handle::Container;
use crate::container::links::Linked;
use crate::container::policy::{self, Action};
use crate::container::{AttachStream, ContainerRecord, TerminalSize, driver, publish};
use crate::shim::{Shim, ShimError, error_stream, exec_stream};
use crate::spec::{ExecProcess, SecurityOptions, user::UserDatabase};
use crate::{Engine, Error, Result};

/// How long a shim may take to start an exec.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The exit code of an exec whose process could not be started for no fault of its command.
const CANNOT_START: i32 = 126;

impl Engine {
    /// Prepares an exec and gives its id.
    ///
    /// # Errors
    /// NotFound for the container, Conflict when it does not run.
    pub async fn exec_create(&self, container: &str, config: ExecConfig) -> Result<String> {
        let container = self.inner.registry.find(container)?;
        let record = container.record();
        policy::decide(&record, Action::Exec)?;
        validate(&config)?;
        let command = config.cmd.join(" ");
        let id = self.inner.execs.add(container.id.clone(), config);
        let event = publish::container(&record, format!("exec_create: {command}"));
        self.inner.events.publish(event.with("execID", id.clone()));
        Ok(id)
    }

    /// Takes the right to start an exec. What goes wrong after this is told in the stream,
    /// because a client has taken over the connection by then.
    ///
    /// # Errors
    /// NotFound; Conflict when it was started already or the container does not run.
    pub async fn exec_begin(&self, id: &str) -> Result<ExecStart> {
        let (container_id, config) =
            self.inner.execs.get(id, |exec| (exec.container_id.clone(), exec.config.clone()))?;
        let container = self.inner.registry.find(container_id.as_str())?;
        policy::decide(&container.record(), Action::Exec)?;
        self.inner.execs.begin(id)?;
        let right = Right { engine: self.clone(), id: id.to_owned(), used: false };
        Ok(ExecStart { container, config, right })
    }

    /// Starts an exec; `None` when detached.
    ///
    /// # Errors
    /// As [`Engine::exec_begin`]; when detached also what keeps it from starting.
    pub async fn exec_start(
        &self,
        id: &str,
        options: ExecStartOptions,
    ) -> Result<Option<AttachStream>> {
        self.exec_begin(id).await?.start(options).await
    }

    /// Looks an exec up.
    ///
    /// # Errors
    /// NotFound.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecSnapshot> {
        self.inner.execs.get(id, |exec| {
            let (running, exit_code, pid) = match *exec.phase.borrow() {
                Phase::Created => (false, None, 0),
                Phase::Running { pid } => (true, None, pid),
                Phase::Exited { exit_code, pid } => (false, Some(exit_code), pid),
            };
            ExecSnapshot {
                id: id.to_owned(),
                container_id: exec.container_id.clone(),
                config: exec.config.clone(),
                running,
                exit_code,
                pid,
            }
        })
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// NotFound; Conflict when it does not run.
    pub async fn exec_resize(&self, id: &str, size: TerminalSize) -> Result<()> {
        let (container_id, mut phase) =
            self.inner.execs.get(id, |exec| (exec.container_id.clone(), exec.phase.subscribe()))?;
        let started = |phase: &Phase| !matches!(phase, Phase::Running { pid: 0 });
        // A client resizes as soon as it has asked for the start.
        let settled = tokio::time::timeout(START_DEADLINE, async {
            phase.wait_for(started).await.is_ok_and(|phase| matches!(*phase, Phase::Running { .. }))
        });
        let running = settled.await.unwrap_or(false);
        if !running {
            return Err(Error::Conflict(format!("exec process {id} is not running")));
        }
        let container = self.inner.registry.find(container_id.as_str())?;
        let request =
            Request::Resize { exec_id: Some(id.to_owned()), rows: size.rows, cols: size.columns };
        let resized = container.shim().request::<Empty>(&request).await;
        resized
            .map(|Empty {}| ())
            .map_err(|error| Error::Conflict(format!("cannot resize exec {id}: {error}")))
    }

    /// Waits for the end of a started exec and gives its exit code.
    ///
    /// # Errors
    /// NotFound; Conflict when it was not started.
    pub async fn exec_wait(&self, id: &str) -> Result<i32> {
        let mut phase = self.inner.execs.get(id, |exec| exec.phase.subscribe())?;
        if *phase.borrow() == Phase::Created {
            return Err(Error::Conflict(format!("exec {id} was not started")));
        }
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Exited { .. })).await;
        match ended.as_deref() {
            Ok(Phase::Exited { exit_code, .. }) => Ok(*exit_code),
            // The container was removed.
            _ => Ok(137),
        }
    }

    /// Kills a running exec; what has ended is fine.
    pub(crate) async fn exec_kill(&self, id: &str) -> Result<()> {
        let pid = self.inner.execs.get(id, |exec| match *exec.phase.borrow() {
            Phase::Running { pid } => u32::try_from(pid).ok().filter(|pid| *pid > 0),
            _ => None,
        })?;
        if let Some(pid) = pid
            && let Ok(pidfd) = linux::process::Pidfd::open(pid)
        {
            let _ = pidfd.kill(); // it may have ended by itself
        }
        Ok(())
    }
}

/// The right to start an exec, which only one client gets.
#[derive(Debug)]
pub struct ExecStart {
    container: Container,
    config: ExecConfig,
    right: Right,
}

#[derive(Debug)]
struct Right {
    engine: Engine,
    id: String,
    used: bool,
}

impl Drop for Right {
    /// A client that left in between must not leave an exec that seems to run.
    fn drop(&mut self) {
        if !self.used {
            let unstarted = Phase::Exited { exit_code: CANNOT_START, pid: 0 };
            self.engine.inner.execs.set(&self.id, unstarted);
        }
    }
}

impl ExecStart {
    /// Starts it; `None` when detached. A program that cannot be started is told in the stream
    /// and leaves 126 or 127 as exit code.
    ///
    /// # Errors
    /// Only when detached: what keeps it from starting.
    pub async fn start(self, options: ExecStartOptions) -> Result<Option<AttachStream>> {
        let Self { container, config, mut right } = self;
        let engine = right.engine.clone();
        right.used = true;
        let run = async move {
            let (engine, id) = (&right.engine, &right.id);
            let record = container.record();
            let started = start(engine, &container, &record, id, &config, &options).await;
            if let Err(error) = &started {
                let exit_code = match error {
                    Error::StartFailed { exit_code, .. } => *exit_code,
                    _ => CANNOT_START,
                };
                engine.inner.execs.set(id, Phase::Exited { exit_code, pid: 0 });
            }
            match started {
                Err(error) if !options.detach => {
                    let message = match error {
                        Error::StartFailed { message, .. } => message,
                        other => other.to_string(),
                    };
                    Ok(Some(error_stream(&message, options.tty)))
                }
                other => other,
            }
        };
        engine.detached(run).await
    }
}

fn validate(config: &ExecConfig) -> Result<()> {
    if config.cmd.first().is_none_or(String::is_empty) {
        return Err(Error::InvalidParameter("No exec command specified".to_owned()));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::InvalidParameter(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir.escape_default()
        )));
    }
    let mut words = config.cmd.iter().chain(&config.env).chain([&config.user, &config.working_dir]);
    if words.any(|word| word.contains('\0')) {
        let text = "a string of the configuration contains a NUL character";
        return Err(Error::InvalidParameter(text.to_owned()));
    }
    Ok(())
}

async fn start(
    engine: &Engine,
    container: &Container,
    record: &ContainerRecord,
    id: &str,
    config: &ExecConfig,
    options: &ExecStartOptions,
) -> Result<Option<AttachStream>> {
    let process = process(engine, record, config).await?;
    let size = options.console_size.or(config.console_size).filter(|_| config.tty);
    let attached = !options.detach;
    let request = Request::Exec(Box::new(ExecRequest {
        exec_id: id.to_owned(),
        process,
        streams: Streams {
            stdin: config.attach_stdin && attached,
            stdout: config.attach_stdout && attached,
            stderr: config.attach_stderr && attached,
        },
        detach: options.detach,
        console_size: size.map(|size| ConsoleSize { rows: size.rows, cols: size.columns }),
        unconfined: config.privileged,
    }));
    let shim = container.shim();
    let answer: Result<(ExecStarted, BufReader<UnixStream>), ShimError> =
        tokio::time::timeout(START_DEADLINE, shim.call(&request))
            .await
            .map_err(|_| Error::Unavailable(format!("exec {id} did not start in time")))?;
    let (started, connection) = answer.map_err(|error| match error {
        ShimError::Refused(failure) => Error::StartFailed {
            exit_code: driver::exit_code_of(failure.kind),
            message: format!("OCI runtime exec failed: exec failed: {}: unknown", failure.message),
        },
        gone @ ShimError::Gone(_) => Error::Conflict(gone.to_string()),
    })?;
    let pid = i32::try_from(started.pid).unwrap_or(0);
    engine.inner.execs.set(id, Phase::Running { pid });
    let event = publish::container(record, format!("exec_start: {}", config.cmd.join(" ")));
    engine.inner.events.publish(event.with("execID", id));
    let wait = wait(engine.clone(), shim, record.clone(), id.to_owned(), pid);
    let stopping = engine.inner.stopping.clone();
    engine.inner.tasks.spawn(async move { stopping.run_until_cancelled(wait).await });
    if options.detach {
        return Ok(None);
    }
    let begun = connection.buffer().to_vec();
    let keys = config.detach_keys.clone();
    // A client asks for the exit code as soon as the output ends, which it may do first.
    let (engine, id) = (engine.clone(), id.to_owned());
    let ended = async move {
        let _ = engine.exec_wait(&id).await; // an exec that is gone has ended
    };
    Ok(Some(exec_stream(connection.into_inner(), begun, options.tty, keys, ended)))
}

/// Resolves user and groups by the files of the running container.
async fn process(
    engine: &Engine,
    record: &ContainerRecord,
    config: &ExecConfig,
) -> Result<oci_spec::runtime::Process> {
    let (engine, record, config) = (engine.clone(), record.clone(), config.clone());
    crate::blocking(move || {
        let path = format!("/proc/{}/root", record.state.pid);
        let root = Root::open(&path)
            .map_err(|_| Error::Conflict(format!("container {} is not running", record.id)))?;
        let users = UserDatabase::read(&root);
        let user = if config.user.is_empty() { &record.config.user } else { &config.user };
        let security = SecurityOptions::parse(&record.host_config)?;
        // The container's own: a privileged exec is confined as the others are, as in Docker.
        let privileged = record.host_config.privileged;
        let process = ExecProcess {
            record: &record,
            config: &config,
            user: users.resolve(user)?,
            additional_groups: users.additional(&record.host_config.group_add)?,
            host: &engine.inner.host,
            default_ulimits: &engine.config().default_ulimits,
            link_environment: Linked::present(&engine, &record).environment(&record),
            apparmor: engine.inner.host.apparmor.ready(&security, privileged)?,
        };
        process.build()
    })
    .await
}

async fn wait(engine: Engine, shim: Shim, record: ContainerRecord, id: String, pid: i32) {
    let request = Request::ExecWait { exec_id: id.clone() };
    let exit_code = match shim.call::<ExecExit>(&request).await {
        Ok((exit, _)) => exit.exit_code,
        // The container ended and took the exec along.
        Err(_) => 137,
    };
    engine.inner.execs.set(&id, Phase::Exited { exit_code, pid });
    let event = publish::container(&record, "exec_die").with("execID", id);
    engine.inner.events.publish(event.with("exitCode", exit_code.to_string()));
}
