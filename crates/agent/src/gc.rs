//! Sandboxes of ended executors go after `--gc_delay`, sooner when the disk fills.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::config::Collection;
use crate::driver::Request;

/// However short the delay is, the disk is not read more often for it.
const OFTEN: Duration = Duration::from_secs(1);

/// What was collected since the agent's start, and how old a sandbox may become.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    succeeded: AtomicU64,
    failed: AtomicU64,
    pending: AtomicU64,
    max_age_secs: AtomicU64,
}

impl Collected {
    pub(crate) fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Sandboxes that nobody needs and that are not old enough, when it was looked last.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    pub(crate) fn max_age_secs(&self) -> u64 {
        self.max_age_secs.load(Ordering::Relaxed)
    }
}

/// Removes sandboxes for as long as the driver lives.
pub(crate) async fn keep(
    root: PathBuf,
    Collection { delay, headroom, interval }: Collection,
    driver: mpsc::Sender<Request>,
    collected: Arc<Collected>,
) {
    collected.max_age_secs.store(delay.as_secs(), Ordering::Relaxed);
    loop {
        // A short delay is kept to more exactly than the interval says.
        tokio::time::sleep(interval.min((delay / 10).max(OFTEN))).await;
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
        let collected = Arc::clone(&collected);
        let collect = move || {
            let age = delay.mul_f64(share_left(&root, headroom));
            collected.max_age_secs.store(age.as_secs(), Ordering::Relaxed);
            collect(&root, age, &live, &collected);
        };
        if let Err(error) = tokio::task::spawn_blocking(collect).await {
            tracing::error!(%error, "collecting sandboxes failed");
        }
    }
}

/// How much of the delay is left to old sandboxes: less, the fuller the disk.
fn share_left(root: &Path, headroom: f64) -> f64 {
    match rustix::fs::statvfs(root) {
        Ok(stat) => {
            let used = used(stat.f_blocks.saturating_sub(stat.f_bfree), stat.f_bavail);
            (1.0 - headroom - used).clamp(0.0, 1.0)
        }
        Err(_) => 1.0,
    }
}

/// The share of a disk that is used. Blocks kept for the superuser are neither used nor available:
/// they do not count, as in df(1).
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn used(used: u64, available: u64) -> f64 {
    used as f64 / (used + available).max(1) as f64
}

/// Removes runs that nobody needs and that nothing has changed in for `age`.
fn collect(root: &Path, age: Duration, live: &BTreeSet<String>, collected: &Collected) {
    // slaves/S/frameworks/F/executors/E/runs/C
    let frameworks = below(root).into_iter().flat_map(|agent| below(&agent.join("frameworks")));
    let executors = frameworks.flat_map(|framework| below(&framework.join("executors")));
    let mut pending = 0;
    for executor in executors {
        let runs = executor.join("runs");
        let mut left = 0;
        for run in below(&runs) {
            let name =
                run.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let old = fs::metadata(&run).and_then(|meta| meta.modified()).is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|since| since >= age)
            });
            // C.D is inside of C, and goes no sooner.
            let needed = name.split('.').next().is_some_and(|root| live.contains(root));
            if needed || !old {
                left += 1;
                pending += u64::from(!needed);
                continue;
            }
            match fs::remove_dir_all(&run) {
                Ok(()) => {
                    collected.succeeded.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(container_id = name, "removed an old sandbox");
                }
                Err(error) => {
                    collected.failed.fetch_add(1, Ordering::Relaxed);
                    left += 1;
                    tracing::warn!(path = %run.display(), %error, "cannot remove an old sandbox");
                }
            }
        }
        if left == 0 {
            let _ = fs::remove_dir_all(&executor); // only the link to the last run is in it
        }
    }
    collected.pending.store(pending, Ordering::Relaxed);
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
        assert!((used(50, 50) - 0.5).abs() < 1e-9);
        assert!(used(0, 10) < 1e-9);
        let root = Path::new("/");
        assert!(share_left(root, 1.0) < 1e-9, "all of it is headroom");
        assert!(share_left(root, 0.0) > share_left(root, 0.5));
    }

    #[test]
    fn only_old_and_unneeded_runs_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let runs = dir.path().join("S/frameworks/F/executors/E/runs");
        for run in ["live", "live.inside", "dead", "dead.inside"] {
            fs::create_dir_all(runs.join(run)).expect("a run");
        }
        let live = BTreeSet::from(["live".to_owned()]);
        let collected = Collected::default();
        collect(dir.path(), Duration::from_secs(3600), &live, &collected);
        assert!(runs.join("dead").exists());
        assert_eq!(collected.pending(), 2);
        collect(dir.path(), Duration::ZERO, &live, &collected);
        assert_eq!(below(&runs).len(), 2);
        assert!(runs.join("live").exists() && runs.join("live.inside").exists());
        collect(dir.path(), Duration::ZERO, &BTreeSet::new(), &collected);
        assert_eq!((collected.succeeded(), collected.failed(), collected.pending()), (4, 0, 0));
        assert!(!dir.path().join("S/frameworks/F/executors/E").exists());
    }
}
