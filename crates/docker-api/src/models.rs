//! Wire types of the Engine API.
//!
//! The generated stubs cover most of it. Own structs stand here only where Docker sends an explicit
//! `null` or `[]`, where a field comes and goes with the API version, or where a request may hold
//! either of two JSON types.

pub mod exact;
pub mod swarm;

pub use bollard_stubs::models::*;

/// Highest API version spoken.
pub const API_VERSION: &str = "1.51";

/// Lowest API version spoken.
pub const MIN_API_VERSION: &str = "1.24";
