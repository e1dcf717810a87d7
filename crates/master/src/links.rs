//! Connections to other processes, over which messages leave. One per address, as libprocess has
//! it: all processes there share it, and one task serves it.
//!
//! A link to a process has the connection's breaking reported; connections without links are made
//! when there is something to send and are dropped when there was nothing for a while. A peer
//! answers every message on the same connection: the answers are read and thrown away.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::master::{Input, Scheduler};
use cluster::wire::{FromAuthenticator, ToAgent};
use mesos_api::internal::FrameworkErrorMessage;
use mesos_api::libprocess::{Route, Upid};
use mesos_api::v1::scheduler::Event;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::handle::Handle;
use crate::socket;

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
enum Outgoing {
    Agent(Box<ToAgent>),
    Scheduler(Box<Event>),
    Refusal(FrameworkErrorMessage),
    Authenticator(FromAuthenticator),
}

/// All connections. Owned by the driver.
#[derive(Debug)]
pub(crate) struct Links {
    from: Upid,
    handle: Handle,
    /// Where the tasks run.
    runtime: tokio::runtime::Handle,
    peers: HashMap<Arc<str>, Peer>,
    open: HashMap<SocketAddrV4, Arc<Link>>,
    /// Connections with something to do that were not told so yet.
    touched: Vec<Arc<Link>>,
}

/// A process, and the connection to where it is.
#[derive(Debug)]
struct Peer {
    to: Arc<Upid>,
    link: Arc<Link>,
}

#[derive(Debug)]
struct Link {
    /// Held to push or to take everything, never longer.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(Arc<Upid>, Outgoing)>,
    /// The processes whose going is reported when the connection breaks.
    linked: HashMap<Arc<str>, Role>,
    /// Nothing more will be sent.
    closed: bool,
}

/// What a process is to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Agent,
    Scheduler,
}

impl Role {
    fn gone(self, pid: Arc<str>) -> Input {
        match self {
            Self::Agent => Input::AgentGone { pid },
            Self::Scheduler => Input::SchedulerGone(Scheduler::Pid(pid)),
        }
    }
}

impl Links {
    pub(crate) fn new(from: Upid, handle: Handle, runtime: tokio::runtime::Handle) -> Self {
        Self {
            from,
            handle,
            runtime,
            peers: HashMap::new(),
            open: HashMap::new(),
            touched: Vec::new(),
        }
    }

    /// Connects to an agent and reports when the connection breaks.
    pub(crate) fn link(&mut self, pid: &Arc<str>) {
        self.with(pid, |state, _| {
            state.linked.insert(Arc::clone(pid), Role::Agent);
        });
    }

    /// Forgets the link to a process: nothing is reported. The connection is dropped once everything
    /// was sent, unless others are linked over it.
    pub(crate) fn unlink(&mut self, pid: &Arc<str>) {
        if let Some(peer) = self.peers.remove(pid) {
            let mut state = peer.link.lock();
            state.linked.remove(pid);
            state.closed |= state.linked.is_empty();
            peer.link.changed.notify_one();
        }
    }

    /// Sends to an agent.
    pub(crate) fn send(&mut self, pid: &Arc<str>, message: Box<ToAgent>) {
        self.with(pid, |state, to| state.waiting.push((to, Outgoing::Agent(message))));
    }

    /// Sends to a scheduler, whose going is reported.
    pub(crate) fn event(&mut self, pid: &Arc<str>, event: Box<Event>) {
        self.with(pid, |state, to| {
            if !state.linked.contains_key(pid) {
                state.linked.insert(Arc::clone(pid), Role::Scheduler);
            }
            state.waiting.push((to, Outgoing::Scheduler(event)));
        });
    }

    /// Tells a framework's driver, in the words that all drivers know, why it is not served.
    pub(crate) fn refuse(&mut self, pid: &Arc<str>, why: &str) {
        let message = FrameworkErrorMessage { message: why.to_owned() };
        self.with(pid, |state, to| state.waiting.push((to, Outgoing::Refusal(message))));
    }

    /// Answers an authenticatee. It has a name of its own each time, so none is remembered.
    pub(crate) fn authenticate(&mut self, pid: &Arc<str>, message: FromAuthenticator) {
        self.with(pid, |state, to| state.waiting.push((to, Outgoing::Authenticator(message))));
        self.peers.remove(pid);
    }

    /// Lets everything leave that was sent since the last time: what goes to one peer goes together.
    pub(crate) fn flush(&mut self) {
        for link in self.touched.drain(..) {
            link.changed.notify_one();
        }
    }

    fn with(&mut self, pid: &Arc<str>, change: impl FnOnce(&mut State, Arc<Upid>)) {
        if self.peers.get(pid).is_none_or(|peer| peer.link.lock().closed) && !self.meet(pid) {
            return;
        }
        let Some(peer) = self.peers.get(pid) else { return };
        let mut state = peer.link.lock();
        if state.waiting.is_empty() {
            self.touched.push(Arc::clone(&peer.link));
        }
        change(&mut state, Arc::clone(&peer.to));
        if state.waiting.len() > WAITING_MAX {
            tracing::warn!(pid = &**pid, "peer does not read, its connection is dropped");
            state.waiting.clear();
            state.closed = true;
        }
    }

    /// Finds or makes the connection to where a process is. Whether its name says where that is.
    fn meet(&mut self, pid: &Arc<str>) -> bool {
        let to: Arc<Upid> = match pid.parse() {
            Ok(to) => Arc::new(to),
            Err(error) => {
                tracing::warn!(%error, "cannot send");
                return false;
            }
        };
        let open = self.open.get(&to.address).filter(|link| !link.lock().closed).cloned();
        let link = open.unwrap_or_else(|| self.connect(to.address));
        self.peers.insert(Arc::clone(pid), Peer { to, link });
        self.forget_closed();
        true
    }

    fn connect(&mut self, to: SocketAddrV4) -> Arc<Link> {
        let link = Arc::new(Link { state: Mutex::default(), changed: Notify::new() });
        self.open.insert(to, Arc::clone(&link));
        let (from, handle) = (self.from.clone(), self.handle.clone());
        let task = Task { link: Arc::clone(&link), from, to, handle };
        self.runtime.spawn(task.run());
        link
    }

    /// Lets go of connections that ended by themselves, now and then.
    fn forget_closed(&mut self) {
        if self.peers.len().is_power_of_two() {
            self.peers.retain(|_, peer| !peer.link.lock().closed);
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
    to: SocketAddrV4,
    handle: Handle,
}

impl Task {
    async fn run(self) {
        let ended = self.work().await;
        let linked = {
            let mut state = self.link.lock();
            state.closed = true;
            state.waiting = Vec::new();
            std::mem::take(&mut state.linked)
        };
        if let Err(error) = ended {
            tracing::debug!(to = %self.to, %error, "connection broke");
        }
        if !linked.is_empty() {
            let gone = linked.into_iter().map(|(pid, role)| role.gone(pid)).collect();
            // The master is ending if there is nobody to tell.
            let _ = self.handle.tell_all(gone).await;
        }
    }

    async fn work(&self) -> std::io::Result<()> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.to)).await;
        let mut stream = connected.map_err(|_| std::io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let (answers, out) = stream.split();
        // Answers are read while messages leave: a peer may take no more before that.
        tokio::select! {
            ended = socket::discard(&answers) => {
                ended?;
                Err(std::io::ErrorKind::UnexpectedEof.into())
            }
            written = self.write(out) => written,
        }
    }

    async fn write(&self, mut out: WriteHalf<'_>) -> std::io::Result<()> {
        let route = Route::new(&self.from, self.to);
        let mut batch = Batch::default();
        loop {
            let (linked, closed) = {
                let mut state = self.link.lock();
                std::mem::swap(&mut batch.messages, &mut state.waiting);
                (!state.linked.is_empty(), state.closed)
            };
            if !batch.messages.is_empty() {
                while batch.encode(&route) {
                    out.write_all(&batch.bytes).await?;
                }
                continue;
            }
            if closed {
                return Ok(());
            }
            batch.shrink();
            tokio::select! {
                () = self.link.changed.notified() => {}
                () = tokio::time::sleep(IDLE), if !linked => return Ok(()),
            }
        }
    }
}

/// Messages that leave together, and the space that they need for it.
#[derive(Debug, Default)]
struct Batch {
    messages: Vec<(Arc<Upid>, Outgoing)>,
    body: Vec<u8>,
    bytes: Vec<u8>,
}

impl Batch {
    /// Turns the first messages into bytes, in place of those before; false if there are none.
    fn encode(&mut self, route: &Route) -> bool {
        self.bytes.clear();
        let count = self.messages.len().min(BURST);
        for (to, message) in self.messages.drain(..count) {
            self.body.clear();
            let name = match message {
                Outgoing::Agent(message) => {
                    message.encode_into(&mut self.body);
                    message.name()
                }
                Outgoing::Scheduler(event) => {
                    event.encode(&mut self.body).expect("a vector grows");
                    "mesos.scheduler.Event"
                }
                Outgoing::Refusal(refusal) => {
                    refusal.encode(&mut self.body).expect("a vector grows");
                    "mesos.internal.FrameworkErrorMessage"
                }
                Outgoing::Authenticator(message) => {
                    message.encode_into(&mut self.body);
                    message.name()
                }
            };
            route.encode(&mut self.bytes, &to.id, name, &self.body);
        }
        count > 0
    }

    /// Gives back the space of a burst: most connections are silent most of the time.
    fn shrink(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
