//! Time as the core sees it: an argument, never a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: nanoseconds since the Unix epoch, as the driver's clock tells it.
///
/// The driver must never hand in an earlier time than before; it derives it from the wall clock at
/// its start and a monotonic clock from there on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);

    /// Makes a time from nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch, as Mesos writes timestamps.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// The time since `earlier`; zero when that lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in Mesos' words: the largest unit in which it is a whole number.
pub(crate) fn words(duration: Duration) -> String {
    const UNITS: [(u128, &str); 8] = [
        (7 * 24 * 3_600_000_000_000, "weeks"),
        (24 * 3_600_000_000_000, "days"),
        (3_600_000_000_000, "hrs"),
        (60_000_000_000, "mins"),
        (1_000_000_000, "secs"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = duration.as_nanos();
    let whole = UNITS.iter().find(|(unit, _)| nanos >= *unit && nanos.is_multiple_of(*unit));
    whole.map_or_else(|| "0ns".to_owned(), |(unit, name)| format!("{}{name}", nanos / unit))
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_their_largest_whole_unit() {
        for (millis, expected) in
            [(0, "0ns"), (1, "1ms"), (1500, "1500ms"), (60_000, "1mins"), (90_000, "90secs")]
        {
            assert_eq!(words(Duration::from_millis(millis)), expected);
        }
    }
}
