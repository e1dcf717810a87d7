//! The master as its peers see it: real sockets, raw HTTP, agents that are a few lines of libprocess.

#![allow(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

mod endpoints;
mod frameworks;
mod quirks;
mod restart;
mod world;
