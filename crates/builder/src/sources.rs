//! Images that are named as sources of finished steps.
//!
//! An image says in its history what made each of its layers. A step is taken from one whose layers and
//! history so far are those of the build, and whose next entry is the very step. That holds only for
//! steps of which the history says everything: a RUN with mounts is done anyway. COPY is done as well,
//! for its history does not tell the files, and the image is followed further if the layer is the same.
//! What an image tells about its steps besides is taken first: see [`crate::cache_image`].

use engine::Engine;
use images::{Digest, History, ImageConfig};

use crate::Result;
use crate::state::State;

/// The images' configurations.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<ImageConfig>);

/// What an image has of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) layer: Option<Digest>,
    /// Seconds since the epoch.
    pub(crate) created_at: i64,
}

impl Sources {
    /// Reads the images. The names that are no image here are given back: as with a registry's that
    /// was never pulled, a build goes on without them.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn open(engine: &Engine, names: &[String]) -> Result<(Self, Vec<String>)> {
        let (images, names) = (engine.images().clone(), names.to_vec());
        crate::blocking(move || {
            let (mut configs, mut missing) = (Vec::new(), Vec::new());
            for name in names {
                match images.resolve(&name).and_then(|id| images.inspect(&id)) {
                    Ok(detail) => {
                        crate::cache_image::import(&images, &detail)?;
                        configs.push(detail.config);
                    }
                    Err(images::Error::NoSuchImage(_)) => missing.push(name),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((Self(configs), missing))
        })
        .await
    }

    /// Finds the step after `state` that was made by `created_by`.
    pub(crate) fn find(&self, state: &State, created_by: &str) -> Option<Finished> {
        self.0.iter().find_map(|image| next(image, state, created_by))
    }
}

fn next(image: &ImageConfig, state: &State, created_by: &str) -> Option<Finished> {
    let own = &state.config;
    let platform = |config: &ImageConfig| (config.os.clone(), config.architecture.clone());
    if platform(image) != platform(own) {
        return None;
    }
    let diff_ids = &image.rootfs.diff_ids;
    // A history that does not tell of each layer tells nothing about any.
    if with_layer(&image.history) != diff_ids.len() {
        return None;
    }
    let (before, rest) = image.history.split_at_checked(own.history.len())?;
    let same = |(a, b): (&History, &History)| {
        a.created_by == b.created_by && a.empty_layer == b.empty_layer
    };
    let layers = with_layer(before);
    if !before.iter().zip(&own.history).all(same)
        || diff_ids.get(..layers) != Some(own.rootfs.diff_ids.as_slice())
    {
        return None;
    }
    let entry = rest.first().filter(|entry| entry.created_by == created_by)?;
    let created: jiff::Timestamp = entry.created.as_deref()?.parse().ok()?;
    let layer = match entry.empty_layer {
        true => None,
        false => Some(*diff_ids.get(layers)?),
    };
    Some(Finished { layer, created_at: created.as_second() })
}

fn with_layer(history: &[History]) -> usize {
    history.iter().filter(|entry| !entry.empty_layer).count()
}

#[cfg(test)]
mod tests;
