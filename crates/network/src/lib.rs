//! Networks of one host: the default bridge, addresses, published ports, generated name files.
//!
//! Everything here is synchronous and thread-safe; an async caller goes through `spawn_blocking`.
//! The kernel does the work: one bridge per network, one veth pair per endpoint, one nftables
//! table whose maps hold the published ports. Nothing of a container's network depends on this
//! process being alive.
//!
//! ```text
//! <data-root>/network.redb         networks: id, name, driver, subnet, options (survive a reboot)
//! <exec-root>/network/<id>.json    endpoints: address, MAC, veth, ports (as short-lived as the
//!                                  kernel objects they describe: both end with the boot)
//! ```
//!
//! A sandbox is a network namespace that only descriptors and processes keep alive. Whatever dies,
//! the daemon or the container, no mount and no namespace is left behind by it.

mod bridge;
mod claim;
mod config;
mod connection;
mod endpoint;
mod error;
mod files;
mod ipam;
mod name;
mod network;
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
mod watch;

pub use config::{AddressPool, Config};
pub use endpoint::{Endpoint, EndpointRequest, Live, MacAddress, Sandbox};
pub use error::{Error, ErrorKind, PortOwner, Result};
pub use files::{
    DnsOptions, ExtraHost, HostsOptions, host_resolv_conf, hostname_file, hosts_file, resolv_conf,
};
pub use name::{validate_domain, validate_hostname};
pub use network::Network;
pub use port::{PortBinding, PortRequest, Protocol};
pub use record::{Cidr, Driver, IpamConfig, NetworkInfo, NetworkRecord};
pub use recovery::Reconciled;
