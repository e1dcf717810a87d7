//! Pull: from a reference to a registered image.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;

use super::download::Download;
use super::error::RegistryError;
use super::manifest::{ImageManifest, Manifest as Kind, choose};
use super::repository::{Fetched, Repository};
use super::session::{Access, Mirrors, hosts};
use super::{AuthConfig, Platform, Registry, Report, blocking};
use crate::{
    BlobDescriptor, Digest, ImageConfig, ImageId, LayerState, NewImage, Progress, Reference, Store,
    UnpackedLayer,
};

/// An index may point to another one, no deeper.
const MAX_INDEX_DEPTH: usize = 2;

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    pub auth: AuthConfig,
    /// Another platform than this machine's.
    pub platform: Option<Platform>,
    /// Every tag of the repository.
    pub all_tags: bool,
}

/// What a pull has brought, or found here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub reference: Reference,
    pub id: ImageId,
    /// Digest of what the reference names: the index if there is one.
    pub digest: Digest,
    /// Whether the name meant another image, or none, before.
    pub newer: bool,
}

/// One image chosen out of what the registry has under a reference.
struct Chosen {
    image: ImageManifest,
    manifest: crate::Manifest,
    /// Of the top: index or manifest.
    digest: Digest,
}

impl Registry {
    /// Pulls an image, or all tags of its repository. A reference without tag and digest means `latest`.
    ///
    /// # Errors
    /// Engine API ImageCreate's: not found or denied, no manifest for the platform, registry not reachable, content that
    /// is not what was promised, a store that is full.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        report: Report<'_>,
    ) -> Result<Vec<Pulled>, RegistryError> {
        let mut failed = None;
        for host in hosts(&self.config, reference.domain(), Mirrors::First).await? {
            let result = async {
                let repository = Repository::connect(
                    &self.config,
                    &host,
                    reference,
                    &options.auth,
                    Access::Pull,
                )
                .await?;
                self.pull_from(&repository, reference, options, report).await
            }
            .await;
            match result {
                Ok(pulled) => return Ok(pulled),
                // The store's own trouble does not go away elsewhere.
                Err(error @ RegistryError::Store(crate::Error::DiskFull { .. })) => {
                    return Err(error);
                }
                Err(error) if host.mirror => {
                    tracing::warn!(mirror = %host.name, error = %error, "mirror is passed over");
                    failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed.expect("the registry itself is always tried"))
    }

    async fn pull_from(
        &self,
        repository: &Repository,
        reference: &Reference,
        options: &PullOptions,
        report: Report<'_>,
    ) -> Result<Vec<Pulled>, RegistryError> {
        let references = if options.all_tags {
            let tags = repository.tags().await?;
            if tags.is_empty() {
                let message = format!("repository {} has no tags", reference.familiar_name());
                return Err(RegistryError::InvalidRequest { message });
            }
            tags.iter().map(|tag| reference.with_tag(tag)).collect::<Result<_, _>>()?
        } else {
            vec![reference.clone().or_latest()]
        };
        let mut all = Vec::new();
        for reference in &references {
            let pulled = self.pull_one(repository, reference, options, report).await?;
            report(status(format!("Digest: {}", pulled.digest)));
            all.push(pulled);
        }
        let name =
            if options.all_tags { reference.familiar_name() } else { references[0].to_string() };
        report(status(if all.iter().any(|pulled| pulled.newer) {
            format!("Status: Downloaded newer image for {name}")
        } else {
            format!("Status: Image is up to date for {name}")
        }));
        Ok(all)
    }

    async fn pull_one(
        &self,
        repository: &Repository,
        reference: &Reference,
        options: &PullOptions,
        report: Report<'_>,
    ) -> Result<Pulled, RegistryError> {
        let wanted = options.platform.clone().unwrap_or_else(Platform::host);
        if let Some(pulled) = self.unchanged(repository, reference, &wanted).await? {
            report(pulling(reference));
            return Ok(pulled);
        }
        let chosen = choose_image(repository, reference, &wanted, report).await?;
        let (config_bytes, known) = self.config_of(repository, &chosen.image).await?;
        let config = ImageConfig::parse(&config_bytes)?;
        check_platform(&config, &wanted, reference)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != chosen.image.layers.len() {
            return Err(RegistryError::Invalid {
                what: "manifest",
                reference: reference.to_string(),
                message: format!(
                    "it has {} layers, the image config has {}",
                    chosen.image.layers.len(),
                    diff_ids.len()
                ),
            });
        }
        let here = self.layers_here(diff_ids).await?;
        let layers = if known && here.iter().all(Option::is_some) {
            here.into_iter().flatten().collect()
        } else {
            self.layers(repository, &chosen.image, diff_ids, here, report).await?
        };
        let id = ImageId::of_config(&config_bytes);
        let newer = self.register(reference, &chosen, config_bytes, layers).await?;
        Ok(Pulled { reference: reference.clone(), id, digest: chosen.digest, newer })
    }

    /// Returns what the tag means here if it still means that there. Registries count the manifests
    /// they hand out, and refuse who took too many; to ask for a digest costs nothing.
    async fn unchanged(
        &self,
        repository: &Repository,
        reference: &Reference,
        wanted: &Platform,
    ) -> Result<Option<Pulled>, RegistryError> {
        if reference.digest().is_some() {
            return Ok(None);
        }
        let (store, name) = (self.store.clone(), reference.to_string());
        let here =
            blocking(move || Ok(store.resolve(&name).and_then(|id| store.inspect(&id)).ok()));
        let Some(here) = here.await? else { return Ok(None) };
        if wanted.rank(&platform(&here.config)) != Some(0) {
            return Ok(None);
        }
        // Whatever is the matter, the request for the manifest will tell.
        let Some(digest) = repository.digest(reference).await else { return Ok(None) };
        let unchanged = here.repo_digests.contains(&reference.with_digest(digest).to_string());
        Ok(unchanged.then(|| Pulled {
            reference: reference.clone(),
            id: here.id,
            digest,
            newer: false,
        }))
    }

    /// Returns the config's bytes, and whether they are from the store because the image is here already.
    async fn config_of(
        &self,
        repository: &Repository,
        image: &ImageManifest,
    ) -> Result<(Vec<u8>, bool), RegistryError> {
        let (store, id) = (self.store.clone(), ImageId::from(image.config.digest));
        let here =
            blocking(move || Ok(store.inspect(&id).ok().map(|detail| detail.config_bytes))).await?;
        match here {
            Some(bytes) => Ok((bytes, true)),
            None => Ok((repository.small_blob(&image.config, "config").await?, false)),
        }
    }

    /// Returns the layers that are unpacked already, held against removal.
    async fn layers_here(
        &self,
        diff_ids: &[Digest],
    ) -> Result<Vec<Option<UnpackedLayer>>, RegistryError> {
        let (store, diff_ids) = (self.store.clone(), diff_ids.to_vec());
        blocking(move || diff_ids.iter().map(|diff_id| store.existing_layer(diff_id)).collect())
            .await
    }

    /// Fetches and unpacks what is not here, several layers at once; unpacking does not hold up downloads.
    async fn layers(
        &self,
        repository: &Repository,
        image: &ImageManifest,
        diff_ids: &[Digest],
        mut ready: Vec<Option<UnpackedLayer>>,
        report: Report<'_>,
    ) -> Result<Vec<UnpackedLayer>, RegistryError> {
        let downloads = Semaphore::new(self.config.max_concurrent_downloads.max(1));
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(64));
        let unpacks = Arc::new(Semaphore::new(threads));
        let threads = u32::try_from(threads).unwrap_or(1);
        for (descriptor, layer) in image.layers.iter().zip(&ready) {
            let state = if layer.is_some() {
                LayerState::AlreadyExists
            } else {
                LayerState::PullingFsLayer
            };
            report(Progress::Layer { id: descriptor.digest.short(), state });
        }
        let mut missing: FuturesUnordered<_> = image
            .layers
            .iter()
            .zip(diff_ids)
            .enumerate()
            .filter(|(at, _)| ready[*at].is_none())
            .map(|(at, (descriptor, diff_id))| {
                let blob = BlobDescriptor {
                    digest: descriptor.digest,
                    size: descriptor.size,
                    media_type: descriptor.media_type.clone(),
                };
                let turns = (&downloads, Arc::clone(&unpacks));
                async move {
                    let layer = self.layer(repository, &blob, *diff_id, turns, report).await?;
                    Ok::<_, RegistryError>((at, layer))
                }
            })
            .collect();
        while let Some(result) = missing.next().await {
            match result {
                Ok((at, layer)) => ready[at] = Some(layer),
                Err(error) => {
                    drop(missing);
                    // What other threads unpack goes again before the answer.
                    let _all = unpacks.acquire_many(threads).await;
                    // Only a panic of that thread would be an error, and removing is tried again at the next start.
                    let _ = tokio::task::spawn_blocking(move || drop(ready)).await;
                    return Err(error);
                }
            }
        }
        drop(missing);
        Ok(ready.into_iter().map(|layer| layer.expect("each was here or was fetched")).collect())
    }

    /// Fetches and unpacks one layer, each when it is its turn.
    async fn layer(
        &self,
        repository: &Repository,
        blob: &BlobDescriptor,
        diff_id: Digest,
        (downloads, unpacks): (&Semaphore, Arc<Semaphore>),
        report: Report<'_>,
    ) -> Result<UnpackedLayer, RegistryError> {
        let id = blob.digest.short();
        let report = |state| report(Progress::Layer { id: id.clone(), state });
        if downloads.available_permits() == 0 {
            report(LayerState::Waiting);
        }
        let permit = downloads.acquire().await.expect("never closed");
        // Or removing another image could take the blob between download and unpacking.
        let _pin = self.store.pin(blob.digest);
        let (store, slots) = (&self.store, &*self.slots);
        Download { store, slots, repository, blob, report: &report }.run().await?;
        drop(permit);
        report(LayerState::DownloadComplete);
        let permit = unpacks.acquire_owned().await.expect("never closed");
        let layer = unpack(store, blob, diff_id, &report, permit).await?;
        report(LayerState::PullComplete);
        Ok(layer)
    }

    /// Makes the image and its names visible. Returns whether that changed what the reference means.
    async fn register(
        &self,
        reference: &Reference,
        chosen: &Chosen,
        config: Vec<u8>,
        layers: Vec<UnpackedLayer>,
    ) -> Result<bool, RegistryError> {
        let store = self.store.clone();
        let id = ImageId::of_config(&config);
        let mut references = vec![reference.with_digest(chosen.digest)];
        // `name:tag@digest` names content; the tag only tells a reader where it was.
        if let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) {
            references.push(reference.with_tag(tag)?);
        }
        let image = NewImage {
            config,
            layers,
            manifest: Some(chosen.manifest.clone()),
            references,
            parent: None,
        };
        let name = reference.to_string();
        blocking(move || {
            let before = store.resolve(&name).ok();
            store.register_image(image)?;
            Ok(before != Some(id))
        })
        .await
    }
}

/// Unpacks a layer on a thread and passes its progress on.
async fn unpack(
    store: &Store,
    blob: &BlobDescriptor,
    diff_id: Digest,
    report: &(dyn Fn(LayerState) + Send + Sync),
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Result<UnpackedLayer, RegistryError> {
    let total = Some(blob.size);
    let (store, blob) = (store.clone(), blob.clone());
    let (sender, mut current) = tokio::sync::watch::channel(0);
    let work = blocking(move || {
        let layer = store.unpack_layer(&blob, &diff_id, &|current| {
            sender.send_replace(current);
        })?;
        // When the pull is dropped the thread goes on; then the layer goes, after it the permit.
        Ok((layer, permit))
    });
    tokio::pin!(work);
    report(LayerState::Extracting { current: 0, total });
    let mut every = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            layer = &mut work => return layer.map(|(layer, _)| layer),
            _ = every.tick() => {
                if current.has_changed().unwrap_or(false) {
                    report(LayerState::Extracting { current: *current.borrow_and_update(), total });
                }
            }
        }
    }
}

/// Follows indexes down to the one image for the platform.
async fn choose_image(
    repository: &Repository,
    reference: &Reference,
    wanted: &Platform,
    report: Report<'_>,
) -> Result<Chosen, RegistryError> {
    let Fetched { mut manifest, digest } = repository.manifest(reference).await?;
    // Only now: a failure before the first message becomes the status of the whole request.
    report(pulling(reference));
    for _ in 0..=MAX_INDEX_DEPTH {
        match Kind::parse(&manifest.bytes, &manifest.media_type, &reference.to_string())? {
            Kind::Image(image) => return Ok(Chosen { image, manifest, digest }),
            Kind::Index(entries) => {
                let entry = choose(&entries, wanted)?;
                manifest =
                    repository.manifest(&reference.with_digest(entry.digest)).await?.manifest;
            }
        }
    }
    Err(RegistryError::Unsupported {
        what: format!("the manifest list of {reference}"),
        message: format!("lists are nested deeper than {MAX_INDEX_DEPTH}"),
    })
}

/// Refuses an image that cannot run on the platform asked for. A config that names no platform passes.
fn check_platform(
    config: &ImageConfig,
    wanted: &Platform,
    reference: &Reference,
) -> Result<(), RegistryError> {
    let mut actual = platform(config);
    if actual.os.is_empty() {
        actual.os.clone_from(&wanted.os);
    }
    if actual.architecture.is_empty() || wanted.rank(&actual).is_some() {
        return Ok(());
    }
    Err(RegistryError::WrongPlatform {
        reference: reference.to_string(),
        wanted: wanted.to_string(),
        actual: super::error::printable(&actual.to_string()),
    })
}

fn platform(config: &ImageConfig) -> Platform {
    Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        variant: config.variant.clone(),
    }
}

fn pulling(reference: &Reference) -> Progress {
    let what = reference.digest().map(|digest| digest.to_string());
    let what = what.or_else(|| reference.tag().map(str::to_owned));
    Progress::Status { status: format!("Pulling from {}", reference.path()), id: what }
}

fn status(status: String) -> Progress {
    Progress::Status { status, id: None }
}
