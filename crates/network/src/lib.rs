//! Networks of one host: the default bridge, addresses, published ports, generated name files.
//!
//! Everything here is synchronous and thread-safe; an async caller goes through `spawn_blocking`.
//! The kernel does the work: one bridge per network, one veth pair per endpoint, one nftables
//! table whose maps hold the published ports. Nothing of a container's network depends on this
//! process being alive.
//!
//! ```text
//! <data-root>/network.redb             networks: id, name, driver, subnet, options (survive a reboot)
//! <exec-root>/network/<id>.json        endpoints: address, MAC, veth, ports (as short-lived as the
//!                                      kernel objects they describe: both end with the boot)
//! <exec-root>/network/names/<id>.json  who is called what in a user-defined network
//! <exec-root>/network/overlays/<id>.json  a swarm's network that containers of this host are in
//! ```
//!
//! A sandbox is a network namespace that only descriptors and processes keep alive. Whatever dies,
//! the daemon or the container, no mount and no namespace is left behind by it.

mod bridge;
mod cidr;
mod claim;
mod config;
mod connection;
mod create;
mod doctor;
mod endpoint;
mod error;
mod files;
mod gateway;
mod ipam;
mod macvlan;
mod name;
mod names;
mod network;
mod options;
mod overlay;
mod owner;
mod port;
mod predefined;
mod reaper;
mod record;
mod recovery;
mod rules;
mod sandbox;
mod state;
mod store;
mod turn;
mod watch;

pub use cidr::Cidr;
pub use config::{AddressPool, Config};
pub use create::{IpamRequest, NetworkRequest};
pub use doctor::{Finding, Level};
pub use endpoint::{Endpoint, EndpointRequest, Live, MacAddress, Sandbox, check_endpoint};
pub use error::{Error, ErrorKind, PortOwner, Result};
pub use files::{
    DnsOptions, ExtraHost, HostLine, HostsOptions, RESOLVER, host_resolv_conf, hostname_file,
    hosts_file, replace_host_line, replace_own_addresses, resolv_conf, resolv_conf_of_resolver,
};
pub use name::{validate_domain, validate_hostname};
pub use network::Network;
pub use overlay::{
    AttachRequest, Attachment, Fabric, FabricError, OverlayNetwork, OverlayRecord, OverlayRequest,
    Part, Peer, PeerNode, Underlay,
};
pub use port::{PortBinding, PortRequest, Protocol};
pub use record::{Driver, IpamConfig, NetworkInfo, NetworkRecord};
pub use recovery::Reconciled;
