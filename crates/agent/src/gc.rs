//! Sandboxes of ended executors go after `--gc_delay`, sooner when the disk fills.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::driver::Request;

/// This share of the disk counts as used, so that old sandboxes go before it is full.
const HEADROOM: f64 = 0.1;
/// Looked at no more often, and no less.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

/// Removes sandboxes for as long as the driver lives.
pub(crate) async fn keep(root: PathBuf, delay: Duration, driver: mpsc::Sender<Request>) {
    loop {
        tokio::time::sleep((delay / 10).clamp(OFTEN, SELDOM)).await;
        let (reply, answered) = oneshot::channel();
        let look = Request::Look(Box::new(move |view| {
            let executors = view.agent.frameworks().flat_map(|f| f.executors.values());
            let live: BTreeSet<String> = executors.map(|e| e.container.to_string()).collect();
            let _ = reply.send(live); // nobody waits when the agent ends
        }));
        if driver.send(look).await.is_err() {
            return;
        }
        let Ok(live) = answered.await else { return };
        let root = root.clone();
        let collect = move || collect(&root, delay.mul_f64(share_left(&root)), &live);
        if let Err(error) = tokio::task::spawn_blocking(collect).await {
            tracing::error!(%error, "collecting sandboxes failed");
        }
    }
}

/// How much of the delay is left to old sandboxes: less, the fuller the disk.
fn share_left(root: &Path) -> f64 {
    match rustix::fs::statvfs(root) {
        Ok(stat) => share(stat.f_blocks.saturating_sub(stat.f_bfree), stat.f_bavail),
        Err(_) => 1.0,
    }
}

/// Blocks kept for the superuser are neither used nor available: they do not count, as in df(1).
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(used: u64, available: u64) -> f64 {
    let used = used as f64 / (used + available).max(1) as f64;
    (1.0 - HEADROOM - used).clamp(0.0, 1.0)
}

/// Removes runs that nobody needs and that nothing has changed in for `age`.
fn collect(root: &Path, age: Duration, live: &BTreeSet<String>) {
    // slaves/S/frameworks/F/executors/E/runs/C
    let frameworks = below(root).into_iter().flat_map(|agent| below(&agent.join("frameworks")));
    let executors = frameworks.flat_map(|framework| below(&framework.join("executors")));
    for executor in executors {
        let runs = executor.join("runs");
        let mut left = 0;
        for run in below(&runs) {
            let name =
                run.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let old = fs::metadata(&run).and_then(|meta| meta.modified()).is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|since| since >= age)
            });
            if live.contains(&name) || !old {
                left += 1;
                continue;
            }
            match fs::remove_dir_all(&run) {
                Ok(()) => tracing::info!(container_id = name, "removed an old sandbox"),
                Err(error) => {
                    left += 1;
                    tracing::warn!(path = %run.display(), %error, "cannot remove an old sandbox");
                }
            }
        }
        if left == 0 {
            let _ = fs::remove_dir_all(&executor); // only the link to the last run is in it
        }
    }
}

/// The directories in a directory; links are not followed.
fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(directory) else { return Vec::new() };
    let all = listing.filter_map(Result::ok);
    all.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| e.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_the_superuser_is_not_used() {
        assert!((share(50, 50) - 0.4).abs() < 1e-9);
        assert!((share(0, 10) - 0.9).abs() < 1e-9);
        assert!(share(95, 5) < 1e-9);
    }

    #[test]
    fn only_old_and_unneeded_runs_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let runs = dir.path().join("S/frameworks/F/executors/E/runs");
        for run in ["live", "dead"] {
            fs::create_dir_all(runs.join(run)).expect("a run");
        }
        let live = BTreeSet::from(["live".to_owned()]);
        collect(dir.path(), Duration::from_secs(3600), &live);
        assert!(runs.join("dead").exists());
        collect(dir.path(), Duration::ZERO, &live);
        assert!(runs.join("live").exists() && !runs.join("dead").exists());
        collect(dir.path(), Duration::ZERO, &BTreeSet::new());
        assert!(!dir.path().join("S/frameworks/F/executors/E").exists());
    }
}
