//! Calls of schedulers: who may call what, and where each call is handled.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesos_api::internal;
use mesos_api::v1::scheduler::{Call, call};

use super::Master;
use super::counters::FrameworkCounters;
use super::input::{RequestId, Scheduler};
use super::output::{Reply, Send};
use crate::id::{AgentId, FrameworkId, Role};
use crate::wire::ToAgent;

impl Master {
    pub(super) fn call(
        &mut self,
        request: Option<RequestId>,
        from: Option<Scheduler>,
        principal: Option<Arc<str>>,
        call: Call,
    ) {
        *self.counters.calls.entry(call.r#type()).or_default() += 1;
        if call.r#type() == call::Type::Subscribe && call.framework_id.is_some() {
            self.counters.framework_resubscriptions += 1;
        }
        let reply = match self.admit_call(from.as_ref(), principal.as_deref(), &call) {
            Err(reply) => reply,
            Ok(None) => match (from, call.subscribe) {
                (Some(from), Some(subscribe)) => {
                    // The stream is open before its first event.
                    self.reply(request, Reply::Streaming);
                    self.subscribe(from, principal, subscribe);
                    return;
                }
                _ => Reply::BadRequest("A SUBSCRIBE call needs a stream to answer on".into()),
            },
            Ok(Some(framework)) => {
                self.count(&framework, |it| *it.calls.entry(call.r#type()).or_default() += 1);
                self.dispatch(&framework, call)
            }
        };
        if !matches!(reply, Reply::Accepted | Reply::Ok) {
            self.counters.messages_dropped += 1;
        }
        self.reply(request, reply);
    }

    /// Counts something of a framework.
    pub(super) fn count(
        &mut self,
        framework: &FrameworkId,
        count: impl FnOnce(&mut FrameworkCounters),
    ) {
        if let Some(framework) = self.frameworks.get_mut(framework) {
            count(&mut framework.counters);
        }
    }

    fn reply(&mut self, request: Option<RequestId>, reply: Reply) {
        if let Some(request) = request {
            self.out.send.push(Send::Reply { request, reply });
        }
    }

    /// Checks a call before anything is done: its form, and whether its sender may speak for the
    /// framework. None: it is SUBSCRIBE.
    fn admit_call(
        &self,
        from: Option<&Scheduler>,
        principal: Option<&str>,
        call: &Call,
    ) -> Result<Option<FrameworkId>, Reply> {
        validate(call, principal).map_err(|error| {
            Reply::BadRequest(format!("Failed to validate scheduler::Call: {error}"))
        })?;
        if call.r#type() == call::Type::Subscribe {
            return Ok(None);
        }
        let id = call.framework_id.as_ref().map(FrameworkId::from);
        let Some((id, framework)) = id.and_then(|id| {
            let framework = self.frameworks.get(&id)?;
            Some((id, framework))
        }) else {
            return Err(Reply::BadRequest("Framework cannot be found".into()));
        };
        let Some(current) = framework.scheduler() else {
            return Err(Reply::Forbidden("Framework is not subscribed".into()));
        };
        match from {
            Some(from) if from == current => Ok(Some(id)),
            Some(Scheduler::Stream(stream)) => Err(Reply::BadRequest(format!(
                "The stream ID '{stream}' included in this request didn't match the stream ID \
                 currently associated with framework ID '{id}'"
            ))),
            Some(Scheduler::Pid(pid)) => {
                Err(Reply::BadRequest(format!("The framework {id} is not at {pid} any more")))
            }
            None => Err(Reply::BadRequest(
                "All non-subscribe calls should include the 'Mesos-Stream-Id' header".into(),
            )),
        }
    }

    /// Handles a call whose body [`validate`] has found to be there.
    fn dispatch(&mut self, id: &FrameworkId, call: Call) -> Reply {
        match call.r#type() {
            call::Type::Teardown => self.remove_framework(id, "Framework torn down"),
            call::Type::Accept => self.accept(id, call.accept.unwrap_or_default()),
            call::Type::Decline => self.decline(id, &call.decline.unwrap_or_default()),
            call::Type::AcceptInverseOffers => {
                let call = call.accept_inverse_offers.unwrap_or_default();
                self.answer_inverse_offers(id, &call.inverse_offer_ids, call.filters, true);
            }
            call::Type::DeclineInverseOffers => {
                let call = call.decline_inverse_offers.unwrap_or_default();
                self.answer_inverse_offers(id, &call.inverse_offer_ids, call.filters, false);
            }
            call::Type::Revive => {
                return self.revive(id, &call.revive.unwrap_or_default().roles);
            }
            call::Type::Suppress => {
                return self.suppress(id, &call.suppress.unwrap_or_default().roles);
            }
            call::Type::Kill => self.kill(id, call.kill.unwrap_or_default()),
            call::Type::Shutdown => self.shutdown(id, call.shutdown.unwrap_or_default()),
            call::Type::Acknowledge => self.acknowledge(id, call.acknowledge.unwrap_or_default()),
            call::Type::AcknowledgeOperationStatus => {
                let call = call.acknowledge_operation_status.unwrap_or_default();
                return self.acknowledge_operation(id, &call);
            }
            call::Type::Reconcile => self.reconcile(id, &call.reconcile.unwrap_or_default()),
            call::Type::ReconcileOperations => {
                self.reconcile_operations(id, &call.reconcile_operations.unwrap_or_default());
            }
            call::Type::Message => self.message(id, call.message.unwrap_or_default()),
            call::Type::UpdateFramework => {
                return self.update_framework_call(id, call.update_framework.unwrap_or_default());
            }
            // The allocator divides by shares, not by wishes.
            call::Type::Request => {}
            call::Type::Subscribe | call::Type::Unknown => {}
        }
        Reply::Accepted
    }

    /// The roles a REVIVE or SUPPRESS means: all when it names none.
    fn roles_meant(&self, id: &FrameworkId, roles: &[String]) -> Result<BTreeSet<Role>, Reply> {
        let Some(framework) = self.frameworks.get(id) else { return Ok(BTreeSet::new()) };
        if roles.is_empty() {
            return Ok(framework.roles.clone());
        }
        let meant: BTreeSet<Role> = roles.iter().map(|role| Role::from(role.as_str())).collect();
        match meant.difference(&framework.roles).next() {
            Some(role) => Err(Reply::BadRequest(format!(
                "Role '{role}' is not one of the framework's subscribed roles"
            ))),
            None => Ok(meant),
        }
    }

    fn revive(&mut self, id: &FrameworkId, roles: &[String]) -> Reply {
        let roles = match self.roles_meant(id, roles) {
            Ok(roles) => roles,
            Err(reply) => return reply,
        };
        if let Some(framework) = self.frameworks.get_mut(id) {
            framework.suppressed.retain(|role| !roles.contains(role));
        }
        self.allocator.revive(id, &roles);
        Reply::Accepted
    }

    fn suppress(&mut self, id: &FrameworkId, roles: &[String]) -> Reply {
        let roles = match self.roles_meant(id, roles) {
            Ok(roles) => roles,
            Err(reply) => return reply,
        };
        if let Some(framework) = self.frameworks.get_mut(id) {
            framework.suppressed.extend(roles.iter().cloned());
        }
        self.allocator.suppress(id, &roles);
        Reply::Accepted
    }

    fn shutdown(&mut self, id: &FrameworkId, call: call::Shutdown) {
        let agent = AgentId::from(&call.agent_id);
        let message = internal::ShutdownExecutorMessage {
            executor_id: Some(call.executor_id),
            framework_id: Some(id.into()),
        };
        self.tell_agent(&agent, ToAgent::ShutdownExecutor(message));
    }

    fn message(&mut self, id: &FrameworkId, call: call::Message) {
        let agent = AgentId::from(&call.agent_id);
        let valid = self.agents.get(&agent).is_some_and(|agent| agent.connected);
        self.counters.messages_to_executors.count(valid);
        let message = internal::FrameworkToExecutorMessage {
            agent_id: call.agent_id,
            framework_id: id.into(),
            executor_id: call.executor_id,
            data: call.data,
        };
        self.tell_agent(&agent, ToAgent::FrameworkToExecutor(message));
    }
}

/// Whether a call is answered by [`Reply::Accepted`] whatever comes of it, if only its sender may
/// speak for the framework.
pub fn is_accepted_anyway(call: &Call) -> bool {
    let alike = matches!(
        call.r#type(),
        call::Type::Accept
            | call::Type::Decline
            | call::Type::AcceptInverseOffers
            | call::Type::DeclineInverseOffers
            | call::Type::Kill
            | call::Type::Shutdown
            | call::Type::Acknowledge
            | call::Type::Reconcile
            | call::Type::Message
            | call::Type::Request
    );
    alike && validate(call, None).is_ok()
}

/// Checks that a call is whole, in Mesos' words.
fn validate(call: &Call, principal: Option<&str>) -> Result<(), String> {
    let present = |there: bool, name: &str| {
        if there { Ok(()) } else { Err(format!("Expecting '{name}' to be present")) }
    };
    let kind = call.r#type();
    present(kind != call::Type::Unknown, "type")?;
    if kind == call::Type::Subscribe {
        let subscribe = call.subscribe.as_ref();
        present(subscribe.is_some(), "subscribe")?;
        let info = subscribe.map(|subscribe| &subscribe.framework_info);
        let inner = info.and_then(|info| info.id.as_ref()).map(|id| id.value.as_str());
        let outer = call.framework_id.as_ref().map(|id| id.value.as_str());
        if inner.unwrap_or_default() != outer.unwrap_or_default() {
            return Err("'framework_id' differs from 'subscribe.framework_info.id'".into());
        }
        let claimed = info.and_then(|info| info.principal.as_deref());
        if let (Some(principal), Some(claimed)) = (principal, claimed)
            && principal != claimed
        {
            return Err(format!(
                "Authenticated principal '{principal}' does not match principal '{claimed}' set \
                 in `FrameworkInfo`"
            ));
        }
        return Ok(());
    }
    present(call.framework_id.is_some(), "framework_id")?;
    match kind {
        call::Type::Accept => present(call.accept.is_some(), "accept"),
        call::Type::Decline => present(call.decline.is_some(), "decline"),
        call::Type::AcceptInverseOffers => {
            present(call.accept_inverse_offers.is_some(), "accept_inverse_offers")
        }
        call::Type::DeclineInverseOffers => {
            present(call.decline_inverse_offers.is_some(), "decline_inverse_offers")
        }
        call::Type::Kill => present(call.kill.is_some(), "kill"),
        call::Type::Shutdown => present(call.shutdown.is_some(), "shutdown"),
        call::Type::Acknowledge => {
            present(call.acknowledge.is_some(), "acknowledge")?;
            uuid(call.acknowledge.as_ref().map(|call| call.uuid.as_ref()))
        }
        call::Type::AcknowledgeOperationStatus => {
            let call = call.acknowledge_operation_status.as_ref();
            present(call.is_some(), "acknowledge_operation_status")?;
            uuid(call.map(|call| call.uuid.as_ref()))?;
            present(call.is_some_and(|call| call.agent_id.is_some()), "agent_id")
        }
        call::Type::Reconcile => present(call.reconcile.is_some(), "reconcile"),
        call::Type::ReconcileOperations => {
            present(call.reconcile_operations.is_some(), "reconcile_operations")
        }
        call::Type::Message => present(call.message.is_some(), "message"),
        call::Type::Request => present(call.request.is_some(), "request"),
        call::Type::UpdateFramework => {
            let update = call.update_framework.as_ref();
            present(update.is_some(), "update_framework")?;
            if update.and_then(|it| it.framework_info.id.as_ref()) != call.framework_id.as_ref() {
                return Err("'framework_id' differs from \
                            'update_framework.framework_info.id'"
                    .into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn uuid(bytes: Option<&[u8]>) -> Result<(), String> {
    match bytes {
        Some(bytes) if bytes.len() == 16 => Ok(()),
        Some(bytes) => Err(format!("Not a valid UUID: {} bytes instead of 16", bytes.len())),
        None => Ok(()),
    }
}
