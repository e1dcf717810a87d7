//! Making an image of what a container changed.

use crate::layer::{changes, pack};
use crate::store::layers::UnpackedLayer;
use crate::store::{Store, now};
use crate::{Change, CommitRequest, Error, History, ImageConfig, ImageId, NewImage, Result};

impl Store {
    /// Makes an image of a container's changes: the base image's layers and one more, or none if
    /// nothing was changed.
    ///
    /// # Errors
    /// `NoSuchRwLayer`, `NoSuchImage` when the base is gone, `DiskFull`, `Io`; nothing stays behind.
    pub fn commit(&self, request: &CommitRequest) -> Result<ImageId> {
        let base = self.base_config(request)?;
        let upper = self.paths().rw.join(&request.container_id).join("upper");
        let staged = self.stage()?;
        let packed = pack::pack(&upper, &staged.dir, None)?;
        let created = Some(now());
        let mut config = ImageConfig {
            author: request.author.clone(),
            comment: request.comment.clone(),
            config: request.config.clone(),
            container: request.container_id.clone(),
            created: created.clone(),
            docker_version: request.docker_version.clone(),
            ..base
        };
        config.history.push(History {
            created,
            created_by: request.created_by.clone(),
            author: request.author.clone(),
            comment: request.comment.clone(),
            empty_layer: packed.is_empty,
        });
        let mut layers = Vec::new();
        for diff_id in &config.rootfs.diff_ids {
            let layer = self.existing_layer(diff_id)?;
            layers.push(layer.ok_or(Error::NoSuchContent(*diff_id))?);
        }
        if !packed.is_empty {
            config.rootfs.diff_ids.push(packed.diff_id);
            layers.push(UnpackedLayer {
                diff_id: packed.diff_id,
                size: packed.size,
                archive_size: packed.archive_size,
                blob: None,
                staged: Some(staged),
                _pins: vec![self.pin(packed.diff_id)],
            });
        }
        self.register_image(NewImage {
            config: config.to_bytes()?,
            layers,
            manifest: None,
            references: request.tag.clone().into_iter().collect(),
            parent: Some(request.base),
        })
    }

    /// Makes a layer of what a container changed; `None` if it changed nothing. `newest` bounds the
    /// times of files, so that the same changes made later give the same layer.
    ///
    /// # Errors
    /// `NoSuchRwLayer`, `DiskFull`, `Io`; nothing stays behind.
    pub fn commit_layer(
        &self,
        container_id: &str,
        newest: Option<i64>,
    ) -> Result<Option<UnpackedLayer>> {
        self.rw_diff_ids(container_id)?;
        let upper = self.paths().rw.join(container_id).join("upper");
        let staged = self.stage()?;
        let packed = pack::pack(&upper, &staged.dir, newest)?;
        Ok((!packed.is_empty).then(|| UnpackedLayer {
            diff_id: packed.diff_id,
            size: packed.size,
            archive_size: packed.archive_size,
            blob: None,
            staged: Some(staged),
            _pins: vec![self.pin(packed.diff_id)],
        }))
    }

    /// Returns the base image's config. An image removed by force meanwhile leaves its layers to the
    /// container; its history is then gone.
    fn base_config(&self, request: &CommitRequest) -> Result<ImageConfig> {
        let diff_ids = self.rw_diff_ids(&request.container_id)?;
        match self.inspect(&request.base) {
            Ok(detail) if detail.layers == diff_ids => Ok(detail.config),
            Ok(_) => Err(Error::Conflict(format!(
                "container {} was not made from image {}",
                request.container_id, request.base
            ))),
            Err(Error::NoSuchImage(_)) => {
                let mut config = ImageConfig {
                    architecture: crate::host_architecture().to_owned(),
                    os: "linux".to_owned(),
                    ..ImageConfig::default()
                };
                config.rootfs.diff_ids = diff_ids;
                Ok(config)
            }
            Err(error) => Err(error),
        }
    }

    /// Lists what a container changed, sorted by path.
    ///
    /// # Errors
    /// `NoSuchRwLayer`, `Io`.
    pub fn rw_changes(&self, container_id: &str) -> Result<Vec<Change>> {
        let rw = self.rw_layer(container_id)?;
        changes::changes(&rw.upper, &rw.lowers)
    }

    /// Returns the bytes of content in a container's writable layer.
    ///
    /// # Errors
    /// `NoSuchRwLayer`, `Io`.
    pub fn rw_size(&self, container_id: &str) -> Result<u64> {
        self.rw_diff_ids(container_id)?;
        changes::size(&self.paths().rw.join(container_id).join("upper"))
    }
}

#[cfg(test)]
mod tests;
