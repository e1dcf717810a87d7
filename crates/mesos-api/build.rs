//! Compiles `proto/` into Rust types, and writes the code for their JSON. No protoc is needed:
//! protox is a compiler in Rust.

#[path = "build/json.rs"]
mod json;

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
    println!("cargo::rerun-if-changed=build");
    let files = FILES.iter().map(|name| Path::new("proto").join(format!("{name}.proto")));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("json.rs"), json::generate(&descriptors))?;
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        .enable_type_names()
        .include_file("messages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
