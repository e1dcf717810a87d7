//! Where a container's files are.

use std::path::Path;

use super::record::ContainerId;
use super::request::ContainerPaths;
use crate::Config;

impl ContainerPaths {
    /// Derives every path from the two roots and the id.
    pub(crate) fn new(config: &Config, id: &ContainerId) -> Self {
        let directory = directories(&config.data_root).join(id.as_str());
        let bundle = bundles(&config.exec_root).join(id.as_str());
        Self {
            log: directory.join(format!("{id}-json.log")),
            resolv_conf: directory.join("resolv.conf"),
            hosts: directory.join("hosts"),
            hostname: directory.join("hostname"),
            exit: directory.join(runtime::shim::protocol::EXIT_FILE),
            shim_socket: bundle.join(runtime::shim::protocol::SOCKET_FILE),
            directory,
            bundle,
        }
    }
}

/// The directory of durable container directories.
pub(crate) fn directories(data_root: &Path) -> std::path::PathBuf {
    data_root.join("containers")
}

/// The directory of bundles.
pub(crate) fn bundles(exec_root: &Path) -> std::path::PathBuf {
    exec_root.join("containers")
}
