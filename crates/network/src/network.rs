//! The handle through which the engine has networks: connecting, disconnecting, looking.
//!
//! Locks, in the order in which they may be held together: `kernel`, then `state`, then `claims`.
//! `kernel` is held for a few netlink exchanges, the others for map operations; `claims` also for
//! binding sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use linux::netlink::nft::{ElementChange, Nftables};
use linux::netlink::{Address, Request, Route, Veth};

use crate::claim::{Claimant, Claims};
use crate::config::Config;
use crate::endpoint::{Endpoint, EndpointRequest, MacAddress, Sandbox};
use crate::error::{Context as _, Error, Result};
use crate::record::{Driver, NetworkInfo, NetworkRecord};
use crate::rules::{self, BridgeRules};
use crate::sandbox::Sandboxes;
use crate::store::Store;
use crate::{bridge, ipam};

/// All networks of this host; clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) table: String,
    pub(crate) store: Store,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) kernel: Mutex<Kernel>,
    pub(crate) state: Mutex<State>,
    pub(crate) claims: Mutex<Claims>,
}

/// The host's own namespace.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) route: Route,
    pub(crate) nftables: Nftables,
}

/// Both maps are by id.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, NetworkRecord>,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
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
        let store = Store::open(&config.data_root, &config.exec_root)?;
        let mut kernel = Kernel {
            route: Route::open().context(|| "open a netlink socket".to_owned())?,
            nftables: Nftables::open().context(|| "open an nftables socket".to_owned())?,
        };
        let networks = predefined_networks(&mut kernel.route, &config, &store)?;
        let endpoints: BTreeMap<_, _> = store
            .endpoints()?
            .into_iter()
            .map(|endpoint| (endpoint.id.clone(), endpoint))
            .collect();
        let mut claims = Claims::default();
        for endpoint in endpoints.values() {
            claims.restore(claimant(endpoint), &endpoint.ports);
        }
        let inner = Inner {
            table: rules::table_name(&config.bridge_name),
            sandboxes: Sandboxes::new(config.ready_sandboxes)?,
            config,
            store,
            kernel: Mutex::new(kernel),
            state: Mutex::new(State { networks, endpoints }),
            claims: Mutex::new(claims),
        };
        inner.ensure_bridges(&mut lock(&inner.kernel))?;
        inner.apply_rules(&mut lock(&inner.kernel))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes a ready namespace for a container that is about to start (also for `none`).
    ///
    /// # Errors
    /// If the kernel makes no namespace.
    pub fn create_sandbox(&self, container_id: &str) -> Result<Sandbox> {
        self.destroy_sandbox(container_id)?;
        self.inner.sandboxes.create(container_id)
    }

    /// The sandbox of a container, where it has one.
    pub fn sandbox(&self, container_id: &str) -> Option<Sandbox> {
        self.inner.sandboxes.get(container_id)
    }

    /// Removes whatever endpoints the container still has and lets its namespace go. A container
    /// without a sandbox is fine: recovery is running it again.
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    pub fn destroy_sandbox(&self, container_id: &str) -> Result<()> {
        let mut result = Ok(());
        for endpoint in self.endpoints(container_id) {
            result = result.and(self.inner.remove_endpoint(&endpoint));
        }
        self.inner.sandboxes.destroy(container_id);
        result
    }

    /// Gives the container an interface in a network (name, id or prefix of an id) and publishes
    /// its ports. On an error nothing of it stays.
    ///
    /// # Errors
    /// If the network or the sandbox is missing, an address or a port is taken, or the kernel
    /// refuses.
    pub fn connect(
        &self,
        container_id: &str,
        network: &str,
        request: &EndpointRequest,
    ) -> Result<Endpoint> {
        let inner = &self.inner;
        let mut endpoint = inner.reserve(container_id, network, request)?;
        let connected = inner.claim_ports(&mut endpoint, request).and_then(|()| {
            inner.store.put_endpoint(&endpoint)?;
            inner.attach(&endpoint)?;
            inner.publish(&endpoint)
        });
        match connected {
            Ok(()) => Ok(endpoint),
            Err(error) => {
                if let Err(undo) = inner.remove_endpoint(&endpoint) {
                    tracing::warn!(container_id, error = %undo, "cannot undo a connection");
                }
                Err(error)
            }
        }
    }

    /// Takes the interface and the ports away again.
    ///
    /// # Errors
    /// If the container is not connected, or the kernel refuses.
    pub fn disconnect(&self, container_id: &str, network: &str) -> Result<()> {
        let endpoint = {
            let state = lock(&self.inner.state);
            let record = state.resolve(network)?;
            let endpoint = state.endpoints.values().find(|endpoint| {
                endpoint.network_id == record.id && endpoint.container_id == container_id
            });
            endpoint.cloned().ok_or_else(|| Error::NotConnected {
                container_id: container_id.to_owned(),
                network: record.name.clone(),
            })?
        };
        self.inner.remove_endpoint(&endpoint)
    }

    /// Endpoints of a container, in the order of their interfaces.
    pub fn endpoints(&self, container_id: &str) -> Vec<Endpoint> {
        let mut endpoints: Vec<_> = lock(&self.inner.state)
            .endpoints
            .values()
            .filter(|endpoint| endpoint.container_id == container_id)
            .cloned()
            .collect();
        endpoints.sort_by(|a, b| a.interface.cmp(&b.interface));
        endpoints
    }

    /// Follows a rename of the container.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn rename_container(&self, container_id: &str, name: &str) -> Result<()> {
        let mut state = lock(&self.inner.state);
        for endpoint in state.endpoints.values_mut() {
            if endpoint.container_id == container_id {
                name.clone_into(&mut endpoint.container_name);
                self.inner.store.put_endpoint(endpoint)?;
            }
        }
        Ok(())
    }

    /// All networks, by name.
    pub fn list(&self) -> Vec<NetworkInfo> {
        let state = lock(&self.inner.state);
        let mut networks: Vec<_> =
            state.networks.values().map(|record| state.info(record)).collect();
        networks.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        networks
    }

    /// One network, by name, id or unique prefix of an id.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn inspect(&self, network: &str) -> Result<NetworkInfo> {
        let state = lock(&self.inner.state);
        Ok(state.info(state.resolve(network)?))
    }

    /// Removes a network; the predefined ones cannot be.
    ///
    /// # Errors
    /// If there is no such network or it is predefined.
    pub fn remove(&self, network: &str) -> Result<()> {
        let state = lock(&self.inner.state);
        // Only predefined networks exist so far.
        Err(Error::Predefined(state.resolve(network)?.name.clone()))
    }

    /// What an operator should know: for instance that the host drops all forwarded packets.
    pub fn warnings(&self) -> Vec<String> {
        let chains = lock(&self.inner.kernel).nftables.dropping_forward_chains();
        chains.unwrap_or_default().into_iter().map(|chain| {
            format!(
                "nftables chain \"{chain}\" drops forwarded packets by default: containers of bridge {bridge} \
                 reach and are reached only as far as its rules accept `iifname {bridge}` and `oifname {bridge}`",
                bridge = self.inner.config.bridge_name,
            )
        }).collect()
    }

    /// The settings this was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}

impl Inner {
    /// Enters the endpoint with its address, so that nobody else gets it.
    fn reserve(
        &self,
        container_id: &str,
        network: &str,
        request: &EndpointRequest,
    ) -> Result<Endpoint> {
        let mut state = lock(&self.state);
        let record = state.resolve(network)?.clone();
        let mut endpoint = Endpoint {
            id: new_id(),
            network_id: record.id.clone(),
            network_name: record.name.clone(),
            container_id: container_id.to_owned(),
            container_name: request.container_name.clone(),
            interface: None,
            host_interface: None,
            ip: None,
            prefix: 0,
            gateway: None,
            mac: None,
            ports: Vec::new(),
        };
        if state.has_endpoint(&record.id, container_id) {
            let container = request.container_name.clone();
            return Err(Error::AlreadyConnected { container, network: record.name });
        }
        if let Some(ipam) = record.ipam.first() {
            let used = state.addresses(&record.id);
            let ip = match request.ip {
                Some(ip) if !ipam::is_assignable(ipam, ip) => {
                    return Err(Error::AddressOutside(ip.into()));
                }
                Some(ip) if used.contains(&ip) => return Err(Error::AddressInUse(ip.into())),
                Some(ip) => ip,
                None => ipam::lowest_free(ipam, &used).ok_or_else(|| {
                    let subnet = ipam.subnet.to_string();
                    Error::AddressesExhausted { network: record.name.clone(), subnet }
                })?,
            };
            endpoint.ip = Some(ip);
            endpoint.prefix = ipam.subnet.prefix();
            endpoint.gateway = Some(ipam.gateway);
            endpoint.mac = Some(request.mac.unwrap_or_else(|| MacAddress::from_ip(ip)));
            endpoint.interface = Some(state.free_interface(container_id));
            endpoint.host_interface = Some(format!("veth{}", &endpoint.id[..7]));
        }
        state.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        Ok(endpoint)
    }

    fn claim_ports(&self, endpoint: &mut Endpoint, request: &EndpointRequest) -> Result<()> {
        if endpoint.ip.is_none() || request.ports.is_empty() {
            return Ok(());
        }
        let claimed = lock(&self.claims).claim_all(
            claimant(endpoint),
            &request.ports,
            self.config.default_host_ip,
        );
        endpoint.ports = claimed.map_err(|refusal| {
            refusal.into_error(|container_id| self.container_name(container_id))
        })?;
        lock(&self.state).endpoints.insert(endpoint.id.clone(), endpoint.clone());
        Ok(())
    }

    fn container_name(&self, container_id: &str) -> String {
        let state = lock(&self.state);
        let endpoint = state.endpoints.values().find(|e| e.container_id == container_id);
        match endpoint.map(|endpoint| endpoint.container_name.as_str()) {
            Some("") | None => container_id.to_owned(),
            Some(name) => name.to_owned(),
        }
    }

    /// Makes the veth pair and configures the container's end.
    pub(crate) fn attach(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(plan) = Attachment::of(endpoint) else { return Ok(()) };
        let namespace = self.sandboxes.namespace(&endpoint.container_id)?;
        let bridge = self.bridge_of(endpoint)?;
        {
            let mut kernel = lock(&self.kernel);
            let action = || format!("create interface {}", plan.host_interface);
            let master = match kernel.route.link(&bridge).context(action)? {
                Some(link) => link.index,
                None => return Err(Error::BridgeMissing(bridge)),
            };
            let veth = Veth {
                name: plan.host_interface,
                master,
                mtu: self.config.mtu,
                peer_name: plan.interface,
                peer_mac: plan.mac.0,
                peer_namespace: namespace.fd(),
            };
            let requests = [
                Request::create_veth(&veth),
                Request::raise_port(plan.host_interface, &self.port_alias(endpoint)),
            ];
            kernel.route.execute(requests).context(action)?;
        }
        let configure = |route: &mut Route| {
            let link = route.link(plan.interface)?.ok_or(std::io::ErrorKind::NotFound)?.index;
            let address = Address { link, address: plan.ip, prefix: endpoint.prefix };
            let mut requests = vec![Request::add_address(address), Request::raise(link)];
            // The first interface has the way out.
            if plan.interface == "eth0" {
                requests.extend(plan.gateway.map(|gw| Request::add_default_route(link, gw)));
            }
            route.execute(requests)
        };
        namespace.with_route(configure).context(|| format!("configure {}", plan.interface))
    }

    /// Names the owner of a host interface: the bridge, hence the daemon, and the endpoint.
    pub(crate) fn port_alias(&self, endpoint: &Endpoint) -> String {
        format!("{}{}", self.port_alias_prefix(), endpoint.id)
    }

    pub(crate) fn port_alias_prefix(&self) -> String {
        format!("teu:{}:", self.config.bridge_name)
    }

    fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut kernel = lock(&self.kernel);
        let added =
            rules::change_ports(&mut kernel.nftables, &self.table, ElementChange::Add, endpoint);
        match added {
            Ok(()) => Ok(()),
            // Somebody changed the table: put it right as a whole.
            Err(error) => {
                tracing::debug!(%error, table = self.table, "replacing the rules");
                self.apply_rules(&mut kernel)
            }
        }
    }

    /// Removes everything of an endpoint; each part may be gone already.
    pub(crate) fn remove_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        // The address stays taken until nothing answers to it any more.
        let mut result = self.withdraw(endpoint);
        if let Some(name) = &endpoint.host_interface {
            let deleted = lock(&self.kernel).route.execute([Request::delete_link(name)]);
            let deleted = match deleted {
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
                {
                    Ok(())
                }
                deleted => deleted,
            };
            result = result.and(deleted.context(|| format!("delete interface {name}")));
        }
        lock(&self.claims).release(&endpoint.id, &endpoint.ports);
        result = result.and(self.store.remove_endpoint(&endpoint.id));
        lock(&self.state).endpoints.remove(&endpoint.id);
        result
    }

    fn withdraw(&self, endpoint: &Endpoint) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut kernel = lock(&self.kernel);
        // Not among those that a replacement of the rules publishes.
        if let Some(known) = lock(&self.state).endpoints.get_mut(&endpoint.id) {
            known.ports.clear();
        }
        let removed =
            rules::change_ports(&mut kernel.nftables, &self.table, ElementChange::Delete, endpoint);
        removed.or_else(|_| self.apply_rules(&mut kernel))
    }

    pub(crate) fn apply_rules(&self, kernel: &mut Kernel) -> Result<()> {
        let (bridges, endpoints) = self.expected_rules();
        rules::apply(&mut kernel.nftables, &self.table, &bridges, &endpoints)
            .context(|| format!("write nftables table inet {}", self.table))
    }

    pub(crate) fn expected_rules(&self) -> (Vec<BridgeRules>, Vec<Endpoint>) {
        let state = lock(&self.state);
        let bridge = |record: &NetworkRecord| {
            Some(BridgeRules {
                interface: record.interface.clone()?,
                subnet: record.ipam.first()?.subnet,
                masquerade: self.config.ip_masquerade,
                icc: self.config.icc,
            })
        };
        let bridges = state.networks.values().filter_map(bridge).collect();
        (bridges, state.endpoints.values().cloned().collect())
    }

    /// Makes every network's bridge what it should be; answers whether one had to be changed.
    pub(crate) fn ensure_bridges(&self, kernel: &mut Kernel) -> Result<()> {
        let records: Vec<_> = lock(&self.state).networks.values().cloned().collect();
        for record in &records {
            if let (Some(interface), Some(ipam)) = (&record.interface, record.ipam.first()) {
                bridge::ensure(&mut kernel.route, &self.config, interface, ipam)?;
            }
        }
        Ok(())
    }

    pub(crate) fn bridge_of(&self, endpoint: &Endpoint) -> Result<String> {
        let state = lock(&self.state);
        let record = state.networks.get(&endpoint.network_id);
        record
            .and_then(|record| record.interface.clone())
            .ok_or_else(|| Error::NetworkNotFound(endpoint.network_name.clone()))
    }
}

/// An endpoint that has an interface.
struct Attachment<'a> {
    interface: &'a str,
    host_interface: &'a str,
    ip: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    mac: MacAddress,
}

impl<'a> Attachment<'a> {
    fn of(endpoint: &'a Endpoint) -> Option<Self> {
        Some(Self {
            interface: endpoint.interface.as_deref()?,
            host_interface: endpoint.host_interface.as_deref()?,
            ip: endpoint.ip?,
            gateway: endpoint.gateway,
            mac: endpoint.mac?,
        })
    }
}

impl State {
    /// Docker's order: the full id, then the name, then a unique prefix of an id.
    pub(crate) fn resolve(&self, network: &str) -> Result<&NetworkRecord> {
        // The API's word for the default network.
        let network = if network == "default" { "bridge" } else { network };
        if let Some(record) = self.networks.get(network) {
            return Ok(record);
        }
        if let Some(record) = self.networks.values().find(|record| record.name == network) {
            return Ok(record);
        }
        let mut matching = self.networks.values().filter(|record| record.id.starts_with(network));
        match (matching.next(), matching.count()) {
            (Some(record), 0) if !network.is_empty() => Ok(record),
            (Some(_), more) if !network.is_empty() => {
                Err(Error::NetworkAmbiguous(network.to_owned(), more + 1))
            }
            _ => Err(Error::NetworkNotFound(network.escape_default().to_string())),
        }
    }

    fn info(&self, record: &NetworkRecord) -> NetworkInfo {
        let mut endpoints: Vec<_> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.network_id == record.id)
            .cloned()
            .collect();
        endpoints.sort_by(|a, b| a.container_id.cmp(&b.container_id));
        NetworkInfo { record: record.clone(), endpoints }
    }

    fn has_endpoint(&self, network_id: &str, container_id: &str) -> bool {
        self.endpoints.values().any(|endpoint| {
            endpoint.network_id == network_id && endpoint.container_id == container_id
        })
    }

    fn addresses(&self, network_id: &str) -> BTreeSet<Ipv4Addr> {
        self.endpoints
            .values()
            .filter(|endpoint| endpoint.network_id == network_id)
            .filter_map(|endpoint| endpoint.ip)
            .collect()
    }

    fn free_interface(&self, container_id: &str) -> String {
        let taken: BTreeSet<&str> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.container_id == container_id)
            .filter_map(|endpoint| endpoint.interface.as_deref())
            .collect();
        let mut names = (0_u32..).map(|number| format!("eth{number}"));
        names.find(|name| !taken.contains(name.as_str())).unwrap_or_default()
    }
}

pub(crate) fn claimant(endpoint: &Endpoint) -> Claimant<'_> {
    Claimant { container_id: &endpoint.container_id, endpoint_id: &endpoint.id }
}

/// Loads the three networks that always exist, creating those that do not yet.
fn predefined_networks(
    route: &mut Route,
    config: &Config,
    store: &Store,
) -> Result<BTreeMap<String, NetworkRecord>> {
    let mut networks: BTreeMap<_, _> =
        store.networks()?.into_iter().map(|record| (record.id.clone(), record)).collect();
    for (name, driver) in
        [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)]
    {
        let known = networks.values().find(|record| record.name == name);
        let mut record = known.cloned().unwrap_or_else(|| new_record(name, driver));
        if driver == Driver::Bridge {
            let ipam = bridge::choose_subnet(route, config, record.ipam.first())?;
            record.options = bridge_options(config);
            record.ipam = vec![ipam];
            record.interface = Some(config.bridge_name.clone());
        }
        if known != Some(&record) {
            store.put_network(&record)?;
        }
        networks.insert(record.id.clone(), record);
    }
    Ok(networks)
}

fn new_record(name: &str, driver: Driver) -> NetworkRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    NetworkRecord {
        id: new_id(),
        name: name.to_owned(),
        driver,
        created_unix_nanos: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        interface: None,
        ipam: Vec::new(),
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// The options Docker shows on its default bridge.
fn bridge_options(config: &Config) -> BTreeMap<String, String> {
    let options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", config.ip_masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", config.default_host_ip.to_string()),
        ("com.docker.network.bridge.name", config.bridge_name.clone()),
        ("com.docker.network.driver.mtu", config.mtu.to_string()),
    ];
    options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn new_id() -> String {
    use std::fmt::Write as _;
    let bytes: [u8; 32] = rand::random();
    bytes.iter().fold(String::with_capacity(64), |mut id, byte| {
        let _ = write!(id, "{byte:02x}"); // writing to a String cannot fail
        id
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
