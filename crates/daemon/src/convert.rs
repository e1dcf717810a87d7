//! Where wire types and engine types meet: one file per noun, pure functions.

mod archive;
pub(crate) mod build;
mod config;
pub(crate) mod container;
pub(crate) mod detach_keys;
mod event;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod logs;
pub(crate) mod network;
mod registry;
pub(crate) mod stats;
pub(crate) mod swarm;
pub(crate) mod system;
pub(crate) mod time;
mod volume;

pub(crate) use archive::{change, path_stat};
pub(crate) use config::engine_config;
pub(crate) use event::event;
pub(crate) use registry::registry_config;
pub(crate) use volume::volume;

use crate::params;

impl From<params::Filters> for engine::filter::Filters {
    fn from(filters: params::Filters) -> Self {
        let pairs = filters.0.into_iter();
        pairs
            .flat_map(|(name, values)| values.into_iter().map(move |v| (name.clone(), v)))
            .collect()
    }
}
