//! Which images an archive holds: Docker's `manifest.json`, else an OCI `index.json`.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::contents::Contents;
use crate::registry::Platform;
use crate::registry::manifest::{Descriptor, Manifest as Parsed};
use crate::{Digest, Error, Manifest, Reference, Result};

/// Indexes within indexes.
const MAX_DEPTH: usize = 5;
const MAX_IMAGES: usize = 1000;

/// An image to be loaded, as paths within the archive.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) config: String,
    /// Lowest first.
    pub(super) layers: Vec<String>,
    pub(super) references: Vec<Reference>,
    /// The manifest as it came; none in Docker's layout.
    pub(super) manifest: Option<Manifest>,
}

/// One item of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerItem {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<Descriptor>,
}

pub(super) fn plan(contents: &Contents) -> Result<Vec<Planned>> {
    if let Some(bytes) = contents.find_json("manifest.json")? {
        return docker(bytes);
    }
    if let Some(bytes) = contents.find_json("index.json")? {
        return oci(contents, bytes);
    }
    Err(Error::InvalidArchive(
        "it has neither manifest.json nor index.json: not an archive of images; \
         use import for the filesystem of a container"
            .to_owned(),
    ))
}

fn malformed(file: &str, problem: impl std::fmt::Display) -> Error {
    Error::InvalidManifest(format!("{file}: {problem}"))
}

fn docker(bytes: &[u8]) -> Result<Vec<Planned>> {
    let items: Vec<DockerItem> =
        serde_json::from_slice(bytes).map_err(|source| malformed("manifest.json", source))?;
    if items.len() > MAX_IMAGES {
        return Err(malformed("manifest.json", "too many images"));
    }
    let planned = items.into_iter().map(|item| {
        let tags = item.repo_tags.unwrap_or_default();
        let references = tags.iter().map(|tag| Ok(Reference::parse(tag)?.or_latest()));
        Ok(Planned {
            config: item.config,
            layers: item.layers.unwrap_or_default(),
            references: references.collect::<Result<_>>()?,
            manifest: None,
        })
    });
    planned.collect()
}

fn oci(contents: &Contents, bytes: &[u8]) -> Result<Vec<Planned>> {
    let index: OciIndex =
        serde_json::from_slice(bytes).map_err(|source| malformed("index.json", source))?;
    // The same image may be listed once per name.
    let mut images: BTreeMap<Digest, (Planned, usize)> = BTreeMap::new();
    for (order, descriptor) in index.manifests.iter().take(MAX_IMAGES).enumerate() {
        let name = name(descriptor);
        for planned in find(contents, descriptor, MAX_DEPTH, &mut HashSet::new())? {
            let digest = planned
                .manifest
                .as_ref()
                .map_or(descriptor.digest, |manifest| Digest::of(&manifest.bytes));
            let (planned, _) = images.entry(digest).or_insert((planned, order));
            planned.references.extend(name.clone());
        }
    }
    if images.is_empty() {
        return Err(malformed("index.json", "it names no image that is in the archive"));
    }
    let mut images: Vec<_> = images.into_values().collect();
    images.sort_by_key(|(_, order)| *order);
    Ok(images.into_iter().map(|(planned, _)| planned).collect())
}

/// Returns the name an index gives to an entry: the full one if there is one.
fn name(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    if let Some(full) = annotation("io.containerd.image.name") {
        return Reference::parse(full).ok().map(Reference::or_latest);
    }
    // The specification leaves open whether this is a tag or a whole name; a lone tag names nothing.
    let name = annotation("org.opencontainers.image.ref.name")?;
    let is_whole = name.contains([':', '/']);
    Reference::parse(name).ok().filter(|_| is_whole).map(Reference::or_latest)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Finds the image of an index entry; of several platforms the one that suits this host best, or all if
/// none does, so that the error can name them.
fn find(
    contents: &Contents,
    descriptor: &Descriptor,
    depth: usize,
    seen: &mut HashSet<Digest>,
) -> Result<Vec<Planned>> {
    // Another platform's manifest that was left out, or an attestation.
    let Some(bytes) = contents.find_json(&blob_path(&descriptor.digest))? else {
        return Ok(Vec::new());
    };
    if depth == 0 || !seen.insert(descriptor.digest) {
        return Err(malformed("index.json", "indexes are nested in a cycle or too deeply"));
    }
    let shown = descriptor.digest.to_string();
    let parsed = Parsed::parse(bytes, &descriptor.media_type, &shown);
    match parsed.map_err(|error| Error::InvalidManifest(error.to_string()))? {
        Parsed::Image(image) => Ok(vec![Planned {
            config: blob_path(&image.config.digest),
            layers: image.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
            references: Vec::new(),
            manifest: Some(Manifest {
                media_type: descriptor.media_type.clone(),
                bytes: bytes.to_vec(),
            }),
        }]),
        Parsed::Index(entries) => {
            let host = Platform::host();
            let rank = |entry: &Descriptor| host.rank(entry.platform.as_ref()?);
            let is_attestation = |entry: &&Descriptor| {
                entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
            };
            let mut entries: Vec<&Descriptor> =
                entries.iter().filter(|entry| !is_attestation(entry)).take(MAX_IMAGES).collect();
            entries.sort_by_key(|entry| rank(entry).unwrap_or(usize::MAX));
            let mut found = Vec::new();
            for entry in entries {
                let images = find(contents, entry, depth - 1, seen)?;
                if !images.is_empty() && rank(entry).is_some() {
                    return Ok(images);
                }
                found.extend(images);
            }
            Ok(found)
        }
    }
}
