//! Sizes, durations and times: reading what users type, writing what they read.

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Parses a size such as `64m` or `1.5GiB`; units are powers of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    parse_size(text, 1024.0)
}

fn parse_size(text: &str, base: f64) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let digits_end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |at| at + 1);
    let (number, suffix) = text.split_at(digits_end);
    if number.is_empty() || number.contains(|c: char| !c.is_ascii_digit() && c != '.') {
        return Err(invalid());
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let suffix = suffix.trim_start().to_ascii_lowercase();
    let power = match suffix.trim_end_matches('b').trim_end_matches('i') {
        "" if !suffix.contains('i') => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(format!("invalid suffix: '{suffix}'")),
    };
    let bytes = number * base.powi(power);
    if !bytes.is_finite() || bytes >= 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    Ok(bytes as i64)
}

/// Parses a number of CPUs such as `0.5` into billionths.
pub(crate) fn parse_nano_cpus(text: &str) -> Result<i64, String> {
    let not_rational = || format!("failed to parse {text} as a rational number");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(not_rational());
    }
    if fraction.len() > 9 && fraction[9..].bytes().any(|b| b != b'0') {
        return Err("value is too precise".to_owned());
    }
    let padded = format!("{fraction:0<9}");
    let nanos = padded[..9].parse::<i64>().map_err(|_| not_rational())?;
    let whole =
        if whole.is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| not_rational())? };
    let value = whole
        .checked_mul(1_000_000_000)
        .and_then(|w| w.checked_add(nanos))
        .ok_or_else(not_rational)?;
    Ok(if negative { -value } else { value })
}

/// Parses a duration in Go's notation, such as `1m30s`, into nanoseconds.
pub(crate) fn parse_duration_nanos(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * scale;
        rest = after;
    }
    if total >= 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    Ok((sign * total).round() as i64)
}

/// Writes nanoseconds as Go writes durations: `1h0m5s`, `1m30s`, `1.5s`, `250ms`.
pub(crate) fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    // Below a second in the largest unit that leaves a whole part.
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = format!("{}s", decimal(rest, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `number / unit`, exactly, for a unit that is a power of ten.
fn decimal(number: u64, unit: u64) -> String {
    let (whole, rest) = (number / unit, number % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
}

/// Parses what `--since` and `--until` take into `SECONDS[.NANOS]`: a time, a
/// date, a Unix time, or a duration back from `now`.
pub(crate) fn parse_time(text: &str, now: Timestamp) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if let Ok(nanos) = parse_duration_nanos(text) {
        let then = now.as_nanosecond() - i128::from(nanos);
        return Ok(seconds_text(then));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok(text.to_owned());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(seconds_text(time.as_nanosecond()));
    }
    let zone = jiff::tz::TimeZone::system();
    // A bare date is a civil time at midnight; an hour alone has no minutes to parse.
    let padded = match text.split_once('T') {
        Some((date, time)) if !time.contains(':') && !time.is_empty() => {
            format!("{date}T{time}:00:00")
        }
        _ => text.to_owned(),
    };
    let civil = padded.trim_end_matches('Z');
    let zone = if padded.ends_with('Z') { jiff::tz::TimeZone::UTC } else { zone };
    let civil: jiff::civil::DateTime = civil
        .parse()
        .map_err(|_| format!("invalid value for time {text:?}: expected a time or a duration"))?;
    let zoned = civil.to_zoned(zone).map_err(|e| e.to_string())?;
    Ok(seconds_text(zoned.timestamp().as_nanosecond()))
}

fn seconds_text(nanos: i128) -> String {
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}

/// Writes a size with four significant digits and units of 1000: `1.23GB`.
pub(crate) fn human_size(bytes: i64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// Writes a size with three significant digits and units of 1000, as image lists do.
pub(crate) fn human_size_short(bytes: i64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// Writes a size with four significant digits and units of 1024: `1.5GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn scaled(bytes: i64, base: f64, units: &[&str], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rounded figure is what is wanted")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Writes a number the way C's `%.Ng` does for the range that sizes have.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let wanted = i32::try_from(digits).unwrap_or(4);
    if exponent >= wanted {
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        return format!("{mantissa}e+{exponent:02}");
    }
    let decimals = usize::try_from(wanted - 1 - exponent).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Writes how long something takes or took, coarsely: `3 minutes`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Writes how long ago a Unix time was.
pub(crate) fn ago(unix_seconds: i64, now: i64) -> String {
    format!("{} ago", human_duration(now - unix_seconds))
}

/// Tells the current Unix time in seconds.
pub(crate) fn now_seconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(elapsed).unwrap_or(i64::MAX)
}

/// Writes a Unix time in the local zone: `2024-05-01 10:00:00 +0200 CEST`.
pub(crate) fn local_time(unix_seconds: i64) -> String {
    let Ok(time) = Timestamp::from_second(unix_seconds) else {
        return String::new();
    };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}
