//! The control port of a manager: who joins, and the sessions of those who have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ca::{Identity, identity_of};
use crate::error::{Code, Error, Result};
use crate::manager::Manager;
use crate::model::View;
use crate::presence::GRACE;
use crate::wire::{Answer, Call, Connection, Networks, PATIENCE, ToManager, ToNode};

/// The most connections at a time, so that strangers cannot take all descriptors of the daemon.
const MAX_CONNECTIONS: usize = 4096;
/// How long to wait when the process is out of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves until `stop`.
pub(crate) async fn serve(
    manager: Arc<Manager>,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a node's connection failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%address, "too many connections at the swarm's control port");
            continue;
        };
        let (manager, stop) = (manager.clone(), stop.clone());
        let acceptor = TlsAcceptor::from(config.clone());
        connections.spawn(async move {
            let served = tokio::select! {
                () = stop.cancelled() => Ok(()),
                served = connection(&manager, stream, address, acceptor) => served,
            };
            if let Err(error) = served {
                tracing::debug!(%address, %error, "a node's connection ended");
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    manager: &Arc<Manager>,
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
) -> Result<()> {
    let lost = |error: std::io::Error| Error::new(Code::Unavailable, error.to_string());
    stream.set_nodelay(true).map_err(lost)?;
    let stream = within(PATIENCE, acceptor.accept(stream)).await?.map_err(lost)?;
    let identity = identity(&stream)?;
    let mut connection = Connection::new(stream);
    let served = match identity {
        None => join(manager, &mut connection).await,
        Some(identity) => member(manager, &mut connection, identity, address).await,
    };
    if let Err(error) = &served {
        // Whoever is gone does not hear it.
        let _ = connection.send(&ToNode::Refused(error.clone())).await;
    }
    served
}

/// Who shows a certificate, which TLS has found to be genuine.
fn identity(stream: &TlsStream<TcpStream>) -> Result<Option<Identity>> {
    let certificates = stream.get_ref().1.peer_certificates();
    let Some(certificate) = certificates.and_then(|all| all.first()) else { return Ok(None) };
    Ok(Some(identity_of(certificate)?))
}

async fn join(
    manager: &Arc<Manager>,
    connection: &mut Connection<TlsStream<TcpStream>>,
) -> Result<()> {
    let join = match within(PATIENCE, connection.next()).await?? {
        Some(ToManager::Join(join)) => join,
        Some(_) => {
            let text = "nodes without a certificate may only join";
            return Err(Error::answer(Code::PermissionDenied, text));
        }
        None => return Ok(()),
    };
    let certificate = blocking(manager, move |manager| manager.join(&join)).await?;
    connection.send(&ToNode::Joined(crate::wire::Joined { certificate })).await
}

async fn member(
    manager: &Arc<Manager>,
    connection: &mut Connection<TlsStream<TcpStream>>,
    identity: Identity,
    address: SocketAddr,
) -> Result<()> {
    manager.admit(&identity)?;
    connection.trust();
    let session = match within(PATIENCE, connection.next()).await?? {
        Some(ToManager::Session(session)) => session,
        Some(_) => {
            return Err(Error::answer(Code::InvalidArgument, "a session begins with its opening"));
        }
        None => return Ok(()),
    };
    let node_id = identity.node_id;
    let number = {
        let (node_id, address) = (node_id.clone(), address.ip().to_string());
        blocking(manager, move |manager| manager.begin_session(&node_id, address, &session)).await?
    };
    connection.send(&ToNode::Started(manager.started())).await?;
    let mut view = manager.view();
    let mut told = View::new();
    let mut is_first = true;
    loop {
        let now = view.borrow_and_update().clone();
        let news = difference(&told, &now);
        if is_first || !news.changed.is_empty() || !news.gone.is_empty() {
            connection.send(&ToNode::Networks(news)).await?;
        }
        told = (*now).clone();
        is_first = false;
        let silence = manager.period() * GRACE;
        loop {
            let message = tokio::select! {
                changed = view.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
                message = within(silence, connection.next()) => message??,
            };
            let Some(message) = message else { return Ok(()) };
            if !answer(manager, connection, &node_id, number, message).await? {
                return Ok(());
            }
        }
    }
}

/// Answers one message; `false` at the session's end.
async fn answer(
    manager: &Arc<Manager>,
    connection: &mut Connection<TlsStream<TcpStream>>,
    node_id: &str,
    session: u64,
    message: ToManager,
) -> Result<bool> {
    let (id, call) = match message {
        ToManager::Heartbeat => {
            if !manager.beat(node_id, session) {
                let identity_gone =
                    Error::answer(Code::NotFound, format!("node {node_id} not found"));
                return match manager.knows(node_id) {
                    true => Ok(false),
                    false => Err(identity_gone),
                };
            }
            let period = manager.period().as_nanos();
            let period_nanos = u64::try_from(period).unwrap_or(u64::MAX);
            connection.send(&ToNode::Heartbeat { period_nanos }).await?;
            return Ok(true);
        }
        ToManager::Call { id, call } => (id, call),
        ToManager::Join(_) | ToManager::Session(_) => {
            return Err(Error::answer(Code::InvalidArgument, "the session has begun already"));
        }
    };
    let is_last = matches!(call, Call::Leave);
    let node_id = node_id.to_owned();
    let answer = blocking(manager, move |manager| act(manager, &node_id, session, call)).await;
    connection.send(&ToNode::Answer { id, answer }).await?;
    Ok(!is_last)
}

fn act(manager: &Manager, node_id: &str, session: u64, call: Call) -> Result<Answer> {
    match call {
        Call::Attach(request) => {
            let attachment = manager.attach(node_id, Some(session), request)?;
            Ok(Answer::Attached { ipv4: attachment.ipv4 })
        }
        Call::Detach { network_id, container_id } => {
            manager.detach(node_id, Some(session), &network_id, &container_id)?;
            Ok(Answer::Done)
        }
        Call::Renew { request } => {
            Ok(Answer::Renewed { certificate: manager.renew(node_id, &request)? })
        }
        Call::Leave => {
            manager.leave(node_id)?;
            Ok(Answer::Done)
        }
    }
}

/// What is another in one view than in an earlier one.
pub(crate) fn difference(before: &View, now: &View) -> Networks {
    let changed = now.iter().filter(|(id, network)| {
        before.get(*id).is_none_or(|known| !Arc::ptr_eq(known, network) && known != *network)
    });
    let gone = before.keys().filter(|id| !now.contains_key(*id));
    Networks {
        changed: changed.map(|(_, network)| network.clone()).collect(),
        gone: gone.cloned().collect(),
    }
}

/// The books are on disk; their commits block.
async fn blocking<T: Send + 'static>(
    manager: &Arc<Manager>,
    work: impl FnOnce(&Manager) -> Result<T> + Send + 'static,
) -> Result<T> {
    let manager = manager.clone();
    match tokio::task::spawn_blocking(move || work(&manager)).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(Code::Internal, format!("operation was cut off: {error}"))),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Error::new(Code::DeadlineExceeded, "the node is silent"))
}
