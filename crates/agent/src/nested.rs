//! Sessions: commands that operators run inside of tasks (`mesos task exec`).
//!
//! ```text
//! LAUNCH_NESTED_CONTAINER_SESSION -> Session: runs -> ended (its status stays for WAIT_CONTAINER)
//!                                      |  ^ input, window sizes: ATTACH_CONTAINER_INPUT
//!                                      v output, to who launched it and who attached later
//! ```
//!
//! A session lives as long as the connection that launched it, so that it needs no record: an agent
//! that ends takes its connections, and with them the sessions' input and output, along. What is left
//! of one is forgotten with its task's container.

mod exec;
mod process;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cluster::id::ContainerId;
use mesos_api::v1::CommandInfo;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(crate) use exec::InContainer;
pub(crate) use process::InProcess;

/// How many pieces of input, and of output for each who is attached, may wait.
const WAITING: usize = 64;
/// How long output may still come once the command has ended: somebody it started may hold it open.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// Where a session's command runs.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    Process(InProcess),
    Container(InContainer),
}

/// What a session runs.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) command: CommandInfo,
    /// With a terminal, of this size.
    pub(crate) terminal: Option<WindowSize>,
}

/// Of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowSize {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// Which of its outputs a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

pub(crate) type Piece = (Stream, Bytes);

/// What goes to a command.
#[derive(Debug)]
pub(crate) enum Input {
    Data(Bytes),
    /// No more will come.
    End,
    Resize(WindowSize),
}

/// All sessions, also those that ended while their tasks run.
#[derive(Debug, Default)]
pub(crate) struct Nested {
    /// Held for a look or a change of the table, never across an await.
    sessions: Mutex<BTreeMap<ContainerId, Arc<Session>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// A command inside of a task.
#[derive(Debug)]
pub(crate) struct Session {
    input: mpsc::Sender<Input>,
    signals: mpsc::Sender<i32>,
    /// Who launched it, then who attached. Held for a change of the list only.
    listeners: Mutex<Vec<mpsc::Sender<Piece>>>,
    /// Its status as wait(2) tells it, once it has ended.
    ended: watch::Receiver<Option<i32>>,
    has_input: AtomicBool,
}

/// The right to write to a session, which one connection has at a time.
#[derive(Debug)]
pub(crate) struct InputRight(Arc<Session>);

/// Ends a session when the connection that it belongs to ends.
#[derive(Debug)]
pub(crate) struct Lifeline(Arc<Session>);

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// There is one of that id.
    Exists,
    Failed(String),
}

/// A command that has been started.
struct Running {
    input: Box<dyn AsyncWrite + Unpin + Send>,
    output: mpsc::Receiver<Piece>,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Process(Box<process::Child>),
    Exec(exec::Exec),
}

impl Handle {
    async fn signal(&self, signal: i32) {
        match self {
            Self::Process(child) => child.signal(signal),
            Self::Exec(exec) => exec.signal(signal).await,
        }
    }

    async fn resize(&self, size: WindowSize) {
        match self {
            Self::Process(child) => child.resize(size),
            Self::Exec(exec) => exec.resize(size).await,
        }
    }

    async fn wait(&self) -> i32 {
        match self {
            Self::Process(child) => child.wait().await,
            Self::Exec(exec) => exec.wait().await,
        }
    }
}

impl Nested {
    /// Runs a command. What it writes comes to the receiver, after whose end it has ended.
    pub(crate) async fn launch(
        &self,
        id: &ContainerId,
        inside: Inside,
        launch: Launch,
    ) -> Result<(Lifeline, mpsc::Receiver<Piece>), NoSession> {
        if self.find(id).is_some() {
            return Err(NoSession::Exists);
        }
        let running = match inside {
            Inside::Process(place) => process::start(&place, &launch),
            Inside::Container(place) => exec::start(&place, &launch).await,
        };
        let running = running.map_err(NoSession::Failed)?;
        let (input, inputs) = mpsc::channel(WAITING);
        let (signals, to_signal) = mpsc::channel(WAITING);
        let (first, output) = mpsc::channel(WAITING);
        let (tell_end, ended) = watch::channel(None);
        let session = Arc::new(Session {
            input,
            signals,
            listeners: Mutex::new(vec![first]),
            ended,
            has_input: AtomicBool::new(false),
        });
        let lifeline = Lifeline(Arc::clone(&session));
        if !self.add(id, &session) {
            running.handle.signal(SIGKILL).await;
            return Err(NoSession::Exists);
        }
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let status = drive(&session, running, inputs, to_signal).await;
            tell_end.send_replace(Some(status));
            lock(&session.listeners).clear();
        });
        Ok((lifeline, output))
    }

    /// False if there is another one of that id.
    fn add(&self, id: &ContainerId, session: &Arc<Session>) -> bool {
        let mut sessions = lock(&self.sessions);
        let new = !sessions.contains_key(id);
        if new {
            sessions.insert(id.clone(), Arc::clone(session));
        }
        new
    }

    pub(crate) fn find(&self, id: &ContainerId) -> Option<Arc<Session>> {
        lock(&self.sessions).get(id).cloned()
    }

    /// Forgets a session that has ended; false while it runs.
    pub(crate) fn remove(&self, id: &ContainerId) -> bool {
        let mut sessions = lock(&self.sessions);
        if sessions.get(id).is_some_and(|session| session.status().is_none()) {
            return false;
        }
        sessions.remove(id);
        true
    }

    /// Ends and forgets the sessions of a container that is gone.
    pub(crate) fn forget(&self, container: &ContainerId) {
        lock(&self.sessions).retain(|id, session| {
            let of_it = id.split().is_some_and(|(parent, _)| parent == *container);
            if of_it {
                session.signal(SIGKILL);
            }
            !of_it
        });
    }

    /// The sessions that run.
    pub(crate) fn running(&self) -> Vec<ContainerId> {
        let sessions = lock(&self.sessions);
        let running = sessions.iter().filter(|(_, session)| session.status().is_none());
        running.map(|(id, _)| id.clone()).collect()
    }
}

impl Session {
    /// How it ended, if it has.
    pub(crate) fn status(&self) -> Option<i32> {
        *self.ended.borrow()
    }

    /// Waits for the end.
    pub(crate) async fn wait(&self) -> Option<i32> {
        let mut ended = self.ended.clone();
        ended.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// Sends it a signal; false if it has ended.
    pub(crate) fn signal(&self, signal: i32) -> bool {
        // A full queue has signals in it that nobody was there to receive yet.
        self.status().is_none() && self.signals.try_send(signal).is_ok()
    }

    /// What it writes from now on.
    pub(crate) fn listen(&self) -> Option<mpsc::Receiver<Piece>> {
        let mut listeners = lock(&self.listeners);
        // The end is told before the list is emptied, so nobody waits in it for nothing.
        self.status().is_none().then(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            listeners.push(sender);
            receiver
        })
    }

    /// The right to write to it, if nobody has it.
    pub(crate) fn claim_input(self: Arc<Self>) -> Option<InputRight> {
        let free = !self.has_input.swap(true, Ordering::AcqRel);
        free.then(|| InputRight(self))
    }
}

impl InputRight {
    /// Hands something over; false if the command has ended.
    pub(crate) async fn send(&self, input: Input) -> bool {
        self.0.input.send(input).await.is_ok()
    }

    /// Waits for the session's end.
    pub(crate) async fn ended(&self) {
        self.0.wait().await;
    }
}

impl Drop for InputRight {
    fn drop(&mut self) {
        self.0.has_input.store(false, Ordering::Release);
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.signal(SIGKILL);
    }
}

/// Passes input, output and signals on until the command has ended; tells its status.
async fn drive(
    session: &Session,
    running: Running,
    mut inputs: mpsc::Receiver<Input>,
    mut signals: mpsc::Receiver<i32>,
) -> i32 {
    let Running { input, output, handle } = running;
    let feeding = feed(&handle, input, &mut inputs);
    let obeying = async {
        while let Some(signal) = signals.recv().await {
            handle.signal(signal).await;
        }
    };
    let pumping = pump(session, output);
    tokio::pin!(feeding, obeying, pumping);
    let mut pumped = false;
    let status = loop {
        tokio::select! {
            () = &mut pumping, if !pumped => pumped = true,
            status = handle.wait() => break status,
            () = &mut feeding => {}
            () = &mut obeying => {}
        }
    };
    // What it has started does not outlive it.
    handle.signal(SIGKILL).await;
    if !pumped {
        let _ = tokio::time::timeout(LAST_OUTPUT, pumping).await; // the rest is somebody else's
    }
    status
}

/// Writes what comes until there is no one to write to, and then lets it go.
async fn feed(
    handle: &Handle,
    input: Box<dyn AsyncWrite + Unpin + Send>,
    inputs: &mut mpsc::Receiver<Input>,
) {
    let mut open = Some(input);
    while let Some(what) = inputs.recv().await {
        match (what, &mut open) {
            (Input::Resize(size), _) => handle.resize(size).await,
            (Input::Data(bytes), Some(to)) => {
                let written = async {
                    to.write_all(&bytes).await?;
                    to.flush().await
                };
                if written.await.is_err() {
                    open = None; // it reads no more
                }
            }
            (Input::End, Some(to)) => {
                let _ = to.shutdown().await; // as good as shut
                open = None;
            }
            (Input::Data(_) | Input::End, None) => {}
        }
    }
    std::future::pending().await
}

/// Tells everybody what comes. Who launched it is waited for; who attached and does not read is let
/// go, lest it holds up the command.
async fn pump(session: &Session, mut output: mpsc::Receiver<Piece>) {
    while let Some(piece) = output.recv().await {
        let listeners = lock(&session.listeners).clone();
        for (index, listener) in listeners.iter().enumerate() {
            let told = match index {
                0 => listener.send(piece.clone()).await.is_ok(),
                _ => listener.try_send(piece.clone()).is_ok(),
            };
            // The first keeps its place: whoever comes later is not waited for.
            if !told && index > 0 {
                lock(&session.listeners).retain(|other| !other.same_channel(listener));
            }
        }
    }
}

/// Nothing panics while one is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
