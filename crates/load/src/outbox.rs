//! Bytes on their way to a peer: whoever has some appends, one task writes all there are at once.

use std::sync::{Mutex, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// What waits to be written. Bounded by the load itself: every message answers one of the peer's,
/// or is a task that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Held for an append or a swap.
    bytes: Mutex<Vec<u8>>,
    wake: Notify,
}

impl Outbox {
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Writes whatever comes, until the peer hangs up.
    pub(crate) async fn drain_to(&self, mut peer: OwnedWriteHalf) -> std::io::Result<()> {
        let mut batch = Vec::new();
        loop {
            self.wake.notified().await;
            std::mem::swap(
                &mut batch,
                &mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner),
            );
            peer.write_all(&batch).await?;
            batch.clear();
        }
    }
}
