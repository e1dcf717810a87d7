//! Registering, pings, and the end of an agent that is not who it was.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::{OperationState, ResourceProviderId, Uuid};

use super::harness::*;
use crate::agent::{AuthenticationTimes, Config, Input, Output, Phase, Record, Recovered};
use crate::time::Time;
use crate::wire::{FromAgent, ToAgent};

#[test]
fn registers_until_it_is_heard() {
    let mut rig = Rig::new();
    rig.input(Input::Master(true));
    for _ in 0..3 {
        rig.pass(120);
    }
    assert_eq!(rig.sent.len(), 3);
    assert!(rig.sent.iter().all(|m| matches!(m, FromAgent::Register(_))));
    rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "S".into(),
        connection: None,
    }));
    assert_eq!(rig.agent.phase(), Phase::Running);
    assert!(matches!(&rig.records[..], [Record::Agent(info)] if info.id.is_some()));
    // Without pings the master is taken for gone, and asked again under the old id.
    rig.sent.clear();
    rig.pass(76);
    rig.pass(60);
    assert!(matches!(rig.sent.last(), Some(FromAgent::Reregister(_))));
}

#[test]
fn a_ping_of_a_master_that_lost_us_makes_us_register_again() {
    let mut rig = Rig::registered();
    rig.hear(ToAgent::Ping(wire::PingSlaveMessage { connected: true }));
    assert_eq!(rig.agent.phase(), Phase::Running);
    rig.hear(ToAgent::Ping(wire::PingSlaveMessage { connected: false }));
    assert!(matches!(rig.agent.phase(), Phase::Registering { .. }));
    assert_eq!(rig.sent.iter().filter(|m| matches!(m, FromAgent::Pong(_))).count(), 2);
}

#[test]
fn another_id_ends_the_agent() {
    let mut rig = Rig::registered();
    rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "X".into(),
        connection: None,
    }));
    assert!(matches!(rig.did.last(), Some(Output::Exit(_))));
}

/// An agent that has something to prove who it is with, and whose master was just found.
fn proving() -> Rig {
    let secs = Duration::from_secs;
    let times = AuthenticationTimes {
        backoff_factor: secs(1),
        timeout_min: secs(5),
        timeout_max: secs(60),
    };
    let config = Config { authentication: Some(times), ..config() };
    let mut rig = Rig::with(config, Recovered::default(), Time::from_nanos(1));
    rig.input(Input::Master(true));
    rig.pass(1);
    rig
}

/// Passes time until the next tick; how much it was.
fn next(rig: &mut Rig) -> Duration {
    let at = rig.agent.next_tick().expect("something is due");
    let waited = at.since(rig.now);
    rig.now = at;
    rig.input(Input::Tick);
    waited
}

#[test]
fn an_agent_with_a_credential_proves_who_it_is_before_it_registers() {
    let mut rig = proving();
    assert_eq!(rig.did, [Output::Authenticate]);
    // What gets no answer is begun again, with more patience each time.
    for most in [7, 9, 13, 21, 37, 60, 60] {
        let waited = next(&mut rig);
        let bounds = Duration::from_secs(5)..=Duration::from_secs(most);
        assert!(bounds.contains(&waited), "{waited:?} is not within {bounds:?}");
    }
    assert_eq!(rig.did.len(), 8);
    assert!(rig.sent.is_empty(), "it has not registered: {:?}", rig.sent);
    rig.input(Input::Authenticated(Ok(())));
    assert!(matches!(&rig.sent[..], [FromAgent::Register(_)]));
    rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "S".into(),
        connection: None,
    }));
    assert_eq!(rig.agent.phase(), Phase::Running);
    // A master that has lost it has forgotten what was proved.
    rig.did.clear();
    rig.hear(ToAgent::Ping(wire::PingSlaveMessage { connected: false }));
    rig.pass(1);
    assert_eq!(rig.did, [Output::Authenticate]);
}

#[test]
fn an_agent_that_is_not_heard_proves_anew_who_it_is() {
    let mut rig = proving();
    rig.did.clear();
    rig.input(Input::Authenticated(Ok(())));
    for _ in 0..3 {
        next(&mut rig);
    }
    assert_eq!((rig.sent.len(), rig.did.len()), (4, 0));
    next(&mut rig);
    assert_eq!((rig.sent.len(), &rig.did[..]), (4, &[Output::Authenticate][..]));
    rig.input(Input::Authenticated(Ok(())));
    assert_eq!(rig.sent.len(), 5);
    // It goes on to wait longer each time: the fifth pause is of eight seconds at least.
    assert!(next(&mut rig) >= Duration::from_secs(8));
}

#[test]
fn an_agent_that_is_not_believed_ends_and_leaves_what_runs() {
    let mut rig = proving();
    rig.did.clear();
    rig.input(Input::Authenticated(Err("refused".to_owned())));
    assert_eq!(rig.did, [Output::Exit("refused".to_owned())]);
    // What comes too late says nothing any more.
    let mut rig = Rig::registered();
    rig.input(Input::Authenticated(Err("refused".to_owned())));
    assert!(rig.did.is_empty());
}

/// What the master misses never came; what a framework asks after is known to nobody.
#[test]
fn operations_that_are_not_here_are_dropped_or_unknown() {
    let mut rig = Rig::registered();
    let provider = Some(ResourceProviderId { value: "p".to_owned() });
    let uuid = Some(Uuid { value: bytes::Bytes::from_static(&[7; 16]) });
    let of_master = wire::reconcile_operations_message::Operation {
        operation_uuid: uuid.clone(),
        ..Default::default()
    };
    let of_framework = wire::reconcile_operations_message::Operation {
        operation_id: Some("o".into()),
        resource_provider_id: provider.clone(),
        ..Default::default()
    };
    for (framework_id, asked, expected) in [
        (None, of_master, OperationState::OperationDropped),
        (Some("F".into()), of_framework, OperationState::OperationUnknown),
    ] {
        rig.hear(ToAgent::ReconcileOperations(wire::ReconcileOperationsMessage {
            framework_id: framework_id.clone(),
            operations: vec![asked.clone()],
        }));
        let sent = std::mem::take(&mut rig.sent);
        let [FromAgent::OperationStatus(answer)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(answer.status.state(), expected);
        assert_eq!(answer.framework_id, framework_id);
        assert_eq!(answer.operation_uuid, asked.operation_uuid);
        assert_eq!(answer.status.operation_id, asked.operation_id);
        assert_eq!(answer.status.resource_provider_id, asked.resource_provider_id);
        assert_eq!(answer.status.uuid, None, "nobody acknowledges it");
    }
}
