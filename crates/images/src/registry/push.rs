//! Push: from an image in the store to a name in a registry.
//!
//! A pulled image keeps its manifest, so that it has the same digest everywhere; its layers are taken from the store or
//! from where the registry already has them. For any other image a manifest is made: Docker's schema 2 where its media
//! types suffice, which every registry takes, else OCI's (zstd).

use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;

use super::error::RegistryError;
use super::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Manifest as Kind, OCI_CONFIG, OCI_MANIFEST,
};
use super::repository::{Repository, promised_digest};
use super::session::{Access, Mirrors, hosts};
use super::upload::{Content, Mount, Upload};
use super::{AuthConfig, Descriptor, Registry, Report, blocking};
use crate::store::Pin;
use crate::{
    BlobDescriptor, Digest, ImageDetail, ImageId, LayerState, ListFilter, Manifest, Progress,
    Reference,
};

/// Repositories that a mount is tried from, per layer.
const MOUNT_TRIES: usize = 3;

/// How to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    pub auth: AuthConfig,
    /// Every local tag of the repository.
    pub all_tags: bool,
}

/// One tag that a push has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    pub reference: Reference,
    pub id: ImageId,
    pub digest: Digest,
    pub size: u64,
}

/// One layer on its way.
struct Layer {
    diff_id: Digest,
    blob: BlobDescriptor,
    /// Repositories of the same registry that should have it.
    mounts: Vec<String>,
    /// Whether our store has the blob.
    stored: bool,
    /// Keeps it there.
    _pin: Pin,
}

/// A manifest of our own making. The order of the fields is the order in the JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewManifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Registry {
    /// Pushes an image under its name, or all local tags of a repository. Without a tag `latest` is meant.
    ///
    /// # Errors
    /// Engine API ImagePush's: no such image or tag, a digest in the name, denied, registry not reachable.
    pub async fn push(
        &self,
        reference: &Reference,
        options: &PushOptions,
        report: Report<'_>,
    ) -> Result<Vec<PushedImage>, RegistryError> {
        if reference.digest().is_some() {
            let message = "cannot push a digest reference: give a tag".to_owned();
            return Err(RegistryError::InvalidRequest { message });
        }
        let references = self.local_tags(reference, options).await?;
        report(status(format!("The push refers to repository [{}]", reference.repository())));
        let hosts = hosts(&self.config, reference.domain(), Mirrors::Never).await?;
        let host = hosts.first().expect("the registry itself is always there");
        let repository =
            Repository::connect(&self.config, host, reference, &options.auth, Access::Push).await?;
        let mut pushed = Vec::new();
        for reference in references {
            pushed.push(self.push_one(&repository, &reference, report).await?);
        }
        Ok(pushed)
    }

    /// Returns the names to push; each means an image here.
    async fn local_tags(
        &self,
        reference: &Reference,
        options: &PushOptions,
    ) -> Result<Vec<Reference>, RegistryError> {
        let (store, reference, all) = (self.store.clone(), reference.clone(), options.all_tags);
        let name = reference.familiar_name();
        let found = blocking(move || {
            if !all {
                let reference = reference.or_latest();
                let found = store.resolve(&reference.to_string());
                return match found {
                    Ok(_) => Ok(vec![reference]),
                    Err(error) if error.kind() == crate::ErrorKind::NotFound => {
                        Err(crate::Error::NotFound(format!(
                            "An image does not exist locally with the tag: {}",
                            reference.familiar_name()
                        )))
                    }
                    Err(error) => Err(error),
                };
            }
            let mut names = Vec::new();
            for image in store.list(&ListFilter { all: true, ..ListFilter::default() })? {
                for tag in &image.repo_tags {
                    let tagged = Reference::parse(tag)?;
                    if tagged.repository() == reference.repository() {
                        names.push(tagged);
                    }
                }
            }
            names.sort();
            Ok(names)
        })
        .await?;
        if found.is_empty() {
            let message = format!("An image does not exist locally with the tag: {name}");
            return Err(crate::Error::NotFound(message).into());
        }
        Ok(found)
    }

    async fn push_one(
        &self,
        repository: &Repository,
        reference: &Reference,
        report: Report<'_>,
    ) -> Result<PushedImage, RegistryError> {
        let (store, name) = (self.store.clone(), reference.to_string());
        let detail = blocking(move || store.inspect(&store.resolve(&name)?)).await?;
        for diff_id in detail.layers.iter().rev() {
            report(Progress::Layer { id: diff_id.short(), state: LayerState::Preparing });
        }
        let mounts = self.mounts(&detail, reference).await?;
        let manifest = match self.original(&detail).await? {
            Some((manifest, blobs)) => {
                let layers = self.plan(&detail, blobs, &mounts).await?;
                match self.push_layers(repository, &layers, report).await? {
                    Complete::Yes => Some(manifest),
                    Complete::No => None,
                }
            }
            None => None,
        };
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => self.push_new(repository, &detail, &mounts, report).await?,
        };
        let config =
            Upload::new(repository, detail.id.digest(), detail.config_bytes.len() as u64, &|_| ());
        if !config.exists().await? {
            config.run(&Content::Bytes(detail.config_bytes.clone()), None).await?;
        }
        let digest = put_manifest(repository, reference, &manifest).await?;
        let pushed = PushedImage {
            reference: reference.clone(),
            id: detail.id,
            digest,
            size: manifest.bytes.len() as u64,
        };
        let (store, name) = (self.store.clone(), reference.with_digest(digest));
        blocking(move || store.add_repo_digest(&detail.id, &name, &manifest)).await?;
        let tag = reference.tag().unwrap_or("latest").to_owned();
        report(status(format!("{tag}: digest: {digest} size: {}", pushed.size)));
        report(Progress::Pushed { tag, digest, size: pushed.size });
        Ok(pushed)
    }

    /// Returns the manifest that the image came with, and its layers' blobs.
    async fn original(
        &self,
        detail: &ImageDetail,
    ) -> Result<Option<(Manifest, Vec<BlobDescriptor>)>, RegistryError> {
        let (store, id, count) = (self.store.clone(), detail.id, detail.layers.len());
        blocking(move || {
            for digest in store.manifests_of(&id)? {
                let Some(manifest) = store.manifest(&digest)? else { continue };
                let parsed =
                    Kind::parse(&manifest.bytes, &manifest.media_type, &digest.to_string());
                let Ok(Kind::Image(image)) = parsed else { continue };
                if image.config.digest == id.digest() && image.layers.len() == count {
                    let blobs = image.layers.into_iter().map(|layer| BlobDescriptor {
                        digest: layer.digest,
                        size: layer.size,
                        media_type: layer.media_type,
                    });
                    return Ok(Some((manifest, blobs.collect())));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Makes blobs of the layers, pushes them, and returns a manifest of them.
    async fn push_new(
        &self,
        repository: &Repository,
        detail: &ImageDetail,
        mounts: &[Vec<String>],
        report: Report<'_>,
    ) -> Result<Manifest, RegistryError> {
        let mut blobs = Vec::new();
        for diff_id in &detail.layers {
            let (store, diff_id) = (self.store.clone(), *diff_id);
            blobs.push(blocking(move || store.layer_blob(&diff_id)).await?);
        }
        let manifest = new_manifest(detail, &blobs)?;
        let layers = self.plan(detail, blobs, mounts).await?;
        match self.push_layers(repository, &layers, report).await? {
            Complete::Yes => Ok(manifest),
            Complete::No => Err(crate::Error::DamagedImage {
                image: detail.id,
                problem: "a layer just compressed is gone".to_owned(),
            }
            .into()),
        }
    }

    async fn plan(
        &self,
        detail: &ImageDetail,
        blobs: Vec<BlobDescriptor>,
        mounts: &[Vec<String>],
    ) -> Result<Vec<Layer>, RegistryError> {
        let (store, diff_ids, mounts) =
            (self.store.clone(), detail.layers.clone(), mounts.to_vec());
        blocking(move || {
            let layers = diff_ids.into_iter().zip(blobs).zip(mounts);
            Ok(layers
                .map(|((diff_id, blob), mounts)| {
                    let pin = store.pin(blob.digest);
                    let stored = store.blob_exists(&blob.digest);
                    Layer { diff_id, blob, mounts, stored, _pin: pin }
                })
                .collect())
        })
        .await
    }

    /// Brings all layers to the registry, the topmost first. `Complete::No` if it lacks one that we do not have either.
    async fn push_layers(
        &self,
        repository: &Repository,
        layers: &[Layer],
        report: Report<'_>,
    ) -> Result<Complete, RegistryError> {
        // Collected first: mapped inside the stream the future would not be known to be `Send`.
        let uploads = layers.iter().rev().map(|layer| self.push_layer(repository, layer, report));
        let uploads: Vec<_> = uploads.collect();
        let done: Vec<Complete> = stream::iter(uploads)
            .buffer_unordered(self.config.max_concurrent_uploads.max(1))
            .try_collect()
            .await?;
        Ok(if done.contains(&Complete::No) { Complete::No } else { Complete::Yes })
    }

    async fn push_layer(
        &self,
        repository: &Repository,
        layer: &Layer,
        report: Report<'_>,
    ) -> Result<Complete, RegistryError> {
        let report = |state| report(Progress::Layer { id: layer.diff_id.short(), state });
        let upload = Upload::new(repository, layer.blob.digest, layer.blob.size, &report);
        if upload.exists().await? {
            report(LayerState::LayerAlreadyExists);
            return Ok(Complete::Yes);
        }
        let mut started = None;
        for from in &layer.mounts {
            match upload.mount(from).await {
                Mount::Mounted => {
                    report(LayerState::Mounted { from: from.clone() });
                    return Ok(Complete::Yes);
                }
                // Goes unused if a later mount succeeds; registries purge such uploads.
                Mount::Upload(url) => started = Some(url),
                Mount::Refused => {}
            }
        }
        if !layer.stored {
            return Ok(Complete::No);
        }
        upload.run(&Content::Stored(self.store.clone()), started).await?;
        report(LayerState::Pushed);
        Ok(Complete::Yes)
    }

    /// Returns, per layer, repositories of the same registry that images with this layer came from or went to.
    async fn mounts(
        &self,
        detail: &ImageDetail,
        target: &Reference,
    ) -> Result<Vec<Vec<String>>, RegistryError> {
        let (store, layers, target) = (self.store.clone(), detail.layers.clone(), target.clone());
        blocking(move || {
            let mut mounts = vec![Vec::new(); layers.len()];
            for image in store.list(&ListFilter { all: true, ..ListFilter::default() })? {
                let paths: Vec<String> = image
                    .repo_digests
                    .iter()
                    .filter_map(|name| Reference::parse(name).ok())
                    .filter(|name| name.domain() == target.domain() && name.path() != target.path())
                    .map(|name| name.path().to_owned())
                    .collect();
                if paths.is_empty() {
                    continue;
                }
                // An image removed meanwhile mounts nothing.
                let Ok(other) = store.inspect(&image.id) else { continue };
                for (layer, mounts) in layers.iter().zip(&mut mounts) {
                    if other.layers.contains(layer) {
                        mounts.extend(paths.iter().cloned());
                    }
                }
            }
            for mounts in &mut mounts {
                mounts.sort();
                mounts.dedup();
                mounts.truncate(MOUNT_TRIES);
            }
            Ok(mounts)
        })
        .await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complete {
    Yes,
    No,
}

/// Makes a manifest of an image's config and its layers' blobs.
fn new_manifest(detail: &ImageDetail, blobs: &[BlobDescriptor]) -> Result<Manifest, RegistryError> {
    let gzip = blobs.iter().all(|blob| blob.media_type.ends_with("gzip"));
    let (media_type, config_type) =
        if gzip { (DOCKER_MANIFEST, DOCKER_CONFIG) } else { (OCI_MANIFEST, OCI_CONFIG) };
    let descriptor = |media_type: &str, digest, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        urls: Vec::new(),
        annotations: Default::default(),
        platform: None,
    };
    let layer_type = |blob: &BlobDescriptor| match () {
        () if gzip => DOCKER_LAYER_GZIP,
        () if blob.media_type.ends_with("gzip") => "application/vnd.oci.image.layer.v1.tar+gzip",
        () if blob.media_type.ends_with("zstd") => "application/vnd.oci.image.layer.v1.tar+zstd",
        () => "application/vnd.oci.image.layer.v1.tar",
    };
    let manifest = NewManifest {
        schema_version: 2,
        media_type,
        config: descriptor(config_type, detail.id.digest(), detail.config_bytes.len() as u64),
        layers: blobs
            .iter()
            .map(|blob| descriptor(layer_type(blob), blob.digest, blob.size))
            .collect(),
    };
    let bytes = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| crate::Error::Internal(format!("manifest: {error}")))?;
    Ok(Manifest { media_type: media_type.to_owned(), bytes })
}

/// Sets the tag. The registry checks that everything the manifest names is there.
async fn put_manifest(
    repository: &Repository,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Digest, RegistryError> {
    let digest = Digest::of(&manifest.bytes);
    let url = repository.url(&format!("manifests/{}", reference.tag().unwrap_or("latest")));
    let session = &repository.session;
    let media_type = match manifest.media_type.as_str() {
        "" => OCI_MANIFEST,
        media_type => media_type,
    };
    let mut backoff = session.backoff();
    loop {
        let result = session
            .send(Method::PUT, &url, &repository.scope, |request| {
                request.header(CONTENT_TYPE, media_type).body(manifest.bytes.clone())
            })
            .await;
        let error = match result {
            Ok(response) if response.status().is_success() => {
                return match promised_digest(response.headers()) {
                    Some(actual) if actual != digest => Err(RegistryError::DigestMismatch {
                        what: format!(
                            "the manifest that {} has stored for {reference}",
                            session.registry
                        ),
                        expected: digest,
                        actual,
                    }),
                    _ => Ok(digest),
                };
            }
            Ok(response) => session.refusal("PUT", response).await,
            Err(error) => error,
        };
        match backoff.next(None).filter(|_| error.is_temporary()) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(repository.push_error(error)),
        }
    }
}

fn status(status: String) -> Progress {
    Progress::Status { status, id: None }
}
