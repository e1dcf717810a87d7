//! Finished steps in the configuration of an image: of the image that they made, or of one that is
//! nothing but a cache. Registries keep both like any other image, and its layers are the steps' layers.
//!
//! A layer is what its digest says; that a key means that layer is the image's word.

use std::sync::Arc;

use images::{
    Digest, ImageConfig, ImageDetail, ImageId, NewImage, RootFs, StepRecord, Store, UnpackedLayer,
};
use serde::{Deserialize, Serialize};

use crate::transfer::{is_key, steps};
use crate::{Builder, Error, Result};

/// Where the steps are in the configuration. Other engines pass over it.
const FIELD: &str = "teu.build.steps";

#[derive(Serialize, Deserialize)]
struct Step {
    key: String,
    #[serde(flatten)]
    record: StepRecord,
}

/// Writes a configuration that tells of steps, the same for the same steps.
///
/// # Errors
/// Never in practice; the types have no value that JSON lacks.
pub(crate) fn with_steps<'a>(
    config: &ImageConfig,
    steps: impl Iterator<Item = (&'a String, &'a StepRecord)>,
) -> Result<Vec<u8>> {
    let steps: Vec<Step> = steps
        .map(|(key, record)| {
            // How often and when they were used here is nobody's affair.
            let last_used_at = record.created_at;
            let record = StepRecord { last_used_at, uses: 0, ..record.clone() };
            Step { key: key.clone(), record }
        })
        .collect();
    let fail = |error: serde_json::Error| Error::Invalid(format!("image configuration: {error}"));
    let mut value = serde_json::to_value(config).map_err(fail)?;
    value[FIELD] = serde_json::to_value(steps).map_err(fail)?;
    serde_json::to_vec(&value).map_err(fail)
}

/// Reads the steps that an image tells of and has the layers of; whatever else is there counts for
/// nothing.
fn steps_of(image: &ImageDetail) -> Vec<(String, StepRecord)> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "teu.build.steps", default)]
        steps: Vec<Step>,
    }
    let Ok(told) = serde_json::from_slice::<Told>(&image.config_bytes) else { return Vec::new() };
    let steps = told.steps.into_iter().map(|step| (step.key, step.record));
    let has = |layer: &Option<Digest>| layer.is_none_or(|layer| image.layers.contains(&layer));
    steps.filter(|(key, record)| is_key(key) && has(&record.layer)).collect()
}

/// Takes the steps of an image that are not here into the cache.
///
/// # Errors
/// What the store says.
pub(crate) fn import(images: &Store, image: &ImageDetail) -> Result<()> {
    let mut fresh = Vec::new();
    let mut held = Vec::new();
    for (key, record) in steps_of(image) {
        if images.step(&key)?.is_some() {
            continue;
        }
        let layer = record.layer.as_ref().map(|digest| images.existing_layer(digest));
        let layer = layer.transpose()?.flatten();
        // The image is just being removed: nothing is taken from it.
        if layer.is_some() == record.layer.is_some() {
            held.push(layer);
            fresh.push((key, record));
        }
    }
    images.put_steps(&fresh)?;
    tracing::debug!(image = %image.id, steps = fresh.len(), "steps taken from an image");
    Ok(())
}

impl Builder {
    /// Makes an image that is a cache: these steps, and the layers that they made.
    ///
    /// # Errors
    /// For what is no key, and when the store cannot be written.
    pub async fn cache_image(&self, keys: Vec<String>) -> Result<ImageId> {
        let images = self.inner.engine.images().clone();
        crate::blocking(move || {
            let found = steps(&images, keys)?;
            let mut diff_ids: Vec<Digest> = Vec::new();
            for layer in found.iter().filter_map(|(_, _, layer)| layer.as_ref()) {
                if !diff_ids.contains(&layer.diff_id()) {
                    diff_ids.push(layer.diff_id());
                }
            }
            let layers = diff_ids.iter().map(|diff_id| {
                images.existing_layer(diff_id)?.ok_or(images::Error::NoSuchContent(*diff_id))
            });
            let layers = layers.collect::<Result<Vec<UnpackedLayer>, _>>()?;
            let config = ImageConfig {
                architecture: images::host_architecture().to_owned(),
                os: "linux".to_owned(),
                rootfs: RootFs { diff_ids, ..RootFs::default() },
                ..ImageConfig::default()
            };
            let records: Vec<(&String, &StepRecord)> = found
                .iter()
                .map(|(key, record, _): &(_, _, Option<Arc<_>>)| (key, record))
                .collect();
            let config = with_steps(&config, records.into_iter())?;
            let image =
                NewImage { config, layers, manifest: None, references: Vec::new(), parent: None };
            Ok(images.register_image(image)?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_their_layers_are_passed_over() {
        let key = |letter: char| letter.to_string().repeat(64);
        let record = |layer: Option<Digest>| StepRecord {
            layer,
            size: 0,
            created_at: 7,
            last_used_at: 9,
            uses: 3,
            parent: None,
            description: String::new(),
            note: serde_json::Value::Null,
        };
        let (here, gone) = (Digest::of(b"here"), Digest::of(b"gone"));
        let steps = [
            (key('a'), record(Some(here))),
            (key('b'), record(Some(gone))),
            (key('c'), record(None)),
            ("../d".to_owned(), record(None)),
        ];
        let config = ImageConfig::default();
        let config_bytes = with_steps(&config, steps.iter().map(|(k, r)| (k, r))).unwrap();
        let image = |config_bytes: Vec<u8>| ImageDetail {
            id: ImageId::of_config(&config_bytes),
            config_bytes,
            config: ImageConfig::default(),
            parent: None,
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            size: 0,
            last_tag_time: None,
            layers: vec![here],
            layer_dirs: Vec::new(),
        };
        let found = steps_of(&image(config_bytes));
        let keys: Vec<&String> = found.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [&key('a'), &key('c')]);
        assert_eq!((found[0].1.uses, found[0].1.last_used_at), (0, 7));
        for other in ["{}", r#"{"teu.build.steps": 1}"#, r#"{"teu.build.steps": [{}]}"#] {
            assert!(steps_of(&image(other.into())).is_empty(), "{other}");
        }
    }
}
