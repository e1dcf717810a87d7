//! What containers use: `/containers` and `/monitor/statistics`.

use std::collections::HashMap;

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
    /// None of those that no task is around.
    pub(super) owner: Option<Owner>,
    pub(super) status: ContainerStatus,
    pub(super) resources: Vec<Resource>,
    usage: Usage,
}

/// The executor whose container it is, or is around it.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) framework_id: String,
    pub(super) executor_id: String,
    pub(super) executor_name: String,
    pub(super) source: String,
}

/// Which containers are wanted besides those of executors.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Show {
    /// Inside of others: of tasks in a group, of sessions, and what the operator API has launched.
    pub(super) nested: bool,
    /// Inside of none, and no executor's.
    pub(super) standalone: bool,
}

impl Owner {
    fn json(&self) -> Json {
        json!({
            "executor_id": self.executor_id,
            "executor_name": self.executor_name,
            "framework_id": self.framework_id,
            "source": self.source,
        })
    }
}

fn running(view: &View<'_>, show: Show) -> Vec<Running> {
    let frameworks = view.agent.frameworks();
    let all = frameworks.flat_map(|f| f.executors.values().map(move |e| (f, e)));
    let alive = all.filter(|(_, e)| e.state != cluster::agent::ExecutorState::Terminated);
    let one = |owner: Option<&Owner>, status, id: &ContainerId, resources| Running {
        owner: owner.cloned(),
        status,
        resources,
        usage: view.containers.usage(id),
    };
    let mut list = Vec::new();
    let mut owners = HashMap::new();
    for (framework, executor) in alive {
        let owner = Owner {
            framework_id: framework.id.to_string(),
            executor_id: executor.id.to_string(),
            executor_name: executor.info.name().to_owned(),
            source: executor.info.source().to_owned(),
        };
        let owner = owners.entry(executor.container.to_string()).or_insert(owner);
        list.push(one(Some(owner), executor.status(), &executor.container, executor.resources()));
        let live = executor.tasks.values().filter(|task| show.nested && !task.is_over());
        for task in live {
            let Some(member) = &task.member else { continue };
            let status = ContainerStatus {
                container_id: Some(member.container.to_wire()),
                network_infos: member.network_infos.clone().unwrap_or_default(),
                executor_pid: member.pid,
                ..ContainerStatus::default()
            };
            list.push(one(Some(owner), status, &member.container, task.info.resources.clone()));
        }
    }
    for (id, container) in view.containers.nested().running() {
        let is_nested = id.split().is_some();
        if is_nested && !show.nested || !is_nested && !show.standalone {
            continue;
        }
        let status = ContainerStatus {
            container_id: Some(id.to_wire()),
            executor_pid: container.as_ref().and_then(|it| it.pid()),
            ..ContainerStatus::default()
        };
        let root = id.as_str().split('.').next().unwrap_or_default();
        let resources = container.map(|it| it.place.job.launch.resources.clone());
        list.push(one(owners.get(root), status, &id, resources.unwrap_or_default()));
    }
    list
}

/// Reads what all of them use, at the same time.
pub(super) async fn all(
    server: &Server,
    show: Show,
) -> Result<Vec<(Running, Option<ResourceStatistics>)>, Answer> {
    let running = look(server, move |view| running(view, show)).await?;
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
    let asked = |name: &str| query.get(name) == Some("true");
    let show = Show { nested: asked("show_nested"), standalone: asked("show_standalone") };
    let mut list = Vec::new();
    for (one, statistics) in all(server, show).await? {
        let id = one.status.container_id.as_ref().map(|id| id.value.clone());
        if wanted.is_some() && wanted != id {
            continue;
        }
        let mut shown = match &one.owner {
            Some(owner) => owner.json(),
            None => json!({}),
        };
        shown["container_id"] = json!(id);
        shown["status"] = value_of(&one.status);
        if let Some(statistics) = statistics {
            shown["statistics"] = value_of(&statistics);
        }
        list.push(shown);
    }
    Ok(Json::Array(list))
}

pub(super) async fn monitor(server: &Server) -> Result<Json, Answer> {
    let mut list = Vec::new();
    for (one, statistics) in all(server, Show::default()).await? {
        // As in Mesos, a container that cannot be measured is left out.
        let (Some(owner), Some(statistics)) = (&one.owner, statistics) else { continue };
        let mut shown = owner.json();
        shown["statistics"] = value_of(&statistics);
        list.push(shown);
    }
    Ok(Json::Array(list))
}
