//! Manifests and indexes as registries send them: parsing with limits, and choosing by platform.
//!
//! Source of truth: OCI image specification (manifest.md, image-index.md, descriptor.md) and Docker's image manifest v2
//! schema 2. Everything here judges bytes from strangers; nothing here does IO.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{RegistryError, printable};
use super::platform::Platform;
use crate::{Digest, MAX_CONFIG_BYTES};

/// The largest manifest or index that is read.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// More layers than any overlay mount can stack.
const MAX_LAYERS: usize = 500;
/// Entries of one index that are looked at.
const MAX_ENTRIES: usize = 2000;

pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What we ask a registry for.
pub(crate) const ACCEPTED: [&str; 4] = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];

/// Points at content by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The manifest of one image.
#[derive(Debug, Clone)]
pub(crate) struct ImageManifest {
    pub(crate) config: Descriptor,
    /// Lowest first.
    pub(crate) layers: Vec<Descriptor>,
}

/// What a registry keeps under a tag or digest.
#[derive(Debug, Clone)]
pub(crate) enum Manifest {
    Image(ImageManifest),
    /// One manifest per platform.
    Index(Vec<Descriptor>),
}

/// Any of the forms; which one it is shows by the media type and the fields present.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Parses a manifest; `content_type` is what the registry or the index said it is, possibly empty.
    ///
    /// # Errors
    /// `Unsupported` for schema 1, foreign layers and things that are no images; `Invalid` for the rest.
    pub(crate) fn parse(
        bytes: &[u8],
        content_type: &str,
        reference: &str,
    ) -> Result<Self, RegistryError> {
        let invalid = |message: String| RegistryError::Invalid {
            what: "manifest",
            reference: reference.to_owned(),
            message: printable(&message),
        };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        if raw.schema_version == 1
            || raw.fs_layers.is_some()
            || content_type.contains("docker.distribution.manifest.v1+")
        {
            return Err(schema1(reference));
        }
        if raw.schema_version != 2 {
            return Err(invalid(format!("schemaVersion {} is unknown", raw.schema_version)));
        }
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        if ACCEPTED.contains(&content_type)
            && !raw.media_type.is_empty()
            && raw.media_type != content_type
        {
            return Err(invalid(format!(
                "it says it is {} and was sent as {content_type}",
                raw.media_type
            )));
        }
        // The digest covers only the bytes: what could be read as both forms is refused.
        let kind = if raw.media_type.is_empty() { content_type } else { &raw.media_type };
        match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) if !matches!(kind, DOCKER_MANIFEST | OCI_MANIFEST) => {
                index(manifests, reference).map(Self::Index)
            }
            (None, Some(config), Some(layers)) if !matches!(kind, DOCKER_LIST | OCI_INDEX) => {
                let manifest = ImageManifest { config, layers };
                manifest.check(reference)?;
                Ok(Self::Image(manifest))
            }
            _ => Err(invalid(format!("its fields do not fit the media type {kind:?}"))),
        }
    }
}

fn schema1(reference: &str) -> RegistryError {
    RegistryError::Unsupported {
        what: format!("the image format of {reference}"),
        message: "manifest schema 1 was retired; push the image again with a current tool"
            .to_owned(),
    }
}

fn index(manifests: Vec<Descriptor>, reference: &str) -> Result<Vec<Descriptor>, RegistryError> {
    if manifests.len() > MAX_ENTRIES {
        return Err(RegistryError::TooLarge {
            what: format!("the manifest list of {reference} with {} entries", manifests.len()),
            limit: MAX_MANIFEST,
        });
    }
    Ok(manifests)
}

impl ImageManifest {
    fn check(&self, reference: &str) -> Result<(), RegistryError> {
        let unsupported = |what: String, message: &str| RegistryError::Unsupported {
            what,
            message: message.to_owned(),
        };
        if self.layers.len() > MAX_LAYERS {
            let what = format!("an image with {} layers", self.layers.len());
            return Err(unsupported(
                what,
                &format!("{reference} cannot be mounted, at most {MAX_LAYERS} can"),
            ));
        }
        let kind = self.config.media_type.as_str();
        if !matches!(kind, DOCKER_CONFIG | OCI_CONFIG | "" | "application/octet-stream") {
            let message = format!("{reference} is an artifact, not a container image");
            return Err(unsupported(format!("media type {:?}", printable(kind)), &message));
        }
        if self.config.size > MAX_CONFIG_BYTES as u64 {
            let what = format!("the config of {reference}");
            return Err(RegistryError::TooLarge { what, limit: MAX_CONFIG_BYTES as u64 });
        }
        for layer in &self.layers {
            let kind = layer.media_type.as_str();
            if kind.contains(".foreign.") || kind.contains(".nondistributable.") {
                let what = format!("layer {} of {reference}", layer.digest.short());
                return Err(unsupported(
                    what,
                    "it is a foreign layer, to be had only from its owner, not from the registry",
                ));
            }
            if !is_layer(kind) {
                let what = format!("layer {} of {reference}", layer.digest.short());
                return Err(unsupported(
                    what,
                    &format!("media type {:?} is unknown", printable(kind)),
                ));
            }
        }
        Ok(())
    }
}

fn is_layer(media_type: &str) -> bool {
    matches!(
        media_type,
        DOCKER_LAYER_GZIP
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.v1.tar+zstd"
    )
}

/// Chooses the manifest that fits `wanted` best; among equals the first. An entry that names no platform comes last.
///
/// # Errors
/// `NoMatchingManifest`, which names what there is.
pub(crate) fn choose<'a>(
    entries: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, RegistryError> {
    const UNNAMED: usize = usize::MAX;
    let images = || entries.iter().filter(|entry| is_image(entry));
    let rank = |entry: &Descriptor| match &entry.platform {
        Some(platform) => wanted.rank(platform),
        None => Some(UNNAMED),
    };
    images()
        .filter_map(|entry| Some((rank(entry)?, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
        .ok_or_else(|| {
            let mut available: Vec<String> = images()
                .filter_map(|entry| Some(printable(&entry.platform.as_ref()?.to_string())))
                .collect();
            available.sort();
            available.dedup();
            available.truncate(20);
            RegistryError::NoMatchingManifest { platform: wanted.to_string(), available }
        })
}

/// Attestations sit in an index beside the images they speak of.
fn is_image(entry: &Descriptor) -> bool {
    let attests = entry
        .annotations
        .get("vnd.docker.reference.type")
        .is_some_and(|kind| kind == "attestation-manifest");
    let unknown =
        entry.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown");
    let manifest = matches!(
        entry.media_type.as_str(),
        DOCKER_MANIFEST | OCI_MANIFEST | DOCKER_LIST | OCI_INDEX | ""
    );
    manifest && !attests && !unknown
}

/// Returns the platforms that an index offers.
pub(crate) fn platforms(entries: &[Descriptor]) -> Vec<Platform> {
    entries
        .iter()
        .filter(|entry| is_image(entry))
        .filter_map(|entry| entry.platform.clone())
        .collect()
}

#[cfg(test)]
mod tests;
