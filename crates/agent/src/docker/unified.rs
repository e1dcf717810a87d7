//! Containers of type MESOS with a Docker image, which Mesos' unified containerizer runs: the engine
//! runs them here, as the container of type DOCKER that comes out the same.

use std::path::PathBuf;

use cluster::agent::Launch;
use mesos_api::v1::container_info::docker_info::{Network, PortMapping};
use mesos_api::v1::container_info::{self, DockerInfo};
use mesos_api::v1::r_limit_info::r_limit::Type as LimitType;
use mesos_api::v1::volume::source::sandbox_path;
use mesos_api::v1::{
    CapabilityInfo, ContainerInfo, LinuxInfo, Parameter, RLimitInfo, Volume, image, linux_info,
};

use super::Job;
use crate::identity::User;
use crate::sandbox;

/// What the engine calls the network of one of its containers.
pub(super) const OF_CONTAINER: &str = "container:";

/// The container that is to run: the task's, or the executor's.
pub(crate) fn container_of(launch: &Launch) -> Option<&ContainerInfo> {
    match &launch.task {
        Some(task) => task.container.as_deref(),
        None => launch.executor.container.as_deref(),
    }
}

/// Whether a container is of the unified containerizer's, with an image.
pub(crate) fn has_image(container: &ContainerInfo) -> bool {
    container.r#type() == container_info::Type::Mesos
        && container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some())
}

/// The Docker image that a container is of.
pub(crate) fn image_of(container: &ContainerInfo) -> Option<&str> {
    let unified = || container.mesos.as_ref()?.image.as_ref()?.docker.as_ref();
    match &container.docker {
        Some(docker) => Some(&docker.image),
        None => unified().map(|docker| docker.name.as_str()),
    }
}

/// The network of a container, as `docker run` takes it.
pub(crate) fn network_of(container: &str) -> String {
    format!("{OF_CONTAINER}{container}")
}

/// Whose namespaces a container shares if it asks to: its parent's, or the host's.
fn around(container: &ContainerInfo) -> &str {
    let network = container.network_infos.first().and_then(|network| network.name.as_deref());
    network.filter(|name| name.starts_with(OF_CONTAINER)).unwrap_or("host")
}

/// What of a task's group this agent cannot give.
pub(crate) fn group_refusal(launch: &Launch) -> Option<String> {
    launch.group.as_ref()?;
    let container = launch.executor.container.as_deref()?;
    let mut bare = ContainerInfo { linux_info: None, ..ContainerInfo::default() };
    bare.set_type(container.r#type());
    let linux = container.linux_info.clone().unwrap_or_default();
    let plain = LinuxInfo { share_cgroups: None, ..linux } == LinuxInfo::default();
    if plain && (ContainerInfo { linux_info: None, ..container.clone() }) == bare {
        return None;
    }
    Some(
        "the container of a default executor has nothing of its own on this agent: its tasks are \
         on the host's network, or on one that each of them names; volumes are the tasks'"
            .to_owned(),
    )
}

/// Says what is the same as a container of type DOCKER.
///
/// # Errors
/// For what has no counterpart there.
pub(super) fn as_docker(
    container: &ContainerInfo,
    user: Option<User>,
) -> Result<ContainerInfo, String> {
    let image = container.mesos.as_ref().and_then(|mesos| mesos.image.as_ref());
    let Some(image) = image.filter(|_| has_image(container)) else {
        return Ok(container.clone());
    };
    let docker = match (image.r#type(), &image.docker) {
        (image::Type::Docker, Some(docker)) => docker,
        (image::Type::Docker, None) => return Err("the image has no name".to_owned()),
        (image::Type::Appc, _) => return Err("images of type APPC are not supported".to_owned()),
    };
    if docker.config.is_some() {
        return Err("credentials in 'image.docker.config' are a secret, which this agent cannot \
                    resolve: fetch a .docker/config.json by URI, or use --docker_config"
            .to_owned());
    }
    if container.tty_info.is_some() {
        return Err("a terminal ('tty_info') is not supported".to_owned());
    }
    let mut info = DockerInfo {
        image: docker.name.clone(),
        force_pull_image: Some(!image.cached()),
        parameters: parameters(container, user)?,
        ..DockerInfo::default()
    };
    match container.network_infos.as_slice() {
        [] => info.set_network(Network::Host),
        [one] if one.name.is_some() => info.set_network(Network::User),
        [_] => return Err("'network_infos' needs the name of a network of the engine".to_owned()),
        _ => return Err("Only a single network can be defined in Docker run".to_owned()),
    }
    let mappings = container.network_infos.iter().flat_map(|network| &network.port_mappings);
    info.port_mappings = mappings
        .map(|mapping| PortMapping {
            host_port: mapping.host_port,
            container_port: mapping.container_port,
            protocol: mapping.protocol.clone(),
        })
        .collect();
    Ok(ContainerInfo { docker: Some(info), ..container.clone() })
}

fn parameters(container: &ContainerInfo, user: Option<User>) -> Result<Vec<Parameter>, String> {
    let mut all = Vec::new();
    let mut add = |key: &str, value: String| all.push(Parameter { key: key.to_owned(), value });
    if let Some(user) = user {
        // The user of the framework or the command, whoever the image names.
        add("user", format!("{}:{}", user.uid, user.gid));
    }
    let linux = container.linux_info.clone().unwrap_or_default();
    #[expect(deprecated, reason = "frameworks from before 1.4 name them there")]
    let own =
        linux.effective_capabilities.or(linux.capability_info).or(linux.bounding_capabilities);
    if let Some(own) = own {
        add("cap-drop", "ALL".to_owned());
        capabilities(&own).for_each(|name| add("cap-add", name));
    }
    if let Some(seccomp) = linux.seccomp {
        match (seccomp.unconfined(), &seccomp.profile_name) {
            (true, _) => add("security-opt", "seccomp=unconfined".to_owned()),
            (false, None) => {}
            (false, Some(name)) => {
                return Err(format!("the seccomp profile '{name}' is none of this agent's"));
            }
        }
    }
    if linux.share_pid_namespace == Some(true) {
        add("pid", around(container).to_owned());
    }
    match linux.ipc_mode.and_then(|mode| linux_info::IpcMode::try_from(mode).ok()) {
        Some(linux_info::IpcMode::ShareParent) => add("ipc", around(container).to_owned()),
        _ => {
            if let Some(megabytes) = linux.shm_size {
                add("shm-size", format!("{megabytes}m"));
            }
        }
    }
    for limit in rlimits(container.rlimit_info.as_ref())? {
        add("ulimit", limit);
    }
    Ok(all)
}

fn capabilities(info: &CapabilityInfo) -> impl Iterator<Item = String> {
    info.capabilities().map(|one| one.as_str_name().to_owned())
}

/// Limits as `docker run --ulimit` takes them; one without numbers is none.
fn rlimits(info: Option<&RLimitInfo>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for limit in info.map(|info| info.rlimits.as_slice()).unwrap_or_default() {
        let kind = limit.r#type();
        let name = kind.as_str_name();
        if matches!(kind, LimitType::Unknown | LimitType::RlmtAs) {
            return Err(format!("the engine cannot set the resource limit {name}"));
        }
        let name = name.trim_start_matches("RLMT_").to_lowercase();
        all.push(match (limit.soft, limit.hard) {
            (Some(soft), Some(hard)) => format!("{name}={soft}:{hard}"),
            (None, None) => format!("{name}=-1"),
            _ => return Err(format!("the resource limit {name} needs both 'soft' and 'hard'")),
        });
    }
    Ok(all)
}

/// The directory that a volume of type SANDBOX_PATH is, made if need be: in the task's own sandbox
/// or, shared with the other tasks of the executor, in the executor's.
pub(crate) fn sandbox_path(job: &Job, volume: &Volume) -> Result<Option<PathBuf>, String> {
    let Some(wanted) = volume.source.as_ref().and_then(|source| source.sandbox_path.as_ref())
    else {
        return Ok(None);
    };
    let within = match wanted.r#type() {
        sandbox_path::Type::Parent => job.outer.as_ref().ok_or_else(|| {
            format!(
                "the volume at '{}' is in the sandbox of an outer container, and there is none",
                volume.container_path
            )
        })?,
        sandbox_path::Type::Self_ | sandbox_path::Type::Unknown => &job.sandbox,
    };
    let made = sandbox::shared(within, &wanted.path, job.user);
    made.map(Some).map_err(|e| format!("cannot make the directory '{}': {e}", wanted.path))
}
