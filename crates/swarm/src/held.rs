//! What this host has asked for and given back in this life of its daemon. Together with what the host
//! itself knows to have, it is what the node announces: nothing that is under way is missing, nothing
//! that was given back is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::books;
use crate::model::AttachRequest;

/// Network and container.
pub(crate) type Key = (String, String);

/// The host's own account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Held for one look.
    entries: Mutex<Entries>,
    /// Told whenever the manager has heard of something.
    heard: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    asked: BTreeMap<Key, books::Held>,
    /// Not heard of by the manager yet.
    released: BTreeSet<Key>,
}

impl Account {
    /// Enters what is being asked for; what was there before, to be put back if that fails.
    pub(crate) fn ask(&self, request: &AttachRequest) -> Option<books::Held> {
        let mut entries = self.lock();
        let key = key(request);
        entries.released.remove(&key);
        let before = entries.asked.get(&key).cloned();
        let ipv4 = before.as_ref().and_then(|before| before.ipv4);
        entries.asked.insert(key, books::Held { request: request.clone(), ipv4 });
        before
    }

    /// Whether it was asked for and not given back.
    pub(crate) fn is_asked(&self, request: &AttachRequest) -> bool {
        self.lock().asked.contains_key(&key(request))
    }

    /// Enters an answer.
    pub(crate) fn answered(&self, request: &AttachRequest, ipv4: Ipv4Addr) {
        let held = books::Held { request: request.clone(), ipv4: Some(ipv4) };
        // One that was given back meanwhile stays given back.
        if let Some(entry) = self.lock().asked.get_mut(&key(request)) {
            *entry = held;
        }
    }

    /// Takes back what was refused.
    pub(crate) fn refused(&self, request: &AttachRequest, before: Option<books::Held>) {
        let mut entries = self.lock();
        match before {
            Some(before) => drop(entries.asked.insert(key(request), before)),
            None => drop(entries.asked.remove(&key(request))),
        }
    }

    /// Enters what a container is called now that has an address, unless that was given back.
    pub(crate) fn rename(&self, request: &AttachRequest) {
        let mut entries = self.lock();
        if !entries.released.contains(&key(request)) {
            let held = books::Held { request: request.clone(), ipv4: request.ipv4 };
            entries.asked.insert(key(request), held);
        }
    }

    /// Enters that something is given back, of which the manager has to hear.
    pub(crate) fn release(&self, network_id: &str, container_id: &str) {
        let key = (network_id.to_owned(), container_id.to_owned());
        let mut entries = self.lock();
        entries.asked.remove(&key);
        entries.released.insert(key);
    }

    /// What the manager has not heard of.
    pub(crate) fn released(&self) -> Vec<Key> {
        self.lock().released.iter().cloned().collect()
    }

    /// The manager has heard of it.
    pub(crate) fn heard(&self, key: &Key) {
        self.lock().released.remove(key);
        self.heard.notify_all();
    }

    /// Waits until the manager has heard that something was given back, but not longer than `limit`.
    pub(crate) fn wait_until_heard(&self, network_id: &str, container_id: &str, limit: Duration) {
        let key = (network_id.to_owned(), container_id.to_owned());
        let waited = self
            .heard
            .wait_timeout_while(self.lock(), limit, |entries| entries.released.contains(&key));
        drop(waited);
    }

    /// Forgets all, as the host leaves its swarm.
    pub(crate) fn clear(&self) {
        *self.lock() = Entries::default();
        self.heard.notify_all();
    }

    /// All that the node has, given what the host knows.
    pub(crate) fn all(&self, of_host: Vec<(AttachRequest, Ipv4Addr)>) -> Vec<books::Held> {
        let entries = self.lock();
        let mut all: BTreeMap<Key, books::Held> = of_host
            .into_iter()
            .map(|(request, ipv4)| (key(&request), books::Held { request, ipv4: Some(ipv4) }))
            .collect();
        for (key, held) in &entries.asked {
            all.insert(key.clone(), held.clone());
        }
        all.retain(|key, _| !entries.released.contains(key));
        all.into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(request: &AttachRequest) -> Key {
    (request.network_id.clone(), request.container_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(container: &str) -> AttachRequest {
        AttachRequest {
            network_id: "n".to_owned(),
            container_id: container.to_owned(),
            ..AttachRequest::default()
        }
    }

    fn names(held: &[books::Held]) -> Vec<(&str, Option<u8>)> {
        let last = |held: &books::Held| held.ipv4.map(|ipv4| ipv4.octets()[3]);
        held.iter().map(|held| (held.request.container_id.as_str(), last(held))).collect()
    }

    #[test]
    fn the_last_name_is_told_of_what_is_still_there() {
        let account = Account::default();
        let address = Ipv4Addr::new(10, 0, 1, 2);
        let named = |container: &str, name: &str| AttachRequest {
            container_name: name.to_owned(),
            ipv4: Some(address),
            ..request(container)
        };
        account.ask(&request("a"));
        account.answered(&request("a"), address);
        account.rename(&named("a", "new"));
        account.release("n", "b");
        account.rename(&named("b", "late"));
        assert!(account.is_asked(&request("a")) && !account.is_asked(&request("b")));
        // One of an earlier life of the daemon, which the host alone knows.
        account.rename(&named("c", "old"));
        let all = account.all(vec![(request("b"), address), (request("c"), address)]);
        let names: Vec<_> = all.iter().map(|it| it.request.container_name.as_str()).collect();
        assert_eq!(names, ["new", "old"]);
    }

    #[test]
    fn nothing_under_way_is_missing_and_nothing_given_back_is_there() {
        let account = Account::default();
        let address = |last| Ipv4Addr::new(10, 0, 1, last);
        let of_host = || vec![(request("old"), address(2)), (request("gone"), address(3))];
        assert_eq!(account.ask(&request("new")), None);
        assert_eq!(account.ask(&request("late")), None);
        account.answered(&request("late"), address(9));
        account.release("n", "gone");
        let all = account.all(of_host());
        assert_eq!(names(&all), [("late", Some(9)), ("new", None), ("old", Some(2))]);
        assert_eq!(account.released(), [("n".to_owned(), "gone".to_owned())]);
        account.refused(&request("new"), None);
        let before = account.ask(&request("late"));
        account.refused(&request("late"), before);
        assert_eq!(names(&account.all(Vec::new())), [("late", Some(9))]);
        account.release("n", "late");
        account.answered(&request("late"), address(9));
        assert!(account.all(Vec::new()).is_empty());
        account.heard(&("n".to_owned(), "gone".to_owned()));
        assert_eq!(account.released().len(), 1);
        // Who asks again has not given it back.
        account.ask(&request("late"));
        assert!(account.released().is_empty());
    }
}
