//! The log of master and agent: where it goes, and how much it says. Operators can make it say more
//! for a while, with `SET_LOGGING_LEVEL`.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

/// Changes what is logged. Levels are Mesos': 0 is as configured, 1 and 2 say more, 3 all.
#[derive(Debug, Clone)]
pub struct Verbosity {
    configured: LevelFilter,
    filter: Option<reload::Handle<LevelFilter, Registry>>,
    /// Held only to swap values.
    now: Arc<Mutex<Now>>,
}

#[derive(Debug, Default)]
struct Now {
    level: u32,
    /// Goes back to what is configured.
    revert: Option<AbortHandle>,
}

/// Starts the log.
pub fn start(level: tracing::Level) -> Verbosity {
    let configured = LevelFilter::from_level(level);
    let (filter, handle) = reload::Layer::new(configured);
    let text = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = tracing_subscriber::registry().with(filter).with(text).try_init();
    // Only a second role in one process finds a log, whose level is then not this one's.
    Verbosity { configured, filter: started.ok().map(|()| handle), now: Arc::default() }
}

impl Verbosity {
    /// The level in force.
    pub fn level(&self) -> u32 {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).level
    }

    /// Sets the level for a while. Must be called inside a tokio runtime.
    pub fn set(&self, level: u32, duration: Duration) {
        self.apply(level);
        let verbosity = self.clone();
        let revert = tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            verbosity.apply(0);
        });
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = now.revert.replace(revert.abort_handle()) {
            earlier.abort();
        }
    }

    fn apply(&self, level: u32) {
        let filter = match level {
            0 => self.configured,
            1 | 2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        if let Some(handle) = &self.filter
            && let Err(error) = handle.reload(filter)
        {
            tracing::warn!(%error, "cannot change what is logged");
            return;
        }
        self.now.lock().unwrap_or_else(PoisonError::into_inner).level = level;
    }
}
