//! What containers use: `/containers` and `/monitor/statistics`.

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
    pub(super) container_id: String,
    pub(super) status: ContainerStatus,
    pub(super) resources: Vec<Resource>,
    usage: Usage,
}

pub(super) fn running(view: &View<'_>) -> Vec<Running> {
    let frameworks = view.agent.frameworks();
    let all = frameworks.flat_map(|f| f.executors.values().map(move |e| (f, e)));
    let alive = all.filter(|(_, e)| e.state != cluster::agent::ExecutorState::Terminated);
    alive
        .map(|(framework, executor)| Running {
            framework_id: framework.id.to_string(),
            executor_id: executor.id.to_string(),
            executor_name: executor.info.name().to_owned(),
            source: executor.info.source().to_owned(),
            container_id: executor.container.to_string(),
            status: executor.status(),
            resources: executor.resources(),
            usage: view.containers.usage(&executor.container),
        })
        .collect()
}

/// Reads what all of them use, at the same time.
pub(super) async fn all(
    server: &Server,
) -> Result<Vec<(Running, Option<ResourceStatistics>)>, Answer> {
    let running = look(server, running).await?;
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
    let mut list = Vec::new();
    for (one, statistics) in all(server).await? {
        if wanted.as_ref().is_some_and(|wanted| *wanted != one.container_id) {
            continue;
        }
        let mut shown = json!({
            "container_id": one.container_id,
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
    for (one, statistics) in all(server).await? {
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
