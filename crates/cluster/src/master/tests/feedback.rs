//! What is told of operations that have a name, by agents that answer for them.

use std::time::Duration;

use mesos_api::internal::{self, UpdateOperationStatusMessage, UpdateSlaveMessage};
use mesos_api::v1::master::call as operator;
use mesos_api::v1::scheduler::call;
use mesos_api::v1::{self, OperationState, OperationStatus};

use super::harness::*;
use super::operation::{framework, reserve, reserved};
use crate::master::{Input, RequestId};
use crate::resources::Resources;
use crate::wire::{FromAgent, ToAgent};

const PAST_ALL_PINGS: Duration = Duration::from_secs(120);

/// A framework that reserved a cpu, and has not been told what came of it.
struct Bench {
    world: World,
    agent: Agent,
    framework: Framework,
    operation: v1::Uuid,
}

impl Bench {
    fn new() -> Self {
        let mut world = world();
        let agent = world.agent("cpus:2;mem:512");
        let framework = framework(&mut world);
        let offers = world.offers(&framework);
        let named = v1::offer::Operation { id: Some("o".into()), ..reserve("cpus:1") };
        world.accept(&framework, &offers, vec![named]);
        let told = world.messages(&agent).into_iter().find_map(|message| match message {
            ToAgent::ApplyOperation(message) => Some(message.operation_uuid),
            _ => None,
        });
        world.events(&framework);
        Self { world, agent, framework, operation: told.expect("the agent is told") }
    }

    fn report(&mut self, state: OperationState, uuid: Option<u8>) {
        let message = UpdateOperationStatusMessage {
            framework_id: Some((&self.framework.id).into()),
            agent_id: Some((&self.agent.id).into()),
            status: status(state, uuid),
            operation_uuid: Some(self.operation.clone()),
            ..UpdateOperationStatusMessage::default()
        };
        self.world.say(&self.agent, FromAgent::OperationStatus(message));
    }

    /// What the framework was told since the last time.
    fn told(&mut self) -> Vec<OperationStatus> {
        let events = self.world.events(&self.framework).into_iter();
        events.filter_map(|event| Some(event.update_operation_status?.status)).collect()
    }

    fn told_states(&mut self) -> Vec<OperationState> {
        self.told().iter().map(OperationStatus::state).collect()
    }

    fn reconcile(&mut self, operation: &str, agent: Option<&str>) -> (OperationState, String) {
        self.told();
        self.world.call(&self.framework, call::Type::ReconcileOperations, |call| {
            let asked = call::reconcile_operations::Operation {
                operation_id: operation.into(),
                agent_id: agent.map(Into::into),
                resource_provider_id: None,
            };
            call.reconcile_operations = Some(call::ReconcileOperations { operations: vec![asked] });
        });
        let told = self.told();
        let [status] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(status.uuid, None, "nothing to acknowledge");
        (status.state(), status.message().to_owned())
    }

    fn acknowledge(&mut self, uuid: u8) {
        let agent = v1::AgentId::from(&self.agent.id);
        self.world.call(&self.framework, call::Type::AcknowledgeOperationStatus, |call| {
            call.acknowledge_operation_status = Some(call::AcknowledgeOperationStatus {
                agent_id: Some(agent.clone()),
                resource_provider_id: None,
                uuid: vec![uuid; 16].into(),
                operation_id: "o".into(),
            });
        });
    }

    fn update_agent(&mut self, operations: Vec<v1::Operation>) -> Vec<ToAgent> {
        let message = UpdateSlaveMessage {
            agent_id: (&self.agent.id).into(),
            operations: Some(internal::update_slave_message::Operations { operations }),
            ..UpdateSlaveMessage::default()
        };
        self.world.say(&self.agent, FromAgent::UpdateAgent(message));
        self.world.messages(&self.agent)
    }

    fn total(&self) -> Resources {
        self.world.master.agents.get(&self.agent.id).unwrap().total.clone()
    }
}

fn status(state: OperationState, uuid: Option<u8>) -> OperationStatus {
    let mut status = OperationStatus {
        operation_id: Some("o".into()),
        uuid: uuid.map(|byte| v1::Uuid { value: vec![byte; 16].into() }),
        ..OperationStatus::default()
    };
    status.set_state(state);
    status
}

fn read(parts: &[Vec<v1::Resource>]) -> Resources {
    Resources::from_wire(&parts.concat()).unwrap()
}

#[test]
fn a_status_is_told_until_it_is_acknowledged_by_who_asked() {
    let mut bench = Bench::new();
    bench.report(OperationState::OperationFinished, Some(7));
    let told = bench.told();
    let [status] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(status.state(), OperationState::OperationFinished);
    assert_eq!(status.agent_id, Some((&bench.agent.id).into()));
    bench.acknowledge(3);
    assert_eq!(bench.reconcile("o", None).0, OperationState::OperationFinished, "of another");
    bench.acknowledge(7);
    let acknowledged = bench.world.messages(&bench.agent);
    assert!(
        acknowledged.iter().any(|message| matches!(
            message,
            ToAgent::AcknowledgeOperation(message) if message.status_uuid.value == vec![7; 16]
        )),
        "{acknowledged:?}"
    );
    assert_eq!(bench.reconcile("o", None).0, OperationState::OperationUnknown);
}

#[test]
fn what_an_agent_did_is_as_lost_as_the_agent() {
    let finished = |bench: &mut Bench| bench.report(OperationState::OperationFinished, Some(7));
    for prepare in [finished, |_: &mut Bench| {}] {
        let mut bench = Bench::new();
        prepare(&mut bench);
        bench.told();
        bench.world.advance(PAST_ALL_PINGS);
        assert!(bench.world.master.agents.is_empty());
        assert_eq!(bench.told_states(), [OperationState::OperationUnreachable]);
        assert!(bench.world.master.operations.is_empty());
        let id = bench.agent.id.to_string();
        assert_eq!(
            bench.reconcile("o", Some(&id)),
            (OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable".into())
        );
    }
}

#[test]
fn operations_of_an_agent_that_is_gone_are_gone() {
    let mut bench = Bench::new();
    let gone = operator::MarkAgentGone { agent_id: (&bench.agent.id).into() };
    let mut call = v1::master::Call { mark_agent_gone: Some(gone), ..Default::default() };
    call.set_type(operator::Type::MarkAgentGone);
    let (request, principal) = (RequestId(0), None);
    bench.world.input(Input::Operator { request, principal, call: Box::new(call) });
    assert_eq!(bench.told_states(), [OperationState::OperationGoneByOperator]);
    let id = bench.agent.id.to_string();
    assert_eq!(bench.reconcile("o", Some(&id)).0, OperationState::OperationGoneByOperator);
}

/// No operator has said anything of an agent that leaves by itself.
#[test]
fn nothing_is_told_of_operations_when_their_agent_unregisters() {
    let mut bench = Bench::new();
    let message = internal::UnregisterSlaveMessage { agent_id: (&bench.agent.id).into() };
    bench.world.say(&bench.agent, FromAgent::Unregister(message));
    assert_eq!(bench.told_states(), []);
    let id = bench.agent.id.to_string();
    assert_eq!(
        bench.reconcile("o", Some(&id)),
        (
            OperationState::OperationUnknown,
            "Reconciliation: Both operation and agent are unknown".into()
        )
    );
}

#[test]
fn what_failed_is_undone_once_however_often_it_is_told() {
    let mut bench = Bench::new();
    assert_eq!(bench.total(), read(&[reserved("cpus:1"), wire("cpus:1;mem:512")]));
    for _ in 0..2 {
        bench.report(OperationState::OperationFailed, Some(7));
        assert_eq!(bench.total(), read(&[wire("cpus:2;mem:512")]));
    }
    bench.report(OperationState::OperationFinished, Some(7));
    assert_eq!(bench.reconcile("o", None).0, OperationState::OperationFinished, "as last told");
    assert_eq!(bench.total(), read(&[wire("cpus:2;mem:512")]), "what is over stays as it is");
    let wire = &bench.world.master.operations.values().next().unwrap().wire;
    assert_eq!(wire.latest_status.state(), OperationState::OperationFailed);
    assert_eq!(wire.statuses.len(), 2, "the same status counts once");
}

#[test]
fn operations_outlive_their_master() {
    let mut bench = Bench::new();
    bench.report(OperationState::OperationFinished, Some(7));
    let wire = bench.world.master.operations.values().next().unwrap().wire.clone();
    let id = bench.agent.id.to_string();
    bench.world.fail_over();
    let at = bench.world.stream();
    bench.framework = bench.world.subscribe(at, bench.framework.info.clone());
    assert_eq!(
        bench.reconcile("o", Some(&id)),
        (
            OperationState::OperationRecovering,
            "Reconciliation: Agent is recovered but has not re-registered".into()
        )
    );
    bench.world.reregister(&bench.agent, Vec::new());
    // The status may come before the agent tells which operations it has.
    bench.report(OperationState::OperationFinished, Some(7));
    assert_eq!(bench.told_states(), [OperationState::OperationFinished]);
    bench.world.messages(&bench.agent);
    let messages = bench.update_agent(vec![wire]);
    assert_eq!(messages, [], "nothing to ask");
    assert_eq!(bench.reconcile("o", None).0, OperationState::OperationFinished);
    bench.acknowledge(7);
    let messages = bench.world.messages(&bench.agent);
    assert!(matches!(messages[..], [ToAgent::AcknowledgeOperation(_)]), "{messages:?}");
    assert!(bench.world.master.operations.is_empty());
}

/// Its message was lost with the link.
#[test]
fn an_operation_that_the_agent_does_not_know_is_asked_after_and_dropped() {
    let mut bench = Bench::new();
    let messages = bench.update_agent(Vec::new());
    let [ToAgent::ReconcileOperations(message)] = messages.as_slice() else {
        panic!("{messages:?}")
    };
    assert_eq!(message.operations[0].operation_uuid, Some(bench.operation.clone()));
    // The agent answers without a name, and needs no acknowledgement.
    let dropped = UpdateOperationStatusMessage {
        agent_id: Some((&bench.agent.id).into()),
        status: OperationStatus {
            operation_id: None,
            ..status(OperationState::OperationDropped, None)
        },
        operation_uuid: Some(bench.operation.clone()),
        ..UpdateOperationStatusMessage::default()
    };
    bench.world.say(&bench.agent, FromAgent::OperationStatus(dropped));
    let told = bench.told();
    let [status] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(status.state(), OperationState::OperationDropped);
    assert_eq!(status.operation_id, Some("o".into()));
    assert!(bench.world.master.operations.is_empty());
    assert_eq!(bench.total(), read(&[wire("cpus:2;mem:512")]));
}

#[test]
fn operations_that_nobody_knows_are_told_of_as_far_as_can_be() {
    let mut bench = Bench::new();
    let id = bench.agent.id.to_string();
    for (agent, message) in [
        (Some(id.as_str()), "Reconciliation: Operation is unknown"),
        (Some("nobody"), "Reconciliation: Both operation and agent are unknown"),
        (None, "Reconciliation: Operation is unknown and no 'agent_id' was provided"),
    ] {
        assert_eq!(
            bench.reconcile("other", agent),
            (OperationState::OperationUnknown, message.to_owned())
        );
    }
}

/// Of an operation on a resource provider's resources the agent knows best whether there is one.
#[test]
fn who_asks_after_a_resource_providers_operation_is_answered_by_its_agent() {
    let mut bench = Bench::new();
    let id = bench.agent.id.clone();
    bench.world.messages(&bench.agent);
    let ask = |bench: &mut Bench, agent: &str| {
        bench.told();
        bench.world.call(&bench.framework, call::Type::ReconcileOperations, |call| {
            let asked = call::reconcile_operations::Operation {
                operation_id: "other".into(),
                agent_id: Some(agent.into()),
                resource_provider_id: Some(v1::ResourceProviderId { value: "p".to_owned() }),
            };
            call.reconcile_operations = Some(call::ReconcileOperations { operations: vec![asked] });
        });
    };
    ask(&mut bench, id.as_str());
    assert!(bench.told().is_empty(), "the master does not know");
    let messages = bench.world.messages(&bench.agent);
    let [ToAgent::ReconcileOperations(message)] = messages.as_slice() else {
        panic!("{messages:?}")
    };
    assert_eq!(message.framework_id, Some((&bench.framework.id).into()));
    assert_eq!(message.operations[0].operation_id, Some("other".into()));
    assert_eq!(message.operations[0].resource_provider_id.as_ref().unwrap().value, "p");
    let mut unknown = OperationStatus {
        operation_id: Some("other".into()),
        resource_provider_id: message.operations[0].resource_provider_id.clone(),
        ..OperationStatus::default()
    };
    unknown.set_state(OperationState::OperationUnknown);
    let answer = UpdateOperationStatusMessage {
        framework_id: message.framework_id.clone(),
        agent_id: Some((&id).into()),
        status: unknown.clone(),
        ..UpdateOperationStatusMessage::default()
    };
    bench.world.say(&bench.agent, FromAgent::OperationStatus(answer));
    assert_eq!(bench.told(), [unknown]);
    // An agent that is not here cannot be asked.
    ask(&mut bench, "nobody");
    assert_eq!(bench.told_states(), [OperationState::OperationUnknown]);
}
