//! The kernel, safely: mounts, namespaces, processes, descriptors, netlink.
//!
//! This crate is the home of `unsafe`: each system call that neither `std` nor `rustix` wraps has
//! one safe function here. It decides nothing about containers; `runtime`, `images` and `network`
//! do that with what they find here.
#![allow(unsafe_code)]

pub mod bpf;
pub mod credentials;
pub mod fs;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod process;
pub mod quota;
pub mod socket;
pub mod time;
pub mod user_namespace;
