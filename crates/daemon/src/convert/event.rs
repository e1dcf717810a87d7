//! Events as Docker writes them.

use engine::event::{Event, EventType};
use serde_json::{Value, json};

/// Converts an event. Containers and images also carry the three fields that older clients read.
pub(crate) fn event(event: &Event) -> Value {
    let mut wire = json!({
        "Type": event.kind.as_str(),
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": event.attributes},
        "scope": event.kind.scope(),
        "time": event.time_nanos / 1_000_000_000,
        "timeNano": event.time_nanos,
    });
    if matches!(event.kind, EventType::Container | EventType::Image) {
        wire["status"] = json!(event.action);
        wire["id"] = json!(event.actor_id);
    }
    if event.kind == EventType::Container
        && let Some(image) = event.attributes.get("image")
    {
        wire["from"] = json!(image);
    }
    wire
}
