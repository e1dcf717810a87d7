//! Netlink, synchronously: links, addresses and routes ([`Route`]), and nftables ([`nft`]).
//!
//! A handle belongs to the network namespace of the thread that opened it, for as long as it is
//! open, wherever it is used afterwards.

pub mod conntrack;
mod events;
mod namespace;
pub mod nft;
mod route;
mod socket;
#[cfg(test)]
mod tests;
mod vxlan;

pub use events::{Event, Events};
pub use namespace::{make_network_namespace, network_namespace_of};
pub use route::{Address, Family, Link, Macvlan, MacvlanMode, Request, Route, RouteEntry, Veth};
pub use vxlan::{Forwarding, Neighbour, Vxlan};
