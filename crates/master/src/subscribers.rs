//! Operators that listen to changes. Owned by the driver, which publishes in order.

use std::collections::VecDeque;
use std::sync::Arc;

use cluster::id::FrameworkId;
use cluster::master::{Change, Snapshot};
use mesos_api::v1::master::response::get_frameworks;
use mesos_api::v1::master::{Event, event};
use tokio::sync::mpsc;

use crate::handle::Changes;
use crate::view;

/// How many changes may wait for an operator to read them before it is let go.
const WAITING_MAX: usize = 32 * 1024;

/// Those who listen, the longest first.
#[derive(Debug)]
pub(crate) struct Subscribers {
    listening: VecDeque<mpsc::Sender<Arc<Event>>>,
    max: usize,
}

impl Subscribers {
    /// Lets `max` listen. One more ends the one that listened longest, as with Mesos.
    pub(crate) fn new(max: usize) -> Self {
        Self { listening: VecDeque::new(), max: max.max(1) }
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
        changes
    }

    /// Tells everybody of changes that led to what the snapshot shows.
    pub(crate) fn publish(&mut self, changes: Vec<Change>, snapshot: &Snapshot) {
        for event in changes.into_iter().filter_map(|change| event_of(change, snapshot)) {
            let event = Arc::new(event);
            // Who does not read is let go; it can subscribe again and gets the whole state.
            self.listening.retain(|listener| listener.try_send(Arc::clone(&event)).is_ok());
        }
    }
}

/// A change as operators read it; none if what was added is gone again.
fn event_of(change: Change, snapshot: &Snapshot) -> Option<Event> {
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
            let agent = view::agent(snapshot.agent(&id)?);
            event.agent_added = Some(event::AgentAdded { agent });
            Type::AgentAdded
        }
        Change::AgentRemoved(id) => {
            event.agent_removed = Some(event::AgentRemoved { agent_id: (&id).into() });
            Type::AgentRemoved
        }
        Change::FrameworkAdded(id) => {
            let framework = framework(snapshot, &id)?;
            event.framework_added = Some(event::FrameworkAdded { framework });
            Type::FrameworkAdded
        }
        Change::FrameworkUpdated(id) => {
            let framework = framework(snapshot, &id)?;
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
