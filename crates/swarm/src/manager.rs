//! The manager's side: the books with their store, the authority, and who is heard of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::books::{Books, Change, ClusterUpdate, Held, Joining};
use crate::ca::{Authority, Identity};
use crate::error::{Code, Error, Result};
use crate::host::{Event, HostSlot};
use crate::model::{
    AttachRequest, Attachment, Cluster, Network, NetworkRequest, Node, NodeDescription, NodeSpec,
    NodeState, NodeStatus, Role, View,
};
use crate::presence::Presences;
use crate::store::Store;
use crate::token::{JoinToken, Secret};
use crate::wire;

/// What is said of a node that has not been heard of since the manager began.
const NOT_HEARD: &str = "the node has not been heard of since the manager's start";

/// The manager of a swarm.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) own_node: String,
    /// Held for one look.
    reach: Mutex<Reach>,
    authority: Authority,
    store: Store,
    /// Held for one decision and its commit, so that the disk has decisions in their order.
    books: Mutex<Books>,
    /// Held for one look, also while `books` is held; never the other way round.
    presences: Mutex<Presences>,
    /// Wakes who looks for silent nodes when there is an earlier deadline.
    pub(crate) presence_changed: Notify,
    view: Arc<watch::Sender<Arc<View>>>,
    host: Arc<HostSlot>,
}

/// Where a manager is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    /// By nodes, `host:port`.
    pub(crate) control_address: String,
    /// By VXLAN packets.
    pub(crate) vtep: IpAddr,
}

/// What a manager is made of.
pub(crate) struct Parts {
    pub(crate) own_node: String,
    pub(crate) reach: Reach,
    pub(crate) authority: Authority,
    pub(crate) store: Store,
    pub(crate) books: Books,
    pub(crate) view: Arc<watch::Sender<Arc<View>>>,
    pub(crate) host: Arc<HostSlot>,
}

impl Manager {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut presences = Presences::default();
        let period = period_of(&parts.books.cluster);
        for id in parts.books.nodes.keys().filter(|id| **id != parts.own_node) {
            presences.expect(id, Instant::now(), period, NOT_HEARD);
        }
        parts.view.send_replace(Arc::new(parts.books.view()));
        Self {
            own_node: parts.own_node,
            reach: Mutex::new(parts.reach),
            authority: parts.authority,
            store: parts.store,
            books: Mutex::new(parts.books),
            presences: Mutex::new(presences),
            presence_changed: Notify::new(),
            view: parts.view,
            host: parts.host,
        }
    }

    /// Where it is reached.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on under other addresses.
    pub(crate) fn set_reach(&self, reach: Reach) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = reach;
    }

    /// The swarm.
    pub(crate) fn cluster(&self) -> Cluster {
        self.books().cluster.clone()
    }

    /// How often nodes tell that they live.
    pub(crate) fn period(&self) -> Duration {
        period_of(&self.books().cluster)
    }

    /// The tokens by which workers and managers join.
    pub(crate) fn tokens(&self) -> (JoinToken, JoinToken) {
        let digest = crate::token::digest(self.authority.pem());
        let books = self.books();
        let token = |secret: &Secret| JoinToken {
            digest: digest.clone(),
            secret: secret.tell().to_owned(),
        };
        (token(&books.cluster.worker_secret), token(&books.cluster.manager_secret))
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn update_cluster(&self, update: ClusterUpdate) -> Result<()> {
        self.decide(|books| Ok(((), books.update_cluster(update, Timestamp::now())?)))
    }

    /// All nodes, by id.
    pub(crate) fn nodes(&self) -> Vec<NodeStatus> {
        let nodes: Vec<Node> = self.books().nodes.values().cloned().collect();
        nodes.into_iter().map(|node| self.status_of(node)).collect()
    }

    pub(crate) fn update_node(&self, id: &str, version: u64, spec: NodeSpec) -> Result<()> {
        let (name, old, new) = self.decide(|books| {
            let changes = books.update_node(id, version, spec.clone(), Timestamp::now())?;
            let node = books.node(id)?;
            let old = node.spec.availability;
            Ok(((node.description.hostname.clone(), old, spec.availability), changes))
        })?;
        let mut changes = Vec::new();
        if old != new {
            changes.push(("availability", new.as_str().to_owned(), old.as_str().to_owned()));
        }
        self.tell(Event { action: "update", node_id: id.to_owned(), name, changes });
        Ok(())
    }

    pub(crate) fn remove_node(&self, id: &str, force: bool) -> Result<()> {
        let is_down = self.state_of(id) == NodeState::Down;
        let name = self.decide(|books| {
            let changes = books.remove_node(id, is_down, force)?;
            Ok((books.node(id)?.description.hostname.clone(), changes))
        })?;
        self.presences().remove(id);
        self.tell(Event { action: "remove", node_id: id.to_owned(), name, changes: Vec::new() });
        Ok(())
    }

    /// Lets a node in; its certificate.
    pub(crate) fn join(&self, join: &wire::Join) -> Result<String> {
        wire::check_version(join.version)?;
        let key = crate::ca::key_of_request(&join.request).map_err(|_| {
            Error::answer(Code::InvalidArgument, "the request for a certificate cannot be read")
        })?;
        let joining = Joining {
            secret: &join.secret,
            key: &key,
            availability: join.availability,
            hostname: &join.hostname,
        };
        let (node, is_new) = self.decide(|books| {
            let (node, changes) = books.join(&joining, Timestamp::now())?;
            Ok(((node, !changes.is_empty()), changes))
        })?;
        if is_new {
            let period = self.period();
            self.presences().expect(&node.id, Instant::now(), period, "");
            self.presence_changed.notify_one();
            let name = node.description.hostname.clone();
            self.tell(Event {
                action: "create",
                node_id: node.id.clone(),
                name,
                changes: Vec::new(),
            });
        }
        self.sign(&node.id, node.spec.role, &join.request)
    }

    /// A certificate in the place of one that ends. The key stays that by which the node is known.
    pub(crate) fn renew(&self, node_id: &str, request: &str) -> Result<String> {
        let node = self.books().node(node_id)?.clone();
        if crate::ca::key_of_request(request).is_ok_and(|key| key == node.key) {
            return self.sign(node_id, node.spec.role, request);
        }
        Err(Error::answer(Code::PermissionDenied, format!("node {node_id} has another key")))
    }

    fn sign(&self, node_id: &str, role: Role, request: &str) -> Result<String> {
        let cluster = self.cluster();
        let identity =
            Identity { node_id: node_id.to_owned(), role, cluster_id: cluster.id.clone() };
        let life = Duration::from_nanos(cluster.spec.cert_expiry_nanos);
        Ok(self.authority.sign(request, &identity, SystemTime::now(), life)?)
    }

    /// Whether a bearer of a certificate is a member still.
    pub(crate) fn admit(&self, identity: &Identity) -> Result<()> {
        let books = self.books();
        if identity.cluster_id != books.cluster.id {
            return Err(Error::answer(Code::PermissionDenied, "the node is of another swarm"));
        }
        books.node(&identity.node_id).map(drop)
    }

    /// Whether a node is a member.
    pub(crate) fn knows(&self, node_id: &str) -> bool {
        self.books().nodes.contains_key(node_id)
    }

    /// A node begins a session: its number.
    pub(crate) fn begin_session(
        &self,
        node_id: &str,
        address: String,
        session: &wire::Session,
    ) -> Result<u64> {
        wire::check_version(session.version)?;
        let period = self.period();
        // From here on nothing counts that an older session of the node still says.
        let (number, before) = self.presences().begin(node_id, address, Instant::now(), period);
        self.describe(node_id, session.description.clone(), session.vtep)?;
        self.announce(node_id, &session.held)?;
        self.presence_changed.notify_one();
        self.tell_state(node_id, NodeState::Ready, before);
        Ok(number)
    }

    /// A node was heard of; `false` when its session counts no more.
    pub(crate) fn beat(&self, node_id: &str, session: u64) -> bool {
        let period = self.period();
        self.presences().beat(node_id, session, Instant::now(), period)
    }

    /// A node goes, and gives back all it has.
    pub(crate) fn leave(&self, node_id: &str) -> Result<()> {
        self.announce(node_id, &[])?;
        let before = self.presences().end(node_id, "the node has left the swarm");
        if let Some(before) = before {
            self.tell_state(node_id, NodeState::Down, before);
        }
        Ok(())
    }

    /// Finds silent nodes; when to look next.
    pub(crate) fn expire(&self) -> Option<Instant> {
        let (expired, next) = {
            let mut presences = self.presences();
            (presences.expire(Instant::now()), presences.next_deadline())
        };
        for (id, before) in expired {
            tracing::info!(node_id = id, "node is down");
            self.tell_state(&id, NodeState::Down, before);
        }
        next
    }

    pub(crate) fn describe(
        &self,
        node_id: &str,
        description: NodeDescription,
        vtep: IpAddr,
    ) -> Result<()> {
        self.decide(|books| Ok(((), books.describe(node_id, description, vtep, Timestamp::now())?)))
    }

    /// Makes the books agree with all that a node has.
    pub(crate) fn announce(&self, node_id: &str, held: &[Held]) -> Result<()> {
        let refused = self.decide(|books| {
            let (changes, refused) = books.announce(node_id, held);
            Ok((refused, changes))
        })?;
        for reason in refused {
            tracing::warn!(node_id, reason, "an attachment of a node cannot be");
        }
        Ok(())
    }

    pub(crate) fn create_network(&self, request: NetworkRequest) -> Result<Network> {
        self.decide(|books| books.create_network(request, Timestamp::now()))
    }

    pub(crate) fn remove_network(&self, id: &str) -> Result<()> {
        self.decide(|books| Ok(((), books.remove_network(id)?)))
    }

    /// Gives a container of a node an address; of this host's own where there is no session.
    pub(crate) fn attach(
        &self,
        node_id: &str,
        session: Option<u64>,
        request: AttachRequest,
    ) -> Result<Attachment> {
        self.decide(|books| {
            self.check_session(node_id, session)?;
            books.attach(node_id, request)
        })
    }

    /// Takes an address back.
    pub(crate) fn detach(
        &self,
        node_id: &str,
        session: Option<u64>,
        network_id: &str,
        container: &str,
    ) -> Result<()> {
        self.decide(|books| {
            self.check_session(node_id, session)?;
            Ok(((), books.detach(node_id, network_id, container)))
        })
    }

    /// Refuses what an older session says. Asked while the books are held, so that nothing comes
    /// between the answer and the decision.
    fn check_session(&self, node_id: &str, session: Option<u64>) -> Result<()> {
        match session {
            Some(session) if !self.presences().is_current(node_id, session) => {
                Err(Error::new(Code::Unavailable, "the node has begun another session"))
            }
            _ => Ok(()),
        }
    }

    /// What nodes are told of networks, as it changes.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// What a node must know of the swarm.
    pub(crate) fn started(&self) -> wire::Started {
        let cluster = self.cluster();
        wire::Started {
            period_nanos: cluster.spec.heartbeat_period_nanos,
            data_path_port: cluster.data_path_port,
            managers: vec![(self.own_node.clone(), self.reach().control_address)],
        }
    }

    /// Decides, makes it durable, and tells everybody.
    fn decide<T>(&self, decision: impl FnOnce(&Books) -> Result<(T, Vec<Change>)>) -> Result<T> {
        let mut books = self.books();
        let (answer, changes) = decision(&books)?;
        if changes.is_empty() {
            return Ok(answer);
        }
        self.store.commit(&changes)?;
        let mut touched = BTreeSet::new();
        for change in changes {
            touched.extend(books.touched(&change));
            books.apply(change);
        }
        if !touched.is_empty() {
            self.view.send_modify(|view| {
                let mut next: BTreeMap<_, _> = (**view).clone();
                for id in touched {
                    match books.view_of(&id) {
                        Some(network) => drop(next.insert(id, Arc::new(network))),
                        None => drop(next.remove(&id)),
                    }
                }
                *view = Arc::new(next);
            });
        }
        Ok(answer)
    }

    fn status_of(&self, node: Node) -> NodeStatus {
        if node.id == self.own_node {
            let control_address = self.reach().control_address;
            let address = control_address.rsplit_once(':').map_or("", |(host, _)| host);
            return NodeStatus {
                node,
                state: NodeState::Ready,
                message: String::new(),
                address: address.trim_matches(['[', ']']).to_owned(),
                manager_address: Some(control_address.clone()),
            };
        }
        let presences = self.presences();
        let presence = presences.get(&node.id);
        NodeStatus {
            state: presence.map_or(NodeState::Unknown, |presence| presence.state),
            message: presence.map(|presence| presence.message.clone()).unwrap_or_default(),
            address: presence.map(|presence| presence.address.clone()).unwrap_or_default(),
            manager_address: None,
            node,
        }
    }

    fn state_of(&self, id: &str) -> NodeState {
        if id == self.own_node {
            return NodeState::Ready;
        }
        self.presences().get(id).map_or(NodeState::Unknown, |presence| presence.state)
    }

    fn tell_state(&self, node_id: &str, new: NodeState, old: NodeState) {
        if new == old {
            return;
        }
        let name = self.books().nodes.get(node_id).map(|node| node.description.hostname.clone());
        self.tell(Event {
            action: "update",
            node_id: node_id.to_owned(),
            name: name.unwrap_or_default(),
            changes: vec![("state", new.as_str().to_owned(), old.as_str().to_owned())],
        });
    }

    fn tell(&self, event: Event) {
        if let Some(host) = self.host.get() {
            host.happened(event);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn presences(&self) -> MutexGuard<'_, Presences> {
        self.presences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn period_of(cluster: &Cluster) -> Duration {
    Duration::from_nanos(cluster.spec.heartbeat_period_nanos)
}
