//! Who looks after which container, and how they are spoken to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cluster::agent::{ContainerEvent, Input};
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{Resource, ResourceStatistics};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Containerizer;
use crate::docker::{self, Docker, How, Job};
use crate::driver::Request;
use crate::nested::{InContainer, Inside, Nested};
use crate::process::{self, Processes};

/// How many commands may wait for a container; a further one repeats an earlier.
const QUEUE: usize = 16;
/// How long one container may be measured.
const READING: Duration = Duration::from_secs(5);

/// What a container is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// End by yourself within this time, else be killed.
    Stop(Duration),
    /// Do not start, or end now.
    Destroy,
    /// It has ended and nobody will ask for it again.
    Remove,
}

/// Tells the driver about one container.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) framework: FrameworkId,
    pub(crate) executor: ExecutorId,
    pub(crate) container: ContainerId,
    pub(crate) driver: mpsc::Sender<Request>,
}

impl Reporter {
    pub(crate) async fn send(&self, event: ContainerEvent) {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Nothing panics while it is held, and a set is whole at any time.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How a container is spoken to.
#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    /// What it may use; only the latest counts.
    resources: watch::Sender<Vec<Resource>>,
    /// Where commands inside of it run.
    inside: Option<Inside>,
}

/// All containers of the agent.
#[derive(Debug)]
pub(crate) struct Containers {
    order: Vec<Containerizer>,
    docker: Arc<Docker>,
    processes: Arc<Processes>,
    driver: mpsc::Sender<Request>,
    handles: HashMap<ContainerId, Handle>,
    live: Live,
    tasks: JoinSet<()>,
    nested: Arc<Nested>,
}

impl Containers {
    pub(crate) fn new(
        order: Vec<Containerizer>,
        docker: Arc<Docker>,
        processes: Arc<Processes>,
        driver: mpsc::Sender<Request>,
        nested: Arc<Nested>,
    ) -> Self {
        let (handles, live, tasks) = (HashMap::new(), Live::default(), JoinSet::new());
        Self { order, docker, processes, driver, handles, live, tasks, nested }
    }

    /// Starts to look after a container.
    pub(crate) fn begin(&mut self, mut job: Job, how: How) {
        while self.tasks.try_join_next().is_some() {}
        let reporter = Reporter {
            framework: job.launch.framework_id.clone(),
            executor: job.launch.executor_id.clone(),
            container: job.launch.container_id.clone(),
            driver: self.driver.clone(),
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let all = job.launch.group.as_ref().unwrap_or(&job.launch.resources);
        let resources = watch::Sender::new(all.clone());
        job.resources = resources.subscribe();
        self.live.lock().insert(reporter.container.to_string());
        let fits = |one: &&Containerizer| match one {
            Containerizer::Docker => docker::supports(&job.launch),
            Containerizer::Mesos => process::supports(&job.launch),
        };
        let by = self.order.iter().find(fits);
        let inside = match by {
            Some(Containerizer::Docker) => {
                let name = docker::container_name(job.launch.container_id.as_str());
                let docker = Arc::clone(&self.docker);
                Some(Inside::Container(InContainer { docker, name }))
            }
            Some(Containerizer::Mesos) => self.processes.inside(&job).map(Inside::Process),
            None => None,
        };
        let handle = Handle { commands: sender, resources, inside };
        self.handles.insert(reporter.container.clone(), handle);
        match by {
            Some(Containerizer::Docker) => {
                let docker = Arc::clone(&self.docker);
                self.tasks.spawn(docker.manage(job, how, receiver, reporter));
            }
            Some(Containerizer::Mesos) => {
                let processes = Arc::clone(&self.processes);
                self.tasks.spawn(processes.manage(job, how, receiver, reporter));
            }
            None => {
                let text = "Failed to launch container: none of the enabled containerizers \
                            could create it";
                self.refuse(reporter, Reason::ContainerLaunchFailed, text.to_owned());
            }
        }
    }

    /// Says that a container will not run.
    pub(crate) fn refuse(&mut self, reporter: Reporter, reason: Reason, message: String) {
        self.tasks.spawn(async move {
            reporter.send(ContainerEvent::Refused { reason, message }).await;
        });
    }

    /// Tells a container something; what it cannot take in it has been told already.
    pub(crate) fn tell(&mut self, container: &ContainerId, command: Command) {
        if let Some(handle) = self.handles.get(container)
            && handle.commands.try_send(command).is_err()
        {
            tracing::debug!(container_id = %container, ?command, "not told");
        }
        if command == Command::Remove {
            let known = self.handles.remove(container).is_some();
            self.nested.forget(container);
            self.live.lock().remove(container.as_str());
            if !known {
                // It may be one that had others inside of it and no process of its own.
                let processes = Arc::clone(&self.processes);
                let container = container.to_string();
                self.tasks.spawn(async move { processes.remove_outer(&container).await });
            }
        }
    }

    /// Whether a container has been begun and is not removed.
    pub(crate) fn knows(&self, container: &ContainerId) -> bool {
        self.handles.contains_key(container)
    }

    /// Where commands inside of a container run.
    pub(crate) fn inside(&self, container: &ContainerId) -> Option<Inside> {
        self.handles.get(container)?.inside.clone()
    }

    /// Sessions inside of containers that run now.
    pub(crate) fn sessions(&self) -> Vec<ContainerId> {
        self.nested.running()
    }

    /// Says what a container may use from now on.
    pub(crate) fn resize(&mut self, container: &ContainerId, resources: Vec<Resource>) {
        if let Some(handle) = self.handles.get(container) {
            handle.resources.send_replace(resources);
        }
    }

    /// Removes what is left of runs that nobody knows of.
    pub(crate) fn remove_orphans(&mut self) {
        let docker = Arc::clone(&self.docker);
        let processes = Arc::clone(&self.processes);
        let live = self.live.clone();
        self.tasks.spawn(async move {
            processes.remove_orphans(live.clone()).await;
            docker.remove_orphans(&live).await;
        });
    }

    /// How long pulls of images took, by the endings of Mesos' names.
    pub(crate) fn image_pulls(&self) -> Vec<(&'static str, f64)> {
        self.docker.pulls.figures()
    }

    /// How to measure a container.
    pub(crate) fn usage(&self, container: &ContainerId) -> Usage {
        Usage {
            docker: Arc::clone(&self.docker),
            processes: Arc::clone(&self.processes),
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
            Some(Command::Stop(_) | Command::Destroy) => return,
            Some(Command::Remove) => {}
            None => std::future::pending().await,
        }
    }
}
