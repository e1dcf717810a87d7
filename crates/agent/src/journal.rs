//! The thread that makes records durable, and what waits for it.
//!
//! The driver hands over what the core said, records and acts in their order, and carries out the
//! acts when they come back. What arrives meanwhile goes with the next batch: under load a hundred
//! records share a sync. While the disk takes nothing the batch is tried again and again, so that
//! nothing is told that a restart would not know of. Only what depends on no record passes.

use std::time::Duration;

use cluster::agent::Output;
use cluster::wire::FromAgent;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::checkpoint::{Store, StoreError};

/// Pause before a batch that could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(1);

type Batch = Vec<Output>;
type Written = (Batch, Result<(), StoreError>);

/// Outputs in their order, between the core and their being carried out.
#[derive(Debug)]
pub(crate) struct Journal {
    to_thread: mpsc::Sender<Batch>,
    from_thread: mpsc::Receiver<Written>,
    /// A batch is with the thread.
    writing: bool,
    /// What waits to become the next batch; after a failure the failed one is at its front.
    waiting: Batch,
    /// When to try again, after a failure.
    again: Option<Instant>,
}

impl Journal {
    /// Starts the thread, which ends with the journal.
    pub(crate) fn start(mut store: Store) -> std::io::Result<Self> {
        // One batch is under way at most: neither queue ever holds more.
        let (to_thread, mut batches) = mpsc::channel::<Batch>(1);
        let (written, from_thread) = mpsc::channel(1);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            while let Some(batch) = batches.blocking_recv() {
                let records = batch.iter().filter_map(|output| match output {
                    Output::Persist(record) => Some(record.as_ref()),
                    _ => None,
                });
                let result = store.write(records);
                if written.blocking_send((batch, result)).is_err() {
                    return; // the agent ends
                }
                if let Err(error) = store.purge() {
                    tracing::warn!(%error, "cannot delete old records");
                }
            }
        })?;
        let waiting = Vec::new();
        Ok(Self { to_thread, from_thread, writing: false, waiting, again: None })
    }

    /// Takes outputs; returns those that can be carried out at once.
    pub(crate) fn take(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        let records = outputs.iter().any(|output| matches!(output, Output::Persist(_)));
        if !records && !self.writing && self.waiting.is_empty() {
            return outputs;
        }
        let (now, later) = outputs.into_iter().partition(depends_on_nothing);
        let later: Batch = later;
        self.waiting.extend(later);
        self.hand_over();
        now
    }

    /// Whether the disk takes nothing.
    pub(crate) fn is_stuck(&self) -> bool {
        self.again.is_some()
    }

    /// Whether everything has been carried out.
    pub(crate) fn is_empty(&self) -> bool {
        !self.writing && self.waiting.is_empty()
    }

    /// What waits, for those who may let some of it pass.
    pub(crate) fn waiting(&mut self) -> &mut Batch {
        &mut self.waiting
    }

    /// Waits for a batch and returns what to carry out. Can be dropped and called again.
    pub(crate) async fn written(&mut self) -> Vec<Output> {
        if let Some(again) = self.again {
            tokio::time::sleep_until(again).await;
            self.again = None;
            self.hand_over();
        }
        let Some((batch, result)) = self.from_thread.recv().await else {
            // Without its thread nothing can be promised any more.
            return vec![Output::Exit("the thread that writes checkpoints has ended".to_owned())];
        };
        self.writing = false;
        match result {
            Ok(()) => {
                self.hand_over();
                batch
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(
                    %error,
                    source,
                    "cannot write a checkpoint: updates and launches wait until it can be; is the disk full?"
                );
                let after = std::mem::replace(&mut self.waiting, batch);
                self.waiting.extend(after);
                self.again = Some(Instant::now() + PAUSE);
                Vec::new()
            }
        }
    }

    fn hand_over(&mut self) {
        if self.writing || self.again.is_some() || self.waiting.is_empty() {
            return;
        }
        // There is room: the thread has given back what it had. It ends with the journal only.
        self.writing = self.to_thread.try_send(std::mem::take(&mut self.waiting)).is_ok();
    }
}

/// Answers that say nothing but that the agent is alive.
fn depends_on_nothing(output: &Output) -> bool {
    matches!(output, Output::Send(message) if matches!(**message, FromAgent::Pong(_)))
}

#[cfg(test)]
mod tests;
