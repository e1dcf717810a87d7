//! Reservations and persistent volumes: what the master wants remembered.

use std::collections::BTreeSet;

use mesos_api::internal as wire;
use mesos_api::v1::{OperationState, OperationStatus, Resource, Uuid};

use super::{Agent, Output, Record};
use crate::wire::FromAgent;

/// A persistent volume on this agent: whose it is, and what it is called there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeId {
    pub role: String,
    pub id: String,
}

impl VolumeId {
    /// The persistent volume that a resource is, if it is one.
    pub fn of(resource: &Resource) -> Option<Self> {
        let id = resource.disk.as_ref()?.persistence.as_ref()?.id.clone();
        let role = resource.reservations.last().and_then(|r| r.role.clone());
        Some(Self { role: role.unwrap_or_else(|| "*".to_owned()), id })
    }
}

fn volumes(resources: &[Resource]) -> BTreeSet<VolumeId> {
    resources.iter().filter_map(VolumeId::of).collect()
}

impl Agent {
    /// A volume that is destroyed goes before the record of it does: after a crash in between the
    /// master says again what it wants, and nothing is left that nobody knows of.
    pub(super) fn checkpoint_resources(&mut self, resources: Vec<Resource>) {
        let (before, after) = (volumes(&self.checkpointed), volumes(&resources));
        let gone = before.difference(&after).cloned();
        self.out.extend(gone.map(Output::DeleteVolume));
        self.checkpointed = resources;
        self.out.push(Output::persist(Record::Resources(self.checkpointed.clone())));
        let new = after.difference(&before).cloned();
        self.out.extend(new.map(Output::MakeVolume));
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

    /// Answers for operations that are not here. Those that the master misses never came; of those
    /// that a framework asks after, which are on a resource provider that the master does not
    /// know, nobody knows.
    pub(super) fn reconcile_operations(&mut self, message: &wire::ReconcileOperationsMessage) {
        let by_framework = message.framework_id.is_some();
        for asked in &message.operations {
            let known = self.operations.iter().find(|known| match &asked.operation_uuid {
                Some(uuid) => known.operation_uuid.as_ref() == Some(uuid),
                None => {
                    known.framework_id == message.framework_id
                        && known.status.operation_id == asked.operation_id
                }
            });
            let status = match known {
                Some(_) if !by_framework => continue,
                Some(known) => OperationStatus { uuid: None, ..known.status.clone() },
                None => {
                    let mut status = OperationStatus {
                        operation_id: asked.operation_id.clone(),
                        resource_provider_id: asked.resource_provider_id.clone(),
                        agent_id: self.info.id.clone(),
                        ..OperationStatus::default()
                    };
                    status.set_state(if by_framework {
                        OperationState::OperationUnknown
                    } else {
                        OperationState::OperationDropped
                    });
                    status
                }
            };
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
