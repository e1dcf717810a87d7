//! The host as its swarm sees it, and events of the swarm as the engine tells them.

use std::net::{IpAddr, Ipv4Addr};

use engine::Engine;
use engine::event::{Event as EngineEvent, EventType};
use linux::netlink::{Family, Route};
use swarm::{AttachRequest, Event, Host, NodeDescription, Subnet, Swarm};

use super::fabric;

/// The host of this daemon.
#[derive(Debug)]
pub(crate) struct DaemonHost {
    engine: Engine,
    swarm: Swarm,
    /// Without the routes, which change.
    description: NodeDescription,
}

impl DaemonHost {
    /// Asks the engine what this host is.
    ///
    /// # Errors
    /// If the engine cannot tell.
    pub(crate) async fn new(engine: Engine, swarm: Swarm) -> engine::Result<Self> {
        let info = engine.info().await?;
        let labels = info.labels.iter().map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            (key.to_owned(), value.to_owned())
        });
        let networks = network::Driver::ALL.map(|driver| ("Network", driver.to_string()));
        let logs = engine::container::LOG_DRIVERS.iter().map(|name| ("Log", (*name).to_owned()));
        let volumes = [("Volume", "local".to_owned())];
        let plugins = logs.chain(networks).chain(volumes);
        let description = NodeDescription {
            hostname: info.host_name,
            architecture: info.architecture,
            os: "linux".to_owned(),
            nano_cpus: i64::from(info.cpus) * 1_000_000_000,
            memory_bytes: i64::try_from(info.memory_bytes).unwrap_or(i64::MAX),
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            engine_labels: labels.collect(),
            plugins: plugins.map(|(kind, name)| (kind.to_owned(), name)).collect(),
            routes: Vec::new(),
        };
        Ok(Self { engine, swarm, description })
    }
}

impl Host for DaemonHost {
    fn describe(&self) -> NodeDescription {
        let routes = routes().unwrap_or_else(|error| {
            // A network may then be given a subnet that this host has a route into; attaching says so.
            tracing::warn!(%error, "the swarm is not told of this host's routes");
            Vec::new()
        });
        NodeDescription { routes, ..self.description.clone() }
    }

    fn attachments(&self) -> Vec<(AttachRequest, Ipv4Addr)> {
        let attachments = self.engine.network().overlay_attachments().into_iter();
        attachments
            .map(|(request, attached)| (fabric::attach_request(&request), attached.ipv4))
            .collect()
    }

    fn networks_changed(&self, network_ids: &[String]) -> Vec<String> {
        let failed = network_ids.iter().filter(|id| {
            let peers = self.swarm.peers(id).into_iter().map(fabric::peer).collect();
            let changed = self.engine.network().overlay_changed(id, peers);
            if let Err(error) = &changed {
                tracing::error!(network = id, %error, "a network is not as the swarm says");
            }
            changed.is_err()
        });
        failed.cloned().collect()
    }

    fn happened(&self, event: Event) {
        let mut told =
            EngineEvent::new(EventType::Node, event.action, event.node_id).with("name", event.name);
        for (name, new, old) in event.changes {
            told = told.with(format!("{name}.new"), new).with(format!("{name}.old"), old);
        }
        self.engine.publish(told);
    }
}

/// What the host has routes into, without the default one.
fn routes() -> std::io::Result<Vec<Subnet>> {
    let mut routes: Vec<Subnet> = Route::open()?
        .routes(Family::V4)?
        .into_iter()
        .filter(|route| !route.is_local && route.prefix > 0)
        .filter_map(|route| match route.destination {
            IpAddr::V4(address) => Subnet::new(address, route.prefix),
            IpAddr::V6(_) => None,
        })
        .collect();
    routes.sort();
    routes.dedup();
    Ok(routes)
}
