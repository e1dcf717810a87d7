//! One container, of the operator API or a task, from its launch to what is told of its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::agent::{ContainerEvent, Exit};
use cluster::id::ContainerId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::plan::Plan;
use super::{Nested, Place};
use crate::containers::{Command, Reporter, SIGKILL, SIGTERM};
use crate::docker::{How, Job};
use crate::sandbox;

/// How many commands, and events, may wait; a further command repeats an earlier.
const WAITING: usize = 16;
/// Engines tell an end by a signal as the exit code of a shell.
const OF_SHELL: i32 = 128;

/// A container that was launched.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) place: Place,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    signalled: Signalled,
}

/// The signals that were sent to a container, one bit each.
#[derive(Debug, Clone, Default)]
struct Signalled(Arc<AtomicU64>);

/// Where it is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Starting,
    /// Its process, where that is known.
    Running(Option<u32>),
    /// It never ran; nothing is left of it.
    Refused(String),
    Ended(Termination),
}

/// How one ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Termination {
    /// As wait(2) tells it; `None` if nobody knows.
    pub(crate) status: Option<i32>,
    pub(crate) out_of_memory: bool,
    /// In words, if there is more to say than the status does.
    pub(crate) message: Option<String>,
}

/// Tells what becomes of a container to those who ask for it.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    state: watch::Sender<State>,
    signalled: Signalled,
}

/// What looks after a container of the operator API.
#[derive(Debug)]
pub(super) struct Owner {
    job: Job,
    to_self: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    teller: Teller,
}

impl Signalled {
    fn add(&self, command: Command) {
        let signals: &[i32] = match command {
            Command::Stop(_) => &[SIGTERM, SIGKILL],
            Command::Destroy => &[SIGKILL],
            Command::Signal(signal) => &[signal],
            Command::Remove => &[],
        };
        for signal in signals.iter().filter_map(|signal| u32::try_from(*signal).ok()) {
            self.0.fetch_or(1_u64.checked_shl(signal).unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn has(&self, signal: i32) -> bool {
        let bit = u32::try_from(signal).ok().and_then(|signal| 1_u64.checked_shl(signal));
        bit.is_some_and(|bit| self.0.load(Ordering::Relaxed) & bit != 0)
    }
}

impl Termination {
    pub(super) fn of_session(status: i32) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// `status` is what the containerizer knows itself, `signalled` what was sent to an engine's.
    fn of(exit: Exit, status: Option<i32>, signalled: &Signalled) -> Self {
        // The kernel's kill is the only one that nobody here has sent.
        let sent = |signal| signalled.has(signal) || (exit.out_of_memory && signal == SIGKILL);
        let told = |code: i32| match code - OF_SHELL {
            signal if sent(signal) => signal,
            _ => (code & 0xff) << 8,
        };
        let status = status.or(exit.code.map(told));
        let says_more = status.is_none() || exit.out_of_memory;
        let message = says_more.then_some(exit.message);
        Self { status, out_of_memory: exit.out_of_memory, message }
    }
}

impl Container {
    pub(crate) fn new(place: Place) -> (Self, mpsc::Receiver<Command>, Teller) {
        let (commands, receiver) = mpsc::channel(WAITING);
        let teller =
            Teller { state: watch::Sender::new(State::Starting), signalled: Signalled::default() };
        let (state, signalled) = (teller.state.subscribe(), teller.signalled.clone());
        (Self { place, commands, state, signalled }, receiver, teller)
    }

    /// One of the operator API, and what looks after it.
    pub(super) fn owned(place: Place) -> (Self, Owner) {
        let job = place.job.clone();
        let (container, commands, teller) = Self::new(place);
        let to_self = container.commands.clone();
        (container, Owner { job, to_self, commands, teller })
    }

    /// One of which an earlier agent has seen the end.
    pub(super) fn ended(place: Place, how: Termination) -> Self {
        let (container, _, teller) = Self::new(place);
        teller.end(how);
        container
    }

    /// Waits until it runs, or has; says why it does not.
    pub(super) async fn begun(&self) -> Result<(), String> {
        let mut state = self.state.clone();
        match state.wait_for(|state| *state != State::Starting).await.as_deref() {
            Ok(State::Refused(why)) => Err(why.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err("the agent is ending".to_owned()),
        }
    }

    /// How it ended, if it has; `None` also if it never ran.
    pub(crate) fn termination(&self) -> Option<Termination> {
        match &*self.state.borrow() {
            State::Ended(how) => Some(how.clone()),
            _ => None,
        }
    }

    /// Waits for its end; `None` if it never ran. It is not held meanwhile: an agent that leaves lets go of
    /// its containers, whoever waits for them.
    pub(super) fn wait(&self) -> impl Future<Output = Option<Termination>> + Send + use<> {
        let over = |state: &State| matches!(state, State::Refused(_) | State::Ended(_));
        let mut state = self.state.clone();
        async move {
            match state.wait_for(over).await.as_deref() {
                Ok(State::Ended(how)) => Some(how.clone()),
                _ => None,
            }
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Refused(_) | State::Ended(_))
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            State::Running(pid) => pid,
            _ => None,
        }
    }

    /// Tells it something; false if it has ended.
    pub(super) fn tell(&self, command: Command) -> bool {
        !self.has_ended() && self.tell_anyway(command)
    }

    /// Tells whoever looks after it something, also when it has ended; false if that cannot be.
    pub(crate) fn tell_anyway(&self, command: Command) -> bool {
        self.signalled.add(command);
        self.commands.try_send(command).is_ok()
    }

    /// Removes the sandbox of one that has ended.
    pub(super) fn remove_sandbox(&self) {
        remove_sandbox(&self.place.job);
    }
}

impl Teller {
    /// Tells that it runs.
    pub(crate) fn run(&self, pid: Option<u32>) {
        self.state.send_replace(State::Running(pid));
    }

    /// Tells that it never ran, and why.
    pub(crate) fn refuse(&self, why: String) {
        self.state.send_replace(State::Refused(why));
    }

    pub(crate) fn end(&self, how: Termination) {
        self.state.send_replace(State::Ended(how));
    }

    /// What its exit means. `status` is what the containerizer knows itself.
    pub(crate) fn termination(&self, exit: Exit, status: Option<i32>) -> Termination {
        Termination::of(exit, status, &self.signalled)
    }
}

fn remove_sandbox(job: &Job) {
    if let Err(error) = sandbox::remove(&job.sandbox, job.outer.as_deref()) {
        tracing::warn!(container_id = %job.launch.container_id, %error, "cannot remove a sandbox");
    }
}

impl Owner {
    /// Looks after the container until its end has been told.
    pub(super) async fn own(self, nested: Arc<Nested>, plan: Plan, how: How) {
        let Self { job, to_self, commands, teller } = self;
        let id = job.launch.container_id.clone();
        let prepared = match how {
            How::Start => prepare(&nested, &job, plan).await,
            How::Reattach => Ok(()),
        };
        let (events, mut seen) = mpsc::channel(WAITING);
        let watching = async {
            let end = watch(&id, &mut seen, &teller, how).await?;
            nested.end_below(&id).await;
            let end = end.map(|exit| {
                let how = teller.termination(exit, nested.status(&id));
                // Before anything of it is removed: an agent that is killed now tells the same.
                nested.records.end(&id, &how);
                how
            });
            let _ = to_self.send(Command::Remove).await; // else it has gone by itself
            Some(end)
        };
        let end = match prepared {
            Ok(()) => {
                let containerizers = Arc::clone(&nested.containerizers);
                let reporter = Reporter::Nested(events);
                let managing = containerizers.manage(job.clone(), how, commands, reporter);
                tokio::join!(watching, managing).0
            }
            Err(why) => Some(Err(why)),
        };
        // Its name is free from here on.
        nested.live.remove(&id);
        match end {
            Some(Ok(how)) => {
                tracing::info!(container_id = %id, status = how.status, "container has ended");
                teller.end(how);
            }
            Some(Err(why)) => {
                tracing::info!(container_id = %id, why, "container does not run");
                nested.records.remove(&id);
                remove_sandbox(&job);
                teller.refuse(why);
                nested.remove(&id);
            }
            None => {} // the agent ends
        }
    }
}

/// Makes a record of what is to run, and the sandbox of the container. In this order: of an agent that
/// is killed between the two, the next one finds what it has to remove.
async fn prepare(nested: &Arc<Nested>, job: &Job, plan: Plan) -> Result<(), String> {
    let (nested, job) = (Arc::clone(nested), job.clone());
    let work = move || {
        let id = &job.launch.container_id;
        nested
            .records
            .write(id, &plan)
            .map_err(|e| format!("cannot write down what to run: {e}"))?;
        sandbox::create_beside(&job.sandbox, job.outer.as_deref(), job.user)
            .map_err(|e| format!("cannot create the sandbox {}: {e}", job.sandbox.display()))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
}

/// Sees it start and end, or why it does not start; `None` when nobody looks after it any more.
async fn watch(
    id: &ContainerId,
    events: &mut mpsc::Receiver<ContainerEvent>,
    teller: &Teller,
    how: How,
) -> Option<Result<Exit, String>> {
    loop {
        match events.recv().await? {
            ContainerEvent::Launched { pid, .. } => {
                tracing::info!(container_id = %id, pid, "container runs");
                teller.run(pid);
            }
            ContainerEvent::Ended(exit) => return Some(Ok(exit)),
            ContainerEvent::Refused { message, .. } => {
                return Some(match how {
                    How::Start => Err(message),
                    // It ran once.
                    How::Reattach => Ok(Exit { message, ..Exit::default() }),
                });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>) -> Exit {
        Exit { code, out_of_memory: false, message: "why".to_owned() }
    }

    #[test]
    fn an_end_is_told_as_wait_tells_it() {
        let nothing = Signalled::default();
        let status = |exit, known| Termination::of(exit, known, &nothing).status;
        assert_eq!(status(exit(Some(3)), None), Some(3 << 8));
        assert_eq!(status(exit(None), Some(15)), Some(15), "a process' own");
        assert_eq!(status(exit(Some(137)), None), Some(137 << 8), "it says so itself");
        assert_eq!(status(exit(Some(128)), None), Some(128 << 8));
        let hungry = Exit { out_of_memory: true, ..exit(Some(137)) };
        assert_eq!(status(hungry.clone(), None), Some(9), "the kernel killed it");
        assert_eq!(Termination::of(hungry, None, &nothing).message.as_deref(), Some("why"));
        let stopped = Signalled::default();
        stopped.add(Command::Stop(std::time::Duration::ZERO));
        for (code, status) in [(143, 15), (137, 9), (130, 130 << 8), (3, 3 << 8)] {
            let how = Termination::of(exit(Some(code)), None, &stopped);
            assert_eq!(how.status, Some(status), "{code} after it was told to stop");
        }
        let unknown = Termination::of(exit(None), None, &nothing);
        assert_eq!((unknown.status, unknown.message.as_deref()), (None, Some("why")));
    }
}
