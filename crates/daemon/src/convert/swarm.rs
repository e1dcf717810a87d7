//! Swarms and nodes as Docker shows and asks for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_api::models::swarm as wire;
use serde_json::{Value, json};
use swarm::{
    Availability, Cluster, ClusterSpec, LocalState, NodeSpec, NodeStatus, Role, Status, Subnet,
    TrustRoot,
};

use crate::error::{ApiError, ApiResult};
use crate::params::printable;

/// What Docker shows of raft; the state of this swarm's manager is in no raft log.
const SNAPSHOT_INTERVAL: u64 = 10_000;
const SLOW_FOLLOWERS: u64 = 500;
const ELECTION_TICK: i64 = 10;
const HEARTBEAT_TICK: i64 = 1;

/// Reads what a swarm is to be like. What is not said is as `base` has it.
pub(crate) fn cluster_spec(wire: wire::Spec, base: &ClusterSpec) -> ApiResult<ClusterSpec> {
    refuse_absent(&wire)?;
    let mut spec = base.clone();
    if let Some(name) = wire.name.filter(|name| !name.is_empty()) {
        if name != "default" {
            return Err(ApiError::invalid("swarm spec must be named \"default\""));
        }
        spec.name = name;
    }
    if let Some(labels) = wire.labels {
        spec.labels = labels;
    }
    if let Some(limit) = wire.orchestration.and_then(|of| of.task_history_retention_limit) {
        if limit < 0 {
            return Err(ApiError::invalid(format!("invalid task history limit: {limit}")));
        }
        spec.task_history_limit = limit;
    }
    let nanos = |value: Option<i64>, what: &str| match value {
        None | Some(0) => Ok(None),
        Some(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| ApiError::invalid(format!("invalid {what}: {value} nanoseconds"))),
    };
    let period = wire.dispatcher.and_then(|dispatcher| dispatcher.heartbeat_period);
    if let Some(period) = nanos(period, "heartbeat period")? {
        spec.heartbeat_period_nanos = period;
    }
    let expiry = wire.ca_config.and_then(|ca| ca.node_cert_expiry);
    if let Some(expiry) = nanos(expiry, "certificate expiry")? {
        spec.cert_expiry_nanos = expiry;
    }
    Ok(spec)
}

/// Refuses by name what a swarm of Docker's has and this one has not.
fn refuse_absent(wire: &wire::Spec) -> ApiResult<()> {
    let refuse = |what: &str| Err(ApiError::unsupported(format!("{what} is not supported")));
    if wire.encryption_config.as_ref().and_then(|of| of.auto_lock_managers) == Some(true) {
        return refuse("locking managers (autolock)");
    }
    if wire.task_defaults.as_ref().is_some_and(|defaults| defaults.log_driver.is_some()) {
        return refuse("a default log driver of services, of which there are none, ");
    }
    if let Some(ca) = &wire.ca_config {
        if ca.external_cas.as_ref().is_some_and(|cas| !cas.is_empty()) {
            return refuse("an external certificate authority (external-ca)");
        }
        let own = [&ca.signing_ca_cert, &ca.signing_ca_key];
        let own = own.into_iter().flatten().any(|text| !text.is_empty());
        if own || ca.force_rotate.is_some_and(|count| count != 0) {
            return refuse("exchanging the swarm's root certificate (ca --rotate)");
        }
    }
    let Some(raft) = &wire.raft else { return Ok(()) };
    let differs = |value: Option<u64>, shown: u64| value.is_some_and(|v| v != 0 && v != shown);
    if differs(raft.snapshot_interval, SNAPSHOT_INTERVAL) {
        return refuse("raft's snapshot interval (the manager keeps no raft log)");
    }
    if raft.keep_old_snapshots.is_some_and(|count| count != 0) {
        return refuse("keeping raft's snapshots (the manager keeps no raft log)");
    }
    if differs(raft.log_entries_for_slow_followers, SLOW_FOLLOWERS)
        || raft.election_tick.is_some_and(|ticks| ticks != 0 && ticks != ELECTION_TICK)
        || raft.heartbeat_tick.is_some_and(|ticks| ticks != 0 && ticks != HEARTBEAT_TICK)
    {
        return refuse("setting raft's ticks and followers (there is one manager)");
    }
    Ok(())
}

/// Reads whether a node is to get tasks; nothing said is `base`.
pub(crate) fn availability(text: Option<&str>, base: Availability) -> ApiResult<Availability> {
    match text.unwrap_or_default() {
        "" => Ok(base),
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        other => Err(ApiError::invalid(format!("invalid Availability: \"{}\"", printable(other)))),
    }
}

/// Reads what a node is to be.
pub(crate) fn node_spec(wire: wire::NodeSpec) -> ApiResult<NodeSpec> {
    let role = match wire.role.as_deref().unwrap_or_default() {
        "worker" => Role::Worker,
        "manager" => Role::Manager,
        other => {
            return Err(ApiError::invalid(format!("invalid Role: \"{}\"", printable(other))));
        }
    };
    let availability = match wire.availability.as_deref() {
        None | Some("") => return Err(ApiError::invalid("invalid Availability: \"\"")),
        text => availability(text, Availability::Active)?,
    };
    let labels = wire.labels.unwrap_or_default();
    Ok(NodeSpec { name: wire.name.unwrap_or_default(), labels, role, availability })
}

/// Reads pools of subnets; none is Docker's 10.0.0.0/8.
pub(crate) fn pools(texts: Vec<String>) -> ApiResult<Vec<Subnet>> {
    let texts = if texts.is_empty() { vec!["10.0.0.0/8".to_owned()] } else { texts };
    let read = |text: &String| {
        text.parse().map_err(|error: swarm::Error| {
            ApiError::invalid(format!(
                "invalid default address pool: {}",
                printable(&error.message)
            ))
        })
    };
    texts.iter().map(read).collect()
}

/// Converts a swarm, without its tokens.
pub(crate) fn cluster(cluster: &Cluster, root: &TrustRoot) -> Value {
    let spec = &cluster.spec;
    json!({
        "ID": cluster.id,
        "Version": {"Index": cluster.version},
        "CreatedAt": cluster.created.to_string(),
        "UpdatedAt": cluster.updated.to_string(),
        "Spec": {
            "Name": spec.name,
            "Labels": spec.labels,
            "Orchestration": {"TaskHistoryRetentionLimit": spec.task_history_limit},
            "Raft": {
                "SnapshotInterval": SNAPSHOT_INTERVAL,
                "KeepOldSnapshots": 0,
                "LogEntriesForSlowFollowers": SLOW_FOLLOWERS,
                "ElectionTick": ELECTION_TICK,
                "HeartbeatTick": HEARTBEAT_TICK,
            },
            "Dispatcher": {"HeartbeatPeriod": spec.heartbeat_period_nanos},
            "CAConfig": {"NodeCertExpiry": spec.cert_expiry_nanos},
            "TaskDefaults": {},
            "EncryptionConfig": {"AutoLockManagers": false},
        },
        "TLSInfo": tls_info(root),
        "RootRotationInProgress": false,
        "DefaultAddrPool": cluster.pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "SubnetSize": cluster.subnet_size,
        "DataPathPort": cluster.data_path_port,
    })
}

fn tls_info(root: &TrustRoot) -> Value {
    json!({
        "TrustRoot": root.certificate,
        "CertIssuerSubject": STANDARD.encode(&root.issuer_subject),
        "CertIssuerPublicKey": STANDARD.encode(&root.issuer_public_key),
    })
}

/// Converts a node.
pub(crate) fn node(status: &NodeStatus, root: &TrustRoot) -> Value {
    let node = &status.node;
    let about = &node.description;
    let mut spec = json!({
        "Labels": node.spec.labels,
        "Role": node.spec.role.as_str(),
        "Availability": node.spec.availability.as_str(),
    });
    if !node.spec.name.is_empty() {
        spec["Name"] = json!(node.spec.name);
    }
    let plugins = about.plugins.iter().map(|(kind, name)| json!({"Type": kind, "Name": name}));
    let mut engine = json!({
        "EngineVersion": about.engine_version,
        "Plugins": plugins.collect::<Vec<_>>(),
    });
    if !about.engine_labels.is_empty() {
        engine["Labels"] = json!(about.engine_labels);
    }
    let mut state = json!({"State": status.state.as_str(), "Addr": status.address});
    if !status.message.is_empty() {
        state["Message"] = json!(status.message);
    }
    let mut wire = json!({
        "ID": node.id,
        "Version": {"Index": node.version},
        "CreatedAt": node.created.to_string(),
        "UpdatedAt": node.updated.to_string(),
        "Spec": spec,
        "Description": {
            "Hostname": about.hostname,
            "Platform": {"Architecture": about.architecture, "OS": about.os},
            "Resources": {"NanoCPUs": about.nano_cpus, "MemoryBytes": about.memory_bytes},
            "Engine": engine,
            "TLSInfo": tls_info(root),
        },
        "Status": state,
    });
    if let Some(address) = &status.manager_address {
        wire["ManagerStatus"] =
            json!({"Leader": true, "Reachability": "reachable", "Addr": address});
    }
    wire
}

/// Converts this host's part, as `info` shows it.
pub(crate) fn part(status: &Status, root: Option<&TrustRoot>) -> Value {
    let managers: Vec<Value> = status
        .managers
        .iter()
        .map(|(id, address)| json!({"NodeID": id, "Addr": address}))
        .collect();
    let mut wire = json!({
        "NodeID": status.node_id,
        "NodeAddr": status.node_address,
        "LocalNodeState": status.state.as_str(),
        "ControlAvailable": status.is_manager,
        "Error": status.error,
        "RemoteManagers": Some(managers).filter(|managers| !managers.is_empty()),
    });
    if let (Some((swarm, nodes, managers)), Some(root)) = (&status.cluster, root) {
        wire["Nodes"] = json!(nodes);
        wire["Managers"] = json!(managers);
        wire["Cluster"] = cluster(swarm, root);
    }
    wire
}

/// What the `Swarm` header of a ping says.
pub(crate) fn header(status: &Status) -> &'static str {
    match (status.state, status.is_manager) {
        (LocalState::Inactive, _) => "inactive",
        (LocalState::Pending, _) => "pending",
        (LocalState::Error, _) => "error",
        (LocalState::Active, true) => "active/manager",
        (LocalState::Active, false) => "active/worker",
    }
}
