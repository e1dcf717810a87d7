//! The known ways out of a container, and what hostile images, full disks and hostile clients do.
//! docs/security.md lists the classes; crates test theirs nearer to the cause.

mod apparmor;
pub(crate) mod archive;
mod clients;
mod confinement;
mod disk;
mod images;
mod races;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::Host;

/// More than the daemon may ever hold, in KiB.
const MEMORY_LIMIT: u64 = 300_000;

/// Runs a test on a daemon with a busybox image.
fn with_host(test: impl FnOnce(&Host) -> Result<()>) -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    test(&host)
}

/// The most memory that the daemon ever had is within bounds.
fn memory_is_bounded(host: &Host) -> Result<()> {
    let path = format!("/proc/{}/status", host.daemon_pid().context("a daemon")?);
    let status = std::fs::read_to_string(path)?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    ensure!(kib < MEMORY_LIMIT, "the daemon grew to {kib} KiB");
    Ok(())
}

/// Every layer, blob, download and writable layer on disk below `data_root`.
pub(crate) fn stored(data_root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for directory in ["layers", "content/blobs/sha256", "content/ingest", "rw"] {
        for entry in std::fs::read_dir(data_root.join(directory))? {
            names.insert(format!("{directory}/{}", entry?.file_name().display()));
        }
    }
    Ok(names)
}

/// Bytes that do not shrink when compressed.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(step).collect()
}
