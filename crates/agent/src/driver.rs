//! The owner of the agent's core: hands it what happened, carries out what it says.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use cluster::agent::{Agent, Caller, Input, Launch, Output, Record, VolumeId};
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use cluster::time::Time;
use cluster::wire::{FromAgent, FromAuthenticator, ToAgent};
use mesos_api::v1::executor;
use mesos_api::v1::task_status::Reason;
use tokio::sync::{mpsc, oneshot};

use crate::authenticatee::{Authenticatee, Heard};
use crate::config::Config;
use crate::containers::{Command, Containers};
use crate::docker::{How, Job};
use crate::journal::Journal;
use crate::layout::{Layout, Run};
use crate::link::Outgoing;
use crate::volumes::Volumes;
use crate::{identity, sandbox};

/// How many requests may wait.
pub(crate) const QUEUE: usize = 1024;
/// How many events may wait for an executor that does not read.
const EVENTS: usize = 1024;
/// How long containers may take to end when the agent is told to leave.
const LEAVING: Duration = Duration::from_secs(30);
/// After so many registrations without an answer it is said what may be the reason.
const UNHEARD: u32 = 3;

/// What the driver is asked.
pub(crate) enum Request {
    Input(Input),
    /// A call of an executor; a subscription is answered with its events.
    Call {
        call: Box<executor::Call>,
        /// None where executors are not asked who they are.
        caller: Option<Caller>,
        reply: oneshot::Sender<
            Result<Option<mpsc::Receiver<executor::Event>>, cluster::agent::Refusal>,
        >,
    },
    /// The master says something to a process of this agent that proves who it is.
    Authentication {
        to: String,
        from: String,
        message: FromAuthenticator,
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
            Self::Authentication { .. } => "Authentication",
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
    pub(crate) recovery: Recovery,
}

/// How the agent came by what an earlier one had left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovery {
    /// Records that could not be read, and were left out.
    pub(crate) errors: u64,
    pub(crate) took: Duration,
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
    pub(crate) journal: Journal,
    pub(crate) layout: Layout,
    pub(crate) volumes: Volumes,
    pub(crate) clock: Clock,
    pub(crate) containers: Containers,
    pub(crate) master: mpsc::Sender<Outgoing>,
    /// None if there is nothing to prove who this is with.
    pub(crate) authenticatee: Option<Authenticatee>,
    /// Registrations that the master has not answered.
    pub(crate) unheard: u32,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) to_self: mpsc::Sender<Request>,
    pub(crate) executors: HashMap<ContainerId, Subscription>,
    pub(crate) recovery: Recovery,
}

/// A subscribed executor.
#[derive(Debug)]
pub(crate) struct Subscription {
    events: mpsc::Sender<executor::Event>,
    /// It has been told that it is subscribed: what was meant for an earlier connection of its,
    /// and waited for the disk, has passed.
    begun: bool,
}

impl Driver {
    /// Runs until the agent has to end; says why. The records among `first` are durable.
    pub(crate) async fn run(mut self, first: Vec<Output>) -> anyhow::Result<()> {
        if let Some(end) = self.carry_out(first) {
            return self.end(end).await;
        }
        // Those around them are known now.
        self.containers.recover_nested();
        if self.config.docker.kill_orphans {
            self.containers.remove_orphans();
        }
        loop {
            if let ControlFlow::Break(end) = self.step().await {
                return self.end(end).await;
            }
        }
    }

    /// Waits for one thing to happen, and acts on it.
    async fn step(&mut self) -> ControlFlow<End> {
        let tick = self.agent.next_tick().map(|at| self.clock.until(at));
        let due = tokio::select! {
            request = self.requests.recv() => {
                let Some(request) = request else {
                    return ControlFlow::Break(End::Leave(String::new())); // nobody can ask anything
                };
                let outputs = self.take(request);
                self.journal.take(outputs)
            }
            () = sleep(tick), if tick.is_some() => {
                let outputs = self.agent.handle(self.clock.now(), Input::Tick);
                self.journal.take(outputs)
            }
            durable = self.journal.written() => durable,
        };
        let end = self.carry_out(due).or_else(|| self.let_pass());
        end.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// While the disk takes nothing tasks can still be killed: that may be what makes room. After a
    /// restart their ends would be told as exits.
    fn let_pass(&mut self) -> Option<End> {
        if !self.journal.is_stuck() {
            return None;
        }
        let passes = |output: &Output| match output {
            Output::Stop { container, .. } | Output::Destroy { container } => {
                self.containers.knows(container)
            }
            Output::Exit(_) | Output::Leave(_) => true,
            _ => false,
        };
        let waiting = std::mem::take(self.journal.waiting());
        let (now, later) = waiting.into_iter().partition(passes);
        *self.journal.waiting() = later;
        self.carry_out(now)
    }

    fn take(&mut self, request: Request) -> Vec<Output> {
        let now = self.clock.now();
        match request {
            Request::Input(input) => {
                if let Input::FromMaster(message) = &input
                    && matches!(**message, ToAgent::Registered(_) | ToAgent::Reregistered(_))
                {
                    self.unheard = 0;
                }
                self.agent.handle(now, input)
            }
            Request::Authentication { to, from, message } => self.prove(&to, from, message),
            Request::Call { call, caller, reply } => {
                let names = (
                    FrameworkId::from(call.framework_id.value.as_str()),
                    ExecutorId::from(call.executor_id.value.as_str()),
                );
                let subscribes = call.r#type() == executor::call::Type::Subscribe;
                match self.agent.executor_call(now, *call, caller.as_ref()) {
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
                if !current.is_some_and(|current| current.events.same_channel(&events)) {
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
                    agent_id: self.agent_id(),
                    containers: &self.containers,
                    started: self.clock.base.as_secs_f64(),
                    uptime: self.clock.start.elapsed(),
                    recovery: self.recovery,
                });
                Vec::new()
            }
            Request::Leave => self.agent.leave(now),
        }
    }

    /// Takes a step of proving who this is.
    fn prove(&mut self, to: &str, from: String, message: FromAuthenticator) -> Vec<Output> {
        let Some(authenticatee) = &mut self.authenticatee else { return Vec::new() };
        let proved = match authenticatee.hear(to, from, message) {
            Heard::Answer(step) => {
                self.to_master(Outgoing::Authentication(step));
                return Vec::new();
            }
            Heard::Proved => {
                tracing::info!("authenticated with the master");
                Ok(())
            }
            Heard::Refused(why) => Err(why),
            Heard::Failed(why) => {
                tracing::warn!("authentication failed, trying again later: {why}");
                return Vec::new();
            }
            Heard::Stray => return Vec::new(),
        };
        self.agent.handle(self.clock.now(), Input::Authenticated(proved))
    }

    fn to_master(&self, message: Outgoing) {
        if self.master.try_send(message).is_err() {
            tracing::warn!("too many messages wait for the master; one is dropped");
        }
    }

    fn note_registration(&mut self, message: &FromAgent) {
        if !matches!(message, FromAgent::Register(_) | FromAgent::Reregister(_)) {
            return;
        }
        self.unheard += 1;
        if self.unheard.is_multiple_of(UNHEARD) && self.config.master.may_move() {
            self.to_master(Outgoing::Redial);
        }
        if self.unheard == UNHEARD && self.authenticatee.is_none() {
            tracing::warn!(
                "the master does not answer; if it demands that agents prove who they are \
                 (--authenticate_agents), give this one a --credential"
            );
        }
    }

    fn open(
        &mut self,
        (framework, executor): (FrameworkId, ExecutorId),
        container: ContainerId,
    ) -> mpsc::Receiver<executor::Event> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let subscription = Subscription { events: sender.clone(), begun: false };
        self.executors.insert(container.clone(), subscription);
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
                Output::Persist(record) => self.persisted(&record),
                Output::Send(message) => {
                    note(&message);
                    self.note_registration(&message);
                    self.to_master(Outgoing::Agent(message));
                }
                Output::Authenticate => {
                    let pid = self.config.pid();
                    if let Some(step) = self.authenticatee.as_mut().map(|it| it.begin(&pid)) {
                        tracing::info!("authenticating with the master");
                        self.to_master(Outgoing::Authentication(step));
                    }
                }
                Output::Launch(launch) => self.launch(*launch, How::Start),
                Output::Reattach(launch) => self.launch(*launch, How::Reattach),
                Output::Stop { container, grace } => {
                    self.containers.tell(&container, Command::Stop(grace));
                }
                Output::Destroy { container } => self.containers.tell(&container, Command::Destroy),
                Output::Remove { container } => self.containers.tell(&container, Command::Remove),
                Output::Resize { container, resources } => {
                    self.containers.resize(&container, resources);
                }
                Output::MakeVolume(volume) => {
                    if let Err(error) = self.volumes.make(&volume) {
                        tracing::error!(%error, "cannot make a persistent volume; its task tries again");
                    }
                }
                Output::DeleteVolume(volume) => self.volumes.delete(&volume),
                Output::Executor { container, event } => self.tell_executor(&container, *event),
                Output::Exit(text) => end = Some(End::Now(text)),
                Output::Leave(text) => end = Some(End::Leave(text)),
            }
        }
        end
    }

    /// What a record that is durable now lets go.
    fn persisted(&mut self, record: &Record) {
        if let Record::Finished { container, .. } = record {
            self.executors.remove(container);
            self.containers.tell(container, Command::Remove);
        }
    }

    fn tell_executor(&mut self, container: &ContainerId, event: executor::Event) {
        let Some(subscription) = self.executors.get_mut(container) else { return };
        subscription.begun |= event.r#type() == executor::event::Type::Subscribed;
        if subscription.begun && subscription.events.try_send(event).is_err() {
            // It does not read: it has to subscribe anew, and is told again then.
            self.executors.remove(container);
        }
    }

    fn agent_id(&self) -> &str {
        self.agent.info().id.as_ref().map_or("", |id| id.value.as_str())
    }

    fn launch(&mut self, launch: Launch, how: How) {
        let run = self.containers.run(&launch);
        match self.job(launch) {
            Ok(job) => self.containers.begin(job, how),
            Err(text) => {
                let message = format!("Failed to launch container: {text}");
                self.containers.refuse(run, Reason::ContainerLaunchFailed, message);
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
        let directory = self.layout.sandbox(self.agent_id(), run);
        let user = self.user(&launch)?;
        let outer = launch.container_id.split().map(|(outer, own)| {
            (self.layout.sandbox(self.agent_id(), Run { container: &outer, ..run }), own)
        });
        let created = match (&outer, &launch.task) {
            (Some((outer, own)), Some(task)) => {
                let task = crate::layout::component(&task.task_id.value);
                sandbox::create_inside(outer, own, &task, user)
            }
            _ => sandbox::create(&directory, user),
        };
        created.map_err(|e| format!("cannot create the sandbox {}: {e}", directory.display()))?;
        let outer = outer.map(|(outer, _)| outer);
        let persistent = self.persistent_volumes(&launch, user)?;
        let environment = self.environment(&launch, &directory);
        let link = self.layout.link(&launch.container_id);
        let resources = tokio::sync::watch::channel(launch.resources.clone()).1;
        Ok(Job {
            sandbox: directory,
            outer,
            link,
            user,
            environment,
            persistent,
            launch,
            resources,
        })
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
            let volume = resource.disk.as_ref().and_then(|disk| disk.volume.as_ref());
            let (Some(id), Some(volume)) = (VolumeId::of(resource), volume) else { continue };
            let directory = self.volumes.make(&id).map_err(|e| e.to_string())?;
            if !self.is_shared(&id, &launch.container_id) {
                sandbox::own(&directory, user)
                    .map_err(|e| format!("cannot give away {}: {e}", directory.display()))?;
            }
            all.push((directory, volume.clone()));
        }
        Ok(all)
    }

    /// Whether another container uses a volume: taking it away from its user would break that one.
    fn is_shared(&self, volume: &VolumeId, container: &ContainerId) -> bool {
        let outer = container.split().map_or_else(|| container.clone(), |(outer, _)| outer);
        let executors = self.agent.frameworks().flat_map(|framework| framework.executors.values());
        executors
            .filter(|executor| executor.container != outer)
            .flat_map(|executor| executor.resources())
            .any(|resource| VolumeId::of(&resource).as_ref() == Some(volume))
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
        if launch.group.is_some() {
            set("MESOS_CONTAINER_IP", self.config.host_ip().to_string());
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
        set("MESOS_SLAVE_ID", self.agent_id().to_owned());
        set("MESOS_SLAVE_PID", self.config.pid());
        set("MESOS_AGENT_ENDPOINT", self.config.address.to_string());
        if let Some(key) = &self.config.executor_key {
            let claims = [
                ("cid", launch.container_id.as_str()),
                ("eid", launch.executor_id.as_str()),
                ("fid", launch.framework_id.as_str()),
            ];
            let claims = claims.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            set("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", key.sign(&claims));
        }
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
        set("LIBPROCESS_IP", self.config.host_ip().to_string());
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
        while self.agent.frameworks().next().is_some() || !self.journal.is_empty() {
            if tokio::time::timeout_at(deadline, self.step()).await.is_err() {
                tracing::warn!("some containers have not ended in time");
                break;
            }
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
