//! Docker Engine API: wire types and a client. Knows no engine.

pub mod models;
