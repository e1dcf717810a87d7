//! The engine judged from outside: real shims, real namespaces, a machine of the test's own.

#![allow(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

mod crash;
mod data;
mod lab;
mod lifecycle;
