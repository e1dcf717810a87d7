//! Containers and execs.

use anyhow::{Result, bail};

use super::Table;
use super::peer::{IMAGE, Peer};

pub(super) fn measure(peers: &[Peer], runs: usize) -> Result<()> {
    each(peers, runs, "run --rm true, bridge", |peer| {
        peer.run(&["run", "--rm", IMAGE, "true"]).map(drop)
    })?;
    each(peers, runs, "run --rm true, --net=none", |peer| {
        peer.run(&["run", "--rm", "--net=none", IMAGE, "true"]).map(drop)
    })?;
    each(peers, runs, "run --rm true, -p", |peer| {
        peer.run(&["run", "--rm", "-p", "127.0.0.1::80", IMAGE, "true"]).map(drop)
    })?;
    exec(peers, runs)?;
    apart(peers, runs)?;
    each(peers, runs.div_ceil(5), "50 x run --rm true in parallel", parallel)?;
    memory(peers)
}

fn each(
    peers: &[Peer],
    runs: usize,
    what: &'static str,
    action: impl Fn(&Peer) -> Result<()>,
) -> Result<()> {
    let mut table = Table::new(what, peers);
    for peer in peers {
        action(peer)?;
    }
    for _ in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            table.time(index, || action(peer))?;
        }
    }
    table.print(peers);
    Ok(())
}

fn exec(peers: &[Peer], runs: usize) -> Result<()> {
    for peer in peers {
        peer.run(&["run", "-d", "--name", "bench", IMAGE, "sleep", "3600"])?;
    }
    each(peers, runs, "exec true", |peer| peer.run(&["exec", "bench", "true"]).map(drop))?;
    for peer in peers {
        peer.run(&["rm", "-f", "bench"])?;
    }
    Ok(())
}

fn apart(peers: &[Peer], runs: usize) -> Result<()> {
    let steps: [(&'static str, &[&str]); 4] = [
        ("create", &["create", "--name", "bench", IMAGE, "sleep", "3600"]),
        ("start", &["start", "bench"]),
        ("stop -t 0", &["stop", "-t", "0", "bench"]),
        ("rm", &["rm", "bench"]),
    ];
    let mut tables: Vec<Table> = steps.iter().map(|(what, _)| Table::new(what, peers)).collect();
    for _ in 0..runs {
        for (index, peer) in peers.iter().enumerate() {
            for (table, (_, arguments)) in tables.iter_mut().zip(steps) {
                table.time(index, || peer.run(arguments).map(drop))?;
            }
        }
    }
    for table in tables {
        table.print(peers);
    }
    Ok(())
}

fn parallel(peer: &Peer) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..50 {
        children.push(peer.command(&["run", "--rm", IMAGE, "true"]).spawn()?);
    }
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            bail!("{}: one of 50 runs ended with {status}", peer.name());
        }
    }
    Ok(())
}

/// What one idle container costs besides its own process.
fn memory(peers: &[Peer]) -> Result<()> {
    for peer in peers {
        let before = helpers(peer)?;
        for _ in 0..10 {
            peer.run(&["run", "-d", IMAGE, "sleep", "3600"])?;
        }
        let after = helpers(peer)?;
        let kib = after.saturating_sub(before) / 10;
        println!("idle overhead per container (Pss)  {:>8} {kib:>9} KiB", peer.name());
    }
    Ok(())
}

/// Proportional memory in KiB of every process that looks after containers.
pub(super) fn helpers(peer: &Peer) -> Result<u64> {
    let names: &[&str] = match peer.name() {
        "teu" => &["teu-shim", "teu"],
        "docker" => {
            &["dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy"]
        }
        _ => &["conmon"],
    };
    let root = peer.dir().to_string_lossy();
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(program) = std::fs::read_link(path.join("exe")) else { continue };
        let program = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Of this peer's roots: others of the same name may come and go meanwhile.
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let is_its = String::from_utf8_lossy(&line).contains(root.as_ref())
            || parent(&path).is_some_and(|parent| Some(parent) == peer.daemon_pid());
        if is_its && names.contains(&program) {
            let rollup = std::fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
            sum += rollup
                .lines()
                .find_map(|line| line.strip_prefix("Pss:"))
                .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    Ok(sum)
}

fn parent(process: &std::path::Path) -> Option<u32> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}
