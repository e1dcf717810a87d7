//! Puts back what others delete, as soon as they do: `nft flush ruleset` (Debian's nftables service
//! does it at every restart), `ip link delete`.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Weak;
use std::thread::JoinHandle;
use std::time::Duration;

use linux::netlink::{Event, Events};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Context as _, Result};
use crate::network::{Inner, Network, lock};
use crate::overlay;

/// Whoever deletes one thing deletes the next in a moment.
const QUIET: Duration = Duration::from_millis(50);

/// Ends its thread when dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts in the calling thread's namespace.
    pub(crate) fn new(network: &Network) -> Result<Self> {
        let inner = &network.inner;
        let action = || "watch for changes of others".to_owned();
        let port = lock(&inner.kernel).nftables.port().context(action)?;
        let events = Events::open(&inner.table, port).context(action)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context(action)?;
        let stopped = stop.try_clone().context(action)?;
        let weak = std::sync::Arc::downgrade(inner);
        let thread = std::thread::Builder::new()
            .name("network-watch".to_owned())
            .spawn(move || watch(&weak, events, &stopped))
            .context(action)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An eventfd with room takes a write; this is its only one.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        let Some(thread) = self.thread.take() else { return };
        // The thread may itself hold the last handle, while it repairs.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the watching thread panicked");
        }
    }
}

fn watch(inner: &Weak<Inner>, mut events: Events, stop: &OwnedFd) {
    let mut lost = false;
    loop {
        match wait(&events, stop, lost.then_some(QUIET)) {
            Woken::Stopped => return,
            Woken::Quiet => {
                lost = false;
                let Some(inner) = inner.upgrade() else { return };
                match (Network { inner }).repair() {
                    Ok(true) => tracing::warn!("put back network objects that others had deleted"),
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "cannot repair the network"),
                }
            }
            Woken::Event => {
                let Some(inner) = inner.upgrade() else { return };
                match events.take() {
                    Ok(events) => lost |= concerns(&inner, &events),
                    Err(error) => {
                        tracing::error!(%error, "no longer watching for changes of others");
                        return;
                    }
                }
            }
        }
    }
}

fn concerns(inner: &Inner, events: &[Event]) -> bool {
    if events.is_empty() {
        return false;
    }
    let state = lock(&inner.state);
    let bridges = state.networks.values().filter_map(|record| record.interface.as_deref());
    let ports = state.endpoints.values().filter_map(|endpoint| endpoint.host_interface.as_deref());
    let ours: BTreeSet<&str> = bridges.chain(ports).collect();
    let overlays = state.networks.values().filter(|record| record.is_swarm());
    let wires: BTreeSet<String> = overlays.map(|record| overlay::name_of(&record.id)).collect();
    events.iter().any(|event| match event {
        Event::Link(name) => ours.contains(name.as_str()) || wires.contains(name),
        Event::Table | Event::Overrun => true,
    })
}

enum Woken {
    Stopped,
    Event,
    /// Nothing more for as long as was asked.
    Quiet,
}

fn wait(events: &Events, stop: &OwnedFd, quiet: Option<Duration>) -> Woken {
    let [links, tables] = events.descriptors();
    let mut descriptors =
        [stop.as_fd(), links, tables].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let timeout = quiet.and_then(|quiet| Timespec::try_from(quiet).ok());
    loop {
        match poll(&mut descriptors, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Woken::Quiet,
            Ok(_) if descriptors[0].revents().is_empty() => return Woken::Event,
            Ok(_) => return Woken::Stopped,
            Err(error) => {
                tracing::error!(%error, "no longer watching for changes of others");
                return Woken::Stopped;
            }
        }
    }
}
