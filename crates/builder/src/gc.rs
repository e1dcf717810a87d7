//! What the cache takes, and what goes from it: on demand, and by size and age.

use images::StepRecord;

use crate::caches::CacheMount;
use crate::state::now;
use crate::{Builder, Result};

/// When what is cached goes by itself: rule after rule; without any nothing does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// The rules.
    pub rules: Vec<GcRule>,
}

/// What goes by one rule, the longest unused first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcRule {
    /// Only until so many bytes are left.
    pub keep_bytes: Option<u64>,
    /// Only what was not used for so many seconds.
    pub unused_secs: Option<i64>,
    /// Only entries of these kinds, if there are any.
    pub kinds: Vec<String>,
    /// Also what images share.
    pub shared: bool,
}

impl Default for GcRule {
    fn default() -> Self {
        Self { keep_bytes: None, unused_secs: None, kinds: Vec::new(), shared: true }
    }
}

impl Default for GcPolicy {
    fn default() -> Self {
        let by_age = GcRule { unused_secs: Some(60 * 24 * 3600), ..GcRule::default() };
        let by_size = GcRule { keep_bytes: Some(20 << 30), ..GcRule::default() };
        Self { rules: vec![by_age, by_size] }
    }
}

impl GcRule {
    fn options(&self, now: i64) -> PruneOptions {
        PruneOptions {
            all: self.shared,
            keep_bytes: self.keep_bytes,
            unused_since: self.unused_secs.map(|seconds| now - seconds),
            kinds: self.kinds.clone(),
            ..PruneOptions::default()
        }
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
    /// Whether there is a layer or directory at all.
    pub has_content: bool,
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
    /// Only entries that stand on one of these.
    pub parents: Vec<String>,
    /// Only entries with one of these in their description.
    pub descriptions: Vec<String>,
    /// Only entries that an image shares, or that none does.
    pub shared: Option<bool>,
    /// Only entries that a build uses, of which none can go, or the others.
    pub in_use: Option<bool>,
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
            has_content: true,
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
        let builder = self.clone();
        let collected = crate::blocking(move || {
            let mut pruned = Pruned::default();
            for rule in &builder.inner.policy.rules {
                let (entries, mounts) = builder.entries()?;
                let going = chosen(entries, &rule.options(now()));
                if !going.is_empty() {
                    let more = builder.remove(&going, &mounts)?;
                    pruned.removed.extend(more.removed);
                    pruned.space_reclaimed += more.space_reclaimed;
                }
            }
            Ok(pruned)
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
        has_content: step.layer.is_some(),
        shared,
        in_use: false,
        created_at: step.created_at,
        last_used_at: step.last_used_at,
        uses: step.uses,
    }
}

fn is_wanted(entry: &CacheEntry, options: &PruneOptions) -> bool {
    let fits = |wanted: &[String], test: &dyn Fn(&String) -> bool| {
        wanted.is_empty() || wanted.iter().any(test)
    };
    !entry.in_use
        && options.in_use != Some(true)
        && (options.all || !entry.shared)
        && options.shared.is_none_or(|shared| shared == entry.shared)
        && options.unused_since.is_none_or(|since| entry.last_used_at < since)
        && fits(&options.ids, &|id| entry.id.starts_with(id))
        && fits(&options.kinds, &|kind| kind == entry.kind)
        && fits(&options.parents, &|parent| entry.parent.as_ref() == Some(parent))
        && fits(&options.descriptions, &|text| entry.description.contains(text))
}

/// Chooses what goes, the longest unused first.
fn chosen(mut entries: Vec<CacheEntry>, options: &PruneOptions) -> Vec<CacheEntry> {
    let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
    entries.sort_by_key(|entry| entry.last_used_at);
    let mut going = Vec::new();
    for entry in entries {
        if !is_wanted(&entry, options) || options.keep_bytes.is_some_and(|keep| total <= keep) {
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
            has_content: true,
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
        assert_eq!(ids(&PruneOptions { shared: Some(true), ..all.clone() }), ["b"]);
        assert_eq!(ids(&PruneOptions { shared: Some(false), ..all.clone() }), ["c", "a"]);
        assert!(ids(&PruneOptions { in_use: Some(true), ..all.clone() }).is_empty());
        assert!(ids(&PruneOptions { parents: vec!["a".into()], ..all.clone() }).is_empty());
        assert!(ids(&PruneOptions { kinds: vec!["exec.cachemount".into()], ..all }).is_empty());
    }
}
