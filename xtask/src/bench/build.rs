//! Builds: thirty steps cold, cached and with a change at the end; large contexts; many stages.
//!
//! podman builds with buildah's library, docker with its classic builder.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Table;
use super::peer::{IMAGE, Peer};
use crate::root;

pub(super) fn measure(peers: &[Peer], runs: usize) -> Result<()> {
    let contexts = root().join("target/bench/contexts");
    let result = thirty_steps(peers, runs, &contexts)
        .and_then(|()| wide(peers, runs, &contexts))
        .and_then(|()| many_files(peers, runs, &contexts))
        .and_then(|()| gigabyte(peers, runs, &contexts));
    // Gone already when nothing was made.
    let _ = fs::remove_dir_all(&contexts);
    result
}

/// A directory for a context.
fn fresh(contexts: &Path, name: &str) -> Result<PathBuf> {
    let dir = contexts.join(name);
    // Of a run that was cut off.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn build(peer: &Peer, dir: &Path, options: &[&str]) -> Result<()> {
    let dir = dir.to_string_lossy().into_owned();
    // Without a container's confinement it builds where it cannot run one, too, and no slower.
    let own: &[&str] = match peer.name() {
        "podman" => &["--format", "docker", "--isolation", "chroot"],
        _ => &[],
    };
    let arguments = [&["build", "-t", "built:1"], own, options, &[dir.as_str()]].concat();
    let output = peer.command(&arguments).env("DOCKER_BUILDKIT", "0").output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("{} build: {}: {said}", peer.name(), output.status);
    }
    Ok(())
}

/// Forgets what was built, with its layers.
fn forget(peer: &Peer) -> Result<()> {
    peer.run(&["rmi", "-f", "built:1"])?;
    peer.run(&["image", "prune", "-f"])?;
    match peer.name() {
        "teu" => peer.run(&["builder", "prune", "-a", "-f"]).map(drop),
        _ => Ok(()),
    }
}

/// Ten commands, ten copies, ten lines that change the configuration alone.
fn thirty_steps(peers: &[Peer], runs: usize, contexts: &Path) -> Result<()> {
    let dir = fresh(contexts, "thirty")?;
    let mut lines = format!("FROM {IMAGE}\n");
    for number in 0..10 {
        fs::write(dir.join(format!("file{number}")), vec![b'x'; 10_000])?;
        lines.push_str(&format!(
            "ENV E{number}=1\nRUN echo {number} > /run{number}\nCOPY file{number} /copies/\n"
        ));
    }
    fs::write(dir.join("Dockerfile"), lines)?;
    let names = ["30 steps, cold", "30 steps, all cached", "30 steps, last COPY changed"];
    let mut tables: Vec<Table> = names.iter().map(|what| Table::new(what, peers)).collect();
    for run in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            tables[0].time(index, || build(peer, &dir, &["--no-cache"]))?;
            // The first build from the cache writes nothing new, either.
            tables[1].time(index, || build(peer, &dir, &[]))?;
            fs::write(dir.join("file9"), format!("{run} {index}"))?;
            tables[2].time(index, || build(peer, &dir, &[]))?;
            fs::write(dir.join("file9"), vec![b'x'; 10_000])?;
        }
    }
    tables.iter().for_each(|table| table.print(peers));
    peers.iter().try_for_each(forget)
}

/// Eight stages that each wait a little, and one that takes a file from each.
fn wide(peers: &[Peer], runs: usize, contexts: &Path) -> Result<()> {
    let dir = fresh(contexts, "wide")?;
    let mut lines = String::new();
    let mut last = format!("FROM {IMAGE}\n");
    for number in 0..8 {
        lines.push_str(&format!(
            "FROM {IMAGE} AS s{number}\nRUN sleep 0.3; echo {number} > /made\n"
        ));
        last.push_str(&format!("COPY --from=s{number} /made /made{number}\n"));
    }
    fs::write(dir.join("Dockerfile"), lines + &last)?;
    let mut table = Table::new("8 stages of 0.3 s and one more", peers);
    for _ in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            table.time(index, || build(peer, &dir, &["--no-cache"]))?;
        }
    }
    table.print(peers);
    peers.iter().try_for_each(forget)
}

/// A context of many small files: copied, and the same again from the cache.
fn many_files(peers: &[Peer], runs: usize, contexts: &Path) -> Result<()> {
    let dir = fresh(contexts, "many")?;
    for number in 0..20_000 {
        let below = dir.join(format!("tree/{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&below)?;
        }
        fs::write(
            below.join(number.to_string()),
            format!("content of file {number}\n").repeat(20),
        )?;
    }
    fs::write(dir.join("Dockerfile"), format!("FROM {IMAGE}\nCOPY tree /tree\n"))?;
    copied(peers, runs, &dir, ["20,000 files, cold", "20,000 files, cached"])
}

/// A context of a gigabyte.
fn gigabyte(peers: &[Peer], runs: usize, contexts: &Path) -> Result<()> {
    let dir = fresh(contexts, "gigabyte")?;
    fs::create_dir(dir.join("tree"))?;
    let mut random = File::open("/dev/urandom")?;
    let mut block = vec![0; 16 << 20];
    for number in 0..64 {
        random.read_exact(&mut block)?;
        File::create(dir.join(format!("tree/{number}")))?.write_all(&block)?;
    }
    fs::write(dir.join("Dockerfile"), format!("FROM {IMAGE}\nCOPY tree /tree\n"))?;
    copied(peers, runs, &dir, ["1 GB context, cold", "1 GB context, cached"])
}

fn copied(peers: &[Peer], runs: usize, dir: &Path, names: [&'static str; 2]) -> Result<()> {
    let mut tables = names.map(|what| Table::new(what, peers));
    for _ in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            tables[0].time(index, || build(peer, dir, &["--no-cache"]))?;
            tables[1].time(index, || build(peer, dir, &[]))?;
            forget(peer)?;
        }
    }
    tables.iter().for_each(|table| table.print(peers));
    Ok(fs::remove_dir_all(dir)?)
}
