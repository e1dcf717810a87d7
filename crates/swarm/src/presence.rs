//! Which nodes are heard of. A node is ready from the beginning of its session until three
//! heartbeats have not come; nothing of this is kept on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::NodeState;

/// Heartbeats that may be missed.
pub(crate) const GRACE: u32 = 3;

/// What is known of one node's life.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    pub(crate) state: NodeState,
    /// Counts the node's sessions; an older one has nothing to say any more.
    session: u64,
    /// When it counts as down unless it is heard of; `None` for those that are down already.
    deadline: Option<Instant>,
    pub(crate) address: String,
    pub(crate) message: String,
}

/// All nodes but the manager's own.
#[derive(Debug, Default)]
pub(crate) struct Presences(BTreeMap<String, Presence>);

impl Presences {
    /// Waits for a node that is a member and has no session yet; `message` says why it is not ready.
    pub(crate) fn expect(&mut self, id: &str, now: Instant, period: Duration, message: &str) {
        let presence = Presence {
            state: NodeState::Unknown,
            session: 0,
            deadline: Some(now + period * GRACE),
            address: String::new(),
            message: message.to_owned(),
        };
        self.0.insert(id.to_owned(), presence);
    }

    /// A node begins a session: its number, and the state before.
    pub(crate) fn begin(
        &mut self,
        id: &str,
        address: String,
        now: Instant,
        period: Duration,
    ) -> (u64, NodeState) {
        let known = self.0.get(id);
        let before = known.map_or(NodeState::Unknown, |known| known.state);
        let session = known.map_or(0, |known| known.session) + 1;
        let presence = Presence {
            state: NodeState::Ready,
            session,
            deadline: Some(now + period * GRACE),
            address,
            message: String::new(),
        };
        self.0.insert(id.to_owned(), presence);
        (session, before)
    }

    /// A node was heard of; `false` when its session counts no more.
    pub(crate) fn beat(&mut self, id: &str, session: u64, now: Instant, period: Duration) -> bool {
        match self.0.get_mut(id) {
            Some(presence) if presence.session == session && presence.state == NodeState::Ready => {
                presence.deadline = Some(now + period * GRACE);
                true
            }
            _ => false,
        }
    }

    /// Whether a session is a node's newest: what an older one still says does not count.
    pub(crate) fn is_current(&self, id: &str, session: u64) -> bool {
        self.0.get(id).is_some_and(|presence| presence.session == session)
    }

    /// A node said that it goes.
    pub(crate) fn end(&mut self, id: &str, message: &str) -> Option<NodeState> {
        let presence = self.0.get_mut(id)?;
        let before = presence.state;
        presence.state = NodeState::Down;
        presence.deadline = None;
        message.clone_into(&mut presence.message);
        Some(before)
    }

    /// Forgets a node.
    pub(crate) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Finds who has not been heard of for too long: those, with their states before.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(String, NodeState)> {
        let mut expired = Vec::new();
        for (id, presence) in &mut self.0 {
            if presence.deadline.is_some_and(|deadline| deadline <= now) {
                expired.push((id.clone(), presence.state));
                presence.state = NodeState::Down;
                presence.deadline = None;
                "heartbeat failure".clone_into(&mut presence.message);
            }
        }
        expired
    }

    /// When to look for silent nodes next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|presence| presence.deadline).min()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Presence> {
        self.0.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    #[test]
    fn three_missed_heartbeats_are_the_end_until_the_next_session() {
        let (mut presences, start) = (Presences::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        presences.expect("a", start, PERIOD, "");
        let (session, before) = presences.begin("a", "192.0.2.1".to_owned(), start, PERIOD);
        assert_eq!(before, NodeState::Unknown);
        assert!(presences.beat("a", session, at(10), PERIOD));
        assert!(presences.expire(at(24)).is_empty());
        assert_eq!(presences.next_deadline(), Some(at(25)));
        assert_eq!(presences.expire(at(25)), [("a".to_owned(), NodeState::Ready)]);
        assert_eq!(presences.next_deadline(), None);
        assert!(!presences.beat("a", session, at(26), PERIOD));
        let (next, before) = presences.begin("a", "192.0.2.1".to_owned(), at(30), PERIOD);
        assert_eq!(before, NodeState::Down);
        assert!(!presences.beat("a", session, at(31), PERIOD));
        assert!(presences.is_current("a", next) && !presences.is_current("a", session));
        assert!(presences.beat("a", next, at(31), PERIOD));
        assert_eq!(presences.end("a", "left"), Some(NodeState::Ready));
        assert!(presences.expire(at(100)).is_empty());
        presences.remove("a");
        assert!(presences.get("a").is_none());
    }
}
