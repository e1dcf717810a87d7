//! The thread that stays in the host's network and opens sockets there: a socket belongs to the
//! network its maker was in, wherever it is used.
//!
//! Entering a network takes a right over the whole machine. So each of the two networks has a thread
//! of its own, and once both are where they belong the process gives up all rights for good: it reads
//! what the container and the world send it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType};

/// Frames of this thread are small.
const STACK_BYTES: usize = 128 * 1024;

type Work = Box<dyn FnOnce() + Send>;

/// Does work in the host's network.
#[derive(Debug)]
pub(super) struct Host {
    work: SyncSender<Work>,
}

impl Host {
    /// Starts the thread, and gives up the rights of both.
    ///
    /// # Errors
    /// If the network cannot be entered, or a right is kept.
    pub(super) fn start(network: OwnedFd) -> io::Result<Self> {
        let (work, queue) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        std::thread::Builder::new().name("host-network".to_owned()).stack_size(STACK_BYTES).spawn(
            move || {
                let entered = enter(&network);
                drop(network);
                let is_in = entered.is_ok();
                // Who started this waits for it.
                let _ = ready.send(entered);
                if is_in {
                    serve(&queue);
                }
            },
        )?;
        started.recv().map_err(io::Error::other)??;
        give_up_rights()?;
        Ok(Self { work })
    }

    /// Waits for the outcome: opening a socket waits for nobody.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, outcome) = sync_channel(1);
        let work = Box::new(move || {
            // The asker waits.
            let _ = done.send(work());
        });
        self.work.send(work).map_err(|_| io::ErrorKind::BrokenPipe)?;
        outcome.recv().map_err(io::Error::other)?
    }
}

fn enter(network: &OwnedFd) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    give_up_rights()
}

fn serve(queue: &Receiver<Work>) {
    while let Ok(work) = queue.recv() {
        work();
    }
}

/// Of the calling thread; no program that it may execute gets them back.
fn give_up_rights() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
