//! How many messages drivers of the older kind have sent, by principal, for the metrics. Where a limit
//! makes them wait, what was received is ahead of what was processed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counts of all principals that have said something. The lock is held to count one message.
#[derive(Debug, Default)]
pub(crate) struct Messages(Mutex<HashMap<Arc<str>, Count>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) received: u64,
    pub(crate) processed: u64,
}

impl Messages {
    pub(crate) fn received(&self, principal: &Arc<str>) {
        self.lock().entry(Arc::clone(principal)).or_default().received += 1;
    }

    pub(crate) fn processed(&self, principal: &Arc<str>) {
        self.lock().entry(Arc::clone(principal)).or_default().processed += 1;
    }

    /// The last framework of a principal is gone.
    pub(crate) fn forget(&self, principal: &str) {
        self.lock().remove(principal);
    }

    pub(crate) fn count(&self, principal: &str) -> Count {
        self.lock().get(principal).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
