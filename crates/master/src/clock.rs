//! Time for the core: the wall clock's at the start, and from there on one that never goes back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::time::Time;

/// A clock that does not go back when the machine's is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Time,
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { base: Time::from_nanos(nanos), start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        self.base + self.start.elapsed()
    }

    /// How long from now until `time`; zero if it has passed.
    pub(crate) fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }
}
