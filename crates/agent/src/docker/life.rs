//! The life of one container, from its task's URIs to its removal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::agent::{ContainerEvent, Exit};
use endpoints::timer::Timer;
use mesos_api::v1::network_info::{IpAddress, Protocol};
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{CommandInfo, NetworkInfo};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dns::DefaultDns;
use super::engine::{Engine, Inspect};
use super::plan::{self, Surroundings, container_name};
use super::{
    Job, LABEL_CONTAINER, LABEL_EXECUTOR, LABEL_FRAMEWORK, LABEL_WORK_DIR, SANDBOX, logs, unified,
};
use crate::containers::{Command, Live, Reporter, SIGKILL, killed};
use crate::credentials::Credentials;
use crate::fetch::Fetcher;
use crate::{health, sandbox};

/// Pause between attempts to reach an engine that does not answer; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LAST: Duration = Duration::from_secs(5);
/// How long the copy of the output may take once the container has ended.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(30);

/// The containerizer.
#[derive(Debug)]
pub(crate) struct Docker {
    pub(crate) engine: Engine,
    pub(crate) program: String,
    pub(crate) credentials: Credentials,
    pub(crate) remove_delay: Duration,
    pub(crate) stop_timeout: Duration,
    /// Value of the label that says whose a container is.
    pub(crate) owner: String,
    pub(crate) cfs: bool,
    pub(crate) host_memory: u64,
    pub(crate) dns: DefaultDns,
    /// Variables of every container, unless its command has them.
    pub(crate) defaults: BTreeMap<String, String>,
    pub(crate) fetcher: Arc<Fetcher>,
    /// How long pulls of images took.
    pub(crate) pulls: Timer,
}

/// Whether a container is to be made, or was by an earlier agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Start,
    Reattach,
}

/// The words behind `docker run`, and the image among them.
struct Planned {
    words: Vec<String>,
    image: String,
}

/// Why a container does not run.
struct Refused {
    reason: Reason,
    message: String,
}

impl Refused {
    fn launch(message: impl std::fmt::Display) -> Self {
        let message = format!("Failed to launch container: {message}");
        Self { reason: Reason::ContainerLaunchFailed, message }
    }
}

impl Docker {
    /// Looks after a container until nobody needs it any more.
    pub(crate) async fn manage(
        self: Arc<Self>,
        job: Job,
        how: How,
        mut commands: mpsc::Receiver<Command>,
        reporter: Reporter,
    ) {
        let name = container_name(job.launch.container_id.as_str());
        let begun = match how {
            How::Start => self.start(&job, &name, &mut commands, &reporter).await,
            How::Reattach => self.reattach(&name, job.launch.container_id.as_str()).await.map(Some),
        };
        match begun {
            Err(Refused { reason, message }) => {
                tracing::info!(container_id = %job.launch.container_id, message, "no container");
                reporter.send(ContainerEvent::Refused { reason, message }).await;
            }
            Ok(None) => {}
            Ok(Some((inspect, data))) => {
                reporter.send(launched(&inspect, &data)).await;
                let exit = self.watch(&job, &name, &inspect, &mut commands, &reporter).await;
                reporter.send(ContainerEvent::Ended(exit)).await;
            }
        }
        // The name of one that the operator API has made may be used again at once.
        let delay = match reporter {
            Reporter::Driver(..) => self.remove_delay,
            Reporter::Nested(_) => Duration::ZERO,
        };
        self.linger(&name, &job, commands, delay).await;
    }

    /// Starts a container; `None` when it was killed meanwhile, which is told then.
    async fn start(
        &self,
        job: &Job,
        name: &str,
        commands: &mut mpsc::Receiver<Command>,
        reporter: &Reporter,
    ) -> Result<Option<(Inspect, Bytes)>, Refused> {
        let prepared = tokio::select! {
            prepared = self.prepare(job) => prepared?,
            () = killed(commands) => {
                let message = "Container destroyed while it was being prepared".to_owned();
                return Err(Refused { reason: Reason::ContainerLaunchFailed, message });
            }
        };
        reporter.send(ContainerEvent::Starting).await;
        let given_up = CancellationToken::new();
        let running = self.run(job, name, prepared, &given_up);
        tokio::pin!(running);
        tokio::select! {
            begun = &mut running => return begun.map(Some),
            () = killed(commands) => given_up.cancel(),
        }
        // Nobody waits for an engine that hangs. What it was asked it may still do: what comes of
        // it is removed, and nothing else is told of it.
        let message = "Container destroyed while it was being started".to_owned();
        let reason = Reason::ContainerLaunchFailed;
        reporter.send(ContainerEvent::Refused { reason, message }).await;
        if let Err(Refused { message, .. }) = running.await {
            tracing::debug!(container_id = %job.launch.container_id, message, "not started");
        }
        self.remove_own(name, job).await;
        Ok(None)
    }

    /// Fetches and pulls; nothing of it has to be undone.
    async fn prepare(&self, job: &Job) -> Result<cli::request::CreateRequest, Refused> {
        let command = match &job.launch.task {
            Some(task) => task.command.as_ref(),
            None => job.launch.executor.command.as_ref(),
        };
        // Before anything is fetched: what cannot run costs nothing.
        let image = self.plan(job, None).map_err(Refused::launch)?.image;
        let uris = command.map(|c: &CommandInfo| c.uris.as_slice()).unwrap_or_default();
        self.fetcher.all(uris, &job.sandbox, job.user).await.map_err(Refused::launch)?;
        let container = unified::container_of(&job.launch);
        let force = container.is_some_and(|c| match (&c.docker, &c.mesos) {
            (Some(docker), _) => docker.force_pull_image(),
            (None, Some(mesos)) => mesos.image.as_ref().is_some_and(|image| !image.cached()),
            (None, None) => false,
        });
        let cannot = |what: &str, e: &docker_api::Error| {
            Refused::launch(format!("cannot {what} image '{image}': {}", describe(e)))
        };
        let mut directory =
            self.engine.image_directory(&image).await.map_err(|e| cannot("inspect", &e))?;
        if force || directory.is_none() {
            let auth = self.registry_auth(&job.sandbox, &image).await?;
            let reference = with_tag(&image);
            let begun = Instant::now();
            self.engine.pull(&reference, auth).await.map_err(|e| cannot("pull", &e))?;
            self.pulls.note(begun.elapsed());
            directory =
                self.engine.image_directory(&image).await.map_err(|e| cannot("inspect", &e))?;
        }
        let nowhere = directory.is_some_and(|directory| directory.is_empty());
        let planned = self.plan(job, nowhere.then_some(SANDBOX)).map_err(Refused::launch)?;
        self.show(job, &planned.words).map_err(Refused::launch)?;
        self.request(job, &planned.words).map_err(Refused::launch)
    }

    fn plan(&self, job: &Job, directory: Option<&str>) -> Result<Planned, String> {
        if let Some(why) = job.launch.task.as_ref().and_then(health::unsupported) {
            return Err(why);
        }
        let sandbox = sandbox::without_colon(&job.sandbox, &job.link)
            .map_err(|e| format!("cannot link the sandbox {}: {e}", job.sandbox.display()))?;
        let mut shared = BTreeMap::new();
        let container = unified::container_of(&job.launch);
        for volume in container.map(|c| c.volumes.as_slice()).unwrap_or_default() {
            if let Some(directory) = unified::sandbox_path(job, volume)? {
                shared.insert(volume.container_path.clone(), directory);
            }
        }
        let around = Surroundings {
            sandbox: &sandbox,
            cfs: self.cfs,
            host_memory: self.host_memory,
            persistent: job.persistent.clone(),
            shared,
            defaults: &self.defaults,
            environment: job.environment.clone(),
            dns: &self.dns,
            user: job.user,
            directory,
        };
        let words = plan::words(&job.launch, &around)?;
        let request = cli::request::create_request(&words)?;
        let name = container_name(job.launch.container_id.as_str());
        if request.name.as_deref() != Some(name.as_str()) {
            return Err("the parameter 'name' cannot be set: the agent names containers".to_owned());
        }
        Ok(Planned { image: request.image.clone(), words })
    }

    /// Tells, in the log and in the sandbox, what does by hand what the agent does.
    fn show(&self, job: &Job, words: &[String]) -> Result<(), String> {
        let line = plan::line(&self.program, &self.engine.address(), words);
        tracing::info!(container_id = %job.launch.container_id, %line, "the equivalent command");
        let path = job.sandbox.join(sandbox::RUN_LINE);
        std::fs::write(&path, format!("{line}\n"))
            .and_then(|()| sandbox::own(&path, job.user))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    fn request(&self, job: &Job, words: &[String]) -> Result<cli::request::CreateRequest, String> {
        let mut request = cli::request::create_request(words)?;
        // Not in the line: whoever pastes it does not make a container of this agent's.
        let labels = [
            (LABEL_WORK_DIR, self.owner.as_str()),
            (LABEL_CONTAINER, job.launch.container_id.as_str()),
            (LABEL_FRAMEWORK, job.launch.framework_id.as_str()),
            (LABEL_EXECUTOR, job.launch.executor_id.as_str()),
        ];
        for (label, value) in labels {
            request.body["Labels"][label] = json!(value);
        }
        Ok(request)
    }

    async fn registry_auth(&self, sandbox: &Path, image: &str) -> Result<String, Refused> {
        let (sandbox, image) = (sandbox.to_owned(), image.to_owned());
        let credentials = self.credentials.clone();
        let find = move || credentials.header(&sandbox, &image);
        match tokio::task::spawn_blocking(find).await {
            Ok(found) => found.map_err(|e| Refused::launch(format!("{e:#}"))),
            Err(error) => Err(Refused::launch(error)),
        }
    }

    async fn run(
        &self,
        job: &Job,
        name: &str,
        request: cli::request::CreateRequest,
        given_up: &CancellationToken,
    ) -> Result<(Inspect, Bytes), Refused> {
        let failed = |e: docker_api::Error| Refused::launch(describe(&e));
        self.engine
            .create(name, request.platform.as_deref(), &request.body)
            .await
            .map_err(failed)?;
        if given_up.is_cancelled() {
            return Err(Refused::launch("it was killed before it was started"));
        }
        if let Err(error) = self.engine.start(name).await {
            self.remove(name).await;
            return Err(failed(error));
        }
        tracing::debug!(container_id = %job.launch.container_id, "container started");
        self.inspect(name).await.map_err(failed)
    }

    /// Inspects, however long the engine takes to answer.
    async fn inspect(&self, name: &str) -> docker_api::Result<(Inspect, Bytes)> {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.engine.inspect(name).await {
                Err(error) if error.status().is_none() => {
                    tracing::warn!(container = name, error = %describe(&error), "the engine does not answer");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                }
                settled => return settled,
            }
        }
    }

    async fn reattach(&self, name: &str, id: &str) -> Result<(Inspect, Bytes), Refused> {
        let gone =
            |text: &str| Refused { reason: Reason::AgentRestarted, message: text.to_owned() };
        let (inspect, data) = match self.inspect(name).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => {
                return Err(gone("The agent restarted, and the container is not there"));
            }
            Err(error) => return Err(Refused::launch(describe(&error))),
        };
        if !self.owns(&inspect, id) {
            return Err(gone("The agent restarted, and the container of that name is another's"));
        }
        if inspect.state.status == "created" {
            self.remove(name).await;
            return Err(gone("The agent restarted before the container was started"));
        }
        Ok((inspect, data))
    }

    /// From the start to the exit.
    async fn watch(
        &self,
        job: &Job,
        name: &str,
        inspect: &Inspect,
        commands: &mut mpsc::Receiver<Command>,
        reporter: &Reporter,
    ) -> Exit {
        let ended = CancellationToken::new();
        let output = logs::follow(&self.engine, name, inspect.config.tty, &job.sandbox, &ended);
        let exit = self.until_exit(name, commands);
        let target =
            health::Target::Container { engine: &self.engine, name, pid: inspect.state.pid };
        let probes = health::run(job.launch.task.as_ref(), target, reporter);
        let resizes = self.resizes(job, name);
        tokio::pin!(output, exit, probes, resizes);
        let mut copied = false;
        let exit = loop {
            tokio::select! {
                exit = &mut exit => break exit,
                () = &mut output, if !copied => copied = true,
                () = &mut probes => {}
                () = &mut resizes => {}
            }
        };
        ended.cancel();
        if !copied && tokio::time::timeout(OUTPUT_TIMEOUT, output).await.is_err() {
            tracing::warn!(container = name, "the output takes too long; the rest is lost");
        }
        exit
    }

    /// Gives the container what its tasks need, as they come and go.
    async fn resizes(&self, job: &Job, name: &str) {
        if job.launch.group.is_some() {
            // It is one task's, however many there are beside it.
            return std::future::pending().await;
        }
        let mut resources = job.resources.clone();
        let mut current = job.launch.resources.clone();
        loop {
            let wanted = resources.borrow_and_update().clone();
            if wanted != current {
                let amounts = super::amounts(&wanted, self.cfs);
                if let Err(error) = self.engine.update(name, &amounts).await {
                    // Less memory than is used cannot be set; what it had is kept.
                    tracing::warn!(container = name, error = %describe(&error), "cannot resize the container");
                }
                current = wanted;
            }
            if resources.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for the exit, and carries out what is asked for meanwhile.
    async fn until_exit(&self, name: &str, commands: &mut mpsc::Receiver<Command>) -> Exit {
        // Dropped with this future: an exit makes every stop superfluous.
        let mut stops = Stops::default();
        let exit = self.exit(name);
        tokio::pin!(exit);
        loop {
            tokio::select! {
                exit = &mut exit => return exit,
                command = commands.recv() => match command {
                    Some(Command::Stop(grace)) => stops.add(self.stop(name, Some(grace))),
                    Some(Command::Destroy) if self.stop_timeout.is_zero() => {
                        stops.add(self.stop(name, None));
                    }
                    Some(Command::Destroy) => stops.add(self.stop(name, Some(self.stop_timeout))),
                    Some(Command::Signal(signal)) => stops.add(self.signal(name, signal)),
                    Some(Command::Remove) => {}
                    None => return exit.await,
                },
                () = stops.run() => {}
            }
        }
    }

    async fn exit(&self, name: &str) -> Exit {
        let mut pause = PAUSE_FIRST;
        let code = loop {
            match self.engine.wait(name).await {
                Ok(code) => break i32::try_from(code).ok(),
                Err(error) if error.is_not_found() => {
                    let message = "The container was removed behind the agent's back".to_owned();
                    return Exit { message, ..Exit::default() };
                }
                Err(error) => {
                    tracing::warn!(container = name, error = %describe(&error), "the engine does not answer");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                }
            }
        };
        let state = self.inspect(name).await.map(|(inspect, _)| inspect.state).unwrap_or_default();
        let code = code.or(Some(state.exit_code));
        let mut message = format!("Container exited with status {}", code.unwrap_or(-1));
        if state.oom_killed {
            message.push_str(": it was killed for using more memory than it may");
        } else if !state.error.is_empty() {
            message = format!("{message}: {}", state.error);
        }
        Exit { code, out_of_memory: state.oom_killed, message }
    }

    /// Passes a signal on; who has sent it sees what comes of it.
    async fn signal(&self, name: &str, signal: i32) {
        if let Err(error) = self.engine.kill(name, signal).await {
            tracing::warn!(container = name, signal, error = %describe(&error), "cannot signal the container");
        }
    }

    /// Stops or kills, until the engine has heard it.
    async fn stop(&self, name: &str, grace: Option<Duration>) {
        let mut pause = PAUSE_FIRST;
        loop {
            let done = match grace {
                Some(grace) => self.engine.stop(name, grace).await,
                None => self.engine.kill(name, SIGKILL).await,
            };
            match done {
                Ok(()) => return,
                Err(error) if matches!(error.status(), Some(404 | 409)) => return, // it has ended
                Err(error) => {
                    tracing::warn!(container = name, error = %describe(&error), "cannot stop the container");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                }
            }
        }
    }

    /// Keeps what has ended until its last update is acknowledged, then removes it.
    async fn linger(
        &self,
        name: &str,
        job: &Job,
        mut commands: mpsc::Receiver<Command>,
        delay: Duration,
    ) {
        loop {
            match commands.recv().await {
                Some(Command::Remove) => break,
                Some(_) => {}
                None => return, // the agent ends; the next one finds the container
            }
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.remove_own(name, job).await;
        if job.link.is_symlink() {
            let _ = std::fs::remove_file(&job.link); // only a stale link is left otherwise
        }
    }

    /// Removes the container, and none that somebody else has called so.
    async fn remove_own(&self, name: &str, job: &Job) {
        match self.inspect(name).await {
            Ok((found, _)) if !self.owns(&found, job.launch.container_id.as_str()) => {}
            Err(error) if error.is_not_found() => {}
            _ => self.remove(name).await,
        }
    }

    fn owns(&self, found: &Inspect, id: &str) -> bool {
        let labels = found.config.labels.as_ref();
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
        label(LABEL_CONTAINER) == Some(id) && label(LABEL_WORK_DIR) == Some(&self.owner)
    }

    async fn remove(&self, name: &str) {
        let mut pause = PAUSE_FIRST;
        while let Err(error) = self.engine.remove(name).await {
            tracing::warn!(container = name, error = %describe(&error), "cannot remove the container");
            if error.status().is_some_and(|status| status != 409) {
                return; // the next agent takes it for an orphan
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// Removes our containers that no run knows of, once the engine can say which there are.
    pub(crate) async fn remove_orphans(&self, live: &Live) {
        let mut pause = PAUSE_FIRST;
        let all = loop {
            match self.engine.labelled(LABEL_WORK_DIR, &self.owner, LABEL_CONTAINER).await {
                Ok(all) => break all,
                Err(error) => {
                    tracing::warn!(error = %describe(&error), "cannot look for orphans");
                    if error.status().is_some() {
                        return; // it answers, and would say the same again
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        };
        for (id, container) in all.into_iter().filter(|(_, container)| !live.has(container)) {
            tracing::info!(container_id = %container, engine_id = %id, "removing an orphan");
            self.remove(&id).await;
        }
    }
}

/// Calls in flight.
#[derive(Default)]
struct Stops<'a>(
    futures_util::stream::FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
);

impl<'a> Stops<'a> {
    fn add(&mut self, stop: impl Future<Output = ()> + Send + 'a) {
        self.0.push(Box::pin(stop));
    }

    /// Drives them; never ends while there are none.
    async fn run(&mut self) {
        use futures_util::StreamExt as _;
        if self.0.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The API pulls every tag of a reference without one.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if image.contains('@') || last.contains(':') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// An error with its cause.
pub(crate) fn describe(error: &docker_api::Error) -> String {
    let mut text = error.message();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn launched(inspect: &Inspect, data: &Bytes) -> ContainerEvent {
    // As `docker inspect` prints it: a list of one.
    let data = [b"[".as_slice(), data.trim_ascii(), b"]"].concat().into();
    let on_host = inspect.host_config.network_mode == "host";
    let mut network_infos = Vec::new();
    for (name, endpoint) in inspect.network_settings.networks.iter().flatten() {
        let mut addresses = Vec::new();
        for (text, protocol) in
            [(&endpoint.address, Protocol::IPv4), (&endpoint.address_v6, Protocol::IPv6)]
        {
            if !text.is_empty() {
                let mut address = IpAddress { ip_address: Some(text.clone()), protocol: None };
                address.set_protocol(protocol);
                addresses.push(address);
            }
        }
        if !addresses.is_empty() {
            network_infos.push(NetworkInfo {
                ip_addresses: addresses,
                name: Some(name.clone()),
                ..NetworkInfo::default()
            });
        }
    }
    let pid = Some(inspect.state.pid).filter(|pid| *pid > 0);
    let network_infos = (!on_host).then_some(network_infos);
    ContainerEvent::Launched { data, network_infos, pid }
}
