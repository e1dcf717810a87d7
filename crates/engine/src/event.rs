//! What happened: the events of containers, images, volumes, networks, nodes and the daemon.
//!
//! The bus keeps the newest [`KEPT_EVENTS`] in memory and, when opened on a file, a journal that
//! is read back at start, so `--since` reaches across a restart of the daemon. A subscriber has a
//! bounded queue; one that falls [`QUEUED_EVENTS`] behind is cut off and never delays the
//! publisher or the others.

mod filter;
mod journal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use filter::EventFilter;
use journal::Journal;

use crate::filter::Filters;
use crate::{Engine, Result};

/// How many events a late subscriber can ask back.
pub const KEPT_EVENTS: usize = 4096;
/// How many events a subscriber may leave unread before it is cut off.
pub const QUEUED_EVENTS: usize = 4096;

/// The noun an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// Image builds.
    Builder,
    /// Containers and their execs.
    Container,
    /// The daemon itself.
    Daemon,
    /// Images and their tags.
    Image,
    /// Networks and their endpoints.
    Network,
    /// Nodes of a swarm.
    Node,
    /// Volumes and their mounts.
    Volume,
}

impl EventType {
    /// The word of the Engine API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Container => "container",
            Self::Daemon => "daemon",
            Self::Image => "image",
            Self::Network => "network",
            Self::Node => "node",
            Self::Volume => "volume",
        }
    }

    /// How far such an event reaches: `local` for this host, `swarm` for all of a swarm.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Node => "swarm",
            _ => "local",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The noun.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The verb: `create`, `start`, `die`, `exec_create: sh`, `health_status: healthy`, …
    pub action: String,
    /// Id of the noun: container id, image id or name, volume name, network id.
    pub actor_id: String,
    /// Details: name, image, labels, exitCode, signal, …
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since the epoch.
    pub time_nanos: i64,
}

impl Event {
    /// Makes an event of this moment without attributes.
    pub fn new(kind: EventType, action: impl Into<String>, actor_id: impl Into<String>) -> Self {
        Self {
            kind,
            action: action.into(),
            actor_id: actor_id.into(),
            attributes: BTreeMap::new(),
            time_nanos: now_nanos(),
        }
    }

    /// Adds one attribute.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(key.into(), value.into());
        self
    }

    /// Adds many attributes, labels for example; what is already there wins.
    #[must_use]
    pub fn with_all<'a>(
        mut self,
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        for (key, value) in pairs {
            self.attributes.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

/// Nanoseconds since the epoch, now.
fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// The meeting point of publishers and subscribers. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    /// Held for one publication or one subscription, never across a wait.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Oldest first, at most [`KEPT_EVENTS`].
    kept: VecDeque<Arc<Event>>,
    /// Bound [`QUEUED_EVENTS`] each.
    subscribers: Vec<Subscriber>,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Subscriber {
    filter: EventFilter,
    queue: mpsc::Sender<Arc<Event>>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self::with_state(VecDeque::new(), None)
    }
}

impl EventBus {
    /// Makes a bus that remembers in memory only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a bus whose memory survives in the journal at `path` (and `path` + `.1`). A journal
    /// that cannot be read or written costs the memory of past events, never the engine.
    pub fn open(path: &Path) -> Self {
        let (kept, journal) = Journal::open(path, KEPT_EVENTS);
        Self::with_state(kept.into_iter().map(Arc::new).collect(), journal)
    }

    fn with_state(kept: VecDeque<Arc<Event>>, journal: Option<Journal>) -> Self {
        Self { state: Arc::new(Mutex::new(State { kept, subscribers: Vec::new(), journal })) }
    }

    /// Tells everyone. Never waits for a reader. Times are made strictly increasing, so that
    /// the order of events is the order of their times.
    pub fn publish(&self, mut event: Event) {
        let mut state = self.lock();
        if let Some(last) = state.kept.back() {
            event.time_nanos = event.time_nanos.max(last.time_nanos.saturating_add(1));
        }
        let event = Arc::new(event);
        if let Some(journal) = &mut state.journal {
            journal.append(&event);
        }
        if state.kept.len() == KEPT_EVENTS {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(&event));
        state.subscribers.retain(|subscriber| {
            if !subscriber.filter.accepts(&event) {
                return !subscriber.queue.is_closed();
            }
            // Full: the reader is too slow and is cut off. Closed: it has left.
            subscriber.queue.try_send(Arc::clone(&event)).is_ok()
        });
    }

    /// Follows the events that `filter` accepts, with no gap between remembered and new ones.
    pub fn subscribe(&self, filter: EventFilter, range: EventRange) -> EventStream {
        let mut state = self.lock();
        let replay = if range == EventRange::default() {
            VecDeque::new()
        } else {
            let wanted = |e: &&Arc<Event>| range.covers(e.time_nanos) && filter.accepts(e);
            state.kept.iter().filter(wanted).cloned().collect()
        };
        let now = now_nanos();
        let over = range.until_nanos.is_some_and(|until| until <= now);
        let (queue, live) = mpsc::channel(QUEUED_EVENTS);
        if !over {
            // Subscribers that left without another event are dropped here, so that many short
            // subscriptions on an idle daemon do not pile up.
            state.subscribers.retain(|subscriber| !subscriber.queue.is_closed());
            state.subscribers.push(Subscriber { filter, queue });
        }
        drop(state);
        let deadline = range.until_nanos.filter(|_| !over).map(|until| {
            let left = u64::try_from(until.saturating_sub(now)).unwrap_or(0);
            Box::pin(tokio::time::sleep(std::time::Duration::from_nanos(left)))
        });
        EventStream { replay, live, until_nanos: range.until_nanos, deadline }
    }

    /// How many subscribers there are.
    pub fn listeners(&self) -> u64 {
        self.lock().subscribers.iter().filter(|subscriber| !subscriber.queue.is_closed()).count()
            as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Tells everyone who follows of something that happened outside of the engine.
    pub fn publish(&self, event: Event) {
        self.inner.events.publish(event);
    }

    /// Follows what happens. "Engine API SystemEvents".
    ///
    /// # Errors
    /// InvalidParameter for filters that do not exist.
    pub fn events(&self, filters: Filters, range: EventRange) -> Result<EventStream> {
        Ok(self.inner.events.subscribe(EventFilter::new(filters)?, range))
    }
}

/// The time window of a subscription. The default is: only new events, without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRange {
    /// Replay remembered events from this time on.
    pub since_nanos: Option<i64>,
    /// End at this time; in the past: replay only.
    pub until_nanos: Option<i64>,
}

impl EventRange {
    fn covers(self, time_nanos: i64) -> bool {
        self.since_nanos.is_none_or(|since| time_nanos >= since)
            && self.until_nanos.is_none_or(|until| time_nanos <= until)
    }
}

/// Events as they come; ends at `until`, or when the reader fell too far behind.
#[derive(Debug)]
pub struct EventStream {
    replay: VecDeque<Arc<Event>>,
    live: mpsc::Receiver<Arc<Event>>,
    until_nanos: Option<i64>,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for EventStream {
    type Item = Arc<Event>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.replay.pop_front() {
            return Poll::Ready(Some(event));
        }
        match self.live.poll_recv(ctx) {
            Poll::Ready(Some(event))
                if self.until_nanos.is_some_and(|until| event.time_nanos > until) =>
            {
                return Poll::Ready(None);
            }
            Poll::Ready(item) => return Poll::Ready(item),
            Poll::Pending => {}
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(ctx).map(|()| None),
            None => Poll::Pending,
        }
    }
}
