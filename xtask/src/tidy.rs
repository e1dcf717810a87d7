//! What no compiler checks: module docs, layering, file sizes, words that promise work undone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::root;

/// A file longer than this must be one state machine or one table, and be listed in [`LONG`].
const LINES_MAX: usize = 1000;

/// Files over [`LINES_MAX`] lines, each with the reason it is one thing. The list only shrinks.
const LONG: &[(&str, &str)] = &[];

/// Which of our crates each crate may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("linux", &[]),
    ("docker-api", &[]),
    ("dockerignore", &[]),
    ("e2e", &[]),
    ("cluster", &["mesos-api"]),
    ("simulator", &["cluster", "mesos-api"]),
    ("flags", &[]),
    ("logging", &[]),
    ("resolver", &[]),
    ("runtime", &["linux", "resolver"]),
    ("mesos-api", &[]),
    ("scheduler", &["mesos-api"]),
    ("load", &["mesos-api"]),
    ("images", &["linux"]),
    ("network", &["linux", "resolver"]),
    ("engine", &["images", "linux", "network", "resolver", "runtime"]),
    ("builder", &["dockerignore", "engine", "images", "linux"]),
    ("swarm", &[]),
    ("daemon", &["builder", "docker-api", "engine", "images", "linux", "network", "swarm"]),
    ("cli", &["docker-api", "dockerignore", "scheduler"]),
    ("agent", &["cli", "cluster", "docker-api", "flags", "logging", "mesos-api", "runtime"]),
    ("master", &["cluster", "flags", "logging", "mesos-api"]),
    ("teu", &["agent", "cli", "daemon", "master"]),
];

/// Words that mean a part is missing. Spelled in pieces so that this file does not hold them.
const UNDONE: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
];

/// Prints every finding; any is an error.
pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files)?;
    sources(&root().join("xtask"), &mut files)?;
    for file in &files {
        judge_file(file, &mut findings)?;
    }
    for (name, allowed) in LAYERS {
        judge_layer(name, allowed, &mut findings)?;
    }
    for finding in &findings {
        println!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: {} files, nothing found", files.len());
    Ok(())
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn judge_file(path: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let name = path.strip_prefix(root())?.display().to_string();
    // A sibling tests.rs speaks for the module it tests.
    if !text.starts_with("//!") && !name.ends_with("/tests.rs") {
        findings.push(format!("{name} does not open with a module doc"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX && !LONG.iter().any(|(long, _)| *long == name) {
        findings.push(format!("{name} has {lines} lines, more than {LINES_MAX}"));
    }
    for word in UNDONE {
        if text.contains(word) {
            findings.push(format!("{name} contains {word}"));
        }
    }
    Ok(())
}

fn judge_layer(name: &str, allowed: &[&str], findings: &mut Vec<String>) -> Result<()> {
    let manifest = std::fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"))?;
    let (_, dependencies) = manifest.split_once("[dependencies]").context("no dependencies")?;
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    for (other, _) in LAYERS {
        let uses = dependencies.lines().any(|line| line.starts_with(&format!("{other}.")));
        if uses && !allowed.contains(other) {
            findings.push(format!("crate {name} must not use crate {other}"));
        }
    }
    Ok(())
}
