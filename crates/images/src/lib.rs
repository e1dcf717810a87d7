//! Images: references, content, layers, and everything done with them on one host.
//!
//! The calls block; an async caller uses a blocking thread. The store keeps
//! ```text
//! <data-root>/
//!   images.redb             names, configs, manifests, layer records: the truth
//!   content/blobs/sha256/   compressed layers as they were pulled or loaded
//!   content/ingest/         downloads under way, resumable
//!   layers/<cache id>/diff  one unpacked layer each, shared by all images that have it
//!   rw/<container id>/      writable layers: upper, work, layers
//! ```
//! Nothing is visible before its digest is verified. Removal takes metadata first, bytes later; what
//! metadata does not name is garbage and goes at the next open.

pub mod archive;
mod commit;
mod compression;
mod config;
mod digest;
mod error;
mod glob;
mod import;
mod layer;
mod load;
mod progress;
mod reference;
pub mod registry;
mod save;
mod store;
mod types;

pub use compression::{Decompressed, decompressed};
pub use config::*;
pub use digest::{Digest, Hasher, ImageId};
pub use error::{Error, ErrorKind, Result};
pub use progress::{LayerState, Progress};
pub use reference::Reference;
pub use store::{Fault, Ingest, StepRecord, Store, UnpackedLayer};
pub use types::*;
