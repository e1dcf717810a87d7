//! What containers leave on a host, seen from outside.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use e2e::{Host, eventually};

/// Everything of one daemon on this host but the daemon itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traces {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    /// Bridges and the like, of every network.
    bridges: BTreeSet<String>,
    processes: BTreeSet<String>,
    rules: String,
    addresses: String,
    files: BTreeSet<String>,
    volumes: String,
    images: String,
}

impl Traces {
    /// Looks once interfaces of ended containers are gone, which are deleted a little later.
    pub(super) fn of(host: &Host) -> Result<Self> {
        eventually("interfaces of ended containers are deleted", || {
            let traces = Self::now(host)?;
            let running = host.teu().run(&["ps", "-q"])?.lines().count();
            ensure!(traces.links.len() <= running, "{running} containers run: {:#?}", traces.links);
            Ok(traces)
        })
    }

    fn now(host: &Host) -> Result<Self> {
        let teu = host.teu();
        let scratch = host.scratch().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| point.starts_with(&scratch))
            .map(str::to_owned)
            .collect();
        let links = Command::new("ip").args(["-o", "link"]).output()?;
        let links = String::from_utf8_lossy(&links.stdout)
            .lines()
            .filter(|line| line.contains(&format!("master {} ", host.bridge())))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            mounts,
            links,
            bridges: e2e::links::of_data_root(&host.data_root()).into_iter().collect(),
            processes: processes(host),
            rules: rules(host)?,
            addresses: teu.run(&["network", "inspect", "-f", "{{json .Containers}}", "bridge"])?,
            files: files(host),
            volumes: teu.run(&["volume", "ls", "-q"])?,
            images: teu.run(&["images", "-aq"])?,
        })
    }

    /// Waits until everything is as before.
    pub(super) fn come_back(&self, host: &Host) -> Result<()> {
        eventually("nothing is left", || {
            let after = Self::now(host)?;
            ensure!(after == *self, "before {self:#?}\nafter {after:#?}");
            Ok(())
        })
    }
}

/// Command lines of processes that name the daemon's directory: shims and helpers.
fn processes(host: &Host) -> BTreeSet<String> {
    let scratch = host.scratch().display().to_string();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| Some(*pid) != host.daemon_pid())
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok())
        .filter(|line| line.contains(&scratch) && !line.starts_with("docker-registry"))
        .collect()
}

fn rules(host: &Host) -> Result<String> {
    let tables = Command::new("nft").args(["list", "tables"]).output()?;
    let mut rules = String::new();
    for table in String::from_utf8_lossy(&tables.stdout).lines() {
        if table.ends_with(&format!("-{}", host.bridge())) {
            let words = table.split(' ').skip(1);
            let listed = Command::new("nft").args(["list", "table"]).args(words).output()?;
            rules.push_str(&String::from_utf8_lossy(&listed.stdout));
        }
    }
    ensure!(!rules.is_empty(), "no table of {}", host.bridge());
    Ok(rules)
}

/// What may be left in the daemon's directories, by path.
fn files(host: &Host) -> BTreeSet<String> {
    let data = host.data_root();
    let places = [
        host.exec_root().join("containers"),
        host.exec_root().join("netns"),
        host.exec_root().join("network"),
        host.exec_root().join("network/names"),
        data.join("containers"),
        data.join("rw"),
        data.join("layers"),
        data.join("volumes"),
        data.join("content/ingest"),
        data.join("content/blobs/sha256"),
        data.join("tmp"),
    ];
    let mut files: BTreeSet<String> =
        places.into_iter().flat_map(entries).map(|path| path.display().to_string()).collect();
    // Made with the first network of a user, for all.
    files.remove(&host.exec_root().join("network/names").display().to_string());
    files
}

fn entries(directory: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Every container that the daemon ever told of has left nothing in the kernel.
pub(super) fn no_container_left_anything(host: &Host) -> Result<usize> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let until = now.as_secs().to_string();
    let args = ["events", "--since", "1", "--until", &until, "--filter", "type=container"];
    let told = host.teu().run(&[&args[..], &["--format", "{{.Actor.ID}}"]].concat())?;
    let ids: BTreeSet<&str> = told.lines().collect();
    for id in &ids {
        eventually("nothing of it is left", || {
            let left = e2e::leftovers::of_container(id);
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
    }
    Ok(ids.len())
}
