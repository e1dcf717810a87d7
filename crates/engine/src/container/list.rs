//! Listing: filters, order, sizes.

use std::sync::Arc;

use super::handle::Container;
use super::links;
use super::record::ContainerRecord;
use super::request::{ContainerSize, ContainerSnapshot, ListFilter};
use super::state::Status;
use crate::spec::SecurityOptions;
use crate::{Engine, Error, Result};

/// Lists containers, newest first.
pub(super) async fn list(engine: &Engine, filter: ListFilter) -> Result<Vec<ContainerSnapshot>> {
    let mut containers: Vec<(Container, Arc<ContainerRecord>)> = engine
        .inner
        .registry
        .all()
        .into_iter()
        .map(|container| {
            let record = container.record();
            (container, record)
        })
        .collect();
    containers
        .sort_by(|(_, a), (_, b)| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
    let matcher = Matcher::new(engine, &filter)?;
    let all = filter.all
        || filter.limit.is_some()
        || !filter.status.is_empty()
        || !filter.exited.is_empty()
        || !filter.before.is_empty()
        || !filter.since.is_empty();
    let mut names = links::names(&engine.inner.registry);
    let mut listed = Vec::new();
    for (container, record) in containers {
        let alive = record.state.status.has_process() || record.state.status == Status::Restarting;
        if (all || alive) && matcher.accepts(&record) {
            let linked_names = names.remove(&container.id).unwrap_or_default();
            let snapshot = snapshot(engine, &container, record);
            listed.push(ContainerSnapshot { linked_names, ..snapshot });
        }
        if filter.limit.is_some_and(|limit| listed.len() >= limit) {
            break;
        }
    }
    if filter.size {
        for snapshot in &mut listed {
            snapshot.size = Some(size(engine, &snapshot.record).await?);
        }
    }
    Ok(listed)
}

/// Puts together what is known of a container now.
pub(super) fn snapshot(
    engine: &Engine,
    container: &Container,
    record: Arc<ContainerRecord>,
) -> ContainerSnapshot {
    ContainerSnapshot {
        links: links::shown(&engine.inner.registry, &record),
        linked_names: Vec::new(),
        apparmor_profile: apparmor_profile(engine, &record),
        exec_ids: engine.inner.execs.of_container(&record.id),
        record,
        paths: container.paths.as_ref().clone(),
        size: None,
    }
}

/// The name of its AppArmor profile.
fn apparmor_profile(engine: &Engine, record: &ContainerRecord) -> String {
    let host_config = &record.host_config;
    // What was accepted can be read again.
    SecurityOptions::parse(host_config).map_or_else(
        |_| String::new(),
        |options| engine.inner.host.apparmor.shown(&options, host_config.privileged),
    )
}

async fn size(engine: &Engine, record: &ContainerRecord) -> Result<ContainerSize> {
    let (engine, id, image) = (engine.clone(), record.id.clone(), record.image_id.clone());
    crate::blocking(move || {
        let rw_bytes = engine.inner.images.rw_size(id.as_str()).unwrap_or(0);
        let image = engine.inner.images.resolve(&image).ok();
        let detail = image.and_then(|image| engine.inner.images.inspect(&image).ok());
        let image_bytes = detail.map_or(0, |detail| detail.size);
        Ok(ContainerSize { rw_bytes, root_fs_bytes: rw_bytes + image_bytes })
    })
    .await
}

/// A filter whose names are resolved.
struct Matcher<'a> {
    filter: &'a ListFilter,
    /// Image ids that `ancestor` names.
    ancestors: Vec<String>,
    before: Option<jiff::Timestamp>,
    since: Option<jiff::Timestamp>,
    names: Vec<regex::Regex>,
}

impl<'a> Matcher<'a> {
    fn new(engine: &Engine, filter: &'a ListFilter) -> Result<Self> {
        let created = |name: &String| -> Result<jiff::Timestamp> {
            Ok(engine.inner.registry.find(name)?.record().created_at)
        };
        let times = |names: &[String]| names.iter().map(created).collect::<Result<Vec<_>>>();
        let ancestors = filter.ancestor.iter().filter_map(|name| {
            // One that is not here has no descendants here.
            engine.inner.images.resolve(name).ok().map(|id| id.to_string())
        });
        Ok(Self {
            filter,
            ancestors: ancestors.collect(),
            before: times(&filter.before)?.into_iter().min(),
            since: times(&filter.since)?.into_iter().max(),
            names: filter.name.iter().map(|text| pattern(text)).collect::<Result<_>>()?,
        })
    }

    fn accepts(&self, record: &ContainerRecord) -> bool {
        let filter = self.filter;
        let any = |list_is_empty: bool, matches: bool| list_is_empty || matches;
        any(filter.id.is_empty(), filter.id.iter().any(|id| record.id.as_str().starts_with(id)))
            && any(self.names.is_empty(), self.names.iter().any(|name| named(record, name)))
            && filter.label.iter().all(|label| has_label(record, label))
            && any(filter.status.is_empty(), filter.status.contains(&record.state.status))
            && any(
                filter.exited.is_empty(),
                filter.exited.contains(&record.state.exit_code)
                    && record.state.finished_at.is_some()
                    && !record.state.status.has_process(),
            )
            && any(
                filter.ancestor.is_empty(),
                self.ancestors.contains(&record.image_id)
                    || filter.ancestor.contains(&record.config.image),
            )
            && self.before.is_none_or(|time| record.created_at < time)
            && self.since.is_none_or(|time| record.created_at > time)
            && any(filter.volume.is_empty(), filter.volume.iter().any(|v| has_mount(record, v)))
            && any(filter.network.is_empty(), filter.network.iter().any(|n| has_network(record, n)))
            && any(filter.publish.is_empty(), filter.publish.iter().any(|p| publishes(record, p)))
            && any(filter.expose.is_empty(), filter.expose.iter().any(|p| exposes(record, p)))
            && any(
                filter.health.is_empty(),
                filter.health.contains(&record.state.health.as_ref().map(|health| health.status)),
            )
            && any(
                filter.isolation.is_empty(),
                filter.isolation.iter().any(|isolation| isolation == "default"),
            )
            && filter.is_task != Some(true)
    }
}

fn pattern(text: &str) -> Result<regex::Regex> {
    regex::Regex::new(text)
        .map_err(|_| Error::InvalidParameter(format!("invalid filter 'name={text}'")))
}

/// A pattern may be written with the slash that Docker shows, or without.
fn named(record: &ContainerRecord, pattern: &regex::Regex) -> bool {
    pattern.is_match(&record.name) || pattern.is_match(&format!("/{}", record.name))
}

fn has_label(record: &ContainerRecord, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => record.config.labels.get(key).is_some_and(|own| own == value),
        None => record.config.labels.contains_key(label),
    }
}

fn has_mount(record: &ContainerRecord, wanted: &str) -> bool {
    record.mounts.iter().any(|mount| {
        mount.name == wanted
            || mount.destination == wanted
            || (mount.name.is_empty() && mount.source.to_str() == Some(wanted))
    })
}

fn has_network(record: &ContainerRecord, wanted: &str) -> bool {
    record.networks.iter().any(|(name, endpoint)| {
        name == wanted || !wanted.is_empty() && endpoint.network_id.starts_with(wanted)
    })
}

fn publishes(record: &ContainerRecord, wanted: &str) -> bool {
    let live = record.networks.values().filter_map(|endpoint| endpoint.live.as_ref());
    let mut open = live.flat_map(|live| &live.ports);
    ports(wanted).is_some_and(|(range, protocol)| {
        open.any(|port| range.contains(&port.host_port) && port.container_port.protocol == protocol)
    })
}

fn exposes(record: &ContainerRecord, wanted: &str) -> bool {
    let config = &record.config.exposed_ports;
    let mut exposed = config.iter().chain(record.host_config.port_bindings.keys());
    ports(wanted).is_some_and(|(range, protocol)| {
        exposed.any(|port| range.contains(&port.port) && port.protocol == protocol)
    })
}

fn ports(text: &str) -> Option<(std::ops::RangeInclusive<u16>, super::Protocol)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    Some((first.parse().ok()?..=last.parse().ok()?, protocol.parse().ok()?))
}
