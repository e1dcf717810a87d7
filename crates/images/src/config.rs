//! The image config: the OCI image config and what Docker adds to it.
//!
//! The bytes as they came are kept by the store and are what the image id is computed from; these
//! types are only a reading of them (unknown keys are ignored, `null` means absent) and the way new
//! configs are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Error, Result};

/// The largest config that is accepted; the biggest seen in the wild is far below 1 MiB.
pub const MAX_CONFIG_BYTES: usize = 8 << 20;

type Set = BTreeMap<String, Empty>;

/// The empty object that Go writes for the values of a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// An image config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// CPU architecture in Go's words, such as `amd64`.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// The person who made the image.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub author: String,
    /// The message of a commit or import (Docker).
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub comment: String,
    /// How containers of the image run by default.
    #[serde(deserialize_with = "or_default")]
    pub config: RunConfig,
    /// The container the image was committed from (Docker).
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub container: String,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Version of the engine that made the image (Docker).
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub docker_version: String,
    /// One entry per step of the build, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub history: Vec<History>,
    /// Operating system in Go's words, such as `linux`.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// Features of the operating system that the image needs (Windows).
    #[serde(
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub os_features: Vec<String>,
    /// Version of the operating system (Windows).
    #[serde(
        rename = "os.version",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub os_version: String,
    /// The layers.
    #[serde(deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// Variant of the architecture, such as `v8`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub variant: String,
}

/// The layers of an image, lowest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Digests of the uncompressed layer archives.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of how the image was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub created_by: String,
    /// The author.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub author: String,
    /// The message.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub comment: String,
    /// Whether the step left the filesystem as it was, so that no layer belongs to it.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub empty_layer: bool,
}

/// How a container of the image runs: Docker's container config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    /// Host name; kept by commit, of no meaning for new containers.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub hostname: String,
    /// Domain name.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub domainname: String,
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub user: String,
    /// Ports such as `80/tcp` that the image listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Set>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Arguments, or the whole command without an entrypoint.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "one_or_many")]
    pub cmd: Option<Vec<String>>,
    /// How health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The command is already escaped (Windows).
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub args_escaped: bool,
    /// The image a committed container was made from.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub image: String,
    /// Paths that become anonymous volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Set>,
    /// Where commands start.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub working_dir: String,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "one_or_many")]
    pub entrypoint: Option<Vec<String>>,
    /// No network at all.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub network_disabled: bool,
    /// Dockerfile instructions for images built from this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that stops the container.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of the shell form of instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// A terminal by default; kept by commit.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub tty: bool,
    /// Standard input open by default; kept by commit.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub open_stdin: bool,
    /// Standard input closes after the first client; kept by commit.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub stdin_once: bool,
}

/// A health check. Times are nanoseconds, 0 means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Time between the end of a probe and the next.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub interval: i64,
    /// Time one probe may take.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub start_period: i64,
    /// Time between probes within the start period.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub start_interval: i64,
    /// Failures in a row that mean unhealthy.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub retries: i64,
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// `InvalidConfig` for anything that is not a usable image config.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_CONFIG_BYTES {
            return Err(Error::InvalidConfig(format!(
                "{} bytes, at most {MAX_CONFIG_BYTES} are accepted",
                bytes.len()
            )));
        }
        // serde would read an array as a struct in field order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Error::InvalidConfig("not a JSON object".to_owned()));
        }
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|source| Error::InvalidConfig(source.to_string()))?;
        if !matches!(config.rootfs.kind.as_str(), "" | "layers") {
            return Err(Error::InvalidConfig(format!(
                "rootfs type {:?} is not layers",
                config.rootfs.kind
            )));
        }
        let steps = config.history.iter().filter(|step| !step.empty_layer).count();
        if !config.history.is_empty() && steps > config.rootfs.diff_ids.len() {
            return Err(Error::InvalidConfig(format!(
                "history has {steps} steps with a layer, rootfs has {} layers",
                config.rootfs.diff_ids.len()
            )));
        }
        Ok(config)
    }

    /// Writes a new config; its digest is the new image's id.
    ///
    /// # Errors
    /// Never in practice; the types have no value that JSON lacks.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|source| Error::InvalidConfig(source.to_string()))
    }

    /// Returns the platform as `os/architecture[/variant]`.
    pub fn platform(&self) -> String {
        let os = if self.os.is_empty() { "linux" } else { &self.os };
        if self.variant.is_empty() {
            format!("{os}/{}", self.architecture)
        } else {
            format!("{os}/{}/{}", self.architecture, self.variant)
        }
    }

    /// Refuses an image that cannot run here; `name` is what the user called it.
    ///
    /// # Errors
    /// `WrongPlatform`, naming both platforms. An image without an architecture passes.
    pub fn check_platform(&self, name: &str) -> Result<()> {
        let host_architecture = host_architecture();
        let runs_here = matches!(self.os.as_str(), "" | "linux")
            && (self.architecture.is_empty()
                || self.architecture == host_architecture
                || (host_architecture == "amd64" && self.architecture == "386"));
        if runs_here {
            return Ok(());
        }
        Err(Error::WrongPlatform {
            image: name.to_owned(),
            found: self.platform(),
            wanted: host_platform(),
        })
    }
}

/// Returns this host's architecture in Go's words.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Returns this host's platform, such as `linux/amd64`.
pub fn host_platform() -> String {
    format!("linux/{}", host_architecture())
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Go reads `null` as the zero value.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Very old images have a plain string where the command is a list.
fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}

#[cfg(test)]
mod tests;
