//! Operators: what they ask of the master while things go wrong, and how they leave it at the end.

use std::collections::BTreeMap;

use cluster::master::{Input, RequestId};
use mesos_api::v1;
use mesos_api::v1::master::{Call, call};
use mesos_api::v1::quota::QuotaConfig;
use mesos_api::v1::resource::{DiskInfo, ReservationInfo, disk_info, reservation_info};
use mesos_api::v1::{maintenance, value};

use super::World;

/// The role that operators give things to.
pub(crate) const ROLE: &str = "r";

impl World {
    /// One of the things that operators do.
    pub(super) fn interfere(&mut self, agent: u32) {
        let calls = match self.rng.below(14) {
            0 => self.mark_gone(agent),
            1 => self.drain(agent),
            2 => self.on_agent(agent, deactivate),
            3 => self.on_agent(agent, reactivate),
            4 => self.on_agent(agent, |id| reserve(id, reserved("cpus", 0.2))),
            5 => self.on_agent(agent, |id| unreserve(id, reserved("cpus", 0.2))),
            6 => self.on_agent(agent, |id| reserve(id, reserved("disk", 64.0))),
            7 => self.on_agent(agent, |id| create(id, volume())),
            8 => self.on_agent(agent, |id| destroy(id, volume())),
            9 => Some(schedule(Some(agent))),
            10 => Some(if self.rng.one_in(2) { down(agent) } else { up(agent) }),
            11 => Some(quota(None, self.rng.one_in(2).then_some(0.3))),
            12 => Some(quota(Some(0.4), self.rng.one_in(2).then_some(0.9))),
            _ => Some(weigh([0.5, 1.0, 3.0][usize::try_from(self.rng.below(3)).unwrap_or(0)])),
        };
        if let Some(call) = calls {
            self.operate(call);
        }
    }

    /// Everything that was taken away is given back: agents work, machines are up, roles are free.
    /// What has to wait is asked for again the next time.
    pub(super) fn make_peace(&mut self) {
        self.operate(quota(None, None));
        let names: Vec<u32> = self.machines.keys().copied().collect();
        for name in &names {
            if let Some(call) = self.on_agent(*name, reactivate) {
                self.operate(call);
            }
            self.operate(up(*name));
        }
        self.operate(schedule(None));
        self.give_up_strays();
        for name in names {
            self.switch_on(name);
        }
    }

    /// Agents that nobody is any more never come back: one that dies before it has written down who
    /// it is becomes another.
    fn give_up_strays(&mut self) {
        let Some(master) = &self.master else { return };
        let live: Vec<&v1::AgentId> = self
            .machines
            .values()
            .filter_map(|machine| machine.agent.as_ref()?.info().id.as_ref())
            .collect();
        let away = master.snapshot().unreachable_agents;
        let strays = away.iter().map(|(id, _)| v1::AgentId::from(id));
        let strays: Vec<v1::AgentId> = strays.filter(|id| !live.contains(&id)).collect();
        for agent_id in strays {
            self.operate(Call {
                mark_agent_gone: Some(call::MarkAgentGone { agent_id }),
                ..of(call::Type::MarkAgentGone)
            });
        }
    }

    fn operate(&mut self, call: Call) {
        let input = Input::Operator { request: RequestId(0), principal: None, call: call.into() };
        self.tell_master(input);
    }

    fn on_agent(&self, name: u32, call: impl FnOnce(v1::AgentId) -> Call) -> Option<Call> {
        let agent = self.machines.get(&name)?.agent.as_ref()?;
        agent.info().id.clone().map(call)
    }

    /// Gives an agent up. Rare: one that learns of it does not come back.
    fn mark_gone(&mut self, name: u32) -> Option<Call> {
        if !self.rng.one_in(3) {
            return None;
        }
        let call = self.on_agent(name, |agent_id| Call {
            mark_agent_gone: Some(call::MarkAgentGone { agent_id }),
            ..of(call::Type::MarkAgentGone)
        });
        if let Some(machine) = self.machines.get_mut(&name) {
            machine.gone |= call.is_some();
        }
        call
    }

    fn drain(&self, name: u32) -> Option<Call> {
        self.on_agent(name, |agent_id| Call {
            drain_agent: Some(call::DrainAgent { agent_id, ..call::DrainAgent::default() }),
            ..of(call::Type::DrainAgent)
        })
    }
}

fn of(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

fn deactivate(agent_id: v1::AgentId) -> Call {
    let deactivate_agent = Some(call::DeactivateAgent { agent_id });
    Call { deactivate_agent, ..of(call::Type::DeactivateAgent) }
}

fn reactivate(agent_id: v1::AgentId) -> Call {
    let reactivate_agent = Some(call::ReactivateAgent { agent_id });
    Call { reactivate_agent, ..of(call::Type::ReactivateAgent) }
}

fn reserve(agent_id: v1::AgentId, resource: v1::Resource) -> Call {
    let reserve =
        call::ReserveResources { agent_id, source: Vec::new(), resources: vec![resource] };
    Call { reserve_resources: Some(reserve), ..of(call::Type::ReserveResources) }
}

fn unreserve(agent_id: v1::AgentId, resource: v1::Resource) -> Call {
    let unreserve = call::UnreserveResources { agent_id, resources: vec![resource] };
    Call { unreserve_resources: Some(unreserve), ..of(call::Type::UnreserveResources) }
}

fn create(agent_id: v1::AgentId, volume: v1::Resource) -> Call {
    let create_volumes = Some(call::CreateVolumes { agent_id, volumes: vec![volume] });
    Call { create_volumes, ..of(call::Type::CreateVolumes) }
}

fn destroy(agent_id: v1::AgentId, volume: v1::Resource) -> Call {
    let destroy_volumes = Some(call::DestroyVolumes { agent_id, volumes: vec![volume] });
    Call { destroy_volumes, ..of(call::Type::DestroyVolumes) }
}

/// Something reserved to the role.
pub(crate) fn reserved(name: &str, amount: f64) -> v1::Resource {
    let mut reservation =
        ReservationInfo { role: Some(ROLE.to_owned()), ..ReservationInfo::default() };
    reservation.set_type(reservation_info::Type::Dynamic);
    let mut resource = v1::Resource {
        name: name.to_owned(),
        scalar: Some(value::Scalar { value: amount }),
        reservations: vec![reservation],
        ..v1::Resource::default()
    };
    resource.set_type(value::Type::Scalar);
    resource
}

fn volume() -> v1::Resource {
    let mut volume = v1::Volume { container_path: "data".to_owned(), ..v1::Volume::default() };
    volume.set_mode(v1::volume::Mode::Rw);
    let persistence = disk_info::Persistence { id: "v".to_owned(), ..Default::default() };
    let disk =
        DiskInfo { persistence: Some(persistence), volume: Some(volume), ..DiskInfo::default() };
    v1::Resource { disk: Some(Box::new(disk)), ..reserved("disk", 64.0) }
}

fn machine(name: u32) -> v1::MachineId {
    v1::MachineId { hostname: Some(format!("host{name}")), ip: None }
}

/// A schedule of one machine, or of none.
fn schedule(name: Option<u32>) -> Call {
    let window = |name| maintenance::Window {
        machine_ids: vec![machine(name)],
        unavailability: v1::Unavailability::default(),
    };
    let schedule = maintenance::Schedule { windows: name.map(window).into_iter().collect() };
    let update = call::UpdateMaintenanceSchedule { schedule };
    let kind = of(call::Type::UpdateMaintenanceSchedule);
    Call { update_maintenance_schedule: Some(update), ..kind }
}

fn down(name: u32) -> Call {
    let start_maintenance = Some(call::StartMaintenance { machines: vec![machine(name)] });
    Call { start_maintenance, ..of(call::Type::StartMaintenance) }
}

fn up(name: u32) -> Call {
    let stop_maintenance = Some(call::StopMaintenance { machines: vec![machine(name)] });
    Call { stop_maintenance, ..of(call::Type::StopMaintenance) }
}

/// What the role is guaranteed and limited to, if to anything.
fn quota(guarantee: Option<f64>, limit: Option<f64>) -> Call {
    let cpus = |amount: Option<f64>| -> BTreeMap<String, value::Scalar> {
        amount.map(|value| ("cpus".to_owned(), value::Scalar { value })).into_iter().collect()
    };
    let (guarantees, limits) = (cpus(guarantee), cpus(limit));
    let config = QuotaConfig { role: ROLE.to_owned(), guarantees, limits };
    let update = call::UpdateQuota { force: Some(true), quota_configs: vec![config] };
    Call { update_quota: Some(update), ..of(call::Type::UpdateQuota) }
}

/// How much the role counts beside the others.
fn weigh(weight: f64) -> Call {
    let weight_infos = vec![v1::WeightInfo { weight, role: Some(ROLE.to_owned()) }];
    let update_weights = Some(call::UpdateWeights { weight_infos });
    Call { update_weights, ..of(call::Type::UpdateWeights) }
}
