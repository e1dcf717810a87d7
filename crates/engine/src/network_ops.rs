//! The operations on networks that [`Engine`] offers.

use std::collections::{BTreeMap, BTreeSet};

use ::network::{NetworkInfo, NetworkRecord, NetworkRequest};
use jiff::Timestamp;

use crate::container::EndpointSettings;
use crate::container::handle::Request;
use crate::event::{Event, EventType};
use crate::filter::Filters;
use crate::{Engine, Error, ErrorKind, Result};

impl Engine {
    /// Makes a network. Answers its id and what its maker should know. "Engine API NetworkCreate".
    ///
    /// # Errors
    /// Conflict for the name, Forbidden for a subnet of another network, InvalidParameter for the
    /// rest.
    pub async fn network_create(&self, request: NetworkRequest) -> Result<(String, Vec<String>)> {
        let engine = self.clone();
        self.detached(async move {
            let own = engine.clone();
            let (record, warnings) =
                crate::blocking(move || Ok(own.inner.network.create(&request)?)).await?;
            engine.inner.events.publish(event(&record, "create"));
            Ok((record.id, warnings))
        })
        .await
    }

    /// Removes a network, by name, id or the beginning of an id.
    ///
    /// # Errors
    /// NotFound; Forbidden when it is predefined or in use.
    pub async fn network_remove(&self, network: &str) -> Result<()> {
        let (engine, network) = (self.clone(), network.to_owned());
        self.detached(async move {
            let own = engine.clone();
            let record = crate::blocking(move || Ok(own.inner.network.remove(&network)?)).await?;
            engine.inner.events.publish(event(&record, "destroy"));
            Ok(())
        })
        .await
    }

    /// Looks a network up by name, id or the beginning of an id.
    ///
    /// # Errors
    /// NotFound; InvalidParameter when several ids begin so.
    pub async fn network_inspect(&self, network: &str) -> Result<NetworkInfo> {
        let (engine, network) = (self.clone(), network.to_owned());
        crate::blocking(move || Ok(engine.inner.network.inspect(&network)?)).await
    }

    /// Lists networks, by name. Filters: `dangling`, `driver`, `id`, `label`, `label!`, `name`,
    /// `scope`, `type`.
    ///
    /// # Errors
    /// InvalidParameter for other filters, and for values that make no sense.
    pub async fn network_list(&self, filters: Filters) -> Result<Vec<NetworkInfo>> {
        const NAMES: [&str; 8] =
            ["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];
        filters.check_names(&NAMES)?;
        let dangling = match filters.contains("dangling") {
            true => Some(filters.bool_or("dangling", false)?),
            false => None,
        };
        if filters.values("type").any(|kind| !matches!(kind, "builtin" | "custom")) {
            return Err(filters.bad_value("type").into());
        }
        let used = self.used_networks();
        let engine = self.clone();
        let networks = crate::blocking(move || Ok(engine.inner.network.list())).await?;
        let shown = networks.into_iter().filter(|info| {
            let record = &info.record;
            let kind = if record.is_predefined() { "builtin" } else { "custom" };
            filters.matches("name", &record.name)
                && filters.prefix("id", &record.id)
                && filters.exact("driver", &record.driver.to_string())
                && filters.exact("scope", record.scope())
                && filters.exact("type", kind)
                && filters.labels(&record.labels)
                && dangling.is_none_or(|wanted| wanted == is_dangling(info, &used))
        });
        Ok(shown.collect())
    }

    /// Removes networks that no container names, running or not. Filters: `label`, `label!`,
    /// `until`. Answers the names.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn network_prune(&self, filters: Filters) -> Result<Vec<String>> {
        filters.check_names(&["label", "label!", "until"])?;
        let until = crate::prune::until(&filters)?;
        let mut pruned = Vec::new();
        for info in self.network_list(Filters::new()).await? {
            let record = &info.record;
            let created = Timestamp::from_nanosecond(record.created_unix_nanos.into()).ok();
            let late = until.is_some_and(|until| created.is_none_or(|created| created >= until));
            // Asked again for each: a container may have come meanwhile.
            if late || !filters.labels(&record.labels) || !is_dangling(&info, &self.used_networks())
            {
                continue;
            }
            match self.network_remove(&record.id).await {
                Ok(()) => pruned.push(record.name.clone()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Forbidden) => {}
                // Managers alone remove what is the swarm's, and know who else is in it.
                Err(error) if record.is_swarm() => {
                    tracing::debug!(network = record.name, %error, "network not pruned");
                }
                Err(error) => {
                    tracing::warn!(network = record.name, %error, "network not pruned");
                }
            }
        }
        let event = Event::new(EventType::Network, "prune", "").with("reclaimed", "0");
        self.inner.events.publish(event);
        Ok(pruned)
    }

    /// Gives a container an endpoint in a network: at once if it runs, else when it starts.
    ///
    /// # Errors
    /// NotFound for either; Forbidden or InvalidParameter when they do not go together.
    pub async fn network_connect(
        &self,
        network: &str,
        container: &str,
        settings: EndpointSettings,
    ) -> Result<()> {
        // The network's absence is told first.
        let network = self.network_inspect(network).await?.record.id;
        let container = self.inner.registry.find(container)?;
        let settings = Box::new(settings);
        container.ask(|answer| Request::Connect { network, settings, answer }).await
    }

    /// Takes a container's endpoint in a network away. With `force` also one that is left of a
    /// network or a container that is gone.
    ///
    /// # Errors
    /// NotFound for either; Forbidden for the host's network.
    pub async fn network_disconnect(
        &self,
        network: &str,
        container: &str,
        force: bool,
    ) -> Result<()> {
        match self.inner.registry.find(container) {
            Ok(found) => {
                let network = network.to_owned();
                found.ask(|answer| Request::Disconnect { network, force, answer }).await
            }
            Err(error) if force => self.remove_stale_endpoint(network, container, error).await,
            Err(error) => Err(error),
        }
    }

    /// An endpoint whose container is not known any more, named by the container's id or name.
    async fn remove_stale_endpoint(
        &self,
        network: &str,
        container: &str,
        unknown: Error,
    ) -> Result<()> {
        let info = self.network_inspect(network).await?;
        let stale = info.endpoints.into_iter().find(|endpoint| {
            endpoint.container_name == container
                || (!container.is_empty() && endpoint.container_id.starts_with(container))
        });
        let Some(stale) = stale else { return Err(unknown) };
        let engine = self.clone();
        crate::blocking(move || {
            Ok(engine.inner.network.disconnect(&stale.container_id, &info.record.id)?)
        })
        .await
    }

    /// Names and ids of the networks that containers name.
    fn used_networks(&self) -> BTreeSet<String> {
        let containers = self.inner.registry.all();
        let networks: Vec<BTreeMap<String, EndpointSettings>> =
            containers.iter().map(|container| container.record().networks.clone()).collect();
        networks.into_iter().flatten().flat_map(|(name, e)| [name, e.network_id]).collect()
    }
}

/// Predefined networks are never dangling: a prune must not take them.
fn is_dangling(info: &NetworkInfo, used: &BTreeSet<String>) -> bool {
    let record = &info.record;
    !record.is_predefined()
        && info.endpoints.is_empty()
        && !used.contains(&record.name)
        && !used.contains(&record.id)
}

fn event(record: &NetworkRecord, action: &str) -> Event {
    Event::new(EventType::Network, action, record.id.clone())
        .with("name", record.name.clone())
        .with("type", record.driver.to_string())
}
