//! Where wire types and engine types meet: one file per noun, pure functions.

mod config;
pub(crate) mod container;

pub(crate) use config::engine_config;
