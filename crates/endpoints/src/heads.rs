//! How long a peer may take for the head of a request, counted from its first byte.
//!
//! A connection on which nothing comes may stay for as long as its peer lives: schedulers and
//! executors keep theirs and speak when there is something to say, minutes later. Mesos closes none of
//! them, and pymesos for one fails when it finds its connection closed. What hyper has for this ends
//! silent connections as well, so its clock is started here.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;
use tokio_util::io::InspectReader;

/// After what silence the kernel asks whether the peer is still there, and how often it then asks.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 6;

/// Lets the kernel find out that a silent peer is gone, which nothing else does.
///
/// # Errors
/// What the kernel says of the socket.
pub fn probe_silent_peer(socket: impl AsFd) -> io::Result<()> {
    use rustix::net::sockopt;

    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    Ok(())
}

/// A connection that notes when something comes, and the timer for the timeout of heads on it.
pub fn noted<S: AsyncRead>(stream: S) -> (InspectReader<S, impl FnMut(&[u8]) + use<S>>, HeadTimer) {
    let came = Arc::new(AtomicBool::new(false));
    let timer = HeadTimer { came: Arc::clone(&came) };
    let note = move |read: &[u8]| {
        if !read.is_empty() {
            came.store(true, Ordering::Relaxed);
        }
    };
    (InspectReader::new(stream, note), timer)
}

/// See [`noted`].
#[derive(Debug, Clone)]
pub struct HeadTimer {
    came: Arc<AtomicBool>,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, limit: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        // What came belongs to the request before.
        self.came.store(false, Ordering::Relaxed);
        Box::pin(Limit { came: Arc::clone(&self.came), limit, running: None })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Ends so long after the first byte. Until that comes nothing wakes who waits for it but the
/// connection, which is read by the same task.
struct Limit {
    came: Arc<AtomicBool>,
    limit: Duration,
    running: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Future for Limit {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let came = self.came.load(Ordering::Relaxed);
        match &mut self.running {
            Some(running) => running.as_mut().poll(cx),
            None if came => {
                let running = self.running.insert(Box::pin(tokio::time::sleep(limit)));
                running.as_mut().poll(cx)
            }
            None => Poll::Pending,
        }
    }
}

impl hyper::rt::Sleep for Limit {}

#[cfg(test)]
mod tests;
