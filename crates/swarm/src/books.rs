//! The manager's books: what there is in a swarm, and what may be changed how. No disk, no clock, no
//! sockets: a decision is a list of [`Change`]s, which the store makes durable before they count.

mod attachments;
mod networks;
mod nodes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use attachments::Held;
pub(crate) use nodes::Joining;

use crate::error::{Code, Error, Result};
use crate::model::{
    Attachment, Cluster, ClusterSpec, Network, NetworkView, Node, Peer, View, node_name,
};
use crate::token::Secret;

/// One object that is now so, or is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Cluster(Box<Cluster>),
    Node(Box<Node>),
    NodeGone(String),
    Network(Box<Network>),
    NetworkGone(String),
    Attachment(Box<Attachment>),
    /// Network and container.
    AttachmentGone(String, String),
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) cluster: Cluster,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) networks: BTreeMap<String, Network>,
    /// By network and container.
    attachments: BTreeMap<(String, String), Attachment>,
    /// The address that was given last in each network, which is not given again soon.
    given_last: BTreeMap<String, Ipv4Addr>,
    /// The highest version of all.
    index: u64,
}

/// What a change of the swarm itself asks for.
#[derive(Debug, Clone, Default)]
pub struct ClusterUpdate {
    /// The version that the client has seen.
    pub version: u64,
    /// `None`: as it is.
    pub spec: Option<ClusterSpec>,
    /// Whether to make the tokens that workers have worthless.
    pub rotate_worker_token: bool,
    /// Whether to make the tokens that managers have worthless.
    pub rotate_manager_token: bool,
}

impl Books {
    /// The books of a swarm in which there is nothing yet.
    pub(crate) fn new(cluster: Cluster) -> Self {
        let index = cluster.version;
        Self {
            cluster,
            nodes: BTreeMap::new(),
            networks: BTreeMap::new(),
            attachments: BTreeMap::new(),
            given_last: BTreeMap::new(),
            index,
        }
    }

    /// Enters a change that is durable.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Cluster(cluster) => {
                self.index = self.index.max(cluster.version);
                self.cluster = *cluster;
            }
            Change::Node(node) => {
                self.index = self.index.max(node.version);
                self.nodes.insert(node.id.clone(), *node);
            }
            Change::NodeGone(id) => drop(self.nodes.remove(&id)),
            Change::Network(network) => {
                self.index = self.index.max(network.version);
                self.networks.insert(network.id.clone(), *network);
            }
            Change::NetworkGone(id) => {
                self.networks.remove(&id);
                self.given_last.remove(&id);
            }
            Change::Attachment(attachment) => {
                let request = &attachment.request;
                let key = (request.network_id.clone(), request.container_id.clone());
                self.given_last.insert(request.network_id.clone(), attachment.ipv4);
                self.attachments.insert(key, *attachment);
            }
            Change::AttachmentGone(network, container) => {
                self.attachments.remove(&(network, container));
            }
        }
    }

    /// The networks whose views are others after a change.
    pub(crate) fn touched(&self, change: &Change) -> BTreeSet<String> {
        match change {
            Change::Cluster(_) | Change::NodeGone(_) => BTreeSet::new(),
            Change::Node(node) => self.networks_of(&node.id),
            Change::Network(network) => BTreeSet::from([network.id.clone()]),
            Change::NetworkGone(id) | Change::AttachmentGone(id, _) => BTreeSet::from([id.clone()]),
            Change::Attachment(attachment) => {
                BTreeSet::from([attachment.request.network_id.clone()])
            }
        }
    }

    /// What nodes are told of a network; `None` when there is no such network.
    pub(crate) fn view_of(&self, network_id: &str) -> Option<NetworkView> {
        let network = self.networks.get(network_id)?.clone();
        let peers = self.attached_to(network_id).filter_map(|attachment| {
            let node = self.nodes.get(&attachment.node_id)?;
            let request = &attachment.request;
            Some(Peer {
                node_id: node.id.clone(),
                node_name: node_name(&node.description.hostname, &node.id),
                vtep: node.vtep?,
                ipv4: attachment.ipv4,
                container_id: request.container_id.clone(),
                container_name: request.container_name.clone(),
                hostname: request.hostname.clone(),
                aliases: request.aliases.clone(),
            })
        });
        Some(NetworkView { network, peers: peers.collect() })
    }

    /// What nodes are told of all networks.
    pub(crate) fn view(&self) -> View {
        let ids = self.networks.keys();
        ids.filter_map(|id| Some((id.clone(), Arc::new(self.view_of(id)?)))).collect()
    }

    /// Changes the swarm itself.
    pub(crate) fn update_cluster(
        &self,
        update: ClusterUpdate,
        now: jiff::Timestamp,
    ) -> Result<Vec<Change>> {
        let mut cluster = self.cluster.clone();
        check_version(update.version, cluster.version)?;
        if let Some(spec) = update.spec {
            check_spec(&spec)?;
            cluster.spec = spec;
        }
        if update.rotate_worker_token {
            cluster.worker_secret = Secret::random();
        }
        if update.rotate_manager_token {
            cluster.manager_secret = Secret::random();
        }
        cluster.version = self.next_version();
        cluster.updated = now;
        Ok(vec![Change::Cluster(Box::new(cluster))])
    }

    fn next_version(&self) -> u64 {
        self.index + 1
    }

    fn attached_to(&self, network_id: &str) -> impl Iterator<Item = &Attachment> {
        self.attachments
            .iter()
            .filter(move |((network, _), _)| network == network_id)
            .map(|(_, attachment)| attachment)
    }

    fn networks_of(&self, node_id: &str) -> BTreeSet<String> {
        let of_node = self.attachments.values().filter(|attachment| attachment.node_id == node_id);
        of_node.map(|attachment| attachment.request.network_id.clone()).collect()
    }
}

/// Whether who changes something has seen its last version.
fn check_version(seen: u64, version: u64) -> Result<()> {
    if seen == version {
        return Ok(());
    }
    Err(Error::answer(Code::FailedPrecondition, "update out of sequence"))
}

/// Bounds of what a swarm can be told.
pub(crate) fn check_spec(spec: &ClusterSpec) -> Result<()> {
    let refuse = |text: &str| Err(Error::answer(Code::InvalidArgument, text));
    if spec.name != "default" {
        return refuse("cluster name cannot be changed from default");
    }
    if !(1_000_000_000..=3600 * 1_000_000_000).contains(&spec.heartbeat_period_nanos) {
        return refuse("invalid heartbeat period: it must be at least 1 second and at most 1 hour");
    }
    if spec.cert_expiry_nanos < 3600 * 1_000_000_000 {
        return refuse("invalid certificate expiry: it must be at least 1 hour");
    }
    if spec.cert_expiry_nanos > 20 * 365 * 24 * 3600 * 1_000_000_000 {
        return refuse("invalid certificate expiry: it must be at most that of the root, 20 years");
    }
    Ok(())
}
