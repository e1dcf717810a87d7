//! Which of several masters leads, as ZooKeeper knows it and Mesos writes it.
//!
//! ```text
//! <path>/json.info_0000000007   ephemeral, sequential: the JSON of one master's MasterInfo
//! <path>/info_0000000003        the same as protobuf, by masters before Mesos 0.24; it is read
//! <path>/log_replicas/teu       which registry led last, and for which time
//! ```
//! The lowest number leads. A node goes when its master's session ends, so the next takes over.
//! Clients of Mesos know `log_replicas` as the one child that is no master, which is why what is
//! Teu's own is below it.

#![warn(missing_docs)]

mod address;
mod candidacy;
mod node;

use std::time::Duration;

use mesos_api::v1::MasterInfo;
use thiserror::Error;
use zookeeper_client::{Acl, Acls, Client, Error as ZkError};

pub use address::{Address, AddressError};
pub use candidacy::{Candidacy, Lineage, Standing};

/// Why ZooKeeper did not tell, or did not take it.
#[derive(Debug, Error)]
pub enum Error {
    /// It answers, with a refusal, or does not answer.
    #[error("{tried} at ZooKeeper {hosts}")]
    ZooKeeper {
        /// The operation, with its path.
        tried: String,
        /// The servers that were given.
        hosts: String,
        /// What came of it.
        source: ZkError,
    },
    /// Nobody stands for election.
    #[error("no master leads at {0}; is one running with --zk={0}?")]
    Nobody(String),
    /// A node that cannot be understood.
    #[error("the leader's node {path} cannot be read: {message}")]
    Node {
        /// Its path.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The session is over, or somebody has removed the node.
    #[error("this master's node {0} is gone")]
    Gone(String),
    /// Whoever leads has to be heard.
    #[error("ZooKeeper {0} has not answered for almost as long as it remembers this master")]
    Silent(String),
    /// It is another's turn.
    #[error("another master leads: {0}")]
    Deposed(String),
    /// Leading with it would undo what was decided since.
    #[error(
        "the registry here is not the one that led last ({path} says {last}, and this is {own}); \
         masters that follow each other share one --work_dir, or have --registry=in_memory; to \
         begin anew with this one, delete {path}"
    )]
    Registry {
        /// The node that says so.
        path: String,
        /// What it says.
        last: Lineage,
        /// What there is here.
        own: Lineage,
    },
}

/// How long a session outlives its connection, unless a flag says so.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two questions, where a connection has broken.
const PAUSE: Duration = Duration::from_millis(200);

/// The master that leads now.
///
/// # Errors
/// If ZooKeeper does not answer within the timeout, or nobody leads.
pub async fn leader(address: &Address, timeout: Duration) -> Result<MasterInfo, Error> {
    let client = connect(address, timeout).await?;
    let children = match client.list_children(address.path()).await {
        Err(ZkError::NoNode) => Vec::new(),
        other => other.map_err(failed(address, "list", address.path()))?,
    };
    node::read_first(&client, address, &children).await
}

async fn connect(address: &Address, timeout: Duration) -> Result<Client, Error> {
    let mut connector = Client::connector().with_session_timeout(timeout);
    if let Some(credential) = address.credential() {
        connector = connector.with_auth("digest", credential.as_bytes());
    }
    let connecting = tokio::time::timeout(timeout, connector.connect(address.hosts()));
    let connected = connecting.await.unwrap_or(Err(ZkError::Timeout));
    connected.map_err(failed(address, "connect for", address.path()))
}

impl Error {
    /// Whether it may go well another time: nothing is wrong with who asks, or with what.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::ZooKeeper { source, .. } => {
                is_of_connection(source)
                    || matches!(source, ZkError::Timeout | ZkError::SessionExpired)
            }
            Self::Gone(_) | Self::Silent(_) | Self::Nobody(_) => true,
            Self::Node { .. } | Self::Deposed(_) | Self::Registry { .. } => false,
        }
    }
}

/// Asks again while the session lives, if a connection broke meanwhile.
async fn patiently<T, F: Future<Output = Result<T, ZkError>>>(
    client: &Client,
    mut ask: impl FnMut() -> F,
) -> Result<T, ZkError> {
    let mut state = client.state_watcher();
    loop {
        match ask().await {
            Err(error) if is_of_connection(&error) && !client.state().is_terminated() => {
                // Whether it changes or not; the next answer tells.
                let _ = tokio::time::timeout(PAUSE, state.changed()).await;
            }
            other => return other,
        }
    }
}

/// What the system says of sockets comes as `Custom`.
fn is_of_connection(error: &ZkError) -> bool {
    matches!(error, ZkError::ConnectionLoss | ZkError::Custom(_))
}

/// What may be done with nodes that are made there: with a credential, read by all.
fn permissions(address: &Address) -> Acls<'static> {
    const OWN: &[Acl] = &[
        Acl::new_const(zookeeper_client::Permission::ALL, "auth", ""),
        Acl::new_const(zookeeper_client::Permission::READ, "world", "anyone"),
    ];
    if address.credential().is_some() { Acls::new(OWN) } else { Acls::anyone_all() }
}

fn failed(address: &Address, tried: &str, path: &str) -> impl FnOnce(ZkError) -> Error + use<> {
    let (tried, hosts) = (format!("{tried} {path}"), address.hosts().to_owned());
    move |source| Error::ZooKeeper { tried, hosts, source }
}
