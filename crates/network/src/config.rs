//! What a daemon decides once about its networks. Flags and files are resolved above this crate.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::cidr::Cidr;
use crate::error::{Error, Result};
use crate::overlay::Fabric;

/// Addresses from which networks without a given subnet take theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    pub base: Cidr,
    /// Prefix length of each network cut out of `base`.
    pub size: u8,
}

/// The resolved settings of [`crate::Network::open`].
#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    /// Name of the default bridge, at most 15 bytes; `none`: there is no default bridge. It also names
    /// the nftables table (that of a daemon without a bridge has a name made up for it), so that daemons with different bridges live beside each other.
    pub bridge_name: String,
    /// Address and prefix of the default bridge. `None`: the first pool that clashes with no route
    /// of the host, chosen once and remembered.
    pub bip: Option<Cidr>,
    /// Empty means Docker's pools: 172.17.0.0/16 onwards, then 192.168.0.0/16 in /20.
    pub default_address_pools: Vec<AddressPool>,
    pub mtu: u32,
    /// Turns on `net.ipv4.ip_forward` where it is off.
    pub ip_forward: bool,
    pub ip_masquerade: bool,
    /// Containers of the default bridge may talk to each other without publishing.
    pub icc: bool,
    /// Host address of ports of the default bridge published without one; unspecified: as in other
    /// networks.
    pub default_host_ip: Ipv4Addr,
    /// Host address of ports published without one; unspecified: every address of every family.
    pub publish_default_address: IpAddr,
    /// Puts back what others delete of ours, as soon as they do.
    pub watch: bool,
    /// Network namespaces kept ready. Zero: each is made when asked for.
    pub ready_sandboxes: usize,
    /// The swarm that this host may be in; `None`: there are no overlay networks.
    pub fabric: Option<Arc<dyn Fabric>>,
}

impl Config {
    /// The defaults of a daemon with these two directories.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            bridge_name: "teu0".to_owned(),
            bip: None,
            default_address_pools: Vec::new(),
            mtu: 1500,
            ip_forward: true,
            ip_masquerade: true,
            icc: true,
            default_host_ip: Ipv4Addr::UNSPECIFIED,
            publish_default_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            watch: true,
            ready_sandboxes: 4,
            fabric: None,
        }
    }

    /// Whether containers can have interfaces at all.
    pub(crate) fn has_bridge(&self) -> bool {
        self.bridge_name != "none"
    }

    /// What the kernel and nftables take for a name.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(bip) = self.bip.filter(|bip| !bip.is_ipv4()) {
            return Err(Error::Invalid(format!("invalid bip {bip}: it should be an IPv4 address")));
        }
        let name = &self.bridge_name;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = (1..=15).contains(&name.len()) && name.bytes().all(allowed);
        if is_name && name != "." && name != ".." {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "invalid bridge name \"{}\": use at most 15 letters, digits, '-', '_' and '.'",
            name.escape_default()
        )))
    }
}
