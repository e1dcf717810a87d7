//! The owner of the agent's core: hands it what happened, carries out what it says.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use cluster::agent::{Agent, Input, Launch, Output, Record};
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use cluster::time::Time;
use cluster::wire::FromAgent;
use mesos_api::v1::executor;
use mesos_api::v1::task_status::Reason;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::Store;
use crate::config::Config;
use crate::containers::{Command, Containers, Reporter};
use crate::docker::{How, Job};
use crate::layout::{Layout, Run};
use crate::{identity, sandbox};

/// How many requests may wait.
pub(crate) const QUEUE: usize = 1024;
/// How many events may wait for an executor that does not read.
const EVENTS: usize = 1024;
/// How long containers may take to end when the agent is told to leave.
const LEAVING: Duration = Duration::from_secs(30);

/// What the driver is asked.
pub(crate) enum Request {
    Input(Input),
    /// A call of an executor; a subscription is answered with its events.
    Call {
        call: Box<executor::Call>,
        reply: oneshot::Sender<
            Result<Option<mpsc::Receiver<executor::Event>>, cluster::agent::Refusal>,
        >,
    },
    /// Nobody reads the events of an executor any more.
    Unread {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        events: mpsc::Sender<executor::Event>,
    },
    /// Looks at the agent.
    Look(Box<dyn FnOnce(&View<'_>) + Send>),
    /// End everything that runs here, then the agent.
    Leave,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Input(_) => "Input",
            Self::Call { .. } => "Call",
            Self::Unread { .. } => "Unread",
            Self::Look(_) => "Look",
            Self::Leave => "Leave",
        })
    }
}

/// What can be looked at.
pub(crate) struct View<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) config: &'a Config,
    pub(crate) layout: &'a Layout,
    pub(crate) agent_id: &'a str,
    pub(crate) containers: &'a Containers,
    /// Seconds since the epoch at which the agent started.
    pub(crate) started: f64,
    pub(crate) uptime: Duration,
}

/// Wall-clock time that never goes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Duration,
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let base = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { base, start: Instant::now() }
    }

    pub(crate) fn now(self) -> Time {
        let nanos = (self.base + self.start.elapsed()).as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn until(self, time: Time) -> Duration {
        time.since(self.now())
    }
}

/// The driver.
pub(crate) struct Driver {
    pub(crate) agent: Agent,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) layout: Layout,
    pub(crate) clock: Clock,
    pub(crate) containers: Containers,
    pub(crate) master: mpsc::Sender<Box<FromAgent>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) to_self: mpsc::Sender<Request>,
    pub(crate) executors: HashMap<ContainerId, mpsc::Sender<executor::Event>>,
}

impl Driver {
    /// Runs until the agent has to end; says why.
    pub(crate) async fn run(mut self, first: Vec<Output>) -> anyhow::Result<()> {
        if let Some(end) = self.carry_out(first) {
            return self.end(end).await;
        }
        if self.config.docker.kill_orphans {
            self.containers.remove_orphans();
        }
        loop {
            let tick = self.agent.next_tick().map(|at| self.clock.until(at));
            let outputs = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return Ok(()),
                },
                () = sleep(tick), if tick.is_some() => {
                    self.agent.handle(self.clock.now(), Input::Tick)
                }
            };
            if let Some(end) = self.carry_out(outputs) {
                return self.end(end).await;
            }
        }
    }

    fn take(&mut self, request: Request) -> Vec<Output> {
        let now = self.clock.now();
        match request {
            Request::Input(input) => self.agent.handle(now, input),
            Request::Call { call, reply } => {
                let names = (
                    FrameworkId::from(call.framework_id.value.as_str()),
                    ExecutorId::from(call.executor_id.value.as_str()),
                );
                let subscribes = call.r#type() == executor::call::Type::Subscribe;
                match self.agent.executor_call(now, *call) {
                    Ok((container, outputs)) => {
                        let events = subscribes.then(|| self.open(names, container));
                        // The answer goes out before its events, which only wait in the channel.
                        let _ = reply.send(Ok(events));
                        outputs
                    }
                    Err(refusal) => {
                        let _ = reply.send(Err(refusal)); // the executor may be gone
                        Vec::new()
                    }
                }
            }
            Request::Unread { framework, executor, container, events } => {
                let current = self.executors.get(&container);
                if !current.is_some_and(|current| current.same_channel(&events)) {
                    return Vec::new();
                }
                self.executors.remove(&container);
                self.agent.handle(now, Input::ExecutorGone { framework, executor, container })
            }
            Request::Look(look) => {
                look(&View {
                    agent: &self.agent,
                    config: &self.config,
                    layout: &self.layout,
                    agent_id: self.store.agent_id(),
                    containers: &self.containers,
                    started: self.clock.base.as_secs_f64(),
                    uptime: self.clock.start.elapsed(),
                });
                Vec::new()
            }
            Request::Leave => self.agent.leave(now),
        }
    }

    fn open(
        &mut self,
        (framework, executor): (FrameworkId, ExecutorId),
        container: ContainerId,
    ) -> mpsc::Receiver<executor::Event> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        self.executors.insert(container.clone(), sender.clone());
        let driver = self.to_self.clone();
        // Ends with the receiver, which the connection owns.
        tokio::spawn(async move {
            sender.closed().await;
            let unread = Request::Unread { framework, executor, container, events: sender };
            let _ = driver.send(unread).await; // without a driver there is nobody to tell
        });
        receiver
    }

    /// Carries out outputs in their order; returns why the agent has to end, if it has.
    fn carry_out(&mut self, outputs: Vec<Output>) -> Option<End> {
        let mut end = None;
        for output in outputs {
            match output {
                Output::Persist(record) => self.persist(&record),
                Output::Send(message) => {
                    note(&message);
                    if self.master.try_send(message).is_err() {
                        tracing::warn!("too many messages wait for the master; one is dropped");
                    }
                }
                Output::Launch(launch) => self.launch(*launch, How::Start),
                Output::Reattach(launch) => self.launch(*launch, How::Reattach),
                Output::Stop { container, grace } => {
                    self.containers.tell(&container, Command::Stop(grace));
                }
                Output::Destroy { container } => self.containers.tell(&container, Command::Destroy),
                Output::Resize { container, resources } => {
                    self.containers.resize(&container, resources);
                }
                Output::Executor { container, event } => self.tell_executor(&container, *event),
                Output::Exit(text) => end = Some(End::Now(text)),
                Output::Leave(text) => end = Some(End::Leave(text)),
            }
        }
        end
    }

    /// A record that cannot be written must not stop the cluster's view of this agent: it is told,
    /// and what depends on it after a restart is derived from the containers again.
    fn persist(&mut self, record: &Record) {
        if let Err(error) = tokio::task::block_in_place(|| self.store.write(record)) {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "cannot write a checkpoint; is the disk full?");
        }
        if let Record::Finished { container, .. } = record {
            self.executors.remove(container);
            self.containers.tell(container, Command::Remove);
        }
    }

    fn tell_executor(&mut self, container: &ContainerId, event: executor::Event) {
        let Some(events) = self.executors.get(container) else { return };
        if events.try_send(event).is_err() {
            // It does not read: it has to subscribe anew, and is told again then.
            self.executors.remove(container);
        }
    }

    fn launch(&mut self, launch: Launch, how: How) {
        let reporter = Reporter {
            framework: launch.framework_id.clone(),
            executor: launch.executor_id.clone(),
            container: launch.container_id.clone(),
            driver: self.to_self.clone(),
        };
        match self.job(launch) {
            Ok(job) => self.containers.begin(job, how),
            Err(text) => {
                let message = format!("Failed to launch container: {text}");
                self.containers.refuse(reporter, Reason::ContainerLaunchFailed, message);
            }
        }
    }

    /// Makes the sandbox and what else a container needs of the agent.
    fn job(&self, launch: Launch) -> Result<Job, String> {
        let run = Run {
            framework: &launch.framework_id,
            executor: &launch.executor_id,
            container: &launch.container_id,
        };
        let directory = self.layout.sandbox(self.store.agent_id(), run);
        let user = self.user(&launch)?;
        sandbox::create(&directory, user)
            .map_err(|e| format!("cannot create the sandbox {}: {e}", directory.display()))?;
        let persistent = self.persistent_volumes(&launch, user)?;
        let environment = self.environment(&launch, &directory);
        let link = self.layout.link(&launch.container_id);
        let resources = tokio::sync::watch::channel(launch.resources.clone()).1;
        Ok(Job { sandbox: directory, link, user, environment, persistent, launch, resources })
    }

    fn user(&self, launch: &Launch) -> Result<Option<identity::User>, String> {
        if !self.config.switch_user {
            return Ok(None);
        }
        let command = match &launch.task {
            Some(task) => task.command.as_ref(),
            None => launch.executor.command.as_ref(),
        };
        let name = command.and_then(|c| c.user.as_deref()).unwrap_or(&launch.framework.user);
        if name.is_empty() {
            return Ok(None);
        }
        identity::user(name).map(Some)
    }

    fn persistent_volumes(
        &self,
        launch: &Launch,
        user: Option<identity::User>,
    ) -> Result<Vec<(std::path::PathBuf, mesos_api::v1::Volume)>, String> {
        let mut all = Vec::new();
        for resource in &launch.resources {
            let Some(disk) = &resource.disk else { continue };
            let (Some(persistence), Some(volume)) = (&disk.persistence, &disk.volume) else {
                continue;
            };
            let role = resource.reservations.last().and_then(|r| r.role.as_deref());
            let directory = self.layout.volume(role.unwrap_or("*"), &persistence.id);
            let failed = |e: std::io::Error| {
                format!("cannot create the volume {}: {e}", directory.display())
            };
            if !directory.exists() {
                std::fs::create_dir_all(&directory).map_err(failed)?;
                sandbox::own(&directory, user).map_err(failed)?;
            }
            all.push((directory, volume.clone()));
        }
        Ok(all)
    }

    /// The variables that Mesos promises.
    fn environment(&self, launch: &Launch, sandbox: &std::path::Path) -> BTreeMap<String, String> {
        let docker = crate::docker::supports(launch);
        let inside =
            if docker { crate::docker::SANDBOX.to_owned() } else { sandbox.display().to_string() };
        let mut all = BTreeMap::new();
        let mut set = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
        set("MESOS_SANDBOX", inside);
        set("MESOS_ALLOCATION_ROLE", launch.role.clone());
        if docker {
            set("MESOS_CONTAINER_NAME", format!("mesos-{}", launch.container_id));
        }
        if launch.task.is_some() {
            return all;
        }
        let times = &self.config.times;
        let checkpoint = launch.framework.checkpoint();
        let grace = launch.executor.shutdown_grace_period.as_ref().map(|g| g.nanoseconds);
        let grace = grace
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map_or(times.executor_shutdown_grace, Duration::from_nanos);
        set("MESOS_FRAMEWORK_ID", launch.framework_id.to_string());
        set("MESOS_EXECUTOR_ID", launch.executor_id.to_string());
        set("MESOS_DIRECTORY", sandbox.display().to_string());
        set("MESOS_SLAVE_ID", self.store.agent_id().to_owned());
        set("MESOS_SLAVE_PID", self.config.pid());
        set("MESOS_AGENT_ENDPOINT", self.config.address.to_string());
        set("MESOS_CHECKPOINT", u8::from(checkpoint).to_string());
        set("MESOS_HTTP_COMMAND_EXECUTOR", "0".to_owned());
        set("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", flags::units::print_duration(grace));
        if checkpoint {
            set("MESOS_RECOVERY_TIMEOUT", flags::units::print_duration(times.recovery));
            set(
                "MESOS_SUBSCRIPTION_BACKOFF_MAX",
                flags::units::print_duration(times.executor_reregistration),
            );
        }
        set("LIBPROCESS_IP", self.config.address.ip().to_string());
        set("LIBPROCESS_PORT", "0".to_owned());
        all
    }

    /// Ends the agent: at once, or when everything that ran here has ended.
    async fn end(mut self, end: End) -> anyhow::Result<()> {
        let text = match end {
            End::Now(text) => anyhow::bail!(text),
            End::Leave(text) => text,
        };
        let deadline = tokio::time::Instant::now() + LEAVING;
        while self.agent.frameworks().next().is_some() {
            let request = tokio::time::timeout_at(deadline, self.requests.recv()).await;
            let Ok(Some(request)) = request else {
                tracing::warn!("some containers have not ended in time");
                break;
            };
            let outputs = self.take(request);
            let _ = self.carry_out(outputs); // it is ending already
        }
        self.containers.drain(deadline).await;
        if text.is_empty() { Ok(()) } else { anyhow::bail!(text) }
    }
}

enum End {
    Now(String),
    Leave(String),
}

async fn sleep(time: Option<Duration>) {
    if let Some(time) = time {
        tokio::time::sleep(time).await;
    }
}

/// Writes down what an operator asks about.
fn note(message: &FromAgent) {
    match message {
        FromAgent::StatusUpdate(update) => {
            let status = &update.update.status;
            tracing::info!(
                framework_id = %update.update.framework_id,
                task_id = %status.task_id,
                state = status.state().as_str_name(),
                message = status.message.as_deref(),
                "status update"
            );
        }
        FromAgent::Register(_) | FromAgent::Reregister(_) => {
            tracing::info!(message = message.name(), "registering");
        }
        other => tracing::debug!(message = other.name(), "to the master"),
    }
}
