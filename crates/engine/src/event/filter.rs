//! Which events a subscriber wants (Engine API `/events`, parameter `filters`).

use super::{Event, EventType};
use crate::filter::{FilterError, Filters};

/// The names `/events` knows. Those of services' nouns are accepted and match nothing here.
const NAMES: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Actions that carry their detail after a colon; asked for without one they match every detail.
const DETAILED_ACTIONS: [&str; 4] = ["exec_create", "exec_start", "exec_die", "health_status"];

/// A checked event filter.
#[derive(Clone, Debug, Default)]
pub struct EventFilter(Filters);

impl EventFilter {
    /// Checks the names.
    ///
    /// # Errors
    /// [`FilterError::UnknownName`].
    pub fn new(filters: Filters) -> Result<Self, FilterError> {
        filters.check_names(&NAMES)?;
        Ok(Self(filters))
    }

    /// Decides about one event.
    pub fn accepts(&self, event: &Event) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let actors = ["config", "container", "daemon", "network", "node", "plugin", "secret"];
        self.accepts_action(&event.action)
            && self.0.exact("type", event.kind.as_str())
            && self.0.exact("scope", event.kind.scope())
            && actors.into_iter().all(|noun| self.accepts_actor(noun, event))
            && ["service", "volume"].into_iter().all(|noun| self.accepts_actor(noun, event))
            && self.accepts_image(event)
            && self.0.pairs("label", &event.attributes)
    }

    fn accepts_action(&self, action: &str) -> bool {
        if self.0.exact("event", action) {
            return true;
        }
        let stem = action.split_once(':').map_or(action, |(stem, _)| stem);
        DETAILED_ACTIONS.contains(&stem) && self.0.values("event").any(|wanted| wanted == stem)
    }

    /// The actor's id or its name begins with the value, whatever the event's type is: a
    /// `container=` filter therefore also shows nothing of other nouns unless they match.
    fn accepts_actor(&self, noun: &str, event: &Event) -> bool {
        let name = event.attributes.get("name").map_or("", String::as_str);
        self.0.prefix(noun, &event.actor_id) || self.0.prefix(noun, name)
    }

    fn accepts_image(&self, event: &Event) -> bool {
        let key = if event.kind == EventType::Image { "name" } else { "image" };
        let name = event.attributes.get(key).map_or("", String::as_str);
        [&event.actor_id, name, without_tag(&event.actor_id), without_tag(name)]
            .into_iter()
            .any(|candidate| self.0.exact("image", candidate))
    }
}

/// `localhost:5000/a:v1` -> `localhost:5000/a`.
fn without_tag(image: &str) -> &str {
    let name_start = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name_start..].find(':') {
        Some(colon) => &image[..name_start + colon],
        None => image,
    }
}
