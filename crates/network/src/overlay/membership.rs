//! A host's part of the swarm's networks: made with the first container, gone with the last.
//!
//! ```text
//! connect: address of the swarm -> record with its peers -> endpoint -> bridge -> VXLAN -> rules
//! remove:  endpoint gone -> was it the last: record gone -> VXLAN -> bridge -> rules -> address back
//! ```
//! The swarm is asked before any lock is taken, and told after all are given back: it may be slow.
//! That a process was killed in between is what the swarm finds out when this host next says which
//! containers it has ([`Network::overlay_attachments`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use linux::netlink::Family;

use super::device::{self, Plan};
use super::fabric::{AttachRequest, Attachment, Fabric, Peer, Underlay};
use super::options;
use super::record::{Joined, Part, record_of};
use crate::bridge;
use crate::endpoint::{Endpoint, EndpointRequest};
use crate::error::{Context as _, Error, Result};
use crate::network::{Inner, Kernel, Network, lock};
use crate::record::{NetworkInfo, NetworkRecord};
use crate::state::State;

/// A host that has containers in a network. "Engine API NetworkInspect", `Peers`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerNode {
    /// [`Underlay::node_name`].
    pub name: String,
    pub address: std::net::IpAddr,
}

impl Network {
    /// Takes in who else is in a network of the swarm: all containers of other hosts, in place of
    /// those that were told before. Does so whether or not this host has a part of it.
    ///
    /// # Errors
    /// If the kernel refuses, or the state cannot be written; saying it again is harmless.
    pub fn overlay_changed(&self, network_id: &str, peers: Vec<Peer>) -> Result<()> {
        let inner = &self.inner;
        let underlay = inner.fabric().map(|(_, underlay)| underlay);
        let mut kernel = lock(&inner.kernel);
        let record = {
            let mut state = lock(&inner.state);
            state.set_peers(network_id, peers);
            state.networks.get(network_id).cloned()
        };
        let Some(mut record) = record.filter(NetworkRecord::is_swarm) else { return Ok(()) };
        // This host's address on the wire below may have become another since.
        let part = record.overlay.as_mut().and_then(|overlay| overlay.part.as_mut());
        if let (Some(part), Some(underlay)) = (part, underlay) {
            part.underlay = underlay;
        }
        let ensured = inner.record_part(&record).and_then(|()| {
            lock(&inner.state).networks.insert(record.id.clone(), record.clone());
            inner.ensure_bridge(&mut kernel, &record)
        });
        drop(kernel);
        ensured.and(inner.write_names(network_id))
    }

    /// Whether this host is in a swarm.
    pub fn is_in_swarm(&self) -> bool {
        self.inner.fabric().is_some()
    }

    /// The containers of this host that have a place in a network of the swarm.
    pub fn overlay_attachments(&self) -> Vec<(AttachRequest, Attachment)> {
        let state = lock(&self.inner.state);
        let in_swarm = |endpoint: &&Endpoint| state.is_swarm(&endpoint.network_id);
        let attachments = state.endpoints.values().filter(in_swarm).filter_map(|endpoint| {
            let attachment = Attachment { ipv4: endpoint.ip?, mac: endpoint.mac? };
            Some((attach_request(endpoint), attachment))
        });
        attachments.collect()
    }
}

/// What a container got of the swarm.
#[derive(Debug)]
pub(crate) struct Place {
    /// With the address that it got.
    pub(crate) request: EndpointRequest,
    underlay: Underlay,
}

fn attach_request(endpoint: &Endpoint) -> AttachRequest {
    AttachRequest {
        network_id: endpoint.network_id.clone(),
        container_id: endpoint.container_id.clone(),
        container_name: endpoint.container_name.clone(),
        hostname: endpoint.hostname.clone(),
        aliases: endpoint.aliases.clone(),
        ipv4: endpoint.ip,
    }
}

impl Inner {
    /// Finds a network by name, id or prefix of an id, among this host's own and the swarm's.
    pub(crate) fn resolve(&self, network: &str) -> Result<NetworkRecord> {
        let swarm = self.swarm_networks();
        lock(&self.state).resolve(network, &swarm).cloned()
    }

    /// Those that this host has no part of.
    pub(crate) fn swarm_networks(&self) -> Vec<NetworkRecord> {
        let Some(fabric) = &self.config.fabric else { return Vec::new() };
        let networks = fabric.networks();
        let state = lock(&self.state);
        let absent = networks.iter().filter(|network| !state.networks.contains_key(&network.id));
        absent.filter(|it| is_id(&it.id)).map(|network| record_of(network)).collect()
    }

    /// The swarm, where this host is in one.
    pub(crate) fn fabric(&self) -> Option<(&Arc<dyn Fabric>, Underlay)> {
        let fabric = self.config.fabric.as_ref()?;
        Some((fabric, fabric.underlay()?))
    }

    /// Asks the swarm for the container's place in its network. Waits for the swarm: no lock may be
    /// held. `None` for networks of this host alone.
    pub(crate) fn ask_swarm(
        &self,
        container_id: &str,
        record: &NetworkRecord,
        request: &EndpointRequest,
    ) -> Result<Option<Place>> {
        if !record.is_swarm() {
            return Ok(None);
        }
        check_request(record, request)?;
        if lock(&self.state).has_endpoint(&record.id, container_id) {
            // Its place is not to be given back when this fails.
            let container = request.container_name.clone();
            return Err(Error::AlreadyConnected { container, network: record.name.clone() });
        }
        let Some((fabric, underlay)) = self.fabric() else {
            return Err(Error::NoSwarm { network: record.name.clone() });
        };
        let attached = fabric.attach(&AttachRequest {
            network_id: record.id.clone(),
            container_id: container_id.to_owned(),
            container_name: request.container_name.clone(),
            hostname: request.hostname.clone(),
            aliases: request.aliases.clone(),
            ipv4: request.ip,
        });
        let attachment = attached
            .map_err(|source| Error::NotAttached { network: record.name.clone(), source })?;
        let request = EndpointRequest {
            ip: Some(attachment.ipv4),
            mac: Some(attachment.mac),
            ..request.clone()
        };
        Ok(Some(Place { request, underlay }))
    }

    /// Gives a container's places in the swarm's networks back, after its interfaces are gone. No lock
    /// may be held.
    pub(crate) fn tell_swarm<'a>(&self, gone: impl IntoIterator<Item = &'a Endpoint>) {
        let Some(fabric) = &self.config.fabric else { return };
        for endpoint in gone.into_iter().filter(|endpoint| endpoint.is_swarm) {
            fabric.detach(&endpoint.network_id, &endpoint.container_id);
        }
    }

    /// Tells the swarm what a container is called now.
    pub(crate) fn rename_in_swarm(&self, renamed: &[Endpoint]) {
        let Some((fabric, _)) = self.fabric() else { return };
        for endpoint in renamed.iter().filter(|endpoint| endpoint.is_swarm) {
            if let Err(error) = fabric.rename(&attach_request(endpoint)) {
                let network = &endpoint.network_name;
                tracing::warn!(network, %error, "other hosts do not know a container's new name");
            }
        }
    }

    /// Enters an endpoint into a network of the swarm, making this host's part of it.
    pub(crate) fn reserve_in_swarm(
        &self,
        container_id: &str,
        record: &NetworkRecord,
        place: &Place,
    ) -> Result<Endpoint> {
        // Held to the end: nobody takes the part down, as one without endpoints, in between.
        let mut kernel = lock(&self.kernel);
        let is_new = !lock(&self.state).networks.contains_key(&record.id);
        if is_new {
            let record = with_part(&mut kernel, record, &place.underlay)?;
            self.record_part(&record)?;
            lock(&self.state).networks.insert(record.id.clone(), record);
        }
        let reserved = self.reserve(container_id, record, &place.request).and_then(|endpoint| {
            let ready = match is_new {
                true => self.make_part(&mut kernel, record),
                false => Ok(()),
            };
            if ready.is_err() {
                lock(&self.state).endpoints.remove(&endpoint.id);
            }
            ready.map(|()| endpoint)
        });
        if reserved.is_err()
            && let Err(undo) = self.leave_unused(&mut kernel, &record.id)
        {
            tracing::warn!(network = record.name, error = %undo, "cannot undo a network");
        }
        reserved
    }

    fn make_part(&self, kernel: &mut Kernel, record: &NetworkRecord) -> Result<()> {
        let record = lock(&self.state).networks.get(&record.id).cloned();
        let Some(record) = record else { return Ok(()) };
        self.ensure_bridge(kernel, &record)?;
        self.apply_bridge_rules(kernel)
    }

    fn record_part(&self, record: &NetworkRecord) -> Result<()> {
        let peers = lock(&self.state).peers_of(&record.id).to_vec();
        self.store.put_overlay(&Joined { record: record.clone(), peers })
    }

    /// Makes the VXLAN interface of a network what it should be.
    pub(crate) fn ensure_vxlan(&self, kernel: &mut Kernel, record: &NetworkRecord) -> Result<()> {
        let (Some(overlay), Some(bridge)) = (&record.overlay, &record.interface) else {
            return Ok(());
        };
        let Some(plan) = Plan::of(&record.id, bridge, overlay) else { return Ok(()) };
        let peers = lock(&self.state).peers_of(&record.id).to_vec();
        device::ensure(&mut kernel.route, &self.config, &plan, &peers)
    }

    /// Takes this host's part of a network down where no endpoint is left in it.
    pub(crate) fn leave_unused(&self, kernel: &mut Kernel, network_id: &str) -> Result<()> {
        let record = {
            let mut state = lock(&self.state);
            let is_used = state.endpoints.values().any(|e| e.network_id == network_id);
            if is_used || !state.is_swarm(network_id) {
                return Ok(());
            }
            state.networks.remove(network_id)
        };
        let Some(record) = record else { return Ok(()) };
        let removed = self.store.remove_overlay(&record.id);
        let bridge = record.interface.unwrap_or_default();
        let plan = record.overlay.and_then(|overlay| Plan::of(&record.id, &bridge, &overlay));
        let vxlan =
            plan.map_or(Ok(()), |plan| device::delete(&mut kernel.route, &self.config, &plan));
        let bridge = bridge::delete(&mut kernel.route, &self.config, &bridge);
        let rules = self.apply_bridge_rules(kernel);
        removed.and(vxlan).and(bridge).and(rules)
    }

    /// Takes down the parts of networks that nobody is in: a process was killed before it could.
    pub(crate) fn leave_all_unused(&self) -> Result<()> {
        let ids: Vec<String> = {
            let state = lock(&self.state);
            state.networks.values().filter(|it| it.is_swarm()).map(|it| it.id.clone()).collect()
        };
        let mut kernel = lock(&self.kernel);
        let mut result = Ok(());
        for id in &ids {
            result = result.and(self.leave_unused(&mut kernel, id));
        }
        drop(kernel);
        ids.iter().fold(result, |result, id| result.and(self.write_names(id)))
    }

    /// A network as it is shown.
    pub(crate) fn info(&self, state: &State, record: &NetworkRecord) -> NetworkInfo {
        let mut info = state.info(record);
        let part = record.overlay.as_ref().and_then(|overlay| overlay.part.as_ref());
        if let Some(Part { underlay, .. }) = part {
            let own = PeerNode { name: underlay.node_name.clone(), address: underlay.address };
            let node = |peer: &Peer| PeerNode { name: peer.node_name.clone(), address: peer.vtep };
            info.nodes = state.peers_of(&record.id).iter().map(node).collect();
            info.nodes.push(own);
            info.nodes.sort();
            info.nodes.dedup();
        }
        info
    }
}

/// With where packets leave, and how large they may be.
fn with_part(
    kernel: &mut Kernel,
    record: &NetworkRecord,
    underlay: &Underlay,
) -> Result<NetworkRecord> {
    let asked = options::parse(&record.options)?.mtu;
    let action = || "list interfaces".to_owned();
    let addresses = kernel.route.addresses(Family::of(underlay.address)).context(action)?;
    let wire = addresses.iter().find(|it| it.address == underlay.address).map(|it| it.link);
    let links = kernel.route.links().context(action)?;
    let wire = links.iter().find(|link| Some(link.index) == wire).map(|link| link.mtu);
    let mtu = options::mtu(asked, underlay.address, wire);
    let mut record = record.clone();
    if let Some(overlay) = &mut record.overlay {
        overlay.part = Some(Part { underlay: underlay.clone(), mtu });
    }
    Ok(record)
}

/// What cannot be, in a network whose addresses all hosts are told.
fn check_request(record: &NetworkRecord, request: &EndpointRequest) -> Result<()> {
    let refused = |what: &str| {
        Err(Error::Invalid(format!(
            "network {} is an overlay, where the swarm gives each container an address and a link \
             address made of it: {what}",
            record.name
        )))
    };
    if let Some(ip) = request.ip6 {
        return refused(&format!("there is no IPv6, and so no {ip}"));
    }
    if request.mac.is_some() {
        return refused("a MAC address cannot be chosen (--mac-address)");
    }
    if !request.link_local.is_empty() {
        return refused("further addresses cannot be had (--link-local-ip)");
    }
    Ok(())
}

/// What can be part of a file's and an interface's name.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The networks that containers of this host were in when the process before this one ended.
pub(crate) fn restore(
    networks: &mut BTreeMap<String, NetworkRecord>,
    joined: Vec<Joined>,
) -> BTreeMap<String, Vec<Peer>> {
    let mut peers = BTreeMap::new();
    for Joined { record, peers: of_record } in joined {
        peers.insert(record.id.clone(), of_record);
        networks.insert(record.id.clone(), record);
    }
    peers
}
