//! What containers use: `/containers` and `/monitor/statistics`.

use cluster::id::ContainerId;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use mesos_api::v1::{ContainerStatus, Resource, ResourceStatistics};
use serde_json::{Value as Json, json};

use super::{Query, look, value_of};
use crate::containers::Usage;
use crate::driver::View;
use crate::server::{Answer, Server};

/// A container that runs.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) framework_id: String,
    pub(super) executor_id: String,
    pub(super) executor_name: String,
    pub(super) source: String,
    pub(super) status: ContainerStatus,
    pub(super) resources: Vec<Resource>,
    usage: Usage,
}

/// The containers of executors; with `nested` also those inside of them, of tasks in a group and of
/// sessions.
fn running(view: &View<'_>, nested: bool) -> Vec<Running> {
    let frameworks = view.agent.frameworks();
    let all = frameworks.flat_map(|f| f.executors.values().map(move |e| (f, e)));
    let alive = all.filter(|(_, e)| e.state != cluster::agent::ExecutorState::Terminated);
    let sessions = if nested { view.containers.sessions() } else { Vec::new() };
    let mut list = Vec::new();
    for (framework, executor) in alive {
        let of = |status: ContainerStatus, id: &ContainerId, resources| Running {
            framework_id: framework.id.to_string(),
            executor_id: executor.id.to_string(),
            executor_name: executor.info.name().to_owned(),
            source: executor.info.source().to_owned(),
            status,
            resources,
            usage: view.containers.usage(id),
        };
        list.push(of(executor.status(), &executor.container, executor.resources()));
        if !nested {
            continue;
        }
        let live = executor.tasks.values().filter(|task| !task.is_over());
        for task in live {
            let Some(member) = &task.member else { continue };
            let status = ContainerStatus {
                container_id: Some(member.container.to_wire()),
                network_infos: member.network_infos.clone().unwrap_or_default(),
                executor_pid: member.pid,
                ..ContainerStatus::default()
            };
            list.push(of(status, &member.container, task.info.resources.clone()));
        }
        let own = |id: &&ContainerId| {
            id.split().is_some_and(|(parent, _)| {
                let outer = parent.split().map(|(outer, _)| outer);
                parent == executor.container || outer.as_ref() == Some(&executor.container)
            })
        };
        for id in sessions.iter().filter(own) {
            let container_id = Some(id.to_wire());
            let status = ContainerStatus { container_id, ..ContainerStatus::default() };
            list.push(of(status, id, Vec::new()));
        }
    }
    list
}

/// Reads what all of them use, at the same time.
pub(super) async fn all(
    server: &Server,
    nested: bool,
) -> Result<Vec<(Running, Option<ResourceStatistics>)>, Answer> {
    let running = look(server, move |view| running(view, nested)).await?;
    let readings: FuturesOrdered<_> = running
        .into_iter()
        .map(|one| async move {
            let statistics = one.usage.read(&one.resources).await;
            (one, statistics)
        })
        .collect();
    Ok(readings.collect().await)
}

pub(super) async fn containers(server: &Server, query: &Query) -> Result<Json, Answer> {
    let wanted = query.get("container_id").map(str::to_owned);
    let nested = query.get("show_nested") == Some("true");
    let mut list = Vec::new();
    for (one, statistics) in all(server, nested).await? {
        let id = one.status.container_id.as_ref().map(|id| id.value.clone());
        if wanted.is_some() && wanted != id {
            continue;
        }
        let mut shown = json!({
            "container_id": id,
            "executor_id": one.executor_id,
            "executor_name": one.executor_name,
            "framework_id": one.framework_id,
            "source": one.source,
            "status": value_of(&one.status),
        });
        if let Some(statistics) = statistics {
            shown["statistics"] = value_of(&statistics);
        }
        list.push(shown);
    }
    Ok(Json::Array(list))
}

pub(super) async fn monitor(server: &Server) -> Result<Json, Answer> {
    let mut list = Vec::new();
    for (one, statistics) in all(server, false).await? {
        // As in Mesos, a container that cannot be measured is left out.
        let Some(statistics) = statistics else { continue };
        list.push(json!({
            "executor_id": one.executor_id,
            "executor_name": one.executor_name,
            "framework_id": one.framework_id,
            "source": one.source,
            "statistics": value_of(&statistics),
        }));
    }
    Ok(Json::Array(list))
}
