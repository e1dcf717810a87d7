//! daemon.json: its keys, and how it meets the flags. A key may be given in the file or as a flag,
//! never in both, and unknown keys are errors: a daemon that ignores half of its configuration is
//! worse than one that does not start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What one source (the flags or the file) sets; `None` means not mentioned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    pub bip: Option<String>,
    pub bridge: Option<String>,
    pub builder: Option<BuilderSetting>,
    pub cdi_spec_dirs: Option<Vec<PathBuf>>,
    pub cgroup_parent: Option<String>,
    pub data_root: Option<PathBuf>,
    pub debug: Option<bool>,
    pub default_address_pools: Option<Vec<AddressPool>>,
    pub default_runtime: Option<String>,
    pub default_shm_size: Option<Size>,
    pub default_ulimits: Option<BTreeMap<String, Ulimit>>,
    pub dns: Option<Vec<String>>,
    pub dns_opts: Option<Vec<String>>,
    pub dns_search: Option<Vec<String>>,
    pub exec_root: Option<PathBuf>,
    pub group: Option<String>,
    pub hosts: Option<Vec<String>>,
    pub icc: Option<bool>,
    pub init: Option<bool>,
    pub insecure_registries: Option<Vec<String>>,
    pub ip: Option<String>,
    pub ip_forward: Option<bool>,
    pub ip_masq: Option<bool>,
    pub labels: Option<Vec<String>>,
    pub live_restore: Option<bool>,
    pub log_driver: Option<String>,
    pub log_level: Option<String>,
    pub log_opts: Option<BTreeMap<String, String>>,
    pub max_concurrent_downloads: Option<u32>,
    pub max_concurrent_uploads: Option<u32>,
    pub max_download_attempts: Option<u32>,
    pub mtu: Option<u32>,
    pub pidfile: Option<PathBuf>,
    pub publish_default_address: Option<String>,
    pub registry_mirrors: Option<Vec<String>>,
    pub runtimes: Option<BTreeMap<String, RuntimeSetting>>,
    pub shutdown_timeout: Option<u64>,
    pub storage_driver: Option<String>,
    pub tls: Option<bool>,
    pub tlscacert: Option<PathBuf>,
    pub tlscert: Option<PathBuf>,
    pub tlskey: Option<PathBuf>,
    pub tlsverify: Option<bool>,
    pub userns_remap: Option<String>,
}

/// What is set of builds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuilderSetting {
    pub gc: Option<GcSetting>,
}

/// When cached steps go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GcSetting {
    pub enabled: Option<bool>,
    #[serde(alias = "defaultReservedSpace", alias = "defaultMaxUsedSpace")]
    pub default_keep_storage: Option<Size>,
    pub policy: Option<Vec<GcRuleSetting>>,
}

/// One rule of that; the first that leaves too much is followed by the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GcRuleSetting {
    pub all: bool,
    #[serde(alias = "reservedSpace", alias = "maxUsedSpace")]
    pub keep_storage: Option<Size>,
    /// `unused-for=48h`, `type=exec.cachemount`.
    pub filter: Vec<String>,
}

/// A pool that networks without a subnet of their own are cut from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    pub base: String,
    pub size: u8,
}

/// A resource limit; -1 means unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// An additional OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeSetting {
    pub path: Option<String>,
    #[serde(default)]
    pub runtime_args: Vec<String>,
}

/// A size in bytes, or with a binary unit ("64m").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Bytes(u64),
    Text(String),
}

impl From<String> for Size {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("unable to configure the daemon with file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("unable to configure the daemon with file {}: it is not valid", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error(
        "unable to configure the daemon with file {}: the following directives don't match any \
         configuration option: {keys}", path.display()
    )]
    UnknownKeys { path: PathBuf, keys: String },
    #[error(
        "unable to configure the daemon with file {}: the following directives are specified both \
         as a flag and in the configuration file: {keys}", path.display()
    )]
    Conflict { path: PathBuf, keys: String },
}

impl Settings {
    /// Reads the file and merges it with the flags.
    ///
    /// A file that does not exist is fine unless `required`, as for dockerd's default path.
    pub fn merge(flags: Self, path: &Path, required: bool) -> Result<Self, SettingsError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(flags),
            Err(source) => return Err(SettingsError::Read { path: path.to_owned(), source }),
        };
        Self::merge_json(flags, &text, path)
    }

    fn merge_json(flags: Self, text: &[u8], path: &Path) -> Result<Self, SettingsError> {
        let parse = |source| SettingsError::Parse { path: path.to_owned(), source };
        let file: Map<String, Value> = if text.trim_ascii().is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(text).map_err(parse)?
        };
        let known = to_map(&Self::default(), false);
        let unknown: Vec<&str> =
            file.keys().filter(|key| !known.contains_key(*key)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let keys = unknown.join(", ");
            return Err(SettingsError::UnknownKeys { path: path.to_owned(), keys });
        }
        let mut merged = to_map(&flags, true);
        let mut conflicts = Vec::new();
        for (key, value) in file {
            match merged.get_mut(&key) {
                // Runtimes add up instead of excluding each other.
                Some(Value::Object(runtimes)) if key == "runtimes" && value.is_object() => {
                    runtimes.extend(value.as_object().cloned().unwrap_or_default());
                }
                Some(flag) => {
                    conflicts.push(format!("{key}: (from flag: {flag}, from file: {value})"));
                }
                None => {
                    merged.insert(key, value);
                }
            }
        }
        if !conflicts.is_empty() {
            let keys = conflicts.join(", ");
            return Err(SettingsError::Conflict { path: path.to_owned(), keys });
        }
        serde_json::from_value(Value::Object(merged)).map_err(parse)
    }
}

fn to_map(settings: &Settings, only_set: bool) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(mut map)) => {
            if only_set {
                map.retain(|_, value| !value.is_null());
            }
            map
        }
        // Settings holds only strings, numbers and maps with string keys.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::Flags;

    fn merged(args: &[&str], file: &str) -> Result<Settings, String> {
        let flags = Flags::try_parse_from(["daemon"].iter().chain(args)).unwrap();
        Settings::merge_json(flags.into_settings(), file.as_bytes(), Path::new("/d.json"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_and_file_add_up() {
        let settings = merged(
            &["--debug", "-H", "unix:///a", "-H", "tcp://1", "--add-runtime", "x=/bin/x"],
            r#"{"data-root": "/d", "runtimes": {"y": {"path": "/bin/y"}}, "log-opts": {"a": "b"}}"#,
        )
        .unwrap();
        assert_eq!(settings.debug, Some(true));
        assert_eq!(settings.hosts.unwrap().len(), 2);
        assert_eq!(settings.runtimes.unwrap().len(), 2);
        assert_eq!(settings.data_root.unwrap(), Path::new("/d"));
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let error = merged(&["--debug"], r#"{"debug": false}"#).unwrap_err();
        assert!(error.ends_with(
            "the following directives are specified both as a flag and in the configuration \
             file: debug: (from flag: true, from file: false)"
        ));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = merged(&[], r#"{"data_root": "/x"}"#).unwrap_err();
        assert!(error.ends_with("don't match any configuration option: data_root"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused() {
        assert!(merged(&[], r#"{"hosts": 3}"#).is_err());
        assert!(merged(&[], "[").is_err());
        assert!(merged(&[], "").is_ok());
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(Flags::try_parse_from(["daemon", "--userland-proxy"]).is_err());
        assert!(Flags::try_parse_from(["daemon", "--default-ulimit", "nofile=9:1"]).is_err());
    }
}
