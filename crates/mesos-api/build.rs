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
    "authentication",
    "internal",
];

/// Messages that are big and rarely there. Whatever holds one has only a pointer to it: a master
/// holds tasks and resources by the ten thousand.
const BOXED: &[&str] = &[
    ".mesos.v1.Resource.disk",
    ".mesos.v1.Resource.reservation",
    ".mesos.v1.ExecutorInfo.container",
    ".mesos.v1.ExecutorInfo.discovery",
    ".mesos.v1.Task.container",
    ".mesos.v1.Task.discovery",
    ".mesos.v1.Task.health_check",
    ".mesos.v1.TaskInfo.check",
    ".mesos.v1.TaskInfo.container",
    ".mesos.v1.TaskInfo.discovery",
    ".mesos.v1.TaskInfo.executor",
    ".mesos.v1.TaskInfo.health_check",
    ".mesos.v1.TaskStatus.check_status",
    ".mesos.v1.TaskStatus.container_status",
    ".mesos.v1.TaskStatus.limitation",
    ".mesos.v1.scheduler.Event.message",
    ".mesos.v1.scheduler.Event.subscribed",
    ".mesos.v1.scheduler.Event.update_operation_status",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build");
    let files = FILES.iter().map(|name| Path::new("proto").join(format!("{name}.proto")));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("json.rs"), json::generate(&descriptors))?;
    let mut config = prost_build::Config::new();
    for field in BOXED {
        config.boxed(field);
    }
    config
        .btree_map(["."])
        .bytes(["."])
        .enable_type_names()
        .include_file("messages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
