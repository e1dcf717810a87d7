//! List filters in, rows out.

use docker_api::models::exact;
use engine::container::{ContainerSnapshot, HealthStatus, ListFilter};
use jiff::Timestamp;

use super::inspect::mount;
use super::{network, status};
use crate::error::{ApiError, ApiResult};
use crate::params::{Filters, Params};

const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// Reads `all`, `limit`, `size` and `filters`.
pub(crate) fn list_filter(params: &Params) -> ApiResult<ListFilter> {
    let filters = params.filters()?.only(&FILTERS)?;
    let list = |name: &str| filters.values(name).to_vec();
    let limit = params.number::<i64>("limit")?.filter(|limit| *limit > 0);
    Ok(ListFilter {
        all: params.bool("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        size: params.bool("size"),
        id: list("id"),
        name: list("name"),
        label: list("label"),
        status: filters
            .values("status")
            .iter()
            .map(|status| {
                status.parse().map_err(|_| {
                    ApiError::invalid(format!("invalid filter 'status={}'", status.escape_debug()))
                })
            })
            .collect::<ApiResult<_>>()?,
        exited: filters
            .values("exited")
            .iter()
            .map(|code| {
                code.parse().map_err(|_| {
                    ApiError::invalid(format!("invalid filter 'exited={}'", code.escape_debug()))
                })
            })
            .collect::<ApiResult<_>>()?,
        ancestor: list("ancestor"),
        before: list("before"),
        since: list("since"),
        volume: list("volume"),
        network: list("network"),
        publish: list("publish"),
        expose: list("expose"),
        health: health(&filters)?,
        isolation: list("isolation"),
        is_task: is_task(&filters)?,
    })
}

fn health(filters: &Filters) -> ApiResult<Vec<Option<HealthStatus>>> {
    let parse = |value: &String| match value.as_str() {
        "starting" => Ok(Some(HealthStatus::Starting)),
        "healthy" => Ok(Some(HealthStatus::Healthy)),
        "unhealthy" => Ok(Some(HealthStatus::Unhealthy)),
        "none" => Ok(None),
        other => {
            Err(ApiError::invalid(format!("invalid filter 'health={}'", other.escape_debug())))
        }
    };
    filters.values("health").iter().map(parse).collect()
}

fn is_task(filters: &Filters) -> ApiResult<Option<bool>> {
    match filters.values("is-task") {
        [] => Ok(None),
        [value] if ["1", "true"].contains(&value.as_str()) => Ok(Some(true)),
        [value] if ["0", "false"].contains(&value.as_str()) => Ok(Some(false)),
        _ => Err(ApiError::invalid("invalid filter 'is-task'")),
    }
}

/// Converts a row.
pub(crate) fn summary(snapshot: &ContainerSnapshot, now: Timestamp) -> exact::ContainerSummary {
    let record = &snapshot.record;
    exact::ContainerSummary {
        id: record.id.to_string(),
        names: [&[format!("/{}", record.name)], snapshot.linked_names.as_slice()].concat(),
        image: record.config.image.clone(),
        image_id: record.image_id.clone(),
        command: command(record.argv()),
        created: record.created_at.as_second(),
        ports: ports(snapshot),
        size_rw: snapshot.size.map(|size| i64::try_from(size.rw_bytes).unwrap_or(i64::MAX)),
        size_root_fs: snapshot
            .size
            .map(|size| i64::try_from(size.root_fs_bytes).unwrap_or(i64::MAX)),
        labels: record.config.labels.clone(),
        state: record.state.status.to_string(),
        status: status::status(&record.state, now),
        host_config: exact::SummaryHostConfig {
            network_mode: record.host_config.network_mode.to_string(),
            annotations: record.host_config.annotations.clone(),
        },
        network_settings: exact::SummaryNetworks { networks: network::endpoints(record) },
        mounts: record.mounts.iter().map(mount).collect(),
    }
}

fn command(argv: Vec<String>) -> String {
    let mut words = argv.into_iter();
    let mut command = words.next().unwrap_or_default();
    for word in words {
        command.push(' ');
        if word.contains(' ') {
            command.push_str(&format!("'{word}'"));
        } else {
            command.push_str(&word);
        }
    }
    command
}

fn ports(snapshot: &ContainerSnapshot) -> Vec<exact::Port> {
    let record = &snapshot.record;
    if !record.state.status.has_process() || !network::has_interfaces(record) {
        return Vec::new();
    }
    let mut ports: Vec<exact::Port> = network::published(record)
        .filter(|port| port.host_port != 0)
        .map(|port| exact::Port {
            ip: port.host_ip.to_string(),
            private_port: port.container_port.port,
            public_port: port.host_port,
            protocol: port.container_port.protocol.to_string(),
        })
        .collect();
    for port in &record.config.exposed_ports {
        let protocol = port.protocol.to_string();
        if !ports.iter().any(|p| p.private_port == port.port && p.protocol == protocol) {
            ports.push(exact::Port { private_port: port.port, protocol, ..exact::Port::default() });
        }
    }
    ports
}
