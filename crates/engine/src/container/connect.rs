//! Networks that come to a container and leave it, running or not.
//!
//! The record says what the container is connected to. It is written before the kernel is changed,
//! so that what a crash leaves half done is completed by recovery: an endpoint that the record wants
//! is made, one that it does not name is removed.

use ::network::{Driver, NetworkInfo};
use runtime::shim::protocol::{Empty, Request as ShimRequest};

use super::mode::NetworkMode;
use super::owner::Owner;
use super::policy::{self, Action};
use super::record::{ContainerRecord, EndpointSettings};
use super::{links, name_files, network, publish};
use crate::{Engine, Error, ErrorKind, Result};

const SHARED: &str = "container sharing network namespace with another container or host cannot be \
                      connected to any other network";
const NOT_HOST: &str = "cannot connect container to host network - container must be created in \
                        host network mode";
const LEAVES_HOST: &str =
    "container cannot be disconnected from host network or connected to host network";
const PRIVATE: &str = "container cannot be connected to multiple networks with one of the networks \
                       in private (none) mode";

impl Owner {
    pub(super) async fn connect(
        &mut self,
        network: String,
        mut settings: EndpointSettings,
    ) -> Result<()> {
        policy::decide(&self.record, Action::Update)?;
        let (engine, record) = (self.engine.clone(), self.record.clone());
        let (name, settings) = crate::blocking(move || {
            let info = engine.inner.network.inspect(&network)?;
            check_connection(&engine, &record, &info)?;
            check_settings(&info, &settings)?;
            settings.network_id.clone_from(&info.record.id);
            Ok((info.record.name, settings))
        })
        .await?;
        let before = self.record.networks.clone();
        self.record.networks.insert(name.clone(), settings);
        if let Err(error) = self.persist().await {
            self.record.networks = before;
            return Err(error);
        }
        self.engine.step("connect:record");
        if self.record.state.status.has_process() {
            let joined = self.join(&name).await;
            self.engine.step("connect:endpoint");
            if let Err(error) = joined {
                self.record.networks = before;
                self.persist().await?;
                return Err(error);
            }
            self.persist().await?;
        }
        self.told(&name, "connect");
        Ok(())
    }

    async fn join(&mut self, name: &str) -> Result<()> {
        let (engine, record, paths) =
            (self.engine.clone(), self.record.clone(), std::sync::Arc::clone(&self.paths));
        let own_name = name.to_owned();
        let joined = crate::blocking(move || {
            let settings = record.networks.get(&own_name).cloned().unwrap_or_default();
            network::join(&engine, &record, &own_name, &settings)?;
            let mut networks = record.networks.clone();
            network::refresh(&engine, record.id.as_str(), &mut networks);
            let updated = name_files::update(&engine, &record, &paths, &record.networks, &networks);
            links::tell_linked(&engine, &record, &networks);
            let first = updated.inspect_err(|_| leave(&engine, &record, &own_name))?;
            Ok((networks, first))
        });
        let (networks, first) = joined.await?;
        self.record.networks = networks;
        self.hold_ports().await;
        if first {
            let served = self.shim().request::<Empty>(&ShimRequest::ServeNames).await;
            if let Err(error) = served {
                // The network works; an older shim knows no names.
                tracing::warn!(container_id = %self.record.id, %error, "names do not resolve");
            }
        }
        Ok(())
    }

    /// Where nothing is published there is nothing to change.
    async fn hold_ports(&self) {
        let config = &self.record.host_config;
        if config.publish_all_ports || !config.port_bindings.is_empty() {
            network::hold_ports(&self.engine, &self.record.id, &self.shim()).await;
        }
    }

    pub(super) async fn disconnect(&mut self, network: String, force: bool) -> Result<()> {
        policy::decide(&self.record, Action::Update)?;
        let (engine, asked) = (self.engine.clone(), network.clone());
        let found =
            crate::blocking(move || Ok(engine.inner.network.inspect(&asked).map_err(Error::from)))
                .await?;
        let runs = self.record.state.status.has_process();
        let name = match found {
            Ok(info) if info.record.driver == Driver::Host => {
                return Err(Error::Forbidden(LEAVES_HOST.to_owned()));
            }
            Ok(info) => info.record.name,
            // A network that is gone: its name may be in the record still.
            Err(error) if error.kind() == ErrorKind::NotFound && (force || !runs) => network,
            Err(error) => return Err(error),
        };
        let before = self.record.networks.clone();
        if self.record.networks.remove(&name).is_none() {
            return Err(Error::from(::network::Error::NotConnected {
                container_id: self.record.id.to_string(),
                network: name,
            }));
        }
        if let Err(error) = self.persist().await {
            self.record.networks = before;
            return Err(error);
        }
        self.engine.step("disconnect:record");
        if runs {
            let (engine, record, paths) =
                (self.engine.clone(), self.record.clone(), std::sync::Arc::clone(&self.paths));
            let (own_name, own_before) = (name.clone(), before.clone());
            let left = crate::blocking(move || {
                let left = engine.inner.network.disconnect(record.id.as_str(), &own_name);
                let mut networks = record.networks.clone();
                network::refresh(&engine, record.id.as_str(), &mut networks);
                let named = name_files::update(&engine, &record, &paths, &own_before, &networks);
                match left {
                    // Only the record said so.
                    Ok(()) | Err(::network::Error::NotConnected { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                named.map(|_| networks)
            });
            let left = left.await;
            self.engine.step("disconnect:endpoint");
            if let Ok(networks) = &left {
                self.record.networks.clone_from(networks);
            }
            // Before the answer: a port that it no longer publishes may be wanted at once.
            self.hold_ports().await;
            self.persist().await?;
            left?;
        }
        let event = publish::network(&self.record.id, &name, before.get(&name), "disconnect");
        self.engine.inner.events.publish(event);
        Ok(())
    }

    fn told(&self, name: &str, action: &str) {
        let event = publish::network(&self.record.id, name, self.record.networks.get(name), action);
        self.engine.inner.events.publish(event);
    }
}

fn leave(engine: &Engine, record: &ContainerRecord, name: &str) {
    if let Err(error) = engine.inner.network.disconnect(record.id.as_str(), name) {
        tracing::warn!(container_id = %record.id, network = name, %error, "connection not undone");
    }
}

/// Whether the container may be in this network besides those it is in.
fn check_connection(engine: &Engine, record: &ContainerRecord, info: &NetworkInfo) -> Result<()> {
    let forbidden = |text: &str| Err(Error::Forbidden(text.to_owned()));
    let mode = &record.host_config.network_mode;
    if info.record.driver == Driver::Host && *mode != NetworkMode::Host {
        return forbidden(NOT_HOST);
    }
    if matches!(mode, NetworkMode::Container(_) | NetworkMode::Host) {
        return Err(Error::InvalidParameter(SHARED.to_owned()));
    }
    let name = &info.record.name;
    if record.networks.contains_key(name) {
        return Err(Error::from(::network::Error::AlreadyConnected {
            container: record.name.clone(),
            network: name.clone(),
        }));
    }
    let is_private = |name: &String| {
        engine.inner.network.inspect(name).is_ok_and(|info| info.record.driver == Driver::Null)
    };
    let private = info.record.driver == Driver::Null;
    if (private && !record.networks.is_empty()) || record.networks.keys().any(is_private) {
        return Err(Error::InvalidParameter(PRIVATE.to_owned()));
    }
    Ok(())
}

/// Whether an endpoint can be as it is asked for in this network.
pub(super) fn check_settings(info: &NetworkInfo, settings: &EndpointSettings) -> Result<()> {
    let invalid = |text: &str| Err(Error::InvalidParameter(text.to_owned()));
    if !info.record.has_names() {
        if !settings.aliases.is_empty() {
            return invalid("network-scoped aliases are only supported for user-defined networks");
        }
        if settings.ipv4_address.is_some() || settings.ipv6_address.is_some() {
            return invalid("user-specified IP address is supported on user-defined networks only");
        }
        if !settings.links.is_empty() {
            return invalid("links within a network are only supported for user-defined networks");
        }
    }
    for address in [settings.ipv4_address, settings.ipv6_address].into_iter().flatten() {
        if !info.record.ipam.iter().any(|ipam| ipam.subnet.contains(address)) {
            return Err(Error::InvalidParameter(format!(
                "invalid endpoint settings:\nno configured subnet contains IP address {address}"
            )));
        }
    }
    Ok(::network::check_endpoint(
        settings.mac_address.as_deref(),
        &settings.link_local_ips,
        &settings.driver_opts,
    )?)
}
