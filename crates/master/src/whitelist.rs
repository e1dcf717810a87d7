//! The hosts whose agents are offered, in a file that operators change while the master runs
//! (`--whitelist`): one a line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::master::Input;
use tokio::time::{MissedTickBehavior, interval};

use crate::handle::Handle;

/// How often the file is read, as with Mesos.
const INTERVAL: Duration = Duration::from_secs(5);

/// The file, and what it said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whitelist {
    path: PathBuf,
    pub(crate) hosts: BTreeSet<String>,
}

impl Whitelist {
    /// Reads the file of that path.
    ///
    /// # Errors
    /// If it cannot be read: nobody can tell then whom to offer.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        let hosts = hosts(&path)?;
        Ok(Self { path, hosts })
    }

    /// Tells the driver of every change. A file that cannot be read changes nothing.
    pub(crate) async fn watch(mut self, handle: Handle) {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            turns.tick().await;
            // It is small, and local: a thread for it would take longer than the reading.
            match hosts(&self.path) {
                Ok(hosts) if hosts != self.hosts => {
                    tracing::info!(hosts = hosts.len(), "the whitelist has changed");
                    self.hosts.clone_from(&hosts);
                    if handle.tell(Input::Whitelist(hosts)).await.is_err() {
                        return;
                    }
                    failed = false;
                }
                Ok(_) => failed = false,
                Err(error) if !failed => {
                    tracing::error!("{error}; the whitelist stays as it was");
                    failed = true;
                }
                Err(_) => {}
            }
        }
    }
}

fn hosts(path: &Path) -> Result<BTreeSet<String>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}
