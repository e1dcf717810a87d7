//! The agent: containerizers, sandboxes, checkpoints and sockets around `cluster::agent`, which
//! decides.
//!
//! ```text
//!  master <--- link, server ---> driver (owns cluster::agent::Agent) <--> journal (work_dir/meta)
//!                (authenticatee)  ^   |
//!  executors <-- server ------------+   |
//!                                       v
//!                                   containers -> docker (Engine API) | process (cgroups)
//! ```
//!
//! One task, the driver, owns the core. Everything else sends it `driver::Request`s. A container
//! is looked after by a task of its own, which tells the driver what it sees.

#![allow(clippy::result_large_err, reason = "a refusal is an HTTP answer, made once per request")]

mod authenticatee;
mod checkpoint;
mod config;
mod containers;
mod credentials;
mod docker;
mod driver;
mod endpoints;
mod fetch;
mod gc;
mod health;
mod identity;
mod journal;
mod layout;
mod link;
mod nested;
mod options;
mod process;
mod resources;
mod run;
mod sandbox;
mod server;
mod volumes;
mod whereabouts;

pub use run::main;
