//! The files that say who is called what in a network, for those who answer containers' queries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use resolver::{NAMES_DIRECTORY, NameEntry, NetworkNames, names_path};

use crate::endpoint::Endpoint;
use crate::error::{Context as _, Result};
use crate::network::{Inner, lock};
use crate::overlay::Peer;

impl Inner {
    /// Writes the names of all networks, and removes what a process that was killed left: the file of
    /// a network whose record had gone, a file half written.
    pub(crate) fn restore_names(&self) -> Result<()> {
        let ids: Vec<String> = lock(&self.state).networks.keys().cloned().collect();
        ids.iter().try_for_each(|id| self.write_names(id))?;
        let exec_root = &self.config.exec_root;
        let known: BTreeSet<PathBuf> = ids.iter().map(|id| names_path(exec_root, id)).collect();
        let directory = exec_root.join(NAMES_DIRECTORY);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.context(|| format!("list {}", directory.display()))?,
        };
        for path in entries.flatten().map(|entry| entry.path()).filter(|it| !known.contains(it)) {
            resolver::remove_names(&path).context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes the names of a network as they are now, or removes those of one that is gone.
    pub(crate) fn write_names(&self, network_id: &str) -> Result<()> {
        let path = names_path(&self.config.exec_root, network_id);
        // Held over the write: of two writers the later one has the later state.
        let _one_writer = lock(&self.names);
        let names = {
            let state = lock(&self.state);
            let Some(record) = state.networks.get(network_id) else {
                return resolver::remove_names(&path)
                    .context(|| format!("remove {}", path.display()));
            };
            if !record.has_names() {
                return Ok(());
            }
            let mut names = NetworkNames::new(&record.id, &record.name);
            let endpoints = state.endpoints.values();
            names.entries = endpoints.filter(|e| e.network_id == network_id).map(entry).collect();
            names.entries.extend(state.peers_of(network_id).iter().map(entry_of_peer));
            names
        };
        resolver::write_atomically(&path, &names).context(|| format!("write {}", path.display()))
    }
}

fn entry(endpoint: &Endpoint) -> NameEntry {
    NameEntry {
        container_id: endpoint.container_id.clone(),
        name: endpoint.container_name.clone(),
        hostname: endpoint.hostname.clone(),
        aliases: endpoint.aliases.clone(),
        ipv4: endpoint.ip,
        ipv6: endpoint.ip6,
        links: endpoint.links.clone(),
    }
}

/// A container of another host. What it is linked to is its own business.
fn entry_of_peer(peer: &Peer) -> NameEntry {
    NameEntry {
        container_id: peer.container_id.clone(),
        name: peer.container_name.clone(),
        hostname: peer.hostname.clone(),
        aliases: peer.aliases.clone(),
        ipv4: Some(peer.ipv4),
        ipv6: None,
        links: BTreeMap::new(),
    }
}
