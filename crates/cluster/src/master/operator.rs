//! Calls of operators that change something.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesos_api::v1;
use mesos_api::v1::master::{Call, call};
use mesos_api::v1::offer::{Operation, operation};
use mesos_api::v1::quota::{QuotaConfig, QuotaRequest};

use super::output::Reply;
use super::{Master, validate};
use crate::id::{AgentId, FrameworkId, Role};
use crate::registry::{Op, Quota};
use crate::resources::{Quantities, Resources, Scalar};
use crate::role;

impl Master {
    pub(super) fn operate(&mut self, principal: Option<Arc<str>>, call: Call) -> Reply {
        let kind = call.r#type();
        self.operate_call(principal.as_deref(), call).unwrap_or_else(|| {
            Reply::BadRequest(format!(
                "Failed to validate master::Call: Expecting '{}' to be present",
                kind.as_str_name().to_ascii_lowercase()
            ))
        })
    }

    /// None: the call's body is not there.
    fn operate_call(&mut self, principal: Option<&str>, call: Call) -> Option<Reply> {
        use call::Type;
        let on_agent = |id: &v1::AgentId| AgentId::from(id);
        Some(match call.r#type() {
            Type::UpdateWeights => self.update_weights(&call.update_weights?.weight_infos),
            Type::ReserveResources => {
                let call = call.reserve_resources?;
                let mut operation = operation_of(operation::Type::Reserve);
                operation.reserve =
                    Some(operation::Reserve { source: call.source, resources: call.resources });
                self.operate_on_free(&on_agent(&call.agent_id), principal, operation)
            }
            Type::UnreserveResources => {
                let call = call.unreserve_resources?;
                let mut operation = operation_of(operation::Type::Unreserve);
                operation.unreserve = Some(operation::Unreserve { resources: call.resources });
                self.operate_on_free(&on_agent(&call.agent_id), principal, operation)
            }
            Type::CreateVolumes => {
                let call = call.create_volumes?;
                let mut operation = operation_of(operation::Type::Create);
                operation.create = Some(operation::Create { volumes: call.volumes });
                self.operate_on_free(&on_agent(&call.agent_id), principal, operation)
            }
            Type::DestroyVolumes => {
                let call = call.destroy_volumes?;
                let mut operation = operation_of(operation::Type::Destroy);
                operation.destroy = Some(operation::Destroy { volumes: call.volumes });
                self.operate_on_free(&on_agent(&call.agent_id), principal, operation)
            }
            Type::GrowVolume => {
                let call = call.grow_volume?;
                let Some(agent) = call.agent_id else { return Some(without_agent()) };
                let mut operation = operation_of(operation::Type::GrowVolume);
                let (volume, addition) = (call.volume, call.addition);
                operation.grow_volume = Some(operation::GrowVolume { volume, addition });
                self.operate_on_free(&on_agent(&agent), principal, operation)
            }
            Type::ShrinkVolume => {
                let call = call.shrink_volume?;
                let Some(agent) = call.agent_id else { return Some(without_agent()) };
                let mut operation = operation_of(operation::Type::ShrinkVolume);
                let (volume, subtract) = (call.volume, call.subtract);
                operation.shrink_volume = Some(operation::ShrinkVolume { volume, subtract });
                self.operate_on_free(&on_agent(&agent), principal, operation)
            }
            Type::UpdateMaintenanceSchedule => {
                self.update_schedule(&call.update_maintenance_schedule?.schedule)
            }
            Type::StartMaintenance => self.start_maintenance(&call.start_maintenance?.machines),
            Type::StopMaintenance => self.stop_maintenance(&call.stop_maintenance?.machines),
            Type::DrainAgent => self.drain(&call.drain_agent?),
            Type::DeactivateAgent => {
                self.deactivate_agent(&on_agent(&call.deactivate_agent?.agent_id))
            }
            Type::ReactivateAgent => {
                self.reactivate_agent(&on_agent(&call.reactivate_agent?.agent_id))
            }
            Type::UpdateQuota => {
                let call = call.update_quota?;
                self.update_quota(&call.quota_configs, call.force.unwrap_or(false))
            }
            #[expect(deprecated, reason = "old tools still send it")]
            Type::SetQuota => self.set_quota(&call.set_quota?.quota_request),
            #[expect(deprecated, reason = "old tools still send it")]
            Type::RemoveQuota => self.remove_quota(&call.remove_quota?.role),
            Type::Teardown => self.teardown(&FrameworkId::from(&call.teardown?.framework_id)),
            Type::MarkAgentGone => self.mark_gone(&on_agent(&call.mark_agent_gone?.agent_id)),
            other => Reply::BadRequest(format!("{} changes nothing", other.as_str_name())),
        })
    }

    fn teardown(&mut self, id: &FrameworkId) -> Reply {
        if !self.frameworks.contains_key(id) {
            return Reply::BadRequest("No framework found with specified ID".into());
        }
        self.remove_framework(id, "Framework torn down by operator");
        Reply::Ok
    }

    fn update_weights(&mut self, weights: &[v1::WeightInfo]) -> Reply {
        let mut read = BTreeMap::new();
        for info in weights {
            let name = info.role.as_deref().unwrap_or_default().trim();
            if let Err(error) = role::validate(name) {
                return Reply::BadRequest(format!(
                    "Failed to validate update weights request JSON: Invalid role '{name}': {error}"
                ));
            }
            if !info.weight.is_finite() || info.weight <= 0.0 {
                return Reply::BadRequest(format!(
                    "Failed to validate update weights request JSON for role '{name}': Invalid \
                     weight '{}': Weights must be positive",
                    info.weight
                ));
            }
            let role = Role::from(name);
            if self.is_unknown(&role) {
                return Reply::BadRequest(format!(
                    "Failed to validate update weights request JSON: Unknown role '{name}'"
                ));
            }
            read.insert(role, info.weight);
        }
        for (role, weight) in read {
            self.allocator.set_weight(&role, weight);
            self.persist(Op::SetWeight { role, weight });
        }
        // Offers that are out were divided by the old weights.
        let numbers: Vec<u64> = self.offers.keys().copied().collect();
        for number in numbers {
            self.rescind(number);
        }
        Reply::Ok
    }

    fn update_quota(&mut self, configs: &[QuotaConfig], force: bool) -> Reply {
        let names = configs.iter().map(|config| &config.role);
        if let Some(role) = validate::first_duplicate(names) {
            return Reply::BadRequest(format!("Invalid QuotaConfig: role '{role}' appears twice"));
        }
        let mut quotas = Vec::new();
        for config in configs {
            match read_quota(config) {
                Ok(quota) => quotas.push((Role::from(config.role.as_str()), quota)),
                Err(error) => {
                    return Reply::BadRequest(format!("Invalid QuotaConfig: {error}"));
                }
            }
        }
        if let Some((role, _)) = quotas.iter().find(|(role, _)| self.is_unknown(role)) {
            return Reply::BadRequest(format!(
                "Invalid QuotaConfig: '{role}' is not on the roles whitelist"
            ));
        }
        if !force {
            let checked = self.check_capacity(&quotas).and_then(|()| self.check_limits(&quotas));
            if let Err(error) = checked {
                return Reply::BadRequest(error);
            }
        }
        for (role, quota) in quotas {
            self.apply_quota(role, quota);
        }
        Reply::Ok
    }

    /// Whether the role is none of `--roles`.
    fn is_unknown(&self, role: &Role) -> bool {
        self.config.roles.as_ref().is_some_and(|roles| !roles.contains(role))
    }

    /// What a role has already must be within its limits: nothing is taken back from it.
    fn check_limits(&self, changed: &[(Role, Quota)]) -> Result<(), String> {
        let roles = self.snapshot().roles();
        for (role, quota) in changed {
            let Some(state) = roles.get(role) else { continue };
            let consumed = Quantities::from(&state.reserved.plus(&state.allocated.unreserved()));
            let beyond = quota.limits.iter().find(|(name, limit)| consumed.get(name) > **limit);
            if let Some((name, limit)) = beyond {
                return Err(format!(
                    "Invalid QuotaConfig: role '{role}' already consumes {consumed}, which is above \
                     the limit {name}:{limit}; the force flag can be used to override this check"
                ));
            }
        }
        Ok(())
    }

    /// All guarantees together must fit into the cluster.
    fn check_capacity(&self, changed: &[(Role, Quota)]) -> Result<(), String> {
        let mut guarantees = Quantities::default();
        let unchanged = self
            .registry
            .quotas
            .iter()
            .filter(|(role, _)| changed.iter().all(|(other, _)| other != *role));
        for (_, quota) in unchanged {
            guarantees.add(&quota.guarantees);
        }
        for (_, quota) in changed {
            guarantees.add(&quota.guarantees);
        }
        if self.allocator.total().contains(&guarantees) {
            return Ok(());
        }
        Err(format!(
            "Not enough available cluster capacity to reasonably satisfy quota guarantees \
             {guarantees}: the cluster has {}; the force flag can be used to override this check",
            self.allocator.total()
        ))
    }

    fn apply_quota(&mut self, role: Role, quota: Quota) {
        self.allocator.set_quota(&role, Some(quota.clone()));
        self.persist(Op::SetQuota { role: role.clone(), quota: Some(quota.clone()) });
        if quota.guarantees.is_empty() && quota.limits.is_empty() {
            return;
        }
        // Offers to others that are out may hold what the role is guaranteed now; offers to the
        // role itself may be beyond its limit.
        let stale: Vec<u64> = self.offers.keys().copied().collect();
        for number in stale {
            self.rescind(number);
        }
    }

    fn set_quota(&mut self, request: &QuotaRequest) -> Reply {
        let role = request.role.as_deref().unwrap_or_default();
        if let Err(error) = quota_role(role) {
            return Reply::BadRequest(format!("Failed to validate set quota request: {error}"));
        }
        let role = Role::from(role);
        if self.is_unknown(&role) {
            return Reply::BadRequest(format!(
                "Failed to validate set quota request: Unknown role '{role}'"
            ));
        }
        if self.registry.quotas.get(&role).is_some_and(|quota| !quota.guarantees.is_empty()) {
            return Reply::BadRequest(format!(
                "Failed to validate set quota request: Quota already set for role '{role}'"
            ));
        }
        let guarantees = match Resources::from_wire(&request.guarantee) {
            Ok(resources) => Quantities::from(&resources),
            Err(error) => {
                return Reply::BadRequest(format!("Failed to validate set quota request: {error}"));
            }
        };
        // In the older form a guarantee is a limit as well.
        let limits = guarantees.iter().map(|(name, amount)| (name.clone(), amount)).collect();
        let quota = Quota { guarantees, limits };
        let changed = [(role, quota)];
        if !request.force.unwrap_or(false)
            && let Err(error) = self.check_capacity(&changed)
        {
            return Reply::Conflict(error);
        }
        for (role, quota) in changed {
            self.apply_quota(role, quota);
        }
        Reply::Ok
    }

    fn remove_quota(&mut self, role: &str) -> Reply {
        let role = Role::from(role);
        if !self.registry.quotas.contains_key(&role) {
            return Reply::BadRequest(format!(
                "Failed to remove quota: Role '{role}' has no quota set"
            ));
        }
        // As in Mesos an empty quota stays listed.
        self.apply_quota(role, Quota::default());
        Reply::Ok
    }
}

/// The answer to a call about a volume of nobody knows whom.
fn without_agent() -> Reply {
    Reply::BadRequest(
        "Failed to validate master::Call: Expecting 'agent_id' to be present; only agent default \
         resources are supported right now"
            .into(),
    )
}

fn operation_of(kind: operation::Type) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(kind);
    operation
}

fn quota_role(role: &str) -> Result<(), String> {
    role::validate(role).map_err(|error| format!("invalid role '{role}': {error}"))?;
    if role == "*" {
        return Err("setting quota for the default '*' role is not supported".into());
    }
    if role.contains('/') {
        return Err(format!("setting quota on nested role '{role}' is not supported"));
    }
    Ok(())
}

fn read_quota(config: &QuotaConfig) -> Result<Quota, String> {
    quota_role(&config.role)?;
    let read = |amounts: &BTreeMap<String, v1::value::Scalar>| {
        amounts
            .iter()
            .map(|(name, scalar)| {
                if !scalar.value.is_finite() || scalar.value < 0.0 {
                    return Err(format!("'{name}' of role '{}' is negative", config.role));
                }
                Ok((Arc::from(name.as_str()), Scalar::from_f64(scalar.value)))
            })
            .collect::<Result<Vec<(Arc<str>, Scalar)>, String>>()
    };
    let guarantees: Quantities = read(&config.guarantees)?.into_iter().collect();
    let limits: BTreeMap<Arc<str>, Scalar> = read(&config.limits)?.into_iter().collect();
    let beyond = guarantees
        .iter()
        .find(|(name, amount)| limits.get(*name).is_some_and(|limit| limit < amount));
    match beyond {
        Some((name, amount)) => Err(format!(
            "guarantee {name}:{amount} of role '{}' is above its limit {}",
            config.role, limits[name]
        )),
        None => Ok(Quota { guarantees, limits }),
    }
}
