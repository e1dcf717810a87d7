//! The handle through which the engine has networks: connecting, disconnecting, looking.
//!
//! Locks, in the order in which they may be held together: `changes`, then `kernel`, then `names`,
//! then `state`, then `claims`. `changes` is shared by all who connect and disconnect, and held alone
//! by who puts back what is missing; `kernel` is held for a few netlink exchanges and while a network
//! is recorded, `names` for writing a file, the others for map operations; `claims` also for binding
//! sockets.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use linux::netlink::Route;
use linux::netlink::nft::{ForeignChain, Nftables};

use crate::claim::Claims;
use crate::config::Config;
use crate::connection::Interface;
use crate::endpoint::{Endpoint, EndpointRequest, Sandbox};
use crate::error::{Context as _, Error, Result};
use crate::port::PortBinding;
use crate::reaper::Reaper;
use crate::record::NetworkInfo;
use crate::sandbox::Sandboxes;
use crate::state::State;
use crate::store::Store;
use crate::turn::Turn;
use crate::watch::Watch;
use crate::{gateway, overlay, owner, predefined, rules};

/// All networks of this host; clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    /// Tells this daemon from others on the host.
    pub(crate) identity: String,
    pub(crate) table: String,
    pub(crate) store: Store,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) reaper: Reaper,
    /// Shared while an endpoint comes or goes: the kernel has only a part of it then.
    pub(crate) changes: RwLock<()>,
    pub(crate) kernel: Mutex<Kernel>,
    pub(crate) state: Mutex<State>,
    pub(crate) claims: Mutex<Claims>,
    /// For who writes the files of names.
    pub(crate) names: Mutex<()>,
    /// Set once, as the last step of opening.
    watch: OnceLock<Watch>,
}

/// The host's own namespace.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) route: Route,
    pub(crate) nftables: Nftables,
}

impl Network {
    /// Creates or adopts the default bridge, its rules, and the endpoints of an earlier process.
    ///
    /// Repeating it is harmless at any moment: rules are replaced in one transaction, so published
    /// ports of running containers answer throughout. The calling thread's network namespace is
    /// the host's from then on.
    ///
    /// # Errors
    /// If the bridge is another daemon's or no bridge, no subnet is free, or the kernel refuses.
    pub fn open(config: Config) -> Result<Self> {
        config.validate()?;
        let store = Store::open(&config.data_root, &config.exec_root)?;
        let mut kernel = Kernel {
            route: Route::open().context(|| "open a netlink socket".to_owned())?,
            nftables: Nftables::open().context(|| "open an nftables socket".to_owned())?,
        };
        let turn = Turn::take()?;
        let mut networks = predefined::networks(&mut kernel.route, &config, &store)?;
        let peers = overlay::restore(&mut networks, store.overlays()?);
        let endpoints = untangled(store.endpoints()?);
        let mut claims = Claims::default();
        for endpoint in endpoints.values() {
            claims.restore(&endpoint.container_id, &endpoint.ports);
        }
        let identity = predefined::identity(&config, &networks);
        let inner = Inner {
            table: rules::table_name(&identity),
            identity,
            sandboxes: Sandboxes::new(config.ready_sandboxes)?,
            reaper: Reaper::new()?,
            config,
            store,
            changes: RwLock::new(()),
            kernel: Mutex::new(kernel),
            state: Mutex::new(State::new(networks, endpoints, peers)),
            claims: Mutex::new(claims),
            names: Mutex::new(()),
            watch: OnceLock::new(),
        };
        inner.ensure_bridges(&mut lock(&inner.kernel))?;
        drop(turn);
        inner.apply_rules(&mut lock(&inner.kernel))?;
        inner.restore_names()?;
        let network = Self { inner: Arc::new(inner) };
        if network.inner.config.watch {
            let _ = network.inner.watch.set(Watch::new(&network)?); // nobody else has set it
        }
        for warning in network.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(network)
    }

    /// Takes a ready namespace for a container that is about to start (also for `none`).
    ///
    /// # Errors
    /// If the kernel makes no namespace.
    pub fn create_sandbox(&self, container_id: &str) -> Result<Sandbox> {
        self.destroy_sandbox(container_id)?;
        self.inner.sandboxes.create(container_id)
    }

    /// As [`Self::create_sandbox`], in a new namespace that belongs to the container's own user
    /// namespace.
    ///
    /// # Errors
    /// If it cannot be entered or made ready.
    pub fn create_sandbox_in(&self, container_id: &str, namespace: OwnedFd) -> Result<Sandbox> {
        self.destroy_sandbox(container_id)?;
        self.inner.sandboxes.create_in(container_id, namespace)
    }

    /// The sandbox of a container, where it has one.
    pub fn sandbox(&self, container_id: &str) -> Option<Sandbox> {
        self.inner.sandboxes.get(container_id)
    }

    /// Removes whatever endpoints the container still has and lets its namespace go. A container
    /// without a sandbox is fine: recovery is running it again.
    ///
    /// Ports and addresses are free when this returns; the interfaces themselves, cut off from
    /// their bridge, are deleted in the background ([`Self::settle`] waits for that).
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    pub fn destroy_sandbox(&self, container_id: &str) -> Result<()> {
        let changes = self.inner.begin_change();
        let mut result = Ok(());
        let mut interfaces = Vec::new();
        let endpoints = self.endpoints(container_id);
        for endpoint in &endpoints {
            result = result.and(self.inner.remove_endpoint(endpoint, Interface::CutOff));
            interfaces.extend(endpoint.host_interface.clone());
        }
        let namespace = self.inner.sandboxes.release(container_id);
        if namespace.is_some() || !interfaces.is_empty() {
            self.inner.reaper.delete(interfaces, namespace);
        }
        drop(changes);
        self.inner.tell_swarm(&endpoints);
        result
    }

    /// Waits for what goes on in the background: interfaces of destroyed containers are deleted,
    /// UDP flows that began before a port was published are sent its way.
    pub fn settle(&self) {
        self.inner.reaper.settle();
    }

    /// Gives the container an interface in a network (name, id or prefix of an id) and publishes
    /// its ports. On an error nothing of it stays. In a network of the swarm it waits for the swarm.
    ///
    /// # Errors
    /// If the network or the sandbox is missing, an address or a port is taken, the swarm or the
    /// kernel refuses.
    pub fn connect(
        &self,
        container_id: &str,
        network: &str,
        request: &EndpointRequest,
    ) -> Result<Endpoint> {
        let inner = &self.inner;
        let record = inner.resolve(network)?;
        let Some(place) = inner.ask_swarm(container_id, &record, request)? else {
            return self.make_endpoint(container_id, |inner| {
                inner.reserve(container_id, &record, request)
            });
        };
        let made = self.make_endpoint(container_id, |inner| {
            inner.reserve_in_swarm(container_id, &record, &place)
        });
        if made.is_err()
            && let Some(fabric) = &inner.config.fabric
        {
            fabric.detach(&record.id, container_id);
        }
        made
    }

    fn make_endpoint(
        &self,
        container_id: &str,
        reserve: impl FnOnce(&Inner) -> Result<Endpoint>,
    ) -> Result<Endpoint> {
        let inner = &self.inner;
        let endpoint = {
            let _changes = inner.begin_change();
            inner.complete(&reserve(inner)?)?
        };
        if let Err(error) = self.follow_way_out(container_id, None) {
            let _changes = inner.begin_change();
            if let Err(undo) = inner.disconnect(&endpoint) {
                tracing::warn!(container_id, error = %undo, "cannot undo a connection");
            }
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Takes the interface and the ports away again.
    ///
    /// # Errors
    /// If the container is not connected, or the kernel refuses.
    pub fn disconnect(&self, container_id: &str, network: &str) -> Result<()> {
        let record = self.inner.resolve(network)?;
        let endpoints = self.endpoints(container_id);
        let endpoint = endpoints
            .iter()
            .find(|endpoint| endpoint.network_id == record.id && !endpoint.is_way_out_only);
        let endpoint = endpoint.ok_or_else(|| Error::NotConnected {
            container_id: container_id.to_owned(),
            network: record.name.clone(),
        })?;
        // The next way out is there before this one goes, so that the ports have where to go.
        let followed = self.follow_way_out(container_id, Some(&endpoint.id));
        let removed = {
            let _changes = self.inner.begin_change();
            self.inner.disconnect(endpoint)
        };
        self.inner.tell_swarm([endpoint]);
        removed.and(followed)
    }

    /// What a container publishes, and the sockets that keep it bound as long as this process lives.
    /// Those that were handed over are not among them.
    pub fn published(&self, container_id: &str) -> (Vec<PortBinding>, Vec<Arc<OwnedFd>>) {
        let endpoints = self.endpoints(container_id).into_iter();
        let ports: Vec<PortBinding> =
            endpoints.flat_map(|e| e.ports).filter(|port| port.host_port != 0).collect();
        let sockets = lock(&self.inner.claims).sockets(container_id, &ports);
        (ports, sockets)
    }

    /// Closes these sockets: somebody who lives longer has copies.
    pub fn hand_over(&self, container_id: &str, ports: &[PortBinding]) {
        lock(&self.inner.claims).hand_over(container_id, ports);
    }

    /// Says of ports that were bound already when this process came that it is not by whoever keeps
    /// the container's: somebody else has taken them.
    pub fn not_held(&self, container_id: &str, ports: &[PortBinding]) {
        let taken = lock(&self.inner.claims).not_held(container_id, ports);
        for port in taken {
            let owner = owner::find(port.protocol, port.host_ip, port.host_port);
            tracing::warn!(
                container_id,
                host_ip = %port.host_ip,
                port = port.host_port,
                protocol = %port.protocol,
                %owner,
                "a published port is bound by another process, which gets nothing of it"
            );
        }
    }

    /// Whether everything that a container publishes on a given address can be published: it has
    /// that family in one of its networks.
    ///
    /// # Errors
    /// If not.
    pub fn check_published(&self, container_id: &str) -> Result<()> {
        gateway::check_families(&self.endpoints(container_id))
    }

    /// Endpoints of a container, in the order of their interfaces.
    pub fn endpoints(&self, container_id: &str) -> Vec<Endpoint> {
        lock(&self.inner.state).endpoints_of(container_id)
    }

    /// Follows a rename of the container.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn rename_container(&self, container_id: &str, name: &str) -> Result<()> {
        let mut renamed = Vec::new();
        for endpoint in lock(&self.inner.state).endpoints.values_mut() {
            if endpoint.container_id == container_id {
                name.clone_into(&mut endpoint.container_name);
                self.inner.store.put_endpoint(endpoint)?;
                renamed.push(endpoint.clone());
            }
        }
        renamed.iter().try_for_each(|endpoint| self.inner.write_names(&endpoint.network_id))?;
        self.inner.rename_in_swarm(&renamed);
        Ok(())
    }

    /// Changes whose open ports a container reaches in the default network.
    ///
    /// # Errors
    /// If the record cannot be written, or the kernel refuses.
    pub fn set_reached(&self, container_id: &str, reached: Vec<String>) -> Result<()> {
        let mut changed = None;
        for endpoint in lock(&self.inner.state).endpoints.values_mut() {
            if endpoint.container_id == container_id && !endpoint.reaches.is_empty() {
                changed = Some(endpoint.clone());
                endpoint.reaches.clone_from(&reached);
                self.inner.store.put_endpoint(endpoint)?;
            }
        }
        changed.map_or(Ok(()), |before| self.inner.follow_links(&before))
    }

    /// All networks, by name: this host's own, and the swarm's.
    pub fn list(&self) -> Vec<NetworkInfo> {
        let swarm = self.inner.swarm_networks();
        let state = lock(&self.inner.state);
        let absent = swarm.iter().filter(|record| !state.networks.contains_key(&record.id));
        let records = state.networks.values().chain(absent);
        let mut networks: Vec<_> = records.map(|record| self.inner.info(&state, record)).collect();
        networks.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        networks
    }

    /// One network, by name, id or unique prefix of an id.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn inspect(&self, network: &str) -> Result<NetworkInfo> {
        let swarm = self.inner.swarm_networks();
        let state = lock(&self.inner.state);
        Ok(self.inner.info(&state, state.resolve(network, &swarm)?))
    }

    /// What an operator should know: that other people's rules drop what containers send and get.
    pub fn warnings(&self) -> Vec<String> {
        let (bridges, _) = self.inner.expected_rules();
        if bridges.is_empty() {
            return Vec::new();
        }
        let mut kernel = lock(&self.inner.kernel);
        let chains = kernel.nftables.dropping_forward_chains().unwrap_or_default();
        let mut warnings = Vec::new();
        for bridge in bridges.iter().filter(|bridge| !bridge.internal) {
            let unheard = |chain: &&ForeignChain| {
                !kernel.nftables.mentions(chain, &bridge.interface).unwrap_or(false)
            };
            warnings.extend(
                chains
                    .iter()
                    .filter(unheard)
                    .map(|chain| rules::forward_warning(chain, &bridge.interface)),
            );
        }
        warnings
    }

    /// The settings this was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}

impl Inner {
    pub(crate) fn begin_change(&self) -> RwLockReadGuard<'_, ()> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what an endpoint that was entered stands for. On an error nothing of it stays.
    pub(crate) fn complete(&self, endpoint: &Endpoint) -> Result<Endpoint> {
        let container_id = endpoint.container_id.as_str();
        let connected = self.store.put_endpoint(endpoint).and_then(|()| {
            let change = self.plan_gateways(container_id, None)?;
            self.attach(endpoint)?;
            self.apply_gateways(container_id, None, &change)?;
            self.follow_links(endpoint)?;
            self.write_names(&endpoint.network_id)
        });
        if let Err(error) = connected {
            if let Err(undo) = self.disconnect(endpoint) {
                tracing::warn!(container_id, error = %undo, "cannot undo a connection");
            }
            return Err(error);
        }
        // With the ports that it was given.
        let known = lock(&self.state).endpoints.get(&endpoint.id).cloned();
        Ok(known.unwrap_or_else(|| endpoint.clone()))
    }

    /// Removes an endpoint, after its ports and the default route have gone to the next one.
    pub(crate) fn disconnect(&self, endpoint: &Endpoint) -> Result<()> {
        let (container_id, leaving) = (endpoint.container_id.as_str(), Some(endpoint.id.as_str()));
        let moved = self
            .plan_gateways(container_id, leaving)
            .and_then(|change| self.apply_gateways(container_id, leaving, &change));
        // As it is without what has gone.
        let known = lock(&self.state).endpoints.get(&endpoint.id).cloned();
        let endpoint = known.unwrap_or_else(|| endpoint.clone());
        self.remove_endpoint(&endpoint, Interface::Delete).and(moved)
    }
}

/// By id, each port in one place.
fn untangled(endpoints: Vec<Endpoint>) -> BTreeMap<String, Endpoint> {
    let mut by_container: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        by_container.entry(endpoint.container_id.clone()).or_default().push(endpoint);
    }
    by_container.values_mut().for_each(|endpoints| gateway::untangle(endpoints));
    let endpoints = by_container.into_values().flatten();
    endpoints.map(|endpoint| (endpoint.id.clone(), endpoint)).collect()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
