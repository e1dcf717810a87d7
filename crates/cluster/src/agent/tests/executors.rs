//! Custom executors and what they may say.

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{TaskState, executor};

use super::harness::*;
use crate::agent::{Caller, ContainerEvent, Counters, Output};
use crate::judged::Judged;
use crate::wire::ToAgent;

#[test]
fn a_custom_executor_gets_what_waited_for_it() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t1"));
    rig.run(with_executor("t2"));
    let launches = rig.did.iter().filter(|o| matches!(o, Output::Launch(_))).count();
    assert_eq!(launches, 1, "one executor for both");
    let refused = rig.agent.executor_call(rig.now, update("t1", TaskState::TaskRunning, 1), None);
    assert_eq!(refused.map_err(|r| r.status).err(), Some(403));
    let (_, outputs) = rig.agent.executor_call(rig.now, subscribe(), None).expect("subscribed");
    use executor::event::Type;
    assert_eq!(events(&outputs), [Type::Subscribed, Type::Launch, Type::Launch]);
    let (_, outputs) = rig
        .agent
        .executor_call(rig.now, update("t1", TaskState::TaskRunning, 1), None)
        .expect("an update");
    assert!(
        matches!(&outputs[..], [
        Output::Persist(_),
        Output::Send(_),
        Output::Executor { event, .. },
    ] if event.r#type() == Type::Acknowledged),
        "written, sent, then acknowledged: {outputs:?}"
    );
    rig.keep(outputs);
    let (_, outputs) = rig
        .agent
        .executor_call(rig.now, update("t1", TaskState::TaskRunning, 1), None)
        .expect("a repetition");
    assert_eq!(events(&outputs), [Type::Acknowledged], "acknowledged again, told once");
    rig.states();
    rig.ended("E", 1);
    let lost: Vec<_> = rig.statuses().iter().map(|s| (s.state(), s.reason())).collect();
    assert_eq!(
        lost,
        [(TaskState::TaskFailed, Reason::ExecutorTerminated)],
        "t2; t1 has one in flight"
    );
}

#[test]
fn calls_that_say_nothing_useful_are_refused_in_mesos_words() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    let mut refusal =
        |call: executor::Call| rig.agent.executor_call(rig.now, call, None).expect_err("bad").text;
    let untyped = executor::Call { r#type: None, ..subscribe() };
    assert_eq!(
        refusal(untyped),
        "Failed to validate Executor::Call: Expecting 'type' to be present"
    );
    let unknown = executor::Call { framework_id: "X".into(), ..subscribe() };
    assert_eq!(refusal(unknown), "Framework cannot be found");
    let unknown = executor::Call { executor_id: "X".into(), ..subscribe() };
    assert_eq!(refusal(unknown), "Executor cannot be found");
    let empty = executor::Call { subscribe: None, ..subscribe() };
    assert_eq!(
        refusal(empty),
        "Failed to validate Executor::Call: Expecting 'subscribe' to be present"
    );
}

/// What happens here is counted, by whether it made sense.
#[test]
fn messages_updates_and_ends_are_counted() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    let say = |rig: &mut Rig, call| {
        let (_, outputs) = rig.agent.executor_call(rig.now, call, None).expect("taken");
        rig.keep(outputs);
    };
    say(&mut rig, subscribe());
    let message = Some(executor::call::Message { data: bytes::Bytes::from_static(b"x") });
    let mut call = executor::Call { message, subscribe: None, ..subscribe() };
    call.set_type(executor::call::Type::Message);
    say(&mut rig, call);
    for executor in ["E", "nobody"] {
        rig.hear(ToAgent::FrameworkToExecutor(wire::FrameworkToExecutorMessage {
            agent_id: "S".into(),
            framework_id: "F".into(),
            executor_id: executor.into(),
            data: bytes::Bytes::from_static(b"x"),
        }));
    }
    say(&mut rig, update("t", TaskState::TaskRunning, 1));
    say(&mut rig, update("nobody", TaskState::TaskRunning, 2));
    rig.ended("E", 1);
    rig.run(command("c"));
    let message = "no such image".to_owned();
    rig.event("c", ContainerEvent::Refused { reason: Reason::ContainerLaunchFailed, message });
    let expected = Counters {
        container_launch_errors: 1,
        executors_terminated: 2,
        // Besides what executors told: that the tasks have failed.
        status_updates: Judged { valid: 3, invalid: 1 },
        framework_messages: Judged { valid: 2, invalid: 1 },
    };
    assert_eq!(*rig.agent.counters(), expected);
}

#[test]
fn a_token_lets_in_the_executor_that_it_was_made_for_and_no_other() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    let container = rig.container("E").to_string();
    let right = [("cid", &*container), ("eid", "E"), ("fid", "F")];
    let mut call = |claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned()));
        let caller = Caller { name: "who".to_owned(), claims: claims.collect() };
        rig.agent.executor_call(rig.now, subscribe(), Some(&caller)).map(drop)
    };
    for (wrong, lacks) in [
        ("fid", "an 'fid' claim with the framework ID F, which is set in the call"),
        ("eid", "an 'eid' claim with the executor ID E, which is set in the call"),
        ("cid", "a 'cid' claim with the correct active ContainerID"),
    ] {
        let other = right.map(|(name, id)| (name, if name == wrong { "other" } else { id }));
        let without: Vec<_> = right.into_iter().filter(|(name, _)| *name != wrong).collect();
        for claims in [&other[..], &without] {
            let refusal = call(claims).expect_err("refused");
            let text = format!("Authenticated principal 'who' does not contain {lacks}");
            assert_eq!((refusal.status, refusal.text), (403, text));
        }
    }
    call(&right).expect("let in");
}

#[test]
fn an_executor_that_never_subscribes_is_given_up() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    rig.pass(60);
    assert!(rig.did.iter().any(|o| matches!(o, Output::Destroy { .. })));
    rig.ended("E", 137);
    let status = rig.statuses().pop().expect("an update");
    assert_eq!(
        (status.state(), status.reason()),
        (TaskState::TaskFailed, Reason::ExecutorRegistrationTimeout)
    );
}
