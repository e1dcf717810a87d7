//! What operators and executors run through the operator API beside what tasks run: sessions
//! (`mesos task exec`), and containers, inside of others or by themselves.
//!
//! ```text
//! LAUNCH_NESTED_CONTAINER_SESSION -> Session   runs -> ended
//! LAUNCH_[NESTED_]CONTAINER       -> Container starts -> runs -> ended
//!                                     |            `-> refused, and forgotten
//!                                     `- its parent's end kills it
//! ```
//!
//! What has ended stays for WAIT_CONTAINER until it is removed, or the task around it is. Sessions end
//! with their connections; containers have records, and an agent that is started again finds them.

mod container;
mod exec;
mod plan;
mod process;
mod record;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::id::ContainerId;
use mesos_api::v1::agent::call::LaunchContainer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::containers::{Command, Containerizers, Live, SIGKILL};
use crate::docker::{How, Job};
use crate::layout::Layout;
use plan::Plan;
use record::Records;

pub(crate) use container::{Container, Teller, Termination};
pub(crate) use exec::InContainer;
pub(crate) use process::InProcess;
pub(crate) use session::{Input, InputRight, Launch, Lifeline, Piece, Session, Stream, WindowSize};

/// How long the end of a container waits for those inside of it.
const ENDING: Duration = Duration::from_secs(10);

/// Where a session's command runs.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    Process(InProcess),
    Container(InContainer),
}

/// What surrounds those inside of a container.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// None where no command can run.
    pub(crate) inside: Option<Inside>,
    pub(crate) job: Job,
}

/// All that was launched.
#[derive(Debug)]
pub(crate) struct Nested {
    containerizers: Arc<Containerizers>,
    live: Live,
    layout: Layout,
    records: Records,
    /// Whether commands may have users of their own.
    switch_user: bool,
    /// Held for a look or a change of the table, never across an await.
    table: Mutex<Table>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<ContainerId, Entry>,
    /// Containers that have ended and may still be looked up: nothing starts inside of them.
    over: BTreeSet<ContainerId>,
}

impl Table {
    /// Keeps of a session that has ended no more than how.
    fn settle(&mut self, id: &ContainerId, session: &Arc<Session>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let (Entry::Session(known), Some(status)) = (&*entry, session.status())
            && Arc::ptr_eq(known, session)
        {
            *entry = Entry::Ended(Termination::of_session(status));
        }
    }
}

/// One that was launched, and may have ended.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Session(Arc<Session>),
    Container(Arc<Container>),
    /// A session or a task of a group, of which no more is left.
    Ended(Termination),
}

/// Why nothing was launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotLaunched {
    /// There is one of that id that has not ended.
    Exists,
    Refused(String),
}

impl Entry {
    /// How it ended, once it has; `None` when it was never there, or the agent ends.
    pub(crate) async fn wait(self) -> Option<Termination> {
        match self {
            Self::Session(session) => session.wait().await.map(Termination::of_session),
            Self::Container(container) => {
                let end = container.wait();
                drop(container);
                end.await
            }
            Self::Ended(how) => Some(how),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Session(session) => session.status().is_some(),
            Self::Container(container) => container.has_ended(),
            Self::Ended(_) => true,
        }
    }

    /// Sends it a signal; false if it has ended.
    pub(crate) fn signal(&self, signal: i32) -> bool {
        match self {
            Self::Session(session) => session.signal(signal),
            Self::Container(container) => container.tell(Command::Signal(signal)),
            Self::Ended(_) => false,
        }
    }

    /// Ends it, if it has not ended.
    fn destroy(&self) {
        match self {
            Self::Container(container) => drop(container.tell(Command::Destroy)),
            other => drop(other.signal(SIGKILL)),
        }
    }
}

impl Nested {
    pub(crate) fn new(
        containerizers: Arc<Containerizers>,
        live: Live,
        layout: &Layout,
        switch_user: bool,
    ) -> Self {
        let records = Records::new(layout.nested());
        let layout = layout.clone();
        let (table, tasks) = (Mutex::default(), Mutex::default());
        Self { containerizers, live, layout, records, switch_user, table, tasks }
    }

    /// Runs a command for as long as the lifeline is held. What it writes comes to the receiver,
    /// after whose end it has ended.
    pub(crate) async fn begin_session(
        self: &Arc<Self>,
        id: &ContainerId,
        inside: Inside,
        launch: Launch,
    ) -> Result<(Lifeline, mpsc::Receiver<Piece>), NotLaunched> {
        if self.find(id).is_some_and(|entry| !entry.has_ended()) {
            return Err(NotLaunched::Exists);
        }
        let begun = session::begin(inside, launch).await.map_err(NotLaunched::Refused)?;
        let session::Begun { session, lifeline, output, driven } = begun;
        if let Err(why) = self.add(id, Entry::Session(Arc::clone(&session))) {
            driven.kill().await;
            return Err(why);
        }
        let (nested, id) = (Arc::clone(self), id.clone());
        self.spawn(async move {
            driven.drive().await;
            lock(&nested.table).settle(&id, &session);
        });
        Ok((lifeline, output))
    }

    /// Runs a container, inside of `outer` or by itself; returns once it runs.
    pub(crate) async fn begin_container(
        self: &Arc<Self>,
        id: &ContainerId,
        call: LaunchContainer,
        outer: Option<&Place>,
    ) -> Result<(), NotLaunched> {
        let refused = NotLaunched::Refused;
        let plan = plan::plan(id, call, outer, &self.layout).map_err(refused)?;
        let plan = plan.with_user(self.switch_user).map_err(refused)?;
        let container = self.look_after(id, plan, How::Start)?;
        container.begun().await.map_err(refused)
    }

    /// Carries on with what an earlier agent has launched, unless what was around it is gone.
    pub(crate) fn recover(self: &Arc<Self>) {
        for (id, plan, termination) in self.records.read() {
            let known = |id: &ContainerId| self.live.has(id.as_str()) || self.find(id).is_some();
            let mut outer = std::iter::successors(id.split().map(|(outer, _)| outer), |inner| {
                inner.split().map(|(outer, _)| outer)
            });
            let around = match (id.split(), &termination) {
                (None, _) => true,
                (Some((outer, _)), None) => known(&outer),
                (Some(_), Some(_)) => outer.any(|outer| known(&outer)),
            };
            if !around {
                self.records.remove(&id);
                continue;
            }
            let taken = match termination {
                None => self.look_after(&id, plan, How::Reattach).map(drop),
                Some(how) => {
                    let job = plan.job(&id, &self.layout);
                    let place = Place { inside: None, job };
                    self.add(&id, Entry::Container(Arc::new(Container::ended(place, how))))
                }
            };
            if let Err(why) = taken {
                // What is around it has ended just now; what is left of it is an orphan.
                tracing::info!(container_id = %id, ?why, "not carried on with");
                self.records.remove(&id);
            }
        }
    }

    /// Forgets all records: of what they are about nothing is left.
    pub(crate) fn forget_all(&self) {
        self.records.clear();
    }

    fn look_after(
        self: &Arc<Self>,
        id: &ContainerId,
        plan: Plan,
        how: How,
    ) -> Result<Arc<Container>, NotLaunched> {
        let job = plan.job(id, &self.layout);
        let place = Place { inside: self.containerizers.inside(&job), job };
        let (container, owner) = Container::owned(place);
        let container = Arc::new(container);
        self.add(id, Entry::Container(Arc::clone(&container)))?;
        self.live.add(id);
        self.spawn(owner.own(Arc::clone(self), plan, how));
        Ok(container)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Adds one, in the place of another that has ended.
    fn add(&self, id: &ContainerId, entry: Entry) -> Result<(), NotLaunched> {
        let mut table = lock(&self.table);
        match table.entries.get(id) {
            Some(earlier) if earlier.has_ended() => {}
            None if !self.live.has(id.as_str()) => {}
            _ => return Err(NotLaunched::Exists), // perhaps as a task's
        }
        if let Some((outer, _)) = id.split() {
            let there = self.live.has(outer.as_str()) || table.entries.contains_key(&outer);
            if (!there || table.over.contains(&outer)) && !entry.has_ended() {
                return Err(NotLaunched::Refused(format!("Parent container {outer} has ended")));
            }
        }
        table.over.remove(id);
        table.entries.insert(id.clone(), entry);
        Ok(())
    }

    pub(crate) fn find(&self, id: &ContainerId) -> Option<Entry> {
        lock(&self.table).entries.get(id).cloned()
    }

    /// What surrounds those inside of one that runs.
    pub(crate) fn place(&self, id: &ContainerId) -> Option<Place> {
        match self.find(id)? {
            Entry::Container(container) if !container.has_ended() => Some(container.place.clone()),
            _ => None,
        }
    }

    /// Removes what is left of one that has ended, and of those inside of it; false while it runs.
    pub(crate) fn remove(&self, id: &ContainerId) -> bool {
        let removed: BTreeMap<ContainerId, Entry> = {
            let mut table = lock(&self.table);
            if table.entries.get(id).is_some_and(|entry| !entry.has_ended()) {
                return false;
            }
            table.over.remove(id);
            table.entries.extract_if(.., |one, _| one == id || is_below(one, id)).collect()
        };
        for (id, entry) in removed {
            if let Entry::Container(container) = entry {
                self.records.remove(&id);
                container.remove_sandbox();
            }
        }
        true
    }

    /// Ends those inside of a container that ends.
    pub(crate) async fn end_below(&self, outer: &ContainerId) {
        let inside: Vec<Entry> = {
            let mut table = lock(&self.table);
            table.over.insert(outer.clone());
            let inside = table.entries.iter().filter(|(id, entry)| {
                !entry.has_ended() && id.split().is_some_and(|(parent, _)| parent == *outer)
            });
            inside.map(|(_, entry)| entry.clone()).collect()
        };
        for entry in &inside {
            entry.destroy();
        }
        let ends = futures_util::future::join_all(inside.into_iter().map(Entry::wait));
        if tokio::time::timeout(ENDING, ends).await.is_err() {
            tracing::warn!(container_id = %outer, "what is inside of it takes too long to end");
        }
    }

    /// Forgets those inside of a container that is gone.
    pub(crate) fn forget(&self, outer: &ContainerId) {
        let mut table = lock(&self.table);
        table.over.remove(outer);
        table.over.retain(|id| !is_below(id, outer));
        table.entries.retain(|id, entry| {
            if !is_below(id, outer) {
                return true;
            }
            entry.destroy();
            if matches!(entry, Entry::Container(_)) {
                self.records.remove(id);
            }
            false
        });
    }

    /// Keeps how a task of a group has ended for as long as there is its group.
    pub(crate) fn keep(&self, id: &ContainerId, how: Termination) {
        if id.split().is_some() {
            lock(&self.table).entries.insert(id.clone(), Entry::Ended(how));
        }
    }

    /// How the process of a container has ended; `None` of those of engines.
    pub(crate) fn status(&self, id: &ContainerId) -> Option<i32> {
        self.containerizers.processes.status(id.as_str())
    }

    /// Those that run, and of containers more.
    pub(crate) fn running(&self) -> Vec<(ContainerId, Option<Arc<Container>>)> {
        let table = lock(&self.table);
        let running = table.entries.iter().filter(|(_, entry)| !entry.has_ended());
        let listed = running.map(|(id, entry)| match entry {
            Entry::Session(_) | Entry::Ended(_) => (id.clone(), None),
            Entry::Container(container) => (id.clone(), Some(Arc::clone(container))),
        });
        listed.collect()
    }
}

/// Whether a container is inside of another, however deep.
fn is_below(id: &ContainerId, outer: &ContainerId) -> bool {
    id.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('.'))
}

/// Nothing panics while one is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_session_that_has_ended_only_how_is_kept() {
        let mut table = Table::default();
        let id = ContainerId::from("task.session");
        let (session, tell_end) = Session::unconnected();
        table.entries.insert(id.clone(), Entry::Session(Arc::clone(&session)));
        table.settle(&id, &session);
        assert!(!table.entries[&id].has_ended(), "it runs");
        tell_end.send_replace(Some(9));
        // Another took its name meanwhile.
        table.settle(&id, &Session::unconnected().0);
        assert!(matches!(table.entries[&id], Entry::Session(_)));
        table.settle(&id, &session);
        let Entry::Ended(how) = &table.entries[&id] else { panic!("the session is kept") };
        assert_eq!(how.status, Some(9));
        assert_eq!(Arc::strong_count(&session), 1);
    }
}
