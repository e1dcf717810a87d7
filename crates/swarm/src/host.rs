//! What the swarm asks of the host that it runs on, and tells it.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{AttachRequest, NodeDescription};

/// The host of a node. Calls may block, except [`Host::happened`].
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// Says what the host is.
    fn describe(&self) -> NodeDescription;

    /// Lists all that the host has in the swarm's networks, with the addresses.
    fn attachments(&self) -> Vec<(AttachRequest, Ipv4Addr)>;

    /// Tells that these networks, or who is in them, are others than before, or are no more. Answers
    /// those that the host could not make so, of which it is told again.
    fn networks_changed(&self, network_ids: &[String]) -> Vec<String>;

    /// Tells that something happened which clients may want to hear of.
    fn happened(&self, event: Event);
}

/// Where the host is found once the swarm is started, and until it ends: the two hold each other.
#[derive(Debug, Default)]
pub(crate) struct HostSlot(Mutex<Option<Arc<dyn Host>>>);

impl HostSlot {
    pub(crate) fn get(&self) -> Option<Arc<dyn Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, host: Option<Arc<dyn Host>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = host;
    }
}

/// Something that happened to a node, as clients hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `create`, `update` or `remove`.
    pub action: &'static str,
    pub node_id: String,
    /// Its hostname.
    pub name: String,
    /// What is another than before: name (`state`, `availability`), new and old value.
    pub changes: Vec<(&'static str, String, String)>,
}
