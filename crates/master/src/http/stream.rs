//! Streams of records: a scheduler's events, and those that operators listen to.

use std::sync::Arc;
use std::task::{Context, Poll};
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
    media: Media,
    heartbeat: Heartbeat,
    handle: Handle,
}

impl EventStream {
    pub(super) fn new(
        id: Arc<str>,
        events: Receiver<Box<Event>>,
        media: Media,
        heartbeat: Duration,
        handle: Handle,
    ) -> Self {
        Self { id, events, media, heartbeat: Heartbeat::new(heartbeat), handle }
    }

    /// The next record.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.heartbeat.poll(cx) {
            let beat = Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() };
            return Poll::Ready(Some(self.record(&beat)));
        }
        match self.events.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(event)) => {
                if event.r#type() == event::Type::Subscribed {
                    self.heartbeat.start(cx);
                }
                Poll::Ready(Some(self.record(&event)))
            }
        }
    }

    fn record(&self, event: &Event) -> Bytes {
        recordio::encode(&self.media.write(event))
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

    /// The next record.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            self.heartbeat.start(cx);
            return Poll::Ready(Some(recordio::encode(&first)));
        }
        if self.heartbeat.poll(cx) {
            let kind = master::event::Type::Heartbeat;
            let beat = master::Event { r#type: Some(kind.into()), ..master::Event::default() };
            return Poll::Ready(Some(recordio::encode(&self.media.write(&beat))));
        }
        self.changes
            .poll_recv(cx)
            .map(|event| event.map(|event| recordio::encode(&self.media.write(&*event))))
    }
}

/// Due at once when started, and then after each interval.
#[derive(Debug)]
struct Heartbeat {
    every: Duration,
    due: bool,
    clock: Option<Interval>,
}

impl Heartbeat {
    fn new(every: Duration) -> Self {
        Self { every, due: false, clock: None }
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        let mut clock = interval_at(tokio::time::Instant::now() + self.every, self.every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.clock = Some(clock);
        self.due = true;
        cx.waker().wake_by_ref();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let beat = self.clock.as_mut().is_some_and(|clock| clock.poll_tick(cx).is_ready());
        std::mem::take(&mut self.due) || beat
    }
}

#[cfg(test)]
mod tests;
