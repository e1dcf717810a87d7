//! Listing and looking at images.

use std::collections::{BTreeMap, HashMap};

use super::Store;
use super::database::{IMAGES, ImageRecord, LAYERS, LayerRecord, Read};
use crate::glob::Glob;
use crate::{
    Digest, DiskUsage, Error, HistoryEntry, ImageConfig, ImageDetail, ImageId, ImageSummary,
    ListFilter, Reference, Result,
};

/// All metadata, as of one moment.
pub(crate) struct Catalog {
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
    pub(crate) layers: HashMap<Digest, LayerRecord>,
    /// Names of each image, in canonical order.
    pub(crate) names: HashMap<ImageId, Vec<Reference>>,
    configs: HashMap<ImageId, ImageConfig>,
}

impl Catalog {
    pub(crate) fn read(read: &impl Read) -> Result<Self> {
        let images: BTreeMap<ImageId, ImageRecord> = read
            .records(IMAGES)?
            .into_iter()
            .map(|(digest, record)| (ImageId::from(digest), record))
            .collect();
        let mut names: HashMap<ImageId, Vec<Reference>> = HashMap::new();
        for (name, id) in read.names()? {
            names.entry(id).or_default().push(Reference::parse(&name)?);
        }
        let mut configs = HashMap::new();
        for id in images.keys() {
            configs.insert(*id, ImageConfig::parse(&read.config(id)?)?);
        }
        let layers = read.records(LAYERS)?.into_iter().collect();
        Ok(Self { images, layers, names, configs })
    }

    pub(crate) fn names_of(&self, id: &ImageId) -> &[Reference] {
        self.names.get(id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has_children(&self, id: &ImageId) -> bool {
        self.images.values().any(|record| record.parent == Some(*id))
    }

    pub(crate) fn created(&self, id: &ImageId) -> i64 {
        self.configs.get(id).and_then(|config| config.created.as_deref()).map_or(0, seconds)
    }

    /// Adds up layers, each counted once.
    pub(crate) fn size<'a>(&self, diff_ids: impl IntoIterator<Item = &'a Digest>) -> u64 {
        let mut seen = std::collections::HashSet::new();
        diff_ids
            .into_iter()
            .filter(|diff_id| seen.insert(**diff_id))
            .filter_map(|diff_id| self.layers.get(diff_id))
            .map(|layer| layer.size)
            .sum()
    }

    pub(crate) fn has_labels(&self, id: &ImageId, wanted: &[String], unwanted: &[String]) -> bool {
        let labels = self.configs.get(id).and_then(|config| config.config.labels.as_ref());
        let has = |label: &String| {
            let (key, value) = match label.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (label.as_str(), None),
            };
            let found = labels.and_then(|labels| labels.get(key));
            found.is_some_and(|found| value.is_none_or(|value| found == value))
        };
        wanted.iter().all(has) && !unwanted.iter().any(has)
    }

    fn summary(&self, id: &ImageId, record: &ImageRecord) -> ImageSummary {
        let (tags, digests) = split_names(self.names_of(id));
        let labels = self.configs.get(id).and_then(|config| config.config.labels.clone());
        ImageSummary {
            id: *id,
            parent: record.parent.filter(|parent| self.images.contains_key(parent)),
            dangling: tags.is_empty() && !self.has_children(id),
            repo_tags: tags,
            repo_digests: digests,
            created: self.created(id),
            size: self.size(&record.diff_ids),
            shared_size: None,
            labels: labels.unwrap_or_default(),
            layers: record.diff_ids.len(),
        }
    }
}

/// Reads RFC 3339 as seconds since the epoch; 0 when it is not that.
pub(crate) fn seconds(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second)
}

/// Familiar names: those with a tag, those with a digest.
fn split_names(names: &[Reference]) -> (Vec<String>, Vec<String>) {
    let (digests, tags): (Vec<_>, Vec<_>) =
        names.iter().partition(|reference| reference.digest().is_some());
    let shown = |names: Vec<&Reference>| {
        let mut names: Vec<String> = names.into_iter().map(Reference::to_string).collect();
        names.sort();
        names
    };
    (shown(tags), shown(digests))
}

impl Store {
    /// Lists images, newest first.
    ///
    /// # Errors
    /// `NoSuchImage` for a `before` or `since` that is not here, `InvalidParameter` for a bad glob.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<ImageSummary>> {
        let catalog = Catalog::read(&self.read()?)?;
        let globs = filter.references.iter().map(|pattern| Glob::parse(pattern));
        let globs = globs.collect::<Result<Vec<_>>>()?;
        let created_of = |names: &[String]| {
            let created = names.iter().map(|name| Ok(catalog.created(&self.resolve(name)?)));
            created.collect::<Result<Vec<i64>>>()
        };
        let before = created_of(&filter.before)?.into_iter().chain(filter.until).min();
        let since = created_of(&filter.since)?.into_iter().max();
        let mut found = Vec::new();
        for (id, record) in &catalog.images {
            let created = catalog.created(id);
            if before.is_some_and(|before| created >= before)
                || since.is_some_and(|since| created <= since)
                || !catalog.has_labels(id, &filter.labels, &filter.not_labels)
            {
                continue;
            }
            let mut summary = catalog.summary(id, record);
            let is_intermediate = catalog.names_of(id).is_empty() && catalog.has_children(id);
            if is_intermediate && !filter.all {
                continue;
            }
            if filter.dangling.is_some_and(|wanted| wanted != summary.repo_tags.is_empty()) {
                continue;
            }
            if !globs.is_empty() && !keep_matching(&mut summary, catalog.names_of(id), &globs) {
                continue;
            }
            found.push(summary);
        }
        if filter.shared_size {
            add_shared_sizes(&catalog, &mut found);
        }
        found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    /// Returns everything about one image.
    ///
    /// # Errors
    /// `NoSuchImage`, `Database`.
    pub fn inspect(&self, id: &ImageId) -> Result<ImageDetail> {
        let read = self.read()?;
        let record = read.image(id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        let config_bytes = read.config(id)?;
        let config = ImageConfig::parse(&config_bytes)?;
        let mut names = Vec::new();
        for (name, _) in read.names()?.into_iter().filter(|(_, owner)| owner == id) {
            names.push(Reference::parse(&name)?);
        }
        let (repo_tags, repo_digests) = split_names(&names);
        let mut size = 0;
        let mut layer_dirs = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for diff_id in &record.diff_ids {
            if let Some(layer) = read.layer(diff_id)?.filter(|_| seen.insert(*diff_id)) {
                size += layer.size;
                layer_dirs.insert(0, self.paths().diff(&layer.cache_id));
            }
        }
        let parent = match &record.parent {
            Some(parent) => read.image(parent)?.map(|_| *parent),
            None => None,
        };
        Ok(ImageDetail {
            id: *id,
            config_bytes,
            config,
            parent,
            repo_tags,
            repo_digests,
            size,
            last_tag_time: record.last_tag_time,
            layers: record.diff_ids,
            layer_dirs,
        })
    }

    /// Returns how an image was made, newest step first.
    ///
    /// # Errors
    /// `NoSuchImage`, `Database`.
    pub fn history(&self, id: &ImageId) -> Result<Vec<HistoryEntry>> {
        let catalog = Catalog::read(&self.read()?)?;
        let record = catalog.images.get(id).ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        let config = &catalog.configs[id];
        let mut layers = record.diff_ids.iter();
        let mut entries: Vec<HistoryEntry> = config
            .history
            .iter()
            .map(|step| HistoryEntry {
                id: None,
                created: step.created.as_deref().map_or(0, seconds),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size: if step.empty_layer { 0 } else { catalog.size(layers.next()) },
                comment: step.comment.clone(),
            })
            .collect();
        entries.reverse();
        // The image and those it was made from, as far as they are here.
        let mut next = Some(*id);
        for entry in &mut entries {
            let Some(id) = next else { break };
            entry.id = Some(id);
            entry.tags = split_names(catalog.names_of(&id)).0;
            next = catalog
                .images
                .get(&id)
                .and_then(|record| record.parent)
                .filter(|parent| catalog.images.contains_key(parent));
        }
        Ok(entries)
    }

    /// Tells how much disk images take.
    ///
    /// # Errors
    /// `Database`.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let filter = ListFilter { shared_size: true, ..ListFilter::default() };
        let images = self.list(&filter)?;
        let catalog = Catalog::read(&self.read()?)?;
        Ok(DiskUsage { layers_size: catalog.layers.values().map(|layer| layer.size).sum(), images })
    }
}

/// Leaves only the names that match; false when none does.
fn keep_matching(summary: &mut ImageSummary, names: &[Reference], globs: &[Glob]) -> bool {
    let matching: Vec<Reference> =
        names.iter().filter(|name| globs.iter().any(|glob| matches(glob, name))).cloned().collect();
    (summary.repo_tags, summary.repo_digests) = split_names(&matching);
    !matching.is_empty()
}

/// A pattern may be given with or without tag, in the familiar or the full form.
fn matches(glob: &Glob, name: &Reference) -> bool {
    glob.matches(&name.to_string())
        || glob.matches(&name.familiar_name())
        || glob.matches(&name.canonical())
        || glob.matches(&name.repository())
}

fn add_shared_sizes(catalog: &Catalog, summaries: &mut [ImageSummary]) {
    let mut users: HashMap<Digest, usize> = HashMap::new();
    for record in catalog.images.values() {
        let distinct: std::collections::HashSet<_> = record.diff_ids.iter().collect();
        for diff_id in distinct {
            *users.entry(*diff_id).or_default() += 1;
        }
    }
    for summary in summaries {
        let layers = &catalog.images[&summary.id].diff_ids;
        let shared = layers.iter().filter(|diff_id| users.get(*diff_id).is_some_and(|n| *n > 1));
        summary.shared_size = Some(catalog.size(shared));
    }
}
