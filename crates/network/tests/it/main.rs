//! Networks judged from outside, on the real kernel: a namespace of the test's own is the host, a
//! second one the world.

#![allow(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

mod crash;
mod doctor;
mod files;
mod lab;
mod latency;
mod lifecycle;
mod macvlan;
mod networks;
mod overlay;
mod ports;
mod swarm;
mod traffic;
