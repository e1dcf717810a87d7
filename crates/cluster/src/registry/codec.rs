//! The registry's keys and values as bytes. The messages here are the on-disk format: fields are
//! only ever added.

use std::sync::Arc;
use std::time::Duration;

use mesos_api::v1;
use prost::{DecodeError, Message};

use super::{
    AdmittedAgent, Drain, Machine, MachineId, MachineMode, Quota, Registry, UnreachableAgent, Write,
};
use crate::id::{AgentId, FrameworkId, Role};
use crate::resources::{Quantities, Scalar};
use crate::time::Time;

/// Why a store's content is no registry.
#[derive(Debug, thiserror::Error)]
#[error("bad registry value under key {key}; restore the store from a backup or remove the key")]
pub struct LoadError {
    pub key: String,
    pub source: DecodeError,
}

#[derive(Clone, PartialEq, Message)]
struct AgentValue {
    #[prost(message, optional, tag = "1")]
    info: Option<v1::AgentInfo>,
    #[prost(bool, tag = "2")]
    deactivated: bool,
    #[prost(message, optional, tag = "3")]
    drain: Option<DrainValue>,
}

#[derive(Clone, PartialEq, Message)]
struct DrainValue {
    #[prost(uint64, optional, tag = "1")]
    max_grace_period_nanos: Option<u64>,
    #[prost(bool, tag = "2")]
    mark_gone: bool,
    #[prost(bool, tag = "3")]
    drained: bool,
    #[prost(uint64, tag = "4")]
    started_nanos: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DepartedValue {
    #[prost(uint64, tag = "1")]
    at_nanos: u64,
    #[prost(message, optional, tag = "2")]
    agent: Option<AgentValue>,
}

#[derive(Clone, PartialEq, Message)]
struct MachineValue {
    #[prost(string, tag = "1")]
    hostname: String,
    #[prost(string, tag = "2")]
    ip: String,
    #[prost(bool, tag = "3")]
    down: bool,
    #[prost(uint64, tag = "4")]
    start_nanos: u64,
    #[prost(uint64, optional, tag = "5")]
    duration_nanos: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct QuotaValue {
    #[prost(btree_map = "string, sint64", tag = "1")]
    guarantees_milli: std::collections::BTreeMap<String, i64>,
    #[prost(btree_map = "string, sint64", tag = "2")]
    limits_milli: std::collections::BTreeMap<String, i64>,
}

#[derive(Clone, PartialEq, Message)]
struct WeightValue {
    #[prost(double, tag = "1")]
    weight: f64,
}

fn put(kind: &str, id: &str, value: &impl Message) -> Write {
    Write { key: format!("{kind}/{id}"), value: Some(value.encode_to_vec()) }
}

pub(super) fn delete_if(known: bool, kind: &str, id: &str) -> Vec<Write> {
    if known { vec![Write { key: format!("{kind}/{id}"), value: None }] } else { Vec::new() }
}

pub(super) fn agent(id: &AgentId, agent: &AdmittedAgent) -> Write {
    put("agent", id.as_str(), &agent_value(agent))
}

pub(super) fn unreachable(id: &AgentId, lost: &UnreachableAgent) -> Write {
    let value = DepartedValue {
        at_nanos: lost.since.as_nanos(),
        agent: lost.agent.as_ref().map(agent_value),
    };
    put("unreachable", id.as_str(), &value)
}

pub(super) fn departed(kind: &str, id: &str, at: Time) -> Write {
    put(kind, id, &DepartedValue { at_nanos: at.as_nanos(), agent: None })
}

pub(super) fn framework(id: &FrameworkId, info: &v1::FrameworkInfo) -> Write {
    put("framework", id.as_str(), info)
}

pub(super) fn machine_key(id: &MachineId) -> String {
    format!("{}/{}", id.hostname, id.ip)
}

pub(super) fn machine(id: &MachineId, machine: &Machine) -> Write {
    let value = MachineValue {
        hostname: id.hostname.clone(),
        ip: id.ip.clone(),
        down: machine.mode == MachineMode::Down,
        start_nanos: machine.start.as_nanos(),
        duration_nanos: machine.duration.map(nanos),
    };
    put("machine", &machine_key(id), &value)
}

pub(super) fn quota(role: &Role, quota: &Quota) -> Write {
    let milli = |(name, amount): (&Arc<str>, Scalar)| (name.to_string(), amount.as_milli());
    let value = QuotaValue {
        guarantees_milli: quota.guarantees.iter().map(milli).collect(),
        limits_milli: quota.limits.iter().map(|(name, amount)| milli((name, *amount))).collect(),
    };
    put("quota", role.as_str(), &value)
}

pub(super) fn weight(role: &Role, weight: f64) -> Write {
    put("weight", role.as_str(), &WeightValue { weight })
}

/// Puts one pair of the store into the registry. Keys of later versions are left alone.
pub(super) fn load(registry: &mut Registry, key: &str, value: &[u8]) -> Result<(), LoadError> {
    let bad = |source| LoadError { key: key.to_owned(), source };
    let Some((kind, id)) = key.split_once('/') else { return Ok(()) };
    match kind {
        "agent" => {
            let value = AgentValue::decode(value).map_err(bad)?;
            registry.agents.insert(id.into(), admitted(value));
        }
        "unreachable" => {
            let value = DepartedValue::decode(value).map_err(bad)?;
            let since = Time::from_nanos(value.at_nanos);
            let lost = UnreachableAgent { since, agent: value.agent.map(admitted) };
            registry.unreachable.insert(id.into(), lost);
        }
        "gone" => {
            let value = DepartedValue::decode(value).map_err(bad)?;
            registry.gone.insert(id.into(), Time::from_nanos(value.at_nanos));
        }
        "framework" => {
            let info = v1::FrameworkInfo::decode(value).map_err(bad)?;
            registry.frameworks.insert(id.into(), Arc::new(info));
        }
        "removed" => {
            let value = DepartedValue::decode(value).map_err(bad)?;
            registry.removed_frameworks.insert(id.into(), Time::from_nanos(value.at_nanos));
        }
        "machine" => {
            let value = MachineValue::decode(value).map_err(bad)?;
            let mode = if value.down { MachineMode::Down } else { MachineMode::Draining };
            let machine = Machine {
                mode,
                start: Time::from_nanos(value.start_nanos),
                duration: value.duration_nanos.map(Duration::from_nanos),
            };
            let id = MachineId { hostname: value.hostname, ip: value.ip };
            registry.machines.insert(id, machine);
        }
        "quota" => {
            let value = QuotaValue::decode(value).map_err(bad)?;
            let one = |(name, milli): (String, i64)| (Arc::from(name), Scalar::from_milli(milli));
            let quota = Quota {
                guarantees: value.guarantees_milli.into_iter().map(one).collect::<Quantities>(),
                limits: value.limits_milli.into_iter().map(one).collect(),
            };
            registry.quotas.insert(Role::from(id), quota);
        }
        "weight" => {
            let value = WeightValue::decode(value).map_err(bad)?;
            registry.weights.insert(Role::from(id), value.weight);
        }
        _ => {}
    }
    Ok(())
}

fn agent_value(agent: &AdmittedAgent) -> AgentValue {
    AgentValue {
        info: Some((*agent.info).clone()),
        deactivated: agent.deactivated,
        drain: agent.drain.as_ref().map(|drain| DrainValue {
            max_grace_period_nanos: drain.max_grace_period.map(nanos),
            mark_gone: drain.mark_gone,
            drained: drain.drained,
            started_nanos: drain.started.as_nanos(),
        }),
    }
}

fn admitted(value: AgentValue) -> AdmittedAgent {
    AdmittedAgent {
        info: Arc::new(value.info.unwrap_or_default()),
        deactivated: value.deactivated,
        drain: value.drain.map(|drain| Drain {
            max_grace_period: drain.max_grace_period_nanos.map(Duration::from_nanos),
            mark_gone: drain.mark_gone,
            drained: drain.drained,
            started: Time::from_nanos(drain.started_nanos),
        }),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
