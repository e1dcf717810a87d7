//! What this machine still has of a daemon, a container or an agent that should be gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Pid;
use serde_json::Value as Json;

/// A process that names a directory or an id, and how.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// Its command line, and where the name was found.
    said: String,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {} {}", self.pid, self.said)
    }
}

/// What belongs to a test: its directory, by a name that nothing else has, and ids of what it ran.
#[derive(Debug)]
pub(crate) struct Marks<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) ids: &'a BTreeSet<String>,
}

impl Marks<'_> {
    fn marks(&self, text: &str) -> bool {
        let has = |mark: &str| !mark.is_empty() && text.contains(mark);
        self.directory.to_str().is_some_and(has) || self.ids.iter().any(|id| has(id))
    }

    /// Processes that have a mark in their command line, directories, cgroups or mounts, without
    /// this one. Mounts are looked at where they are the process' own.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let own = Pid::as_raw(Some(rustix::process::getpid()));
        pids.filter(|pid| *pid != own).filter_map(|pid| self.process(pid)).collect()
    }

    fn process(&self, pid: i32) -> Option<Process> {
        let place = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| {
            let bytes = fs::read(place.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let link = |name: &str| {
            let target = fs::read_link(place.join(name)).unwrap_or_default();
            target.to_string_lossy().into_owned()
        };
        let (line, status) = (read("cmdline"), read("status"));
        if status.lines().any(|line| line.starts_with("State:\tZ")) {
            return None;
        }
        let own_mounts = fs::read_link("/proc/self/ns/mnt").unwrap_or_default();
        let has_own_mounts = link("ns/mnt") != own_mounts.to_string_lossy();
        let found = if self.marks(&line) {
            "by its command line"
        } else if ["cwd", "root", "exe"].iter().any(|name| self.marks(&link(name))) {
            "by its directory"
        } else if self.marks(&read("cgroup")) {
            "by its cgroup"
        } else if has_own_mounts && self.marks(&read("mountinfo")) {
            "by its mounts"
        } else {
            return None;
        };
        let pid = Pid::from_raw(pid)?;
        Some(Process { pid, said: format!("`{}`, {found}", line.trim()) })
    }

    /// Mounts of this mount namespace and directories of cgroups.
    pub(crate) fn mounts_and_cgroups(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.lines().filter(|line| self.marks(line));
        let mut found: Vec<String> = mounts.map(|line| format!("mount {line}")).collect();
        if self.ids.is_empty() {
            return found;
        }
        let mut pending = vec![Path::new("/sys/fs/cgroup").to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if self.marks(&entry.file_name().to_string_lossy()) {
                        found.push(format!("cgroup {}", entry.path().display()));
                    }
                    pending.push(entry.path());
                }
            }
        }
        found
    }
}

/// Everything the kernel has of a container by its id: cgroups of every hierarchy, mounts, processes.
pub fn of_container(id: &str) -> Vec<String> {
    let ids = BTreeSet::from([id.to_owned()]);
    let marks = Marks { directory: Path::new(id), ids: &ids };
    let mut found = marks.mounts_and_cgroups();
    found.extend(marks.processes().iter().map(ToString::to_string));
    found
}

/// What the sets and maps of the daemon with that bridge have: bridges, published ports, links.
pub(crate) fn elements(bridge: &str) -> Vec<String> {
    let mut found = Vec::new();
    for table in tables(bridge) {
        let listed =
            Command::new("nft").args(["-j", "list", "table"]).args(table.split(' ')).output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        let listed: Json = serde_json::from_slice(&listed).unwrap_or_default();
        for object in listed["nftables"].as_array().into_iter().flatten() {
            let set = object.get("set").or(object.get("map")).unwrap_or(&Json::Null);
            for element in set["elem"].as_array().into_iter().flatten() {
                found.push(format!("{} of table {table} has {element}", set["name"]));
            }
        }
    }
    found
}

/// Family and name of the tables of the daemon with that bridge.
pub(crate) fn tables(bridge: &str) -> Vec<String> {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let tables = listed.lines().filter_map(|line| line.strip_prefix("table "));
    let own = format!("teu-{bridge}");
    tables
        .filter(|table| table.split(' ').next_back() == Some(own.as_str()))
        .map(str::to_owned)
        .collect()
}
