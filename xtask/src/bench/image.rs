//! Images: pull from a local registry, save, load, commit of a gigabyte.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::Table;
use super::peer::{IMAGE, Peer};
use crate::{output, root};

pub(super) fn measure(peers: &[Peer], runs: usize) -> Result<()> {
    commit(peers, runs)?;
    let mut registry = Registry::start()?;
    let result = debian(peers, runs, &registry);
    registry.stop()?;
    result
}

/// A container with 1 GB of fresh files is committed.
fn commit(peers: &[Peer], runs: usize) -> Result<()> {
    let fill = "i=0; while [ $i -lt 64 ]; do dd if=/dev/urandom of=/big$i bs=1M count=16 2>/dev/null; i=$((i+1)); done";
    let mut table = Table::new("commit of 1 GB", peers);
    for peer in peers {
        peer.run(&["run", "--name", "big", IMAGE, "sh", "-c", fill])?;
    }
    for _ in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            table.time(index, || peer.run(&["commit", "big", "big:1"]).map(drop))?;
            peer.run(&["rmi", "big:1"])?;
        }
    }
    table.print(peers);
    for peer in peers {
        peer.run(&["rm", "big"])?;
    }
    Ok(())
}

/// A Debian tree: import, push once, then pull, save and load.
fn debian(peers: &[Peer], runs: usize, registry: &Registry) -> Result<()> {
    let tar = root().join("target/bench/debian.tar");
    if !tar.is_file() {
        let make = format!(
            "d=$(mktemp -d) && debootstrap --variant=minbase bookworm $d >/dev/null && tar --one-file-system -C $d -cf '{}' . && rm -rf $d",
            tar.display()
        );
        output("sh", &["-c", &make])?;
    }
    let tar = tar.to_string_lossy().into_owned();
    let name = format!("127.0.0.1:{}/debian:1", registry.port);
    let tables = ["import of a Debian tree", "pull and unpack", "save", "load"];
    let mut tables: Vec<Table> = tables.iter().map(|what| Table::new(what, peers)).collect();
    for run in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            tables[0].time(index, || peer.run(&["import", &tar, &name]).map(drop))?;
            if run == 0 && index == 0 {
                peer.run(&["push", &name])?;
            }
            peer.run(&["rmi", &name])?;
            let insecure: &[&str] =
                if peer.name() == "podman" { &["--tls-verify=false"] } else { &[] };
            let pull = [&["pull"], insecure, &[name.as_str()]].concat();
            tables[1].time(index, || peer.run(&pull).map(drop))?;
            let saved = peer.dir().join("saved.tar").to_string_lossy().into_owned();
            tables[2].time(index, || peer.run(&["save", "-o", &saved, &name]).map(drop))?;
            peer.run(&["rmi", &name])?;
            tables[3].time(index, || peer.run(&["load", "-i", &saved]).map(drop))?;
            peer.run(&["rmi", &name])?;
            std::fs::remove_file(&saved)?;
        }
    }
    for table in tables {
        table.print(peers);
    }
    Ok(())
}

struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = root().join("target/bench/registry");
        std::fs::create_dir_all(&dir)?;
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            dir.display()
        );
        std::fs::write(&config, text)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry (package docker-registry)")?;
        Ok(Self { process, port })
    }

    fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(std::fs::remove_dir_all(root().join("target/bench/registry"))?)
    }
}
