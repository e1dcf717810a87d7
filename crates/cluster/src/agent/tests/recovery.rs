//! An agent that is started again on what another wrote down.

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{TaskState, TaskStatus, executor};

use super::harness::*;
use crate::agent::{ContainerEvent, Input, Output, Recovered};
use crate::wire::{FromAgent, ToAgent};

#[test]
fn what_ran_when_the_host_was_restarted_is_gone() {
    let mut rig = Rig::registered();
    rig.run(command("runs"));
    rig.launched("runs");
    rig.run(command("over"));
    rig.launched("over");
    rig.ended("over", 0);
    let recovered = Recovered { rebooted: true, ..rig.recovered() };
    let mut next = Rig::of(recovered, rig.now);
    next.records.splice(0..0, rig.records.iter().cloned());
    assert_eq!(next.did, [], "nothing to look after");
    next.input(Input::Master(true));
    next.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "S".into(),
        connection: None,
    }));
    let mut last = Vec::new();
    for _ in 0..3 {
        for status in next.statuses() {
            last.push((status.task_id.value.clone(), status.state()));
            next.acknowledge(&status.task_id.value);
        }
    }
    for expected in [("runs", TaskState::TaskLost), ("over", TaskState::TaskFinished)] {
        assert!(last.contains(&(expected.0.to_owned(), expected.1)), "{last:?}");
    }
    assert_eq!(next.agent.frameworks().count(), 0);
}

#[test]
fn a_restarted_agent_tells_what_happened_meanwhile_in_order() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    assert_eq!(rig.states(), [TaskState::TaskStarting]);
    let mut next = rig.restarted();
    assert!(
        matches!(&next.did[..], [Output::Reattach(launch)] if launch.container_id == rig.container("t"))
    );
    next.ended("t", 7);
    assert_eq!(next.states(), [], "not before the master knows the agent");
    next.input(Input::Master(true));
    next.pass(60);
    assert!(matches!(&next.sent[..], [FromAgent::Reregister(m)] if m.tasks.len() == 1));
    next.hear(ToAgent::Reregistered(wire::SlaveReregisteredMessage {
        agent_id: "S".into(),
        ..wire::SlaveReregisteredMessage::default()
    }));
    for expected in [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFailed] {
        assert_eq!(next.states(), [expected]);
        next.acknowledge("t");
    }
}

#[test]
fn a_restarted_agent_keeps_to_a_kill() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    rig.kill("t", None);
    let mut next = rig.restarted();
    // It may have been told to end, and nobody has waited for it to do so since.
    let (network_infos, pid) = (None, Some(42));
    let data = bytes::Bytes::new();
    next.event("t", ContainerEvent::Launched { data, network_infos, pid });
    assert!(next.did.iter().any(|o| matches!(o, Output::Stop { .. })), "{:?}", next.did);
    next.ended("t", 0);
    let at = next.agent.find("F", "t").expect("a task");
    assert_eq!(next.agent.record_mut(&at).map(|t| t.latest()), Some(TaskState::TaskKilled));
}

#[test]
fn a_restarted_agent_waits_for_its_executors_a_little() {
    let mut rig = Rig::registered();
    rig.run(with_executor("t"));
    let (_, outputs) = rig.agent.executor_call(rig.now, subscribe(), None).expect("subscribed");
    rig.keep(outputs);
    let mut back = rig.restarted();
    let mut call = subscribe();
    call.subscribe = Some(executor::call::Subscribe {
        unacknowledged_tasks: vec![with_executor("t")],
        ..executor::call::Subscribe::default()
    });
    let (_, outputs) = back.agent.executor_call(back.now, call, None).expect("subscribed again");
    assert_eq!(events(&outputs), [executor::event::Type::Subscribed]);
    back.pass(60);
    assert!(!back.did.iter().any(|o| matches!(o, Output::Destroy { .. })));
    let mut gone = rig.restarted();
    gone.pass(2);
    assert!(gone.did.iter().any(|o| matches!(o, Output::Destroy { .. })));
    gone.ended("E", 137);
    let at = gone.agent.find("F", "t").expect("a task");
    let record = gone.agent.record_mut(&at).expect("a task");
    let reason = record.task.statuses.last().map(TaskStatus::reason);
    assert_eq!(reason, Some(Reason::ExecutorReregistrationTimeout));
}
