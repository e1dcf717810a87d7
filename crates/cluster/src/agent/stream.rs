//! The stream of one task's status updates: ordered, one in flight, sent until acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use mesos_api::internal::StatusUpdate;

use crate::time::Time;

/// The first pause before an unacknowledged update is sent again; it doubles up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_LAST: Duration = Duration::from_secs(600);

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// It was for the update in flight.
    Yes,
    /// It repeats an earlier one.
    Again,
    /// It is for no update that was sent.
    Unexpected,
}

/// Updates of one task that the framework has not acknowledged yet, the oldest in flight.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pending: VecDeque<StatusUpdate>,
    /// Identifiers of all updates, so that a repeated one is known.
    seen: Vec<Bytes>,
    acknowledged: Vec<Bytes>,
    retry: Option<(Time, Duration)>,
}

impl Stream {
    /// Adds an update; false when it is already in.
    pub(super) fn push(&mut self, update: StatusUpdate) -> bool {
        let uuid = update.uuid.clone().unwrap_or_default();
        if self.seen.contains(&uuid) {
            return false;
        }
        self.seen.push(uuid);
        self.pending.push_back(update);
        true
    }

    pub(super) fn acknowledge(&mut self, uuid: &Bytes) -> Acknowledged {
        if self.acknowledged.contains(uuid) {
            return Acknowledged::Again;
        }
        match self.pending.front() {
            Some(update) if update.uuid.as_ref() == Some(uuid) => {
                self.pending.pop_front();
                self.acknowledged.push(uuid.clone());
                self.retry = None;
                Acknowledged::Yes
            }
            _ => Acknowledged::Unexpected,
        }
    }

    /// The update that has to reach the framework next.
    pub(super) fn head(&self) -> Option<&StatusUpdate> {
        self.pending.front()
    }

    /// Updates that the framework has not acknowledged, the oldest first.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &StatusUpdate> {
        self.pending.iter()
    }

    /// Whether the framework has acknowledged this update.
    pub(super) fn has_acknowledged(&self, uuid: &Bytes) -> bool {
        self.acknowledged.contains(uuid)
    }

    /// The head has been sent: when to send it again.
    pub(super) fn sent(&mut self, now: Time) {
        let pause = self.retry.map_or(RETRY_FIRST, |(_, pause)| (pause * 2).min(RETRY_LAST));
        self.retry = Some((now + pause, pause));
    }

    /// Nothing is sent until the master is back.
    pub(super) fn pause(&mut self) {
        self.retry = None;
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        if self.pending.is_empty() { None } else { self.retry.map(|(at, _)| at) }
    }

    /// Whether the head is unsent, or waits to be sent again.
    pub(super) fn is_due(&self, now: Time) -> bool {
        !self.pending.is_empty() && self.retry.is_none_or(|(at, _)| at <= now)
    }
}
