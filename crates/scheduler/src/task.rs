//! Tasks as frameworks describe them, before an offer gives them a place.

use std::sync::Arc;
use std::time::Duration;

use mesos_api::v1;
use mesos_api::v1::TaskId;
use mesos_api::v1::container_info::docker_info::{Network as DockerNetwork, PortMapping};
use mesos_api::v1::{container_info, environment, value, volume};

use crate::id::random_task_id;

/// The network of a task's container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The agent's own.
    #[default]
    Host,
    /// The default bridge; ports are reached by [`Task::publish`].
    Bridge,
    /// None at all.
    None,
    /// A network that exists on the agents, by name.
    Named(String),
}

/// How a task is started.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    /// As the image says.
    Image,
    Shell(String),
    Arguments(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
struct Docker {
    image: String,
    network: Network,
    force_pull: bool,
    privileged: bool,
    parameters: Vec<v1::Parameter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Publish {
    host: Option<u16>,
    container: u16,
    protocol: &'static str,
}

/// A change made to the finished message.
#[derive(Clone)]
struct Change(Arc<dyn Fn(&mut v1::TaskInfo) + Send + Sync>);

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Change")
    }
}

/// What an offer has to have.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) scalars: Vec<(String, f64)>,
    /// `None` is any port.
    pub(crate) ports: Vec<Option<u16>>,
}

/// A description of a task: what to run, and what it needs.
///
/// One description may be placed many times; every placement is a task of its own, with a new id
/// unless [`Task::id`] fixed it.
///
/// ```
/// use scheduler::{Network, Task};
/// let web = Task::docker("web", "nginx:1.27").network(Network::Bridge).publish(80).cpus(0.5).mem_mb(64.0);
/// let hello = Task::shell("hello", "echo hello from $(hostname)");
/// let list = Task::run("list", ["ls", "-l", "/"]).env("LANG", "C");
/// # let _ = (web, hello, list);
/// ```
#[derive(Clone, Debug)]
pub struct Task {
    name: String,
    id: Option<TaskId>,
    start: Start,
    docker: Option<Docker>,
    scalars: Vec<(String, f64)>,
    ports: Vec<Publish>,
    volumes: Vec<v1::Volume>,
    variables: Vec<environment::Variable>,
    uris: Vec<v1::command_info::Uri>,
    labels: Vec<v1::Label>,
    user: Option<String>,
    kill_grace: Option<Duration>,
    time_limit: Option<Duration>,
    health_check: Option<v1::HealthCheck>,
    changes: Vec<Change>,
}

impl Task {
    fn new(name: impl Into<String>, start: Start) -> Self {
        Self {
            name: name.into(),
            id: None,
            start,
            docker: None,
            scalars: vec![("cpus".to_owned(), 0.1), ("mem".to_owned(), 32.0)],
            ports: Vec::new(),
            volumes: Vec::new(),
            variables: Vec::new(),
            uris: Vec::new(),
            labels: Vec::new(),
            user: None,
            kill_grace: None,
            time_limit: None,
            health_check: None,
            changes: Vec::new(),
        }
    }

    /// A task in a container of that image, started as the image says unless
    /// [`Task::arguments`] or [`Task::shell_command`] follows; host network.
    pub fn docker(name: impl Into<String>, image: impl Into<String>) -> Self {
        let mut task = Self::new(name, Start::Image);
        task.docker = Some(Docker {
            image: image.into(),
            network: Network::Host,
            force_pull: false,
            privileged: false,
            parameters: Vec::new(),
        });
        task
    }

    /// A task that is a shell command on the agent's host.
    pub fn shell(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self::new(name, Start::Shell(command.into()))
    }

    /// A task that is a program with arguments on the agent's host; the first word is the program.
    pub fn run<W: Into<String>>(
        name: impl Into<String>,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        Self::new(name, Start::Arguments(words.into_iter().map(Into::into).collect()))
    }

    /// Starts the program of the first word with the others as its arguments.
    #[must_use]
    pub fn arguments<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.start = Start::Arguments(words.into_iter().map(Into::into).collect());
        self
    }

    /// Starts `/bin/sh -c` with the command.
    #[must_use]
    pub fn shell_command(mut self, command: impl Into<String>) -> Self {
        self.start = Start::Shell(command.into());
        self
    }

    /// Fixes the id; a task of this description can then live only once.
    #[must_use]
    pub fn id(mut self, id: impl Into<TaskId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Processors; 0.1 unless said.
    #[must_use]
    pub fn cpus(self, cpus: f64) -> Self {
        self.resource("cpus", cpus)
    }

    /// Memory in MB; 32 unless said.
    #[must_use]
    pub fn mem_mb(self, mem_mb: f64) -> Self {
        self.resource("mem", mem_mb)
    }

    /// Disk in MB; none unless said.
    #[must_use]
    pub fn disk_mb(self, disk_mb: f64) -> Self {
        self.resource("disk", disk_mb)
    }

    /// Any resource that is an amount, such as `gpus`.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        let name = name.into();
        self.scalars.retain(|(known, _)| *known != name);
        self.scalars.push((name, amount));
        self
    }

    /// The container's network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        if let Some(docker) = &mut self.docker {
            docker.network = network;
        }
        self
    }

    /// Takes any port of the offer and makes the container's TCP port reachable there. With the
    /// host's network the port is taken and nothing is mapped.
    #[must_use]
    pub fn publish(mut self, container_port: u16) -> Self {
        self.ports.push(Publish { host: None, container: container_port, protocol: "tcp" });
        self
    }

    /// As [`Task::publish`], at this port of the agent, which the offer must have.
    #[must_use]
    pub fn publish_at(mut self, host_port: u16, container_port: u16) -> Self {
        let host = Some(host_port);
        self.ports.push(Publish { host, container: container_port, protocol: "tcp" });
        self
    }

    /// Pulls the image even if the agent has one of that name.
    #[must_use]
    pub fn force_pull(mut self) -> Self {
        if let Some(docker) = &mut self.docker {
            docker.force_pull = true;
        }
        self
    }

    /// Gives the container all of the kernel's powers.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        if let Some(docker) = &mut self.docker {
            docker.privileged = true;
        }
        self
    }

    /// An option of `docker run` that has no method here, without its dashes.
    #[must_use]
    pub fn parameter(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(docker) = &mut self.docker {
            docker.parameters.push(v1::Parameter { key: key.into(), value: value.into() });
        }
        self
    }

    /// Shows a path of the host in the container, writable.
    #[must_use]
    pub fn volume(self, host: impl Into<String>, container: impl Into<String>) -> Self {
        self.mount(host.into(), container.into(), volume::Mode::Rw)
    }

    /// Shows a path of the host in the container, read-only.
    #[must_use]
    pub fn volume_read_only(self, host: impl Into<String>, container: impl Into<String>) -> Self {
        self.mount(host.into(), container.into(), volume::Mode::Ro)
    }

    fn mount(mut self, host: String, container: String, mode: volume::Mode) -> Self {
        self.volumes.push(v1::Volume {
            mode: mode.into(),
            container_path: container,
            host_path: Some(host),
            ..Default::default()
        });
        self
    }

    /// A variable of the task's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push(environment::Variable {
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        });
        self
    }

    /// A file to fetch into the sandbox before the start; archives are unpacked.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uris.push(v1::command_info::Uri { value: uri.into(), ..Default::default() });
        self
    }

    /// A label, for people and tools.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push(v1::Label { key: key.into(), value: Some(value.into()) });
        self
    }

    /// The user the task runs as on the host, in place of the framework's.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// How long the task may take to end when it is killed.
    #[must_use]
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        self.kill_grace = Some(grace);
        self
    }

    /// Fails the task when it has not ended after this time.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Kills the task when the check fails often enough.
    #[must_use]
    pub fn health_check(mut self, check: v1::HealthCheck) -> Self {
        self.health_check = Some(check);
        self
    }

    /// Changes, at every placement, what has no method here.
    #[must_use]
    pub fn with(mut self, change: impl Fn(&mut v1::TaskInfo) + Send + Sync + 'static) -> Self {
        self.changes.push(Change(Arc::new(change)));
        self
    }

    pub(crate) fn needs(&self) -> Needs {
        Needs {
            scalars: self.scalars.iter().filter(|(_, amount)| *amount > 0.0).cloned().collect(),
            ports: self.ports.iter().map(|port| port.host).collect(),
        }
    }

    /// The message for an agent; `ports` are those given for [`Needs::ports`].
    pub(crate) fn build(
        &self,
        agent_id: v1::AgentId,
        resources: Vec<v1::Resource>,
        ports: &[u16],
    ) -> v1::TaskInfo {
        let mut info = v1::TaskInfo {
            name: self.name.clone(),
            task_id: self.id.clone().unwrap_or_else(random_task_id),
            agent_id,
            resources,
            command: Some(self.command()),
            container: self.docker.as_ref().map(|docker| self.container(docker, ports).into()),
            health_check: self.health_check.clone().map(Box::new),
            kill_policy: self
                .kill_grace
                .map(|grace| v1::KillPolicy { grace_period: Some(duration(grace)) }),
            max_completion_time: self.time_limit.map(duration),
            ..Default::default()
        };
        if !self.labels.is_empty() {
            info.labels = Some(v1::Labels { labels: self.labels.clone() });
        }
        for change in &self.changes {
            (change.0)(&mut info);
        }
        info
    }

    fn command(&self) -> v1::CommandInfo {
        let mut command = v1::CommandInfo {
            uris: self.uris.clone(),
            user: self.user.clone(),
            shell: Some(false),
            ..Default::default()
        };
        match &self.start {
            Start::Image => {}
            Start::Shell(line) => {
                command.shell = Some(true);
                command.value = Some(line.clone());
            }
            Start::Arguments(words) => {
                command.value = words.first().cloned();
                // The Docker containerizer puts the program before the arguments; a program on
                // the host gets the list as its argv, whose first word is its name.
                let skipped = usize::from(self.docker.is_some());
                command.arguments = words.iter().skip(skipped).cloned().collect();
            }
        }
        if !self.variables.is_empty() {
            command.environment = Some(v1::Environment { variables: self.variables.clone() });
        }
        command
    }

    fn container(&self, docker: &Docker, ports: &[u16]) -> v1::ContainerInfo {
        let mut info = container_info::DockerInfo {
            image: docker.image.clone(),
            parameters: docker.parameters.clone(),
            force_pull_image: docker.force_pull.then_some(true),
            privileged: docker.privileged.then_some(true),
            ..Default::default()
        };
        let mut network_infos = Vec::new();
        let network = match &docker.network {
            Network::Host => DockerNetwork::Host,
            Network::Bridge => DockerNetwork::Bridge,
            Network::None => DockerNetwork::None,
            Network::Named(name) => {
                let name = Some(name.clone());
                network_infos.push(v1::NetworkInfo { name, ..Default::default() });
                DockerNetwork::User
            }
        };
        info.network = Some(network.into());
        if matches!(network, DockerNetwork::Bridge | DockerNetwork::User) {
            let mappings = self.ports.iter().zip(ports).map(|(port, given)| PortMapping {
                host_port: (*given).into(),
                container_port: port.container.into(),
                protocol: Some(port.protocol.to_owned()),
            });
            info.port_mappings = mappings.collect();
        }
        v1::ContainerInfo {
            r#type: container_info::Type::Docker.into(),
            volumes: self.volumes.clone(),
            docker: Some(info),
            network_infos,
            ..Default::default()
        }
    }
}

fn duration(duration: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}

/// One resource that is an amount, unreserved.
pub fn scalar(name: &str, amount: f64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
