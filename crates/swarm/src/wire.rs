//! What nodes and managers say to each other: JSON in frames with a length in front, over TLS.
//!
//! ```text
//! node -> manager  Join                   the first and only frame of a node without a certificate
//! manager -> node  Joined | Refused
//!
//! node -> manager  Session                the first frame of a node with one
//! manager -> node  Started | Refused
//! manager -> node  Networks …             at once, and whenever something changes
//! node -> manager  Heartbeat, Call …      answered by Heartbeat, Answer
//! ```
//! Every first frame names the version of all this.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::books::Held;
use crate::error::{Code, Error};
use crate::model::{AttachRequest, Availability, NetworkView, NodeDescription};

/// The version of the messages.
pub(crate) const VERSION: u32 = 1;
/// How long a node may be before its first frame, and a frame may take to be sent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The most that somebody without a certificate may send.
const MAX_FIRST_BYTES: usize = 64 << 10;
/// The most that a member may send: a network with a hundred thousand containers is less.
const MAX_BYTES: usize = 64 << 20;

/// From a node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToManager {
    Join(Join),
    Session(Box<Session>),
    Heartbeat,
    Call { id: u64, call: Call },
}

/// From a manager.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToNode {
    Joined(Joined),
    Refused(Error),
    Started(Started),
    Heartbeat { period_nanos: u64 },
    Networks(Networks),
    Answer { id: u64, answer: Result<Answer, Error> },
}

/// A node asks for a certificate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) version: u32,
    pub(crate) secret: String,
    /// A request for a certificate, in PEM form.
    pub(crate) request: String,
    pub(crate) availability: Availability,
    pub(crate) hostname: String,
}

/// Tells no secret.
impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// A node's certificate.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) certificate: String,
}

/// A node begins to take part.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) version: u32,
    pub(crate) description: NodeDescription,
    pub(crate) vtep: IpAddr,
    /// All that it has in the swarm's networks.
    pub(crate) held: Vec<Held>,
}

/// What a node must know of its swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) period_nanos: u64,
    pub(crate) data_path_port: u16,
    /// Ids and control addresses of the managers.
    pub(crate) managers: Vec<(String, String)>,
}

/// Networks that are others than before. The first after [`Started`] has all of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Networks {
    pub(crate) changed: Vec<Arc<NetworkView>>,
    pub(crate) gone: Vec<String>,
}

/// What a node may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Attach(AttachRequest),
    Detach {
        network_id: String,
        container_id: String,
    },
    /// A request for a certificate in the place of one that ends.
    Renew {
        request: String,
    },
    /// It goes, and gives back all that it has.
    Leave,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Attached { ipv4: std::net::Ipv4Addr },
    Renewed { certificate: String },
    Done,
}

/// A connection that carries frames.
pub(crate) struct Connection<S>(Framed<S, LengthDelimitedCodec>);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection on which little may come until [`Connection::trust`].
    pub(crate) fn new(stream: S) -> Self {
        Self(Framed::new(stream, codec(MAX_FIRST_BYTES)))
    }

    /// Lets the other side send as much as a member may.
    pub(crate) fn trust(&mut self) {
        self.0.codec_mut().set_max_frame_length(MAX_BYTES);
    }

    /// The stream below.
    pub(crate) fn stream(&self) -> &S {
        self.0.get_ref()
    }

    /// Sends one message; the other side has [`PATIENCE`] to take it.
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_vec(message)
            .map_err(|error| Error::internal("write a message", &error))?;
        match tokio::time::timeout(PATIENCE, self.0.send(Bytes::from(json))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(Error::new(Code::Unavailable, "the other side takes nothing any more")),
        }
    }

    /// Takes the next message; `None` at the end. What is half read stays when this is dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        match self.0.next().await {
            None => Ok(None),
            Some(Err(error)) => Err(lost(&error)),
            Some(Ok(frame)) => serde_json::from_slice(&frame).map(Some).map_err(|error| {
                Error::new(Code::InvalidArgument, format!("invalid message: {error}"))
            }),
        }
    }
}

fn codec(max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().length_field_length(4).max_frame_length(max).new_codec()
}

fn lost(error: &std::io::Error) -> Error {
    Error::new(Code::Unavailable, format!("the connection is lost: {error}"))
}

/// Refuses another version of the messages.
pub(crate) fn check_version(version: u32) -> Result<(), Error> {
    if version == VERSION {
        return Ok(());
    }
    Err(Error::new(
        Code::Unimplemented,
        format!(
            "the node speaks version {version} of the swarm's messages, and the manager {VERSION}"
        ),
    ))
}
