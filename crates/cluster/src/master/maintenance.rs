//! Maintenance: machines that will be taken away as scheduled, and machines that are.

use std::collections::BTreeMap;
use std::time::Duration;

use mesos_api::v1;
use mesos_api::v1::maintenance::{ClusterStatus, Schedule, Window, cluster_status};

use super::Master;
use super::output::Reply;
use super::remove::Removal;
use crate::id::AgentId;
use crate::registry::{Machine, MachineId, MachineMode, Op};
use crate::time::Time;

impl Master {
    /// Replaces the schedule. Machines that leave it are up again; those that are down must stay in
    /// it until they are brought up.
    pub(super) fn update_schedule(&mut self, schedule: &Schedule) -> Reply {
        let machines = match self.read_schedule(schedule) {
            Ok(machines) => machines,
            Err(error) => return Reply::BadRequest(error),
        };
        let left: Vec<MachineId> = self
            .registry
            .machines
            .keys()
            .filter(|id| !machines.contains_key(*id))
            .cloned()
            .collect();
        let affected: Vec<MachineId> = left.iter().chain(machines.keys()).cloned().collect();
        for id in left {
            self.persist(Op::SetMachine { id, machine: None });
        }
        for (id, machine) in machines {
            if self.registry.machines.get(&id) != Some(&machine) {
                self.persist(Op::SetMachine { id, machine: Some(machine) });
            }
        }
        // Offers that are out tell the old plan.
        for machine in affected {
            for agent in self.agents_on(&machine) {
                self.rescind_agent(&agent);
                self.inverse_answers.retain(|(other, _), _| *other != agent);
            }
        }
        Reply::Ok
    }

    fn read_schedule(&self, schedule: &Schedule) -> Result<BTreeMap<MachineId, Machine>, String> {
        let mut machines = BTreeMap::new();
        for window in &schedule.windows {
            if window.machine_ids.is_empty() {
                return Err("Maintenance window has no machines".into());
            }
            let (start, duration) = read_unavailability(&window.unavailability)?;
            for wire in &window.machine_ids {
                let id = read_machine(wire)?;
                let mode =
                    self.registry.machines.get(&id).map_or(MachineMode::Draining, |it| it.mode);
                let machine = Machine { mode, start, duration };
                if machines.insert(id, machine).is_some() {
                    return Err(format!(
                        "Machine '{}' appears more than once in the schedule",
                        show(wire)
                    ));
                }
            }
        }
        let down =
            self.registry.machines.iter().find(|(id, machine)| {
                machine.mode == MachineMode::Down && !machines.contains_key(*id)
            });
        match down {
            Some((id, _)) => Err(format!(
                "Machine '{}' is deactivated and cannot be removed from the schedule: bring it up first",
                show(&wire_machine(id))
            )),
            None => Ok(machines),
        }
    }

    /// Takes machines down: their agents end, and are refused until the machines are up.
    pub(super) fn start_maintenance(&mut self, machines: &[v1::MachineId]) -> Reply {
        let ids = match self.read_machines(machines, MachineMode::Draining) {
            Ok(ids) => ids,
            Err(error) => return Reply::BadRequest(error),
        };
        for id in ids {
            if let Some(machine) = self.registry.machines.get(&id).cloned() {
                let machine = Machine { mode: MachineMode::Down, ..machine };
                self.persist(Op::SetMachine { id: id.clone(), machine: Some(machine) });
            }
            for agent in self.agents_on(&id) {
                if let Some(state) = self.agents.get(&agent) {
                    let pid = state.pid.clone();
                    self.send_away(pid, "Operator initiated 'Machine DOWN'".into());
                }
                self.remove_agent(
                    &agent,
                    Removal::Unregistered,
                    "Operator initiated 'Machine DOWN'",
                );
            }
        }
        Reply::Ok
    }

    /// Brings machines up: they leave the schedule, and their agents may come.
    pub(super) fn stop_maintenance(&mut self, machines: &[v1::MachineId]) -> Reply {
        match self.read_machines(machines, MachineMode::Down) {
            Ok(ids) => {
                for id in ids {
                    self.persist(Op::SetMachine { id, machine: None });
                }
                Reply::Ok
            }
            Err(error) => Reply::BadRequest(error),
        }
    }

    fn read_machines(
        &self,
        machines: &[v1::MachineId],
        mode: MachineMode,
    ) -> Result<Vec<MachineId>, String> {
        if machines.is_empty() {
            return Err("List of machines is empty".into());
        }
        let mut ids = Vec::new();
        for wire in machines {
            let id = read_machine(wire)?;
            let state = self.registry.machines.get(&id).ok_or_else(|| {
                format!("Machine '{}' is not part of a maintenance schedule", show(wire))
            })?;
            if state.mode != mode {
                let (is, wanted) = match mode {
                    MachineMode::Draining => ("already down", "DRAINING"),
                    MachineMode::Down => ("not down", "DOWN"),
                };
                return Err(format!(
                    "Machine '{}' is not in {wanted} mode: it is {is}",
                    show(wire)
                ));
            }
            ids.push(id);
        }
        if let Some(id) = super::validate::first_duplicate(&ids) {
            return Err(format!("Machine '{}' is listed twice", show(&wire_machine(id))));
        }
        Ok(ids)
    }

    fn agents_on(&self, id: &MachineId) -> Vec<AgentId> {
        self.agents
            .values()
            .filter(|agent| is_same(id, &agent.machine))
            .map(|agent| agent.id.clone())
            .collect()
    }

    fn machine(&self, machine: &MachineId) -> Option<&Machine> {
        if self.registry.machines.is_empty() {
            return None;
        }
        self.registry.machines.iter().find(|(id, _)| is_same(id, machine)).map(|(_, state)| state)
    }

    /// Whether the machine is taken away.
    pub(super) fn is_down(&self, machine: &MachineId) -> bool {
        self.machine(machine).is_some_and(|machine| machine.mode == MachineMode::Down)
    }

    /// When the machine will be away, for offers of its agents.
    pub(super) fn unavailability_wire(&self, machine: &MachineId) -> Option<v1::Unavailability> {
        self.machine(machine).map(|machine| self.unavailability_of(machine))
    }

    fn unavailability_of(&self, machine: &Machine) -> v1::Unavailability {
        v1::Unavailability {
            start: self.time_wire(machine.start),
            duration: machine.duration.map(|duration| v1::DurationInfo {
                nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX),
            }),
        }
    }

    pub(super) fn schedule_wire(&self) -> Schedule {
        let mut windows: Vec<Window> = Vec::new();
        for (id, machine) in &self.registry.machines {
            let unavailability = self.unavailability_of(machine);
            match windows.iter_mut().find(|window| window.unavailability == unavailability) {
                Some(window) => window.machine_ids.push(wire_machine(id)),
                None => {
                    windows.push(Window { machine_ids: vec![wire_machine(id)], unavailability });
                }
            }
        }
        Schedule { windows }
    }

    pub(super) fn maintenance_status_wire(&self) -> ClusterStatus {
        let mut status = ClusterStatus::default();
        for (id, machine) in &self.registry.machines {
            match machine.mode {
                MachineMode::Down => status.down_machines.push(wire_machine(id)),
                MachineMode::Draining => {
                    let agents = self.agents_on(id);
                    status.draining_machines.push(cluster_status::DrainingMachine {
                        id: wire_machine(id),
                        statuses: agents.iter().flat_map(|it| self.inverse_statuses(it)).collect(),
                    });
                }
            }
        }
        status
    }
}

/// Whether an agent's machine is the one an operator named, by name, by address, or both.
fn is_same(named: &MachineId, machine: &MachineId) -> bool {
    (named.hostname.is_empty() || named.hostname.eq_ignore_ascii_case(&machine.hostname))
        && (named.ip.is_empty() || named.ip == machine.ip)
}

fn read_machine(wire: &v1::MachineId) -> Result<MachineId, String> {
    let id = MachineId {
        hostname: wire.hostname.clone().unwrap_or_default().to_ascii_lowercase(),
        ip: wire.ip.clone().unwrap_or_default(),
    };
    if id == MachineId::default() {
        return Err("Both 'hostname' and 'ip' for a machine are empty".into());
    }
    if !id.ip.is_empty() && id.ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("'{}' is no IP address", id.ip));
    }
    Ok(id)
}

fn wire_machine(id: &MachineId) -> v1::MachineId {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    v1::MachineId { hostname: some(&id.hostname), ip: some(&id.ip) }
}

fn show(machine: &v1::MachineId) -> String {
    let name = machine.hostname.as_deref().unwrap_or_default();
    match machine.ip.as_deref() {
        Some(ip) if name.is_empty() => ip.to_owned(),
        Some(ip) => format!("{name} ({ip})"),
        None => name.to_owned(),
    }
}

fn read_unavailability(wire: &v1::Unavailability) -> Result<(Time, Option<Duration>), String> {
    let start = u64::try_from(wire.start.nanoseconds)
        .map_err(|_| "Unavailability 'start' is negative".to_owned())?;
    let duration = match &wire.duration {
        None => None,
        Some(duration) => {
            let nanos = u64::try_from(duration.nanoseconds)
                .map_err(|_| "Unavailability 'duration' is negative".to_owned())?;
            Some(Duration::from_nanos(nanos))
        }
    };
    Ok((Time::from_nanos(start), duration))
}
