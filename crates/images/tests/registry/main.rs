//! Pull, push and login against servers that behave, and servers that do not.

#![allow(unreachable_pub, reason = "modules of one test binary")]
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

mod auth;
mod content;
mod faults;
mod harness;
mod hostile;
mod hub;
mod interop;
mod pull;
mod push;
mod server;
mod tls;
