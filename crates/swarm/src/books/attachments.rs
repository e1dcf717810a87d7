//! Attachments: which address each container has in a network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{Books, Change};
use crate::error::{Code, Error, Result};
use crate::model::{AttachRequest, Attachment, Network};
use crate::subnet::choose_address;

/// An attachment that a node says it has. Without an address it has only asked for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) request: AttachRequest,
    pub(crate) ipv4: Option<Ipv4Addr>,
}

impl Books {
    /// Gives a container of a node an address, the one it has if it has one.
    pub(crate) fn attach(
        &self,
        node_id: &str,
        request: AttachRequest,
    ) -> Result<(Attachment, Vec<Change>)> {
        let network = self.network(&request.network_id)?;
        self.node(node_id)?;
        if let Some(known) = self.attachment(&request) {
            return self.attach_again(node_id, known, request);
        }
        if !network.attachable {
            return Err(Error::answer(
                Code::PermissionDenied,
                format!("network {} not manually attachable", network.name),
            ));
        }
        let ipv4 = match request.ipv4 {
            Some(wanted) => self.claim(network, wanted)?,
            None => self.free_address(network)?,
        };
        let attachment = Attachment { node_id: node_id.to_owned(), ipv4, request };
        Ok((attachment.clone(), vec![Change::Attachment(Box::new(attachment))]))
    }

    fn attach_again(
        &self,
        node_id: &str,
        known: &Attachment,
        request: AttachRequest,
    ) -> Result<(Attachment, Vec<Change>)> {
        if known.node_id != node_id {
            return Err(Error::answer(
                Code::AlreadyExists,
                format!("container {} is attached on another node", request.container_id),
            ));
        }
        let moved = request.ipv4.is_some_and(|wanted| wanted != known.ipv4);
        let ipv4 = match request.ipv4 {
            Some(wanted) if moved => self.claim(self.network(&request.network_id)?, wanted)?,
            _ => known.ipv4,
        };
        let attachment = Attachment { ipv4, request, node_id: node_id.to_owned() };
        if attachment == *known {
            return Ok((attachment, Vec::new()));
        }
        Ok((attachment.clone(), vec![Change::Attachment(Box::new(attachment))]))
    }

    /// Takes an address back; unknown ones are fine.
    pub(crate) fn detach(
        &self,
        node_id: &str,
        network_id: &str,
        container_id: &str,
    ) -> Vec<Change> {
        let key = (network_id.to_owned(), container_id.to_owned());
        match self.attachments.get(&key) {
            Some(known) if known.node_id == node_id => vec![Change::AttachmentGone(key.0, key.1)],
            _ => Vec::new(),
        }
    }

    /// Makes the books agree with all that a node says it has: what it does not name is given back,
    /// what is not here is entered if nobody has its address. Changes that contradict each other are
    /// told as refusals, one text each.
    pub(crate) fn announce(&self, node_id: &str, held: &[Held]) -> (Vec<Change>, Vec<String>) {
        let named: BTreeSet<(&str, &str)> = held
            .iter()
            .map(|held| (&*held.request.network_id, &*held.request.container_id))
            .collect();
        let mut changes: Vec<Change> = self
            .attachments
            .iter()
            .filter(|((network, container), attachment)| {
                attachment.node_id == node_id && !named.contains(&(&**network, &**container))
            })
            .map(|((network, container), _)| {
                Change::AttachmentGone(network.clone(), container.clone())
            })
            .collect();
        let mut refused = Vec::new();
        let mut entered = BTreeSet::new();
        for held in held {
            let Some(ipv4) = held.ipv4 else { continue };
            match self.enter(node_id, &held.request, ipv4, &mut entered) {
                Ok(change) => changes.extend(change),
                Err(text) => refused.push(text),
            }
        }
        (changes, refused)
    }

    /// Enters one attachment that a node has; `entered` are the addresses of this announcement.
    fn enter(
        &self,
        node_id: &str,
        request: &AttachRequest,
        ipv4: Ipv4Addr,
        entered: &mut BTreeSet<(String, Ipv4Addr)>,
    ) -> Result<Option<Change>, String> {
        let container = &request.container_id;
        let Some(network) = self.networks.get(&request.network_id) else {
            return Err(format!(
                "container {container} is in network {}, which is no more",
                request.network_id
            ));
        };
        let owner = self.attached_to(&network.id).find(|attachment| {
            attachment.ipv4 == ipv4 && attachment.request.container_id != *container
        });
        let is_new = entered.insert((network.id.clone(), ipv4));
        if let Some(other) = owner.filter(|other| other.node_id != node_id) {
            return Err(format!(
                "container {container} has {ipv4} in network {}, which is container {}'s",
                network.name, other.request.container_id
            ));
        }
        if !is_new || !network.subnet.is_usable(ipv4) {
            return Err(format!(
                "container {container} has {ipv4} in network {}, which cannot be",
                network.name
            ));
        }
        let attachment = Attachment { node_id: node_id.to_owned(), ipv4, request: request.clone() };
        if self.attachment(request) == Some(&attachment) {
            return Ok(None);
        }
        Ok(Some(Change::Attachment(Box::new(attachment))))
    }

    /// Takes back all that a node has.
    pub(super) fn release_all(&self, node_id: &str) -> Vec<Change> {
        self.announce(node_id, &[]).0
    }

    fn attachment(&self, request: &AttachRequest) -> Option<&Attachment> {
        self.attachments.get(&(request.network_id.clone(), request.container_id.clone()))
    }

    fn claim(&self, network: &Network, wanted: Ipv4Addr) -> Result<Ipv4Addr> {
        if !network.subnet.is_usable(wanted) {
            return Err(Error::answer(
                Code::InvalidArgument,
                format!("no configured subnet contains IP address {wanted}"),
            ));
        }
        if self.taken(network).contains(&wanted) {
            return Err(Error::answer(
                Code::AlreadyExists,
                format!("{wanted}: Address already in use"),
            ));
        }
        Ok(wanted)
    }

    fn free_address(&self, network: &Network) -> Result<Ipv4Addr> {
        let range = network.ip_range.unwrap_or(network.subnet);
        let last = self.given_last.get(&network.id).copied();
        choose_address(network.subnet, range, &self.taken(network), last).ok_or_else(|| {
            Error::answer(
                Code::ResourceExhausted,
                format!("no available IPv4 addresses in network {} ({range})", network.name),
            )
        })
    }

    fn taken(&self, network: &Network) -> BTreeSet<Ipv4Addr> {
        let aux = network.aux_addresses.values().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        let attached = self.attached_to(&network.id).map(|attachment| attachment.ipv4);
        attached.chain(aux).chain(network.gateway).collect()
    }
}
