//! Connections of a node to a manager.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Code, Error, Result};
use crate::model::Availability;
use crate::tls;
use crate::token::JoinToken;
use crate::wire::{Connection, Join, PATIENCE, ToManager, ToNode, VERSION};

/// How long a manager may take to answer to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a manager that has shown who it is.
pub(crate) type ManagerConnection = Connection<TlsStream<TcpStream>>;

/// Whether to try again after a failure.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody is there, or something on the way: it may be better later.
    Passing(Error),
    /// The manager, or what is known of it, says no.
    Final(Error),
}

impl Failure {
    pub(crate) fn error(&self) -> &Error {
        match self {
            Self::Passing(error) | Self::Final(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.code {
            Code::Unavailable | Code::DeadlineExceeded | Code::Internal => Self::Passing(error),
            _ => Self::Final(error),
        }
    }
}

/// What a node was given.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) root: String,
    pub(crate) certificate: String,
}

/// What a node asks with.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) token: &'a JoinToken,
    pub(crate) key_request: &'a str,
    pub(crate) availability: Availability,
    pub(crate) hostname: &'a str,
}

/// Asks a manager for a certificate. The secret is said only to one that has shown the root
/// certificate of the token.
pub(crate) async fn join(remote: &str, asking: &Asking<'_>) -> Result<Membership, Failure> {
    let (config, pinned) = tls::joiner(&asking.token.digest)?;
    let mut connection = match connect(remote, config).await {
        Ok(connection) => connection,
        Err(Failure::Final(_)) if pinned.root().is_none() => {
            return Err(Failure::Final(pinned.mismatch()));
        }
        Err(failure) => return Err(failure),
    };
    let root = pinned.root().ok_or_else(|| Failure::Final(pinned.mismatch()))?;
    let join = Join {
        version: VERSION,
        secret: asking.token.secret.clone(),
        request: asking.key_request.to_owned(),
        availability: asking.availability,
        hostname: asking.hostname.to_owned(),
    };
    connection.send(&ToManager::Join(join)).await?;
    match within(PATIENCE, connection.next()).await?? {
        Some(ToNode::Joined(joined)) => Ok(Membership { root, certificate: joined.certificate }),
        Some(ToNode::Refused(error)) => Err(refusal(error)),
        Some(other) => Err(unexpected(&other)),
        None => Err(Failure::Passing(Error::new(Code::Unavailable, "the manager hung up"))),
    }
}

/// What a manager has refused, it refuses again; what has failed there may not fail again.
pub(crate) fn refusal(error: Error) -> Failure {
    match error.code {
        Code::Internal | Code::Unavailable | Code::DeadlineExceeded => Failure::Passing(error),
        _ => Failure::Final(error),
    }
}

pub(crate) fn unexpected(message: &ToNode) -> Failure {
    tracing::debug!(?message, "unexpected message of a manager");
    let text = "the manager answers with something else than was asked for";
    Failure::Passing(Error::new(Code::Unavailable, text))
}

/// Connects to a manager.
pub(crate) async fn connect(
    remote: &str,
    config: Arc<ClientConfig>,
) -> Result<ManagerConnection, Failure> {
    let lost = |error: std::io::Error| {
        let text = format!("connect to the manager at {remote}: {error}");
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            // Certificates do not change by trying again.
            Some(rustls::Error::InvalidCertificate(_)) => {
                Failure::Final(Error::new(Code::PermissionDenied, text))
            }
            _ => Failure::Passing(Error::new(Code::Unavailable, text)),
        }
    };
    let silent = |_| {
        let text = format!("connect to the manager at {remote}: it does not answer");
        Failure::Passing(Error::new(Code::Unavailable, text))
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(remote)).await;
    let stream = connected.map_err(silent)?.map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    let handshake = TlsConnector::from(config).connect(tls::manager_name(), stream);
    let stream = tokio::time::timeout(PATIENCE, handshake).await.map_err(silent)?.map_err(lost)?;
    let mut connection = Connection::new(stream);
    connection.trust();
    Ok(connection)
}

/// This host's own address on a connection.
pub(crate) fn own_address(connection: &ManagerConnection) -> Result<SocketAddr> {
    let stream: &TcpStream = connection.stream().get_ref().0;
    stream.local_addr().map_err(|error| Error::internal("read this host's address", &error))
}

pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Error::new(Code::DeadlineExceeded, "the manager is silent"))
}
