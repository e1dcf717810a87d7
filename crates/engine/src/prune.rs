//! Removal of what nobody uses any more. Images are in [`crate::image_ops`].

use crate::filter::Filters;
use crate::volume::Pruned;
use crate::{Engine, Result};

impl Engine {
    /// Removes containers that do not run. Filters: `until`, `label`, `label!`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn container_prune(&self, filters: Filters) -> Result<Pruned> {
        let _ = filters;
        crate::pending()
    }

    /// Removes anonymous volumes that no container mounts; with the filter `all=true` named ones
    /// too. Filters: `all`, `label`, `label!`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn volume_prune(&self, filters: Filters) -> Result<Pruned> {
        let _ = filters;
        crate::pending()
    }
}
