//! The cluster's master: sockets, HTTP and disk around the core that decides ([`cluster::master`]).
//!
//! ```text
//! flags -> options             what the command line says
//! listen -> inbound, http      one port: messages of processes, and HTTP
//!    handle -> driver          inputs into the one thread that owns the core
//!    driver <-> authenticator, limits    who agents and old drivers are, how fast these speak
//!    driver -> store, links, streams     what comes back: persist, send, publish
//! view, http/*                 snapshots as the APIs show them
//! ```
//!
//! Readers get snapshots of the state and never hold up the driver.

mod authenticator;
mod clock;
mod driver;
mod explain;
mod facts;
mod flags;
mod handle;
mod http;
mod inbound;
mod limits;
mod links;
mod listen;
mod messages;
mod metrics;
mod options;
mod run;
mod socket;
mod standby;
mod store;
mod subscribers;
mod timings;
mod uuid;
mod view;
mod whitelist;

pub use options::Options;
pub use run::{RunError, main, run};
pub use store::StoreError;
