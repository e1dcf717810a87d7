//! From a call to the container that a containerizer runs, as a pure function.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cluster::agent::Launch;
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use mesos_api::v1::agent::call::LaunchContainer;
use mesos_api::v1::container_info::{self, MesosInfo};
use mesos_api::v1::{
    ContainerInfo, ExecutorInfo, FrameworkInfo, Image, NetworkInfo, Resource, TaskInfo, image,
};

use super::{Inside, Place};
use crate::docker::{self, Job, container_of, image_of, network_of};
use crate::identity::{self, User};
use crate::layout::Layout;

/// What is needed to run a container, and to find it again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// With all that it takes from what is around it.
    pub(super) call: LaunchContainer,
    pub(super) sandbox: PathBuf,
    /// The sandbox of what is around it.
    pub(super) outer: Option<PathBuf>,
    pub(super) user: Option<User>,
    /// Whose task is around it; empty if none is.
    pub(super) framework: FrameworkId,
    pub(super) executor: ExecutorId,
}

/// Says what a call means inside of `outer`, or by itself.
///
/// # Errors
/// In words for who has called.
pub(super) fn plan(
    id: &ContainerId,
    mut call: LaunchContainer,
    outer: Option<&Place>,
    layout: &Layout,
) -> Result<Plan, String> {
    let given = call.container.take();
    if given.as_ref().is_some_and(|given| given.r#type() == container_info::Type::Docker) {
        return Err(
            "The provided ContainerInfo is not supported: a container that the operator API \
                    launches is of type MESOS, with or without an image"
                .to_owned(),
        );
    }
    let shares = given.as_ref().and_then(|it| it.linux_info.as_ref()?.share_cgroups);
    let mut container = given.unwrap_or_default();
    container.set_type(container_info::Type::Mesos);
    if let Some(outer) = outer {
        inherit(&mut container, outer);
    }
    let by_engine = container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some());
    let own = !call.limits.is_empty() || shares == Some(false);
    match outer {
        Some(outer) if by_engine && call.resources.is_empty() => {
            // The engine gives it a cgroup of its own: it may use as much as what is around it.
            call.resources = usable(outer);
        }
        Some(_) if !by_engine && !own && !call.resources.is_empty() => {
            return Err("'launch_container.resources' are those of what is around it unless \
                        'container.linux_info.share_cgroups' is false"
                .to_owned());
        }
        _ => {}
    }
    call.container = Some(container);
    let sandbox = match (outer, id.split()) {
        (Some(outer), Some((_, own))) => {
            // Beside the outer one, where no task can put it elsewhere; a link leads there.
            let mut beside = outer.job.sandbox.clone().into_os_string();
            beside.push(format!(".{own}"));
            beside.into()
        }
        _ => layout.standalone_sandbox(id),
    };
    let launch = outer.map(|outer| &outer.job.launch);
    Ok(Plan {
        call,
        sandbox,
        outer: outer.map(|outer| outer.job.sandbox.clone()),
        user: outer.and_then(|outer| outer.job.user),
        framework: launch.map_or_else(|| "".into(), |launch| launch.framework_id.clone()),
        executor: launch.map_or_else(|| "".into(), |launch| launch.executor_id.clone()),
    })
}

/// Gives a container what it has in common with one of the engine's that is around it: its image,
/// unless it has one of its own, and its network.
fn inherit(container: &mut ContainerInfo, outer: &Place) {
    let Some(Inside::Container(around)) = &outer.inside else { return };
    let mesos = container.mesos.get_or_insert_with(MesosInfo::default);
    if mesos.image.is_none()
        && let Some(name) = container_of(&outer.job.launch).and_then(image_of)
    {
        let docker = image::Docker { name: name.to_owned(), ..image::Docker::default() };
        let mut image = Image { docker: Some(docker), ..Image::default() };
        image.set_type(image::Type::Docker);
        mesos.image = Some(image);
    }
    if container.network_infos.is_empty() {
        let name = Some(network_of(&around.name));
        container.network_infos.push(NetworkInfo { name, ..NetworkInfo::default() });
    }
}

fn usable(outer: &Place) -> Vec<Resource> {
    let mut all = outer.job.resources.borrow().clone();
    all.retain(|resource| matches!(resource.name.as_str(), "cpus" | "mem"));
    all
}

impl Plan {
    /// With the user that its command names.
    pub(super) fn with_user(mut self, switch_user: bool) -> Result<Self, String> {
        let named = self.call.command.as_ref().and_then(|command| command.user.as_deref());
        if let Some(name) = named.filter(|_| switch_user) {
            self.user = Some(identity::user(name)?);
        }
        Ok(self)
    }

    /// As containerizers take it.
    pub(super) fn job(&self, id: &ContainerId, layout: &Layout) -> Job {
        let task = TaskInfo {
            command: self.call.command.clone(),
            container: self.call.container.clone().map(Box::new),
            resources: self.call.resources.clone(),
            limits: self.call.limits.clone(),
            ..TaskInfo::default()
        };
        let launch = Launch {
            framework_id: self.framework.clone(),
            executor_id: self.executor.clone(),
            container_id: id.clone(),
            framework: FrameworkInfo::default(),
            executor: ExecutorInfo::default(),
            task: Some(task),
            resources: self.call.resources.clone(),
            role: String::new(),
            group: None,
        };
        let mut environment = BTreeMap::new();
        let sandbox = match docker::supports(&launch) {
            true => {
                let name = docker::container_name(id.as_str());
                environment.insert("MESOS_CONTAINER_NAME".to_owned(), name);
                docker::SANDBOX.to_owned()
            }
            false => self.sandbox.display().to_string(),
        };
        environment.insert("MESOS_SANDBOX".to_owned(), sandbox);
        Job {
            resources: tokio::sync::watch::channel(launch.resources.clone()).1,
            sandbox: self.sandbox.clone(),
            outer: self.outer.clone(),
            link: layout.link(id),
            user: self.user,
            environment,
            persistent: Vec::new(),
            launch,
        }
    }
}

#[cfg(test)]
mod tests;
