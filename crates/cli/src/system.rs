//! The engine itself: version, info, inspect of anything.

pub(crate) mod disk;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod version;
