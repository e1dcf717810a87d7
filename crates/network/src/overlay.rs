//! Overlay networks: one Ethernet over the hosts of a swarm, in VXLAN packets between them.
//!
//! ```text
//! container eth0 -- veth -- bridge br-<id> -- vx-<id> ~~ UDP 4789 ~~ vx-<id> -- bridge -- … (other host)
//! container eth1 -- veth -- docker_gwbridge -- the host's routes, published ports
//! ```
//! The bridge has no address on the host: an overlay leads to its containers alone. Who they are on
//! other hosts is told by the swarm ([`Fabric`]) and put into the VXLAN interface, entry by entry;
//! nothing is flooded to other hosts, and nothing learned from what they send.

mod create;
mod device;
mod doctor;
mod fabric;
mod membership;
mod options;
mod record;
mod way_out;

pub(crate) use device::{is_ours, name_of};
pub(crate) use doctor::{Sight, findings};
pub use fabric::{
    AttachRequest, Attachment, Fabric, FabricError, OverlayNetwork, OverlayRequest, Peer, Underlay,
};
pub use membership::PeerNode;
pub(crate) use membership::restore;
pub(crate) use options::parse as parse_options;
pub(crate) use record::Joined;
pub use record::{OverlayRecord, Part};
pub(crate) use way_out::{GATEWAY_NETWORK, shown_name};
