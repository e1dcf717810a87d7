//! Times in query parameters: seconds since the epoch with a fraction, RFC 3339, or a duration
//! back from now.

use jiff::Timestamp;

use crate::error::{ApiError, ApiResult};
use crate::params::Params;

/// Reads a time; absent, empty and 0 are `None`.
pub(crate) fn parameter(params: &Params, name: &str) -> ApiResult<Option<Timestamp>> {
    let Some(text) = params.text(name).filter(|text| *text != "0") else { return Ok(None) };
    parse_or_refuse(name, text).map(Some)
}

/// Reads a time that was given under a name.
pub(crate) fn parse_or_refuse(name: &str, text: &str) -> ApiResult<Timestamp> {
    parse(text, Timestamp::now()).ok_or_else(|| {
        ApiError::invalid(format!("invalid value for {name}: failed to parse {text:?} as a time"))
    })
}

fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    epoch(text)
        .or_else(|| text.parse().ok())
        .or_else(|| Some(now - go_duration(text)?))
        .or_else(|| civil(text))
}

/// `1700000000.123456789`
fn epoch(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    Timestamp::new(seconds, nanos).ok()
}

/// `1h30m10.5s`
pub(crate) fn go_duration(text: &str) -> Option<jiff::SignedDuration> {
    let duration: jiff::SignedDuration = text.parse().ok()?;
    (!duration.is_negative()).then_some(duration)
}

/// A local date or time without zone, taken as UTC.
fn civil(text: &str) -> Option<Timestamp> {
    let time: jiff::civil::DateTime = text
        .parse()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|date| date.at(0, 0, 0, 0)))
        .ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_several_forms() {
        let now: Timestamp = "2024-01-01T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("1704110400", "2024-01-01T12:00:00Z"),
            ("1704110400.5", "2024-01-01T12:00:00.5Z"),
            ("1704110400.000000001", "2024-01-01T12:00:00.000000001Z"),
            ("2024-01-01T13:00:00+01:00", "2024-01-01T12:00:00Z"),
            ("2024-01-01T12:00:00.25Z", "2024-01-01T12:00:00.25Z"),
            ("90m", "2024-01-01T10:30:00Z"),
            ("1h30m", "2024-01-01T10:30:00Z"),
            ("2024-01-01", "2024-01-01T00:00:00Z"),
            ("2024-01-01T11:00:00", "2024-01-01T11:00:00Z"),
        ] {
            assert_eq!(parse(text, now), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["soon", "1.2.3", "-", "99999999999999999999"] {
            assert_eq!(parse(text, now), None, "{text}");
        }
    }
}
