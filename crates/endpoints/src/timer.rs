//! How long something took the last times, for the metrics.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many of the last times are kept.
const KEPT: usize = 1000;

/// The last times that something took.
#[derive(Debug, Default)]
pub struct Timer(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    count: u64,
    last: VecDeque<Duration>,
}

impl Timer {
    /// Notes one more.
    pub fn note(&self, took: Duration) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.count += 1;
        if window.last.len() == KEPT {
            window.last.pop_front();
        }
        window.last.push_back(took);
    }

    /// What Mesos tells of a timer: endings of names, and values in milliseconds.
    #[allow(clippy::cast_precision_loss, reason = "nobody counts that far")]
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut figures = vec![("/count", window.count as f64)];
        let Some(last) = window.last.back() else { return figures };
        let millis = |took: Duration| took.as_secs_f64() * 1000.0;
        figures.push(("", millis(*last)));
        let mut sorted: Vec<Duration> = window.last.iter().copied().collect();
        drop(window);
        sorted.sort_unstable();
        // Of ten thousand.
        let ranks = [
            ("/min", 0),
            ("/p50", 5000),
            ("/p90", 9000),
            ("/p95", 9500),
            ("/p99", 9900),
            ("/p999", 9990),
            ("/p9999", 9999),
            ("/max", 10_000),
        ];
        for (name, rank) in ranks {
            let at = (sorted.len() * rank).div_ceil(10_000).max(1) - 1;
            figures.extend(sorted.get(at).map(|took| (name, millis(*took))));
        }
        figures
    }
}

#[cfg(test)]
mod tests;
