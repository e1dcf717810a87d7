//! Operations on resources: reservations and volumes, by frameworks on their offers and by
//! operators on what is free.

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::OperationState;

use super::Master;
use super::accept::Accepted;
use super::output::Reply;
use super::validate::operation::{Context, Conversion, conversion};
use crate::id::{AgentId, FrameworkId};
use crate::resources::Resources;
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
    /// One that an agent tells of. Agents do what they are told at once, so that what they have is
    /// as it left it.
    pub(super) fn adopted(
        wire: v1::Operation,
        framework: Option<FrameworkId>,
        agent: AgentId,
    ) -> Self {
        let conversion =
            Conversion { from: Resources::new(), to: Resources::new(), speculative: true };
        Self { wire, framework, agent, conversion, settled: true }
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }
}

/// Whether an operation in this state is over.
pub(super) const fn is_terminal(state: OperationState) -> bool {
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
        *self.counters.operations.entry(info.r#type()).or_default() += 1;
        if !agent.capabilities.resource_provider {
            self.count_operation(info.r#type(), OperationState::OperationFinished);
            return self.send_checkpointed(id);
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

    /// Tells an agent from before operations what it is to keep.
    pub(super) fn send_checkpointed(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        if !agent.capabilities.resource_provider {
            let resources = agent.checkpointed().to_wire(agent.format());
            let message = internal::CheckpointResourcesMessage { resources };
            self.tell_agent(id, ToAgent::CheckpointResources(message));
        }
    }

    /// Accounts for the resources of an operation that is over.
    pub(super) fn settle(&mut self, uuid: [u8; 16], state: OperationState) {
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
}
