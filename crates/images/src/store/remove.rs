//! Removing names and images, with Docker's rules and words for conflicts.
//!
//! Metadata goes in one transaction; only then are layers deleted that nothing refers to any more.

use redb::WriteTransaction;

use super::database::{
    self, CONFIGS, IMAGES, ImageRecord, LayerRecord, MANIFESTS, NAMES, Read as _,
};
use super::list::Catalog;
use super::{Store, names};
use crate::{
    Digest, Error, Hasher, ImageId, PruneOptions, Pruned, Reference, RemoveOptions, Removed, Result,
};

/// What forbids the removal of an image.
struct Refusal {
    /// Not even force helps.
    hard: bool,
    /// A container uses the image.
    used: bool,
    reason: String,
}

/// Which reasons are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// Only those that force cannot overcome.
    Forced,
    /// Also a stopped container; names are about to be removed anyway.
    NamesGo,
    /// All.
    Full,
}

/// One removal under way, within its transaction.
struct Removal<'a> {
    write: &'a WriteTransaction,
    options: &'a RemoveOptions<'a>,
    removed: Vec<Removed>,
    /// Diff and chain ids of deleted images' layers, topmost first; others may still have them.
    freed: Vec<(Digest, Digest)>,
}

impl Store {
    /// Removes a name, or an image when it was its last name or an id was given.
    ///
    /// A name goes alone while the image has others. An id with several names needs force. Parents
    /// without a name go with their last child unless `no_prune`.
    ///
    /// # Errors
    /// `NoSuchImage`; `Conflict` in Docker's words.
    pub fn remove(&self, name: &str, options: &RemoveOptions<'_>) -> Result<Vec<Removed>> {
        self.remove_counted(name, options).map(|(removed, _)| removed)
    }

    fn remove_counted(
        &self,
        name: &str,
        options: &RemoveOptions<'_>,
    ) -> Result<(Vec<Removed>, u64)> {
        let write = self.write()?;
        let mut removal =
            Removal { write: &write, options, removed: Vec::new(), freed: Vec::new() };
        removal.run(self, name)?;
        let Removal { mut removed, freed, .. } = removal;
        let diff_ids: Vec<Digest> = freed.iter().map(|(diff_id, _)| *diff_id).collect();
        let layers = self.forget_layers(&write, &diff_ids)?;
        write.commit().map_err(Error::database)?;
        for (diff_id, chain_id) in freed {
            // Layers are called by their chain ids here, as scripts know them.
            if layers.iter().any(|(gone, _)| *gone == diff_id) {
                removed.push(Removed::Deleted(chain_id.to_string()));
            }
        }
        let bytes = layers.iter().map(|(_, layer): &(Digest, LayerRecord)| layer.size).sum();
        if let Err(error) = self.delete_layers(layers) {
            // The images are gone; the next open deletes what is left of their layers.
            tracing::warn!(%error, "layers of a removed image left behind");
        }
        Ok((removed, bytes))
    }

    /// Removes unused images.
    ///
    /// # Errors
    /// `Database`; an image that is in use or becomes so is passed over.
    pub fn prune(&self, options: &PruneOptions<'_>) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let catalog = Catalog::read(&self.read()?)?;
        let remove = RemoveOptions { force: false, no_prune: false, in_use: options.in_use };
        for id in catalog.images.keys() {
            let names = catalog.names_of(id);
            let is_tagged = names.iter().any(|name| name.digest().is_none());
            let is_too_young = options.until.is_some_and(|until| catalog.created(id) >= until);
            if (names.is_empty() && catalog.has_children(id))
                || (options.dangling_only && is_tagged)
                || is_too_young
                || !catalog.has_labels(id, &options.labels, &options.not_labels)
                || (options.in_use)(id).is_some()
            {
                continue;
            }
            let mut wanted: Vec<String> = names.iter().map(Reference::to_string).collect();
            if wanted.is_empty() {
                wanted.push(id.to_string());
            }
            for name in wanted {
                match self.remove_counted(&name, &remove) {
                    Ok((removed, bytes)) => {
                        pruned.removed.extend(removed);
                        pruned.space_reclaimed += bytes;
                    }
                    Err(Error::Conflict(_) | Error::NoSuchImage(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(pruned)
    }
}

impl Removal<'_> {
    fn run(&mut self, store: &Store, name: &str) -> Result<()> {
        // A name beats an id that looks like it.
        let reference = Reference::parse(name).ok();
        let named = match &reference {
            Some(reference) => names::named(self.write, reference)?,
            None => None,
        };
        match (reference, named) {
            (Some(reference), Some(id)) => self.name(&reference, name, id),
            _ => {
                let id = store.resolve(name)?;
                self.id(id)
            }
        }
    }

    /// Removes a name, and the image with its last one.
    fn name(&mut self, reference: &Reference, given: &str, id: ImageId) -> Result<()> {
        if !self.options.force
            && is_single(&self.names(&id)?)
            && let Some(used) = (self.options.in_use)(&id)
        {
            return Err(Error::Conflict(format!(
                "conflict: unable to remove repository reference {given:?} (must force) - container \
                 {} is using its referenced image {}",
                short(&used.container_id),
                id.short()
            )));
        }
        let name = match reference.digest() {
            Some(digest) => reference.with_digest(digest),
            None => reference.clone().or_latest(),
        };
        self.untag(&name)?;
        if name.digest().is_none() {
            self.untag_digests(&id, &name)?;
        }
        if self.names(&id)?.is_empty() {
            return self.image(id, true);
        }
        Ok(())
    }

    /// Names with a digest go with the last tag of the same repository.
    fn untag_digests(&mut self, id: &ImageId, name: &Reference) -> Result<()> {
        let mut same: Vec<Reference> = self.names(id)?;
        same.retain(|other| other.repository() == name.repository());
        if same.iter().all(|other| other.digest().is_some()) {
            for digest in &same {
                self.untag(digest)?;
            }
        }
        Ok(())
    }

    /// Removes an image by id.
    fn id(&mut self, id: ImageId) -> Result<()> {
        let names = self.names(&id)?;
        if is_single(&names) {
            let strictness =
                if self.options.force { Strictness::Forced } else { Strictness::NamesGo };
            if let Some(refusal) = self.refusal(&id, strictness)? {
                return Err(refusal.into_error(&id));
            }
            for name in &names {
                self.untag(name)?;
            }
        }
        self.image(id, false)
    }

    /// Deletes an image and then, quietly, the parents that nobody needs any more.
    fn image(&mut self, id: ImageId, mut quiet: bool) -> Result<()> {
        let mut force = self.options.force;
        let mut next = Some(id);
        while let Some(id) = next {
            let strictness = if force { Strictness::Forced } else { Strictness::Full };
            if let Some(refusal) = self.refusal(&id, strictness)? {
                // With its name gone, an image that cannot go is kept without a word, unless it
                // would dangle unused.
                if quiet && (refusal.used || !self.is_dangling(&id)?) {
                    return Ok(());
                }
                return Err(refusal.into_error(&id));
            }
            for name in self.names(&id)? {
                self.untag(&name)?;
            }
            let Some(record) = self.write.image(&id)? else { return Ok(()) };
            next = record.parent.filter(|_| !self.options.no_prune);
            self.delete(&id, record)?;
            if let Some(parent) = next
                && self.write.image(&parent)?.is_none()
            {
                return Ok(());
            }
            (quiet, force) = (true, false);
        }
        Ok(())
    }

    fn delete(&mut self, id: &ImageId, record: ImageRecord) -> Result<()> {
        let key = id.to_string();
        database::delete(self.write, IMAGES, &key)?;
        database::delete(self.write, CONFIGS, &key)?;
        let others = self.write.records::<ImageRecord>(IMAGES)?;
        for manifest in &record.manifests {
            if !others.iter().any(|(_, other)| other.manifests.contains(manifest)) {
                database::delete(self.write, MANIFESTS, &manifest.to_string())?;
            }
        }
        tracing::info!(image = %id, "image removed");
        self.removed.push(Removed::Deleted(key));
        let chain = chain_ids(&record.diff_ids);
        self.freed.extend(record.diff_ids.into_iter().zip(chain).rev());
        Ok(())
    }

    fn untag(&mut self, name: &Reference) -> Result<()> {
        database::delete(self.write, NAMES, &name.canonical())?;
        self.removed.push(Removed::Untagged(name.to_string()));
        Ok(())
    }

    fn names(&self, id: &ImageId) -> Result<Vec<Reference>> {
        let names = self.write.names()?.into_iter().filter(|(_, owner)| owner == id);
        names.map(|(name, _)| Reference::parse(&name)).collect()
    }

    fn has_children(&self, id: &ImageId) -> Result<bool> {
        let images = self.write.records::<ImageRecord>(IMAGES)?;
        Ok(images.iter().any(|(_, record)| record.parent == Some(*id)))
    }

    fn is_dangling(&self, id: &ImageId) -> Result<bool> {
        Ok(self.names(id)?.is_empty() && !self.has_children(id)?)
    }

    fn refusal(&self, id: &ImageId, strictness: Strictness) -> Result<Option<Refusal>> {
        if self.has_children(id)? {
            let reason = "image has dependent child images".to_owned();
            return Ok(Some(Refusal { hard: true, used: false, reason }));
        }
        let used = (self.options.in_use)(id);
        if let Some(used) = used.as_ref().filter(|used| used.running) {
            let container = short(&used.container_id);
            let reason = format!("image is being used by running container {container}");
            return Ok(Some(Refusal { hard: true, used: true, reason }));
        }
        if strictness == Strictness::Full && !self.names(id)?.is_empty() {
            let reason = "image is referenced in multiple repositories".to_owned();
            return Ok(Some(Refusal { hard: false, used: false, reason }));
        }
        Ok(used.filter(|_| strictness != Strictness::Forced).map(|used| {
            let container = short(&used.container_id);
            let reason = format!("image is being used by stopped container {container}");
            Refusal { hard: false, used: true, reason }
        }))
    }
}

impl Refusal {
    fn into_error(self, id: &ImageId) -> Error {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::Conflict(format!(
            "conflict: unable to delete {} ({force}) - {}",
            id.short(),
            self.reason
        ))
    }
}

fn short(container_id: &str) -> &str {
    container_id.get(..12).unwrap_or(container_id)
}

/// Tells whether all names are one: at most one tag, and digests of that repository only.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    let same = names.windows(2).all(|pair| pair[0].repository() == pair[1].repository());
    names.len() <= 1 || (tags <= 1 && same)
}

/// Returns the chain ids of layers, lowest first: what identifies a layer with all below it.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => *diff_id,
            Some(below) => {
                let mut hasher = Hasher::default();
                hasher.update(format!("{below} {diff_id}").as_bytes());
                hasher.finish()
            }
        });
    }
    chain
}
