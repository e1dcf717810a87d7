//! Who looks after which container, and how they are spoken to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cluster::agent::{ContainerEvent, Input, Launch};
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{Resource, ResourceStatistics};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Containerizer;
use crate::docker::{self, Docker, How, Job};
use crate::driver::Request;
use crate::nested::{self, InContainer, Inside, Nested, Place, Teller};
use crate::process::{self, Processes};

/// What [`Command::Signal`] and all who kill send.
pub(crate) const SIGKILL: i32 = 9;
/// What [`Command::Stop`] sends first.
pub(crate) const SIGTERM: i32 = 15;

/// How long one container may be measured.
const READING: Duration = Duration::from_secs(5);

/// What a container is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// End by yourself within this time, else be killed.
    Stop(Duration),
    /// Do not start, or end now.
    Destroy,
    /// Pass this signal on; what has not started yet does not start.
    Signal(i32),
    /// It has ended and nobody will ask for it again.
    Remove,
}

/// Tells what becomes of one container.
#[derive(Debug, Clone)]
pub(crate) enum Reporter {
    /// To the driver, and to those who wait for it: it is an executor's.
    Driver(Run, Teller),
    /// To who looks after those of the operator API.
    Nested(mpsc::Sender<ContainerEvent>),
}

/// A container of an executor.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) framework: FrameworkId,
    pub(crate) executor: ExecutorId,
    pub(crate) container: ContainerId,
    pub(crate) driver: mpsc::Sender<Request>,
    pub(crate) nested: Arc<Nested>,
}

impl Reporter {
    pub(crate) async fn send(&self, event: ContainerEvent) {
        let (run, teller) = match self {
            Self::Driver(run, teller) => (run, teller),
            Self::Nested(to) => {
                let _ = to.send(event).await; // nobody listens when the agent ends
                return;
            }
        };
        match &event {
            ContainerEvent::Launched { pid, .. } => teller.run(*pid),
            ContainerEvent::Refused { message, .. } => {
                run.nested.end_below(&run.container).await;
                teller.refuse(message.clone());
            }
            ContainerEvent::Ended(exit) => {
                run.nested.end_below(&run.container).await;
                let status = run.nested.status(&run.container);
                teller.end(teller.termination(exit.clone(), status));
            }
            _ => {}
        }
        run.tell(event).await;
    }
}

impl Run {
    async fn tell(&self, event: ContainerEvent) {
        let input = Input::Container {
            framework: self.framework.clone(),
            executor: self.executor.clone(),
            container: self.container.clone(),
            event,
        };
        // Without a driver the agent is ending, and the next one asks anew.
        let _ = self.driver.send(Request::Input(input)).await;
    }
}

/// The containerizers, in the order in which they are asked for who takes a container.
#[derive(Debug)]
pub(crate) struct Containerizers {
    pub(crate) order: Vec<Containerizer>,
    pub(crate) docker: Arc<Docker>,
    pub(crate) processes: Arc<Processes>,
}

impl Containerizers {
    pub(crate) fn of(&self, launch: &Launch) -> Option<Containerizer> {
        let fits = |one: &&Containerizer| match one {
            Containerizer::Docker => docker::supports(launch),
            Containerizer::Mesos => process::supports(launch),
        };
        self.order.iter().find(fits).copied()
    }

    /// Where commands inside of a container run.
    pub(crate) fn inside(&self, job: &Job) -> Option<Inside> {
        match self.of(&job.launch)? {
            Containerizer::Docker => {
                let name = docker::container_name(job.launch.container_id.as_str());
                let docker = Arc::clone(&self.docker);
                Some(Inside::Container(InContainer { docker, name }))
            }
            Containerizer::Mesos => self.processes.inside(job).map(Inside::Process),
        }
    }

    /// Looks after a container until nobody needs it any more.
    pub(crate) async fn manage(
        self: Arc<Self>,
        job: Job,
        how: How,
        commands: mpsc::Receiver<Command>,
        reporter: Reporter,
    ) {
        match self.of(&job.launch) {
            Some(Containerizer::Docker) => {
                Arc::clone(&self.docker).manage(job, how, commands, reporter).await;
            }
            Some(Containerizer::Mesos) => {
                Arc::clone(&self.processes).manage(job, how, commands, reporter).await;
            }
            None => {
                let message = "Failed to launch container: none of the enabled containerizers \
                               could create it"
                    .to_owned();
                let reason = Reason::ContainerLaunchFailed;
                reporter.send(ContainerEvent::Refused { reason, message }).await;
            }
        }
    }
}

/// A container to measure.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    docker: Arc<Docker>,
    processes: Arc<Processes>,
    container: String,
}

impl Usage {
    /// Takes a reading; `None` when the container does not run or the engine does not answer.
    pub(crate) async fn read(&self, resources: &[Resource]) -> Option<ResourceStatistics> {
        if let Some(statistics) = self.processes.statistics(&self.container, resources) {
            return Some(statistics);
        }
        let name = docker::container_name(&self.container);
        let reading = self.docker.engine.stats(&name);
        let stats = tokio::time::timeout(READING, reading).await.ok()?.ok()?;
        // An engine tells nothing but zeroes of what does not run.
        stats.pointer("/memory_stats/usage")?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(docker::statistics(&stats, resources, now.as_secs_f64()))
    }
}

/// The containers that somebody looks after. Asked after a listing: what is listed and not in here
/// is nobody's, however long the listing took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live(Arc<Mutex<HashSet<String>>>);

impl Live {
    pub(crate) fn has(&self, container: &str) -> bool {
        self.lock().contains(container)
    }

    pub(crate) fn add(&self, container: &ContainerId) {
        self.lock().insert(container.to_string());
    }

    pub(crate) fn remove(&self, container: &ContainerId) {
        self.lock().remove(container.as_str());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Nothing panics while it is held, and a set is whole at any time.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How a container is spoken to.
#[derive(Debug)]
struct Handle {
    container: Arc<nested::Container>,
    /// What it may use; only the latest counts.
    resources: watch::Sender<Vec<Resource>>,
}

/// All containers of the agent.
#[derive(Debug)]
pub(crate) struct Containers {
    containerizers: Arc<Containerizers>,
    driver: mpsc::Sender<Request>,
    handles: HashMap<ContainerId, Handle>,
    live: Live,
    tasks: JoinSet<()>,
    nested: Arc<Nested>,
}

impl Containers {
    pub(crate) fn new(
        containerizers: Arc<Containerizers>,
        live: Live,
        driver: mpsc::Sender<Request>,
        nested: Arc<Nested>,
    ) -> Self {
        let (handles, tasks) = (HashMap::new(), JoinSet::new());
        Self { containerizers, driver, handles, live, tasks, nested }
    }

    /// The container of a launch.
    pub(crate) fn run(&self, launch: &Launch) -> Run {
        Run {
            framework: launch.framework_id.clone(),
            executor: launch.executor_id.clone(),
            container: launch.container_id.clone(),
            driver: self.driver.clone(),
            nested: Arc::clone(&self.nested),
        }
    }

    /// Starts to look after a container.
    pub(crate) fn begin(&mut self, mut job: Job, how: How) {
        while self.tasks.try_join_next().is_some() {}
        let run = self.run(&job.launch);
        let id = job.launch.container_id.clone();
        let all = job.launch.group.as_ref().unwrap_or(&job.launch.resources);
        let resources = watch::Sender::new(all.clone());
        job.resources = resources.subscribe();
        self.live.add(&id);
        let place = Place { inside: self.containerizers.inside(&job), job: job.clone() };
        let (container, commands, teller) = nested::Container::new(place);
        self.handles.insert(id, Handle { container: Arc::new(container), resources });
        let reporter = Reporter::Driver(run, teller);
        let managing = Arc::clone(&self.containerizers).manage(job, how, commands, reporter);
        self.tasks.spawn(managing);
    }

    /// Says that a container will not run.
    pub(crate) fn refuse(&mut self, run: Run, reason: Reason, message: String) {
        self.tasks.spawn(async move {
            run.tell(ContainerEvent::Refused { reason, message }).await;
        });
    }

    /// Tells a container something; what it cannot take in it has been told already.
    pub(crate) fn tell(&mut self, container: &ContainerId, command: Command) {
        if let Some(handle) = self.handles.get(container)
            && !handle.container.tell_anyway(command)
        {
            tracing::debug!(container_id = %container, ?command, "not told");
        }
        if command == Command::Remove {
            let handle = self.handles.remove(container);
            self.live.remove(container);
            self.nested.forget(container);
            if let Some(how) = handle.and_then(|handle| handle.container.termination()) {
                self.nested.keep(container, how);
            }
            // It may have had others inside of it.
            let processes = Arc::clone(&self.containerizers.processes);
            let container = container.to_string();
            self.tasks.spawn(async move { processes.remove_cgroup(&container).await });
        }
    }

    /// Whether a container has been begun and is not removed.
    pub(crate) fn knows(&self, container: &ContainerId) -> bool {
        self.handles.contains_key(container)
    }

    /// One that has been begun and is not removed.
    pub(crate) fn find(&self, container: &ContainerId) -> Option<Arc<nested::Container>> {
        self.handles.get(container).map(|handle| Arc::clone(&handle.container))
    }

    /// Whether there is a container of that id, or of a group of that id.
    pub(crate) fn has_root(&self, root: &ContainerId) -> bool {
        self.handles.keys().any(|id| id.root() == *root)
    }

    /// What surrounds those inside of a container.
    pub(crate) fn place(&self, container: &ContainerId) -> Option<Place> {
        self.find(container).map(|container| container.place.clone())
    }

    /// What the operator API has launched.
    pub(crate) fn nested(&self) -> &Nested {
        &self.nested
    }

    /// Says what a container may use from now on.
    pub(crate) fn resize(&mut self, container: &ContainerId, resources: Vec<Resource>) {
        if let Some(handle) = self.handles.get(container) {
            handle.resources.send_replace(resources);
        }
    }

    /// Looks after what an earlier agent's operators have launched.
    pub(crate) fn recover_nested(&self) {
        self.nested.recover();
    }

    /// Removes what is left of runs that nobody knows of.
    pub(crate) fn remove_orphans(&mut self) {
        let docker = Arc::clone(&self.containerizers.docker);
        let processes = Arc::clone(&self.containerizers.processes);
        let live = self.live.clone();
        self.tasks.spawn(async move {
            processes.remove_orphans(live.clone()).await;
            docker.remove_orphans(&live).await;
        });
    }

    /// How long pulls of images took, by the endings of Mesos' names.
    pub(crate) fn image_pulls(&self) -> Vec<(&'static str, f64)> {
        self.containerizers.docker.pulls.figures()
    }

    /// How to measure a container.
    pub(crate) fn usage(&self, container: &ContainerId) -> Usage {
        Usage {
            docker: Arc::clone(&self.containerizers.docker),
            processes: Arc::clone(&self.containerizers.processes),
            container: container.to_string(),
        }
    }

    /// Waits until everything told to end and be removed has been, or for so long.
    pub(crate) async fn drain(&mut self, deadline: tokio::time::Instant) {
        self.handles.clear();
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await {}
    }
}

/// Ends when the container is no longer wanted.
pub(crate) async fn killed(commands: &mut mpsc::Receiver<Command>) {
    loop {
        match commands.recv().await {
            Some(Command::Stop(_) | Command::Destroy | Command::Signal(_)) => return,
            Some(Command::Remove) => {}
            None => std::future::pending().await,
        }
    }
}
