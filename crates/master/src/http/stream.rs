//! Streams of records: a scheduler's events, and those that operators listen to.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cluster::master::{Input, Scheduler};
use mesos_api::recordio;
use mesos_api::v1::master;
use mesos_api::v1::scheduler::{Event, event};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::media::Media;
use crate::handle::{Changes, Handle};

/// A scheduler's events with heartbeats between them. Its end is told to the driver.
#[derive(Debug)]
pub(crate) struct EventStream {
    id: Arc<str>,
    events: Receiver<Box<Event>>,
    #[expect(clippy::vec_box, reason = "as they came through the channel")]
    taken: Vec<Box<Event>>,
    media: Media,
    heartbeat: Heartbeat,
    handle: Handle,
}

/// Events that are put into one piece of the stream.
const BURST: usize = 256;

impl EventStream {
    pub(super) fn new(
        id: Arc<str>,
        events: Receiver<Box<Event>>,
        media: Media,
        heartbeat: Duration,
        handle: Handle,
    ) -> Self {
        let heartbeat = Heartbeat::new(heartbeat);
        Self { id, events, taken: Vec::new(), media, heartbeat, handle }
    }

    /// The next records.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut records = Vec::new();
        if self.heartbeat.poll(cx) {
            self.append_heartbeat(&mut records);
            return Poll::Ready(Some(records.into()));
        }
        let count = ready!(self.events.poll_recv_many(cx, &mut self.taken, BURST));
        if count == 0 {
            return Poll::Ready(None);
        }
        for event in std::mem::take(&mut self.taken) {
            self.media.append_record(&*event, &mut records);
            if event.r#type() == event::Type::Subscribed {
                self.heartbeat.start();
                self.append_heartbeat(&mut records);
            }
        }
        Poll::Ready(Some(records.into()))
    }

    fn append_heartbeat(&self, records: &mut Vec<u8>) {
        let beat = Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() };
        self.media.append_record(&beat, records);
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let gone = Input::SchedulerGone(Scheduler::Stream(Arc::clone(&self.id)));
        let handle = self.handle.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // The task ends when the driver has taken the input, or is no more.
            runtime.spawn(async move {
                let _ = handle.tell(gone).await;
            });
        }
    }
}

/// What an operator listens to: the state, and then each change.
#[derive(Debug)]
pub(crate) struct OperatorStream {
    first: Option<Vec<u8>>,
    changes: Changes,
    media: Media,
    heartbeat: Heartbeat,
}

impl OperatorStream {
    pub(super) fn new(first: Vec<u8>, changes: Changes, media: Media, heartbeat: Duration) -> Self {
        Self { first: Some(first), changes, media, heartbeat: Heartbeat::new(heartbeat) }
    }

    /// The next records.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut records = Vec::new();
        if let Some(first) = self.first.take() {
            recordio::encode_into(&mut records, &first);
            self.heartbeat.start();
        } else if !self.heartbeat.poll(cx) {
            let event = ready!(self.changes.poll_recv(cx));
            return Poll::Ready(event.map(|event| {
                self.media.append_record(&*event, &mut records);
                records.into()
            }));
        }
        let kind = master::event::Type::Heartbeat;
        let beat = master::Event { r#type: Some(kind.into()), ..master::Event::default() };
        self.media.append_record(&beat, &mut records);
        Poll::Ready(Some(records.into()))
    }
}

/// Due after each interval from its start on.
#[derive(Debug)]
struct Heartbeat {
    every: Duration,
    clock: Option<Interval>,
}

impl Heartbeat {
    fn new(every: Duration) -> Self {
        Self { every, clock: None }
    }

    fn start(&mut self) {
        let mut clock = interval_at(tokio::time::Instant::now() + self.every, self.every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.clock = Some(clock);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.clock.as_mut().is_some_and(|clock| clock.poll_tick(cx).is_ready())
    }
}

#[cfg(test)]
mod tests;
