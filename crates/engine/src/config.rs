//! The engine's resolved configuration: plain values, defaults already applied.
//!
//! Reading flags and daemon.json is the daemon's work; nothing here reads the environment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::container::{IdMap, LogConfig, Ulimit};
use crate::error::{Error, Result};

/// How containers' processes are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEntry {
    /// The runtime inside `teu-shim`.
    Builtin,
    /// An OCI runtime binary, called as runc is.
    External {
        /// The binary, absolute or found in the daemon's PATH.
        path: PathBuf,
        /// Arguments put before the OCI command.
        args: Vec<String>,
    },
}

/// Everything the engine needs to know from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// Durable state: `/var/lib/teu`.
    pub data_root: PathBuf,
    /// State of this boot: `/run/teu`.
    pub exec_root: PathBuf,
    /// The `teu-shim` binary.
    pub shim_path: PathBuf,
    /// The name in `runtimes` used when a container names none.
    pub default_runtime: String,
    /// Runtimes by name; `teu` is the builtin one.
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    /// The cgroup under which containers' cgroups are made, for example `/teu`.
    pub cgroup_parent: String,
    /// The default bridge and address pools.
    pub network: NetworkConfig,
    /// Log driver and options of containers that name none.
    pub default_log: LogConfig,
    /// Limits of containers that do not set them; clamped to the daemon's own hard limits.
    pub default_ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes when a container names none.
    pub default_shm_size_bytes: u64,
    /// Name servers of containers that name none; empty: the host's.
    pub dns: Vec<IpAddr>,
    /// Where files about devices of vendors are (Container Device Interface); later ones win.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Resolver options of containers that name none.
    pub dns_options: Vec<String>,
    /// Search domains of containers that name none.
    pub dns_search: Vec<String>,
    /// What `host-gateway` in an extra host stands for; empty: the bridge's gateway.
    pub host_gateway_ips: Vec<IpAddr>,
    /// Whether containers get a reaping process 1 when they do not say.
    pub init: bool,
    /// The reaping process 1; `None`: the one in `shim_path`.
    pub init_path: Option<PathBuf>,
    /// Labels of this daemon (`key=value`).
    pub labels: Vec<String>,
    /// The ids of containers that do not say which; `None`: the host's own.
    pub userns_remap: Option<IdMap>,
    /// The swarm that this host may be in; `None`: there are no overlay networks.
    pub fabric: Option<Arc<dyn network::Fabric>>,
    /// For tests of recovery: the process kills itself when it comes to the step of this name.
    pub crash_at: Option<String>,
}

/// Settings of the default bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Name of the bridge; empty: `teu0`; `none`: no bridge at all.
    pub bridge: String,
    /// Address and prefix of the bridge (`10.1.0.1/24`); `None`: from the pools.
    pub bip: Option<String>,
    /// Pools new networks are cut from, as (`base/prefix`, size).
    pub default_address_pools: Vec<(String, u8)>,
    /// MTU of the bridge and its containers; `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// Address published ports of the default bridge bind to when none is given.
    pub default_host_ip: Option<Ipv4Addr>,
    /// The same in every network; `None`: all addresses.
    pub publish_default_address: Option<IpAddr>,
    /// Turn on `net.ipv4.ip_forward` where it is off.
    pub ip_forward: bool,
    /// Masquerade what leaves the bridge.
    pub ip_masquerade: bool,
    /// Containers of the bridge may talk to each other.
    pub icc: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bridge: String::new(),
            bip: None,
            default_address_pools: Vec::new(),
            mtu: None,
            default_host_ip: None,
            publish_default_address: None,
            ip_forward: true,
            ip_masquerade: true,
            icc: true,
        }
    }
}

impl Config {
    /// Defaults for everything but the three places.
    #[must_use]
    pub fn new(data_root: PathBuf, exec_root: PathBuf, shim_path: PathBuf) -> Self {
        let default_runtime = "teu".to_owned();
        Self {
            data_root,
            exec_root,
            shim_path,
            runtimes: BTreeMap::from([(default_runtime.clone(), RuntimeEntry::Builtin)]),
            default_runtime,
            cgroup_parent: "/teu".to_owned(),
            network: NetworkConfig::default(),
            default_log: LogConfig::default(),
            default_ulimits: Vec::new(),
            default_shm_size_bytes: 64 << 20,
            dns: Vec::new(),
            cdi_spec_dirs: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            host_gateway_ips: Vec::new(),
            init: false,
            init_path: None,
            labels: Vec::new(),
            userns_remap: None,
            fabric: None,
            crash_at: None,
        }
    }

    /// The same for the networks.
    pub(crate) fn network_config(&self) -> Result<network::Config> {
        let invalid = |error: network::Error| Error::InvalidParameter(error.to_string());
        let mut built = network::Config::new(&self.data_root, &self.exec_root);
        if !self.network.bridge.is_empty() {
            built.bridge_name.clone_from(&self.network.bridge);
        }
        built.bip = self.network.bip.as_deref().map(str::parse).transpose().map_err(invalid)?;
        for (base, size) in &self.network.default_address_pools {
            let base = base.parse().map_err(invalid)?;
            built.default_address_pools.push(network::AddressPool { base, size: *size });
        }
        built.mtu = self.network.mtu.unwrap_or(built.mtu);
        built.default_host_ip = self.network.default_host_ip.unwrap_or(built.default_host_ip);
        built.publish_default_address =
            self.network.publish_default_address.unwrap_or(built.publish_default_address);
        built.ip_forward = self.network.ip_forward;
        built.ip_masquerade = self.network.ip_masquerade;
        built.icc = self.network.icc;
        built.fabric.clone_from(&self.fabric);
        Ok(built)
    }
}
