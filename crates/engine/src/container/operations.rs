//! The operations on containers that [`Engine`] offers.

use std::time::Duration;

use runtime::shim::protocol::{Empty, Request as ShimRequest, Streams};
use tokio::sync::watch;

use super::handle::{Container, Published, Request, SignalCause};
use super::owner::stop_signal;
use super::policy::{self, Action};
use super::state::Status;
use super::{
    AttachOptions, AttachStream, ContainerSnapshot, CreateRequest, Created, Health, ListFilter,
    RemoveOptions, StopOptions, TerminalSize, UpdateRequest, Wait, WaitCondition, WaitResult,
};
use super::{create, links, list, name, signal};
use crate::{Engine, Error, Result};

/// Between the stop signal and SIGKILL when nobody says otherwise.
const STOP_TIMEOUT_SECS: i64 = 10;
/// How long the end of a container may take after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(12);
/// How long a forced removal may take before its asker is told that it goes on alone.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

impl Engine {
    /// Makes a container. "Engine API ContainerCreate".
    ///
    /// # Errors
    /// NotFound for the image, Conflict for the name, InvalidParameter for the rest.
    pub async fn container_create(&self, request: CreateRequest) -> Result<Created> {
        let engine = self.clone();
        self.detached(async move { create::create(&engine, request).await }).await
    }

    /// Starts a container. "Engine API ContainerStart".
    ///
    /// # Errors
    /// NotModified when it runs already.
    pub async fn container_start(&self, name: &str) -> Result<()> {
        self.inner.registry.find(name)?.ask(Request::Start).await
    }

    /// Stops a container: its stop signal, after the timeout SIGKILL.
    ///
    /// # Errors
    /// NotModified when it does not run.
    pub async fn container_stop(&self, name: &str, options: StopOptions) -> Result<()> {
        let container = self.inner.registry.find(name)?;
        let plan = StopPlan::new(&container, &options)?;
        let engine = self.clone();
        self.detached(async move {
            stop(&container, plan, SignalCause::Stop).await?;
            super::publish::event(&engine.inner.events, &container.record(), "stop");
            Ok(())
        })
        .await
    }

    /// Stops a container if it runs, then starts it.
    ///
    /// # Errors
    /// Those of stop and start.
    pub async fn container_restart(&self, name: &str, options: StopOptions) -> Result<()> {
        let container = self.inner.registry.find(name)?;
        let plan = StopPlan::new(&container, &options)?;
        let engine = self.clone();
        self.detached(async move {
            policy::decide(&container.record(), Action::Update)?;
            container.ask(Request::BeginRestart).await?;
            match stop(&container, plan, SignalCause::Restart).await {
                Ok(()) => {
                    super::publish::event(&engine.inner.events, &container.record(), "stop");
                }
                Err(Error::NotModified(_)) => {}
                Err(error) => return Err(error),
            }
            container.ask(Request::Start).await?;
            let record = container.record();
            super::publish::event(&engine.inner.events, &record, "restart");
            Ok(())
        })
        .await
    }

    /// Sends a signal, by name or number, to process 1; `None` is SIGKILL.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn container_kill(&self, name: &str, signal: Option<&str>) -> Result<()> {
        let container = self.inner.registry.find(name)?;
        let number =
            signal.filter(|text| !text.is_empty()).map_or(Ok(signal::KILL), signal::parse)?;
        let cause = SignalCause::Kill;
        container.ask(|answer| Request::Signal { signal: number, cause, answer }).await?;
        if number == signal::KILL {
            let ended = wait_until(&mut container.watch(), KILL_DEADLINE, is_over).await;
            if !ended {
                return Err(Error::Internal(format!(
                    "tried to kill container {}, but did not receive an exit event",
                    container.id
                )));
            }
        }
        Ok(())
    }

    /// Freezes a container's processes.
    ///
    /// # Errors
    /// Conflict when it does not run or is paused.
    pub async fn container_pause(&self, name: &str) -> Result<()> {
        self.inner.registry.find(name)?.ask(Request::Pause).await
    }

    /// Thaws a container's processes.
    ///
    /// # Errors
    /// Conflict when it is not paused.
    pub async fn container_unpause(&self, name: &str) -> Result<()> {
        self.inner.registry.find(name)?.ask(Request::Unpause).await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// Conflict when the name is taken.
    pub async fn container_rename(&self, name: &str, new_name: &str) -> Result<()> {
        if name.is_empty() || new_name.is_empty() {
            let text = "Neither old nor new names may be empty";
            return Err(Error::InvalidParameter(text.to_owned()));
        }
        let container = self.inner.registry.find(name)?;
        let new_name = name::parse(new_name)?.to_owned();
        if container.record().name == new_name {
            let text = "Renaming a container with the same name as its current name";
            return Err(Error::InvalidParameter(text.to_owned()));
        }
        self.inner.registry.reserve(&new_name, &container.id)?;
        let engine = self.clone();
        self.detached(async move {
            let name = new_name.clone();
            let renamed = container.ask(|answer| Request::Rename { name, answer }).await;
            if renamed.is_err() {
                engine.inner.registry.release(&new_name, &container.id);
            }
            renamed
        })
        .await
    }

    /// Changes limits and restart policy; answers with warnings.
    ///
    /// # Errors
    /// InvalidParameter for values that cannot be.
    pub async fn container_update(
        &self,
        name: &str,
        request: UpdateRequest,
    ) -> Result<Vec<String>> {
        let container = self.inner.registry.find(name)?;
        let request = Box::new(request);
        container.ask(|answer| Request::Update { request, answer }).await?;
        Ok(Vec::new())
    }

    /// Removes a container.
    ///
    /// # Errors
    /// Conflict when it runs and `force` is not set, or when it is being removed already.
    pub async fn container_remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let container = self.inner.registry.find(name)?;
        if options.link {
            let Some((parent, alias)) = links::split(name) else {
                return Err(Error::Conflict(
                    "Conflict, cannot remove the default link name of the container".to_owned(),
                ));
            };
            let Ok(parent) = self.inner.registry.find(parent) else {
                return Err(Error::NotFound(format!(
                    "Cannot get parent /{parent} for link name /{parent}/{alias}"
                )));
            };
            let alias = alias.to_owned();
            return parent.ask(|answer| Request::Unlink { alias, answer }).await;
        }
        // Answered from the watch, since the owner answers only after the removal under way.
        if container.record().state.status == Status::Removing {
            policy::decide(&container.record(), Action::Remove { force: options.force })?;
        }
        container.ask(|answer| Request::Remove { options, answer }).await
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn container_resize(&self, name: &str, size: TerminalSize) -> Result<()> {
        let container = self.inner.registry.find(name)?;
        policy::decide(&container.record(), Action::Resize)?;
        let request = ShimRequest::Resize { exec_id: None, rows: size.rows, cols: size.columns };
        let resized = container.shim().request::<Empty>(&request).await;
        resized.map(|Empty {}| ()).map_err(|error| {
            Error::Conflict(format!("cannot resize container {}: {error}", container.id))
        })
    }

    /// Lists containers, newest first.
    ///
    /// # Errors
    /// InvalidParameter or NotFound for filters that name nothing.
    pub async fn container_list(&self, filter: ListFilter) -> Result<Vec<ContainerSnapshot>> {
        list::list(self, filter).await
    }

    /// Looks a container up by id, name, or the beginning of an id.
    ///
    /// # Errors
    /// NotFound; InvalidParameter when several ids begin so.
    pub async fn container_inspect(&self, name: &str) -> Result<ContainerSnapshot> {
        let container = self.inner.registry.find(name)?;
        let record = container.record();
        Ok(list::snapshot(self, &container, record))
    }

    /// Registers a wait. When this returns the wait is in place, and headers can be sent.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_wait(&self, name: &str, condition: WaitCondition) -> Result<Wait> {
        let container = self.inner.registry.find(name)?;
        let mut watch = container.watch();
        let ended_runs = watch.borrow_and_update().ended_runs;
        let removed = condition == WaitCondition::Removed;
        Ok(Wait(Box::pin(async move {
            let over = |published: &Published| match condition {
                // One that is restarted has stopped running all the same.
                WaitCondition::NotRunning => {
                    is_over(published) || published.ended_runs > ended_runs
                }
                WaitCondition::NextExit => published.ended_runs > ended_runs,
                WaitCondition::Removed => published.removed,
            };
            // The owner leaves with the container, or with the daemon.
            let _ = watch.wait_for(|published| over(published) || published.removed).await;
            let published = watch.borrow();
            let gone = published.removed || over(&published);
            WaitResult {
                exit_code: if published.ended_runs > 0 {
                    published.last_exit_code
                } else {
                    published.record.state.exit_code
                },
                error: (removed && !gone).then(|| "the daemon is shutting down".to_owned()),
            }
        })))
    }

    /// Attaches to a container's streams. One that does not run yet is attached to when it
    /// starts, so that no output is missed.
    ///
    /// # Errors
    /// Conflict when it is paused or restarting.
    pub async fn container_attach(
        &self,
        name: &str,
        options: AttachOptions,
    ) -> Result<AttachStream> {
        let container = self.inner.registry.find(name)?;
        let AttachOptions { stdin, stdout, stderr, detach_keys } = options;
        let request = ShimRequest::Attach(Streams { stdin, stdout, stderr });
        let connection = container.ask(|answer| Request::Attach { request, answer }).await?;
        let record = container.record();
        super::publish::event(&self.inner.events, &record, "attach");
        let tty = record.config.tty;
        Ok(crate::shim::attach_stream(connection, Vec::new(), true, tty, detach_keys))
    }

    /// Puts a probe's verdict into the record of a container that runs.
    pub(crate) async fn container_set_health(
        &self,
        id: &super::ContainerId,
        health: Option<Health>,
    ) -> Result<()> {
        let container = self.inner.registry.find(id.as_str())?;
        container.ask(|answer| Request::Health { health, answer }).await
    }

    /// Runs an operation to its end even if the asker goes away in the middle.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let done = self.inner.tasks.spawn(work).await;
        done.map_err(|error| Error::Internal(format!("operation was cut off: {error}")))?
    }
}

/// How a stop goes.
struct StopPlan {
    signal: i32,
    /// `None`: for ever.
    timeout: Option<Duration>,
}

impl StopPlan {
    fn new(container: &Container, options: &StopOptions) -> Result<Self> {
        let record = container.record();
        let signal = match options.signal.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => signal::parse(text)?,
            None => stop_signal(&record),
        };
        let secs = options.timeout_secs.or(record.config.stop_timeout_secs);
        let timeout = u64::try_from(secs.unwrap_or(STOP_TIMEOUT_SECS)).ok();
        Ok(Self { signal, timeout: timeout.map(Duration::from_secs) })
    }
}

async fn stop(container: &Container, plan: StopPlan, cause: SignalCause) -> Result<()> {
    let mut watch = container.watch();
    let send = |signal| container.ask(move |answer| Request::Signal { signal, cause, answer });
    send(plan.signal).await?;
    if !wait_until(&mut watch, plan.timeout.unwrap_or(NEVER), is_over).await {
        match send(signal::KILL).await {
            Ok(()) | Err(Error::NotModified(_)) => {}
            Err(error) => return Err(error),
        }
        if !wait_until(&mut watch, KILL_DEADLINE, is_over).await {
            return Err(Error::Internal(format!(
                "cannot stop container: {}: it did not end within {} s of SIGKILL",
                container.id,
                KILL_DEADLINE.as_secs()
            )));
        }
    }
    Ok(())
}

/// Whether nothing runs and nothing will run again by itself.
fn is_over(published: &Published) -> bool {
    let status = published.record.state.status;
    published.removed || !(status.has_process() || status == Status::Restarting)
}

async fn wait_until(
    watch: &mut watch::Receiver<Published>,
    deadline: Duration,
    done: impl Fn(&Published) -> bool,
) -> bool {
    // An owner that has gone counts: removed, or the daemon ends.
    tokio::time::timeout(deadline, watch.wait_for(|published| done(published))).await.is_ok()
}
