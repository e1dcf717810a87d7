//! Benchmarks beside the peers: same machine, same run, alternating; medians and ratios.

mod build;
mod cluster;
mod image;
mod names;
mod net;
mod peer;
mod place;
mod rates;
mod start;
mod tasks;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) use names::load as names_load;
use peer::Peer;

/// `bench start`: how long containers and execs take.
pub(crate) fn start(options: &[&str]) -> Result<()> {
    let runs = runs(options, 20)?;
    let mut peers = Peer::all()?;
    facts(&peers)?;
    let result = start::measure(&peers, runs);
    finish(&mut peers, result)
}

/// `bench image`: how long images take to move.
pub(crate) fn image(options: &[&str]) -> Result<()> {
    let runs = runs(options, 3)?;
    let mut peers = Peer::all()?;
    facts(&peers)?;
    let result = image::measure(&peers, runs);
    finish(&mut peers, result)
}

/// `bench build`: how long builds take.
pub(crate) fn build(options: &[&str]) -> Result<()> {
    let runs = runs(options, 3)?;
    // podman builds also where it cannot run.
    let mut peers = Peer::installed()?;
    facts(&peers)?;
    let result = build::measure(&peers, runs);
    finish(&mut peers, result)
}

/// `bench net`: throughput and requests, connecting, names, published ports; or some of these.
pub(crate) fn net(options: &[&str]) -> Result<()> {
    let at = options.iter().position(|word| net::PARTS.contains(word)).unwrap_or(options.len());
    let (options, parts) = options.split_at(at);
    if let Some(unknown) = parts.iter().find(|word| !net::PARTS.contains(word)) {
        bail!("{unknown}: bench net has the parts {}", net::PARTS.join(", "));
    }
    let runs = runs(options, 5)?;
    let mut peers = Peer::all_apart()?;
    facts(&peers)?;
    let result = net::measure(&peers, runs, if parts.is_empty() { &net::PARTS } else { parts });
    finish(&mut peers, result)
}

/// `bench cluster`: how much a master bears.
pub(crate) fn cluster(options: &[&str]) -> Result<()> {
    facts(&[])?;
    cluster::measure(options)
}

/// `bench tasks`: how many containers an agent launches in a second.
pub(crate) fn tasks(options: &[&str]) -> Result<()> {
    tasks::measure(options)
}

/// Where programs of ours are: `TEU_BIN_DIR`, else a release build of now.
fn programs(names: &[&str]) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("TEU_BIN_DIR") {
        return Ok(PathBuf::from(directory));
    }
    let mut words = vec!["build", "--release", "--locked", "--quiet"];
    words.extend(names.iter().flat_map(|name| ["--bin", name]));
    crate::run("cargo", &words)?;
    Ok(crate::root().join("target/release"))
}

fn finish(peers: &mut [Peer], result: Result<()>) -> Result<()> {
    for peer in peers {
        peer.stop()?;
    }
    result
}

fn runs(options: &[&str], default: usize) -> Result<usize> {
    match options {
        [] => Ok(default),
        ["--runs", count] => count.parse().with_context(|| format!("--runs {count}")),
        _ => bail!("usage: cargo xtask bench start|image|build|net [--runs N]"),
    }
}

fn facts(peers: &[Peer]) -> Result<()> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().next().unwrap_or_default().replace(' ', "");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!(
        "machine: {cpu}, {cores} cores, {memory}, Linux {}, load {}",
        kernel.trim(),
        load.trim()
    );
    for peer in peers {
        println!("{}: {}", peer.name(), peer.version()?);
    }
    Ok(())
}

/// Tries until something that was just started answers.
fn until<T>(action: impl Fn() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match action() {
            Err(_) if start.elapsed() < Duration::from_secs(20) => {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            done => return done,
        }
    }
}

/// The durations of one thing, one list per peer, in the order of the peers.
struct Table {
    what: &'static str,
    times: Vec<Vec<Duration>>,
}

impl Table {
    fn new(what: &'static str, peers: &[Peer]) -> Self {
        Self { what, times: vec![Vec::new(); peers.len()] }
    }

    fn time(&mut self, index: usize, action: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        action()?;
        self.times[index].push(start.elapsed());
        Ok(())
    }

    fn print(&self, peers: &[Peer]) {
        let median = |times: &[Duration]| {
            let mut sorted = times.to_vec();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied().unwrap_or_default()
        };
        let own = median(&self.times[0]).as_secs_f64();
        print!("{:<34}", self.what);
        for (peer, times) in peers.iter().zip(&self.times) {
            if times.is_empty() {
                print!(" {:>8}          –        ", peer.name());
                continue;
            }
            let seconds = median(times).as_secs_f64();
            print!(" {:>8} {:>9.1} ms {:>5.2}x", peer.name(), seconds * 1e3, seconds / own);
        }
        println!();
    }
}
