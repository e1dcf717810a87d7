//! Hosts that belong together: who is a member, by which certificate, whether it lives, and the
//! networks they share. Knows nothing of containers' insides, of Docker's JSON and of interfaces.
//!
//! ```text
//! token, ca -> tls              who is who: root, nodes' certificates, join tokens
//! model, subnet -> books        the manager's books and what may be changed how, as pure decisions
//! store, presence -> manager    the books on disk, and who is heard of
//! wire -> server, client        what nodes and managers say to each other at port 2377
//! joining, held -> worker       a node on its way in, and the session of one that is in
//! disk, host -> swarm           this host's part: init, join, leave, and what the host is told
//! ```
//!
//! There is one manager. It tells each node of all networks and of who is in them; a node announces
//! all it has at the beginning of each session, so that both agree whatever was lost on the way.

mod books;
mod ca;
mod client;
mod disk;
mod error;
mod held;
mod host;
mod id;
mod joining;
mod manager;
mod model;
mod presence;
mod server;
mod store;
mod subnet;
mod swarm;
mod tls;
mod token;
mod wire;
mod worker;

pub use books::ClusterUpdate;
pub use error::{Code, Error, Result};
pub use host::{Event, Host};
pub use model::{
    AttachRequest, Attachment, Availability, Cluster, ClusterSpec, DEFAULT_DATA_PATH_PORT, Network,
    NetworkRequest, NetworkView, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Peer,
    Role, node_name,
};
pub use subnet::Subnet;
pub use swarm::{Init, Join, LocalState, Status, Swarm, TrustRoot};
