//! Health checks: when to probe, what a probe's result means.
//!
//! ```text
//! (none) -> starting -> healthy <-> unhealthy
//!               |                      ^
//!               +-- retries failures --+
//! ```
//! The first probe comes one interval after the start, each further one an interval after the end
//! of the one before. Inside the start period, and until a first success, the start interval
//! counts instead, and failures do not.

mod monitor;

use std::time::Duration;

use jiff::Timestamp;

use crate::container::{Health, HealthConfig, HealthResult, HealthStatus};

pub(crate) use monitor::watch;

/// How many results are kept.
const LOG_ENTRIES: usize = 5;
/// How much of a probe's output is kept.
pub(crate) const OUTPUT_BYTES: usize = 4096;
/// The exit code of a probe that took too long.
pub(crate) const TIMED_OUT: i32 = -1;

/// A health check with all defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    /// What to run in the container.
    pub(crate) command: Vec<String>,
    /// From the end of a probe to the next one.
    pub(crate) interval: Duration,
    /// After which a probe is killed.
    pub(crate) timeout: Duration,
    /// During which failures do not count.
    pub(crate) start_period: Duration,
    /// The interval during the start period.
    pub(crate) start_interval: Duration,
    /// Failures in a row that make a container unhealthy.
    pub(crate) retries: u32,
}

impl HealthCheck {
    /// Reads a configuration; `None` when there is no check, or an explicit `NONE`. `shell` is
    /// what shell-form commands run in.
    pub(crate) fn new(config: Option<&HealthConfig>, shell: Option<&[String]>) -> Option<Self> {
        let config = config?;
        let command = match config.test.split_first()? {
            (word, arguments) if word == "CMD" => arguments.to_vec(),
            (word, script) if word == "CMD-SHELL" => {
                let default = ["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or(&default);
                [shell, &[script.join(" ")]].concat()
            }
            _ => return None,
        };
        if command.is_empty() {
            return None;
        }
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        Some(Self {
            command,
            interval: or(config.interval_nanos, Duration::from_secs(30)),
            timeout: or(config.timeout_nanos, Duration::from_secs(30)),
            start_period: or(config.start_period_nanos, Duration::ZERO),
            start_interval: or(config.start_interval_nanos, Duration::from_secs(5)),
            retries: u32::try_from(config.retries).ok().filter(|n| *n > 0).unwrap_or(3),
        })
    }

    /// How long to wait at `now` before the next probe of a container that was started at
    /// `started_at`.
    ///
    /// A probe that fell due while nobody looked (the daemon was away) comes at once.
    pub(crate) fn delay(&self, health: &Health, started_at: Timestamp, now: Timestamp) -> Duration {
        let last = health.log.back().map_or(started_at, |result| result.end.max(started_at));
        let since_start = elapsed(started_at, last);
        let starting = health.status == HealthStatus::Starting && since_start < self.start_period;
        let interval = if starting { self.start_interval } else { self.interval };
        interval.saturating_sub(elapsed(last, now))
    }

    /// Takes a probe's result into account.
    pub(crate) fn judge(&self, health: &mut Health, result: HealthResult, started_at: Timestamp) {
        let start = result.start;
        let healthy = result.exit_code == 0;
        if health.log.len() >= LOG_ENTRIES {
            health.log.drain(..=health.log.len() - LOG_ENTRIES);
        }
        health.log.push_back(result);
        if healthy {
            health.failing_streak = 0;
            health.status = HealthStatus::Healthy;
            return;
        }
        let forgiven = health.status == HealthStatus::Starting
            && elapsed(started_at, start) < self.start_period;
        if !forgiven {
            health.failing_streak = health.failing_streak.saturating_add(1);
            if health.failing_streak >= self.retries {
                health.status = HealthStatus::Unhealthy;
            }
        }
    }
}

/// Time from `from` to `to`; zero if the clock went back.
fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// Makes text of the first [`OUTPUT_BYTES`] of what a probe wrote.
pub(crate) fn output(bytes: &[u8]) -> String {
    if bytes.len() <= OUTPUT_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    format!("{}...", String::from_utf8_lossy(&bytes[..OUTPUT_BYTES]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> HealthCheck {
        let config = HealthConfig {
            test: vec!["CMD-SHELL".into(), "exit 0".into()],
            start_period_nanos: 60_000_000_000,
            ..HealthConfig::default()
        };
        HealthCheck::new(Some(&config), None).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn probe(second: i64, exit_code: i32) -> HealthResult {
        HealthResult { start: at(second), end: at(second + 1), exit_code, output: String::new() }
    }

    #[test]
    fn configurations_get_their_defaults() {
        let check = check();
        assert_eq!(check.command, ["/bin/sh", "-c", "exit 0"]);
        assert_eq!((check.interval, check.timeout), (Duration::from_secs(30), check.interval));
        assert_eq!((check.start_interval, check.retries), (Duration::from_secs(5), 3));
        let of = |test: &[&str], shell: &[&str]| {
            let own = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
            let config = HealthConfig { test: own(test), ..HealthConfig::default() };
            HealthCheck::new(Some(&config), Some(&own(shell))).map(|check| check.command)
        };
        assert_eq!(of(&["CMD", "a", "b"], &[]).unwrap(), ["a", "b"]);
        assert_eq!(
            of(&["CMD-SHELL", "x"], &["/bin/bash", "-lc"]).unwrap(),
            ["/bin/bash", "-lc", "x"]
        );
        assert_eq!(of(&["NONE"], &[]), None);
        assert_eq!(of(&[], &[]), None);
        assert_eq!(HealthCheck::new(None, None), None);
    }

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let check = check();
        let mut health = Health::default();
        for second in [5, 15, 50] {
            check.judge(&mut health, probe(second, 1), at(0));
        }
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        check.judge(&mut health, probe(55, 0), at(0));
        assert_eq!(health.status, HealthStatus::Healthy);
        // Still inside the start period, but it was healthy once.
        for (n, exit_code) in [1, TIMED_OUT, 137].into_iter().enumerate() {
            assert_eq!(health.status, HealthStatus::Healthy);
            check.judge(&mut health, probe(56, exit_code), at(0));
            assert_eq!(health.failing_streak as usize, n + 1);
        }
        assert_eq!(health.status, HealthStatus::Unhealthy);
        check.judge(&mut health, probe(99, 0), at(0));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        assert_eq!(health.log.len(), LOG_ENTRIES);
        assert_eq!(health.log.back().unwrap().start, at(99));
    }

    #[test]
    fn intervals_run_from_the_end_of_the_last_probe() {
        let check = check();
        let mut health = Health::default();
        let delay = |health: &Health, now| check.delay(health, at(0), at(now)).as_secs();
        assert_eq!((delay(&health, 0), delay(&health, 4), delay(&health, 9)), (5, 1, 0));
        check.judge(&mut health, probe(5, 1), at(0));
        assert_eq!(delay(&health, 6), 5);
        check.judge(&mut health, probe(60, 1), at(0));
        assert_eq!(delay(&health, 61), 30, "the start period is over");
        check.judge(&mut health, probe(61, 0), at(0));
        assert_eq!((delay(&health, 62), delay(&health, 1000)), (30, 0));
        // A restart of the container: results of the run before do not count.
        assert_eq!(check.delay(&health, at(100), at(100)).as_secs(), 30);
    }

    #[test]
    fn output_is_cut() {
        assert_eq!(output(b"ok\xff"), "ok\u{fffd}");
        assert_eq!(output(&[b'x'; 5000]).len(), OUTPUT_BYTES + 3);
    }
}
