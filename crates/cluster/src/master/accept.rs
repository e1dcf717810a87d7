//! ACCEPT and DECLINE: what a framework does with its offers.

use std::time::Duration;

use mesos_api::v1;
use mesos_api::v1::offer::operation;
use mesos_api::v1::scheduler::{call, event};
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{OperationState, TaskState};

use super::task::{Cause, status};
use super::validate::first_duplicate;
use super::{Master, event_of};
use crate::id::{AgentId, FrameworkId, Role, TaskId};
use crate::resources::Resources;

/// Accepted offers, put together.
pub(super) struct Accepted {
    pub(super) framework: FrameworkId,
    pub(super) agent: AgentId,
    pub(super) role: Role,
    /// What is left of the offers. Allocated to the role.
    pub(super) remaining: Resources,
}

impl Master {
    pub(super) fn accept(&mut self, framework: &FrameworkId, call: call::Accept) {
        let refuse = refuse_for(call.filters);
        let mut accepted = match self.take_accepted(framework, &call.offer_ids) {
            Ok(accepted) => accepted,
            Err(error) => return self.drop_operations(framework, call.operations, &error),
        };
        self.count(framework, |it| {
            it.offers_accepted += call.offer_ids.len() as u64;
            for operation in &call.operations {
                *it.operations.entry(operation.r#type()).or_default() += 1;
            }
        });
        for operation in call.operations {
            self.apply(&mut accepted, operation);
        }
        let Accepted { framework, agent, remaining, .. } = accepted;
        self.allocator.recover(self.now, &framework, &agent, &remaining, Some(refuse));
    }

    fn apply(&mut self, accepted: &mut Accepted, operation: v1::offer::Operation) {
        match operation.r#type() {
            operation::Type::Launch => {
                for task in operation.launch.unwrap_or_default().task_infos {
                    self.launch(accepted, task);
                }
            }
            operation::Type::LaunchGroup => {
                if let Some(group) = operation.launch_group {
                    self.launch_group(accepted, group);
                }
            }
            _ => self.operate_on_offer(accepted, operation),
        }
    }

    /// Takes the offers out of the books. If they do not fit together, those that were valid are
    /// returned: they were answered.
    fn take_accepted(
        &mut self,
        framework: &FrameworkId,
        ids: &[v1::OfferId],
    ) -> Result<Accepted, String> {
        let verdict = self.judge_offers(framework, ids);
        let mut taken = Vec::new();
        for id in ids {
            let number = self.offer_number(id).filter(|number| {
                self.offers.get(number).is_some_and(|offer| offer.framework == *framework)
            });
            taken.extend(number.and_then(|number| self.take_offer(number)));
        }
        match (verdict, taken.first().cloned()) {
            (Ok(()), Some(first)) => {
                let mut remaining = Resources::new();
                for offer in &taken {
                    remaining.add_all(&offer.resources);
                }
                Ok(Accepted {
                    framework: framework.clone(),
                    agent: first.agent,
                    role: first.role,
                    remaining,
                })
            }
            (verdict, _) => {
                for offer in taken {
                    let agent = offer.agent;
                    self.allocator.recover(self.now, framework, &agent, &offer.resources, None);
                }
                Err(verdict.err().unwrap_or_else(|| "No offers specified".into()))
            }
        }
    }

    /// Whether these offers can be accepted together.
    fn judge_offers(&self, framework: &FrameworkId, ids: &[v1::OfferId]) -> Result<(), String> {
        if ids.is_empty() {
            return Err("No offers specified".into());
        }
        if let Some(id) = first_duplicate(ids.iter().map(|id| &id.value)) {
            return Err(format!("Duplicate offer {id} in offer list"));
        }
        let mut first: Option<&super::offer::Offer> = None;
        for id in ids {
            let offer = self
                .offer_number(id)
                .and_then(|number| self.offers.get(&number))
                .ok_or_else(|| format!("Offer {} is no longer valid", id.value))?;
            if offer.framework != *framework {
                return Err(format!(
                    "Offer {} has invalid framework {} while framework {framework} is expected",
                    id.value, offer.framework
                ));
            }
            let first = *first.get_or_insert(offer);
            if offer.role != first.role {
                return Err(format!(
                    "Aggregated offers must be allocated to the same role. Offer {} uses role '{}' \
                     but another is using role '{}'",
                    id.value, offer.role, first.role
                ));
            }
            if offer.agent != first.agent {
                return Err(format!(
                    "Aggregated offers must belong to one single agent. Offer {} uses agent {} and \
                     agent {}",
                    id.value, offer.agent, first.agent
                ));
            }
        }
        Ok(())
    }

    /// None of the operations can be done: each task is lost, each operation that has a name is
    /// dropped.
    fn drop_operations(
        &mut self,
        framework: &FrameworkId,
        operations: Vec<v1::offer::Operation>,
        error: &str,
    ) {
        let aware = self
            .frameworks
            .get(framework)
            .is_some_and(|framework| framework.capabilities.partition_aware);
        let message = format!("Task launched with invalid offers: {error}");
        for mut operation in operations {
            let tasks = operation
                .launch
                .take()
                .map(|launch| launch.task_infos)
                .or_else(|| operation.launch_group.take().map(|group| group.task_group.tasks))
                .unwrap_or_default();
            if tasks.is_empty() {
                let message = format!("Operation attempted with invalid offers: {error}");
                let state = OperationState::OperationError;
                self.operation_refused(framework, None, &operation, state, &message);
            }
            for task in tasks {
                let state = if aware { TaskState::TaskDropped } else { TaskState::TaskLost };
                let cause = Cause { state, reason: Some(Reason::InvalidOffers), message: &message };
                self.task_refused(framework, &task, cause);
            }
        }
    }

    /// Tells a framework that a task was not started.
    pub(super) fn task_refused(
        &mut self,
        framework: &FrameworkId,
        task: &v1::TaskInfo,
        cause: Cause<'_>,
    ) {
        let agent = AgentId::from(&task.agent_id);
        let mut status = status(&TaskId::from(&task.task_id), Some(&agent), cause, self.now);
        status.executor_id = task.executor.as_ref().map(|executor| executor.executor_id.clone());
        self.remember_refusal(framework, &status);
        let mut event = event_of(event::Type::Update);
        event.update = Some(event::Update { status });
        self.tell(framework, event);
    }

    pub(super) fn decline(&mut self, framework: &FrameworkId, call: &call::Decline) {
        let refuse = refuse_for(call.filters);
        for id in &call.offer_ids {
            let number = self.offer_number(id).filter(|number| {
                self.offers.get(number).is_some_and(|offer| offer.framework == *framework)
            });
            if let Some(offer) = number.and_then(|number| self.take_offer(number)) {
                let (agent, resources) = (offer.agent, offer.resources);
                self.count(framework, |it| it.offers_declined += 1);
                self.allocator.recover(self.now, framework, &agent, &resources, Some(refuse));
            }
        }
    }
}

/// How long refused resources are kept from a framework: five seconds unless it says otherwise. A
/// time that is none counts as the default, one beyond a year as a year.
pub(super) fn refuse_for(filters: Option<v1::Filters>) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    let secs = filters.unwrap_or_default().refuse_seconds();
    if secs.is_nan() || secs < 0.0 {
        return DEFAULT;
    }
    Duration::try_from_secs_f64(secs).unwrap_or(LONGEST).min(LONGEST)
}
