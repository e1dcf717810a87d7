//! What the master measures: as Mesos names it, and for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cluster::master::{FrameworkSnapshot, Snapshot, is_terminal};
use cluster::resources::{Quantities, Resources};
use mesos_api::json::Writer;
use mesos_api::v1::TaskState;
use mesos_api::v1::scheduler::call::Type as CallType;

use crate::facts::Facts;
use crate::http::system;
use crate::view::Index;

/// A metric by Mesos' name.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// How many agents are in which state.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AgentCounts {
    pub(crate) active: f64,
    pub(crate) inactive: f64,
    pub(crate) connected: f64,
    pub(crate) disconnected: f64,
    pub(crate) unreachable: f64,
}

/// The states of tasks as metrics name them.
const STATES: [(TaskState, &str); 14] = [
    (TaskState::TaskStaging, "staging"),
    (TaskState::TaskStarting, "starting"),
    (TaskState::TaskRunning, "running"),
    (TaskState::TaskKilling, "killing"),
    (TaskState::TaskFinished, "finished"),
    (TaskState::TaskFailed, "failed"),
    (TaskState::TaskKilled, "killed"),
    (TaskState::TaskError, "error"),
    (TaskState::TaskLost, "lost"),
    (TaskState::TaskDropped, "dropped"),
    (TaskState::TaskUnreachable, "unreachable"),
    (TaskState::TaskGone, "gone"),
    (TaskState::TaskGoneByOperator, "gone_by_operator"),
    (TaskState::TaskUnknown, "unknown"),
];

/// Calls as metrics of all frameworks name them.
const CALLS: [(CallType, &str); 14] = [
    (CallType::Subscribe, "register_framework"),
    (CallType::Teardown, "unregister_framework"),
    (CallType::Accept, "launch_tasks"),
    (CallType::Decline, "decline_offers"),
    (CallType::Revive, "revive_offers"),
    (CallType::Suppress, "suppress_offers"),
    (CallType::Kill, "kill_task"),
    (CallType::Acknowledge, "status_update_acknowledgement"),
    (CallType::AcknowledgeOperationStatus, "operation_status_update_acknowledgement"),
    (CallType::Reconcile, "reconcile_tasks"),
    (CallType::ReconcileOperations, "reconcile_operations"),
    (CallType::Message, "framework_to_executor"),
    (CallType::Request, "resource_request"),
    (CallType::UpdateFramework, "update_framework"),
];

/// Messages of agents as metrics name them.
const MESSAGES: [(&str, &str); 9] = [
    ("RegisterSlaveMessage", "register_slave"),
    ("ReregisterSlaveMessage", "reregister_slave"),
    ("UnregisterSlaveMessage", "unregister_slave"),
    ("PongSlaveMessage", "pong_slave"),
    ("StatusUpdateMessage", "status_update"),
    ("ExitedExecutorMessage", "exited_executor"),
    ("ExecutorToFrameworkMessage", "executor_to_framework"),
    ("UpdateSlaveMessage", "update_slave"),
    ("UpdateOperationStatusMessage", "operation_status_update"),
];

/// All metrics.
pub(crate) fn all(facts: &Facts, snapshot: &Snapshot) -> Metrics {
    let mut metrics = Metrics::new();
    agents(snapshot, &mut metrics);
    frameworks(snapshot, &mut metrics);
    tasks(snapshot, &mut metrics);
    resources(snapshot, &mut metrics);
    counters(snapshot, &mut metrics);
    set(&mut metrics, "master/elected", 1.0);
    set(&mut metrics, "master/uptime_secs", facts.clock.now().since(facts.elected).as_secs_f64());
    if facts.per_framework_metrics {
        let index = Index::new(snapshot);
        for framework in &snapshot.frameworks {
            one_framework(framework, &index.used(&framework.id), &mut metrics);
        }
    }
    for (name, value) in system::figures() {
        let name = match name {
            "avg_load_1min" => "system/load_1min",
            "avg_load_5min" => "system/load_5min",
            "avg_load_15min" => "system/load_15min",
            "cpus_total" => "system/cpus_total",
            "mem_free_bytes" => "system/mem_free_bytes",
            _ => "system/mem_total_bytes",
        };
        set(&mut metrics, name, value);
    }
    metrics
}

/// `/metrics/snapshot`
pub(crate) fn json(facts: &Facts, snapshot: &Snapshot) -> String {
    let mut to = Writer::new();
    to.begin_object();
    for (name, value) in all(facts, snapshot) {
        to.name(&name);
        to.f64(value);
    }
    to.end_object();
    to.into_string()
}

/// `/metrics`: names with what follows the first slash as words, and a framework's id as a label.
pub(crate) fn prometheus(facts: &Facts, snapshot: &Snapshot) -> String {
    let mut families: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for (name, value) in all(facts, snapshot) {
        let (family, labels) = match name.strip_prefix("master/frameworks/") {
            Some(rest) => framework_labels(rest),
            None => (name, String::new()),
        };
        let family: String =
            family.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        families.entry(format!("mesos_{family}")).or_default().push((labels, value));
    }
    let mut text = String::new();
    for (family, values) in families {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# TYPE {family} untyped");
        for (labels, value) in values {
            let _ = writeln!(text, "{family}{labels} {value}");
        }
    }
    text
}

/// `<name>/<id>/<metric>` with name and id as labels. Names may hold slashes and are escaped.
fn framework_labels(rest: &str) -> (String, String) {
    let mut parts = rest.splitn(3, '/');
    let (name, id, metric) = (parts.next(), parts.next(), parts.next());
    let quoted = |text: Option<&str>| {
        text.unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
    };
    let labels = format!("{{framework=\"{}\",framework_id=\"{}\"}}", quoted(name), quoted(id));
    (format!("master/framework/{}", metric.unwrap_or_default()), labels)
}

/// How many agents are in which state.
pub(crate) fn agent_counts(snapshot: &Snapshot) -> AgentCounts {
    let mut counts = AgentCounts {
        unreachable: count(snapshot.unreachable_agents.len()),
        ..AgentCounts::default()
    };
    for agent in &snapshot.agents {
        *(if agent.active { &mut counts.active } else { &mut counts.inactive }) += 1.0;
        *(if agent.connected { &mut counts.connected } else { &mut counts.disconnected }) += 1.0;
    }
    counts
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn count(number: usize) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn counted(number: u64) -> f64 {
    number as f64
}

fn set(metrics: &mut Metrics, name: &str, value: f64) {
    metrics.insert(name.to_owned(), value);
}

fn agents(snapshot: &Snapshot, metrics: &mut Metrics) {
    let counts = agent_counts(snapshot);
    set(metrics, "master/slaves_active", counts.active);
    set(metrics, "master/slaves_inactive", counts.inactive);
    set(metrics, "master/slaves_connected", counts.connected);
    set(metrics, "master/slaves_disconnected", counts.disconnected);
    set(metrics, "master/slaves_unreachable", counts.unreachable);
    set(metrics, "master/recovered_slaves", count(snapshot.recovered_agents.len()));
}

fn frameworks(snapshot: &Snapshot, metrics: &mut Metrics) {
    let connected = count(snapshot.frameworks.iter().filter(|it| it.is_connected()).count());
    let others = count(snapshot.frameworks.len()) - connected;
    set(metrics, "master/frameworks_active", connected);
    set(metrics, "master/frameworks_inactive", others);
    set(metrics, "master/frameworks_connected", connected);
    set(metrics, "master/frameworks_disconnected", others);
    let offers = snapshot.frameworks.iter().map(|framework| framework.offers.len()).sum();
    set(metrics, "master/outstanding_offers", count(offers));
}

/// States that are not the end are counted as they are, the others since the start.
fn tasks(snapshot: &Snapshot, metrics: &mut Metrics) {
    let mut now: BTreeMap<TaskState, usize> = BTreeMap::new();
    for framework in &snapshot.frameworks {
        for task in framework.tasks.iter().chain(&framework.unreachable_tasks) {
            *now.entry(task.state()).or_default() += 1;
        }
    }
    let ended = &snapshot.counters.terminal_tasks;
    for (state, name) in STATES {
        let value = if is_terminal(state) {
            counted(ended.iter().filter(|((of, ..), _)| *of == state).map(|(_, n)| n).sum())
        } else {
            count(now.get(&state).copied().unwrap_or_default())
        };
        set(metrics, &format!("master/tasks_{name}"), value);
    }
    for ((state, source, reason), number) in ended {
        let state = state.as_str_name().to_ascii_lowercase();
        let source = source.as_str_name().to_ascii_lowercase().replace("agent", "slave");
        let reason = reason.map_or_else(
            || "reason_none".to_owned(),
            |reason| reason.as_str_name().to_ascii_lowercase().replace("agent", "slave"),
        );
        set(metrics, &format!("master/{state}/{source}/{reason}"), counted(*number));
    }
}

fn resources(snapshot: &Snapshot, metrics: &mut Metrics) {
    let mut total = Resources::new();
    let mut used = Resources::new();
    for agent in &snapshot.agents {
        total.add_all(&agent.total);
        agent.used.values().for_each(|held| used.add_all(held));
    }
    let split = |revocable: bool, of: &Resources| {
        Quantities::from(&if revocable { of.revocable() } else { of.non_revocable() })
    };
    for (revocable, infix) in [(false, ""), (true, "_revocable")] {
        let (total, used) = (split(revocable, &total), split(revocable, &used));
        for name in ["cpus", "gpus", "mem", "disk"] {
            let (total, used) = (total.get(name).as_f64(), used.get(name).as_f64());
            let percent = if total > 0.0 { used / total } else { 0.0 };
            set(metrics, &format!("master/{name}{infix}_total"), total);
            set(metrics, &format!("master/{name}{infix}_used"), used);
            set(metrics, &format!("master/{name}{infix}_percent"), percent);
        }
    }
}

fn counters(snapshot: &Snapshot, metrics: &mut Metrics) {
    let counters = &snapshot.counters;
    for (kind, name) in CALLS {
        let number = counters.calls.get(&kind).copied().unwrap_or_default();
        set(metrics, &format!("master/messages_{name}"), counted(number));
    }
    for (message, name) in MESSAGES {
        let full = format!("mesos.internal.{message}");
        let number = counters.agent_messages.get(&*full).copied().unwrap_or_default();
        set(metrics, &format!("master/messages_{name}"), counted(number));
    }
    for (name, number) in [
        ("master/valid_status_updates", counters.status_updates_valid),
        ("master/invalid_status_updates", counters.status_updates_invalid),
        ("master/valid_status_update_acknowledgements", counters.acknowledgements_valid),
        ("master/invalid_status_update_acknowledgements", counters.acknowledgements_invalid),
        ("master/dropped_messages", counters.messages_dropped),
        ("master/slave_registrations", counters.agent_registrations),
        ("master/slave_reregistrations", counters.agent_reregistrations),
        ("master/slave_removals", counters.agent_removals),
        ("master/slave_unreachable_completed", counters.agents_unreachable),
        ("master/offers_made", counters.offers_made),
        ("master/frameworks_removed", counters.frameworks_removed),
        ("master/operations/total", counters.operations),
        ("allocator/mesos/allocation_runs", counters.allocation_runs),
    ] {
        set(metrics, name, counted(number));
    }
}

fn one_framework(framework: &FrameworkSnapshot, used: &Resources, metrics: &mut Metrics) {
    // Slashes part the components of a metric's name.
    let name = framework.info.name.replace('%', "%25").replace('/', "%2F");
    let prefix = format!("master/frameworks/{name}/{}", framework.id);
    let subscribed = f64::from(u8::from(framework.is_connected()));
    set(metrics, &format!("{prefix}/subscribed"), subscribed);
    for (state, name) in STATES {
        let (kind, tasks) = match is_terminal(state) {
            true => ("terminal", &framework.completed_tasks),
            false if state == TaskState::TaskUnreachable => {
                ("active", &framework.unreachable_tasks)
            }
            false => ("active", &framework.tasks),
        };
        let number = tasks.iter().filter(|task| task.state() == state).count();
        set(metrics, &format!("{prefix}/tasks/{kind}/task_{name}"), count(number));
    }
    for role in &framework.roles {
        let suppressed = f64::from(u8::from(framework.suppressed.contains(role)));
        set(metrics, &format!("{prefix}/roles/{role}/suppressed"), suppressed);
    }
    let sums =
        [("used", Quantities::from(used)), ("offered", Quantities::from(&framework.offered()))];
    for (kind, sum) in sums {
        for (name, amount) in sum.iter() {
            set(metrics, &format!("{prefix}/{name}_{kind}"), amount.as_f64());
        }
    }
}
