//! Durations and sizes as Mesos writes them: `5secs`, `15mins`, `0ns`; `32MB`, `2GB`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("secs", 1_000_000_000),
    ("mins", 60_000_000_000),
    ("hrs", 3_600_000_000_000),
    ("days", 86_400_000_000_000),
    ("weeks", 604_800_000_000_000),
];

const SIZES: [(&str, u64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

/// Reads a duration, such as `5secs` or `1.5hrs`.
///
/// # Errors
/// In words, naming the units.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || {
        format!("'{text}' is no duration: a number and ns, us, ms, secs, mins, hrs, days or weeks")
    };
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(at);
    let (_, nanos) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*nanos).map(Duration::from_nanos).ok_or_else(refuse);
    }
    let number: f64 = number.parse().map_err(|_| refuse())?;
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a unit is not exact anyway")]
    Duration::try_from_secs_f64(number * (*nanos as f64) / 1e9).map_err(|_| refuse())
}

/// Writes a duration in the largest unit in which it is a whole number.
pub fn print_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let whole = DURATIONS
        .iter()
        .rev()
        .find(|(_, unit)| nanos >= u128::from(*unit) && nanos.is_multiple_of(u128::from(*unit)));
    match whole {
        Some((name, unit)) => format!("{}{name}", nanos / u128::from(*unit)),
        None => "0ns".to_owned(),
    }
}

/// Reads a size in bytes, such as `2GB`.
///
/// # Errors
/// In words, naming the units.
pub fn bytes(text: &str) -> Result<u64, String> {
    let refuse = || format!("'{text}' is no size: a whole number and B, KB, MB, GB or TB");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(at);
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(*factor).ok_or_else(refuse)
}

/// Reads a number that `str::parse` knows.
///
/// # Errors
/// In words.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is no number that fits"))
}
