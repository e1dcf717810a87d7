//! Custom executors and what they may say.

use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{TaskState, executor};

use super::harness::*;
use crate::agent::Output;

#[test]
fn a_custom_executor_gets_what_waited_for_it() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t1"));
    rig.run(with_executor("t2"));
    let launches = rig.did.iter().filter(|o| matches!(o, Output::Launch(_))).count();
    assert_eq!(launches, 1, "one executor for both");
    let refused = rig.agent.executor_call(rig.now, update("t1", TaskState::TaskRunning, 1));
    assert_eq!(refused.map_err(|r| r.status).err(), Some(403));
    let (_, outputs) = rig.agent.executor_call(rig.now, subscribe()).expect("subscribed");
    use executor::event::Type;
    assert_eq!(events(&outputs), [Type::Subscribed, Type::Launch, Type::Launch]);
    let (_, outputs) = rig
        .agent
        .executor_call(rig.now, update("t1", TaskState::TaskRunning, 1))
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
        .executor_call(rig.now, update("t1", TaskState::TaskRunning, 1))
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
        |call: executor::Call| rig.agent.executor_call(rig.now, call).expect_err("bad").text;
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
