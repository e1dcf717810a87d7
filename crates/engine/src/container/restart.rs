//! When a container that ended is started again. Pure; time is an argument.

use std::time::Duration;

use super::host_config::{RestartPolicy, RestartPolicyName};

/// The shortest delay.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay.
const LAST_DELAY: Duration = Duration::from_secs(60);
/// A run that lasted so long starts the delays over.
const LONG_RUN: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) exit_code: i32,
    pub(crate) lasted: Duration,
    /// Somebody stopped it.
    pub(crate) by_hand: bool,
}

/// The delays of one container, from its start by hand on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// Tells after which delay to start again, `None` for not at all. `restarts` is how often it
    /// was started again already.
    pub(crate) fn next(
        &mut self,
        policy: &RestartPolicy,
        restarts: u32,
        ended: Ended,
    ) -> Option<Duration> {
        if ended.by_hand || !wanted(policy, restarts, ended.exit_code) {
            return None;
        }
        let delay = match self.last {
            Some(last) if ended.lasted < LONG_RUN => (last * 2).min(LAST_DELAY),
            _ => FIRST_DELAY,
        };
        self.last = Some(delay);
        Some(delay)
    }
}

fn wanted(policy: &RestartPolicy, restarts: u32, exit_code: i32) -> bool {
    match policy.name {
        RestartPolicyName::No => false,
        RestartPolicyName::Always | RestartPolicyName::UnlessStopped => true,
        RestartPolicyName::OnFailure => {
            exit_code != 0
                && (policy.maximum_retry_count == 0 || restarts < policy.maximum_retry_count)
        }
    }
}

/// Tells whether a container that does not run is started when the daemon starts.
pub(crate) fn at_daemon_start(
    policy: &RestartPolicy,
    manually_stopped: bool,
    ever_started: bool,
) -> bool {
    ever_started
        && match policy.name {
            RestartPolicyName::Always => true,
            RestartPolicyName::UnlessStopped => !manually_stopped,
            RestartPolicyName::No | RestartPolicyName::OnFailure => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: RestartPolicyName, maximum_retry_count: u32) -> RestartPolicy {
        RestartPolicy { name, maximum_retry_count }
    }

    fn ended(exit_code: i32, seconds: u64) -> Ended {
        Ended { exit_code, lasted: Duration::from_secs(seconds), by_hand: false }
    }

    #[test]
    fn delays_double_up_to_a_minute_and_start_over_after_a_long_run() {
        let always = policy(RestartPolicyName::Always, 0);
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..12)
            .filter_map(|restarts| backoff.next(&always, restarts, ended(0, 0)))
            .map(|delay| delay.as_millis())
            .collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000];
        assert_eq!(delays, expected);
        let after_long = backoff.next(&always, 12, ended(0, 10));
        assert_eq!(after_long, Some(Duration::from_millis(100)));
    }

    #[test]
    fn on_failure_counts_and_ignores_success() {
        let twice = policy(RestartPolicyName::OnFailure, 2);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(&twice, 0, ended(0, 0)), None);
        assert!(backoff.next(&twice, 1, ended(1, 0)).is_some());
        assert_eq!(backoff.next(&twice, 2, ended(1, 0)), None);
        let endless = policy(RestartPolicyName::OnFailure, 0);
        assert!(backoff.next(&endless, 1000, ended(1, 0)).is_some());
    }

    #[test]
    fn a_stop_by_hand_ends_it() {
        let always = policy(RestartPolicyName::Always, 0);
        let by_hand = Ended { by_hand: true, ..ended(137, 0) };
        assert_eq!(Backoff::default().next(&always, 0, by_hand), None);
    }

    #[test]
    fn daemon_start_respects_a_stop_by_hand_only_with_unless_stopped() {
        let row = |name, stopped| at_daemon_start(&policy(name, 0), stopped, true);
        assert!(row(RestartPolicyName::Always, true));
        assert!(row(RestartPolicyName::UnlessStopped, false));
        assert!(!row(RestartPolicyName::UnlessStopped, true));
        assert!(!row(RestartPolicyName::OnFailure, false));
        assert!(!row(RestartPolicyName::No, false));
        assert!(!at_daemon_start(&policy(RestartPolicyName::Always, 0), false, false));
    }
}
