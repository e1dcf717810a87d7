//! Connections to other processes, over which messages leave. One task per connection.
//!
//! A link is a connection whose breaking is reported; other connections are made when there is
//! something to send and are dropped when there was nothing for a while. A peer answers every
//! message on the same connection: the answers are read and thrown away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::master::{Input, Scheduler};
use cluster::wire::ToAgent;
use mesos_api::libprocess::{self, Upid};
use mesos_api::v1::scheduler::Event;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::handle::Handle;

/// How long a peer may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is no link is dropped after so long without a message.
const IDLE: Duration = Duration::from_secs(30);

/// A peer for which so many messages wait does not read them, and is as good as gone.
const WAITING_MAX: usize = 100_000;

/// The messages that are put into one write.
const BURST: usize = 1024;

/// A message on its way out.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Agent(Box<ToAgent>),
    Scheduler(Box<Event>),
}

/// All connections. Owned by the driver.
#[derive(Debug)]
pub(crate) struct Links {
    from: Upid,
    handle: Handle,
    /// Where the tasks run.
    runtime: tokio::runtime::Handle,
    open: HashMap<Arc<str>, Arc<Link>>,
}

#[derive(Debug)]
struct Link {
    pid: Arc<str>,
    /// Held to push or to take everything, never longer.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Outgoing>,
    report: Report,
    /// Nothing more will be sent.
    closed: bool,
}

/// Who is told when the connection breaks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Report {
    #[default]
    Nobody,
    AgentGone,
    SchedulerGone,
}

impl Links {
    pub(crate) fn new(from: Upid, handle: Handle, runtime: tokio::runtime::Handle) -> Self {
        Self { from, handle, runtime, open: HashMap::new() }
    }

    /// Connects to an agent and reports when the connection breaks.
    pub(crate) fn link(&mut self, pid: &Arc<str>) {
        self.with(pid, |state| state.report = Report::AgentGone);
    }

    /// Drops the connection to a process once everything was sent; nothing is reported.
    pub(crate) fn unlink(&mut self, pid: &Arc<str>) {
        if let Some(link) = self.open.remove(pid) {
            let mut state = link.lock();
            state.report = Report::Nobody;
            state.closed = true;
            link.changed.notify_one();
        }
    }

    /// Sends to an agent.
    pub(crate) fn send(&mut self, pid: &Arc<str>, message: Box<ToAgent>) {
        self.with(pid, |state| state.waiting.push(Outgoing::Agent(message)));
    }

    /// Sends to a scheduler, whose going is reported.
    pub(crate) fn event(&mut self, pid: &Arc<str>, event: Box<Event>) {
        self.with(pid, |state| {
            state.report = Report::SchedulerGone;
            state.waiting.push(Outgoing::Scheduler(event));
        });
    }

    fn with(&mut self, pid: &Arc<str>, change: impl FnOnce(&mut State)) {
        if let Some(link) = self.open.get(pid) {
            let mut state = link.lock();
            if !state.closed {
                change(&mut state);
                if state.waiting.len() > WAITING_MAX {
                    tracing::warn!(pid = &**pid, "peer does not read, its connection is dropped");
                    state.waiting.clear();
                    state.closed = true;
                }
                link.changed.notify_one();
                return;
            }
        }
        self.open(pid, change);
    }

    fn open(&mut self, pid: &Arc<str>, change: impl FnOnce(&mut State)) {
        let to: Upid = match pid.parse() {
            Ok(to) => to,
            Err(error) => {
                tracing::warn!(%error, "cannot send");
                return;
            }
        };
        let mut state = State::default();
        change(&mut state);
        let link = Arc::new(Link {
            pid: Arc::clone(pid),
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        self.open.insert(Arc::clone(pid), Arc::clone(&link));
        let task = Task { link, from: self.from.clone(), to, handle: self.handle.clone() };
        self.runtime.spawn(task.run());
        self.forget_closed();
    }

    /// Lets go of connections that ended by themselves, now and then.
    fn forget_closed(&mut self) {
        if self.open.len().is_power_of_two() {
            self.open.retain(|_, link| !link.lock().closed);
        }
    }
}

impl Link {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    link: Arc<Link>,
    from: Upid,
    to: Upid,
    handle: Handle,
}

impl Task {
    async fn run(self) {
        let ended = self.work().await;
        let report = {
            let mut state = self.link.lock();
            state.closed = true;
            state.waiting = Vec::new();
            state.report
        };
        let pid = Arc::clone(&self.link.pid);
        if let Err(error) = ended {
            tracing::debug!(pid = &*pid, %error, "connection broke");
        }
        let input = match report {
            Report::Nobody => return,
            Report::AgentGone => Input::AgentGone { pid },
            Report::SchedulerGone => Input::SchedulerGone(Scheduler::Pid(pid)),
        };
        // The master is ending if there is nobody to tell.
        let _ = self.handle.tell(input).await;
    }

    async fn work(&self) -> std::io::Result<()> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.to.address)).await;
        let mut stream = connected.map_err(|_| std::io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let (mut answers, mut out) = stream.split();
        let mut scratch = [0; 512];
        loop {
            if !self.write_waiting(&mut out).await? {
                return Ok(());
            }
            let linked = self.link.lock().report != Report::Nobody;
            tokio::select! {
                read = answers.read(&mut scratch) => {
                    if read? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
                () = self.link.changed.notified() => {}
                () = tokio::time::sleep(IDLE), if !linked => return Ok(()),
            }
        }
    }

    /// Writes what waits; false if nothing more is to come.
    async fn write_waiting(&self, out: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<bool> {
        loop {
            let (waiting, closed) = {
                let mut state = self.link.lock();
                (std::mem::take(&mut state.waiting), state.closed)
            };
            if waiting.is_empty() {
                return Ok(!closed);
            }
            for burst in waiting.chunks(BURST) {
                let mut bytes = Vec::new();
                for message in burst {
                    self.encode(&mut bytes, message);
                }
                out.write_all(&bytes).await?;
            }
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>, message: &Outgoing) {
        let (name, body) = match message {
            Outgoing::Agent(message) => (message.name(), message.encode()),
            Outgoing::Scheduler(event) => ("mesos.scheduler.Event", event.encode_to_vec()),
        };
        libprocess::encode(bytes, &self.from, &self.to, name, &body);
    }
}

#[cfg(test)]
mod tests;
