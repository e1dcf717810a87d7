//! `bench cluster`: how a master bears thousands of agents and tens of thousands of tasks.
//!
//! The load is `cluster-load`, a process of its own. Without `--master` each size runs against a
//! fresh `teu master`; with it, against whatever answers at that address, and `--pid` tells whose
//! memory and processor time to read. Both programs share the machine.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::output;

/// First everything at once, where what comes last waits for all that came before; then with so many
/// tasks under way as a framework has that waits for what it launched.
const SIZES: &[Size] = &[
    Size { agents: 1_000, tasks: 10_000, in_flight: None },
    Size { agents: 5_000, tasks: 20_000, in_flight: None },
    Size { agents: 10_000, tasks: 20_000, in_flight: None },
    Size { agents: 10_000, tasks: 50_000, in_flight: None },
    Size { agents: 10_000, tasks: 50_000, in_flight: Some(4_000) },
];
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What is printed of a run: its name in `cluster-load`'s report, and the column's title.
const COLUMNS: &[(&str, &str)] = &[
    ("registration_ms", "register ms"),
    ("first_offers_ms", "1st offers ms"),
    ("tasks_per_second", "tasks/s"),
    ("running_ms_p50", "RUNNING p50 ms"),
    ("running_ms_p99", "p99 ms"),
    ("state_loaded_ms_p50", "/state loaded p50 ms"),
    ("state_loaded_ms_p99", "p99 ms"),
    ("state_idle_ms_p50", "idle p50 ms"),
    ("rss_mb", "peak RSS MB"),
    ("cpu_s", "CPU s"),
];

/// How much is asked of a master.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) agents: usize,
    pub(super) tasks: usize,
    /// Tasks that are launched and have not ended, at most; none: all at once.
    pub(super) in_flight: Option<usize>,
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<usize> =
            text.split('/').map(str::parse).collect::<Result<_, _>>().context("--size")?;
        match *numbers {
            [agents, tasks] => Ok(Self { agents, tasks, in_flight: None }),
            [agents, tasks, most] => Ok(Self { agents, tasks, in_flight: Some(most) }),
            _ => bail!("--size is AGENTS/TASKS or AGENTS/TASKS/IN-FLIGHT"),
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    runs: usize,
    sizes: Vec<Size>,
    master: Option<SocketAddr>,
    pid: Option<u32>,
    /// Handed to `cluster-load` as they are.
    more: Vec<String>,
}

/// Measures and prints.
pub(super) fn measure(words: &[&str]) -> Result<()> {
    let options = parse(words)?;
    let programs = super::programs(&["teu", "cluster-load"])?;
    let titles: Vec<&str> = COLUMNS.iter().map(|(_, title)| *title).collect();
    println!("| agents / tasks / in flight | {} |", titles.join(" | "));
    println!("|{}", "---|".repeat(titles.len() + 1));
    for size in &options.sizes {
        let mut rows = Vec::new();
        for _ in 0..options.runs {
            rows.push(match options.master {
                Some(master) => load(&programs, *size, master, options.pid, &options.more)?,
                None => {
                    let master = Master::start(&programs)?;
                    let pid = Some(master.child.id());
                    load(&programs, *size, master.address, pid, &options.more)?
                }
            });
        }
        let cells: Vec<String> = COLUMNS.iter().map(|(name, _)| median(&rows, name)).collect();
        let in_flight = size.in_flight.map_or_else(|| "all".to_owned(), |most| most.to_string());
        println!("| {} / {} / {in_flight} | {} |", size.agents, size.tasks, cells.join(" | "));
    }
    Ok(())
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options { runs: 3, ..Options::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match *word {
            "--runs" => options.runs = value()?.parse().context("--runs")?,
            "--master" => options.master = Some(value()?.parse().context("--master IP:PORT")?),
            "--pid" => options.pid = Some(value()?.parse().context("--pid")?),
            "--size" => options.sizes.push(value()?.parse()?),
            "--" => options.more.extend(words.by_ref().map(|&word| word.to_owned())),
            other => bail!("{other}: bench cluster takes --runs, --size, --master, --pid, --"),
        }
    }
    if options.runs == 0 {
        bail!("--runs is at least 1");
    }
    if options.sizes.is_empty() {
        options.sizes = SIZES.to_vec();
    }
    Ok(options)
}

/// One run: what `cluster-load` reports, and what the kernel says of the master.
pub(super) fn load(
    programs: &Path,
    size: Size,
    master: SocketAddr,
    pid: Option<u32>,
    more: &[String],
) -> Result<BTreeMap<String, f64>> {
    let program = programs.join("cluster-load");
    let (master, agents, tasks) =
        (master.to_string(), size.agents.to_string(), size.tasks.to_string());
    let in_flight = size.in_flight.unwrap_or(size.tasks).to_string();
    let mut words = vec!["--master", &master, "--agents", &agents, "--tasks", &tasks];
    words.extend(["--in-flight", &in_flight]);
    words.extend(more.iter().map(String::as_str));
    let before = pid.map(cpu_secs).transpose()?.unwrap_or_default();
    let report = output(&program.to_string_lossy(), &words)?;
    let mut row = BTreeMap::new();
    for line in report.lines() {
        let (name, value) = line.split_once(' ').context("a line without value")?;
        row.insert(name.to_owned(), value.parse()?);
    }
    if let Some(pid) = pid {
        row.insert("cpu_s".to_owned(), cpu_secs(pid)? - before);
        row.insert("rss_mb".to_owned(), peak_rss_mb(pid)?);
    }
    Ok(row)
}

pub(super) fn median(rows: &[BTreeMap<String, f64>], name: &str) -> String {
    let mut values: Vec<f64> = rows.iter().filter_map(|row| row.get(name).copied()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// User and system time so far.
fn cpu_secs(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    // USER_HZ is 100 on every architecture that Linux has here.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn peak_rss_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kb: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kb / 1024.0)
}

/// A master with a directory and a port of its own.
pub(super) struct Master {
    pub(super) address: SocketAddr,
    child: Child,
    work_dir: PathBuf,
}

impl Master {
    pub(super) fn start(programs: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let work_dir = std::env::temp_dir().join(format!("teu-bench-{}", address.port()));
        std::fs::create_dir_all(&work_dir)?;
        let child = Command::new(programs.join("teu"))
            .arg("master")
            .args([format!("--ip={}", address.ip()), format!("--port={}", address.port())])
            .arg(format!("--work_dir={}", work_dir.display()))
            .arg("--logging_level=WARNING")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start teu master")?;
        let master = Self { address, child, work_dir };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START_TIMEOUT {
                bail!("teu master does not answer at {address}");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(master)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // Either fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.work_dir); // scratch that nobody misses
    }
}
