//! Nodes: who joins, what is changed of them, who goes.

use jiff::Timestamp;

use super::{Books, Change, check_version};
use crate::error::{Code, Error, Result};
use crate::model::{Node, NodeDescription, NodeSpec, Role};

/// A node that wants in.
#[derive(Debug, Clone)]
pub(crate) struct Joining<'a> {
    pub(crate) secret: &'a str,
    /// What tells its key from others'.
    pub(crate) key: &'a str,
    pub(crate) availability: crate::model::Availability,
    pub(crate) hostname: &'a str,
}

impl Books {
    /// Lets a node in: the node, and the changes if it was not in before. A node that asks again with
    /// the same key is the same one: it has not heard the first answer.
    pub(crate) fn join(
        &self,
        joining: &Joining<'_>,
        now: Timestamp,
    ) -> Result<(Node, Vec<Change>)> {
        if self.cluster.manager_secret.is(joining.secret) {
            return Err(Error::new(
                Code::Unimplemented,
                "a swarm of several managers is not supported yet: join as a worker, with the token \
                 that `swarm join-token worker` prints",
            ));
        }
        if !self.cluster.worker_secret.is(joining.secret) {
            return Err(Error::answer(
                Code::InvalidArgument,
                "A valid join token is necessary to join this cluster",
            ));
        }
        if let Some(node) = self.nodes.values().find(|node| node.key == joining.key) {
            return Ok((node.clone(), Vec::new()));
        }
        let node = self.new_node(joining, Role::Worker, now);
        Ok((node.clone(), vec![Change::Node(Box::new(node))]))
    }

    /// The entry of a node that nothing is known of yet.
    pub(crate) fn new_node(&self, joining: &Joining<'_>, role: Role, now: Timestamp) -> Node {
        Node {
            id: crate::id::random_id(),
            version: self.next_version(),
            created: now,
            updated: now,
            spec: NodeSpec {
                name: String::new(),
                labels: std::collections::BTreeMap::new(),
                role,
                availability: joining.availability,
            },
            description: NodeDescription {
                hostname: joining.hostname.to_owned(),
                ..NodeDescription::default()
            },
            vtep: None,
            key: joining.key.to_owned(),
        }
    }

    /// Enters what a node says of itself.
    pub(crate) fn describe(
        &self,
        id: &str,
        description: NodeDescription,
        vtep: std::net::IpAddr,
        now: Timestamp,
    ) -> Result<Vec<Change>> {
        let known = self.node(id)?;
        if known.description == description && known.vtep == Some(vtep) {
            return Ok(Vec::new());
        }
        let mut node = known.clone();
        node.description = description;
        node.vtep = Some(vtep);
        node.version = self.next_version();
        node.updated = now;
        Ok(vec![Change::Node(Box::new(node))])
    }

    /// Changes what clients may change of a node.
    pub(crate) fn update_node(
        &self,
        id: &str,
        version: u64,
        spec: NodeSpec,
        now: Timestamp,
    ) -> Result<Vec<Change>> {
        let mut node = self.node(id)?.clone();
        check_version(version, node.version)?;
        match (node.spec.role, spec.role) {
            (Role::Manager, Role::Worker) => {
                return Err(Error::answer(
                    Code::FailedPrecondition,
                    "attempting to demote the last manager of the swarm",
                ));
            }
            (Role::Worker, Role::Manager) => {
                return Err(Error::new(
                    Code::Unimplemented,
                    format!("promote node {id}: a swarm of several managers is not supported yet"),
                ));
            }
            _ => {}
        }
        node.spec = spec;
        node.version = self.next_version();
        node.updated = now;
        Ok(vec![Change::Node(Box::new(node))])
    }

    /// Takes a node out, and what it had in networks. `is_down`: whether it is known to be away.
    pub(crate) fn remove_node(&self, id: &str, is_down: bool, force: bool) -> Result<Vec<Change>> {
        let node = self.node(id)?;
        if node.spec.role == Role::Manager {
            return Err(Error::answer(
                Code::FailedPrecondition,
                format!(
                    "node {id} is a cluster manager and is a member of the raft cluster. It must be \
                     demoted to worker before removal"
                ),
            ));
        }
        if !is_down && !force {
            return Err(Error::answer(
                Code::FailedPrecondition,
                format!("node {id} is not down and can't be removed"),
            ));
        }
        let mut changes = self.release_all(id);
        changes.push(Change::NodeGone(id.to_owned()));
        Ok(changes)
    }

    pub(crate) fn node(&self, id: &str) -> Result<&Node> {
        let missing = || Error::answer(Code::NotFound, format!("node {id} not found"));
        self.nodes.get(id).ok_or_else(missing)
    }
}
