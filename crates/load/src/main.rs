//! Loads a Mesos-compatible master: simulated agents over real sockets (libprocess), and one
//! framework (scheduler API v1, protobuf) whose tasks live their whole life, STAGING, RUNNING,
//! FINISHED, with both acknowledgements. Prints what it measured as `name value` lines.
//!
//! It knows no master of its own: whatever speaks Mesos' protocols at an address can be measured.

mod agents;
mod framework;
mod outbox;
mod state;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use agents::{Group, Progress};
use framework::{Framework, Plan};

/// Loads a Mesos-compatible master with simulated agents and tasks.
#[derive(Debug, Parser)]
struct Options {
    /// The master's address.
    #[arg(long)]
    master: SocketAddrV4,
    /// Simulated agents; none to use those that the master has.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Image of the tasks' containers, for agents that run something.
    #[arg(long)]
    image: Option<String>,
    /// Agents that share a socket.
    #[arg(long, default_value_t = 10)]
    agents_per_socket: usize,
    /// Tasks to launch.
    #[arg(long, default_value_t = 10_000)]
    tasks: usize,
    /// Tasks launched on one offer.
    #[arg(long, default_value_t = 50)]
    tasks_per_offer: usize,
    /// Tasks that may be launched and not ended; all unless said.
    #[arg(long)]
    in_flight: Option<usize>,
    /// Seconds that no part of the run may exceed.
    #[arg(long, default_value_t = 120)]
    deadline_secs: u64,
    /// Address the agents listen at.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    ip: Ipv4Addr,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.agents_per_socket == 0 || options.tasks_per_offer == 0 {
        bail!("--agents-per-socket and --tasks-per-offer are at least 1");
    }
    allow_files(options.agents / options.agents_per_socket * 3 + 1000)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(&options));
    runtime.shutdown_background();
    outcome
}

async fn run(options: &Options) -> Result<()> {
    let progress = Arc::new(Progress::default());
    let mut groups = Vec::new();
    let mut left = options.agents;
    while left > 0 {
        let count = left.min(options.agents_per_socket);
        left -= count;
        let group = Group::start(options.ip, options.master, count, Arc::clone(&progress));
        groups.push(group.await?);
    }
    let started = Instant::now();
    for group in &groups {
        group.register();
    }
    options.within("registering", progress.until_registered(options.agents)).await?;
    report("registration_ms", millis(started.elapsed()));

    if options.tasks > 0 {
        run_tasks(options, &progress).await?;
    }
    let idle = state::measure(options.master, 5).await?;
    report("state_idle_bytes", idle.bytes);
    report("state_idle_ms_p50", millis(percentile(&idle.times, 50)));
    report("state_idle_ms_max", millis(percentile(&idle.times, 100)));
    Ok(())
}

async fn run_tasks(options: &Options, progress: &Progress) -> Result<()> {
    let plan = Plan {
        tasks: options.tasks,
        tasks_per_offer: options.tasks_per_offer,
        in_flight: options.in_flight.unwrap_or(options.tasks),
        image: options.image.clone(),
    };
    if plan.in_flight < plan.tasks_per_offer {
        bail!("--in-flight is at least --tasks-per-offer");
    }
    let watcher = state::Watcher::start(options.master);
    let framework = options.within("running tasks", Framework::run(options.master, plan)).await??;
    if options.agents > 0 {
        options.within("acknowledging", progress.until_finished(options.tasks)).await?;
    }
    let started = framework.seen.first_accept.context("no offer came")?;
    let elapsed = started.elapsed();
    let loaded = watcher.stop().context("watching /state")?;
    framework.teardown();
    if let Some(wrong) = framework.seen.wrong.first() {
        bail!("{} tasks did not run; the first: {wrong}", framework.seen.wrong.len());
    }
    let mut times = framework.seen.running_after;
    times.sort_unstable();
    report("first_offers_ms", millis(framework.seen.first_offers));
    #[expect(clippy::cast_precision_loss, reason = "a number of tasks is small")]
    report("tasks_per_second", (options.tasks as f64 / elapsed.as_secs_f64()).round());
    report("running_ms_p50", millis(percentile(&times, 50)));
    report("running_ms_p99", millis(percentile(&times, 99)));
    report("state_loaded_count", loaded.times.len());
    report("state_loaded_ms_p50", millis(percentile(&loaded.times, 50)));
    report("state_loaded_ms_p99", millis(percentile(&loaded.times, 99)));
    Ok(())
}

fn report(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// The value that `percent` of the sorted ones do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl Options {
    async fn within<F: Future>(&self, doing: &str, future: F) -> Result<F::Output> {
        tokio::time::timeout(Duration::from_secs(self.deadline_secs), future)
            .await
            .with_context(|| format!("{doing} took longer than {} s", self.deadline_secs))
    }
}

/// Sockets are files, and there are many.
fn allow_files(count: usize) -> Result<()> {
    let wanted = u64::try_from(count)?;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
            .with_context(|| format!("allow {wanted} open files"))?;
    }
    Ok(())
}
