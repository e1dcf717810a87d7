//! Checks of single flag values, in Docker's words.

use std::net::IpAddr;

use crate::units;

pub(crate) fn attach(value: &str) -> Result<(), String> {
    match value.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

pub(crate) fn env(value: &str) -> Result<(), String> {
    if value.is_empty() || value.starts_with('=') {
        return Err(format!("invalid environment variable: {value}"));
    }
    Ok(())
}

pub(crate) fn label(value: &str) -> Result<(), String> {
    let name = value.split('=').next().unwrap_or_default();
    if name.trim().is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if name.contains(char::is_whitespace) {
        return Err(format!("label '{name}' contains whitespaces"));
    }
    Ok(())
}

/// Splits `host:ip` or `host=ip`; the address may stand in brackets.
pub(crate) fn split_host(value: &str) -> Option<(&str, &str)> {
    let (host, ip) = value.split_once('=').or_else(|| value.split_once(':'))?;
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    (!host.is_empty()).then_some((host, ip))
}

pub(crate) fn add_host(value: &str) -> Result<(), String> {
    let (_, ip) = split_host(value).ok_or_else(|| format!("bad format for add-host: {value:?}"))?;
    if ip != "host-gateway" && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(())
}

pub(crate) fn ip_address(value: &str) -> Result<(), String> {
    value
        .trim()
        .parse::<IpAddr>()
        .map(drop)
        .map_err(|_| format!("IP address is not correctly formatted: {value}"))
}

pub(crate) fn domain(value: &str) -> Result<(), String> {
    let text = value.trim();
    let part_is_fine = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if text == "." || (text.len() < 255 && name.split('.').all(part_is_fine)) {
        return Ok(());
    }
    Err(format!("{value} is not a valid domain"))
}

fn split_device(value: &str) -> Result<(&str, &str), String> {
    let (path, rest) = value
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {value}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {value}"));
    }
    Ok((path, rest))
}

/// Parses `/dev/x:RATE` with a rate in bytes.
pub(crate) fn parse_bps(value: &str) -> Result<(&str, u64), String> {
    let (path, rate) = split_device(value)?;
    let rate = units::parse_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok());
    let rate = rate.ok_or_else(|| {
        format!(
            "invalid rate for device: {value}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok((path, rate))
}

/// Parses `/dev/x:RATE` with a rate in operations.
pub(crate) fn parse_iops(value: &str) -> Result<(&str, u64), String> {
    let (path, rate) = split_device(value)?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {value}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        )
    })?;
    Ok((path, rate))
}

/// Parses `/dev/x:WEIGHT`.
pub(crate) fn parse_weight(value: &str) -> Result<(&str, u16), String> {
    let (path, weight) = split_device(value)?;
    match weight.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => Ok((path, weight)),
        _ => Err(format!("invalid weight for device: {value}")),
    }
}

pub(crate) fn device_bps(value: &str) -> Result<(), String> {
    parse_bps(value).map(drop)
}

pub(crate) fn device_iops(value: &str) -> Result<(), String> {
    parse_iops(value).map(drop)
}

pub(crate) fn weight_device(value: &str) -> Result<(), String> {
    parse_weight(value).map(drop)
}

pub(crate) fn cgroup_rule(value: &str) -> Result<(), String> {
    let number =
        |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let fits = || {
        let mut parts = value.split(' ');
        let (kind, device, access) = (parts.next()?, parts.next()?, parts.next()?);
        let (major, minor) = device.split_once(':')?;
        let access_fits =
            (1..=3).contains(&access.len()) && access.bytes().all(|b| b"rwm".contains(&b));
        let kind_fits = matches!(kind, "a" | "b" | "c");
        (parts.next().is_none() && kind_fits && number(major) && number(minor) && access_fits)
            .then_some(())
    };
    fits().ok_or_else(|| format!("invalid device cgroup format '{value}'"))
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Parses `type=soft[:hard]`.
pub(crate) fn parse_ulimit(value: &str) -> Result<(&str, i64, i64), String> {
    let (name, limits) =
        value.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {value}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 {
        if soft == -1 {
            return Err(format!(
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            ));
        }
        if soft > hard {
            return Err(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            ));
        }
    }
    Ok((name, soft, hard))
}

pub(crate) fn ulimit(value: &str) -> Result<(), String> {
    parse_ulimit(value).map(drop)
}

const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(crate) fn sysctl(value: &str) -> Result<(), String> {
    match value.split_once('=') {
        Some((name, _))
            if SYSCTLS.contains(&name)
                || name.starts_with("net.")
                || name.starts_with("fs.mqueue.") =>
        {
            Ok(())
        }
        _ => Err(format!("sysctl '{value}' is not allowed")),
    }
}

pub(crate) fn link(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("empty string specified for links".to_owned());
    }
    if value.split(':').count() > 2 {
        return Err(format!("bad format for links: {value}"));
    }
    Ok(())
}

/// Tells whether text is a MAC address of six or eight bytes.
pub(crate) fn is_mac_address(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    matches!(parts.len(), 6 | 8)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}
