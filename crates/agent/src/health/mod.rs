//! Checks: when to probe, what a result means, and the three ways to probe.
//!
//! A *health check* kills a task that fails it often enough. A *check* only tells what it saw.

mod probe;

use std::time::Duration;

use cluster::agent::ContainerEvent;
use mesos_api::v1::network_info::Protocol;
use mesos_api::v1::{
    CheckInfo, CheckStatusInfo, HealthCheck, TaskId, TaskInfo, check_info, check_status_info,
    health_check,
};
use tokio::time::Instant;

use crate::containers::Reporter;
use probe::{Failure, Outcome, Probe};

pub(crate) use probe::Target;

/// How long the end of what was probed may take to be told once it has begun.
const ENDING: Duration = Duration::from_secs(10);

/// Probes as a task's checks say until the container ends; the future is dropped then.
pub(crate) async fn run(task: Option<&TaskInfo>, target: Target<'_>, reporter: &Reporter) {
    let health = async {
        match task.and_then(|task| task.health_check.as_deref()) {
            Some(check) => watch_health(check, &target, reporter).await,
            None => std::future::pending().await,
        }
    };
    let check = async {
        match task.and_then(|task| Some((&task.task_id, task.check.as_deref()?))) {
            Some((task, check)) => tell_checks(task, check, &target, reporter).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(health, check);
}

async fn watch_health(check: &HealthCheck, target: &Target<'_>, reporter: &Reporter) {
    let Ok(probe) = of_health(check) else { return }; // refused before the launch
    let times = Times::new(
        check.delay_seconds(),
        check.interval_seconds(),
        check.timeout_seconds(),
        check.grace_period_seconds(),
    );
    let start = Instant::now();
    let mut judge = Judge::new(check.consecutive_failures(), times.grace);
    tokio::time::sleep(times.delay).await;
    loop {
        let result = match result_of(probe, target, times.timeout).await {
            Ok(outcome) => well(check, outcome),
            Err(failure) => Err(failure.to_string()),
        };
        if let Some(event) = judge.hear(start.elapsed(), result) {
            reporter.send(event).await;
        }
        tokio::time::sleep(times.interval).await;
    }
}

async fn tell_checks(task: &TaskId, check: &CheckInfo, target: &Target<'_>, reporter: &Reporter) {
    let Ok(probe) = of_check(check) else { return }; // refused before the launch
    let times =
        Times::new(check.delay_seconds(), check.interval_seconds(), check.timeout_seconds(), 0.0);
    tokio::time::sleep(times.delay).await;
    loop {
        let result = result_of(probe, target, times.timeout).await;
        if let Err(failure) = &result {
            tracing::debug!(task_id = %task.value, %failure, "a check failed");
        }
        // Whether that is news the core knows, also after a restart.
        reporter.send(ContainerEvent::Checked(seen(check.r#type(), result.ok()))).await;
        tokio::time::sleep(times.interval).await;
    }
}

/// Probes once. What came of it when the task ended meanwhile is nobody's business: this is dropped
/// while it waits then, except in a task that goes on without its first thread.
async fn result_of(
    probe: Probe<'_>,
    target: &Target<'_>,
    timeout: Duration,
) -> Result<Outcome, Failure> {
    let result = probe::probe(probe, target, timeout).await;
    if target.is_ending() {
        tokio::time::sleep(ENDING).await;
    }
    result
}

/// Says what of a task's checks this agent cannot do.
pub(crate) fn unsupported(task: &TaskInfo) -> Option<String> {
    let health = task.health_check.as_deref().and_then(|check| of_health(check).err());
    health.or_else(|| task.check.as_deref().and_then(|check| of_check(check).err()))
}

/// How to probe for a health check. Frameworks from before its type was there set only what it has.
fn of_health(check: &HealthCheck) -> Result<Probe<'_>, String> {
    use health_check::Type;
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (Type::Command | Type::Unknown, Some(command), ..) => Ok(Probe::Command(command)),
        (Type::Http | Type::Unknown, _, Some(http), _) => match http.scheme.as_deref() {
            scheme @ (None | Some("http" | "https")) => {
                let (protocol, port) = (http.protocol(), http.port);
                let path = http.path.as_deref().unwrap_or("/");
                Ok(Probe::Http { protocol, port, path, tls: scheme == Some("https") })
            }
            Some(scheme) => Err(format!("Unsupported HTTP health check scheme: '{scheme}'")),
        },
        (Type::Tcp, .., Some(tcp)) => Ok(Probe::Tcp { protocol: tcp.protocol(), port: tcp.port }),
        (kind, ..) => {
            Err(format!("A health check of type {} says nothing to check", kind.as_str_name()))
        }
    }
}

fn of_check(check: &CheckInfo) -> Result<Probe<'_>, String> {
    use check_info::Type;
    let protocol = Protocol::IPv4;
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (Type::Command, Some(command), ..) => Ok(Probe::Command(&command.command)),
        (Type::Http, _, Some(http), _) => {
            let path = http.path.as_deref().unwrap_or("/");
            Ok(Probe::Http { protocol, port: http.port, path, tls: false })
        }
        (Type::Tcp, .., Some(tcp)) => Ok(Probe::Tcp { protocol, port: tcp.port }),
        (kind, ..) => Err(format!("A check of type {} says nothing to check", kind.as_str_name())),
    }
}

/// Whether an outcome is a healthy one.
fn well(check: &HealthCheck, outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Connected | Outcome::Exited(0) => Ok(()),
        Outcome::Exited(code) => Err(format!("the command exited with status {code}")),
        Outcome::Answered(status) => {
            let http = check.http.clone().unwrap_or_default();
            let wanted = if http.statuses.is_empty() {
                (200..400).contains(&status)
            } else {
                http.statuses.contains(&u32::from(status))
            };
            if wanted { Ok(()) } else { Err(format!("port {} answered {status}", http.port)) }
        }
    }
}

/// What a check is told to have seen; without an outcome only a connection can be said to have
/// failed, of the others nothing is known.
fn seen(kind: check_info::Type, outcome: Option<Outcome>) -> CheckStatusInfo {
    let mut seen = CheckStatusInfo::default();
    seen.set_type(kind);
    match kind {
        check_info::Type::Command => {
            let exit_code = match outcome {
                Some(Outcome::Exited(code)) => i32::try_from(code).ok(),
                _ => None,
            };
            seen.command = Some(check_status_info::Command { exit_code });
        }
        check_info::Type::Http => {
            let status_code = match outcome {
                Some(Outcome::Answered(status)) => Some(u32::from(status)),
                _ => None,
            };
            seen.http = Some(check_status_info::Http { status_code });
        }
        check_info::Type::Tcp => {
            let succeeded = Some(outcome == Some(Outcome::Connected));
            seen.tcp = Some(check_status_info::Tcp { succeeded });
        }
        check_info::Type::Unknown => {}
    }
    seen
}

struct Times {
    delay: Duration,
    interval: Duration,
    timeout: Duration,
    grace: Duration,
}

impl Times {
    /// Out of a check's seconds.
    fn new(delay: f64, interval: f64, timeout: f64, grace: f64) -> Self {
        let read = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let timeout = read(timeout);
        Self {
            delay: read(delay),
            // Without a pause the probes alone would keep a processor busy.
            interval: read(interval).max(Duration::from_millis(10)),
            // No timeout is written as zero.
            timeout: if timeout.is_zero() {
                Duration::from_secs(u64::from(u32::MAX))
            } else {
                timeout
            },
            grace: read(grace),
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
    fn a_health_check_without_a_type_is_what_it_has() {
        let http = health_check::HttpCheckInfo { port: 80, ..Default::default() };
        let check = HealthCheck { http: Some(http), ..HealthCheck::default() };
        assert!(matches!(
            of_health(&check),
            Ok(Probe::Http { port: 80, path: "/", tls: false, .. })
        ));
        assert!(of_health(&HealthCheck::default()).is_err());
    }

    #[test]
    fn a_check_tells_what_it_saw_and_no_more() {
        use check_info::Type;
        let exit = |outcome| seen(Type::Command, outcome).command.and_then(|c| c.exit_code);
        assert_eq!((exit(Some(Outcome::Exited(3))), exit(None)), (Some(3), None));
        let status = |outcome| seen(Type::Http, outcome).http.and_then(|h| h.status_code);
        assert_eq!((status(Some(Outcome::Answered(404))), status(None)), (Some(404), None));
        let connected = |outcome| seen(Type::Tcp, outcome).tcp.and_then(|t| t.succeeded);
        assert_eq!(
            (connected(Some(Outcome::Connected)), connected(None)),
            (Some(true), Some(false))
        );
    }

    #[test]
    fn the_grace_period_ends() {
        let mut judge = Judge::new(1, Duration::from_secs(10));
        assert_eq!(said(judge.hear(Duration::from_secs(9), Err(String::new()))), None);
        let last = judge.hear(Duration::from_secs(10), Err(String::new()));
        assert_eq!(said(last), Some((false, true)));
    }
}
