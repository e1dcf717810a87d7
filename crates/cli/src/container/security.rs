//! `--security-opt`.

use super::env::open_error;

/// The options for the daemon, and those that this side translates.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) options: Vec<String>,
    /// `systempaths=unconfined`: no path of /proc and /sys is masked or read-only.
    pub(crate) unconfined_system_paths: bool,
}

/// Reads all values; a seccomp profile is replaced by its content.
pub(crate) fn parse(values: &[String]) -> Result<Security, String> {
    let mut security = Security::default();
    for value in values {
        // `name:value` is the old spelling.
        let split = value.split_once('=').or_else(|| value.split_once(':'));
        let Some((name, setting)) = split.filter(|(_, setting)| !setting.is_empty()) else {
            if value == "no-new-privileges" || value == "disable" || value == "writable-cgroups" {
                security.options.push(value.clone());
                continue;
            }
            return Err(format!("Invalid --security-opt: {value:?}"));
        };
        if name == "systempaths" && setting == "unconfined" {
            security.unconfined_system_paths = true;
        } else if name == "seccomp" && !matches!(setting, "unconfined" | "builtin") {
            security.options.push(format!("seccomp={}", seccomp_profile(setting)?));
        } else {
            security.options.push(format!("{name}={setting}"));
        }
    }
    Ok(security)
}

fn seccomp_profile(path: &str) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|e| {
        format!("opening seccomp profile ({path}) failed: {}", open_error(path, &e))
    })?;
    let profile: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| format!("compacting json for seccomp profile ({path}) failed: {e}"))?;
    Ok(profile.to_string())
}
