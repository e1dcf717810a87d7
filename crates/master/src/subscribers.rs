//! Operators that listen to changes. Owned by the driver, which publishes in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cluster::id::FrameworkId;
use cluster::master::{Change, Master, Snapshot};
use mesos_api::v1::master::response::get_frameworks;
use mesos_api::v1::master::{Event, event};
use tokio::sync::mpsc;

use crate::handle::Changes;
use crate::timings::Timings;
use crate::view;

/// How many changes may wait for an operator to read them before it is let go.
const WAITING_MAX: usize = 32 * 1024;

/// Those who listen, the longest first.
#[derive(Debug)]
pub(crate) struct Subscribers {
    listening: VecDeque<mpsc::Sender<Arc<Event>>>,
    max: usize,
    /// Where it is told how many there are.
    timings: Arc<Timings>,
}

impl Subscribers {
    /// Lets `max` listen. One more ends the one that listened longest, as with Mesos.
    pub(crate) fn new(max: usize, timings: Arc<Timings>) -> Self {
        Self { listening: VecDeque::new(), max: max.max(1), timings }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listening.is_empty()
    }

    pub(crate) fn add(&mut self) -> Changes {
        self.listening.retain(|listener| !listener.is_closed());
        if self.listening.len() >= self.max {
            self.listening.pop_front();
        }
        let (sender, changes) = mpsc::channel(WAITING_MAX);
        self.listening.push_back(sender);
        self.tell_count();
        changes
    }

    /// Tells everybody of changes that led to what the master knows now.
    pub(crate) fn publish(&mut self, changes: Vec<Change>, core: &Master) {
        if self.is_empty() {
            return;
        }
        // A picture of everything is for frameworks only, which seldom change.
        let mut whole = None;
        for change in changes {
            let Some(event) = event_of(change, core, &mut whole) else { continue };
            let event = Arc::new(event);
            // Who does not read is let go; it can subscribe again and gets the whole state.
            self.listening.retain(|listener| listener.try_send(Arc::clone(&event)).is_ok());
        }
        self.tell_count();
    }

    fn tell_count(&self) {
        self.timings.listening.store(self.listening.len(), Ordering::Relaxed);
    }
}

/// A change as operators read it; none if what was added is gone again.
fn event_of(change: Change, core: &Master, whole: &mut Option<Snapshot>) -> Option<Event> {
    use event::Type;

    let mut event = Event::default();
    let kind = match change {
        Change::TaskAdded(task) => {
            event.task_added = Some(event::TaskAdded { task: (*task).clone() });
            Type::TaskAdded
        }
        Change::TaskUpdated { framework_id, status, state } => {
            event.task_updated = Some(event::TaskUpdated {
                framework_id: (&framework_id).into(),
                status: *status,
                state: state.into(),
            });
            Type::TaskUpdated
        }
        Change::AgentAdded(id) => {
            let agent = view::agent(&core.agent_snapshot(&id)?);
            event.agent_added = Some(event::AgentAdded { agent });
            Type::AgentAdded
        }
        Change::AgentRemoved(id) => {
            event.agent_removed = Some(event::AgentRemoved { agent_id: (&id).into() });
            Type::AgentRemoved
        }
        Change::AgentRefused { .. } => return None,
        Change::FrameworkAdded(id) => {
            let framework = framework(whole.get_or_insert_with(|| core.snapshot()), &id)?;
            event.framework_added = Some(event::FrameworkAdded { framework });
            Type::FrameworkAdded
        }
        Change::FrameworkUpdated(id) => {
            let framework = framework(whole.get_or_insert_with(|| core.snapshot()), &id)?;
            event.framework_updated = Some(event::FrameworkUpdated { framework });
            Type::FrameworkUpdated
        }
        Change::FrameworkRemoved(info) => {
            let framework_info = (*info).clone();
            event.framework_removed = Some(event::FrameworkRemoved { framework_info });
            Type::FrameworkRemoved
        }
    };
    event.set_type(kind);
    Some(event)
}

fn framework(snapshot: &Snapshot, id: &FrameworkId) -> Option<get_frameworks::Framework> {
    let framework = snapshot.frameworks.iter().find(|framework| framework.id == *id)?;
    Some(view::framework(snapshot, &snapshot.used_by(id), framework))
}
