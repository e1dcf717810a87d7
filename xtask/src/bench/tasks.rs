//! `bench tasks`: one agent, its engine ours or dockerd, and tasks that are containers of `true`.
//!
//! Every task goes its whole way: offer, launch, STARTING, RUNNING, FINISHED, each acknowledged, with
//! a sandbox, its output and its records on disk. All are launched at once by a framework that
//! wants them checkpointed. The agents are the same program; only the socket differs.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cluster::{Master, Size, load, median};
use super::peer::{BUSYBOX, IMAGE, Peer};

const START_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn measure(words: &[&str]) -> Result<()> {
    let (mut runs, mut tasks) = (5, 200);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match *word {
            "--runs" => runs = value.parse().context("--runs")?,
            "--tasks" => tasks = value.parse().context("--tasks")?,
            other => bail!("{other}: bench tasks takes --runs and --tasks"),
        }
    }
    let programs = super::programs(&["teu", "teu-shim", "cluster-load"])?;
    let mut peers = vec![Peer::teu(&programs)?];
    match Peer::docker()? {
        Some(docker) => peers.push(docker),
        None => println!("dockerd is not installed (apt-get install docker.io): not compared"),
    }
    let result = compare(&programs, &peers, runs, tasks);
    super::finish(&mut peers, result)
}

fn compare(programs: &Path, peers: &[Peer], runs: usize, tasks: usize) -> Result<()> {
    super::facts(peers)?;
    let mut clusters = Vec::new();
    for peer in peers {
        peer.import(IMAGE, BUSYBOX)?;
        clusters.push(Cluster::start(programs, peer)?);
    }
    let mut rows = vec![Vec::new(); peers.len()];
    for _ in 0..runs {
        for (cluster, rows) in clusters.iter().zip(&mut rows) {
            rows.push(cluster.run(programs, tasks)?);
        }
    }
    let column = |name: &str| rows.iter().map(|rows| median(rows, name)).collect::<Vec<_>>();
    println!("{tasks} tasks of `true` at once, median of {runs} runs");
    for (name, title) in [
        ("tasks_per_second", "tasks/s"),
        ("running_ms_p50", "ACCEPT to RUNNING p50 ms"),
        ("running_ms_p99", "ACCEPT to RUNNING p99 ms"),
    ] {
        let values = column(name);
        print!("{title:<28}");
        for (peer, value) in peers.iter().zip(&values) {
            print!(" {:>8} {value:>9}", peer.name());
        }
        let numbers: Vec<f64> = values.iter().filter_map(|value| value.parse().ok()).collect();
        if let [own, other] = numbers[..] {
            print!("  ratio {:.2}", own / other);
        }
        println!();
    }
    Ok(())
}

/// A master with one agent on a peer's engine.
struct Cluster {
    master: Master,
    agent: Child,
    work_dir: PathBuf,
}

impl Cluster {
    fn start(programs: &Path, peer: &Peer) -> Result<Self> {
        let master = Master::start(programs)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let work_dir = peer.dir().join("agent");
        let agent = Command::new(programs.join("teu"))
            .args(["agent", "--ip=127.0.0.1", "--containerizers=docker"])
            .args(["--resources=cpus:1000;mem:1000000;disk:1000000", "--logging_level=WARNING"])
            .args([format!("--master={}", master.address), format!("--port={port}")])
            .arg(format!("--docker_socket={}", peer.socket().display()))
            .arg(format!("--work_dir={}", work_dir.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start teu agent")?;
        let cluster = Self { master, agent, work_dir };
        let started = Instant::now();
        // It has an id once it is registered.
        while !cluster.work_dir.join("meta/slaves/latest").exists() {
            if started.elapsed() > START_TIMEOUT {
                bail!("the agent on {} does not register", peer.name());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(cluster)
    }

    fn run(&self, programs: &Path, tasks: usize) -> Result<BTreeMap<String, f64>> {
        let more = ["--image", IMAGE, "--tasks-per-offer"].map(str::to_owned);
        let more: Vec<String> = more.into_iter().chain([tasks.to_string()]).collect();
        load(programs, Size { agents: 0, tasks, in_flight: None }, self.master.address, None, &more)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Either fails only if it has ended.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}
