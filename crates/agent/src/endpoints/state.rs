//! `/state`: everything that runs and ran here.

use cluster::agent::{CompletedExecutor, Executor, Framework, Kind};
use cluster::resources::{Resources, Value};
use mesos_api::v1::{ExecutorInfo, Resource, Task};
use serde_json::{Map, Value as Json, json};

use super::{flags, value_of};
use crate::driver::View;
use crate::layout::Run;

const CAPABILITIES: [&str; 6] = [
    "MULTI_ROLE",
    "HIERARCHICAL_ROLE",
    "RESERVATION_REFINEMENT",
    "RESIZE_VOLUME",
    "AGENT_DRAINING",
    "TASK_RESOURCE_LIMITS",
];

/// Writes the state.
pub(super) fn state(view: &View<'_>) -> Json {
    let info = view.agent.info();
    let total = &info.resources;
    let (mut reserved, mut reserved_full) = (Map::new(), Map::new());
    let unreserved: Vec<Resource> =
        total.iter().filter(|r| r.reservations.is_empty()).cloned().collect();
    for role in roles(total) {
        let of_role: Vec<Resource> = total
            .iter()
            .filter(|r| r.reservations.last().and_then(|x| x.role.as_deref()) == Some(&role))
            .cloned()
            .collect();
        reserved.insert(role.clone(), amounts(&of_role));
        reserved_full.insert(role, full(&of_role));
    }
    let used: Vec<Resource> = view
        .agent
        .frameworks()
        .flat_map(|f| f.executors.values())
        .flat_map(Executor::resources)
        .collect();
    let build = endpoints::version::version();
    let mut state = json!({
        "version": build.version,
        "build_date": build.build_date,
        "build_time": build.build_time,
        "build_user": build.build_user,
        "start_time": view.started,
        "id": info.id.as_ref().map(|id| id.value.as_str()).unwrap_or_default(),
        "pid": view.config.pid(),
        "hostname": info.hostname,
        "capabilities": CAPABILITIES,
        "resources": amounts(total),
        "reserved_resources": reserved,
        "unreserved_resources": amounts(&unreserved),
        "reserved_resources_full": reserved_full,
        "unreserved_resources_full": full(&unreserved),
        "reserved_resources_allocated": {},
        "unreserved_resources_allocated": amounts(&used),
        "resource_providers": [],
        "attributes": attributes(view),
        "flags": flags(view),
        "frameworks": view.agent.frameworks().map(|f| framework(view, f)).collect::<Vec<_>>(),
        "completed_frameworks":
            view.agent.completed_frameworks().map(|f| framework(view, f)).collect::<Vec<_>>(),
    });
    if let Some(host) = view.config.master.hostname() {
        state["master_hostname"] = json!(host);
    }
    if let Some(drain) = view.agent.draining() {
        state["drain_config"] = value_of(drain);
    }
    state
}

fn roles(resources: &[Resource]) -> Vec<String> {
    let mut roles: Vec<String> =
        resources.iter().filter_map(|r| r.reservations.last()?.role.clone()).collect();
    roles.sort();
    roles.dedup();
    roles
}

fn full(resources: &[Resource]) -> Json {
    let one = |resource: &Resource| {
        let mut value = value_of(resource);
        if let Some(object) = value.as_object_mut() {
            let role = resource.reservations.last().and_then(|r| r.role.clone());
            object.insert("role".to_owned(), json!(role.unwrap_or_else(|| "*".to_owned())));
        }
        value
    };
    resources.iter().map(one).collect()
}

/// Resources by name: scalars as numbers, the rest as text.
pub(super) fn amounts(resources: &[Resource]) -> Json {
    let mut all = json!({"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0});
    let plain: Vec<Resource> = resources
        .iter()
        .map(|r| Resource {
            allocation_info: None,
            reservations: Vec::new(),
            disk: None,
            ..r.clone()
        })
        .collect();
    for resource in Resources::from_wire(&plain).unwrap_or_default().iter() {
        all[&*resource.name] = match &resource.value {
            Value::Scalar(scalar) => json!(scalar.as_f64()),
            Value::Ranges(ranges) => {
                let parts: Vec<String> =
                    ranges.iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
                json!(format!("[{}]", parts.join(", ")))
            }
            Value::Set(items) => {
                let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
                json!(format!("{{{}}}", items.join(", ")))
            }
        };
    }
    all
}

fn attributes(view: &View<'_>) -> Json {
    let mut all = Map::new();
    for attribute in &view.agent.info().attributes {
        let value = if let Some(scalar) = &attribute.scalar {
            json!(scalar.value)
        } else if let Some(ranges) = &attribute.ranges {
            let parts: Vec<String> =
                ranges.range.iter().map(|r| format!("{}-{}", r.begin, r.end)).collect();
            json!(format!("[{}]", parts.join(", ")))
        } else {
            json!(attribute.text.as_ref().map(|t| t.value.as_str()).unwrap_or_default())
        };
        all.insert(attribute.name.clone(), value);
    }
    Json::Object(all)
}

fn framework(view: &View<'_>, framework: &Framework) -> Json {
    let info = &framework.info;
    let mut shown = json!({
        "id": framework.id.as_str(),
        "name": info.name,
        "user": info.user,
        "failover_timeout": info.failover_timeout(),
        "checkpoint": info.checkpoint(),
        "hostname": info.hostname(),
        "executors":
            framework.executors.values().map(|e| executor(view, framework, e)).collect::<Vec<_>>(),
        "completed_executors":
            framework.completed.iter().map(|e| completed(view, framework, e)).collect::<Vec<_>>(),
    });
    if let Some(principal) = &info.principal {
        shown["principal"] = json!(principal);
    }
    if info.roles.is_empty() {
        shown["role"] = json!(info.role());
    } else {
        shown["roles"] = json!(info.roles);
    }
    shown
}

fn directory(view: &View<'_>, run: Run<'_>) -> String {
    view.layout.sandbox(view.agent_id, run).display().to_string()
}

fn described(info: &ExecutorInfo, kind: Kind) -> Json {
    let mut shown = json!({
        "id": info.executor_id.value,
        "name": info.name(),
        "source": info.source(),
    });
    match kind {
        Kind::Custom => shown["type"] = json!("CUSTOM"),
        Kind::Default => shown["type"] = json!("DEFAULT"),
        Kind::Command => {}
    }
    if let Some(labels) = &info.labels {
        shown["labels"] = labels.labels.iter().map(value_of).collect();
    }
    shown
}

fn executor(view: &View<'_>, framework: &Framework, executor: &Executor) -> Json {
    let mut shown = described(&executor.info, executor.kind);
    let run =
        Run { framework: &framework.id, executor: &executor.id, container: &executor.container };
    let (queued, tasks): (Vec<_>, Vec<_>) =
        executor.tasks.values().partition(|t| executor.is_queued(&t.task.task_id.value));
    shown["container"] = json!(executor.container.as_str());
    shown["directory"] = json!(directory(view, run));
    shown["resources"] = amounts(&executor.resources());
    shown["role"] = json!(role(&executor.resources()));
    shown["tasks"] = tasks.iter().map(|t| task(&t.task)).collect();
    shown["queued_tasks"] = queued.iter().map(|t| task(&t.task)).collect();
    shown["completed_tasks"] = executor.completed.iter().map(task).collect();
    shown
}

fn completed(view: &View<'_>, framework: &Framework, executor: &CompletedExecutor) -> Json {
    let mut shown = described(&executor.info, executor.kind);
    let run =
        Run { framework: &framework.id, executor: &executor.id, container: &executor.container };
    shown["container"] = json!(executor.container.as_str());
    shown["directory"] = json!(directory(view, run));
    shown["resources"] = amounts(&executor.info.resources);
    shown["role"] = json!(role(&executor.info.resources));
    shown["tasks"] = json!([]);
    shown["queued_tasks"] = json!([]);
    shown["completed_tasks"] = executor.tasks.iter().map(task).collect();
    shown
}

fn role(resources: &[Resource]) -> String {
    let role = resources.iter().find_map(|r| r.allocation_info.as_ref()?.role.clone());
    role.unwrap_or_else(|| "*".to_owned())
}

fn task(task: &Task) -> Json {
    let mut shown = json!({
        "id": task.task_id.value,
        "name": task.name,
        "framework_id": task.framework_id.value,
        "executor_id": task.executor_id.as_ref().map(|id| id.value.as_str()).unwrap_or_default(),
        "slave_id": task.agent_id.value,
        "state": task.state().as_str_name(),
        "resources": amounts(&task.resources),
        "role": role(&task.resources),
        "statuses": task.statuses.iter().map(status).collect::<Vec<_>>(),
    });
    if let Some(user) = &task.user {
        shown["user"] = json!(user);
    }
    if let Some(labels) = &task.labels {
        shown["labels"] = labels.labels.iter().map(value_of).collect();
    }
    if let Some(discovery) = task.discovery.as_deref() {
        shown["discovery"] = value_of(discovery);
    }
    if let Some(container) = task.container.as_deref() {
        shown["container"] = value_of(container);
    }
    if let Some(check) = task.health_check.as_deref() {
        shown["health_check"] = value_of(check);
    }
    shown
}

fn status(status: &mesos_api::v1::TaskStatus) -> Json {
    let mut shown = json!({
        "state": status.state().as_str_name(),
        "timestamp": status.timestamp(),
    });
    if let Some(container) = status.container_status.as_deref() {
        shown["container_status"] = value_of(container);
    }
    if let Some(healthy) = status.healthy {
        shown["healthy"] = json!(healthy);
    }
    shown
}
