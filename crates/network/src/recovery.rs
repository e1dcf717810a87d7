//! Back to what should be: after a crash ([`Network::reconcile`]), and after somebody else's
//! changes ([`Network::repair`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use linux::netlink::{Link, Request};

use crate::connection::Interface;
use crate::endpoint::{Endpoint, Live};
use crate::error::{Context as _, Result};
use crate::network::{Inner, Kernel, Network, lock};
use crate::reaper::gone;
use crate::record::Driver;
use crate::{bridge, macvlan, overlay, rules};

/// What a reconciliation removed, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Containers whose endpoints were removed.
    pub endpoints: Vec<String>,
    /// Host interfaces that belonged to no endpoint, and bridges that belonged to no network.
    pub interfaces: Vec<String>,
    /// Published ports that nobody stands behind any more.
    pub ports: usize,
}

impl Network {
    /// Keeps what belongs to `live` and removes everything else that is ours: interfaces, rules,
    /// addresses, records. Called once after the engine's recovery, before the first start.
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    pub fn reconcile(&self, live: &[Live]) -> Result<Reconciled> {
        let inner = &self.inner;
        let mut reconciled = Reconciled::default();
        let mut result = Ok(());
        for container in live {
            let Live { container_id, pid } = container;
            if inner.sandboxes.get(container_id).is_none()
                && let Err(error) = inner.sandboxes.adopt(container_id, *pid)
            {
                // It may have ended since the caller looked; its end is still to be told.
                tracing::warn!(container_id, pid, %error, "cannot adopt a sandbox");
            }
        }
        let ids: BTreeSet<&str> = live.iter().map(|live| live.container_id.as_str()).collect();
        let endpoints: Vec<Endpoint> = lock(&inner.state).endpoints.values().cloned().collect();
        for endpoint in endpoints.iter().filter(|e| !ids.contains(e.container_id.as_str())) {
            reconciled.ports += endpoint.ports.len();
            reconciled.endpoints.push(endpoint.container_id.clone());
            result = result.and(inner.remove_endpoint(endpoint, Interface::Delete));
            inner.tell_swarm([endpoint]);
        }
        result = result.and(inner.leave_all_unused());
        result = result.and(inner.remove_stray_interfaces(&mut reconciled));
        result = result.and_then(|()| self.repair()).map(drop);
        for container in live {
            // A process may have been killed between an endpoint and the way out that it needs.
            result = result.and(self.follow_way_out(&container.container_id, None));
        }
        result.map(|()| reconciled)
    }

    /// Puts back what somebody else deleted: the bridge, its ports, the rules. Cheap when nothing
    /// is missing. Answers whether something was.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn repair(&self) -> Result<bool> {
        let inner = &self.inner;
        // What comes or goes at this moment looks like a loss as well. Only a second look, while
        // nothing does, tells one from the other.
        if inner.is_whole()? {
            return Ok(false);
        }
        let _nothing_changes = inner.changes.write().unwrap_or_else(PoisonError::into_inner);
        let mut repaired = false;
        let mut interfaces = Vec::new();
        {
            let mut kernel = lock(&inner.kernel);
            inner.ensure_bridges(&mut kernel)?;
            for lost in inner.lost_ports(&mut kernel)? {
                match lost {
                    Lost::Bridge { endpoint, requests } => {
                        let action = || format!("restore the bridge port of {}", endpoint.id);
                        kernel.route.execute(requests).context(action)?;
                        repaired = true;
                    }
                    Lost::Interface(endpoint) => interfaces.push(endpoint),
                }
            }
        }
        for endpoint in interfaces {
            let endpoints = self.endpoints(&endpoint.container_id);
            let attached = inner
                .attach(&endpoint)
                .and_then(|()| inner.set_routes(&endpoint.container_id, &endpoints));
            match attached {
                Ok(()) => repaired = true,
                // Its namespace may have ended with its processes, of which nobody has told yet.
                Err(error) => tracing::warn!(
                    container_id = endpoint.container_id, %error, "cannot restore an interface"
                ),
            }
        }
        let mut kernel = lock(&inner.kernel);
        let intact = inner.has_its_rules(&mut kernel);
        if !intact {
            inner.apply_rules(&mut kernel)?;
        }
        Ok(repaired || !intact)
    }
}

/// What an endpoint that is to be there lacks.
enum Lost {
    /// Its host's end is there, and these put it back into the bridge.
    Bridge {
        endpoint: Endpoint,
        requests: [Request; 3],
    },
    Interface(Endpoint),
}

impl Inner {
    fn remove_stray_interfaces(&self, reconciled: &mut Reconciled) -> Result<()> {
        let mut kernel = lock(&self.kernel);
        let links = kernel.route.links().context(|| "list interfaces".to_owned())?;
        let prefix = self.port_alias_prefix();
        let mut result = Ok(());
        for link in links {
            if bridge::is_ours(&link, &self.config) && !self.has_bridge(&link.name) {
                let deleted = bridge::delete(&mut kernel.route, &self.config, &link.name);
                result = result.and(deleted);
                reconciled.interfaces.push(link.name);
                continue;
            }
            if self.is_stray_parent(&link) || self.is_stray_vxlan(&link) {
                let deleted = gone(kernel.route.execute([Request::delete_link(&link.name)]));
                let deleted = deleted.context(|| format!("delete interface {}", link.name));
                result = result.and(deleted);
                reconciled.interfaces.push(link.name);
                continue;
            }
            let Some(endpoint) = link.alias.as_deref().and_then(|a| a.strip_prefix(&prefix)) else {
                continue;
            };
            if lock(&self.state).endpoints.contains_key(endpoint) {
                continue;
            }
            // The namespace of a container that ended with the daemon may just be going.
            let deleted = gone(kernel.route.execute([Request::delete_link(&link.name)]));
            result = result.and(deleted.context(|| format!("delete interface {}", link.name)));
            reconciled.interfaces.push(link.name);
        }
        result
    }

    fn is_stray_parent(&self, link: &Link) -> bool {
        macvlan::is_ours(link, &self.config) && !self.has_parent(&link.name)
    }

    fn is_stray_vxlan(&self, link: &Link) -> bool {
        let is_known = || {
            let state = lock(&self.state);
            let mut overlays = state.networks.values().filter(|record| record.is_swarm());
            overlays.any(|record| overlay::name_of(&record.id) == link.name)
        };
        overlay::is_ours(link, &self.config) && !is_known()
    }

    fn has_parent(&self, name: &str) -> bool {
        let state = lock(&self.state);
        let mut networks = state.networks.values();
        networks.any(|it| it.driver == Driver::Macvlan && macvlan::parent_of(it) == name)
    }

    fn has_bridge(&self, name: &str) -> bool {
        let state = lock(&self.state);
        state.networks.values().any(|record| record.interface.as_deref() == Some(name))
    }

    /// Whether nothing is to be repaired, or under way.
    fn is_whole(&self) -> Result<bool> {
        let mut kernel = lock(&self.kernel);
        self.ensure_bridges(&mut kernel)?;
        Ok(self.lost_ports(&mut kernel)?.is_empty() && self.has_its_rules(&mut kernel))
    }

    fn has_its_rules(&self, kernel: &mut Kernel) -> bool {
        let (bridges, endpoints) = self.expected_rules();
        bridges.is_empty()
            || rules::is_intact(&mut kernel.nftables, &self.table, &bridges, &endpoints)
                .unwrap_or(false)
    }

    /// Finds interfaces that lost their bridge, and endpoints without one.
    fn lost_ports(&self, kernel: &mut Kernel) -> Result<Vec<Lost>> {
        let links = kernel.route.links().context(|| "list interfaces".to_owned())?;
        let links: BTreeMap<&str, &Link> =
            links.iter().map(|link| (link.name.as_str(), link)).collect();
        let endpoints: Vec<Endpoint> = lock(&self.state).endpoints.values().cloned().collect();
        let mut lost = Vec::new();
        for endpoint in endpoints {
            let Some(name) = endpoint.host_interface.as_deref() else { continue };
            // Removed with its network since.
            let Ok(record) = self.record_of(&endpoint) else { continue };
            let isolated = bridge::isolates_ports(&self.bridge_options(&record));
            let bridge = record.interface.unwrap_or_default();
            let Some(master) = links.get(bridge.as_str()).map(|link| link.index) else { continue };
            match links.get(name) {
                Some(link) if link.master == Some(master) && link.is_up => {}
                Some(link) => {
                    let requests = [
                        Request::set_master(link.index, master),
                        Request::isolate_port(name, isolated),
                        Request::raise_port(name, &self.port_alias(&endpoint)),
                    ];
                    lost.push(Lost::Bridge { endpoint, requests });
                }
                None if self.sandboxes.get(&endpoint.container_id).is_some() => {
                    lost.push(Lost::Interface(endpoint));
                }
                None => {}
            }
        }
        Ok(lost)
    }
}
