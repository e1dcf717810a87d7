//! Where a container's output goes: options of the log drivers.

use std::collections::BTreeMap;
use std::path::Path;

use runtime::shim::protocol::{LogConfig as ShimLog, LogDriver};

use super::host_config::LogConfig;
use super::record::ContainerRecord;
use crate::{Error, Result};

/// Rotation of containers that say nothing, so that logs do not fill the disk.
const DEFAULT_MAX_SIZE: u64 = 20_000_000;
const DEFAULT_MAX_FILE: u32 = 5;

const KNOWN: [&str; 10] = [
    "max-size",
    "max-file",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// Checks driver and options.
///
/// # Errors
/// InvalidParameter in Docker's words.
pub(crate) fn validate(config: &LogConfig) -> Result<()> {
    match config.driver.as_str() {
        "json-file" | "" => {}
        "none" => {
            return match config.options.keys().next() {
                None => Ok(()),
                Some(key) => Err(invalid(format!(
                    "unknown log opt '{}' for none log driver",
                    key.escape_default()
                ))),
            };
        }
        other => {
            return Err(invalid(format!(
                "logger: no log driver named '{}' is registered; \
                 this daemon has json-file and none",
                other.escape_default()
            )));
        }
    }
    let unknown = config.options.keys().find(|key| !KNOWN.contains(&key.as_str()));
    if let Some(key) = unknown {
        return Err(invalid(format!(
            "unknown log opt '{}' for json-file log driver",
            key.escape_default()
        )));
    }
    let options = Options::read(&config.options)?;
    if options.compress && (options.max_file < 2 || options.max_size.is_none()) {
        return Err(invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    Ok(())
}

/// Gives the shim its part of the configuration.
///
/// # Errors
/// As [`validate`].
pub(super) fn shim_config(record: &ContainerRecord, path: &Path) -> Result<ShimLog> {
    let config = &record.host_config.log_config;
    if config.driver == "none" {
        return Ok(ShimLog::default());
    }
    let options = Options::read(&config.options)?;
    Ok(ShimLog {
        driver: LogDriver::JsonFile,
        path: path.to_owned(),
        max_size: options.max_size,
        max_file: options.max_file,
        compress: options.compress,
        attrs: attributes(record),
    })
}

struct Options {
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
}

impl Options {
    fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let rotation = ["max-size", "max-file", "compress"];
        if !rotation.iter().any(|key| options.contains_key(*key)) {
            return Ok(Self {
                max_size: Some(DEFAULT_MAX_SIZE),
                max_file: DEFAULT_MAX_FILE,
                compress: true,
            });
        }
        let max_size = match options.get("max-size").map(String::as_str) {
            None | Some("-1") => None,
            Some(text) => Some(size(text)?),
        };
        let max_file = match options.get("max-file") {
            None => 1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|count| *count >= 1)
                .ok_or_else(|| invalid("max-file cannot be less than 1"))?,
        };
        if max_file > 1 && max_size.is_none() {
            return Err(invalid("max-file cannot be > 1 when max-size is not set"));
        }
        let compress = match options.get("compress").map(String::as_str) {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                return Err(invalid(format!("invalid compress: {}", other.escape_default())));
            }
        };
        Ok(Self { max_size, max_file, compress })
    }
}

/// Reads `10m`, `1g`, `500k` in decimal units.
fn size(text: &str) -> Result<u64> {
    let wrong = || invalid(format!("invalid size: '{}'", text.escape_default()));
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match lower[digits.len()..].trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(wrong)
}

/// What `labels`, `env` and `tag` add to every line.
fn attributes(record: &ContainerRecord) -> BTreeMap<String, String> {
    let options = &record.host_config.log_config.options;
    let words = |key: &str| {
        options.get(key).map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
    };
    let mut attributes = BTreeMap::new();
    for label in words("labels").into_iter().flatten() {
        if let Some(value) = record.config.labels.get(&label) {
            attributes.insert(label, value.clone());
        }
    }
    for name in words("env").into_iter().flatten() {
        let pairs = record.config.env.iter().filter_map(|entry| entry.split_once('='));
        if let Some((_, value)) = pairs.into_iter().find(|(key, _)| *key == name) {
            attributes.insert(name, value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag").filter(|tag| !tag.is_empty()) {
        let text = tag
            .replace("{{.ID}}", record.id.short())
            .replace("{{.FullID}}", record.id.as_str())
            .replace("{{.Name}}", &record.name)
            .replace("{{.ImageName}}", &record.config.image)
            .replace("{{.ImageID}}", &record.image_id);
        attributes.insert("tag".to_owned(), text);
    }
    attributes
}

fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidParameter(text.into())
}
