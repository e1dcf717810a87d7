//! Containers from outside: the shim's binary, a real kernel, busybox as the image.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod differential;
mod harness;
mod hooks;
mod lifecycle;
mod names;
mod security;
mod unified;
