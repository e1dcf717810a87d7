//! Making an image of one filesystem archive.

use std::io::Read;

use crate::store::layers::Keep;
use crate::store::{Store, now};
use crate::{
    History, ImageConfig, ImageId, ImportRequest, NewImage, Result, RootFs, host_architecture,
};

impl Store {
    /// Makes an image of one filesystem archive, compressed or not.
    ///
    /// # Errors
    /// Those of unpacking; nothing stays behind.
    pub fn import(&self, archive: impl Read + Send, request: &ImportRequest) -> Result<ImageId> {
        let layer = self.unpack_stream(archive, Keep::Recipe)?;
        let created = Some(now());
        let platform = request.platform.as_deref().unwrap_or_default();
        let mut parts = platform.splitn(3, '/').filter(|part| !part.is_empty());
        let config = ImageConfig {
            os: parts.next().unwrap_or("linux").to_owned(),
            architecture: parts.next().unwrap_or(host_architecture()).to_owned(),
            variant: parts.next().unwrap_or_default().to_owned(),
            created: created.clone(),
            comment: request.message.clone(),
            config: request.config.clone(),
            history: vec![History {
                created,
                created_by: request.created_by.clone(),
                comment: request.message.clone(),
                ..History::default()
            }],
            rootfs: RootFs { diff_ids: vec![layer.diff_id()], ..RootFs::default() },
            ..ImageConfig::default()
        };
        self.register_image(NewImage {
            config: config.to_bytes()?,
            layers: vec![layer],
            manifest: None,
            references: request.tag.clone().into_iter().collect(),
            parent: None,
        })
    }
}
