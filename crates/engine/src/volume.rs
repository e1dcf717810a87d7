//! Volumes: directories that outlive containers, and the mounts that containers ask for.
//!
//! ```text
//! <data-root>/volumes/
//!   NAME/volume.json   the record, written once; what the volume is
//!   NAME/_data         the content
//!   NAME/populating    exists while image content is copied in; a copy that was cut off is redone
//!   .new-*, .gone-*    creations and removals that were cut off; deleted at open
//! ```
//! A creation and a removal are one rename each. Who uses a volume is not stored here: it follows
//! from the containers' records, so it cannot be wrong after a crash.

mod copy_up;
mod driver;
mod mount;
mod operations;
mod prepare;
mod store;
#[cfg(test)]
mod tests;
mod tmpfs;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;

pub use copy_up::copy_up;
pub use mount::{MountPlan, VolumeRequest, plan_mounts};
pub use operations::{CreatedMounts, Pruned, VolumeRemoveOptions};
pub use prepare::{PreparedMount, prepare_mounts};
pub use store::VolumeStore;
pub use tmpfs::tmpfs_options;

/// The label Docker's clients know anonymous volumes by.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// A volume. The only driver is `local`, the only scope `local`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name; 64 hexadecimal digits when nobody named it.
    pub name: String,
    /// Where its content is.
    pub mountpoint: PathBuf,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver: `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether nobody named it.
    pub anonymous: bool,
}

impl Volume {
    /// The driver's name.
    pub const DRIVER: &str = "local";
}
