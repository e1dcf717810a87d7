//! Compiles `proto/` into Rust types. No protoc is needed: protox is a compiler in Rust.

use std::error::Error;
use std::path::Path;

/// In the order of their subjects; imports are found by name.
const FILES: &[&str] = &[
    "basic",
    "container",
    "resource",
    "cluster",
    "task",
    "offer",
    "operator",
    "scheduler",
    "executor",
    "allocator",
    "maintenance",
    "quota",
    "master",
    "agent",
    "internal",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = FILES.iter().map(|name| Path::new("proto").join(format!("{name}.proto")));
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        .include_file("messages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
