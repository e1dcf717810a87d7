//! Network namespaces: a few kept ready, and those that containers have.
//!
//! ```text
//! thread "netns-pool" --makes--> ready (at most `Config::ready_sandboxes`) --take--> held
//! ```
//! Making one costs 0.4 to 4.6 ms, taking a ready one nothing. All are held by descriptors alone,
//! so that the kernel takes them back when this process dies and no container runs in them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use linux::netlink::{Request, Route, make_network_namespace, network_namespace_of};

use crate::endpoint::Sandbox;
use crate::error::{Context as _, Error, Result};
use crate::network::lock;

/// How long a start waits for a namespace; the kernel makes one in milliseconds.
const MAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A namespace and a way to its interfaces.
#[derive(Debug)]
pub(crate) struct Namespace {
    namespace: OwnedFd,
    /// Opened with the namespace, or at the first use of an adopted one.
    route: Mutex<Option<Route>>,
}

impl Namespace {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    pub(crate) fn with_route<T>(
        &self,
        work: impl FnOnce(&mut Route) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut route = lock(&self.route);
        if route.is_none() {
            *route = Some(linux::namespace::in_namespace(self.fd(), Route::open)??);
        }
        match route.as_mut() {
            Some(route) => work(route),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// All sandboxes of this process.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    shared: Arc<Shared>,
    maker: Option<JoinHandle<()>>,
    /// By container id. Held for map operations only.
    held: Mutex<HashMap<String, Arc<Namespace>>>,
}

#[derive(Debug)]
struct Shared {
    pool: Mutex<Pool>,
    /// Something in the pool changed: for the maker and for those who wait for it.
    changed: Condvar,
}

#[derive(Debug)]
struct Pool {
    ready: VecDeque<Namespace>,
    /// How many of `ready` the maker keeps.
    target: usize,
    /// Callers that found none.
    waiting: usize,
    error: Option<io::Error>,
    closed: bool,
}

impl Sandboxes {
    /// Starts the maker in the calling thread's namespace.
    pub(crate) fn new(target: usize) -> Result<Self> {
        let pool = Pool { ready: VecDeque::new(), target, waiting: 0, error: None, closed: false };
        let shared = Arc::new(Shared { pool: Mutex::new(pool), changed: Condvar::new() });
        let maker = std::thread::Builder::new()
            .name("netns-pool".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.keep_ready()
            })
            .context(|| "start the namespace thread".to_owned())?;
        Ok(Self { shared, maker: Some(maker), held: Mutex::default() })
    }

    /// Gives a container a fresh namespace, in place of any it still has.
    pub(crate) fn create(&self, container_id: &str) -> Result<Sandbox> {
        let namespace = self.shared.take().context(|| "make a network namespace".to_owned())?;
        let sandbox = sandbox_of(container_id, &namespace);
        lock(&self.held).insert(container_id.to_owned(), Arc::new(namespace));
        Ok(sandbox)
    }

    /// Gives a container this namespace, which nobody has used yet, in place of any it still has.
    pub(crate) fn create_in(&self, container_id: &str, namespace: OwnedFd) -> Result<Sandbox> {
        let route = linux::namespace::in_namespace(namespace.as_fd(), prepare)
            .and_then(|prepared| prepared)
            .context(|| "prepare a network namespace".to_owned())?;
        let namespace = Namespace { namespace, route: Mutex::new(Some(route)) };
        let sandbox = sandbox_of(container_id, &namespace);
        lock(&self.held).insert(container_id.to_owned(), Arc::new(namespace));
        Ok(sandbox)
    }

    /// Takes over the namespace of a running container.
    pub(crate) fn adopt(&self, container_id: &str, pid: u32) -> Result<()> {
        let namespace = network_namespace_of(pid)
            .context(|| format!("open the network namespace of process {pid}"))?;
        let namespace = Namespace { namespace, route: Mutex::new(None) };
        lock(&self.held).insert(container_id.to_owned(), Arc::new(namespace));
        Ok(())
    }

    pub(crate) fn get(&self, container_id: &str) -> Option<Sandbox> {
        let namespace = self.namespace(container_id).ok()?;
        Some(sandbox_of(container_id, &namespace))
    }

    pub(crate) fn namespace(&self, container_id: &str) -> Result<Arc<Namespace>> {
        lock(&self.held)
            .get(container_id)
            .cloned()
            .ok_or_else(|| Error::NoSandbox { container_id: container_id.to_owned() })
    }

    /// Hands the namespace out; it ends with the last who holds it.
    pub(crate) fn release(&self, container_id: &str) -> Option<Arc<Namespace>> {
        lock(&self.held).remove(container_id)
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        lock(&self.shared.pool).closed = true;
        self.shared.changed.notify_all();
        if let Some(Err(_)) = self.maker.take().map(JoinHandle::join) {
            tracing::error!("the namespace thread panicked");
        }
    }
}

impl Shared {
    fn take(&self) -> io::Result<Namespace> {
        let mut pool = lock(&self.pool);
        pool.error = None;
        pool.waiting += 1;
        self.changed.notify_all();
        let (mut pool, timeout) = self
            .changed
            .wait_timeout_while(pool, MAKE_TIMEOUT, |pool| {
                pool.ready.is_empty() && pool.error.is_none() && !pool.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        pool.waiting -= 1;
        match (pool.ready.pop_front(), pool.error.take()) {
            (Some(namespace), _) => {
                self.changed.notify_all();
                Ok(namespace)
            }
            (None, Some(error)) => Err(error),
            (None, None) if timeout.timed_out() => Err(io::ErrorKind::TimedOut.into()),
            (None, None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn keep_ready(&self) {
        let mut pool = lock(&self.pool);
        while !pool.closed {
            let wanted = if pool.waiting > 0 { pool.target.max(1) } else { pool.target };
            // After a failure only somebody who waits is reason to try again.
            if pool.ready.len() >= wanted || (pool.error.is_some() && pool.waiting == 0) {
                pool = self.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(pool);
            let made = make();
            pool = lock(&self.pool);
            match made {
                Ok(namespace) => pool.ready.push_back(namespace),
                Err(error) => {
                    tracing::warn!(%error, "cannot make a network namespace");
                    pool.error = Some(error);
                    self.changed.notify_all();
                    pool = self.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            self.changed.notify_all();
        }
    }
}

fn make() -> io::Result<Namespace> {
    let (namespace, route) = make_network_namespace(prepare)?;
    Ok(Namespace { namespace, route: Mutex::new(Some(route)) })
}

/// Makes the namespace that the calling thread is in ready for interfaces.
fn prepare() -> io::Result<Route> {
    let mut route = Route::open()?;
    let loopback = route.link("lo")?.ok_or(io::ErrorKind::NotFound)?;
    route.execute([Request::raise(loopback.index)])?;
    for (name, value) in SYSCTLS {
        // A kernel without the key has nothing to turn off.
        let _ = std::fs::write(format!("/proc/sys/net/{name}"), value);
    }
    Ok(route)
}

/// Interfaces added later have no IPv6 unless their network has, and believe no advertisement.
const SYSCTLS: [(&str, &str); 3] = [
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
];

fn sandbox_of(container_id: &str, namespace: &Namespace) -> Sandbox {
    let netns_path =
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), namespace.fd().as_raw_fd()));
    Sandbox { container_id: container_id.to_owned(), netns_path }
}
