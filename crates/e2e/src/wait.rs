//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long any single expectation may take on a loaded two-core machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// `within`, times what `TEU_E2E_STRETCH` says for a machine that is slow throughout, such as an
/// emulated one.
pub(crate) fn stretched(within: Duration) -> Duration {
    let factor = std::env::var("TEU_E2E_STRETCH").ok().and_then(|text| text.parse().ok());
    within * factor.unwrap_or(1)
}

/// Tries `attempt` until it succeeds; after [`DEADLINE`] the last error is returned.
///
/// Used only where nothing can be waited on, such as a listener in another network namespace;
/// the pause between two tries doubles up to a tenth of a second.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let deadline = stretched(DEADLINE);
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > deadline => {
                return Err(error).with_context(|| format!("{what}: not within {deadline:?}"));
            }
            Err(_) => std::thread::park_timeout(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
