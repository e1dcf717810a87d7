//! Bodies of the swarm operations as clients send them. `null` and a missing key both mean that
//! nothing is asked for. Source of truth: Engine API v1.51, `SwarmInit`, `SwarmJoin`, `SwarmUpdate`
//! and `NodeUpdate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Body of `POST /swarm/init`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Init {
    /// `host:port` or `interface:port` of the control port.
    pub listen_addr: Option<String>,
    /// An address or an interface, with or without a port.
    pub advertise_addr: Option<String>,
    /// An address or an interface.
    pub data_path_addr: Option<String>,
    /// UDP port of VXLAN packets; 0 is the default.
    pub data_path_port: Option<u32>,
    /// Whether to take up the swarm of this manager.
    pub force_new_cluster: Option<bool>,
    /// Whether managers need a key after their start.
    pub auto_lock_managers: Option<bool>,
    /// `active`, `pause` or `drain`.
    pub availability: Option<String>,
    /// Subnets in CIDR notation.
    pub default_addr_pool: Option<Vec<String>>,
    /// Bits of the prefix of networks' subnets; 0 is the default.
    pub subnet_size: Option<u32>,
    /// What the swarm is to be like.
    pub spec: Option<Spec>,
}

/// Body of `POST /swarm/join`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Join {
    /// As in [`Init`].
    pub listen_addr: Option<String>,
    /// As in [`Init`].
    pub advertise_addr: Option<String>,
    /// As in [`Init`].
    pub data_path_addr: Option<String>,
    /// Managers, `host:port`.
    pub remote_addrs: Option<Vec<String>>,
    /// The secret; not shown by `Debug`.
    pub join_token: Option<String>,
    /// As in [`Init`].
    pub availability: Option<String>,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("remote_addrs", &self.remote_addrs).finish_non_exhaustive()
    }
}

/// What a swarm is like; body of `POST /swarm/update`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Spec {
    /// `default`
    pub name: Option<String>,
    /// Labels of the swarm.
    pub labels: Option<BTreeMap<String, String>>,
    /// Of services' tasks.
    pub orchestration: Option<Orchestration>,
    /// Of the managers among each other.
    pub raft: Option<Raft>,
    /// Of managers and nodes.
    pub dispatcher: Option<Dispatcher>,
    /// Of the certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: Option<CaConfig>,
    /// Of services' tasks.
    pub task_defaults: Option<TaskDefaults>,
    /// Of what managers keep.
    pub encryption_config: Option<EncryptionConfig>,
}

/// `Orchestration` of a [`Spec`].
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Orchestration {
    /// Ended tasks that are remembered.
    pub task_history_retention_limit: Option<i64>,
}

/// `Raft` of a [`Spec`].
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Raft {
    /// Log entries between two snapshots.
    pub snapshot_interval: Option<u64>,
    /// Snapshots that are kept beyond the newest.
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept for slow followers.
    pub log_entries_for_slow_followers: Option<u64>,
    /// Ticks until an election.
    pub election_tick: Option<i64>,
    /// Ticks between heartbeats.
    pub heartbeat_tick: Option<i64>,
}

/// `Dispatcher` of a [`Spec`].
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Dispatcher {
    /// Nanoseconds.
    pub heartbeat_period: Option<i64>,
}

/// `CAConfig` of a [`Spec`].
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CaConfig {
    /// Nanoseconds.
    pub node_cert_expiry: Option<i64>,
    /// Authorities that sign in the swarm's stead.
    #[serde(rename = "ExternalCAs")]
    pub external_cas: Option<Vec<Value>>,
    /// A root certificate of the client's own.
    #[serde(rename = "SigningCACert")]
    pub signing_ca_cert: Option<String>,
    /// Its key.
    #[serde(rename = "SigningCAKey")]
    pub signing_ca_key: Option<String>,
    /// Raised to have a new root certificate.
    pub force_rotate: Option<u64>,
}

/// `TaskDefaults` of a [`Spec`].
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskDefaults {
    /// The log driver of services that name none.
    pub log_driver: Option<Value>,
}

/// `EncryptionConfig` of a [`Spec`].
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EncryptionConfig {
    /// Whether managers need a key after their start.
    pub auto_lock_managers: Option<bool>,
}

/// Body of `POST /nodes/{id}/update`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSpec {
    /// A name in the place of the hostname.
    pub name: Option<String>,
    /// Labels of the node.
    pub labels: Option<BTreeMap<String, String>>,
    /// `worker` or `manager`.
    pub role: Option<String>,
    /// `active`, `pause` or `drain`.
    pub availability: Option<String>,
}
