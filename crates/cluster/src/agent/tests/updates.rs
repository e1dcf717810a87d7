//! Status updates: their order, their repetition, and what they say.

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{CheckStatusInfo, TaskInfo, TaskState, check_info, check_status_info};

use super::harness::*;
use crate::agent::{ContainerEvent, Input, Output, Record};
use crate::wire::ToAgent;

#[test]
fn updates_go_one_by_one_as_they_are_acknowledged() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    assert!(matches!(&rig.did[..], [Output::Launch(launch)] if launch.task.is_some()));
    rig.launched("t");
    rig.ended("t", 0);
    assert_eq!(rig.states(), [TaskState::TaskStarting], "one is in flight");
    rig.acknowledge("t");
    let running = rig.statuses();
    assert_eq!(running[0].state(), TaskState::TaskRunning);
    assert_eq!(running[0].data.as_deref(), Some(&b"[{}]"[..]));
    rig.acknowledge("t");
    assert_eq!(rig.states(), [TaskState::TaskFinished]);
    rig.acknowledge("t");
    assert_eq!(rig.agent.frameworks().count(), 0);
    let done = |r: &Record| matches!(r, Record::Finished { .. } | Record::FrameworkFinished { .. });
    assert_eq!(rig.records.iter().filter(|r| done(r)).count(), 2);
    let completed: Vec<_> = rig.agent.completed_frameworks().collect();
    assert_eq!(completed[0].completed[0].tasks[0].state(), TaskState::TaskFinished);
}

#[test]
fn retries_wait_longer_each_time_and_pause_without_a_master() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.event("t", ContainerEvent::Starting);
    assert_eq!(rig.states().len(), 1);
    rig.pass(9);
    assert_eq!(rig.states().len(), 0);
    rig.pass(1);
    assert_eq!(rig.states().len(), 1, "after 10 s");
    rig.pass(19);
    assert_eq!(rig.states().len(), 0);
    rig.pass(1);
    assert_eq!(rig.states().len(), 1, "after 20 s");
    rig.input(Input::Master(false));
    rig.pass(1000);
    assert_eq!(rig.states().len(), 0);
    rig.input(Input::Master(true));
    rig.hear(ToAgent::Reregistered(wire::SlaveReregisteredMessage {
        agent_id: "S".into(),
        ..wire::SlaveReregisteredMessage::default()
    }));
    assert_eq!(rig.states(), [TaskState::TaskStarting], "at once when it is back");
}

#[test]
fn unexpected_and_repeated_acknowledgements_change_nothing() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    let uuid = rig.statuses()[0].uuid.clone().expect("a uuid");
    rig.acknowledge_uuid("t", bytes::Bytes::from_static(b"never sent......"));
    assert_eq!(rig.states(), []);
    rig.acknowledge_uuid("t", uuid.clone());
    assert_eq!(rig.states(), [TaskState::TaskRunning]);
    rig.acknowledge_uuid("t", uuid);
    assert_eq!(rig.states(), []);
}

#[test]
fn an_unhealthy_task_is_told_and_killed() {
    let mut rig = Rig::registered();
    rig.run(command("t"));
    rig.launched("t");
    let health = |healthy, kill| ContainerEvent::Health { healthy, kill, message: String::new() };
    rig.event("t", health(true, false));
    rig.event("t", health(false, false));
    rig.event("t", health(false, true));
    rig.ended("t", 0);
    let mut seen = Vec::new();
    while let Some(status) = rig.statuses().pop() {
        seen.push((status.state(), status.healthy));
        rig.acknowledge("t");
    }
    use TaskState::{TaskKilled, TaskKilling, TaskRunning, TaskStarting};
    assert_eq!(
        seen,
        [
            (TaskStarting, None),
            (TaskRunning, None),
            (TaskRunning, Some(true)),
            (TaskRunning, Some(false)),
            (TaskKilling, Some(false)),
            (TaskKilled, Some(false)),
        ]
    );
}

#[test]
fn a_check_is_told_when_it_changes_also_after_a_restart() {
    let seen = |exit_code| {
        let mut seen = CheckStatusInfo::default();
        seen.set_type(check_info::Type::Command);
        seen.command = Some(check_status_info::Command { exit_code });
        seen
    };
    let mut check = mesos_api::v1::CheckInfo::default();
    check.set_type(check_info::Type::Command);
    let mut rig = Rig::registered();
    rig.run(TaskInfo { check: Some(Box::new(check)), ..command("t") });
    rig.launched("t");
    rig.event("t", ContainerEvent::Checked(seen(Some(1))));
    rig.event("t", ContainerEvent::Checked(seen(Some(1))));
    let mut rig = rig.restarted();
    rig.input(Input::Master(true));
    rig.hear(ToAgent::Registered(wire::SlaveRegisteredMessage {
        agent_id: "S".into(),
        connection: None,
    }));
    rig.event("t", ContainerEvent::Checked(seen(Some(1))));
    rig.event("t", ContainerEvent::Checked(seen(None)));
    rig.ended("t", 0);
    let mut told = Vec::new();
    while let Some(status) = rig.statuses().pop() {
        told.push((status.state(), status.check_status.map(|seen| *seen)));
        rig.acknowledge("t");
    }
    use TaskState::{TaskFinished, TaskRunning, TaskStarting};
    assert_eq!(
        told,
        [
            (TaskStarting, Some(seen(None))),
            (TaskRunning, Some(seen(None))),
            (TaskRunning, Some(seen(Some(1)))),
            (TaskRunning, Some(seen(None))),
            (TaskFinished, Some(seen(None))),
        ]
    );
}

#[test]
fn a_container_without_a_network_has_no_address() {
    let mut rig = Rig::registered();
    let address = |rig: &mut Rig| {
        let status = rig.statuses().pop().expect("an update");
        let infos = status.container_status.expect("a container").network_infos;
        infos.first().and_then(|i| i.ip_addresses[0].ip_address.clone())
    };
    for (task, network_infos, expected) in
        [("host", None, Some("1.2.3.4".to_owned())), ("none", Some(Vec::new()), None)]
    {
        rig.run(command(task));
        let data = bytes::Bytes::new();
        rig.event(task, ContainerEvent::Launched { data, network_infos, pid: Some(42) });
        assert_eq!(address(&mut rig), expected);
    }
}

#[test]
fn what_cannot_run_is_answered_reliably() {
    let mut rig = Rig::registered();
    rig.run(TaskInfo { command: None, ..command("t") });
    let status = rig.statuses().pop().expect("an answer");
    assert_eq!((status.state(), status.reason()), (TaskState::TaskError, Reason::TaskInvalid));
    rig.pass(10);
    assert_eq!(rig.states(), [TaskState::TaskError], "until it is acknowledged");
    rig.acknowledge("t");
    assert_eq!(rig.agent.frameworks().count(), 0);
    rig.hear(ToAgent::RunTaskGroup(wire::RunTaskGroupMessage {
        framework: framework_info(),
        task_group: mesos_api::v1::TaskGroupInfo { tasks: vec![command("a"), command("b")] },
        launch_executor: Some(false),
        ..wire::RunTaskGroupMessage::default()
    }));
    assert_eq!(rig.states(), [TaskState::TaskLost; 2]);
}
