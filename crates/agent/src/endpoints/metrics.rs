//! `/metrics/snapshot`: numbers about the agent, by Mesos' names.

use std::collections::BTreeMap;

use cluster::agent::{ExecutorState, Phase};
use cluster::resources::{Resources, Value};
use mesos_api::v1::{Resource, TaskState};
use serde_json::{Map, Value as Json, json};

use super::look;
use crate::driver::View;
use crate::server::{Answer, Server};

pub(super) async fn snapshot(server: &Server) -> Result<Map<String, Json>, Answer> {
    let numbers = all(server).await?;
    Ok(numbers.into_iter().map(|(name, value)| (name, json!(value))).collect())
}

/// Every figure.
#[expect(clippy::cast_precision_loss, reason = "counts of one host")]
pub(super) async fn all(server: &Server) -> Result<BTreeMap<String, f64>, Answer> {
    let mut all = look(server, numbers).await?;
    all.extend(endpoints::system::metrics().map(|(name, value)| (name.to_owned(), value)));
    let collected = &server.collected;
    for (name, value) in [
        ("gc/path_removals_succeeded", collected.succeeded()),
        ("gc/path_removals_failed", collected.failed()),
        ("gc/path_removals_pending", collected.pending()),
        ("slave/executor_directory_max_allowed_age_secs", collected.max_age_secs()),
    ] {
        all.insert(name.to_owned(), value as f64);
    }
    let fetched = server.fetcher.figures();
    for (name, value) in [
        ("cache_size_total_bytes", fetched.cache_size_total_bytes),
        ("cache_size_used_bytes", fetched.cache_size_used_bytes),
        ("task_fetches_succeeded", fetched.task_fetches_succeeded),
        ("task_fetches_failed", fetched.task_fetches_failed),
    ] {
        all.insert(format!("containerizer/fetcher/{name}"), value as f64);
    }
    Ok(all)
}

#[expect(clippy::cast_precision_loss, reason = "counts of one host")]
fn numbers(view: &View<'_>) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: f64| {
        // Sums of nothing are negative zeroes.
        all.insert(name.to_owned(), value + 0.0);
    };
    let executors = || view.agent.frameworks().flat_map(|f| f.executors.values());
    set("slave/uptime_secs", view.uptime.as_secs_f64());
    set("slave/registered", f64::from(u8::from(view.agent.phase() == Phase::Running)));
    let recovery = view.recovery;
    set("slave/recovery_errors", recovery.errors as f64);
    set("slave/recovery_time_secs", recovery.took.as_secs_f64());
    let counted = view.agent.counters();
    set("slave/container_launch_errors", counted.container_launch_errors as f64);
    set("slave/executors_terminated", counted.executors_terminated as f64);
    for (name, judged) in [
        ("status_updates", counted.status_updates),
        ("framework_messages", counted.framework_messages),
    ] {
        set(&format!("slave/valid_{name}"), judged.valid as f64);
        set(&format!("slave/invalid_{name}"), judged.invalid as f64);
    }
    for (ending, value) in view.containers.image_pulls() {
        set(&format!("containerizer/docker/image_pull_ms{ending}"), value);
    }
    // Nothing runs on what belongs to others, so nothing has to make room for them; and there are
    // no resource providers.
    for name in [
        "slave/executors_preempted",
        "resource_provider_manager/subscribed",
        "resource_provider_manager/events/subscribe",
        "resource_provider_manager/events/disconnect",
    ] {
        set(name, 0.0);
    }
    set("slave/frameworks_active", view.agent.frameworks().count() as f64);
    for (name, state) in [
        ("registering", ExecutorState::Registering),
        ("running", ExecutorState::Running),
        ("terminating", ExecutorState::Terminating),
    ] {
        let count = executors().filter(|e| e.state == state).count();
        set(&format!("slave/executors_{name}"), count as f64);
    }
    let live = |state: TaskState| {
        executors().flat_map(|e| e.tasks.values()).filter(|t| t.latest() == state).count()
    };
    for state in [
        TaskState::TaskStaging,
        TaskState::TaskStarting,
        TaskState::TaskRunning,
        TaskState::TaskKilling,
    ] {
        let name = state.as_str_name().to_lowercase().replacen("task", "tasks", 1);
        set(&format!("slave/{name}"), live(state) as f64);
    }
    for (state, count) in view.agent.terminal_counts() {
        let name = state.as_str_name().to_lowercase().replacen("task", "tasks", 1);
        set(&format!("slave/{name}"), count as f64);
    }
    let used: Vec<Resource> = executors()
        .filter(|e| e.state != ExecutorState::Terminated)
        .flat_map(|e| e.resources())
        .collect();
    for name in ["cpus", "mem", "disk", "gpus"] {
        let total = scalar(&view.agent.info().resources, name);
        let used = scalar(&used, name);
        set(&format!("slave/{name}_total"), total);
        set(&format!("slave/{name}_used"), used);
        set(&format!("slave/{name}_percent"), if total > 0.0 { used / total } else { 0.0 });
        // Nothing is oversubscribed.
        for figure in ["total", "used", "percent"] {
            set(&format!("slave/{name}_revocable_{figure}"), 0.0);
        }
    }
    all
}

fn scalar(resources: &[Resource], name: &str) -> f64 {
    let all = Resources::from_wire(resources).unwrap_or_default();
    let of_name = all.iter().filter(|r| &*r.name == name);
    of_name
        .map(|r| match &r.value {
            Value::Scalar(scalar) => scalar.as_f64(),
            _ => 0.0,
        })
        .sum()
}
