//! Overlay networks: one Ethernet over the hosts of a swarm, in VXLAN packets between them.

mod fabric;

pub use fabric::{
    AttachRequest, Attachment, Fabric, FabricError, OverlayNetwork, OverlayRequest, Peer, Underlay,
};
