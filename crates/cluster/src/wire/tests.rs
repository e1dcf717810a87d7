//! Messages between master and agent are read as they were written, or refused.

use std::error::Error;

use mesos_api::v1;

use super::*;

fn update() -> FromAgent {
    let status = v1::TaskStatus { task_id: "t".into(), ..v1::TaskStatus::default() };
    let update = internal::StatusUpdate {
        framework_id: "f".into(),
        status,
        ..internal::StatusUpdate::default()
    };
    FromAgent::StatusUpdate(internal::StatusUpdateMessage { update, pid: None })
}

#[test]
fn a_message_between_master_and_agent_survives_the_wire() {
    let message = update();
    assert_eq!(FromAgent::decode(message.name(), &message.encode()).unwrap(), message);
}

#[test]
fn a_message_without_what_it_must_have_is_refused() {
    let cause = |name: &str, bytes: &[u8]| {
        let error = FromAgent::decode(name, bytes).unwrap_err();
        assert_eq!(error.to_string(), format!("bad {name} message"));
        error.source().expect("a cause").to_string()
    };
    assert_eq!(cause(update().name(), b""), "Missing required fields: update");
    // An agent's description, empty.
    assert_eq!(
        cause("mesos.internal.RegisterSlaveMessage", b"\x0a\x00"),
        "Missing required fields: agent.hostname"
    );
}
