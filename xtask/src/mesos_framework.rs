//! `e2e mesos-framework`: the npm client of that name as judge of a running cluster.
//!
//! Opt-in: it needs Node and the npm registry. The script subscribes, launches one Docker task and
//! ends with 0 when it has heard TASK_FINISHED.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

const PACKAGE: &str = "mesos-framework@0.5.3";

/// Runs the client against `HOST:PORT` with an image that the agents have.
pub(crate) fn judge(words: &[&str]) -> Result<()> {
    let ["--master", master, "--image", image] = words else {
        bail!("usage: cargo xtask e2e mesos-framework --master HOST:PORT --image IMAGE");
    };
    let (host, port) = master.split_once(':').context("--master HOST:PORT")?;
    let folder = root().join("target/mesos-framework");
    // The package writes its log there and fails if it cannot.
    std::fs::create_dir_all(folder.join("logs"))?;
    if !folder.join("node_modules/mesos-framework").is_dir() {
        let installed = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix", ".", PACKAGE])
            .current_dir(&folder)
            .status()
            .context("start npm")?;
        if !installed.success() {
            bail!("npm install {PACKAGE} ended with {installed}");
        }
    }
    let script = root().join("xtask/src/mesos_framework.js");
    let status = Command::new("node")
        .arg(script)
        .args([host, port, image])
        .env("NODE_PATH", folder.join("node_modules"))
        .current_dir(&folder)
        .status()
        .context("start node")?;
    if !status.success() {
        bail!("the client ended with {status}");
    }
    println!("the client heard TASK_FINISHED");
    Ok(())
}
