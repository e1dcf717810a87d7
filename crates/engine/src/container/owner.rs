//! The owner task of one container: takes requests one after the other, acts, persists, publishes.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use runtime::shim::protocol::{self as shim_protocol, Empty, FailureKind};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::driver::Run;
use super::exit::{self, RunEnd, RunId};
use super::handle::{Container, Published, QUEUED_REQUESTS, Request, SignalCause};
use super::host_config::HostConfig;
use super::policy::{self, Action};
use super::record::{ContainerRecord, Intent};
use super::request::{ContainerPaths, RemoveOptions, UpdateRequest};
use super::restart::{Backoff, Ended};
use super::signal;
use super::state::{Health, Status};
use super::{driver, links, network, publish, remove};
use crate::shim::{Shim, ShimError};
use crate::{Engine, Error, Result};

/// How long the end of a killed container may take before it is an error.
const KILL_DEADLINE: Duration = Duration::from_secs(15);

/// Between two looks whether those that a container is linked to have come back.
const LINK_PAUSE: Duration = Duration::from_millis(50);

/// What recovery found out about a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing runs.
    #[default]
    Stopped,
    /// Its shim answers.
    Running,
    /// It is to be started after this delay.
    ToStart(Duration),
    /// Its removal was cut off.
    ToRemove,
}

/// The owner's state; the record is what disk and watch hold.
pub(super) struct Owner {
    pub(super) engine: Engine,
    pub(super) record: ContainerRecord,
    pub(super) paths: Arc<ContainerPaths>,
    published: watch::Sender<Published>,
    /// Of the shim to come, when somebody attached before the start.
    listener: Option<UnixListener>,
    /// The wait for the end of the present run.
    run: Option<JoinHandle<RunEnd>>,
    /// When the restart policy starts it again.
    restart_at: Option<Instant>,
    backoff: Backoff,
}

/// Whether the task goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Continue,
    Gone,
}

/// Starts the owner task of a container and makes the container known.
pub(crate) fn spawn(engine: &Engine, record: ContainerRecord, found: Found) -> Container {
    let paths = Arc::new(ContainerPaths::new(engine.config(), &record.id));
    let (requests, queue) = mpsc::channel(QUEUED_REQUESTS);
    let published = Published {
        record: Arc::new(record.clone()),
        ended_runs: 0,
        last_exit_code: record.state.exit_code,
        removed: false,
    };
    let (sender, receiver) = watch::channel(published);
    let container = Container::new(record.id.clone(), Arc::clone(&paths), requests, receiver);
    engine.inner.registry.insert(container.clone());
    let owner = Owner {
        engine: engine.clone(),
        record,
        paths,
        published: sender,
        listener: None,
        run: None,
        restart_at: None,
        backoff: Backoff::default(),
    };
    engine.inner.tasks.spawn(owner.task(queue, found));
    engine.inner.tasks.spawn(crate::health::watch(engine.clone(), container.clone()));
    container
}

impl Owner {
    async fn task(mut self, mut queue: mpsc::Receiver<Request>, found: Found) {
        match found {
            Found::Stopped => {}
            Found::Running => self.watch_run(None),
            Found::ToStart(delay) => self.restart_at = Some(Instant::now() + delay),
            Found::ToRemove => {
                // As far as the last daemon came with it.
                self.record.state.status = Status::Exited;
                let options = RemoveOptions { force: true, volumes: true, link: false };
                if let Err(error) = self.remove(options).await {
                    tracing::error!(container_id = %self.record.id, %error, "removal not completed");
                }
            }
        }
        let stopping = self.engine.inner.stopping.clone();
        while !self.published.borrow().removed {
            let next = tokio::select! {
                biased;
                () = stopping.cancelled() => Next::Gone,
                end = wait_end(&mut self.run), if self.run.is_some() => self.ended(end).await,
                () = sleep_until(self.restart_at), if self.restart_at.is_some() => {
                    self.restart_at = None;
                    self.start_again().await
                }
                request = queue.recv() => match request {
                    Some(request) => self.handle(request).await,
                    None => Next::Gone,
                },
            };
            if next == Next::Gone {
                break;
            }
        }
        if let Some(run) = self.run.take() {
            // The wait is all that ends; the container and its shim go on.
            run.abort();
        }
    }

    async fn handle(&mut self, request: Request) -> Next {
        // An asker that has gone does not change what was done.
        match request {
            Request::Start(answer) => {
                let result = match policy::decide(&self.record, Action::Start) {
                    Ok(()) => self.start_by_hand().await,
                    Err(error) => Err(error),
                };
                let failed_alone = result.is_err()
                    && !self.record.state.status.has_process()
                    && self.record.host_config.auto_remove
                    && !matches!(result, Err(Error::NotModified(_)));
                let _ = answer.send(result);
                if failed_alone {
                    return self.remove_self().await;
                }
            }
            Request::Signal { signal, cause, answer } => {
                let _ = answer.send(self.signal(signal, cause).await);
            }
            Request::BeginRestart(answer) => {
                self.record.intent = Some(Intent::Restart);
                let _ = answer.send(self.persist().await);
            }
            Request::Pause(answer) => {
                let _ = answer.send(self.freeze(Action::Pause).await);
            }
            Request::Unpause(answer) => {
                let _ = answer.send(self.freeze(Action::Unpause).await);
            }
            Request::Rename { name, answer } => {
                let _ = answer.send(self.rename(name).await);
            }
            Request::Unlink { alias, answer } => {
                let _ = answer.send(self.unlink(&alias).await);
            }
            Request::Update { request, answer } => {
                let _ = answer.send(self.update(*request).await);
            }
            Request::Remove { options, answer } => {
                let result = self.remove(options).await;
                let _ = answer.send(result);
            }
            Request::Attach { request, answer } => {
                let _ = answer.send(self.attach(&request).await);
            }
            Request::Connect { network, settings, answer } => {
                let _ = answer.send(self.connect(network, *settings).await);
            }
            Request::Disconnect { network, force, answer } => {
                let _ = answer.send(self.disconnect(network, force).await);
            }
            Request::Health { health, answer } => {
                let _ = answer.send(self.set_health(health).await);
            }
        }
        Next::Continue
    }

    /// Makes the record durable, then visible.
    pub(super) async fn persist(&mut self) -> Result<()> {
        self.engine.inner.store.put(&self.record).await?;
        self.show();
        Ok(())
    }

    fn show(&self) {
        let record = Arc::new(self.record.clone());
        self.published.send_modify(|published| published.record = record);
    }

    fn event(&self, action: &str) {
        publish::event(&self.engine.inner.events, &self.record, action);
    }

    async fn start_by_hand(&mut self) -> Result<()> {
        self.backoff = Backoff::default();
        self.record.state.restart_count = 0;
        self.record.state.manually_stopped = false;
        self.start().await
    }

    /// Brings the process up; on failure leaves the state as Docker does.
    async fn start(&mut self) -> Result<()> {
        let launched = self.launch().await;
        self.launched(launched).await
    }

    async fn launch(&mut self) -> Result<Run> {
        let listener = self.listener.take();
        driver::start(&self.engine, &self.record, &self.paths, listener).await
    }

    async fn launched(&mut self, launched: Result<Run>) -> Result<()> {
        let run = match launched {
            Ok(run) => run,
            Err(error) => {
                self.start_failed(&error).await;
                return Err(error);
            }
        };
        let state = &mut self.record.state;
        state.status = Status::Running;
        state.pid = run.pid;
        state.pid_start_ticks = run.start_ticks;
        state.boot_id.clone_from(&self.engine.inner.host.boot_id);
        state.started_at = Some(run.started_at);
        state.exit_code = 0;
        state.error.clear();
        state.oom_killed = false;
        state.health = crate::container::initial_health(&self.record.config);
        self.record.intent = None;
        self.record.networks = run.networks;
        self.watch_run(Some(run.child));
        if let Err(error) = self.persist().await {
            // A run that nobody would know about after a crash must not go on.
            let _ = self.send_signal(signal::KILL).await; // its end is watched
            return Err(error);
        }
        self.engine.step("start:record");
        self.tell_links().await;
        if network::publishes(&self.record.networks) {
            network::hold_ports(&self.engine, &self.record.id, &self.shim()).await;
        }
        publish::networks(&self.engine.inner.events, &self.record, "connect");
        self.event("start");
        Ok(())
    }

    /// Once everybody can see that this one runs: of two that start at once, linked to each other,
    /// the later finds the earlier.
    async fn tell_links(&self) {
        let (engine, record, paths) =
            (self.engine.clone(), self.record.clone(), Arc::clone(&self.paths));
        let told = crate::blocking(move || {
            links::tell_linked(&engine, &record, &record.networks);
            links::catch_up(&engine, &record, &paths);
            Ok(())
        });
        if let Err(error) = told.await {
            tracing::error!(container_id = %self.record.id, %error, "links not told");
        }
    }

    async fn start_failed(&mut self, error: &Error) {
        let state = &mut self.record.state;
        state.status = if state.started_at.is_some() { Status::Exited } else { Status::Created };
        state.pid = 0;
        state.exit_code = match error {
            Error::StartFailed { exit_code, .. } => *exit_code,
            _ => 128,
        };
        state.error = error.to_string();
        state.health = None;
        self.record.intent = None;
        if let Err(error) = self.persist().await {
            tracing::error!(container_id = %self.record.id, %error, "failed start not recorded");
            self.show();
        }
        self.publish_end();
    }

    /// Wakes those who wait for the end of a run.
    fn publish_end(&self) {
        let code = self.record.state.exit_code;
        self.published.send_modify(|published| {
            published.ended_runs += 1;
            published.last_exit_code = code;
        });
    }

    async fn start_again(&mut self) -> Next {
        if links::awaits(&self.engine, &self.record) {
            self.restart_at = Some(Instant::now() + LINK_PAUSE);
            return Next::Continue;
        }
        let began = Timestamp::now();
        let launched = self.launch().await;
        if launched.is_err() && links::awaits(&self.engine, &self.record) {
            // It still ran when this began. One that may try only once must not lose that to it.
            self.restart_at = Some(Instant::now() + LINK_PAUSE);
            return Next::Continue;
        }
        self.record.state.restart_count += 1;
        if let Err(error) = self.launched(launched).await {
            tracing::warn!(container_id = %self.record.id, %error, "restart failed");
            let lasted = Duration::ZERO;
            self.record.state.finished_at = Some(began);
            return self.after_end(lasted).await;
        }
        Next::Continue
    }

    fn watch_run(&mut self, child: Option<Child>) {
        let run = RunId {
            paths: Arc::clone(&self.paths),
            pid: self.record.state.pid,
            start_ticks: self.record.state.pid_start_ticks,
            cgroup: driver::cgroup(self.engine.config(), &self.record),
        };
        self.run = Some(tokio::spawn(exit::wait(run, child)));
    }

    /// The run is over: takes down what it needed, then records and tells it.
    async fn ended(&mut self, end: RunEnd) -> Next {
        self.run = None;
        let (engine, record, paths) =
            (self.engine.clone(), self.record.clone(), Arc::clone(&self.paths));
        let torn = crate::blocking(move || {
            driver::tear_down(&engine, &record, &paths);
            engine.unmount_unused_volumes(&record);
            Ok(())
        });
        if let Err(error) = torn.await {
            tracing::error!(container_id = %self.record.id, %error, "run not taken down");
        }
        self.engine.inner.execs.forget_container(&self.record.id);
        let state = &mut self.record.state;
        state.pid = 0;
        state.pid_start_ticks = 0;
        state.exit_code = end.exit_code;
        state.oom_killed = end.oom_killed;
        state.finished_at = Some(end.finished_at);
        state.error = end.error;
        let lasted = match state.started_at {
            Some(started) => Duration::try_from(end.finished_at - started).unwrap_or_default(),
            None => Duration::ZERO,
        };
        publish::died(&self.engine.inner.events, &self.record);
        publish::networks(&self.engine.inner.events, &self.record, "disconnect");
        self.record.networks.values_mut().for_each(|endpoint| endpoint.live = None);
        self.after_end(lasted).await
    }

    /// Decides what comes after a run, records it, and wakes those who wait.
    async fn after_end(&mut self, lasted: Duration) -> Next {
        let state = &self.record.state;
        let ended = Ended {
            exit_code: state.exit_code,
            lasted,
            by_hand: state.manually_stopped || self.record.intent == Some(Intent::Restart),
        };
        let policy = &self.record.host_config.restart_policy;
        let delay = self.backoff.next(policy, state.restart_count, ended);
        self.record.state.status = match delay {
            Some(_) => Status::Restarting,
            None => Status::Exited,
        };
        let removes = delay.is_none()
            && self.record.host_config.auto_remove
            && self.record.intent != Some(Intent::Restart);
        self.restart_at = delay.map(|delay| Instant::now() + delay);
        if removes {
            // The removal is the next commit. Until then disk says that it runs: recovery finds
            // neither shim nor process, and removes it all the same.
            self.show();
        } else if let Err(error) = self.persist().await {
            tracing::error!(container_id = %self.record.id, %error, "end not recorded");
            self.show();
        }
        self.publish_end();
        if removes { self.remove_self().await } else { Next::Continue }
    }

    async fn remove_self(&mut self) -> Next {
        let options = RemoveOptions { force: true, volumes: true, link: false };
        match self.remove(options).await {
            Ok(()) => Next::Gone,
            Err(error) => {
                tracing::error!(container_id = %self.record.id, %error, "automatic removal failed");
                Next::Continue
            }
        }
    }

    async fn signal(&mut self, number: i32, cause: SignalCause) -> Result<()> {
        let action = if cause == SignalCause::Kill { Action::Kill } else { Action::Stop };
        policy::decide(&self.record, action)?;
        let stop_signal = stop_signal(&self.record);
        let ends = number == signal::KILL || number == stop_signal || cause != SignalCause::Kill;
        let by_hand = ends && matches!(cause, SignalCause::Kill | SignalCause::Stop);
        if self.record.state.status == Status::Restarting {
            if ends {
                self.restart_at = None;
                self.record.state.status = Status::Exited;
                self.record.state.manually_stopped |= by_hand;
                self.persist().await?;
            }
            return Ok(());
        }
        if by_hand && !self.record.state.manually_stopped {
            // Before the signal: its effect must find the decision.
            self.record.state.manually_stopped = true;
            self.persist().await?;
        }
        self.send_signal(number).await?;
        if ends && self.record.state.status == Status::Paused {
            self.resume_for_signal().await?;
        }
        if cause == SignalCause::Kill || cause == SignalCause::Stop {
            let event = publish::container(&self.record, "kill").with("signal", number.to_string());
            self.engine.inner.events.publish(event);
        }
        Ok(())
    }

    /// A frozen process takes its signal once it is thawed.
    async fn resume_for_signal(&mut self) -> Result<()> {
        match self.shim().request::<Empty>(&shim_protocol::Request::Resume).await {
            Ok(Empty {}) => {}
            Err(error) if is_not_running(&error) => {}
            Err(error) => return Err(self.shim_failed("unpause", &error)),
        }
        self.record.state.status = Status::Running;
        self.persist().await
    }

    async fn send_signal(&self, number: i32) -> Result<()> {
        let request = shim_protocol::Request::Kill { signal: number, all: false };
        match self.shim().request::<Empty>(&request).await {
            Ok(Empty {}) => Ok(()),
            // It has ended in this moment; its end is on its way here.
            Err(error) if is_not_running(&error) => Ok(()),
            Err(error) => Err(self.shim_failed("kill", &error)),
        }
    }

    async fn freeze(&mut self, action: Action) -> Result<()> {
        policy::decide(&self.record, action)?;
        let (request, status, verb) = if action == Action::Pause {
            (shim_protocol::Request::Pause, Status::Paused, "pause")
        } else {
            (shim_protocol::Request::Resume, Status::Running, "unpause")
        };
        self.shim()
            .request::<Empty>(&request)
            .await
            .map_err(|error| self.shim_failed(verb, &error))?;
        self.record.state.status = status;
        self.persist().await?;
        self.event(verb);
        Ok(())
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        policy::decide(&self.record, Action::Rename)?;
        let old = std::mem::replace(&mut self.record.name, name);
        if let Err(error) = self.persist().await {
            self.record.name = old;
            return Err(error);
        }
        self.engine.inner.registry.release(&old, &self.record.id);
        let (network, id, name) =
            (self.engine.inner.network.clone(), self.record.id.clone(), self.record.name.clone());
        let renamed =
            crate::blocking(move || Ok(network.rename_container(id.as_str(), &name)?)).await;
        if let Err(error) = renamed {
            tracing::warn!(container_id = %self.record.id, %error, "endpoint keeps the old name");
        }
        let event = publish::container(&self.record, "rename").with("oldName", format!("/{old}"));
        self.engine.inner.events.publish(event);
        Ok(())
    }

    async fn unlink(&mut self, alias: &str) -> Result<()> {
        policy::decide(&self.record, Action::Update)?;
        let Some(at) = self.record.links.iter().position(|link| link.alias == alias) else {
            return Err(Error::no_such_container(format!("/{}/{alias}", self.record.name)));
        };
        let link = self.record.links.remove(at);
        if let Err(error) = self.persist().await {
            self.record.links.insert(at, link);
            return Err(error);
        }
        if self.record.state.status.has_process() {
            let (engine, record, paths) =
                (self.engine.clone(), self.record.clone(), Arc::clone(&self.paths));
            crate::blocking(move || {
                links::undo(&engine, &record, &paths, &link);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn update(&mut self, request: UpdateRequest) -> Result<()> {
        policy::decide(&self.record, Action::Update)?;
        let mut host_config = HostConfig::clone(&self.record.host_config);
        super::update::apply(&mut host_config, &request, &self.engine.inner.host)?;
        if self.record.state.status.has_process() {
            let resources = Box::new(crate::spec::resource_limits(&host_config.resources)?);
            let update = shim_protocol::Request::Update { resources };
            self.shim()
                .request::<Empty>(&update)
                .await
                .map_err(|error| self.shim_failed("update", &error))?;
        }
        self.record.host_config = Arc::new(host_config);
        self.persist().await?;
        self.event("update");
        Ok(())
    }

    async fn attach(&mut self, request: &shim_protocol::Request) -> Result<tokio::net::UnixStream> {
        policy::decide(&self.record, Action::Attach)?;
        let shim = self.shim();
        if !self.record.state.status.has_process() && self.listener.is_none() {
            driver::make_bundle(&self.paths)?;
            let listener =
                shim.listen().map_err(Error::io("listen on", &self.paths.shim_socket))?;
            self.listener = Some(listener);
        }
        let stream = shim.send(request).await;
        stream.map_err(|error| self.shim_failed("attach to", &error.into()))
    }

    async fn set_health(&mut self, health: Option<Health>) -> Result<()> {
        if !self.record.state.status.has_process() {
            return Ok(());
        }
        let verdict = |health: &Option<Health>| health.as_ref().map(|health| health.status);
        let changed = verdict(&self.record.state.health) != verdict(&health);
        self.record.state.health = health;
        if changed {
            return self.persist().await;
        }
        // The log of probes is not worth a sync each time.
        self.show();
        Ok(())
    }

    /// Removes the container: kills it if need be, then metadata first, bytes later.
    async fn remove(&mut self, options: RemoveOptions) -> Result<()> {
        policy::decide(&self.record, Action::Remove { force: options.force })?;
        self.restart_at = None;
        if let Some(run) = self.run.take() {
            self.record.state.manually_stopped = true;
            self.kill_and_take_down(run).await?;
        }
        self.engine.step("remove:killed");
        self.record.state.status = Status::Removing;
        self.show();
        self.listener = None;
        if let Err(error) = remove::forget(self, options).await {
            self.record.state.status = Status::Dead;
            self.record.state.error = error.to_string();
            self.show();
            return Err(error);
        }
        self.event("destroy");
        self.published.send_modify(|published| published.removed = true);
        Ok(())
    }

    async fn kill_and_take_down(&mut self, mut run: JoinHandle<RunEnd>) -> Result<()> {
        let sent = self.send_signal(signal::KILL).await;
        if self.record.state.status == Status::Paused {
            // Its end tells whether this worked.
            let _ = self.shim().request::<Empty>(&shim_protocol::Request::Resume).await;
        }
        let Ok(Ok(end)) = tokio::time::timeout(KILL_DEADLINE, &mut run).await else {
            self.run = Some(run);
            sent?;
            return Err(Error::Internal(format!(
                "could not kill container: it did not end within {} s of SIGKILL",
                KILL_DEADLINE.as_secs()
            )));
        };
        let (engine, record, paths) =
            (self.engine.clone(), self.record.clone(), Arc::clone(&self.paths));
        crate::blocking(move || {
            driver::tear_down(&engine, &record, &paths);
            Ok(())
        })
        .await?;
        self.engine.inner.execs.forget_container(&self.record.id);
        let state = &mut self.record.state;
        state.pid = 0;
        state.exit_code = end.exit_code;
        state.oom_killed = end.oom_killed;
        state.finished_at = Some(end.finished_at);
        state.status = Status::Exited;
        let kill = publish::container(&self.record, "kill").with("signal", "9");
        self.engine.inner.events.publish(kill);
        publish::died(&self.engine.inner.events, &self.record);
        publish::networks(&self.engine.inner.events, &self.record, "disconnect");
        self.show();
        self.publish_end();
        Ok(())
    }

    pub(super) fn shim(&self) -> Shim {
        Shim::new(&self.paths.bundle)
    }

    fn shim_failed(&self, verb: &str, error: &ShimError) -> Error {
        Error::Internal(format!("cannot {verb} container {}: {error}", self.record.id))
    }

    /// Answers nobody; for the tasks of the engine.
    pub(super) fn volumes_in_use_elsewhere(&self) -> std::collections::BTreeSet<String> {
        self.engine.volumes_in_use(Some(&self.record.id))
    }
}

/// The signal that stops the container.
pub(crate) fn stop_signal(record: &ContainerRecord) -> i32 {
    let configured = record.config.stop_signal.as_deref();
    configured.and_then(|text| signal::parse(text).ok()).unwrap_or(signal::TERM)
}

fn is_not_running(error: &ShimError) -> bool {
    match error {
        ShimError::Gone(_) => true,
        ShimError::Refused(failure) => failure.kind == FailureKind::NotRunning,
    }
}

async fn wait_end(run: &mut Option<JoinHandle<RunEnd>>) -> RunEnd {
    let outcome = match run {
        Some(run) => run.await,
        None => std::future::pending().await,
    };
    outcome.unwrap_or_else(|error| RunEnd {
        exit_code: 255,
        oom_killed: false,
        finished_at: Timestamp::now(),
        error: format!("the wait for its end was cut off: {error}"),
    })
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
