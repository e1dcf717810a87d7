//! This host's part in a swarm: begun by init or join, ended by leave, taken up again at each start
//! of the daemon.

mod objects;
mod parts;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::books::{Books, ClusterUpdate};
use crate::ca::{Authority, Identity, NodeKey, from_pem, identity_of, validity};
use crate::client::Membership;
use crate::disk::{Disk, File, Part as PartRecord, Record};
use crate::error::{Code, Error, Result};
use crate::held::Account;
use crate::host::{Host, HostSlot};
use crate::joining::Joining;
use crate::manager::{Manager, Parts, Reach};
use crate::model::{
    Availability, Cluster, ClusterSpec, Node, NodeDescription, NodeSpec, Role, View,
};
use crate::server;
use crate::store::Store;
use crate::subnet::Subnet;
use crate::tls::{self, Shown};
use crate::token::{InvalidToken, JoinToken, Secret};
use crate::worker::{Pending, Shared, Worker, is_half_over};

/// How long `join` waits for the manager.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a manager looks at its own certificate.
const RENEWAL_CHECK: Duration = Duration::from_secs(60);
/// Between attempts to bind the control port, whose address may come later than the daemon.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// The words of Docker's clients for what does not fit this host's part.
const IS_IN_SWARM: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave \
                           this swarm and join another one.";
const IS_IN_NONE: &str = "This node is not part of a swarm";
const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker \
                          swarm join\" to connect this node to swarm and try again.";
const IS_WORKER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or \
                         modify cluster state. Please run this command on a manager node or promote \
                         the current node to a manager.";
const TIMED_OUT: &str = "Timeout was reached before node joined. The attempt to join the swarm will \
                         continue in the background. Use the \"docker info\" command to see the \
                         current swarm status of your node.";
const LAST_MANAGER: &str = "You are attempting to leave the swarm on a node that is participating as \
                            a manager. Removing the last manager erases all current state of the \
                            swarm. Use `--force` to ignore this message. ";

/// This host's part in a swarm. Clones are the same.
#[derive(Debug, Clone)]
pub struct Swarm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Disk,
    /// Held for one look; changed under `changing` only.
    part: Mutex<Part>,
    /// Whether the disk was asked which part that is.
    read: Once,
    /// Held by init, join and leave, one of which waits for another up to its end: they stop tasks
    /// and wait for sockets.
    changing: tokio::sync::Mutex<()>,
    account: Arc<Account>,
    view: Arc<watch::Sender<Arc<View>>>,
    host: Arc<HostSlot>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
enum Part {
    Outside,
    /// Known from the disk, and not begun yet.
    Idle(Idle),
    Joining(Arc<Joining>, Running),
    Worker(Arc<Worker>, Running),
    Manager(Arc<Manager>, Running),
    /// What is on the disk cannot be used.
    Broken(Error),
}

#[derive(Debug)]
enum Idle {
    Joining(Record),
    Worker(Arc<Worker>, tokio::sync::mpsc::Receiver<Pending>),
    Manager(Arc<Manager>, Record),
}

/// The tasks of a part.
#[derive(Debug, Clone)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Why it does not work, where it does not.
    problem: Arc<Mutex<String>>,
}

/// What a new swarm is to be.
#[derive(Debug, Clone)]
pub struct Init {
    /// Where the control port is bound.
    pub listen: SocketAddr,
    /// Where other nodes reach it.
    pub advertise: SocketAddr,
    /// Where this host takes VXLAN packets; `None`: as `advertise`.
    pub data_path: Option<IpAddr>,
    pub data_path_port: u16,
    pub pools: Vec<Subnet>,
    /// Bits of the prefix of networks' subnets.
    pub subnet_size: u8,
    pub spec: ClusterSpec,
    pub availability: Availability,
    /// Whether to take up the swarm that this host was the manager of, with these addresses.
    pub force_new_cluster: bool,
}

/// Which swarm to join, and how.
#[derive(Clone)]
pub struct Join {
    pub token: String,
    /// Control addresses of managers, `host:port`.
    pub remotes: Vec<String>,
    pub listen: SocketAddr,
    /// `None`: the address of the connection to the manager.
    pub advertise: Option<IpAddr>,
    /// `None`: as `advertise`.
    pub data_path: Option<IpAddr>,
    pub availability: Availability,
}

/// Tells no token.
impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("remotes", &self.remotes).finish_non_exhaustive()
    }
}

/// Where a node is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalState {
    Inactive,
    Pending,
    Active,
    Error,
}

impl LocalState {
    /// The word of the Engine API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Error => "error",
        }
    }
}

/// What clients are told of this host's part.
#[derive(Debug, Clone)]
pub struct Status {
    pub state: LocalState,
    /// Empty while there is none.
    pub node_id: String,
    pub node_address: String,
    pub is_manager: bool,
    /// Why there is no connection, or no part that works.
    pub error: String,
    /// Ids and control addresses.
    pub managers: Vec<(String, String)>,
    /// On a manager: the swarm, and how many nodes and managers it has.
    pub cluster: Option<(Cluster, usize, usize)>,
}

/// The root certificate as clients are told of it.
#[derive(Debug, Clone)]
pub struct TrustRoot {
    /// In PEM form.
    pub certificate: String,
    /// DER.
    pub issuer_subject: Vec<u8>,
    /// DER.
    pub issuer_public_key: Vec<u8>,
}

impl Swarm {
    /// This host's part in a swarm. The disk is read when it is asked for first, by when the data root
    /// has to be this process' alone. Nothing is spoken to anybody before [`Swarm::start`]; what is
    /// known of networks can be asked for at once.
    pub fn open(data_root: &Path) -> Self {
        Self(Arc::new(Inner {
            part: Mutex::new(Part::Outside),
            read: Once::new(),
            changing: tokio::sync::Mutex::new(()),
            account: Arc::default(),
            view: Arc::new(watch::Sender::new(Arc::new(View::new()))),
            host: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            disk: Disk::new(data_root),
        }))
    }

    /// Begins to take part, and to tell the host of networks.
    pub async fn start(&self, host: Arc<dyn Host>) {
        let _changing = self.0.changing.lock().await;
        self.0.host.set(Some(host));
        let joining = {
            // Held throughout: containers that the engine starts meanwhile ask for addresses.
            let mut part = self.0.part();
            match std::mem::replace(&mut *part, Part::Outside) {
                Part::Idle(Idle::Worker(worker, pending)) => {
                    *part = Inner::begin_worker(worker, pending);
                    None
                }
                Part::Idle(Idle::Manager(manager, record)) => {
                    *part = self.0.begin_manager(manager, record.listen, None);
                    None
                }
                Part::Idle(Idle::Joining(record)) => Some(record),
                other => {
                    *part = other;
                    None
                }
            }
        };
        if let Some(record) = joining {
            match self.0.resume_joining(&record).await {
                Ok(joining) => drop(self.begin_joining(joining, record)),
                Err(error) => *self.0.part() = broken(error),
            }
        }
        self.0.tasks.spawn(self.0.clone().follow());
    }

    /// Ends all tasks; this host's part goes on at the next start.
    pub async fn shutdown(&self) {
        let _changing = self.0.changing.lock().await;
        let running = self.0.running();
        if let Some(running) = running {
            running.end().await;
        }
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.host.set(None);
        // Whoever is next to have the data root can open what is in it.
        *self.0.part() = Part::Outside;
    }

    /// Makes a swarm of which this host is the manager; its node id.
    ///
    /// # Errors
    /// If this host is in a swarm, something asked for cannot be, or the control port is taken.
    pub async fn init(&self, init: Init) -> Result<String> {
        let _changing = self.0.changing.lock().await;
        init.check()?;
        let known = match &*self.0.part() {
            Part::Outside => None,
            Part::Manager(manager, running) if init.force_new_cluster => {
                Some((manager.clone(), running.clone()))
            }
            _ => return Err(Error::new(Code::Unavailable, IS_IN_SWARM)),
        };
        if let Some((manager, running)) = known {
            return self.move_manager(manager, &running, init).await;
        }
        let listener = bind(init.listen).await?;
        let inner = self.0.clone();
        let listen = init.listen;
        let made = blocking(move || {
            let made = inner.make_manager(&init).and_then(|manager| {
                inner.enter_own_node(&manager)?;
                Ok(manager)
            });
            if made.is_err() {
                inner.disk.clear()?;
            }
            made
        });
        let manager = made.await?;
        let node_id = manager.own_node.clone();
        let part = self.0.begin_manager(manager, listen, Some(listener));
        *self.0.part() = part;
        Ok(node_id)
    }

    /// Goes on with the swarm of this manager under other addresses, or under the old ones where those
    /// cannot be.
    async fn move_manager(
        &self,
        manager: Arc<Manager>,
        running: &Running,
        init: Init,
    ) -> Result<String> {
        let inner = self.0.clone();
        let record = blocking(move || inner.disk.record()).await?;
        let missing = || Error::new(Code::Internal, "the state of this manager is missing");
        let old = record.ok_or_else(missing)?;
        // The new port may be the old one.
        running.end().await;
        let listener = match bind(init.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                let part = self.0.begin_manager(manager, old.listen, None);
                *self.0.part() = part;
                return Err(error);
            }
        };
        let (inner, moved, listen) = (self.0.clone(), manager.clone(), init.listen);
        let kept = blocking(move || inner.move_record(&moved, &init)).await;
        let node_id = manager.own_node.clone();
        let part = self.0.begin_manager(manager, listen, Some(listener));
        *self.0.part() = part;
        kept.map(|()| node_id)
    }

    /// Joins a swarm. What takes longer than 20 seconds goes on in the background.
    ///
    /// # Errors
    /// If this host is in a swarm, the token is none or the wrong one, or nobody answered in time.
    pub async fn join(&self, join: Join) -> Result<()> {
        let token = JoinToken::parse(&join.token)
            .map_err(|InvalidToken| Error::new(Code::InvalidArgument, InvalidToken.to_string()))?;
        if join.remotes.iter().all(|remote| remote.trim().is_empty()) {
            let text = "at least 1 RemoteAddr is required to join";
            return Err(Error::new(Code::InvalidArgument, text));
        }
        let joined = {
            let _changing = self.0.changing.lock().await;
            if !matches!(&*self.0.part(), Part::Outside) {
                return Err(Error::new(Code::Unavailable, IS_IN_SWARM));
            }
            let inner = self.0.clone();
            let (joining, record) = blocking(move || inner.prepare_joining(token, join)).await?;
            self.begin_joining(joining, record)
        };
        match tokio::time::timeout(JOIN_TIMEOUT, joined).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::new(Code::Unavailable, "the attempt to join was ended")),
            Err(_) => Err(Error::new(Code::DeadlineExceeded, TIMED_OUT)),
        }
    }

    /// Leaves the swarm, or gives up joining one.
    ///
    /// # Errors
    /// If this host is in none, or its going would end the swarm and `force` is not set.
    pub async fn leave(&self, force: bool) -> Result<()> {
        let _changing = self.0.changing.lock().await;
        let (running, worker) = match &*self.0.part() {
            Part::Outside => return Err(Error::new(Code::Unavailable, IS_IN_NONE)),
            Part::Manager(..) if !force => return Err(Error::new(Code::Unavailable, LAST_MANAGER)),
            Part::Worker(worker, running) => (Some(running.clone()), Some(worker.clone())),
            Part::Manager(_, running) | Part::Joining(_, running) => (Some(running.clone()), None),
            Part::Idle(_) | Part::Broken(_) => (None, None),
        };
        if let Some(worker) = worker
            && let Err(error) = blocking(move || worker.say_goodbye()).await
        {
            tracing::info!(%error, "the manager does not know that this node leaves");
        }
        if let Some(running) = running {
            running.end().await;
        }
        let inner = self.0.clone();
        blocking(move || {
            inner.disk.clear()?;
            *inner.part() = Part::Outside;
            inner.account.clear();
            inner.view.send_replace(Arc::new(View::new()));
            Ok(())
        })
        .await
    }

    /// Starts to ask for a certificate; tells when this host has begun to take part, or why not.
    fn begin_joining(
        &self,
        joining: Joining,
        record: Record,
    ) -> tokio::sync::oneshot::Receiver<Result<()>> {
        let (done, joined) = tokio::sync::oneshot::channel();
        let joining = Arc::new(joining);
        let running = Running::default();
        *self.0.part() = Part::Joining(joining.clone(), running.clone());
        let inner = self.0.clone();
        let stop = running.stop.clone();
        running.tasks.spawn(async move {
            let result = inner.clone().join_until_done(joining, record, stop).await;
            // Whoever waited may have given up.
            let _ = done.send(result);
        });
        joined
    }
}

impl Inner {
    fn part(&self) -> MutexGuard<'_, Part> {
        let part = || self.part.lock().unwrap_or_else(PoisonError::into_inner);
        self.read.call_once(|| {
            *part() = match self.disk.record() {
                Ok(None) => Part::Outside,
                Ok(Some(record)) => self.idle(record).map_or_else(broken, Part::Idle),
                Err(error) => broken(error),
            };
        });
        part()
    }

    fn running(&self) -> Option<Running> {
        match &*self.part() {
            Part::Joining(_, running) | Part::Worker(_, running) | Part::Manager(_, running) => {
                Some(running.clone())
            }
            Part::Outside | Part::Idle(_) | Part::Broken(_) => None,
        }
    }
}

impl Default for Running {
    fn default() -> Self {
        Self { stop: CancellationToken::new(), tasks: TaskTracker::new(), problem: Arc::default() }
    }
}

impl Running {
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn problem(&self) -> String {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_problem(&self, text: String) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

fn broken(error: Error) -> Part {
    tracing::error!(%error, "this host's part in a swarm cannot be taken up");
    Part::Broken(error)
}

async fn bind(address: SocketAddr) -> Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await.map_err(|error| {
        let text = format!("listen for the swarm's nodes at {address}: {error}");
        Error::new(Code::Unavailable, text)
    })
}

/// Runs what waits for the disk or another thread where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(Code::Internal, format!("operation was cut off: {error}"))),
    }
}

#[cfg(test)]
mod tests;
