//! This daemon as a node of a swarm: which addresses it is reached by, and what the swarm is told of
//! the host and the host of the swarm.

pub(crate) mod addresses;
mod fabric;
mod host;

pub(crate) use fabric::SwarmFabric;
pub(crate) use host::DaemonHost;
