//! The API as a client sees it: a whole daemon on a socket of its own, in a network namespace of
//! its own, spoken to over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod harness;
mod hostile;
mod objects;
mod protocol;
