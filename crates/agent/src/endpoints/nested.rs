//! Calls about what operators launch: sessions, and containers inside of others or by themselves; the
//! containers of tasks can be waited for and killed.

pub(super) mod launch;
pub(super) mod session;

use std::sync::Arc;

use cluster::id::ContainerId;
use hyper::StatusCode;
use mesos_api::v1;
use mesos_api::v1::agent::{Call, Response, call, response};
use mesos_api::v1::task_status::Reason;
use rustix::process::Signal;

use super::look;
use crate::containers::SIGKILL;
use crate::driver::View;
use crate::nested::{Entry, NotLaunched, Place, Termination};
use crate::server::{Answer, Server, text};

/// As for Mesos, whose names for directories they are.
const LONGEST_ID: usize = 242;

fn refuse(why: &str) -> Answer {
    text(StatusCode::BAD_REQUEST, &format!("Failed to validate agent::Call: {why}"))
}

fn missing(name: &str) -> Answer {
    refuse(&format!("Expecting '{name}' to be present"))
}

fn not_found(id: &ContainerId) -> Answer {
    text(StatusCode::NOT_FOUND, &format!("Container {id} cannot be found"))
}

fn bad(why: &str) -> Answer {
    text(StatusCode::BAD_REQUEST, why)
}

/// Says why nothing was launched.
fn refused(why: NotLaunched, what: &str) -> Answer {
    match why {
        NotLaunched::Exists => text(StatusCode::ACCEPTED, ""),
        NotLaunched::Refused(why) => bad(&format!("{what}: {why}")),
    }
}

/// Waits until what an earlier agent has launched is known: the driver finds it before it answers.
async fn recovered(server: &Server) -> Result<(), Answer> {
    look(server, |_| ()).await
}

/// What is around a container that is to be launched.
async fn outer(server: &Server, id: &ContainerId) -> Result<(ContainerId, Place), Answer> {
    recovered(server).await?;
    let (parent, _) = id.split().ok_or_else(|| not_found(id))?;
    let asked = parent.clone();
    let place = match server.nested.place(&parent) {
        Some(place) => Some(place),
        None => look(server, move |view| view.containers.place(&asked)).await?,
    };
    let place = place.ok_or_else(|| bad(&format!("Parent container {parent} cannot be found")))?;
    Ok((parent, place))
}

/// Reads the id of a container; `name` is that of the field.
fn id(id: &v1::ContainerId, name: &str) -> Result<ContainerId, Answer> {
    let bad = |why: String| Err(refuse(&format!("'{name}.container_id' is invalid: {why}")));
    let value = id.value.as_str();
    if value.is_empty() {
        return bad("ID must not be empty".to_owned());
    }
    if value.len() > LONGEST_ID {
        return bad(format!(
            "'ContainerID.value' '{value}' exceeds the maximum length ({LONGEST_ID})"
        ));
    }
    if value.chars().any(|c| matches!(c, '.' | ' ' | '/' | '\\') || c.is_control()) {
        return bad(format!("'ContainerID.value' '{value}' contains invalid characters"));
    }
    match &id.parent {
        Some(parent) => Ok(self::id(parent, name)?.child(value)),
        None => Ok(ContainerId::from(value)),
    }
}

/// The same for calls that are about a container inside of another.
fn nested_id(wire: &v1::ContainerId, name: &str) -> Result<ContainerId, Answer> {
    let id = id(wire, name)?;
    if wire.parent.is_none() {
        return Err(missing(&format!("{name}.container_id.parent")));
    }
    Ok(id)
}

/// What has been launched with that id, by an operator or for a task.
async fn find(server: &Server, id: &ContainerId) -> Result<Entry, Answer> {
    let asked = id.clone();
    let of_task = look(server, move |view| view.containers.find(&asked)).await?;
    let found = of_task.map(Entry::Container).or_else(|| server.nested.find(id));
    found.ok_or_else(|| not_found(id))
}

/// What is told of an end. Why it ended is known of what ran out of memory only.
fn waited(how: Termination) -> response::WaitContainer {
    let mut told = response::WaitContainer {
        exit_status: how.status,
        message: how.message,
        ..response::WaitContainer::default()
    };
    if how.out_of_memory {
        told.set_state(v1::TaskState::TaskFailed);
        told.set_reason(Reason::ContainerLimitationMemory);
    }
    told
}

/// `WAIT_CONTAINER`, and by its older name.
#[allow(deprecated, reason = "clients of long ago use the older names")]
pub(super) async fn wait(server: &Server, call: Call) -> Result<Response, Answer> {
    let (older, wire) = match (call.r#type(), call.wait_nested_container, call.wait_container) {
        (call::Type::WaitNestedContainer, Some(wait), _) => (true, wait.container_id),
        (call::Type::WaitContainer, _, Some(wait)) => (false, wait.container_id),
        (kind, ..) => return Err(missing(&kind.as_str_name().to_ascii_lowercase())),
    };
    let id = match older {
        true => nested_id(&wire, "wait_nested_container")?,
        false => id(&wire, "wait_container")?,
    };
    let how = find(server, &id).await?.wait().await.ok_or_else(|| not_found(&id))?;
    let mut answer = Response::default();
    if older {
        answer.set_type(response::Type::WaitNestedContainer);
        let response::WaitContainer { exit_status, state, reason, limitation, message } =
            waited(how);
        answer.wait_nested_container =
            Some(response::WaitNestedContainer { exit_status, state, reason, limitation, message });
    } else {
        answer.set_type(response::Type::WaitContainer);
        answer.wait_container = Some(waited(how));
    }
    Ok(answer)
}

/// `KILL_CONTAINER`, and by its older name.
#[allow(deprecated, reason = "clients of long ago use the older names")]
pub(super) async fn kill(server: &Server, call: Call) -> Result<(), Answer> {
    let (id, signal) = match (call.r#type(), call.kill_nested_container, call.kill_container) {
        (call::Type::KillNestedContainer, Some(kill), _) => {
            (nested_id(&kill.container_id, "kill_nested_container")?, kill.signal)
        }
        (call::Type::KillContainer, _, Some(kill)) => {
            (id(&kill.container_id, "kill_container")?, kill.signal)
        }
        (kind, ..) => return Err(missing(&kind.as_str_name().to_ascii_lowercase())),
    };
    let entry = find(server, &id).await?;
    let signal = signal.unwrap_or(SIGKILL);
    if Signal::from_named_raw(signal).is_none() {
        let why = format!("Unable to send signal to container: {signal} is none");
        return Err(text(StatusCode::INTERNAL_SERVER_ERROR, &why));
    }
    if entry.signal(signal) {
        return Ok(());
    }
    let why = format!("Container '{id}' cannot be found (or is already killed)");
    Err(text(StatusCode::NOT_FOUND, &why))
}

/// `REMOVE_CONTAINER`, and by its older name.
#[allow(deprecated, reason = "clients of long ago use the older names")]
pub(super) async fn remove(server: &Server, call: Call) -> Result<(), Answer> {
    let id = match (call.r#type(), call.remove_nested_container, call.remove_container) {
        (call::Type::RemoveNestedContainer, Some(remove), _) => {
            nested_id(&remove.container_id, "remove_nested_container")?
        }
        (call::Type::RemoveContainer, _, Some(remove)) => {
            id(&remove.container_id, "remove_container")?
        }
        (kind, ..) => return Err(missing(&kind.as_str_name().to_ascii_lowercase())),
    };
    let (asked, root) = (id.clone(), id.root());
    let seen =
        move |view: &View<'_>| (view.containers.find(&asked), view.containers.has_root(&root));
    let (of_task, has_root) = look(server, seen).await?;
    let refuse = |why: &str| Err(text(StatusCode::INTERNAL_SERVER_ERROR, why));
    let running = "Nested container has not terminated yet";
    match of_task {
        Some(container) if !container.has_ended() => return refuse(running),
        Some(_) => return Ok(()), // the agent removes it by itself
        None if !has_root && server.nested.find(&id.root()).is_none() => {
            return refuse(&format!("Root container {} not found", id.root()));
        }
        None => {}
    }
    // What is not there is removed, as Mesos has it.
    let nested = Arc::clone(&server.nested);
    let removed = tokio::task::spawn_blocking(move || nested.remove(&id)).await;
    if removed.unwrap_or(false) { Ok(()) } else { refuse(running) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(parts: &[&str]) -> v1::ContainerId {
        let (own, outer) = parts.split_last().expect("a part");
        let parent = (!outer.is_empty()).then(|| Box::new(wire(outer)));
        v1::ContainerId { value: (*own).to_owned(), parent }
    }

    #[test]
    fn ids_of_containers_are_paths_of_plain_names() {
        assert_eq!(id(&wire(&["a", "b"]), "x").expect("an id"), ContainerId::from("a.b"));
        assert_eq!(nested_id(&wire(&["a", "b"]), "x").expect("an id"), ContainerId::from("a.b"));
        assert!(nested_id(&wire(&["a"]), "x").is_err(), "it is in no other");
        let long = "x".repeat(LONGEST_ID + 1);
        for bad in ["", "a.b", "a b", "../a", "a\n", &long] {
            assert!(id(&wire(&[bad]), "x").is_err(), "{bad:?}");
            assert!(id(&wire(&[bad, "b"]), "x").is_err(), "{bad:?} outside of b");
        }
    }
}
