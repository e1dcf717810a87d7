//! Who may have a data root, and when.

use std::process::Command;

use super::lock;

#[test]
fn the_last_holder_ends_before_the_next_begins() {
    let root = tempfile::tempdir().unwrap();
    // It let the lock go, and is not gone yet.
    let mut last = Command::new("sleep").arg("0.3").spawn().unwrap();
    std::fs::write(root.path().join("lock"), last.id().to_string()).unwrap();
    let held = lock(root.path()).unwrap();
    assert!(last.try_wait().unwrap().is_some(), "the last holder is still there");
    let refused = lock(root.path()).unwrap_err().to_string();
    assert!(refused.contains("in use by another daemon"), "{refused}");
    drop(held);
    // The number of a process that is no more, or ours, keeps nobody waiting.
    drop(lock(root.path()).unwrap());
}
