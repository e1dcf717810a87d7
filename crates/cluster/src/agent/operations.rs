//! Reservations and persistent volumes: what the master wants remembered.

use mesos_api::internal as wire;
use mesos_api::v1::{OperationState, OperationStatus, Resource, Uuid};

use super::{Agent, Output, Record};
use crate::wire::FromAgent;

impl Agent {
    pub(super) fn checkpoint_resources(&mut self, resources: Vec<Resource>) {
        self.checkpointed = resources;
        self.out.push(Output::persist(Record::Resources(self.checkpointed.clone())));
    }

    /// Answers an operation. This agent does not say that it takes them in this form, so that only
    /// a master that did not look sends one; it hears that nothing was done.
    pub(super) fn apply_operation(&mut self, message: wire::ApplyOperationMessage) {
        let mut status = OperationStatus {
            operation_id: message.operation_info.id.clone(),
            message: Some(
                "this agent takes reservations and volumes as CheckpointResourcesMessage only"
                    .to_owned(),
            ),
            uuid: Some(Uuid { value: bytes::Bytes::copy_from_slice(&self.rng.uuid()) }),
            agent_id: self.info.id.clone(),
            ..OperationStatus::default()
        };
        status.set_state(OperationState::OperationError);
        self.operations.push(wire::UpdateOperationStatusMessage {
            framework_id: message.framework_id,
            agent_id: self.info.id.clone(),
            latest_status: Some(status.clone()),
            status,
            operation_uuid: Some(message.operation_uuid),
        });
        self.resend_operations();
    }

    pub(super) fn resend_operations(&mut self) {
        let all = self.operations.iter().cloned();
        self.out.extend(all.map(|m| Output::send(FromAgent::OperationStatus(m))));
    }

    pub(super) fn acknowledge_operation(&mut self, m: &wire::AcknowledgeOperationStatusMessage) {
        self.operations.retain(|o| o.operation_uuid.as_ref() != Some(&m.operation_uuid));
    }

    pub(super) fn reconcile_operations(&mut self, message: &wire::ReconcileOperationsMessage) {
        for asked in &message.operations {
            let known = self.operations.iter().any(|o| o.operation_uuid == asked.operation_uuid);
            if known {
                continue;
            }
            let mut status = OperationStatus {
                operation_id: asked.operation_id.clone(),
                agent_id: self.info.id.clone(),
                ..OperationStatus::default()
            };
            status.set_state(OperationState::OperationDropped);
            let answer = wire::UpdateOperationStatusMessage {
                framework_id: message.framework_id.clone(),
                agent_id: self.info.id.clone(),
                latest_status: Some(status.clone()),
                status,
                operation_uuid: asked.operation_uuid.clone(),
            };
            self.out.push(Output::send(FromAgent::OperationStatus(answer)));
        }
    }
}
