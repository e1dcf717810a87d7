//! Docker Engine API: wire types and a client. Knows no engine.
//!
//! [`models`] are the types of the API's specification, shared by the client
//! and the server half; [`client`] talks to any Engine API endpoint over a
//! Unix socket, TCP or TLS; [`stream`] takes the multiplexed output of a
//! container apart.

pub mod client;
pub mod models;
pub mod stream;

pub use client::{Body, Client, Error, Hijacked, Host, Ping, Request, Response, Result, TlsFiles};

/// The newest API version that this client speaks.
pub const API_VERSION: &str = "1.51";
/// The oldest API version that this client falls back to.
pub const MIN_API_VERSION: &str = "1.24";
