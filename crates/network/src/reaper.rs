//! What may happen after the answer: deleting interfaces, forgetting UDP flows.
//!
//! Deleting an interface waits until every CPU has passed a quiet state, some 10 to 50 ms in which
//! the kernel changes no other interface either; nobody should wait for that to see a container
//! removed, nor to see the next one start. Those to be deleted are silenced first, so that their
//! addresses are free at once, and those that come within [`LINGER`] share one wait. Looking for flows walks the whole host's table, 4 ms even
//! when it is empty.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use linux::netlink::conntrack::{Conntrack, Flow};
use linux::netlink::{Request, Route};
use rustix::io::Errno;

use crate::endpoint::Endpoint;
use crate::error::{Context as _, Result};
use crate::network::lock;
use crate::port::{PortBinding, Protocol};
use crate::sandbox::Namespace;

/// How many teardowns may wait; the next ones wait themselves.
const QUEUE: usize = 1024;
/// How long a deletion waits for others.
const LINGER: Duration = Duration::from_millis(200);
/// How many deletions wait for no more.
const TOGETHER: usize = 64;
/// Interfaces in this group are to be deleted, whoever put them there.
const GROUP: u32 = 0x7465_7500;

#[derive(Debug)]
enum Work {
    Delete {
        interfaces: Vec<String>,
        /// Let go after its interfaces, which would otherwise be deleted twice.
        namespace: Option<Arc<Namespace>>,
    },
    Forget(StaleFlows),
    /// Dropped when everything queued before is done.
    Settle(SyncSender<()>),
}

/// UDP flows that go another way than the published ports now say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaleFlows {
    containers: Vec<IpAddr>,
    /// Empty: the container has none any more, and no flow may end there.
    ports: Vec<PortBinding>,
}

impl StaleFlows {
    /// Flows to the endpoint's ports that began before these were published.
    pub(crate) fn before(endpoint: &Endpoint) -> Option<Self> {
        let udp = |port: &&PortBinding| port.protocol == Protocol::Udp && port.host_port != 0;
        let ports: Vec<_> = endpoint.ports.iter().filter(udp).copied().collect();
        Some(Self { containers: endpoint.addresses().collect(), ports })
            .filter(|stale| !stale.ports.is_empty())
    }

    /// Flows to an endpoint whose ports are no longer published.
    pub(crate) fn after(endpoint: &Endpoint) -> Option<Self> {
        Self::before(endpoint).map(|stale| Self { ports: Vec::new(), ..stale })
    }

    fn matches(&self, flow: Flow) -> bool {
        if flow.protocol != Protocol::Udp.number() {
            return false;
        }
        let ends_here = self.containers.contains(&flow.answered_by.0);
        let (address, number) = flow.destination;
        let asks_for = |port: &PortBinding| {
            port.host_port == number && (port.host_ip.is_unspecified() || port.host_ip == address)
        };
        if self.ports.is_empty() {
            ends_here
        } else {
            !ends_here && self.ports.iter().any(asks_for)
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reaper {
    /// `None` once the queue is closed.
    queue: Mutex<Option<SyncSender<Work>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// Starts in the calling thread's namespace.
    pub(crate) fn new() -> Result<Self> {
        let (queue, work) = sync_channel(QUEUE);
        let route = Route::open().context(|| "open a netlink socket".to_owned())?;
        let conntrack = Conntrack::open().context(|| "open a conntrack socket".to_owned())?;
        let thread = std::thread::Builder::new()
            .name("network-reaper".to_owned())
            .spawn(move || reap(route, conntrack, &work))
            .context(|| "start the interface thread".to_owned())?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Some(thread) })
    }

    pub(crate) fn delete(&self, interfaces: Vec<String>, namespace: Option<Arc<Namespace>>) {
        self.send(Work::Delete { interfaces, namespace });
    }

    pub(crate) fn forget(&self, flows: Option<StaleFlows>) {
        if let Some(flows) = flows {
            self.send(Work::Forget(flows));
        }
    }

    /// Waits until everything asked for so far is done.
    pub(crate) fn settle(&self) {
        let (done, settled) = sync_channel(0);
        self.send(Work::Settle(done));
        // Nobody sends: the other end closes.
        let _ = settled.recv();
    }

    fn send(&self, work: Work) {
        let queue = lock(&self.queue).clone();
        if queue.is_none_or(|queue| queue.send(work).is_err()) {
            tracing::error!("the interface thread has ended");
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        lock(&self.queue).take();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the interface thread panicked");
        }
    }
}

fn reap(mut route: Route, mut conntrack: Conntrack, queue: &Receiver<Work>) {
    while let Ok(first) = queue.recv() {
        let (mut names, mut flows, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for work in gather(first, queue) {
            match work {
                Work::Delete { interfaces, namespace } => {
                    names.extend(interfaces);
                    held.push((namespace, None));
                }
                Work::Forget(stale) => flows.push(stale),
                Work::Settle(done) => held.push((None, Some(done))),
            }
        }
        if let Err(error) = delete(&mut route, &names) {
            tracing::warn!(%error, ?names, "cannot delete interfaces; the next recovery will");
        }
        if !flows.is_empty()
            && let Err(error) = conntrack.forget(|flow| flows.iter().any(|f| f.matches(flow)))
        {
            // They end by themselves when nobody has sent for half a minute.
            tracing::debug!(%error, "udp flows stay");
        }
        drop(held);
    }
}

/// Takes what else there is to do; for the sake of deletions alone, also what comes soon.
fn gather(first: Work, queue: &Receiver<Work>) -> Vec<Work> {
    let mut works = vec![first];
    works.extend(queue.try_iter());
    let deadline = Instant::now() + LINGER;
    while works.len() < TOGETHER && works.iter().all(|work| matches!(work, Work::Delete { .. })) {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(work) => works.push(work),
            // Time is up, or nobody can send any more.
            Err(_) => break,
        }
    }
    works
}

fn delete(route: &mut Route, names: &[String]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let marked = route.execute(names.iter().map(|name| Request::set_group(name, GROUP)));
    let deleted = route.execute([Request::delete_group(GROUP)]);
    gone(marked).and(gone(deleted))
}

/// An interface that is not there any more ended with its namespace.
pub(crate) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(()),
        result => result,
    }
}
