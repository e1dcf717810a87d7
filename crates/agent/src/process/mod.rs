//! The mesos containerizer: processes in cgroups, on the host's file system and network.
//!
//! ```text
//! <work_dir>/processes/<container>/spec.json   what to run; written first
//!                                  pid         the launcher and when it started
//!                                  exit        how it ended: {"code":0} or {"signal":9}
//!                                  enter-*     what a session runs, until it has begun
//! ```
//!
//! A container `C.D` is inside of `C`: its cgroup is below that of `C`, which limits all that are in
//! there together, unless they want limits of their own (`share_cgroups`).
//!
//! Each process has a launcher, this program again, which outlives the agent, waits, and writes the
//! exit down. The agent watches the launcher by a pidfd.

pub(crate) mod enter;
pub(crate) mod launcher;
mod life;
mod mark;

use cluster::agent::Launch;
use mesos_api::v1::container_info;

pub(crate) use enter::{Spec as EnterSpec, WORD as ENTER};
pub(crate) use launcher::replace;
pub(crate) use life::{Processes, entrances, program};

/// Whether a container is this containerizer's to run; one with an image is not.
pub(crate) fn supports(launch: &Launch) -> bool {
    let container = match &launch.task {
        Some(task) => task.container.as_deref(),
        None => launch.executor.container.as_deref(),
    };
    container.is_none_or(|c| {
        c.r#type() == container_info::Type::Mesos
            && c.mesos.as_ref().is_none_or(|mesos| mesos.image.is_none())
    })
}
