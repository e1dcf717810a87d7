//! Tells the event bus what happened to a container.

use super::record::{ContainerId, ContainerRecord, EndpointSettings};
use crate::event::{Event, EventBus, EventType};

/// Publishes `action` on the container with the attributes that every such event has.
pub(crate) fn event(bus: &EventBus, record: &ContainerRecord, action: impl Into<String>) {
    bus.publish(container(record, action));
}

/// Makes an event about the container, to be given more attributes.
pub(crate) fn container(record: &ContainerRecord, action: impl Into<String>) -> Event {
    Event::new(EventType::Container, action, record.id.as_str())
        .with("image", record.config.image.clone())
        .with("name", record.name.clone())
        .with_all(&record.config.labels)
}

/// Publishes the end of a run.
pub(crate) fn died(bus: &EventBus, record: &ContainerRecord) {
    let seconds = match (record.state.started_at, record.state.finished_at) {
        (Some(started), Some(finished)) => finished.as_second() - started.as_second(),
        _ => 0,
    };
    if record.state.oom_killed {
        event(bus, record, "oom");
    }
    let died = container(record, "die")
        .with("exitCode", record.state.exit_code.to_string())
        .with("execDuration", seconds.max(0).to_string());
    bus.publish(died);
}

/// Publishes that the container's endpoints came or went.
pub(crate) fn networks(bus: &EventBus, record: &ContainerRecord, action: &str) {
    for (name, endpoint) in &record.networks {
        if !endpoint.network_id.is_empty() {
            bus.publish(network(&record.id, name, Some(endpoint), action));
        }
    }
}

/// Makes an event about one endpoint.
pub(crate) fn network(
    container_id: &ContainerId,
    name: &str,
    endpoint: Option<&EndpointSettings>,
    action: &str,
) -> Event {
    let kind = match name {
        "host" => "host",
        "none" => "null",
        _ => "bridge",
    };
    let id = endpoint.map(|endpoint| endpoint.network_id.clone()).unwrap_or_default();
    Event::new(EventType::Network, action, id)
        .with("container", container_id.as_str())
        .with("name", name)
        .with("type", kind)
}
