//! `/tasks`, and tasks where they appear elsewhere.

use cluster::master::Snapshot;
use mesos_api::json::{Json, Writer};
use mesos_api::v1;

use super::super::forms::Fields;
use super::{flag, labels, member, number, resources};
use crate::view;

/// Tasks on one page, if the request does not say.
const PAGE: usize = 100;

/// The endpoint: filtered, ordered by time, and cut into pages.
pub(super) fn write(snapshot: &Snapshot, query: &Fields) -> String {
    let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
    let (limit, offset) = (number("limit").unwrap_or(PAGE), number("offset").unwrap_or(0));
    let wanted = |name: &str, value: &str| query.get(name).is_none_or(|text| text == value);
    let known = view::all_frameworks(snapshot).flat_map(|framework| {
        let live = framework.tasks.iter().chain(&framework.unreachable_tasks);
        live.map(|task| &**task).chain(view::ended_tasks(framework))
    });
    let mut tasks: Vec<&v1::Task> = known
        .filter(|task| wanted("framework_id", &task.framework_id.value))
        .filter(|task| wanted("task_id", &task.task_id.value))
        .collect();
    tasks.sort_by(|a, b| first_heard(a).total_cmp(&first_heard(b)));
    if query.get("order") != Some("asc") {
        tasks.reverse();
    }
    let mut to = Writer::new();
    to.begin_object();
    to.array("tasks", |to| tasks.iter().skip(offset).take(limit).for_each(|task| one(task, to)));
    to.end_object();
    to.into_string()
}

/// Tasks of which nothing was heard yet come first.
fn first_heard(task: &v1::Task) -> f64 {
    task.statuses.first().map_or(0.0, v1::TaskStatus::timestamp)
}

/// One task.
pub(super) fn one(task: &v1::Task, to: &mut Writer) {
    to.begin_object();
    member(to, "id", &task.task_id.value);
    member(to, "name", &task.name);
    member(to, "framework_id", &task.framework_id.value);
    member(to, "executor_id", task.executor_id.as_ref().map_or("", AsRef::as_ref));
    member(to, "slave_id", &task.agent_id.value);
    member(to, "state", task.state().as_str_name());
    resources::sum_wire(to, "resources", &task.resources);
    member(to, "role", role(&task.resources));
    to.array("statuses", |to| task.statuses.iter().for_each(|status| one_status(status, to)));
    if let Some(user) = &task.user {
        member(to, "user", user);
    }
    if let Some(given) = &task.labels {
        labels(to, given);
    }
    if let Some(discovery) = &task.discovery {
        to.name("discovery");
        discovery.write_json(to);
    }
    if let Some(container) = &task.container {
        to.name("container");
        container.write_json(to);
    }
    if let Some(health_check) = &task.health_check {
        to.name("health_check");
        health_check.write_json(to);
    }
    to.end_object();
}

/// All resources of a task or an executor are allocated to one role.
pub(super) fn role(resources: &[v1::Resource]) -> &str {
    resources
        .first()
        .and_then(|resource| resource.allocation_info.as_ref())
        .map_or("*", v1::resource::AllocationInfo::role)
}

fn one_status(status: &v1::TaskStatus, to: &mut Writer) {
    to.begin_object();
    member(to, "state", status.state().as_str_name());
    number(to, "timestamp", status.timestamp());
    // More than Mesos tells here: `teu task ls` and `teu cluster status` show it.
    if let Some(message) = status.message.as_deref().filter(|message| !message.is_empty()) {
        member(to, "message", message);
    }
    if let Some(given) = &status.labels {
        labels(to, given);
    }
    if let Some(container) = &status.container_status {
        to.name("container_status");
        container.write_json(to);
    }
    if let Some(healthy) = status.healthy {
        flag(to, "healthy", healthy);
    }
    if let Some(check) = &status.check_status {
        to.name("check_status");
        check.write_json(to);
    }
    to.end_object();
}
