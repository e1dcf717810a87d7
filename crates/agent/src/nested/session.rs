//! One session: a command inside of a container, its input and its output.
//!
//! It lives as long as the connection that launched it, so that it needs no record: an agent that ends
//! takes its connections, and with them the sessions' input and output, along.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mesos_api::v1::CommandInfo;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::{Inside, exec, lock, process};
use crate::containers::SIGKILL;

/// How many pieces of input, and of output for each who is attached, may wait.
pub(super) const WAITING: usize = 64;
/// How long output may still come once the command has ended: somebody it started may hold it open.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

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

/// A command that has been started.
pub(super) struct Running {
    pub(super) input: Box<dyn AsyncWrite + Unpin + Send>,
    pub(super) output: mpsc::Receiver<Piece>,
    pub(super) handle: Handle,
}

#[derive(Debug)]
pub(super) enum Handle {
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

/// A session that has begun, and has to be driven.
pub(super) struct Begun {
    pub(super) session: Arc<Session>,
    pub(super) lifeline: Lifeline,
    /// What it writes, after whose end it has ended.
    pub(super) output: mpsc::Receiver<Piece>,
    /// Drives it; dropped, nothing has been started for long.
    pub(super) driven: Driven,
}

/// What drives a session.
pub(super) struct Driven {
    session: Arc<Session>,
    running: Running,
    inputs: mpsc::Receiver<Input>,
    signals: mpsc::Receiver<i32>,
    tell_end: watch::Sender<Option<i32>>,
}

/// Starts a command.
pub(super) async fn begin(inside: Inside, launch: Launch) -> Result<Begun, String> {
    let running = match inside {
        Inside::Process(place) => process::start(&place, &launch)?,
        Inside::Container(place) => exec::start(&place, &launch).await?,
    };
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
    let driven =
        Driven { session: Arc::clone(&session), running, inputs, signals: to_signal, tell_end };
    Ok(Begun { session, lifeline, output, driven })
}

impl Driven {
    /// Passes input, output and signals on until the command has ended.
    pub(super) async fn drive(self) {
        let status = drive(&self.session, self.running, self.inputs, self.signals).await;
        self.tell_end.send_replace(Some(status));
        lock(&self.session.listeners).clear();
    }

    /// Ends what has been started.
    pub(super) async fn kill(self) {
        self.running.handle.signal(SIGKILL).await;
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

    /// One that runs nothing, and ends when that is told.
    #[cfg(test)]
    pub(super) fn unconnected() -> (Arc<Self>, watch::Sender<Option<i32>>) {
        let (tell_end, ended) = watch::channel(None);
        let session = Self {
            input: mpsc::channel(1).0,
            signals: mpsc::channel(1).0,
            listeners: Mutex::default(),
            ended,
            has_input: AtomicBool::new(false),
        };
        (Arc::new(session), tell_end)
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
