//! Where a container's output goes: options of the log drivers.
//!
//! Every driver but `none` keeps the lines in a file of Docker's json-file format. It is the log
//! itself for `json-file` and `local`, which differ in their options, and the cache that `logs` reads
//! for those of [`remote`].

mod remote;

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use runtime::shim::protocol::{LogConfig as ShimLog, LogDriver};

use super::host_config::LogConfig;
use super::record::ContainerRecord;
use crate::spec::HostFacts;
use crate::{Error, Result};

/// Rotation of containers that say nothing, so that logs do not fill the disk.
const DEFAULT_MAX_SIZE: u64 = 20_000_000;
const DEFAULT_MAX_FILE: u32 = 5;

/// What waits for the disk at most with `mode=non-blocking`.
const DEFAULT_BUFFER_BYTES: u64 = 1 << 20;

/// Options of the file that every driver but `none` keeps.
const FILE: [&str; 3] = ["max-size", "max-file", "compress"];
/// The same by the names that drivers of a service have for it, and whether to keep none.
const CACHE: [&str; 4] = ["cache-max-size", "cache-max-file", "cache-compress", "cache-disabled"];
/// What is told with each line.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
/// How the container waits for its log.
const MODE: [&str; 2] = ["mode", "max-buffer-size"];

/// The drivers, as `info` lists them.
pub const DRIVERS: [&str; 7] =
    ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"];

/// Checks driver and options.
///
/// # Errors
/// InvalidParameter in Docker's words.
pub(crate) fn validate(config: &LogConfig) -> Result<()> {
    let driver = if config.driver.is_empty() { "json-file" } else { config.driver.as_str() };
    let own = remote::known(driver);
    if !DRIVERS.contains(&driver) {
        return Err(invalid(format!(
            "error looking up logging plugin {0}: plugin \"{0}\" not found",
            driver.escape_default()
        )));
    }
    let is_known = |key: &str| match (driver, own) {
        ("none", _) => false,
        ("local", _) => FILE.contains(&key) || MODE.contains(&key),
        (_, None) => FILE.contains(&key) || MODE.contains(&key) || ATTRIBUTES.contains(&key),
        (_, Some(own)) => {
            own.contains(&key)
                || MODE.contains(&key)
                || ATTRIBUTES.contains(&key)
                || CACHE.contains(&key)
        }
    };
    if let Some(key) = config.options.keys().find(|key| !is_known(key)) {
        return Err(unknown(driver, key));
    }
    if driver == "none" {
        return Ok(());
    }
    let options = Options::read(&file_options(config))?;
    flag(&config.options, "cache-disabled")?;
    for key in ["labels-regex", "env-regex"] {
        pattern(&config.options, key)?;
    }
    if let Some(tag) = config.options.get("tag") {
        fill_tag(tag, |_| Some(String::new()))?;
    }
    if options.compress && (options.max_file < 2 || options.max_size.is_none()) {
        return Err(invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    remote::service(driver, &config.options, remote::Facts::default()).map(drop)
}

/// The refusal of an option, in each driver's own words.
fn unknown(driver: &str, key: &str) -> Error {
    if let Some(instead) = remote::unsupported(driver, key) {
        return invalid(format!(
            "log opt '{key}' is not supported by the {driver} driver: {instead}"
        ));
    }
    let key = key.escape_default();
    invalid(match driver {
        "local" => format!("unknown log opt '{key}' for log driver local"),
        "gelf" => format!("unknown log opt \"{key}\" for gelf log driver"),
        _ => format!("unknown log opt '{key}' for {driver} log driver"),
    })
}

/// Tells whether a container's lines can be read again.
pub(crate) fn is_readable(config: &LogConfig) -> bool {
    let disabled = flag(&config.options, "cache-disabled").unwrap_or(false);
    config.driver != "none" && !disabled
}

/// The options of the file. Beside a service it is a cache, and its options are called so.
fn file_options(config: &LogConfig) -> BTreeMap<String, String> {
    let is_cache = remote::known(&config.driver).is_some();
    let named = |key: &String| match key.strip_prefix("cache-") {
        Some(bare) if is_cache => Some(bare.to_owned()),
        _ if is_cache && FILE.contains(&key.as_str()) => None,
        _ => Some(key.clone()),
    };
    let options = config.options.iter();
    options.filter_map(|(key, value)| Some((named(key)?, value.clone()))).collect()
}

/// Gives the shim its part of the configuration.
///
/// # Errors
/// As [`validate`].
pub(super) fn shim_config(
    record: &ContainerRecord,
    host: &HostFacts,
    path: &Path,
) -> Result<ShimLog> {
    let config = &record.host_config.log_config;
    if config.driver == "none" {
        return Ok(ShimLog::default());
    }
    let options = Options::read(&file_options(config))?;
    let remote = remote::service(&config.driver, &config.options, facts(record, host)?)?;
    let readable = is_readable(config);
    Ok(ShimLog {
        driver: if readable { LogDriver::JsonFile } else { LogDriver::None },
        path: path.to_owned(),
        max_size: options.max_size,
        max_file: options.max_file,
        compress: options.compress,
        attrs: attributes(record)?,
        buffer_bytes: options.buffer_bytes,
        remote,
    })
}

/// What a service is told about a container.
fn facts(record: &ContainerRecord, host: &HostFacts) -> Result<remote::Facts> {
    let mut attributes = attributes(record)?;
    let tag = match attributes.remove("tag") {
        Some(tag) => tag,
        None => record.id.short().to_owned(),
    };
    let config = &record.config;
    let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    Ok(remote::Facts {
        id: record.id.to_string(),
        name: record.name.clone(),
        image_id: record.image_id.clone(),
        image_name: config.image.clone(),
        command: words.cloned().collect::<Vec<_>>().join(" "),
        created: record.created_at.to_string(),
        hostname: host.hostname.clone(),
        tag,
        attributes,
    })
}

/// Reads an option that is true or false.
fn flag(options: &BTreeMap<String, String>, key: &str) -> Result<bool> {
    match options.get(key).map(String::as_str) {
        None | Some("" | "false" | "False" | "FALSE" | "f" | "F" | "0") => Ok(false),
        Some("true" | "True" | "TRUE" | "t" | "T" | "1") => Ok(true),
        Some(other) => {
            let other = other.escape_default();
            Err(invalid(format!("invalid value for option {key}: {other}")))
        }
    }
}

struct Options {
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
    /// `None`: the container waits for its log.
    buffer_bytes: Option<u64>,
}

impl Options {
    fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let buffer_bytes = buffer_bytes(options)?;
        if !FILE.iter().any(|key| options.contains_key(*key)) {
            return Ok(Self {
                max_size: Some(DEFAULT_MAX_SIZE),
                max_file: DEFAULT_MAX_FILE,
                compress: true,
                buffer_bytes,
            });
        }
        let max_file = match options.get("max-file") {
            None => 1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|count| *count >= 1)
                .ok_or_else(|| invalid("max-file cannot be less than 1"))?,
        };
        let max_size = match options.get("max-size").map(String::as_str) {
            // Several files make sense only if one can get full.
            None => (max_file > 1).then_some(DEFAULT_MAX_SIZE),
            Some("-1") => None,
            Some(text) => Some(size(text, 1_000)?),
        };
        let compress = flag(options, "compress")?;
        Ok(Self { max_size, max_file, compress, buffer_bytes })
    }
}

/// Reads `mode` and `max-buffer-size`: `None` when output waits for the log.
fn buffer_bytes(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let asked = options.get("max-buffer-size").map(String::as_str);
    match options.get("mode").map(String::as_str) {
        None | Some("" | "blocking") if asked.is_some() => Err(invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        )),
        None | Some("" | "blocking") => Ok(None),
        Some("non-blocking") => match asked {
            None | Some("0") => Ok(Some(DEFAULT_BUFFER_BYTES)),
            Some(text) => size(text, 1_024)
                .map(Some)
                .map_err(|error| invalid(format!("error parsing option max-buffer-size: {error}"))),
        },
        Some(other) => {
            Err(invalid(format!("logger: logging mode not supported: {}", other.escape_default())))
        }
    }
}

/// Reads `10m`, `1g`, `500k`, where a `k` is `kilo`.
pub(super) fn size(text: &str, kilo: u64) -> Result<u64> {
    let wrong = || invalid(format!("invalid size: '{}'", text.escape_default()));
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    // Digits and one point: `1.5m`.
    let (whole, part) = digits.trim().split_once('.').unwrap_or((digits.trim(), ""));
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let unit = kilo.pow(power);
    let size = number(whole)?.checked_mul(unit).ok_or_else(wrong)?;
    let rest = match u32::try_from(part.len()) {
        Ok(0) => 0,
        Ok(length @ 1..=6) => number(part)?.saturating_mul(unit) / 10_u64.pow(length),
        _ => return Err(wrong()),
    };
    size.checked_add(rest).filter(|size| *size > 0).ok_or_else(wrong)
}

/// What `labels`, `env` and `tag` add to every line.
fn attributes(record: &ContainerRecord) -> Result<BTreeMap<String, String>> {
    let options = &record.host_config.log_config.options;
    let chosen = |plain: &str, regex: &str| -> Result<_> {
        let words: Vec<String> = options
            .get(plain)
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        let pattern = pattern(options, regex)?;
        Ok(move |key: &str| {
            words.iter().any(|word| word == key)
                || pattern.as_ref().is_some_and(|pattern| pattern.is_match(key))
        })
    };
    let mut attributes = BTreeMap::new();
    let is_label = chosen("labels", "labels-regex")?;
    let labels = record.config.labels.iter().filter(|(key, _)| is_label(key));
    attributes.extend(labels.map(|(key, value)| (key.clone(), value.clone())));
    let is_variable = chosen("env", "env-regex")?;
    let pairs = record.config.env.iter().filter_map(|entry| entry.split_once('='));
    let variables = pairs.filter(|(key, _)| is_variable(key));
    attributes.extend(variables.map(|(key, value)| (key.to_owned(), value.to_owned())));
    if let Some(tag) = options.get("tag").filter(|tag| !tag.is_empty()) {
        let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect();
        let text = fill_tag(tag, |field| {
            Some(match field {
                "ID" => record.id.short().to_owned(),
                "FullID" => record.id.to_string(),
                "Name" => record.name.clone(),
                "ImageID" => short(&record.image_id),
                "ImageFullID" => record.image_id.clone(),
                "ImageName" => record.config.image.clone(),
                "DaemonName" => "docker".to_owned(),
                _ => return None,
            })
        })?;
        attributes.insert("tag".to_owned(), text);
    }
    Ok(attributes)
}

fn pattern(options: &BTreeMap<String, String>, key: &str) -> Result<Option<Regex>> {
    let Some(text) = options.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    Regex::new(text).map(Some).map_err(|error| {
        // The parser points at the place over several lines; the last says what is wrong.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        invalid(format!("invalid {key} '{}': {}", text.escape_default(), reason.trim()))
    })
}

/// The fields that a tag may name.
const TAG_FIELDS: [&str; 7] =
    ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"];

/// Puts values in place of `{{.Field}}`. Pipelines and functions of Go's templates are refused.
fn fill_tag(tag: &str, value: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut text = String::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after
            .split_once("}}")
            .ok_or_else(|| invalid("invalid log tag: unclosed action".to_owned()))?;
        let field = action.trim().strip_prefix('.').filter(|name| TAG_FIELDS.contains(name));
        let Some(filled) = field.and_then(&value) else {
            return Err(invalid(format!(
                "invalid log tag: '{{{{{}}}}}' is none of the fields .{}",
                action.escape_default(),
                TAG_FIELDS.join(", .")
            )));
        };
        text.push_str(before);
        text.push_str(&filled);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidParameter(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)]) -> Result<()> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        validate(&LogConfig { driver: "json-file".to_owned(), options })
    }

    #[test]
    fn options_that_cannot_act_are_refused() {
        for (options, reason) in [
            (&[("mode", "sometimes")][..], "logging mode not supported: sometimes"),
            (&[("max-buffer-size", "4m")], "only supported with 'mode=non-blocking'"),
            (
                &[("mode", "non-blocking"), ("max-buffer-size", "4q")],
                "error parsing option max-buffer-size: invalid size: '4q'",
            ),
            (&[("max-size", "1.5.2m")], "invalid size: '1.5.2m'"),
            (&[("max-size", "-5")], "invalid size: '-5'"),
            (&[("max-file", "0")], "max-file cannot be less than 1"),
            (&[("compress", "maybe")], "invalid value for option compress: maybe"),
            (&[("max-size", "1m"), ("compress", "true")], "compress cannot be true"),
            (&[("colour", "red")], "unknown log opt 'colour' for json-file log driver"),
            (&[("cache-disabled", "true")], "unknown log opt 'cache-disabled'"),
            (&[("labels-regex", "(")], "invalid labels-regex '('"),
            (&[("env-regex", "[")], "invalid env-regex '['"),
            (&[("tag", "{{.Nope}}")], "'{{.Nope}}' is none of the fields .ID"),
            (&[("tag", "{{upper .ID}}")], "is none of the fields"),
            (&[("tag", "{{.ID")], "unclosed action"),
        ] {
            let error = check(options).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        check(&[("mode", "non-blocking"), ("max-buffer-size", "4m"), ("tag", "{{.Name}}/x")])
            .unwrap();
        check(&[("mode", "blocking"), ("labels-regex", "^a.*"), ("env-regex", "^(A|B)$")]).unwrap();
    }

    #[test]
    fn each_driver_has_its_own_words_for_what_it_does_not_know() {
        for (driver, key, told) in [
            ("local", "tag", "unknown log opt 'tag' for log driver local"),
            ("gelf", "colour", "unknown log opt \"colour\" for gelf log driver"),
            ("journald", "max-size", "unknown log opt 'max-size' for journald log driver"),
            ("none", "mode", "unknown log opt 'mode' for none log driver"),
            (
                "syslog",
                "syslog-tls-cert",
                "log opt 'syslog-tls-cert' is not supported by the syslog",
            ),
            ("fluentd", "fluentd-max-retries", "a broken connection is made anew every second"),
            ("gelf", "gelf-tcp-max-reconnect", "a broken connection is made anew every second"),
            ("pigeon", "x", "plugin \"pigeon\" not found"),
        ] {
            let options = [(key.to_owned(), "1".to_owned())].into();
            let config = LogConfig { driver: driver.to_owned(), options };
            let error = validate(&config).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn sizes_may_have_a_fraction() {
        assert_eq!(size("1.5m", 1_000).unwrap(), 1_500_000);
        assert_eq!(size("0.25k", 1_024).unwrap(), 256);
        assert_eq!(size("3", 1_000).unwrap(), 3);
        for text in ["", ".", "1.", "x", "0", "1.2345678m", "99999999t", "-1.5m", "1.-5m"] {
            assert!(size(text, 1_000).is_err() || text == "1.", "{text}");
        }
    }

    #[test]
    fn buffers_have_binary_sizes_and_files_decimal_ones() {
        let read = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Options::read(&options).unwrap()
        };
        let options = read(&[("mode", "non-blocking"), ("max-size", "2k")]);
        assert_eq!((options.buffer_bytes, options.max_size), (Some(1 << 20), Some(2_000)));
        let options = read(&[("mode", "non-blocking"), ("max-buffer-size", "4k")]);
        assert_eq!(options.buffer_bytes, Some(4096));
        assert_eq!(read(&[("mode", "blocking")]).buffer_bytes, None);
    }

    #[test]
    fn tags_are_filled() {
        let text = fill_tag("a{{.ID}}-{{ .Name }}", |field| Some(field.to_lowercase())).unwrap();
        assert_eq!(text, "aid-name");
    }
}
