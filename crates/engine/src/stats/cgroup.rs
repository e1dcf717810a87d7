//! Where the kernel keeps the figures of a process' cgroups, v1 and v2 side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directories of one process' cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroups {
    /// Controller of a v1 hierarchy to directory.
    legacy: BTreeMap<String, PathBuf>,
    /// The directory in the v2 hierarchy, if that is mounted.
    unified: Option<PathBuf>,
}

impl Cgroups {
    /// Finds the cgroups of a process.
    pub(crate) fn of_pid(pid: u32) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(Self::parse(&mounts, &memberships))
    }

    fn parse(mountinfo: &str, memberships: &str) -> Self {
        let mut cgroups = Self::default();
        for line in memberships.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let mounts = mountinfo.lines().filter_map(Mount::parse);
            if controllers.is_empty() {
                let found = mounts.filter(|mount| mount.kind == "cgroup2").find_map(|m| m.at(path));
                cgroups.unified = found;
                continue;
            }
            let wanted: Vec<&str> = controllers.split(',').collect();
            let found = mounts
                .filter(|mount| mount.kind == "cgroup")
                .filter(|mount| mount.options.split(',').any(|option| wanted.contains(&option)))
                .find_map(|mount| mount.at(path));
            if let Some(found) = found {
                for controller in wanted {
                    cgroups.legacy.insert(controller.to_owned(), found.clone());
                }
            }
        }
        cgroups
    }

    /// The directory of a v1 controller.
    pub(super) fn legacy(&self, controller: &str) -> Option<&Path> {
        self.legacy.get(controller).map(PathBuf::as_path)
    }

    /// The v2 directory, where the v1 hierarchies do not have the controller.
    pub(super) fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// All processes in these cgroups and below. One hierarchy suffices; the container's own has
    /// them all.
    pub(crate) fn processes(&self) -> io::Result<BTreeSet<u32>> {
        let directory = ["pids", "memory", "cpu"]
            .into_iter()
            .find_map(|controller| self.legacy(controller))
            .or_else(|| self.legacy.values().next().map(PathBuf::as_path))
            .or(self.unified());
        let mut pids = BTreeSet::new();
        if let Some(directory) = directory {
            collect(directory, &mut pids)?;
        }
        Ok(pids)
    }
}

fn collect(directory: &Path, pids: &mut BTreeSet<u32>) -> io::Result<()> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))?;
    // 0 stands for a process that this pid namespace does not see.
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match collect(&entry.path(), pids) {
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// A line of mountinfo.
struct Mount<'a> {
    root: &'a str,
    target: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, target) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1)?);
        Some(Self { root, target, kind, options })
    }

    /// Where the cgroup `path` is under this mount; `None` if it is outside of what is mounted.
    fn at(&self, path: &str) -> Option<PathBuf> {
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        if !(below.is_empty() || below.starts_with('/')) {
            return None;
        }
        Some(Path::new(self.target).join(below.trim_start_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 29 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
25 29 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:3 - cgroup cgroup rw,cpu,cpuacct
26 29 0:24 /outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 29 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";

    #[test]
    fn hybrid_hierarchies_are_told_apart() {
        let cgroups = Cgroups::parse(
            MOUNTS,
            "5:cpu,cpuacct:/teu/a\n4:memory:/outer/teu/a\n3:pids:/teu/a\n2:freezer:/x\n0::/teu/a\n",
        );
        let legacy = |name| cgroups.legacy(name).map(|path| path.to_str().unwrap());
        assert_eq!(legacy("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/teu/a"));
        assert_eq!(legacy("memory"), Some("/sys/fs/cgroup/memory/teu/a"));
        assert_eq!(legacy("freezer"), None);
        assert_eq!(cgroups.unified().unwrap(), Path::new("/sys/fs/cgroup/unified/teu/a"));
        let outside = Cgroups::parse(MOUNTS, "4:memory:/outerspace\n");
        assert_eq!(outside.legacy("memory"), None);
    }

    #[test]
    fn own_processes_are_found() {
        let pid = std::process::id();
        let cgroups = Cgroups::of_pid(pid).unwrap();
        if cgroups != Cgroups::default() {
            assert!(cgroups.processes().unwrap().contains(&pid));
        }
    }
}
