//! Registering, pings, and the end of an agent that is not who it was.

use mesos_api::internal as wire;

use super::harness::*;
use crate::agent::{Input, Output, Phase, Record};
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
