//! What a container uses: CPU, memory, processes, block devices, network.
//!
//! Everything is read from the cgroups and the network namespace of process 1, which the kernel
//! names in /proc; nothing is kept between two samples but the CPU figures.

mod cgroup;
mod sample;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::container::NetworkMode;
use crate::{Engine, Result};

pub(crate) use cgroup::Cgroups;

/// One sample, with the one before it so that rates can be computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// The container's id.
    pub container_id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When this was read; `None` for a container that does not run: everything is empty then.
    pub read_at: Option<Timestamp>,
    /// When `previous_cpu` was read; `None` for a first sample.
    pub previous_read_at: Option<Timestamp>,
    /// CPU now.
    pub cpu: CpuStats,
    /// CPU at the sample before; zeros in a first one.
    pub previous_cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Block devices.
    pub block_io: Vec<BlockIoEntry>,
    /// Interfaces by name; empty with the host's network.
    pub networks: BTreeMap<String, NetworkStats>,
}

/// CPU time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// All of it, in nanoseconds.
    pub total_nanos: u64,
    /// In the processes' own code.
    pub user_nanos: u64,
    /// In the kernel on their behalf.
    pub kernel_nanos: u64,
    /// Per CPU; empty on cgroup v2.
    pub per_cpu_nanos: Vec<u64>,
    /// Of the whole machine, idle time included.
    pub system_nanos: u64,
    /// CPUs that are online.
    pub online_cpus: u32,
    /// Scheduling periods that have passed under a quota.
    pub periods: u64,
    /// Of these, the ones in which the quota was used up.
    pub throttled_periods: u64,
    /// How long processes waited for the next period.
    pub throttled_nanos: u64,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// With the page cache.
    pub usage_bytes: u64,
    /// The most there was; `None` where the kernel does not tell.
    pub max_usage_bytes: Option<u64>,
    /// How often the limit was hit.
    pub failures: u64,
    /// The limit, at most the machine's memory.
    pub limit_bytes: u64,
    /// `memory.stat` as the kernel words it: `cache`, `total_inactive_file` (v1) or `file`,
    /// `inactive_file` (v2), ….
    pub details: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be; `None` is no limit.
    pub limit: Option<u64>,
}

/// Bytes or operations of one kind on one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `read`, `write`, … as the kernel words it.
    pub operation: String,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Operations.
    pub operations: Option<u64>,
}

/// Counters of one interface, from the container's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Bytes in.
    pub rx_bytes: u64,
    /// Packets in.
    pub rx_packets: u64,
    /// Bad packets in.
    pub rx_errors: u64,
    /// Packets in for which there was no room.
    pub rx_dropped: u64,
    /// Bytes out.
    pub tx_bytes: u64,
    /// Packets out.
    pub tx_packets: u64,
    /// Failed packets out.
    pub tx_errors: u64,
    /// Packets out for which there was no room.
    pub tx_dropped: u64,
}

/// How many samples to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatsMode {
    /// One a second until the container is gone.
    #[default]
    Stream,
    /// One that has a previous one, which takes a second.
    Once,
    /// One, at once, without a previous one.
    OneShot,
}

impl Engine {
    /// Samples what a container uses. "Engine API ContainerStats".
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_stats(
        &self,
        name: &str,
        mode: StatsMode,
    ) -> Result<BoxStream<'static, Stats>> {
        let snapshot = self.container_inspect(name).await?;
        let sampling = Sampling {
            engine: self.clone(),
            id: snapshot.record.id.to_string(),
            mode,
            previous: None,
            done: false,
        };
        let stream = futures_util::stream::unfold(sampling, |mut sampling| async move {
            let stats = sampling.next().await?;
            Some((stats, sampling))
        });
        Ok(stream.boxed())
    }
}

/// Between the samples of one stream.
const INTERVAL: Duration = Duration::from_secs(1);

struct Sampling {
    engine: Engine,
    id: String,
    mode: StatsMode,
    previous: Option<(Timestamp, CpuStats)>,
    done: bool,
}

impl Sampling {
    async fn next(&mut self) -> Option<Stats> {
        if self.done {
            return None;
        }
        if self.previous.is_some() {
            tokio::time::sleep(INTERVAL).await;
        }
        let mut stats = self.sample().await?;
        if self.mode == StatsMode::Once && stats.read_at.is_some() {
            // A rate needs two samples.
            tokio::time::sleep(INTERVAL).await;
            stats = self.sample().await?;
        }
        if stats.read_at.is_none() {
            // Not running: keep the pace of the stream anyway.
            self.previous.get_or_insert_with(|| (Timestamp::now(), CpuStats::default()));
        }
        self.done = self.mode != StatsMode::Stream;
        Some(stats)
    }

    /// `None` once the container is gone.
    async fn sample(&mut self) -> Option<Stats> {
        let record = self.engine.container_inspect(&self.id).await.ok()?.record;
        let mut stats =
            Stats { container_id: self.id.clone(), name: record.name.clone(), ..Stats::default() };
        if !record.state.status.has_process() {
            return Some(stats);
        }
        let pid = u32::try_from(record.state.pid).ok()?;
        let start_ticks = record.state.pid_start_ticks;
        let own_network = record.host_config.network_mode != NetworkMode::Host;
        let read = move || Ok(sample::read(pid, start_ticks, own_network).ok());
        // Ended since we looked: as if it did not run.
        let Some(sample) = crate::blocking(read).await.ok()? else { return Some(stats) };
        let now = Timestamp::now();
        if let Some((at, cpu)) = self.previous.replace((now, sample.cpu.clone()))
            && cpu.system_nanos > 0
        {
            (stats.previous_read_at, stats.previous_cpu) = (Some(at), cpu);
        }
        stats.read_at = Some(now);
        stats.cpu = sample.cpu;
        stats.memory = sample.memory;
        stats.pids = sample.pids;
        stats.block_io = sample.block_io;
        stats.networks = sample.networks;
        Some(stats)
    }
}
