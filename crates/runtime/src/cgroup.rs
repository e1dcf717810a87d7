//! The container's cgroup, in every hierarchy the host has: v2, v1, or both (hybrid).
//!
//! Limits are written once, before init is born; init puts itself into v1 hierarchies and is born
//! in the v2 one. Each controller's files are known to one module. In a hybrid set-up the v2
//! directory has no controllers, but it kills, and tells when the cgroup is empty.

mod blkio;
mod controller;
mod cpu;
mod cpuset;
mod devices;
mod devices_bpf;
mod freezer;
mod hierarchy;
mod hugetlb;
mod memory;
mod pids;
mod stats;
#[cfg(test)]
mod tests;
mod unified;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use linux::process::Pidfd;
use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

pub use cpu::shares_to_weight;
pub use hierarchy::{Hierarchies, V1};
pub use stats::{BlkioEntry, Stats};

/// Why a cgroup operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The hierarchies of the host could not be read.
    #[error("read the host's cgroup mounts")]
    Detect(#[source] io::Error),
    /// The path is not of the form `/a/b`.
    #[error("invalid cgroup path {0}")]
    Path(PathBuf),
    /// A directory could not be made or opened.
    #[error("create cgroup {path}")]
    Create { path: PathBuf, source: io::Error },
    /// A limit could not be set.
    #[error("failed to write {value:?} to {path}")]
    Write { path: PathBuf, value: String, source: io::Error },
    /// A file could not be read.
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// A limit that this host cannot enforce.
    #[error("{0}")]
    Unsupported(String),
    /// A directory could not be removed.
    #[error("remove cgroup {path}")]
    Remove { path: PathBuf, source: io::Error },
    /// The devices of a v2 cgroup could not be restricted.
    #[error("restrict the devices of {path}")]
    Devices { path: PathBuf, source: io::Error },
}

/// One cgroup: a path below the root of each hierarchy. The directories need not exist.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    relative: PathBuf,
}

impl Cgroup {
    /// Names the cgroup `path` (such as `/teu/<id>`) in `hierarchies`.
    ///
    /// # Errors
    /// [`CgroupError::Path`] for the root itself or a path with `..`.
    pub fn new(hierarchies: Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        let names: Option<PathBuf> = path
            .components()
            .filter(|component| *component != Component::RootDir)
            .map(|component| match component {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        match names {
            Some(relative) if !relative.as_os_str().is_empty() => {
                Ok(Self { hierarchies, relative })
            }
            _ => Err(CgroupError::Path(path.to_owned())),
        }
    }

    /// The host's hierarchies.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The directory in the v2 hierarchy, if the host has one.
    pub fn unified_directory(&self) -> Option<PathBuf> {
        self.hierarchies.unified.as_ref().map(|root| root.join(&self.relative))
    }

    /// The directories in the v1 hierarchies.
    pub fn v1_directories(&self) -> impl Iterator<Item = (&V1, PathBuf)> {
        self.hierarchies.v1.iter().map(|v1| (v1, v1.mountpoint.join(&self.relative)))
    }

    /// The directory of the v1 hierarchy with this controller.
    pub(crate) fn v1_directory(&self, controller: &str) -> Option<PathBuf> {
        let found = self.v1_directories().find(|(v1, _)| v1.has(controller));
        found.map(|(_, directory)| directory)
    }

    /// The directory whose files answer for `controller`: v1's if that has it, else v2's.
    pub fn directory(&self, controller: &str) -> Option<PathBuf> {
        self.v1_directory(controller).or_else(|| self.unified_directory())
    }

    /// Creates the directories, with those above them.
    ///
    /// # Errors
    /// [`CgroupError::Create`]; what was made stays for [`Self::remove`].
    pub fn create(&self) -> Result<(), CgroupError> {
        for (v1, directory) in self.v1_directories() {
            if v1.has("cpuset") {
                cpuset::create(&v1.mountpoint, &self.relative)?;
            } else {
                create_directories(&directory)?;
            }
        }
        match &self.hierarchies.unified {
            Some(root) => unified::create(root, &self.relative),
            None => Ok(()),
        }
    }

    /// Sets what `resources` sets; what it leaves out stays.
    ///
    /// # Errors
    /// The first limit that cannot be set.
    pub fn apply(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        pids::apply(self, resources)?;
        memory::apply(self, resources)?;
        cpu::apply(self, resources)?;
        cpuset::apply(self, resources)?;
        blkio::apply(self, resources)?;
        hugetlb::apply(self, resources)?;
        unified::apply(self, resources)
    }

    /// Restricts devices to the OCI rules of `resources` and the defaults every container has.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_devices(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        devices::apply(self, resources)
    }

    /// Opens the v1 `tasks` files through which a single-threaded process enters by writing `0`.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_tasks(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let open = |(_, directory): (&V1, PathBuf)| {
            let path = directory.join("tasks");
            rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| CgroupError::Create { path, source: errno.into() })
        };
        self.v1_directories().map(open).collect()
    }

    /// Opens the v2 directory, for a process to be born in.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_unified(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(path) = self.unified_directory() else { return Ok(None) };
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Some)
            .map_err(|errno| CgroupError::Create { path, source: errno.into() })
    }

    /// Opens the v2 directory that a further process is born in: its own, unless the container has
    /// handed controllers down; then no process may be beside the children, and it joins `init`.
    ///
    /// # Errors
    /// As open(2).
    pub(crate) fn open_unified_beside(&self, init: u32) -> Result<Option<OwnedFd>, CgroupError> {
        let (Some(root), Some(own)) = (&self.hierarchies.unified, self.unified_directory()) else {
            return Ok(None);
        };
        let controllers = controller::read(&own, "cgroup.subtree_control").unwrap_or_default();
        if controllers.is_empty() {
            return self.open_unified();
        }
        let file = PathBuf::from(format!("/proc/{init}/cgroup"));
        let text = std::fs::read_to_string(&file)
            .map_err(|source| CgroupError::Read { path: file, source })?;
        let relative = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let beside = Self { hierarchies: self.hierarchies.clone(), relative: relative.into() };
        match root.join(relative).starts_with(&own) {
            true => beside.open_unified(),
            false => self.open_unified(),
        }
    }

    /// Lists the processes in it and below, ascending.
    ///
    /// # Errors
    /// [`CgroupError::Read`]; a cgroup that does not exist has none.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let directory =
            self.unified_directory().or_else(|| self.v1_directories().next().map(|d| d.1));
        let mut pids = BTreeSet::new();
        if let Some(directory) = directory {
            collect_pids(&directory, &mut pids)?;
        }
        Ok(pids.into_iter().collect())
    }

    /// Sends `signal` to every process in it and below.
    ///
    /// # Errors
    /// When the processes cannot be listed. One that has just ended is no error.
    pub fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        if signal == libc::SIGKILL
            && let Some(directory) = self.unified_directory()
            && std::fs::write(directory.join("cgroup.kill"), "1").is_ok()
        {
            return Ok(());
        }
        for pid in self.pids()? {
            // Gone meanwhile is as good as signalled.
            let _ = Pidfd::open(pid).and_then(|process| process.send_signal(signal));
        }
        Ok(())
    }

    /// Stops every process in it until [`Self::thaw`].
    ///
    /// # Errors
    /// When the freezer refuses, or is not done within two seconds; it is thawed again then.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        freezer::freeze(self)
    }

    /// Lets its processes go on.
    ///
    /// # Errors
    /// When the freezer refuses.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        freezer::thaw(self)
    }

    /// How many processes in it the out-of-memory killer has killed.
    pub fn oom_kills(&self) -> u64 {
        memory::oom_kills(self)
    }

    /// Reads its counters, for statistics. What the host does not count is zero or absent.
    pub fn stats(&self) -> Stats {
        stats::read(self)
    }

    /// Tells whether a directory of it exists.
    pub fn exists(&self) -> bool {
        self.v1_directories()
            .map(|(_, directory)| directory)
            .chain(self.unified_directory())
            .any(|directory| directory.exists())
    }

    /// Kills what is left in it, waits until it is empty and removes the directories.
    ///
    /// # Errors
    /// The first directory that could not be removed; the others are tried all the same.
    pub fn remove(&self) -> Result<(), CgroupError> {
        if !self.exists() {
            return Ok(());
        }
        // Frozen processes do not die.
        let _ = self.thaw();
        self.signal_all(libc::SIGKILL)?;
        if let Some(directory) = self.unified_directory() {
            unified::wait_until_empty(&directory);
        }
        let mut result = Ok(());
        let directories: Vec<_> = self
            .v1_directories()
            .map(|(_, directory)| directory)
            .chain(self.unified_directory())
            .collect();
        for directory in directories {
            if let Err(error) = self.remove_directory(&directory) {
                result = result.and(Err(error));
            }
        }
        result
    }

    fn remove_directory(&self, directory: &Path) -> Result<(), CgroupError> {
        let mut last = None;
        for _ in 0..50 {
            match remove_tree(directory) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    // Without a v2 hierarchy nothing announces emptiness: wait for the processes.
                    for pid in self.pids().unwrap_or_default() {
                        if let Ok(process) = Pidfd::open(pid) {
                            let _ = process.kill();
                            wait_for_end(&process);
                        }
                    }
                    last = Some(error);
                }
                Err(source) => {
                    return Err(CgroupError::Remove { path: directory.to_owned(), source });
                }
            }
        }
        let source = last.unwrap_or_else(|| io::ErrorKind::ResourceBusy.into());
        Err(CgroupError::Remove { path: directory.to_owned(), source })
    }
}

fn wait_for_end(process: &Pidfd) {
    let mut fds = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    // Whether it ended or not, the directory is tried again.
    let _ = rustix::event::poll(&mut fds, Some(&timeout));
}

fn create_directories(path: &Path) -> Result<(), CgroupError> {
    std::fs::create_dir_all(path)
        .map_err(|source| CgroupError::Create { path: path.to_owned(), source })
}

fn collect_pids(directory: &Path, pids: &mut BTreeSet<u32>) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.procs");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(source) => return Err(CgroupError::Read { path, source }),
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    for below in children(directory) {
        collect_pids(&below, pids)?;
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir(directory) {
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            // Cgroups that the container made below its own.
            let below = children(directory);
            if below.is_empty() {
                return Err(error);
            }
            for child in below {
                remove_tree(&child)?;
            }
            std::fs::remove_dir(directory)
        }
        other => other,
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let entries = entries.flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removed before or while it was looked at.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
