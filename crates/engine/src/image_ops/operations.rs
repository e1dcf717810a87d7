//! The operations themselves.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Write as _};

use images::{
    CommitRequest, ImageId, ImageUse, ImportRequest, PruneOptions, Pruned, Reference, Removed,
    RunConfig,
};

use super::{CommitOptions, ImageRemoveOptions, ImportOptions, ProgressSink, changes, commit};
use crate::archive::ByteStream;
use crate::archive::stream::{StreamReader, on_own_thread, written_by};
use crate::container::{ContainerRecord, ListFilter, Status, publish};
use crate::event::{Event, EventType};
use crate::filter::Filters;
use crate::{Engine, Error, Result};

impl Engine {
    /// Makes an image out of a container's changes. "Engine API ImageCommit".
    ///
    /// # Errors
    /// NotFound; InvalidParameter for a change that is none; Conflict for a dead container.
    pub async fn commit(&self, container: &str, options: CommitOptions) -> Result<ImageId> {
        let mut config = commit::merged(RunConfig::default(), &options.config);
        changes::apply(&mut config, &options.changes)?;
        let record = self.container_inspect(container).await?.record;
        match record.state.status {
            Status::Dead => {
                return Err(Error::Conflict(format!(
                    "You cannot commit container {} which is Dead",
                    record.id
                )));
            }
            Status::Removing => {
                return Err(Error::Conflict(format!(
                    "You cannot commit container {} which is being removed",
                    record.id
                )));
            }
            _ => {}
        }
        let engine = self.clone();
        // To its end in any case: a client that leaves must not leave the container frozen.
        self.detached(async move { engine.commit_frozen(&record, config, options).await }).await
    }

    async fn commit_frozen(
        &self,
        record: &ContainerRecord,
        config: RunConfig,
        options: CommitOptions,
    ) -> Result<ImageId> {
        let request = CommitRequest {
            container_id: record.id.to_string(),
            base: record.image_id.parse()?,
            config: commit::merged(config, &record.config),
            author: options.author,
            comment: options.comment.clone(),
            created_by: record.argv().join(" "),
            docker_version: env!("CARGO_PKG_VERSION").to_owned(),
            tag: options.reference.clone(),
        };
        // What cannot be frozen, because it has ended for example, does not change either.
        let frozen = options.pause
            && record.state.status == Status::Running
            && self.container_pause(record.id.as_str()).await.is_ok();
        let images = self.inner.images.clone();
        let committed = crate::blocking(move || Ok(images.commit(&request)?)).await;
        if frozen && let Err(error) = self.container_unpause(record.id.as_str()).await {
            tracing::warn!(container_id = %record.id, %error, "container not thawed");
        }
        let id = committed?;
        let name = options.reference.map(|reference| reference.to_string()).unwrap_or_default();
        let event = publish::container(record, "commit")
            .with("comment", options.comment)
            .with("imageID", id.to_string())
            .with("imageRef", name);
        self.inner.events.publish(event);
        Ok(id)
    }

    /// Makes an image out of one archive of a file tree. "Engine API ImageCreate, fromSrc".
    ///
    /// # Errors
    /// InvalidParameter for a bad archive or change.
    pub async fn image_import(
        &self,
        archive: ByteStream,
        options: ImportOptions,
    ) -> Result<ImageId> {
        let mut config = RunConfig::default();
        changes::apply(&mut config, &options.changes)?;
        let name = options.reference.as_ref().map(ToString::to_string);
        let message = match options.message.is_empty() {
            true => format!("Imported from {}", options.source),
            false => options.message,
        };
        let request = ImportRequest {
            config,
            message,
            created_by: String::new(),
            tag: options.reference,
            platform: options.platform,
        };
        let images = self.inner.images.clone();
        let reader = StreamReader::new(archive);
        let import = move || Ok(images.import(BufReader::new(reader), &request)?);
        let id = on_own_thread(import).await?;
        self.image_event("import", &id.to_string(), name.as_deref().unwrap_or(""));
        Ok(id)
    }

    /// Takes in an archive of images. Names are told through `progress`.
    ///
    /// # Errors
    /// InvalidParameter for a bad archive.
    pub async fn image_load(&self, archive: ByteStream, progress: ProgressSink) -> Result<()> {
        let images = self.inner.images.clone();
        let reader = StreamReader::new(archive);
        let load = move || Ok(images.load(BufReader::new(reader), &|step| progress(step))?);
        for loaded in on_own_thread(load).await? {
            let name = loaded.names.first().map(ToString::to_string).unwrap_or_default();
            self.image_event("load", &loaded.id.to_string(), &name);
        }
        Ok(())
    }

    /// Writes an archive of images.
    ///
    /// # Errors
    /// NotFound for a name.
    pub async fn image_save(&self, names: Vec<String>) -> Result<ByteStream> {
        let images = self.inner.images.clone();
        let wanted = names.clone();
        let ids = crate::blocking(move || {
            wanted.iter().map(|name| Ok(images.resolve(name)?)).collect::<Result<Vec<ImageId>>>()
        });
        for (id, name) in ids.await?.iter().zip(&names) {
            self.image_event("save", &id.to_string(), name);
        }
        let images = self.inner.images.clone();
        Ok(written_by(move |writer| {
            images.save(&names, &mut *writer).map_err(std::io::Error::other)?;
            writer.flush()
        }))
    }

    /// Gives an image a name.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_tag(&self, image: &str, reference: Reference) -> Result<()> {
        let (images, image) = (self.inner.images.clone(), image.to_owned());
        let name = reference.to_string();
        let id = crate::blocking(move || {
            let id = images.resolve(&image)?;
            images.tag(&id, &reference)?;
            Ok(id)
        });
        self.image_event("tag", &id.await?.to_string(), &name);
        Ok(())
    }

    /// Removes a name, or an image with its last name, unless containers use it.
    ///
    /// # Errors
    /// NotFound; Conflict in Docker's words.
    pub async fn image_remove(
        &self,
        image: &str,
        options: ImageRemoveOptions,
    ) -> Result<Vec<Removed>> {
        let uses = self.image_uses().await?;
        let (images, image) = (self.inner.images.clone(), image.to_owned());
        let (id, known, removed) = crate::blocking(move || {
            let id = images.resolve(&image)?;
            let known = image_ids(&images)?;
            let in_use = |id: &ImageId| uses.get(&id.to_string()).cloned();
            let options = images::RemoveOptions {
                force: options.force,
                no_prune: options.no_prune,
                in_use: &in_use,
            };
            Ok((id, known, images.remove(&image, &options)?))
        })
        .await?;
        self.removal_events(&id.to_string(), &known, &removed);
        Ok(removed)
    }

    /// Removes images that no container uses. Filters: `dangling` (true), `label`, `label!`,
    /// `until`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn image_prune(&self, filters: Filters) -> Result<Pruned> {
        filters.check_names(&["dangling", "label", "label!", "until"])?;
        let dangling_only = filters.bool_or("dangling", true)?;
        let until = crate::prune::until(&filters)?.map(|time| time.as_second());
        let own = |name: &str| filters.values(name).map(str::to_owned).collect();
        let (labels, not_labels) = (own("label"), own("label!"));
        let uses = self.image_uses().await?;
        let images = self.inner.images.clone();
        let (known, pruned) = crate::blocking(move || {
            let known = image_ids(&images)?;
            let in_use = |id: &ImageId| uses.get(&id.to_string()).cloned();
            let options =
                PruneOptions { dangling_only, labels, not_labels, until, in_use: &in_use };
            Ok((known, images.prune(&options)?))
        })
        .await?;
        self.removal_events("", &known, &pruned.removed);
        let event = Event::new(EventType::Image, "prune", "")
            .with("reclaimed", pruned.space_reclaimed.to_string());
        self.inner.events.publish(event);
        Ok(pruned)
    }

    /// Publishes an event about an image: `pull`, `push`, ….
    pub fn image_event(&self, action: &str, id: &str, name: &str) {
        let name = if name.is_empty() { id } else { name };
        let event = Event::new(EventType::Image, action, id).with("name", name);
        self.inner.events.publish(event);
    }

    /// Layers are told to the asker as deleted too, but are no images: `known` are the images.
    fn removal_events(&self, image: &str, known: &HashSet<String>, removed: &[Removed]) {
        for removed in removed {
            match removed {
                Removed::Untagged(name) if image.is_empty() => {
                    self.image_event("untag", name, name);
                }
                Removed::Untagged(_) => self.image_event("untag", image, image),
                Removed::Deleted(id) if known.contains(id) => self.image_event("delete", id, id),
                Removed::Deleted(_) => {}
            }
        }
    }

    /// Which containers use which image; a running one where there are several.
    async fn image_uses(&self) -> Result<HashMap<String, ImageUse>> {
        let filter = ListFilter { all: true, ..ListFilter::default() };
        let mut uses: HashMap<String, ImageUse> = HashMap::new();
        for snapshot in self.container_list(filter).await? {
            let record = &snapshot.record;
            let running = record.state.status.has_process();
            let found = ImageUse { container_id: record.id.to_string(), running };
            let entry = uses.entry(record.image_id.clone()).or_insert_with(|| found.clone());
            if running && !entry.running {
                *entry = found;
            }
        }
        Ok(uses)
    }
}

fn image_ids(images: &images::Store) -> Result<HashSet<String>> {
    let all = images::ListFilter { all: true, ..images::ListFilter::default() };
    Ok(images.list(&all)?.into_iter().map(|image| image.id.to_string()).collect())
}
