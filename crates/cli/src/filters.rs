//! `--filter` values as the API takes them.

use serde_json::{Map, Value as Json, json};

/// Encodes `name=value` filters; `None` when there are none.
pub(crate) fn encode(values: &[String]) -> Option<String> {
    if values.is_empty() {
        return None;
    }
    Some(Json::Object(collect(values)).to_string())
}

/// Collects filters as `{"name": {"value": true}}`.
pub(crate) fn collect(values: &[String]) -> Map<String, Json> {
    let mut all = Map::new();
    for value in values {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        add(&mut all, name.trim().to_ascii_lowercase().as_str(), value.trim());
    }
    all
}

/// Adds one filter.
pub(crate) fn add(all: &mut Map<String, Json>, name: &str, value: &str) {
    let entry = all.entry(name.to_owned()).or_insert_with(|| json!({}));
    entry[value] = Json::from(true);
}
