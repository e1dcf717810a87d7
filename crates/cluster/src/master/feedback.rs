//! What is told of operations: by agents to the master, by the master to frameworks, and on request.

use std::collections::BTreeMap;

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::OperationState;
use mesos_api::v1::offer::operation::Type;
use mesos_api::v1::scheduler::{call, event};

use super::operation::{Operation, is_terminal};
use super::output::Reply;
use super::remove::Removal;
use super::{Master, event_of};
use crate::id::{AgentId, FrameworkId};
use crate::wire::ToAgent;

impl Master {
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
            self.counters.operation_updates.count(false);
            return self.unknown_operation_status(&agent, message);
        };
        self.counters.operation_updates.count(true);
        let latest = message.latest_status.unwrap_or_else(|| message.status.clone());
        let was_over = is_terminal(operation.wire.latest_status.state());
        let kind = operation.wire.info.r#type();
        if !was_over {
            operation.wire.latest_status = latest.clone();
        }
        // An agent repeats a status until it is acknowledged.
        if operation.wire.statuses.last() != Some(&message.status) {
            operation.wire.statuses.push(message.status.clone());
        }
        let feedback = operation.framework.clone().filter(|_| operation.wire.info.id.is_some());
        let name = operation.wire.info.id.clone();
        if is_terminal(latest.state()) && !was_over {
            self.count_operation(kind, latest.state());
            self.settle(uuid, latest.state());
        }
        match feedback {
            Some(framework) => {
                let mut status = message.status;
                status.operation_id = name;
                status.agent_id.get_or_insert_with(|| (&agent).into());
                // Nobody acknowledges what has no uuid.
                let last = is_terminal(status.state()) && status.uuid.is_none();
                self.tell_operation(&framework, status);
                if last {
                    self.forget_operation(uuid);
                }
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

    /// A status of an operation that is not in the books: it is of another master's time, or the
    /// agent answers for itself what a framework asked. The framework is told, if it is known.
    /// Otherwise the status is acknowledged, so that the agent does not repeat it forever.
    fn unknown_operation_status(
        &mut self,
        agent: &AgentId,
        message: internal::UpdateOperationStatusMessage,
    ) {
        let framework = message.framework_id.as_ref().map(FrameworkId::from);
        if let Some(framework) = framework.filter(|id| self.frameworks.contains_key(id)) {
            self.tell_operation(&framework, message.status);
        } else if let (Some(status), Some(operation)) =
            (message.status.uuid, message.operation_uuid)
        {
            self.acknowledge_to_agent(agent, status, operation);
        }
    }

    /// Takes in what an agent says of its operations: those that only it knows, which are of
    /// another master's time, come into the books, and it is asked after those that only the books
    /// know. It may never have got them.
    pub(super) fn compare_operations(&mut self, id: &AgentId, told: Vec<v1::Operation>) {
        let Some(agent) = self.agents.get(id) else { return };
        if !agent.capabilities.resource_provider {
            return;
        }
        let mut missing = agent.operations.clone();
        for wire in told {
            let Ok(uuid) = <[u8; 16]>::try_from(wire.uuid.value.as_ref()) else { continue };
            if missing.remove(&uuid) {
                continue;
            }
            let framework = wire.framework_id.as_ref().map(FrameworkId::from);
            let framework = framework.filter(|id| self.frameworks.contains_key(id));
            self.operations.insert(uuid, Operation::adopted(wire, framework, id.clone()));
            if let Some(agent) = self.agents.get_mut(id) {
                agent.operations.insert(uuid);
            }
        }
        if missing.is_empty() {
            return;
        }
        let operations =
            missing.into_iter().map(|uuid| internal::reconcile_operations_message::Operation {
                operation_uuid: Some(v1::Uuid { value: uuid.to_vec().into() }),
                ..Default::default()
            });
        let message = internal::ReconcileOperationsMessage {
            operations: operations.collect(),
            ..internal::ReconcileOperationsMessage::default()
        };
        self.tell_agent(id, ToAgent::ReconcileOperations(message));
    }

    /// Counts an operation that is over.
    pub(super) fn count_operation(&mut self, kind: Type, state: OperationState) {
        *self.counters.operations_ended.entry((kind, state)).or_default() += 1;
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
        let known = known.map(|(uuid, operation)| (*uuid, operation));
        self.counters.operation_acknowledgements.count(known.is_some());
        let Some((uuid, operation)) = known else {
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
        if is_terminal(state) {
            self.count_operation(operation.r#type(), state);
        }
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
        event.update_operation_status = Some(Box::new(event::UpdateOperationStatus { status }));
        self.tell(framework, event);
    }

    /// The agent is lost: so are its operations, also those that were done and not acknowledged,
    /// because the acknowledgement has nowhere to go. An agent that left by itself may be the same
    /// host under another id: of its operations nothing is told.
    pub(super) fn lose_operations(&mut self, id: &AgentId, removal: Removal) {
        let told = match removal {
            Removal::Unreachable => {
                Some((OperationState::OperationUnreachable, "Agent was marked unreachable"))
            }
            Removal::Gone => {
                Some((OperationState::OperationGoneByOperator, "Agent has been marked gone"))
            }
            Removal::Unregistered => None,
        };
        let uuids: Vec<[u8; 16]> = self
            .agents
            .get(id)
            .map(|agent| agent.operations.iter().copied().collect())
            .unwrap_or_default();
        for uuid in uuids {
            let Some(operation) = self.operations.remove(&uuid) else { continue };
            let Some((state, message)) = told else { continue };
            if is_terminal(state) && !is_terminal(operation.wire.latest_status.state()) {
                self.count_operation(operation.wire.info.r#type(), state);
            }
            let (Some(framework), Some(name)) = (&operation.framework, operation.wire.info.id)
            else {
                continue;
            };
            let mut status = v1::OperationStatus {
                operation_id: Some(name),
                message: Some(message.to_owned()),
                agent_id: Some(id.into()),
                ..v1::OperationStatus::default()
            };
            status.set_state(state);
            self.tell_operation(framework, status);
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
                self.tell_operation(framework, last_told(operation));
            }
            return;
        }
        let mut forwarded: BTreeMap<AgentId, internal::ReconcileOperationsMessage> =
            BTreeMap::new();
        for asked in &call.operations {
            let known = mine
                .iter()
                .find(|operation| operation.info.id.as_ref() == Some(&asked.operation_id));
            if let Some(known) = known {
                self.tell_operation(framework, last_told(known.clone()));
                continue;
            }
            let agent = asked.agent_id.as_ref().map(AgentId::from);
            if let Some(agent) = self.who_knows_provider(asked, agent.as_ref()) {
                let message = forwarded.entry(agent.clone()).or_default();
                message.framework_id = Some(framework.into());
                message.operations.push(internal::reconcile_operations_message::Operation {
                    operation_id: Some(asked.operation_id.clone()),
                    resource_provider_id: asked.resource_provider_id.clone(),
                    ..Default::default()
                });
                continue;
            }
            let (state, message) = self.operation_fate(agent);
            let mut status = v1::OperationStatus {
                operation_id: Some(asked.operation_id.clone()),
                agent_id: asked.agent_id.clone(),
                resource_provider_id: asked.resource_provider_id.clone(),
                message: Some(message.into()),
                ..v1::OperationStatus::default()
            };
            status.set_state(state);
            self.tell_operation(framework, status);
        }
        for (agent, message) in forwarded {
            self.tell_agent(&agent, ToAgent::ReconcileOperations(message));
        }
    }

    /// The agent that answers for a resource provider: this master admits none, but an agent that
    /// came from another master knows those that it had.
    fn who_knows_provider<'a>(
        &self,
        asked: &call::reconcile_operations::Operation,
        agent: Option<&'a AgentId>,
    ) -> Option<&'a AgentId> {
        asked.resource_provider_id.as_ref()?;
        agent.filter(|id| {
            self.agents.get(id).is_some_and(|agent| agent.capabilities.operation_feedback)
        })
    }

    /// What can be said of an operation that is not in the books.
    fn operation_fate(&self, agent: Option<AgentId>) -> (OperationState, &'static str) {
        match agent {
            Some(agent) if self.recovered.contains(&agent) => (
                OperationState::OperationRecovering,
                "Reconciliation: Agent is recovered but has not re-registered",
            ),
            Some(agent) if self.agents.contains_key(&agent) => {
                (OperationState::OperationUnknown, "Reconciliation: Operation is unknown")
            }
            Some(agent) if self.registry.unreachable.contains_key(&agent) => {
                (OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable")
            }
            Some(agent) if self.registry.gone.contains_key(&agent) => (
                OperationState::OperationGoneByOperator,
                "Reconciliation: Agent marked gone by operator",
            ),
            Some(_) => (
                OperationState::OperationUnknown,
                "Reconciliation: Both operation and agent are unknown",
            ),
            None => (
                OperationState::OperationUnknown,
                "Reconciliation: Operation is unknown and no 'agent_id' was provided",
            ),
        }
    }
}

/// What a framework was told last of an operation, or the state if it was told nothing. A status
/// told on request needs no acknowledgement.
fn last_told(operation: v1::Operation) -> v1::OperationStatus {
    let mut status = operation.statuses.into_iter().last().unwrap_or(operation.latest_status);
    status.uuid = None;
    status
}
