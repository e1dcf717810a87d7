//! The docker containerizer: one container per task or executor, driven through the Engine API.
//!
//! ```text
//! fetch URIs, pull -> create, start -> follow logs, wait -> inspect -> (acknowledged) remove
//!      ^ can be cancelled              ^ an agent that restarts comes in here
//! ```
//!
//! Nothing polls: the exit comes from the engine's `wait`, output from its `logs`, both taken up
//! again when the engine itself restarts. A container is ours by its labels.

mod dns;
mod engine;
mod exec;
mod life;
mod logs;
mod plan;
mod unified;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cluster::agent::Launch;
use mesos_api::v1::{Resource, container_info};
use tokio::sync::watch;

pub(crate) use dns::DefaultDns;
pub(crate) use engine::{Engine, ExecState, Session};
pub(crate) use exec::signal_exec;
pub(crate) use life::{Docker, How};
pub(crate) use plan::{SANDBOX, amounts, container_name, scalar, variables};
pub(crate) use unified::{container_of, group_refusal, image_of, network_of, sandbox_path};
pub(crate) use usage::statistics;

/// Labels of our containers.
pub(crate) const LABEL_WORK_DIR: &str = "teu.agent.work_dir";
pub(crate) const LABEL_CONTAINER: &str = "teu.agent.container";
pub(crate) const LABEL_FRAMEWORK: &str = "teu.agent.framework";
pub(crate) const LABEL_EXECUTOR: &str = "teu.agent.executor";

/// One container to look after.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) launch: Launch,
    /// What it may use, which can change while it runs.
    pub(crate) resources: watch::Receiver<Vec<Resource>>,
    pub(crate) sandbox: PathBuf,
    /// The sandbox of the container that it is inside of.
    pub(crate) outer: Option<PathBuf>,
    /// Where the sandbox is reached if its own path has a colon.
    pub(crate) link: PathBuf,
    pub(crate) user: Option<crate::identity::User>,
    /// Variables of the agent.
    pub(crate) environment: BTreeMap<String, String>,
    /// Directories of persistent volumes.
    pub(crate) persistent: Vec<(PathBuf, mesos_api::v1::Volume)>,
}

/// Whether a container is this containerizer's to run: of its type, or any with an image.
pub(crate) fn supports(launch: &Launch) -> bool {
    unified::container_of(launch).is_some_and(|container| {
        container.r#type() == container_info::Type::Docker || unified::has_image(container)
    })
}
