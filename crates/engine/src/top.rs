//! The processes of a container, as ps(1) would list them.

use crate::{Engine, Result};

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The columns' titles.
    pub titles: Vec<String>,
    /// One row for each process, as many fields as titles.
    pub processes: Vec<Vec<String>>,
}

impl Engine {
    /// Lists a container's processes. "Engine API ContainerTop"; empty `ps_args` is `-ef`.
    ///
    /// # Errors
    /// Conflict when it does not run, InvalidParameter for options or columns ps does not have.
    pub async fn container_top(&self, name: &str, ps_args: &str) -> Result<Top> {
        let _ = (name, ps_args);
        crate::pending()
    }
}
