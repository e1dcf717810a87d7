//! Operations on resources: reservations and volumes, by frameworks on their offers and by
//! operators on what is free.

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::OperationState;
use mesos_api::v1::scheduler::{call, event};

use super::accept::Accepted;
use super::output::Reply;
use super::validate::operation::{Context, Conversion, conversion};
use super::{Master, event_of};
use crate::id::{AgentId, FrameworkId};
use crate::wire::ToAgent;

/// An operation that an agent was told to do and has not reported, or whose report the framework
/// has not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) wire: v1::Operation,
    /// Who asked; none for an operator or when the framework has ended.
    pub(super) framework: Option<FrameworkId>,
    pub(super) agent: AgentId,
    pub(super) conversion: Conversion,
    /// The resources are accounted for.
    settled: bool,
}

impl Operation {
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }
}

/// Whether an operation in this state is over.
const fn is_terminal(state: OperationState) -> bool {
    matches!(
        state,
        OperationState::OperationFinished
            | OperationState::OperationFailed
            | OperationState::OperationError
            | OperationState::OperationDropped
            | OperationState::OperationGoneByOperator
    )
}

impl Master {
    pub(super) fn operate_on_offer(
        &mut self,
        accepted: &mut Accepted,
        operation: v1::offer::Operation,
    ) {
        match self.judge_operation(accepted, &operation) {
            Err(error) => {
                let state = OperationState::OperationError;
                let (framework, agent) = (accepted.framework.clone(), accepted.agent.clone());
                self.operation_refused(&framework, Some(&agent), &operation, state, &error);
            }
            Ok(conversion) => {
                accepted.remaining.subtract_all(&conversion.from);
                if conversion.speculative {
                    accepted.remaining.add_all(&conversion.to);
                    let (from, to) = (&conversion.from, &conversion.to);
                    self.allocator.convert(&accepted.framework, &accepted.agent, from, to);
                    self.convert_total(&accepted.agent, &conversion);
                }
                let framework = Some(accepted.framework.clone());
                self.send_operation(framework, &accepted.agent.clone(), operation, conversion);
            }
        }
    }

    fn judge_operation(
        &self,
        accepted: &Accepted,
        operation: &v1::offer::Operation,
    ) -> Result<Conversion, String> {
        let agent = self.agents.get(&accepted.agent).ok_or("The agent has been removed")?;
        let framework =
            self.frameworks.get(&accepted.framework).ok_or("The framework has been removed")?;
        if operation.id.is_some() && !agent.capabilities.operation_feedback {
            return Err(format!(
                "Operation requested feedback, but agent {} does not have the required \
                 AGENT_OPERATION_FEEDBACK capability",
                agent.id
            ));
        }
        if operation.id.is_some() && !agent.capabilities.resource_provider {
            return Err(format!(
                "Operation requested feedback, but agent {} has AGENT_OPERATION_FEEDBACK without \
                 the RESOURCE_PROVIDER capability it needs for that",
                agent.id
            ));
        }
        let used = agent.all_used().unallocated();
        let context = Context {
            role: Some(&accepted.role),
            principal: framework.info.principal.as_deref(),
            capabilities: agent.capabilities,
            total: &agent.total,
            used: &used,
        };
        let conversion = conversion(&context, operation)?;
        if !accepted.remaining.contains(&conversion.from) {
            return Err(format!(
                "The operation needs {} and the offer has {}",
                conversion.from, accepted.remaining
            ));
        }
        Ok(conversion)
    }

    /// An operator's operation: on what is free, for which offers may have to be taken back.
    pub(super) fn operate_on_free(
        &mut self,
        id: &AgentId,
        principal: Option<&str>,
        operation: v1::offer::Operation,
    ) -> Reply {
        let Some(agent) = self.agents.get(id) else {
            return Reply::BadRequest("No agent found with specified ID".into());
        };
        if !agent.connected {
            return Reply::Conflict(format!("Agent {id} is disconnected"));
        }
        let used = agent.all_used().unallocated();
        let context = Context {
            role: None,
            principal,
            capabilities: agent.capabilities,
            total: &agent.total,
            used: &used,
        };
        let conversion = match conversion(&context, &operation) {
            Ok(conversion) => conversion,
            Err(error) => return Reply::BadRequest(format!("Invalid operation: {error}")),
        };
        let offers: Vec<u64> = agent.offers.iter().copied().collect();
        for number in offers {
            if self.allocator.available(id).contains(&conversion.from) {
                break;
            }
            self.rescind(number);
        }
        let available = self.allocator.available(id);
        if !available.contains(&conversion.from) {
            return Reply::Conflict(format!(
                "The operation needs {} and agent {id} has {available} free",
                conversion.from
            ));
        }
        if conversion.speculative {
            self.allocator.convert_free(id, &conversion.from, &conversion.to);
            self.convert_total(id, &conversion);
        }
        self.send_operation(None, id, operation, conversion);
        Reply::Accepted
    }

    fn convert_total(&mut self, id: &AgentId, conversion: &Conversion) {
        if let Some(agent) = self.agents.get_mut(id) {
            let (from, to) = (conversion.from.unallocated(), conversion.to.unallocated());
            agent.total = agent.total.minus(&from).plus(&to);
        }
    }

    /// Has the agent do it. Agents from before operations are told the outcome as a whole.
    fn send_operation(
        &mut self,
        framework: Option<FrameworkId>,
        id: &AgentId,
        info: v1::offer::Operation,
        conversion: Conversion,
    ) {
        let Some(agent) = self.agents.get(id) else { return };
        self.counters.operations += 1;
        if !agent.capabilities.resource_provider {
            let checkpointed = agent.total.filter(|resource| {
                resource.is_dynamically_reserved() || resource.is_persistent_volume()
            });
            let resources = checkpointed.to_wire(agent.format());
            let message = internal::CheckpointResourcesMessage { resources };
            self.tell_agent(id, ToAgent::CheckpointResources(message));
            return;
        }
        let uuid = self.rng.uuid();
        let uuid_wire = v1::Uuid { value: uuid.to_vec().into() };
        let version = agent.resource_version.clone().unwrap_or_default();
        let message = internal::ApplyOperationMessage {
            framework_id: framework.as_ref().map(Into::into),
            operation_info: info.clone(),
            operation_uuid: uuid_wire.clone(),
            resource_version_uuid: internal::ResourceVersionUuid {
                resource_provider_id: None,
                uuid: version,
            },
        };
        let mut status =
            v1::OperationStatus { operation_id: info.id.clone(), ..v1::OperationStatus::default() };
        status.set_state(OperationState::OperationPending);
        let operation = Operation {
            wire: v1::Operation {
                framework_id: framework.as_ref().map(Into::into),
                agent_id: Some(id.into()),
                info,
                latest_status: status,
                statuses: Vec::new(),
                uuid: uuid_wire,
            },
            framework,
            agent: id.clone(),
            settled: conversion.speculative,
            conversion,
        };
        self.operations.insert(uuid, operation);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.operations.insert(uuid);
        }
        self.tell_agent(id, ToAgent::ApplyOperation(message));
    }

    pub(super) fn operation_status(
        &mut self,
        pid: &str,
        message: internal::UpdateOperationStatusMessage,
    ) {
        let Some(agent) = self.pids.get(pid).cloned() else {
            self.counters.messages_dropped += 1;
            return;
        };
        let uuid = message
            .operation_uuid
            .as_ref()
            .and_then(|uuid| <[u8; 16]>::try_from(uuid.value.as_ref()).ok());
        let known = uuid.and_then(|uuid| {
            let operation = self.operations.get_mut(&uuid)?;
            Some((uuid, operation))
        });
        let Some((uuid, operation)) = known.filter(|(_, operation)| operation.agent == agent)
        else {
            // Of another master's time: acknowledged, so that the agent does not repeat it forever.
            if let (Some(status), Some(operation)) = (message.status.uuid, message.operation_uuid) {
                self.acknowledge_to_agent(&agent, status, operation);
            }
            return;
        };
        let latest = message.latest_status.unwrap_or_else(|| message.status.clone());
        operation.wire.latest_status = latest.clone();
        operation.wire.statuses.push(message.status.clone());
        let feedback = operation.framework.clone().filter(|_| operation.wire.info.id.is_some());
        if is_terminal(latest.state()) {
            self.settle(uuid, latest.state());
        }
        match feedback {
            Some(framework) => {
                let mut status = message.status;
                status.agent_id.get_or_insert_with(|| (&agent).into());
                self.tell_operation(&framework, status);
            }
            None => {
                let terminal = is_terminal(message.status.state());
                if let (Some(status), Some(operation)) =
                    (message.status.uuid, message.operation_uuid)
                {
                    self.acknowledge_to_agent(&agent, status, operation);
                }
                if terminal {
                    self.forget_operation(uuid);
                }
            }
        }
    }

    /// Accounts for the resources of an operation that is over.
    fn settle(&mut self, uuid: [u8; 16], state: OperationState) {
        let Some(operation) = self.operations.get_mut(&uuid) else { return };
        let done = state == OperationState::OperationFinished;
        let was_settled = std::mem::replace(&mut operation.settled, true);
        let (agent, framework, conversion) =
            (operation.agent.clone(), operation.framework.clone(), operation.conversion.clone());
        if was_settled {
            // Taken for done and not done. What is still there of the result turns back.
            let (from, to) = (conversion.from.unallocated(), conversion.to.unallocated());
            if !done && self.allocator.available(&agent).contains(&to) {
                self.allocator.convert_free(&agent, &to, &from);
                self.convert_total(&agent, &Conversion { from: to, to: from, speculative: true });
            }
            return;
        }
        if let Some(framework) = &framework {
            self.allocator.free(framework, &agent, &conversion.from);
        }
        if done {
            let (from, to) = (conversion.from.unallocated(), conversion.to.unallocated());
            self.allocator.convert_free(&agent, &from, &to);
            self.convert_total(&agent, &conversion);
        }
    }

    pub(super) fn acknowledge_operation(
        &mut self,
        framework: &FrameworkId,
        call: &call::AcknowledgeOperationStatus,
    ) -> Reply {
        let Some(agent) = call.agent_id.as_ref().map(AgentId::from) else {
            return Reply::BadRequest("Expecting 'agent_id' to be present".into());
        };
        let known = self.operations.iter().find(|(_, operation)| {
            operation.framework.as_ref() == Some(framework)
                && operation.wire.info.id.as_ref() == Some(&call.operation_id)
        });
        let Some((uuid, operation)) = known.map(|(uuid, operation)| (*uuid, operation)) else {
            self.counters.messages_dropped += 1;
            return Reply::Accepted;
        };
        let status = v1::Uuid { value: call.uuid.clone() };
        let last = operation.wire.latest_status.uuid.as_ref() == Some(&status)
            && is_terminal(operation.wire.latest_status.state());
        let operation = operation.wire.uuid.clone();
        self.acknowledge_to_agent(&agent, status, operation);
        if last {
            self.forget_operation(uuid);
        }
        Reply::Accepted
    }

    fn acknowledge_to_agent(&mut self, agent: &AgentId, status: v1::Uuid, operation: v1::Uuid) {
        let message = internal::AcknowledgeOperationStatusMessage {
            status_uuid: status,
            operation_uuid: operation,
            resource_provider_id: None,
        };
        self.tell_agent(agent, ToAgent::AcknowledgeOperation(message));
    }

    fn forget_operation(&mut self, uuid: [u8; 16]) {
        if let Some(operation) = self.operations.remove(&uuid) {
            if let Some(agent) = self.agents.get_mut(&operation.agent) {
                agent.operations.remove(&uuid);
            }
            self.drained_if_idle(&operation.agent);
        }
    }

    /// Tells a framework that an operation was not done, if it gave it a name to be told by.
    pub(super) fn operation_refused(
        &mut self,
        framework: &FrameworkId,
        agent: Option<&AgentId>,
        operation: &v1::offer::Operation,
        state: OperationState,
        message: &str,
    ) {
        let Some(id) = operation.id.clone() else { return };
        let mut status = v1::OperationStatus {
            operation_id: Some(id),
            message: Some(message.to_owned()),
            agent_id: agent.map(Into::into),
            ..v1::OperationStatus::default()
        };
        status.set_state(state);
        self.tell_operation(framework, status);
    }

    fn tell_operation(&mut self, framework: &FrameworkId, status: v1::OperationStatus) {
        let mut event = event_of(event::Type::UpdateOperationStatus);
        event.update_operation_status = Some(event::UpdateOperationStatus { status });
        self.tell(framework, event);
    }

    /// The agent is lost: so are its operations.
    pub(super) fn lose_operations(&mut self, id: &AgentId, state: OperationState, message: &str) {
        let uuids: Vec<[u8; 16]> = self
            .agents
            .get(id)
            .map(|agent| agent.operations.iter().copied().collect())
            .unwrap_or_default();
        for uuid in uuids {
            let Some(operation) = self.operations.remove(&uuid) else { continue };
            if let Some(framework) = &operation.framework {
                self.operation_refused(framework, Some(id), &operation.wire.info, state, message);
            }
        }
    }

    /// The framework has ended: what its operations hold is freed when they end.
    pub(super) fn orphan_operations(&mut self, id: &FrameworkId) {
        let mine: Vec<[u8; 16]> = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.framework.as_ref() == Some(id))
            .map(|(uuid, _)| *uuid)
            .collect();
        for uuid in mine {
            if let Some(operation) = self.operations.get_mut(&uuid) {
                operation.framework = None;
            }
        }
    }

    pub(super) fn reconcile_operations(
        &mut self,
        framework: &FrameworkId,
        call: &call::ReconcileOperations,
    ) {
        let mine: Vec<v1::Operation> = self
            .operations
            .values()
            .filter(|operation| operation.framework.as_ref() == Some(framework))
            .filter(|operation| operation.wire.info.id.is_some())
            .map(|operation| operation.wire.clone())
            .collect();
        if call.operations.is_empty() {
            for operation in mine {
                self.tell_operation(framework, reconciled(operation.latest_status));
            }
            return;
        }
        for asked in &call.operations {
            let known = mine
                .iter()
                .find(|operation| operation.info.id.as_ref() == Some(&asked.operation_id));
            if let Some(known) = known {
                self.tell_operation(framework, reconciled(known.latest_status.clone()));
                continue;
            }
            let Some(state) = self.operation_fate(asked.agent_id.as_ref().map(AgentId::from))
            else {
                continue;
            };
            let mut status = v1::OperationStatus {
                operation_id: Some(asked.operation_id.clone()),
                agent_id: asked.agent_id.clone(),
                message: Some("Reconciliation: Operation is unknown".into()),
                ..v1::OperationStatus::default()
            };
            status.set_state(state);
            self.tell_operation(framework, status);
        }
    }

    /// What can be said of an operation that nobody knows. None: nothing yet.
    fn operation_fate(&self, agent: Option<AgentId>) -> Option<OperationState> {
        match agent {
            Some(agent) if self.recovered.contains(&agent) => {
                Some(OperationState::OperationRecovering)
            }
            Some(agent) if self.agents.contains_key(&agent) => {
                Some(OperationState::OperationUnknown)
            }
            Some(agent) if self.registry.unreachable.contains_key(&agent) => {
                Some(OperationState::OperationUnreachable)
            }
            Some(agent) if self.registry.gone.contains_key(&agent) => {
                Some(OperationState::OperationGoneByOperator)
            }
            None if !self.recovered.is_empty() => Some(OperationState::OperationRecovering),
            _ => Some(OperationState::OperationUnknown),
        }
    }
}

/// A status told on request needs no acknowledgement.
fn reconciled(mut status: v1::OperationStatus) -> v1::OperationStatus {
    status.uuid = None;
    status
}
