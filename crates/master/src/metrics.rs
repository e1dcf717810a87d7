//! What the master measures: as Mesos names it, and for Prometheus.

mod allocator;
mod operations;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use cluster::master::{FrameworkSnapshot, Snapshot, is_terminal};
use cluster::resources::{Quantities, Resources};
use endpoints::prometheus::{label, text};
use mesos_api::json::Writer;
use mesos_api::v1::TaskState;
use mesos_api::v1::scheduler::call::Type as CallType;

use crate::facts::Facts;
use crate::handle::Handle;
use crate::store::Store;
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
const CALLS: [(CallType, &str); 13] = [
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
pub(crate) fn all(facts: &Facts, handle: &Handle, snapshot: &Snapshot) -> Metrics {
    let mut metrics = Metrics::new();
    queues(handle, &mut metrics);
    allocator::allocator(snapshot, &mut metrics);
    operations::operations(snapshot, &mut metrics);
    registry(facts, &mut metrics);
    agents(snapshot, &mut metrics);
    frameworks(snapshot, &mut metrics);
    tasks(snapshot, &mut metrics);
    resources(snapshot, &mut metrics);
    counters(snapshot, &mut metrics);
    judged(snapshot, &mut metrics);
    principals(facts, snapshot, &mut metrics);
    timings(facts, &mut metrics);
    set(&mut metrics, "master/elected", 1.0);
    set(&mut metrics, "master/uptime_secs", facts.clock.now().since(facts.elected).as_secs_f64());
    if facts.per_framework_metrics {
        let index = Index::new(snapshot);
        for framework in &snapshot.frameworks {
            one_framework(framework, &index.used(&framework.id), &mut metrics);
        }
    }
    for (name, value) in endpoints::system::metrics() {
        set(&mut metrics, name, value);
    }
    metrics
}

/// `/metrics/snapshot`
pub(crate) fn json(facts: &Facts, handle: &Handle, snapshot: &Snapshot) -> String {
    let mut to = Writer::new();
    to.begin_object();
    for (name, value) in all(facts, handle, snapshot) {
        to.name(&name);
        to.f64(value);
    }
    to.end_object();
    to.into_string()
}

/// `/metrics`: a framework's name, id and principal are labels.
pub(crate) fn prometheus(facts: &Facts, handle: &Handle, snapshot: &Snapshot) -> String {
    let figures = all(facts, handle, snapshot).into_iter().map(|(name, value)| {
        let (family, labels) = match name.strip_prefix("master/frameworks/") {
            Some(rest) => framework_labels(rest),
            None => principal_label(&name).unwrap_or_else(|| (name, String::new())),
        };
        (family, labels, value)
    });
    text(figures)
}

/// `<name>/<id>/<metric>` with name and id as labels. Names may hold slashes and are escaped.
fn framework_labels(rest: &str) -> (String, String) {
    let mut parts = rest.splitn(3, '/');
    let mut next = || parts.next().unwrap_or_default();
    let labels = format!("{},{}", label("framework", next()), label("framework_id", next()));
    (format!("master/framework/{}", next()), labels)
}

/// `frameworks/<principal>/<metric>` with the principal, which may hold slashes, as a label.
fn principal_label(name: &str) -> Option<(String, String)> {
    let (principal, metric) = name.strip_prefix("frameworks/")?.rsplit_once('/')?;
    Some((format!("frameworks/{metric}"), label("principal", principal)))
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

/// What waits for its turn: messages and calls, and requests that only read.
fn queues(handle: &Handle, metrics: &mut Metrics) {
    let (jobs, reads) = handle.waiting();
    set(metrics, "master/event_queue_messages", count(jobs));
    set(metrics, "master/event_queue_http_requests", count(reads));
    set(metrics, "master/event_queue_dispatches", count(jobs + reads));
}

fn registry(facts: &Facts, metrics: &mut Metrics) {
    // Changes are written before anything else is looked at: none ever waits.
    set(metrics, "registrar/queued_operations", 0.0);
    match facts.store.as_deref().map(Store::bytes).transpose() {
        Ok(bytes) => set(metrics, "registrar/registry_size_bytes", counted(bytes.unwrap_or(0))),
        Err(error) => tracing::warn!(%error, "cannot tell the size of the registry"),
    }
    let listening = facts.timings.listening.load(Ordering::Relaxed);
    set(metrics, "master/operator_event_stream_subscribers", count(listening));
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
        total.add_all(&agent.facts.total);
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
    let subscriptions = counters.calls.get(&CallType::Subscribe).copied().unwrap_or_default();
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
        ("master/slave_removals/reason_registered", counters.agents_replaced),
        ("master/slave_removals/reason_unhealthy", counters.agents_unreachable),
        ("master/slave_removals/reason_unregistered", counters.agents_unregistered),
        ("master/recovery_slave_removals", counters.recovered_agents_unreachable),
        ("master/slave_unreachable_scheduled", counters.agents_to_be_unreachable),
        ("master/slave_unreachable_canceled", counters.agents_spared),
        ("master/slave_unreachable_completed", counters.agents_unreachable),
        // What the above were called when such agents were shut down.
        ("master/slave_shutdowns_scheduled", counters.agents_to_be_unreachable),
        ("master/slave_shutdowns_canceled", counters.agents_spared),
        ("master/slave_shutdowns_completed", counters.agents_unreachable),
        // Tools read these too. No answer is kept, and the message is not understood here.
        ("master/http_cache_hits", 0),
        ("master/messages_deactivate_framework", 0),
        ("master/messages_register_framework", subscriptions - counters.framework_resubscriptions),
        ("master/messages_reregister_framework", counters.framework_resubscriptions),
        ("master/offers_made", counters.offers_made),
        ("master/frameworks_removed", counters.frameworks_removed),
        ("allocator/mesos/allocation_runs", counters.allocation_runs),
    ] {
        set(metrics, name, counted(number));
    }
}

fn judged(snapshot: &Snapshot, metrics: &mut Metrics) {
    let counters = &snapshot.counters;
    for (name, judged) in [
        ("operation_status_updates", counters.operation_updates),
        ("operation_status_update_acknowledgements", counters.operation_acknowledgements),
        ("framework_to_executor_messages", counters.messages_to_executors),
        ("executor_to_framework_messages", counters.messages_of_executors),
    ] {
        set(metrics, &format!("master/valid_{name}"), counted(judged.valid));
        set(metrics, &format!("master/invalid_{name}"), counted(judged.invalid));
    }
}

/// What drivers have sent, by the principals of frameworks: those over HTTP have sent no messages.
fn principals(facts: &Facts, snapshot: &Snapshot, metrics: &mut Metrics) {
    for principal in snapshot.frameworks.iter().filter_map(|it| it.info.principal.as_deref()) {
        let count = facts.timings.messages.count(principal);
        set(metrics, &format!("frameworks/{principal}/messages_received"), counted(count.received));
        set(
            metrics,
            &format!("frameworks/{principal}/messages_processed"),
            counted(count.processed),
        );
    }
}

fn timings(facts: &Facts, metrics: &mut Metrics) {
    let timings = &facts.timings;
    let authentications = timings.authentications.load(Ordering::Relaxed);
    set(metrics, "master/messages_authenticate", counted(authentications));
    for (name, timer) in [
        ("allocator/mesos/allocation_run_latency_ms", &timings.allocation_latency),
        ("allocator/mesos/allocation_run_ms", &timings.allocation),
        ("registrar/state_fetch_ms", &timings.fetch),
        ("registrar/state_store_ms", &timings.store),
    ] {
        for (ending, value) in timer.figures() {
            set(metrics, &format!("{name}{ending}"), value);
        }
    }
}

fn one_framework(framework: &FrameworkSnapshot, used: &Resources, metrics: &mut Metrics) {
    // Slashes part the components of a metric's name.
    let name = framework.info.name.replace('%', "%25").replace('/', "%2F");
    let prefix = format!("master/frameworks/{name}/{}", framework.id);
    let subscribed = f64::from(u8::from(framework.is_connected()));
    set(metrics, &format!("{prefix}/subscribed"), subscribed);
    let counters = &framework.counters;
    for (state, name) in STATES {
        let (kind, number) = if is_terminal(state) {
            ("terminal", counted(counters.ended.get(&state).copied().unwrap_or_default()))
        } else {
            let tasks = framework.tasks.iter().chain(&framework.unreachable_tasks);
            ("active", count(tasks.filter(|task| task.state() == state).count()))
        };
        set(metrics, &format!("{prefix}/tasks/{kind}/task_{name}"), number);
    }
    set(metrics, &format!("{prefix}/calls"), counted(counters.calls.values().sum()));
    for (kind, number) in &counters.calls {
        let kind = kind.as_str_name().to_ascii_lowercase();
        set(metrics, &format!("{prefix}/calls/{kind}"), counted(*number));
    }
    set(metrics, &format!("{prefix}/events"), counted(counters.events.values().sum()));
    for (kind, number) in &counters.events {
        let kind = kind.as_str_name().to_ascii_lowercase();
        set(metrics, &format!("{prefix}/events/{kind}"), counted(*number));
    }
    set(metrics, &format!("{prefix}/operations"), counted(counters.operations.values().sum()));
    for (kind, number) in &counters.operations {
        let kind = kind.as_str_name().to_ascii_lowercase();
        set(metrics, &format!("{prefix}/operations/{kind}"), counted(*number));
    }
    for (name, number) in [
        ("sent", counters.offers_sent),
        ("accepted", counters.offers_accepted),
        ("declined", counters.offers_declined),
        ("rescinded", counters.offers_rescinded),
    ] {
        set(metrics, &format!("{prefix}/offers/{name}"), counted(number));
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
