//! Volumes as Docker shows them.

use std::collections::BTreeMap;

use engine::volume::Volume;
use serde_json::{Value, json};

/// Converts a volume.
pub(crate) fn volume(volume: &Volume) -> Value {
    let or_null = |map: &BTreeMap<String, String>| Some(map.clone()).filter(|map| !map.is_empty());
    json!({
        "CreatedAt": format!("{:.0}", volume.created_at),
        "Driver": Volume::DRIVER,
        "Labels": or_null(&volume.labels),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": or_null(&volume.options),
        "Scope": "local",
    })
}
