//! Daemons of one host choose their subnets one after the other.
//!
//! Who chooses looks at the host's routes, and makes one only with the bridge: two that looked at the
//! same moment would take the same subnet, and one of them would get the other's packets. The lock is
//! on the network namespace itself, so that it is shared by exactly those who share the routes, whatever
//! their roots and mounts are; the kernel gives it back when its holder dies.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Context as _, Error, Result};

const NAMESPACE: &str = "/proc/thread-self/ns/net";
/// Others make a bridge meanwhile, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(2);

/// Held while a subnet is chosen, until the bridge has its address.
#[derive(Debug)]
pub(crate) struct Turn {
    _namespace: File,
}

impl Turn {
    /// Waits for it.
    pub(crate) fn take() -> Result<Self> {
        let action = || format!("lock {NAMESPACE} to choose a subnet");
        let namespace = File::open(NAMESPACE).context(action)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&namespace, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _namespace: namespace }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    let another = "another daemon on this host has been choosing one all the time";
                    let source = io::Error::new(io::ErrorKind::TimedOut, another);
                    return Err(Error::Kernel { action: action(), source });
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::Kernel { action: action(), source: errno.into() });
                }
            }
        }
    }
}
