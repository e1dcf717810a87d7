//! Docker Engine API: wire types and a client. Knows no engine.
//!
//! [`models`] are the types of the API's specification, shared by the client
//! and the server half; [`client`] talks to any Engine API endpoint over a
//! Unix socket, TCP or TLS; [`stream`] takes the multiplexed output of a
//! container apart.

pub mod client;
pub mod models;
pub mod stream;

pub use client::{
    Body, Client, Error, Hijacked, Host, Ping, Request, Response, Result, TlsFiles, encode_path,
};
pub use models::{API_VERSION, MIN_API_VERSION};
