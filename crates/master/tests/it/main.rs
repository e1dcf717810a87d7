//! The master as its peers see it: real sockets, raw HTTP, agents that are a few lines of libprocess.

#![allow(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

mod authentication;
mod calls;
mod endpoints;
mod frameworks;
mod garbage;
mod golden;
mod operators;
mod pipeline;
mod protobuf;
mod quirks;
mod restart;
mod world;
