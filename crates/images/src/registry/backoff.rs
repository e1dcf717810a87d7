//! How long to wait before the next try: doubling, with jitter, within limits.

use std::time::Duration;

use super::config::Timeouts;

/// The longest wait of our own choice.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts the tries of one thing.
#[derive(Debug)]
pub(crate) struct Backoff {
    failed: u32,
    attempts: u32,
    timeouts: Timeouts,
}

impl Backoff {
    pub(crate) fn new(attempts: u32, timeouts: Timeouts) -> Self {
        Self { failed: 0, attempts, timeouts }
    }

    /// Counts a failure. Returns the wait before the next try, or `None` if there shall be none: tries are used up, or
    /// the registry wants us to wait for longer than anyone would.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.attempts {
            return None;
        }
        match retry_after {
            Some(wait) if wait > self.timeouts.retry_after => None,
            Some(wait) => Some(wait),
            None => {
                let doubled = self.timeouts.retry.saturating_mul(1 << (self.failed - 1).min(16));
                Some(doubled.min(LONGEST).mul_f64(rand::random_range(0.5..=1.0)))
            }
        }
    }

    /// Starts to count anew: what was tried makes progress.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;
    use crate::registry::config::Timeouts;

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = Backoff::new(5, Timeouts::default());
        let waits: Vec<_> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(waits.len(), 4);
        for (wait, longest) in waits.iter().zip([1, 2, 4, 8]) {
            let longest = Duration::from_secs(longest);
            assert!(*wait <= longest && *wait >= longest / 2, "{wait:?}");
        }
        backoff.reset();
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(backoff.next(Some(Duration::from_secs(7000))), None);
    }
}
