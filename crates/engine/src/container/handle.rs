//! The handle on one container's owner task, and the index of all handles.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::links;
use super::record::{ContainerId, ContainerRecord, EndpointSettings};
use super::request::{ContainerPaths, RemoveOptions, UpdateRequest};
use super::state::Health;
use crate::shim::Shim;
use crate::{Error, Result};

/// How many requests may wait for an owner task before callers wait.
pub(crate) const QUEUED_REQUESTS: usize = 64;

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T>>;

/// All that can be asked of an owner task.
#[derive(Debug)]
pub(crate) enum Request {
    /// Start it.
    Start(Answer<()>),
    /// Send a signal. `stop`: the restart policy must not undo its effect.
    Signal { signal: i32, cause: SignalCause, answer: Answer<()> },
    /// A restart begins: survives the daemon until the start.
    BeginRestart(Answer<()>),
    /// Freeze it.
    Pause(Answer<()>),
    /// Thaw it.
    Unpause(Answer<()>),
    /// Rename it; the new name is reserved.
    Rename { name: String, answer: Answer<()> },
    /// Remove one of its links.
    Unlink { alias: String, answer: Answer<()> },
    /// Change limits.
    Update { request: Box<UpdateRequest>, answer: Answer<()> },
    /// Remove it.
    Remove { options: RemoveOptions, answer: Answer<()> },
    /// Connect to its streams: now, or in the backlog of the shim to come.
    Attach { request: runtime::shim::protocol::Request, answer: Answer<tokio::net::UnixStream> },
    /// Give it an endpoint in a network.
    Connect { network: String, settings: Box<EndpointSettings>, answer: Answer<()> },
    /// Take its endpoint in a network away.
    Disconnect { network: String, force: bool, answer: Answer<()> },
    /// A probe's verdict.
    #[allow(dead_code, reason = "probes come next")]
    Health { health: Option<Health>, answer: Answer<()> },
}

/// Why a signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalCause {
    /// `kill`.
    Kill,
    /// `stop`.
    Stop,
    /// The stopping half of `restart`.
    Restart,
}

/// What an owner task publishes.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// As persisted.
    pub(crate) record: Arc<ContainerRecord>,
    /// How many runs have ended while this daemon lives, failed starts included.
    pub(crate) ended_runs: u64,
    /// Exit code of the last of them.
    pub(crate) last_exit_code: i32,
    /// Set with the removal.
    pub(crate) removed: bool,
}

/// A handle on one container.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) paths: Arc<ContainerPaths>,
    requests: mpsc::Sender<Request>,
    published: watch::Receiver<Published>,
}

impl Container {
    pub(crate) fn new(
        id: ContainerId,
        paths: Arc<ContainerPaths>,
        requests: mpsc::Sender<Request>,
        published: watch::Receiver<Published>,
    ) -> Self {
        Self { id, paths, requests, published }
    }

    /// The record as last persisted.
    pub(crate) fn record(&self) -> Arc<ContainerRecord> {
        Arc::clone(&self.published.borrow().record)
    }

    /// What the owner publishes, now and from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The shim of its present run.
    pub(crate) fn shim(&self) -> Shim {
        Shim::new(&self.paths.bundle)
    }

    /// Asks the owner and waits for its answer.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::no_such_container(self.id.as_str());
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// All containers, by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Held for a lookup or a change, never across a wait.
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<ContainerId, Container>,
    /// Also names of containers that are being made.
    names: HashMap<String, ContainerId>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for a container.
    ///
    /// # Errors
    /// Conflict naming the container that has it.
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId) -> Result<()> {
        match self.lock().names.entry(name.to_owned()) {
            std::collections::hash_map::Entry::Occupied(taken) => Err(Error::Conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{}\". \
                 You have to remove (or rename) that container to be able to reuse that name.",
                taken.get()
            ))),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(id.clone());
                Ok(())
            }
        }
    }

    /// Gives a name back, if it is this container's.
    pub(crate) fn release(&self, name: &str, id: &ContainerId) {
        let mut index = self.lock();
        if index.names.get(name) == Some(id) {
            index.names.remove(name);
        }
    }

    /// Makes a container known; its name is reserved already.
    pub(crate) fn insert(&self, container: Container) {
        self.lock().by_id.insert(container.id.clone(), container);
    }

    /// Forgets a container and its name.
    pub(crate) fn remove(&self, id: &ContainerId, name: &str) {
        self.release(name, id);
        self.lock().by_id.remove(id);
    }

    /// All containers, in no particular order.
    pub(crate) fn all(&self) -> Vec<Container> {
        self.lock().by_id.values().cloned().collect()
    }

    /// Finds a container by id, by name, or by the beginning of an id, in this order.
    ///
    /// # Errors
    /// NotFound; InvalidParameter when several ids begin so.
    pub(crate) fn find(&self, text: &str) -> Result<Container> {
        let index = self.lock();
        if let Some(container) = index.by_id.get(text) {
            return Ok(container.clone());
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        let named = |name: &str| index.names.get(name).and_then(|id| index.by_id.get(id));
        if let Some(container) = named(name) {
            return Ok(container.clone());
        }
        // The name that a link gives.
        if let Some((parent, alias)) = links::split(name) {
            let parent = named(parent).map(Container::record);
            let links = parent.as_ref().map(|parent| &parent.links).into_iter().flatten();
            let mut linked = links.filter(|link| link.alias == alias);
            if let Some(container) = linked.find_map(|link| index.by_id.get(&link.container)) {
                return Ok(container.clone());
            }
        }
        let none = || Error::no_such_container(text.escape_default().to_string());
        if text.is_empty() || text.len() > 64 {
            return Err(none());
        }
        let mut matching = index
            .by_id
            .range::<str, _>((std::ops::Bound::Included(text), std::ops::Bound::Unbounded))
            .map(|(_, container)| container)
            .take_while(|container| container.id.as_str().starts_with(text));
        let container = matching.next().ok_or_else(none)?;
        if matching.next().is_some() {
            return Err(Error::InvalidParameter(format!(
                "Multiple IDs found with provided prefix: {text}"
            )));
        }
        Ok(container.clone())
    }
}
