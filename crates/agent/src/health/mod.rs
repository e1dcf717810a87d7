//! Health checks: when to probe, what a result means, and the three ways to probe.

mod probe;

use std::time::Duration;

use cluster::agent::ContainerEvent;
use mesos_api::v1::{HealthCheck, health_check};
use tokio::time::Instant;

use crate::containers::Reporter;

pub(crate) use probe::Target;

/// Probes until the container ends; the future is dropped then.
pub(crate) async fn run(check: HealthCheck, target: Target<'_>, reporter: &Reporter) {
    let times = Times::of(&check);
    let start = Instant::now();
    let mut judge = Judge::new(check.consecutive_failures(), times.grace);
    tokio::time::sleep(times.delay).await;
    loop {
        let probe = probe::probe(&check, &target);
        let result = match tokio::time::timeout(times.timeout, probe).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", times.timeout)),
        };
        if let Some(event) = judge.hear(start.elapsed(), result) {
            reporter.send(event).await;
        }
        tokio::time::sleep(times.interval).await;
    }
}

/// Says what of a check this agent cannot do.
pub(crate) fn unsupported(check: &HealthCheck) -> Option<String> {
    match check.r#type() {
        health_check::Type::Command if check.command.is_some() => None,
        health_check::Type::Http => match check.http.as_ref() {
            None => Some("An HTTP health check without 'http'".to_owned()),
            Some(http) => match http.scheme.as_deref() {
                None | Some("http") => None,
                Some(scheme) => Some(format!(
                    "HTTP health checks of scheme '{scheme}' are not supported: use http, tcp or a command"
                )),
            },
        },
        health_check::Type::Tcp if check.tcp.is_some() => None,
        other => {
            Some(format!("A health check of type {} says nothing to check", other.as_str_name()))
        }
    }
}

struct Times {
    delay: Duration,
    interval: Duration,
    timeout: Duration,
    grace: Duration,
}

impl Times {
    fn of(check: &HealthCheck) -> Self {
        let read = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let timeout = read(check.timeout_seconds());
        Self {
            delay: read(check.delay_seconds()),
            // Without a pause the probes alone would keep a processor busy.
            interval: read(check.interval_seconds()).max(Duration::from_millis(10)),
            // No timeout is written as zero.
            timeout: if timeout.is_zero() {
                Duration::from_secs(u64::from(u32::MAX))
            } else {
                timeout
            },
            grace: read(check.grace_period_seconds()),
        }
    }
}

/// What results mean, in their order.
struct Judge {
    limit: u32,
    grace: Duration,
    failures: u32,
    /// Failures do not count during the grace period, until the first success.
    was_healthy: bool,
}

impl Judge {
    fn new(limit: u32, grace: Duration) -> Self {
        Self { limit, grace, failures: 0, was_healthy: false }
    }

    fn hear(
        &mut self,
        since_start: Duration,
        result: Result<(), String>,
    ) -> Option<ContainerEvent> {
        match result {
            Ok(()) => {
                let news = !self.was_healthy || self.failures > 0;
                (self.failures, self.was_healthy) = (0, true);
                let message = String::new();
                news.then_some(ContainerEvent::Health { healthy: true, kill: false, message })
            }
            Err(_) if !self.was_healthy && since_start < self.grace => None,
            Err(message) => {
                self.failures += 1;
                let kill = self.failures >= self.limit.max(1);
                let message =
                    format!("Health check failed {} times in a row: {message}", self.failures);
                Some(ContainerEvent::Health { healthy: false, kill, message })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(event: Option<ContainerEvent>) -> Option<(bool, bool)> {
        match event {
            Some(ContainerEvent::Health { healthy, kill, .. }) => Some((healthy, kill)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn failures_in_a_row_kill_and_a_success_starts_over() {
        let mut judge = Judge::new(2, Duration::from_secs(10));
        let mut hear = |at: u64, ok: bool| {
            let result = if ok { Ok(()) } else { Err("x".to_owned()) };
            said(judge.hear(Duration::from_secs(at), result))
        };
        assert_eq!(hear(1, false), None, "grace");
        assert_eq!(hear(2, true), Some((true, false)));
        assert_eq!(hear(3, true), None, "nothing new");
        assert_eq!(hear(4, false), Some((false, false)), "no grace after the first success");
        assert_eq!(hear(5, true), Some((true, false)));
        assert_eq!(hear(6, false), Some((false, false)));
        assert_eq!(hear(7, false), Some((false, true)));
    }

    #[test]
    fn the_grace_period_ends() {
        let mut judge = Judge::new(1, Duration::from_secs(10));
        assert_eq!(said(judge.hear(Duration::from_secs(9), Err(String::new()))), None);
        let last = judge.hear(Duration::from_secs(10), Err(String::new()));
        assert_eq!(said(last), Some((false, true)));
    }
}
