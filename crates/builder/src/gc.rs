//! What the cache takes, and what goes from it: on demand, and by size and age.

use images::StepRecord;

use crate::caches::CacheMount;
use crate::state::now;
use crate::{Builder, Result};

/// When what is cached goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcPolicy {
    /// Bytes that the cache may have.
    pub max_bytes: u64,
    /// Seconds after which what was not used goes.
    pub max_age_secs: i64,
}

impl Default for GcPolicy {
    fn default() -> Self {
        Self { max_bytes: 20 << 30, max_age_secs: 60 * 24 * 3600 }
    }
}

/// Something in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its key.
    pub id: String,
    /// The step it stands on.
    pub parent: Option<String>,
    /// `regular` or `exec.cachemount`.
    pub kind: &'static str,
    /// As people read it.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// Whether an image has the same layer, so that removing the entry frees nothing.
    pub shared: bool,
    /// A build uses it now.
    pub in_use: bool,
    /// Seconds since the epoch.
    pub created_at: i64,
    /// Seconds since the epoch.
    pub last_used_at: i64,
    /// How often it was used again.
    pub uses: u64,
}

/// What to remove.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Steps whose layer an image has as well, and all else.
    pub all: bool,
    /// Keep the most recently used so many bytes.
    pub keep_bytes: Option<u64>,
    /// Only what was not used since, in seconds since the epoch.
    pub unused_since: Option<i64>,
    /// Only entries whose id begins so.
    pub ids: Vec<String>,
    /// Only entries of these kinds.
    pub kinds: Vec<String>,
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of what went.
    pub removed: Vec<String>,
    /// Bytes on disk that are free now.
    pub space_reclaimed: u64,
}

impl Builder {
    /// Lists what is cached.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cache_entries(&self) -> Result<Vec<CacheEntry>> {
        let builder = self.clone();
        crate::blocking(move || builder.entries().map(|(entries, _)| entries)).await
    }

    fn entries(&self) -> Result<(Vec<CacheEntry>, Vec<CacheMount>)> {
        let images = self.inner.engine.images();
        let mut used = std::collections::HashSet::new();
        let all = images::ListFilter { all: true, ..images::ListFilter::default() };
        for image in images.list(&all)? {
            used.extend(images.inspect(&image.id)?.layers);
        }
        let mut entries: Vec<CacheEntry> = images
            .steps()?
            .into_iter()
            .map(|(key, step)| {
                let shared = step.layer.is_some_and(|layer| used.contains(&layer));
                of_step(key, step, shared)
            })
            .collect();
        let mounts = self.inner.caches.list();
        entries.extend(mounts.iter().map(|mount| CacheEntry {
            id: mount.key.clone(),
            parent: None,
            kind: "exec.cachemount",
            description: format!("cached mount {}", mount.id),
            size: mount.size,
            shared: false,
            in_use: mount.in_use,
            created_at: mount.created_at,
            last_used_at: mount.last_used_at,
            uses: 0,
        }));
        Ok((entries, mounts))
    }

    /// Removes from the cache.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, options: PruneOptions) -> Result<Pruned> {
        // A running build holds its layers; the records it used may go, it writes them again.
        let builder = self.clone();
        crate::blocking(move || {
            let (entries, mounts) = builder.entries()?;
            let going = chosen(entries, &options);
            builder.remove(&going, &mounts)
        })
        .await
    }

    fn remove(&self, going: &[CacheEntry], mounts: &[CacheMount]) -> Result<Pruned> {
        let is_step = |entry: &&CacheEntry| entry.kind == "regular";
        let keys: Vec<String> =
            going.iter().filter(is_step).map(|entry| entry.id.clone()).collect();
        let mut pruned = Pruned::default();
        if !keys.is_empty() {
            pruned.space_reclaimed = self.inner.engine.images().remove_steps(&keys)?;
        }
        for mount in mounts.iter().filter(|mount| going.iter().any(|e| e.id == mount.key)) {
            pruned.space_reclaimed += self.inner.caches.remove(mount)?;
        }
        pruned.removed = going.iter().map(|entry| entry.id.clone()).collect();
        Ok(pruned)
    }

    /// Removes what is too old, or too much; not while builds run.
    pub(crate) async fn collect_garbage(&self) {
        let Ok(_alone) = self.inner.building.try_write() else { return };
        let policy = self.inner.policy;
        let builder = self.clone();
        let collected = crate::blocking(move || {
            let (entries, mounts) = builder.entries()?;
            let age = PruneOptions {
                all: true,
                unused_since: Some(now() - policy.max_age_secs),
                ..PruneOptions::default()
            };
            let size = PruneOptions {
                all: true,
                keep_bytes: Some(policy.max_bytes),
                ..PruneOptions::default()
            };
            let mut going = chosen(entries.clone(), &age);
            going.extend(chosen(entries, &size));
            if going.is_empty() { Ok(Pruned::default()) } else { builder.remove(&going, &mounts) }
        });
        match collected.await {
            Ok(pruned) if pruned.removed.is_empty() => {}
            Ok(pruned) => {
                tracing::info!(
                    entries = pruned.removed.len(),
                    bytes = pruned.space_reclaimed,
                    "build cache collected"
                );
            }
            Err(error) => tracing::warn!(%error, "build cache not collected"),
        }
    }
}

fn of_step(key: String, step: StepRecord, shared: bool) -> CacheEntry {
    CacheEntry {
        id: key,
        parent: step.parent,
        kind: "regular",
        description: step.description,
        size: step.size,
        shared,
        in_use: false,
        created_at: step.created_at,
        last_used_at: step.last_used_at,
        uses: step.uses,
    }
}

/// Chooses what goes, the longest unused first.
fn chosen(mut entries: Vec<CacheEntry>, options: &PruneOptions) -> Vec<CacheEntry> {
    let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
    entries.sort_by_key(|entry| entry.last_used_at);
    let mut going = Vec::new();
    for entry in entries {
        let wanted = !entry.in_use
            && (options.all || !entry.shared)
            && options.unused_since.is_none_or(|since| entry.last_used_at < since)
            && (options.ids.is_empty() || options.ids.iter().any(|id| entry.id.starts_with(id)))
            && (options.kinds.is_empty() || options.kinds.iter().any(|kind| kind == entry.kind));
        if !wanted || options.keep_bytes.is_some_and(|keep| total <= keep) {
            continue;
        }
        total -= entry.size;
        going.push(entry);
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, size: u64, last_used_at: i64, shared: bool) -> CacheEntry {
        CacheEntry {
            id: id.to_owned(),
            parent: None,
            kind: "regular",
            description: String::new(),
            size,
            shared,
            in_use: false,
            created_at: 0,
            last_used_at,
            uses: 0,
        }
    }

    fn ids(options: &PruneOptions) -> Vec<String> {
        let entries =
            vec![entry("a", 10, 3, false), entry("b", 20, 1, true), entry("c", 30, 2, false)];
        chosen(entries, options).into_iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let all = PruneOptions { all: true, ..PruneOptions::default() };
        assert_eq!(ids(&all), ["b", "c", "a"]);
        assert_eq!(ids(&PruneOptions::default()), ["c", "a"]);
        assert_eq!(ids(&PruneOptions { keep_bytes: Some(40), ..all.clone() }), ["b"]);
        assert_eq!(ids(&PruneOptions { keep_bytes: Some(39), ..all.clone() }), ["b", "c"]);
        assert_eq!(ids(&PruneOptions { unused_since: Some(3), ..all.clone() }), ["b", "c"]);
        assert_eq!(ids(&PruneOptions { ids: vec!["a".into()], ..all.clone() }), ["a"]);
        assert!(ids(&PruneOptions { kinds: vec!["exec.cachemount".into()], ..all }).is_empty());
    }
}
