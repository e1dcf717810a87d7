//! The master as its peers see it: real sockets, raw HTTP, agents that are a few lines of libprocess.

mod endpoints;
mod frameworks;
mod quirks;
mod restart;
mod world;
