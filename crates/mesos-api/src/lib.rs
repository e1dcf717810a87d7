//! The vocabulary of a Mesos cluster: messages as protobuf and as JSON, their framing in streams
//! (RecordIO) and between processes (libprocess). No sockets, no clock, no files.
//!
//! One set of types serves both generations of the API: what version 0 calls a slave, version 1
//! calls an agent, and on the wire nothing else differs. The types carry the names of version 1.

#![warn(missing_docs)]

mod ids;

mod messages {
    //! Generated from `proto/` by build.rs.
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::use_self)]
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use messages::mesos::{internal, v1};
