//! Layers: archives to directories and back.

pub(crate) mod changes;
pub(crate) mod pack;
pub(crate) mod pipeline;
pub(crate) mod recipe;
pub(crate) mod tree;
pub(crate) mod unpack;
pub(crate) mod walk;
