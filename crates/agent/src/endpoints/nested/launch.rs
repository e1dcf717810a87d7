//! `LAUNCH_CONTAINER`, and by its older name `LAUNCH_NESTED_CONTAINER`.

use mesos_api::v1::agent::{Call, call};
use mesos_api::v1::{ContainerInfo, Resource};

use super::{id, missing, nested_id, outer, recovered, refuse, refused};
use crate::server::{Answer, Server};

#[allow(deprecated, reason = "clients of long ago use the older name")]
pub(in crate::endpoints) async fn launch(server: &Server, call: Call) -> Result<(), Answer> {
    let (name, launch) = match (call.r#type(), call.launch_nested_container, call.launch_container)
    {
        (call::Type::LaunchNestedContainer, Some(launch), _) => {
            let launch = call::LaunchContainer {
                container_id: launch.container_id,
                command: launch.command,
                container: launch.container,
                ..call::LaunchContainer::default()
            };
            ("launch_nested_container", launch)
        }
        (call::Type::LaunchContainer, _, Some(launch)) => ("launch_container", launch),
        (kind, ..) => return Err(missing(&kind.as_str_name().to_ascii_lowercase())),
    };
    let id = match name {
        "launch_container" => id(&launch.container_id, name)?,
        _ => nested_id(&launch.container_id, name)?,
    };
    if let Some(why) = refusal(&launch, name) {
        return Err(refuse(&why));
    }
    let place = match id.split() {
        Some(_) => Some(outer(server, &id).await?.1),
        None => {
            recovered(server).await?;
            None
        }
    };
    // Whoever asks may go; the container is there to stay.
    let nested = std::sync::Arc::clone(&server.nested);
    let what = format!("cannot launch container {id}");
    let begun = async move { nested.begin_container(&id, launch, place.as_ref()).await };
    let begun = tokio::spawn(begun).await;
    match begun {
        Ok(begun) => begun.map_err(|why| refused(why, &what)),
        Err(error) => Err(super::bad(&format!("{what}: {error}"))),
    }
}

/// Why a call is none that Mesos would take, in its words.
fn refusal(launch: &call::LaunchContainer, name: &str) -> Option<String> {
    let parent = launch.container_id.parent.as_ref();
    let twice_nested = parent.is_some_and(|parent| parent.parent.is_some());
    let shares = |it: &ContainerInfo| it.linux_info.as_ref()?.share_cgroups;
    let shares = launch.container.as_ref().and_then(shares);
    let why = if twice_nested && !launch.resources.is_empty() {
        "containers nested at the second level or greater cannot specify resources"
    } else if twice_nested && !launch.limits.is_empty() {
        "containers nested at the second level or greater cannot specify resource limits"
    } else if twice_nested && shares == Some(false) {
        "containers nested at the second level or greater cannot set 'share_cgroups' to 'false'"
    } else if parent.is_none() && shares == Some(true) {
        "containers without a parent cannot set 'share_cgroups' to 'true'"
    } else {
        let own = launch.resources.iter().filter(|_| parent.is_none());
        return own.filter_map(beyond).next().map(|what| format!("'{name}.resources' {what}"));
    };
    Some(format!("'{name}' is invalid: {why}"))
}

/// What a resource has that one of no offer cannot have.
fn beyond(resource: &Resource) -> Option<&'static str> {
    #[expect(deprecated, reason = "reserved as before reservations could be refined")]
    let role = resource.role.as_deref().is_some_and(|role| role != "*");
    if role || resource.reservation.is_some() || !resource.reservations.is_empty() {
        return Some("must be unreserved");
    }
    if resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some()) {
        return Some("may not use persistent volumes");
    }
    resource.revocable.is_some().then_some("must be non-revocable")
}
