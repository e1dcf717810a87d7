//! One download per blob at a time, however many pulls want it.
//!
//! A pull takes the blob's turn before it downloads. Who has to wait sees the other's progress, then finds the blob in
//! the store, or goes on where the other stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedMutexGuard, watch};

use crate::Digest;

/// The blobs being downloaded.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Held for lookups only. Slots nobody holds are dropped at the next lookup.
    slots: Mutex<HashMap<Digest, Weak<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    /// Held across awaits on purpose: it is the right to download.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Bytes the present downloader has.
    current: watch::Sender<u64>,
}

/// The right to download one blob. Moves to the thread that writes, so that it ends only when that is done.
#[derive(Debug)]
pub(crate) struct Turn {
    _guard: OwnedMutexGuard<()>,
    slot: Arc<Slot>,
}

impl Turn {
    /// Tells those who wait how far this download is.
    pub(crate) fn report(&self, current: u64) {
        self.slot.current.send_replace(current);
    }
}

impl Slots {
    /// Waits for the right to download a blob; meanwhile `seen` gets the other's progress.
    pub(crate) async fn turn(&self, digest: &Digest, seen: impl Fn(u64)) -> Turn {
        let slot = self.slot(digest);
        let mut current = slot.current.subscribe();
        let taken = Arc::clone(&slot.turn).lock_owned();
        tokio::pin!(taken);
        loop {
            tokio::select! {
                biased;
                guard = &mut taken => return Turn { _guard: guard, slot },
                // The sender lives in the slot that we hold.
                Ok(()) = current.changed() => seen(*current.borrow_and_update()),
            }
        }
    }

    fn slot(&self, digest: &Digest) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| slot.strong_count() > 0);
        if let Some(slot) = slots.get(digest).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot { turn: Arc::default(), current: watch::Sender::new(0) });
        slots.insert(*digest, Arc::downgrade(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Slots;
    use crate::Digest;

    #[tokio::test]
    async fn the_second_waits_and_sees_the_progress_of_the_first() {
        let slots = Slots::default();
        let (blob, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = slots.turn(&blob, |_| ()).await;
        let _unrelated = slots.turn(&other, |_| ()).await;
        let seen = AtomicU64::new(0);
        let second = slots.turn(&blob, |current| seen.store(current, Ordering::Relaxed));
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        first.report(7);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(seen.load(Ordering::Relaxed), 7);
        drop(first);
        drop(second.await);
        assert!(slots.slots.lock().unwrap().len() <= 2);
    }
}
