//! Interfaces of the host, by whose they say they are.

use std::path::Path;
use std::process::Command;

/// Names of the bridges and parents that a daemon with this data root made.
pub fn of_data_root(data_root: &Path) -> Vec<String> {
    let root = std::fs::canonicalize(data_root).unwrap_or_else(|_| data_root.to_owned());
    let aliases = ["teu", "teu-parent"].map(|kind| format!("{kind}:{}", root.display()));
    let ours = all().into_iter().filter(|link| {
        link["ifalias"].as_str().is_some_and(|alias| aliases.iter().any(|ours| ours == alias))
    });
    ours.filter_map(|link| link["ifname"].as_str().map(str::to_owned)).collect()
}

/// The host's ends of containers' interfaces, of the daemon with that bridge.
pub(crate) fn of_containers(bridge: &str) -> Vec<String> {
    let prefix = format!("teu:{bridge}:");
    let ours = all().into_iter().filter(|link| {
        link["master"] == bridge
            || link["ifalias"].as_str().is_some_and(|alias| alias.starts_with(&prefix))
    });
    ours.map(|link| format!("interface {} {}", link["ifname"], link["ifalias"])).collect()
}

fn all() -> Vec<serde_json::Value> {
    let Ok(links) = Command::new("ip").args(["-j", "link"]).output() else { return Vec::new() };
    serde_json::from_slice(&links.stdout).unwrap_or_default()
}
