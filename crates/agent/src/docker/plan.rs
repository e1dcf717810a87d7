//! From a task to the words behind `docker run`, in Mesos' order, as a pure function.
//!
//! The line is the truth: the engine is asked for exactly what these words mean
//! (`cli::request::create_request`), and they are what the sandbox and the log show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cluster::agent::Launch;
use mesos_api::v1::container_info::DockerInfo;
use mesos_api::v1::container_info::docker_info::Network;
use mesos_api::v1::environment::variable;
use mesos_api::v1::value;
use mesos_api::v1::volume::{self, source};
use mesos_api::v1::{CommandInfo, ContainerInfo, Resource, Volume};

use super::dns::DefaultDns;
use super::unified;
use crate::identity::User;

/// Where a container sees its sandbox.
pub(crate) const SANDBOX: &str = "/mnt/mesos/sandbox";
/// Names of containers begin so; ownership is told by labels, never by this.
const NAME_PREFIX: &str = "mesos-";
const MIN_SHARES: f64 = 2.0;
const MIN_QUOTA: f64 = 1000.0;
const PERIOD: f64 = 100_000.0;
const MIN_MEMORY: f64 = 32.0 * MEGABYTE;
const MEGABYTE: f64 = 1_048_576.0;

/// What a plan is made of besides the task itself.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// The sandbox on the host, without a colon in it.
    pub(crate) sandbox: &'a Path,
    /// `--cgroups_enable_cfs`: requests limit the CPU as well.
    pub(crate) cfs: bool,
    /// Memory of the host in bytes, for the order in which the kernel kills.
    pub(crate) host_memory: u64,
    /// Directories of persistent volumes: on the host, and where the task wants them.
    pub(crate) persistent: Vec<(PathBuf, Volume)>,
    /// Directories of volumes in a sandbox, by where the container sees them.
    pub(crate) shared: BTreeMap<String, PathBuf>,
    /// Variables that the task's own win over.
    pub(crate) defaults: &'a BTreeMap<String, String>,
    /// Variables that win over the task's own.
    pub(crate) environment: BTreeMap<String, String>,
    /// Name servers of containers that name none.
    pub(crate) dns: &'a DefaultDns,
    /// Whom the container runs as if it is not the image that says so.
    pub(crate) user: Option<User>,
    /// Where a command begins whose image does not say.
    pub(crate) directory: Option<&'a str>,
}

/// The name of a container.
pub(crate) fn container_name(container_id: &str) -> String {
    format!("{NAME_PREFIX}{container_id}")
}

/// Makes the words behind `docker run`.
///
/// # Errors
/// In the words that the framework gets, Mesos' own where it has some.
pub(crate) fn words(launch: &Launch, around: &Surroundings<'_>) -> Result<Vec<String>, String> {
    if let Some(why) = unified::group_refusal(launch) {
        return Err(why);
    }
    let given = unified::container_of(launch).ok_or("No container info found")?;
    // It runs what its command says, and its image only fills in what that leaves out.
    let is_unified = unified::has_image(given);
    let container = &unified::as_docker(given, around.user)?;
    let command = match &launch.task {
        Some(task) => task.command.as_ref(),
        None => launch.executor.command.as_ref(),
    };
    let docker = container.docker.as_ref().ok_or("No docker info found in container info")?;
    let mut words = Words::default();
    if docker.privileged() {
        words.bare("--privileged");
    }
    limits(&mut words, launch, around);
    for (name, value) in environment(command, around)? {
        words.pair("-e", format!("{name}={value}"));
    }
    let driver = volumes(&mut words, container, around)?;
    words.pair("-v", format!("{}:{SANDBOX}", around.sandbox.display()));
    if let Some(driver) = driver {
        words.bare(format!("--volume-driver={driver}"));
    }
    let mut parameters: Vec<(&str, &str)> =
        docker.parameters.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    let network = network(container, docker, &mut parameters)?;
    words.pair("--net", network.clone());
    for (option, value) in around.dns.options(&network, &parameters) {
        words.pair(option, value.clone());
    }
    if let Some(hostname) = &container.hostname {
        if network == "host" {
            return Err("Unable to set hostname with host network mode".to_owned());
        }
        words.pair("--hostname", hostname.clone());
    }
    ports(&mut words, docker, &network, &launch.resources)?;
    if let Some(directory) = around.directory.filter(|_| is_unified) {
        words.pair("--workdir", directory.to_owned());
    }
    let program = command.and_then(|c| c.value.clone());
    if command.is_some_and(CommandInfo::shell) && program.is_some() {
        words.pair("--entrypoint", "/bin/sh".to_owned());
    } else if let Some(program) = program.filter(|_| is_unified) {
        words.pair("--entrypoint", program);
    }
    words.pair("--name", container_name(launch.container_id.as_str()));
    for (key, value) in parameters {
        words.bare(format!("--{key}={value}"));
    }
    words.bare(docker.image.clone());
    match command.filter(|c| is_unified && !c.shell() && c.value.is_some()) {
        // The first is the name that the program sees, which the engine sets.
        Some(command) => words.0.extend(command.arguments.iter().skip(1).cloned()),
        None => arguments(&mut words, command)?,
    }
    Ok(words.0)
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn bare(&mut self, word: impl Into<String>) {
        self.0.push(word.into());
    }

    fn pair(&mut self, name: &str, value: String) {
        self.0.push(name.to_owned());
        self.0.push(value);
    }
}

/// Adds up a scalar resource; `None` when there is none of that name.
pub(crate) fn scalar(resources: &[Resource], name: &str) -> Option<f64> {
    let mut of_name = resources.iter().filter(|r| r.name == name).peekable();
    of_name.peek()?;
    Some(of_name.filter_map(|r| r.scalar.as_ref()).map(|s| s.value).sum())
}

/// What a container's resources are to the engine: shares, quota and memory.
pub(crate) fn amounts(resources: &[Resource], cfs: bool) -> serde_json::Value {
    let mut all = serde_json::Map::new();
    if let Some(cpus) = scalar(resources, "cpus") {
        all.insert("CpuShares".to_owned(), number((1024.0 * cpus).floor().max(MIN_SHARES)));
        if cfs {
            all.insert("CpuQuota".to_owned(), number((PERIOD * cpus).max(MIN_QUOTA)));
        }
    }
    if let Some(megabytes) = scalar(resources, "mem") {
        all.insert("Memory".to_owned(), number((megabytes * MEGABYTE).max(MIN_MEMORY)));
    }
    serde_json::Value::Object(all)
}

#[expect(clippy::cast_possible_truncation, reason = "amounts of one host fit")]
fn number(value: f64) -> serde_json::Value {
    (value as i64).into()
}

fn limits(words: &mut Words, launch: &Launch, around: &Surroundings<'_>) {
    let limit = |name: &str| launch.task.as_ref()?.limits.get(name).map(|limit| limit.value);
    if let Some(cpus) = scalar(&launch.resources, "cpus") {
        words.pair("--cpu-shares", whole((1024.0 * cpus).floor().max(MIN_SHARES)));
        let quota = match limit("cpus") {
            Some(limit) => limit.is_finite().then_some(limit),
            None => around.cfs.then_some(cpus),
        };
        if let Some(quota) = quota {
            words.pair("--cpu-quota", whole((PERIOD * quota).max(MIN_QUOTA)));
        }
    }
    if let Some(megabytes) = scalar(&launch.resources, "mem") {
        let request = (megabytes * MEGABYTE).max(MIN_MEMORY);
        match limit("mem") {
            None => words.pair("--memory", whole(request)),
            Some(limit) => {
                words.pair("--memory-reservation", whole(request));
                let limit = (limit * MEGABYTE).max(MIN_MEMORY);
                if limit.is_finite() {
                    words.pair("--memory", whole(limit));
                }
                if request < limit {
                    words.pair("--oom-score-adj", whole(oom_score(request, around.host_memory)));
                }
            }
        }
    }
}

/// Who asked for little of what the host has goes first.
#[expect(clippy::cast_precision_loss, reason = "a share of the host's memory in thousandths")]
fn oom_score(request: f64, host_memory: u64) -> f64 {
    (1000.0 - (1000.0 * request / host_memory.max(1) as f64).floor()).clamp(1.0, 999.0)
}

fn whole(value: f64) -> String {
    format!("{:.0}", value.trunc())
}

/// Merges the variables of the command with those of the agent, which win.
pub(crate) fn variables(command: Option<&CommandInfo>) -> Result<BTreeMap<String, String>, String> {
    let given = command.and_then(|c| c.environment.as_ref()).map(|e| e.variables.as_slice());
    let mut all = BTreeMap::new();
    for variable in given.unwrap_or_default() {
        if variable.r#type() == variable::Type::Secret {
            return Err(format!(
                "Environment variable '{}' is a secret: this agent has no secret resolver",
                variable.name
            ));
        }
        all.insert(variable.name.clone(), variable.value().to_owned());
    }
    Ok(all)
}

fn environment(
    command: Option<&CommandInfo>,
    around: &Surroundings<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut all = around.defaults.clone();
    all.extend(variables(command)?);
    all.extend(around.environment.clone());
    if let Some(bad) = all.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(format!("'{bad}' is no name for an environment variable"));
    }
    Ok(all)
}

/// Adds the volumes, and returns their driver: the engine takes one per container.
fn volumes(
    words: &mut Words,
    container: &ContainerInfo,
    around: &Surroundings<'_>,
) -> Result<Option<String>, String> {
    #[expect(deprecated, reason = "frameworks still set the driver there")]
    let mut driver = container.docker.as_ref().and_then(|d| d.volume_driver.clone());
    for volume in &container.volumes {
        if volume.image.is_some() {
            return Err(
                "Volumes with an image are not supported by the docker containerizer".to_owned()
            );
        }
        if let Some(directory) = around.shared.get(&volume.container_path) {
            let target = in_sandbox(&volume.container_path);
            words.pair("-v", format!("{}:{target}:{}", directory.display(), mode(volume)));
            continue;
        }
        let source = match (&volume.host_path, &volume.source) {
            (Some(path), _) => Some((path.clone(), None)),
            (None, Some(source)) => named_volume(source)?,
            (None, None) => {
                return Err("Host path or volume source is required".to_owned());
            }
        };
        // Mesos lets other kinds of sources pass without a mount; a task would miss its data.
        let Some((source, wants)) = source else {
            return Err(format!(
                "The volume at '{}' has a source that the docker containerizer cannot mount: \
                 only DOCKER_VOLUME, HOST_PATH and SANDBOX_PATH can",
                volume.container_path
            ));
        };
        if let Some(wants) = wants {
            if driver.as_ref().is_some_and(|driver| *driver != wants) {
                return Err("Only one volume driver is supported".to_owned());
            }
            driver = Some(wants);
        }
        let named = volume.host_path.is_none();
        words.pair("-v", bind(&source, volume, named || driver.is_some(), around.sandbox)?);
    }
    for (directory, volume) in &around.persistent {
        let target = in_sandbox(&volume.container_path);
        words.pair("-v", format!("{}:{target}:{}", directory.display(), mode(volume)));
    }
    Ok(driver)
}

fn named_volume(source: &volume::Source) -> Result<Option<(String, Option<String>)>, String> {
    match (source.r#type(), &source.docker_volume, &source.host_path) {
        (source::Type::DockerVolume, Some(named), _) => {
            if named.driver_options.as_ref().is_some_and(|o| !o.parameter.is_empty()) {
                return Err(format!(
                    "Volume '{}' has driver options, which `docker run` cannot pass on: \
                     create the volume with them beforehand",
                    named.name
                ));
            }
            Ok(Some((named.name.clone(), named.driver.clone())))
        }
        (source::Type::HostPath, _, Some(host)) => {
            if host.mount_propagation.is_some() {
                return Err(format!("Mount propagation of '{}' is not supported", host.path));
            }
            if !host.path.starts_with('/') {
                return Err(format!(
                    "Host path '{}' of a volume source must be absolute",
                    host.path
                ));
            }
            Ok(Some((host.path.clone(), None)))
        }
        _ => Ok(None),
    }
}

fn mode(volume: &Volume) -> &'static str {
    match volume.mode() {
        volume::Mode::Rw => "rw",
        volume::Mode::Ro => "ro",
    }
}

fn in_sandbox(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{SANDBOX}/{path}") }
}

/// One mount. A relative host path is in the sandbox, unless a driver knows it as a name.
fn bind(source: &str, volume: &Volume, named: bool, sandbox: &Path) -> Result<String, String> {
    let target = &volume.container_path;
    let relative = |path: &str| !path.starts_with('/');
    for path in [source, target.as_str()] {
        if path.contains(':') {
            return Err(format!("Path '{path}' of a volume contains a colon"));
        }
        if path.split('/').any(|part| part == "..") {
            return Err(format!("Path '{path}' of a volume leads out of the sandbox"));
        }
    }
    if relative(source) && relative(target) && !named {
        return Err(format!(
            "Both host_path '{source}' and container_path '{target}' of a volume are relative"
        ));
    }
    let source = if relative(source) && !named {
        sandbox.join(source).display().to_string()
    } else {
        source.to_owned()
    };
    Ok(format!("{source}:{}:{}", in_sandbox(target), mode(volume)))
}

fn network(
    container: &ContainerInfo,
    docker: &DockerInfo,
    parameters: &mut Vec<(&str, &str)>,
) -> Result<String, String> {
    // The first network parameter takes the place of the field, as users of old Mesos versions do.
    if let Some(index) = parameters.iter().position(|(key, _)| matches!(*key, "net" | "network")) {
        return Ok(parameters.remove(index).1.to_owned());
    }
    match docker.network() {
        Network::Host => Ok("host".to_owned()),
        Network::Bridge => Ok("bridge".to_owned()),
        Network::None => Ok("none".to_owned()),
        Network::User => match container.network_infos.as_slice() {
            [] => Err("No network info found in container info".to_owned()),
            [one] => {
                one.name.clone().ok_or_else(|| "No network name found in network info".to_owned())
            }
            _ => Err("Only a single network can be defined in Docker run".to_owned()),
        },
    }
}

fn ports(
    words: &mut Words,
    docker: &DockerInfo,
    network: &str,
    resources: &[Resource],
) -> Result<(), String> {
    if docker.port_mappings.is_empty() {
        return Ok(());
    }
    if matches!(network, "host" | "none") {
        return Err(
            "Port mappings are only supported for bridge and user-defined networks".to_owned()
        );
    }
    for mapping in &docker.port_mappings {
        let port = u64::from(mapping.host_port);
        if !offered(resources, port) {
            return Err(format!("Port [{port}] not included in resources"));
        }
        let protocol = mapping.protocol.as_deref().map(|p| format!("/{}", p.to_lowercase()));
        let protocol = protocol.unwrap_or_default();
        words.pair("-p", format!("{port}:{}{protocol}", mapping.container_port));
    }
    Ok(())
}

fn offered(resources: &[Resource], port: u64) -> bool {
    let ranges = resources.iter().filter(|r| r.name == "ports").filter_map(|r| r.ranges.as_ref());
    ranges.flat_map(|r: &value::Ranges| &r.range).any(|r| (r.begin..=r.end).contains(&port))
}

fn arguments(words: &mut Words, command: Option<&CommandInfo>) -> Result<(), String> {
    let Some(command) = command else { return Ok(()) };
    if command.shell() {
        match &command.value {
            Some(value) => words.pair("-c", value.clone()),
            // Without a value `shell` is only the default of a command that says nothing.
            None if command.shell.is_none() => words.0.extend(command.arguments.iter().cloned()),
            None => return Err("Shell specified but no command value provided".to_owned()),
        }
    } else {
        words.0.extend(command.value.iter().chain(&command.arguments).cloned());
    }
    Ok(())
}

/// The line that a person can paste.
pub(crate) fn line(program: &str, socket: &str, words: &[String]) -> String {
    let mut line = format!("{program} -H {socket} run");
    for word in words {
        line.push(' ');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(word);
        } else {
            line.push_str(&format!("'{}'", word.replace('\'', "'\\''")));
        }
    }
    line
}

#[cfg(test)]
mod tests;
