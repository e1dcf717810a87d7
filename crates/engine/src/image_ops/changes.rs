//! Dockerfile instructions that change an image's configuration (`--change` of commit and import).

use images::{Empty, Healthcheck, RunConfig};

use super::words;
use crate::container::ContainerPort;
use crate::{Error, Result};

/// More text than any Dockerfile has.
const MAX_BYTES: usize = 1 << 20;

/// Applies instructions, one a line; a line that ends in a backslash goes on in the next.
///
/// # Errors
/// InvalidParameter for an instruction that is not allowed here, or a bad one, and where changes were
/// given that have none.
pub(super) fn apply(config: &mut RunConfig, changes: &[String]) -> Result<()> {
    let text = changes.join("\n");
    if text.len() > MAX_BYTES {
        return Err(invalid("changes are too long"));
    }
    let text = text.replace("\\\r\n", "").replace("\\\n", "");
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    if lines.peek().is_none() && !changes.is_empty() {
        return Err(invalid("file with no instructions"));
    }
    for line in lines {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        apply_one(config, instruction, rest.trim())?;
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidParameter(text.into())
}

fn apply_one(config: &mut RunConfig, instruction: &str, rest: &str) -> Result<()> {
    let upper = instruction.to_ascii_uppercase();
    let required = |what: &str| {
        if rest.is_empty() { Err(invalid(format!("{upper} requires {what}"))) } else { Ok(()) }
    };
    match upper.as_str() {
        "CMD" => config.cmd = Some(command(config, rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(config, rest)),
        "ENV" => {
            required("at least one argument")?;
            for (key, value) in pairs("ENV", rest)? {
                set_env(config.env.get_or_insert_default(), &key, &value);
            }
        }
        "LABEL" => {
            required("at least one argument")?;
            let pairs = pairs("LABEL", rest)?;
            config.labels.get_or_insert_default().extend(pairs);
        }
        "EXPOSE" => {
            required("at least one argument")?;
            let ports = config.exposed_ports.get_or_insert_default();
            for word in words::split(rest)? {
                for port in port_range(&word)? {
                    ports.insert(port.to_string(), Empty {});
                }
            }
        }
        "VOLUME" => {
            required("at least one argument")?;
            let volumes = config.volumes.get_or_insert_default();
            for path in list(rest)? {
                if path.trim().is_empty() {
                    return Err(invalid("VOLUME specified can not be an empty string"));
                }
                volumes.insert(path, Empty {});
            }
        }
        "USER" => {
            required("exactly one argument")?;
            config.user = one("USER", rest)?;
        }
        "WORKDIR" => {
            required("exactly one argument")?;
            config.working_dir = joined(&config.working_dir, &words::unquote(rest)?);
        }
        "STOPSIGNAL" => {
            required("exactly one argument")?;
            config.stop_signal = stop_signal(&one("STOPSIGNAL", rest)?)?;
        }
        "ONBUILD" => {
            required("at least one argument")?;
            config.on_build.get_or_insert_default().push(on_build(rest)?);
        }
        "HEALTHCHECK" => config.healthcheck = Some(health_check(rest)?),
        _ => {
            return Err(invalid(format!(
                "{} is not a valid change command",
                printable(instruction)
            )));
        }
    }
    Ok(())
}

fn printable(text: &str) -> String {
    text.escape_default().to_string()
}

/// A JSON array is the command itself, anything else a line for the shell.
fn command(config: &RunConfig, rest: &str) -> Vec<String> {
    if let Some(words) = json(rest) {
        return words;
    }
    let mut words = match &config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
    };
    if rest.is_empty() {
        return Vec::new();
    }
    words.push(rest.to_owned());
    words
}

fn json(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

fn list(rest: &str) -> Result<Vec<String>> {
    match json(rest) {
        Some(words) => Ok(words),
        None => words::split(rest),
    }
}

fn one(instruction: &str, rest: &str) -> Result<String> {
    match &words::split(rest)?[..] {
        [word] => Ok(word.clone()),
        _ => Err(invalid(format!("{instruction} requires exactly one argument"))),
    }
}

/// `key=value key2="value two"`, or the old form `key the rest is the value`.
fn pairs(instruction: &str, rest: &str) -> Result<Vec<(String, String)>> {
    let first = rest.split(char::is_whitespace).next().unwrap_or("");
    if !first.contains('=') {
        let (key, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| invalid(format!("{instruction} must have two arguments")))?;
        let value = words::unquote(value.trim())?;
        return Ok(vec![(words::unquote(key)?, value)]);
    }
    let mut pairs = Vec::new();
    for word in words::split(rest)? {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            invalid(format!(
                "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                word
            ))
        })?;
        if key.is_empty() {
            return Err(invalid(format!("{instruction} names can not be blank")));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let same = |other: &&mut String| {
        other.split_once('=').map_or(other.as_str(), |(other, _)| other) == key
    };
    match env.iter_mut().find(same) {
        Some(other) => *other = entry,
        None => env.push(entry),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn port_range(word: &str) -> Result<Vec<ContainerPort>> {
    let bad = || invalid(format!("invalid containerPort: {}", printable(word)));
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let first: u16 = first.parse().map_err(|_| bad())?;
    let last: u16 = last.parse().map_err(|_| bad())?;
    if first > last {
        return Err(bad());
    }
    let protocol = protocol.parse().map_err(|_| bad())?;
    Ok((first..=last).map(|port| ContainerPort { port, protocol }).collect())
}

fn joined(base: &str, path: &str) -> String {
    let absolute = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn stop_signal(word: &str) -> Result<String> {
    crate::container::signal::parse(word)?;
    Ok(word.to_owned())
}

fn on_build(rest: &str) -> Result<String> {
    let (trigger, _) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match trigger.to_ascii_uppercase().as_str() {
        "ONBUILD" => Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        trigger @ ("FROM" | "MAINTAINER") => {
            Err(invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")))
        }
        _ => Ok(rest.to_owned()),
    }
}

/// `NONE`, or `[--interval=… …] CMD command`.
fn health_check(rest: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| invalid(format!("Missing a value on flag: {}", printable(option))))?;
        match name {
            "interval" => check.interval = duration(name, value)?,
            "timeout" => check.timeout = duration(name, value)?,
            "start-period" => check.start_period = duration(name, value)?,
            "start-interval" => check.start_interval = duration(name, value)?,
            "retries" => {
                let bad = || invalid(format!("invalid value for retries: {}", printable(value)));
                check.retries = value.parse().map_err(|_| bad())?;
                if check.retries < 0 {
                    return Err(invalid("--retries cannot be negative"));
                }
            }
            _ => return Err(invalid(format!("Unknown flag: {}", printable(name)))),
        }
        rest = tail.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if arguments.is_empty() => check.test = vec!["NONE".to_owned()],
        "NONE" => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if arguments.is_empty() => {
            return Err(invalid("Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => {
            check.test = match json(arguments) {
                Some(words) => ["CMD".to_owned()].into_iter().chain(words).collect(),
                None => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
            };
        }
        _ => {
            return Err(invalid(format!(
                "Unknown type {:?} in HEALTHCHECK (try CMD)",
                printable(kind)
            )));
        }
    }
    Ok(check)
}

/// A duration as Go writes it: `1m30s`, `500ms`. At least a millisecond, or zero.
fn duration(name: &str, text: &str) -> Result<i64> {
    let bad = || invalid(format!("invalid duration {:?} for --{name}", printable(text)));
    let mut rest = text;
    let mut nanos = 0_f64;
    if rest == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let value: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        nanos += value * unit;
        rest = &rest[unit_end..];
    }
    if text.is_empty() || !(0.0..9.0e18).contains(&nanos) {
        return Err(bad());
    }
    if nanos > 0.0 && nanos < 1e6 {
        return Err(invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    Ok(nanos as i64)
}
