//! A whole cluster in one thread, under virtual time, with everything going wrong.
//!
//! The master and the agents are the real cores of `cluster`; the network, the disks, the
//! containers and the frameworks are models. A seed decides everything: which messages are late,
//! which connections break, when a network is cut, when a master or an agent dies and how much of
//! its last output was done by then. The same seed gives the same run.
//!
//! ```text
//! agents <-- network: delay, loss as broken connections, duplicates, cuts --> master
//!   |  disk: records survive a crash                    disk: registry survives a crash
//!   containers: outlive the agent                       frameworks: accept, kill, fail over
//! ```
//!
//! After every step the master's books must add up ([`cluster::master::Master::audit`]), the store
//! must be the registry, and what must never come back stays away. A run has a stormy half and a
//! calm end; in the calm everything that was launched must come to an end that its framework was
//! told of, and nothing may be left behind anywhere.

mod agent;
mod containers;
mod disk;
mod framework;
mod network;
mod world;

#[cfg(test)]
mod tests;

pub use world::{Failure, Options, Report, run};
