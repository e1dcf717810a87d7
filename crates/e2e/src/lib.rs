//! Black-box tests: the real binaries on the real kernel, judged from outside.
//!
//! Knows no crate of the product. A [`Host`] is one running daemon with its own roots, socket
//! and bridge; a [`Client`] is a command line pointed at it (`teu` or the stock `docker`); a
//! [`Pty`] is a person at a terminal. Nothing here asserts on the inside of the product.

mod client;
mod cluster;
mod dockerd;
mod framework;
mod framework_api;
mod host;
pub mod http;
pub mod leftovers;
pub mod links;
mod pty;
mod registry;
mod wait;
mod walkthrough;
mod web;
mod wire;
mod zookeeper;

pub use client::{Client, Program, Ran};
pub use cluster::{Cluster, ClusterOptions};
pub use dockerd::Dockerd;
pub use framework::{FrameworkProgram, python_with_pymesos, test_data};
pub use framework_api::{Scheduler, busybox, resources};
pub use host::{Host, HostOptions, bin_dir, is_root};
pub use pty::Pty;
pub use registry::Registry;
pub use wait::{DEADLINE, eventually};
pub use walkthrough::{Walkthrough, base_image};
pub use web::{Page, Web};
pub use wire::Wire;
pub use zookeeper::ZooKeeper;
