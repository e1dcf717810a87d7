//! Two hosts on one wire, and a table in memory in a swarm's place.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use linux::namespace::in_namespace;
use linux::netlink::make_network_namespace;
use network::{
    AttachRequest, Attachment, Config, Endpoint, EndpointRequest, ErrorKind, Fabric, FabricError,
    Live, MacAddress, Network, NetworkRequest, OverlayNetwork, OverlayRequest, Peer, Underlay,
};

use crate::lab::run;

/// What the swarm knows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) networks: Vec<Arc<OverlayNetwork>>,
    /// By network and container: who is where.
    attachments: BTreeMap<(String, String), Peer>,
    /// Whether the manager can be reached.
    pub(crate) is_away: bool,
}

/// A host's view of it.
#[derive(Debug)]
struct View {
    table: Arc<Mutex<Table>>,
    underlay: Underlay,
}

impl Fabric for View {
    fn underlay(&self) -> Option<Underlay> {
        Some(self.underlay.clone())
    }

    fn networks(&self) -> Vec<Arc<OverlayNetwork>> {
        self.table.lock().unwrap().networks.clone()
    }

    fn create(&self, request: &OverlayRequest) -> Result<Arc<OverlayNetwork>, FabricError> {
        let mut table = self.table.lock().unwrap();
        let number = u8::try_from(table.networks.len() + 1).unwrap();
        let subnet = format!("10.0.{number}.0/24").parse().unwrap();
        let network = Arc::new(OverlayNetwork {
            id: format!("{:025}", u32::from(number) * 7),
            name: request.name.clone(),
            vni: 4095 + u32::from(number),
            subnet: request.subnet.unwrap_or(subnet),
            gateway: Some(Ipv4Addr::new(10, 0, number, 1)),
            ip_range: request.ip_range,
            aux_addresses: request.aux_addresses.clone(),
            attachable: request.attachable,
            internal: request.internal,
            labels: request.labels.clone(),
            options: request.options.clone(),
            created_unix_nanos: 0,
        });
        table.networks.push(Arc::clone(&network));
        Ok(network)
    }

    fn remove(&self, network_id: &str) -> Result<(), FabricError> {
        let mut table = self.table.lock().unwrap();
        if table.attachments.keys().any(|(network, _)| network == network_id) {
            let message = format!("network {network_id} is in use");
            return Err(FabricError { kind: ErrorKind::Forbidden, message });
        }
        table.networks.retain(|network| network.id != network_id);
        Ok(())
    }

    fn attach(&self, request: &AttachRequest) -> Result<Attachment, FabricError> {
        let mut table = self.table.lock().unwrap();
        let refused = |kind, message: &str| Err(FabricError { kind, message: message.to_owned() });
        if table.is_away {
            return refused(ErrorKind::Unavailable, "the manager cannot be reached");
        }
        let network = table.networks.iter().find(|network| network.id == request.network_id);
        let network = Arc::clone(network.unwrap());
        if !network.attachable {
            let message = format!(
                "rpc error: code = PermissionDenied desc = network {} not manually attachable",
                network.name
            );
            return refused(ErrorKind::Forbidden, &message);
        }
        let key = (request.network_id.clone(), request.container_id.clone());
        let taken: Vec<Ipv4Addr> = table.attachments.values().map(|peer| peer.ipv4).collect();
        let IpAddr::V4(first) = network.subnet.address() else { panic!("not of IPv4") };
        let mut free = (2..255).map(|last| Ipv4Addr::from_bits(first.to_bits() + last));
        let ipv4 = match (table.attachments.get(&key), request.ipv4) {
            (Some(peer), _) => peer.ipv4,
            (None, Some(wanted)) if taken.contains(&wanted) => {
                return refused(ErrorKind::Forbidden, "Address already in use");
            }
            (None, Some(wanted)) => wanted,
            (None, None) => free.find(|ip| !taken.contains(ip)).unwrap(),
        };
        let mac = MacAddress::from_ip(ipv4);
        let peer = Peer {
            ipv4,
            mac,
            vtep: self.underlay.address,
            node_name: self.underlay.node_name.clone(),
            container_id: request.container_id.clone(),
            container_name: request.container_name.clone(),
            hostname: request.hostname.clone(),
            aliases: request.aliases.clone(),
        };
        table.attachments.insert(key, peer);
        Ok(Attachment { ipv4, mac })
    }

    fn rename(&self, request: &AttachRequest) -> Result<(), FabricError> {
        let key = (request.network_id.clone(), request.container_id.clone());
        if let Some(peer) = self.table.lock().unwrap().attachments.get_mut(&key) {
            peer.container_name.clone_from(&request.container_name);
        }
        Ok(())
    }

    fn detach(&self, network_id: &str, container_id: &str) {
        let key = (network_id.to_owned(), container_id.to_owned());
        self.table.lock().unwrap().attachments.remove(&key);
    }
}

/// A swarm of one host, which has this address.
pub(crate) fn alone(address: Ipv4Addr) -> Arc<dyn Fabric> {
    let underlay = Underlay { address: address.into(), port: 4789, node_name: "alone".to_owned() };
    Arc::new(View { table: Arc::default(), underlay })
}

/// Asks for a network that everybody may join.
pub(crate) fn overlay(name: &str, internal: bool) -> NetworkRequest {
    NetworkRequest {
        name: name.to_owned(),
        driver: "overlay".to_owned(),
        attachable: true,
        internal,
        ..NetworkRequest::default()
    }
}

/// Hosts one and two: a namespace each, on the wire 192.0.2.0/24 or 2001:db8::/64.
pub(crate) struct Swarm {
    pub(crate) table: Arc<Mutex<Table>>,
    pub(crate) hosts: [Host; 2],
}

pub(crate) struct Host {
    pub(crate) namespace: OwnedFd,
    pub(crate) underlay: Underlay,
    table: Arc<Mutex<Table>>,
    directory: tempfile::TempDir,
    /// `None` while no daemon runs.
    network: Option<Network>,
}

impl Swarm {
    /// `None`, with the reason printed, where namespaces cannot be made.
    pub(crate) fn new() -> Option<Self> {
        Self::on_wire(|number| Ipv4Addr::new(192, 0, 2, number).into())
    }

    /// With hosts that know each other by IPv6.
    pub(crate) fn on_ipv6() -> Option<Self> {
        Self::on_wire(|number| {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)).into()
        })
    }

    fn on_wire(address: fn(u8) -> IpAddr) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let table = Arc::new(Mutex::new(Table::default()));
        let mut hosts = [1, 2].map(|number| Host::new(number, address(number), &table));
        let [one, two] = &hosts;
        let path = |host: &Host| host.path();
        one.run(
            "ip",
            &["link", "add", "wan0", "type", "veth", "peer", "name", "wan0", "netns", &path(two)],
        );
        for host in [one, two] {
            let address = host.underlay.address;
            let prefix = if address.is_ipv4() { 24 } else { 64 };
            let address = format!("{address}/{prefix}");
            host.run("ip", &["link", "set", "lo", "up"]);
            // Nobody is asked whether an address of IPv6 is his.
            host.run("sysctl", &["-qw", "net.ipv6.conf.wan0.accept_dad=0"]);
            host.run("ip", &["address", "add", &address, "dev", "wan0"]);
            host.run("ip", &["link", "set", "wan0", "up"]);
        }
        hosts.iter_mut().for_each(Host::start);
        Some(Self { table, hosts })
    }

    /// Has host one make a network that everybody may join.
    pub(crate) fn create(&self, name: &str, internal: bool) -> String {
        let request = overlay(name, internal);
        self.hosts[0].on(|network| network.create(&request).unwrap().0.id)
    }

    /// Tells the hosts that run who is where.
    pub(crate) fn publish(&self, network_id: &str) {
        for host in self.hosts.iter().filter(|host| host.network.is_some()) {
            let peers: Vec<Peer> = {
                let table = self.table.lock().unwrap();
                let of_network = table.attachments.iter().filter(|((id, _), _)| id == network_id);
                let peers = of_network.map(|(_, peer)| peer.clone());
                peers.filter(|peer| peer.vtep != host.underlay.address).collect()
            };
            host.on(|network| network.overlay_changed(network_id, peers).unwrap());
        }
    }
}

impl Host {
    fn new(number: u8, address: IpAddr, table: &Arc<Mutex<Table>>) -> Self {
        let (namespace, ()) = make_network_namespace(|| Ok(())).unwrap();
        let underlay =
            Underlay { address, port: 4789, node_name: format!("host{number}-0123456789ab") };
        Self {
            namespace,
            underlay,
            table: Arc::clone(table),
            directory: tempfile::tempdir().unwrap(),
            network: None,
        }
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// The daemon's network part begins, as after any end of the one before.
    pub(crate) fn start(&mut self) {
        let root = self.directory.path();
        let fabric = View { table: Arc::clone(&self.table), underlay: self.underlay.clone() };
        let config = Config {
            ready_sandboxes: 1,
            watch: false,
            fabric: Some(Arc::new(fabric)),
            ..Config::new(root.join("data"), root.join("exec"))
        };
        let opened = in_namespace(self.namespace.as_fd(), || Network::open(config));
        self.network = Some(opened.unwrap().unwrap());
    }

    /// It ends without a word to anybody.
    pub(crate) fn stop(&mut self) {
        self.network = None;
    }

    pub(crate) fn restart(&mut self, live: &[Live]) {
        self.stop();
        self.start();
        self.on(|network| network.reconcile(live).unwrap());
    }

    /// Does something as the daemon, whose threads are on the host.
    pub(crate) fn on<T: Send>(&self, work: impl FnOnce(&Network) -> T + Send) -> T {
        let network = self.network.as_ref().unwrap();
        in_namespace(self.namespace.as_fd(), || work(network)).unwrap()
    }

    pub(crate) fn network(&self) -> &Network {
        self.network.as_ref().unwrap()
    }

    pub(crate) fn exec_root(&self) -> PathBuf {
        self.directory.path().join("exec")
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let namespace = format!("--net={}", self.path());
        run("nsenter", &[&[namespace.as_str(), tool], arguments].concat())
    }

    /// Starts a container in a network and answers its namespace and endpoint.
    pub(crate) fn container(
        &self,
        id: &str,
        name: &str,
        request: &EndpointRequest,
    ) -> (OwnedFd, Endpoint) {
        self.on(|network| {
            let sandbox = network.create_sandbox(id).unwrap();
            let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
            (namespace, network.connect(id, name, request).unwrap())
        })
    }

    /// The names of the interfaces of overlays here.
    pub(crate) fn overlay_links(&self) -> Vec<String> {
        let links = self.run("ip", &["-o", "link"]);
        let names = links.lines().filter_map(|line| line.split(": ").nth(1));
        let mut names: Vec<String> = names
            .map(|name| name.split('@').next().unwrap().to_owned())
            .filter(|name| name.starts_with("vx-") || name.starts_with("br-"))
            .collect();
        names.sort();
        names
    }
}
