//! Tasks that are ended: killed, out of time, drained, with their framework.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{DurationInfo, KillPolicy, TaskInfo, TaskState};

use super::harness::*;
use crate::agent::{ContainerEvent, Output};
use crate::wire::ToAgent;

#[test]
fn a_killed_task_is_killed_whatever_its_exit_code() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    let grace = Some(DurationInfo { nanoseconds: 3_000_000_000 });
    rig.kill("t", Some(KillPolicy { grace_period: grace }));
    let stop = Output::Stop { container: rig.container("t"), grace: Duration::from_secs(3) };
    assert_eq!(rig.did.last(), Some(&stop));
    rig.ended("t", 0);
    for expected in [
        TaskState::TaskStarting,
        TaskState::TaskRunning,
        TaskState::TaskKilling,
        TaskState::TaskKilled,
    ] {
        assert_eq!(rig.states(), [expected]);
        rig.acknowledge("t");
    }
}

#[test]
fn a_task_killed_while_it_is_fetched_never_runs() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.kill("t", None);
    assert_eq!(rig.did.last(), Some(&Output::Destroy { container: rig.container("t") }));
    // The container may have got that far in the meantime.
    rig.launched("t");
    rig.event(
        "t",
        ContainerEvent::Refused {
            reason: Reason::ContainerLaunchFailed,
            message: "destroyed".to_owned(),
        },
    );
    let statuses = rig.statuses();
    assert_eq!(statuses.len(), 1);
    assert_eq!(statuses[0].state(), TaskState::TaskKilled);
    assert_eq!(statuses[0].reason(), Reason::TaskKilledDuringLaunch);
}

#[test]
fn a_task_has_its_time_and_no_more() {
    let mut rig = Rig::registered();
    let limit = Some(DurationInfo { nanoseconds: 10_000_000_000 });
    rig.run(TaskInfo { max_completion_time: limit, ..command("t") });
    rig.launched("t");
    rig.pass(9);
    assert!(!rig.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    rig.pass(1);
    assert!(rig.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    rig.ended("t", 137);
    let last = std::iter::from_fn(|| {
        let status = rig.statuses().pop()?;
        rig.acknowledge("t");
        Some(status)
    })
    .last()
    .expect("updates");
    assert_eq!(
        (last.state(), last.reason()),
        (TaskState::TaskFailed, Reason::MaxCompletionTimeReached)
    );
}

#[test]
fn the_time_of_a_task_goes_on_while_its_agent_is_away() {
    let mut rig = Rig::registered();
    let limit = Some(DurationInfo { nanoseconds: 10_000_000_000 });
    rig.run(TaskInfo { max_completion_time: limit, ..command("t") });
    rig.launched("t");
    let mut next = rig.restarted();
    next.now = next.now + Duration::from_secs(8);
    let (data, network_infos, pid) = (bytes::Bytes::new(), None, Some(42));
    next.event("t", ContainerEvent::Launched { data, network_infos, pid });
    next.pass(1);
    assert!(!next.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    next.pass(1);
    assert!(next.did.iter().any(|o| matches!(o, Output::Stop { .. })));
}

#[test]
fn killing_what_is_not_here_is_answered() {
    let mut rig = Rig::registered();
    rig.kill("t", None);
    let status = rig.statuses().pop().expect("an answer");
    assert_eq!((status.state(), status.uuid), (TaskState::TaskLost, None));
}

#[test]
fn a_shut_down_framework_leaves_nothing() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    rig.hear(ToAgent::ShutdownFramework(wire::ShutdownFrameworkMessage {
        framework_id: "F".into(),
    }));
    assert!(rig.did.iter().any(|o| matches!(o, Output::Stop { .. })));
    rig.states();
    rig.ended("t", 0);
    assert_eq!(rig.agent.frameworks().count(), 0);
    assert_eq!(rig.recovered().frameworks.len(), 0);
}

#[test]
fn draining_kills_with_the_operators_grace() {
    let mut rig = Rig::registered();
    let own = Some(KillPolicy { grace_period: Some(DurationInfo { nanoseconds: 60_000_000_000 }) });
    rig.run(TaskInfo { kill_policy: own, ..command("t") });
    rig.launched("t");
    let longest = Some(DurationInfo { nanoseconds: 10_000_000_000 });
    rig.hear(ToAgent::Drain(wire::DrainSlaveMessage {
        config: mesos_api::v1::DrainConfig { max_grace_period: longest, mark_gone: None },
    }));
    let stop = Output::Stop { container: rig.container("t"), grace: Duration::from_secs(10) };
    assert_eq!(rig.did.last(), Some(&stop));
    rig.ended("t", 0);
    let at = rig.agent.find("F", "t").expect("a task");
    let record = rig.agent.record_mut(&at).expect("a task");
    let last = record.task.statuses.last().map(|s| (s.state(), s.reason()));
    assert_eq!(last, Some((TaskState::TaskKilled, Reason::AgentDraining)));
    // What was on its way is sent back; draining is over with the last acknowledgement.
    rig.sent.clear();
    rig.run(command("late"));
    let late = rig.statuses().pop().expect("an answer");
    assert_eq!((late.state(), late.reason()), (TaskState::TaskLost, Reason::AgentDraining));
    for task in ["late", "t", "t", "t", "t"] {
        assert!(rig.agent.draining().is_some(), "{task}");
        rig.acknowledge(task);
    }
    assert!(rig.agent.draining().is_none());
}

/// Nobody will acknowledge what a framework that is over was told: waiting for that must not keep
/// the agent awake.
#[test]
fn updates_of_a_framework_that_is_over_are_not_waited_for() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    assert_eq!(rig.states(), [TaskState::TaskStarting]);
    rig.hear(ToAgent::ShutdownFramework(wire::ShutdownFrameworkMessage {
        framework_id: "F".into(),
    }));
    rig.pass(10);
    assert_eq!(rig.states(), [], "it would be repeated now");
    assert!(rig.agent.next_tick().is_none_or(|at| at > rig.now));
}

#[test]
fn max_completed_executors_per_framework() {
    let mut rig = Rig::registered();
    rig.agent.config.max_completed_executors = 2;
    rig.run(command("live"));
    for task in ["a", "b", "c"] {
        rig.run(command(task));
        rig.launched(task);
        rig.ended(task, 0);
        (0..3).for_each(|_| rig.acknowledge(task));
    }
    let framework = rig.agent.frameworks().next().expect("a framework");
    let remembered: Vec<&str> = framework.completed.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(remembered, ["b", "c"]);
}
