//! Groups of tasks, under the default executor and under custom ones.

use std::time::Duration;

use mesos_api::internal as wire;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{ExecutorInfo, TaskGroupInfo, TaskState as S, executor, executor_info};

use super::harness::*;
use crate::agent::{ContainerEvent, Exit, Input, Output, Record};
use crate::id::ContainerId;
use crate::wire::{FromAgent, ToAgent};

/// Launches a group of the default executor `E`.
fn run_group(rig: &mut Rig, tasks: &[&str]) {
    let mut info = ExecutorInfo { executor_id: "E".into(), ..ExecutorInfo::default() };
    info.set_type(executor_info::Type::Default);
    let tasks = tasks.iter().map(|id| command(id)).collect();
    rig.hear(ToAgent::RunTaskGroup(wire::RunTaskGroupMessage {
        framework: framework_info(),
        executor: info,
        task_group: TaskGroupInfo { tasks },
        ..wire::RunTaskGroupMessage::default()
    }));
}

impl Rig {
    fn member(&self, task: &str) -> ContainerId {
        let executor = &self.agent.frameworks[&"F".into()].executors[&"E".into()];
        executor.tasks[&task.into()].member.as_ref().expect("a member").container.clone()
    }

    fn member_event(&mut self, task: &str, event: ContainerEvent) {
        let container = self.member(task);
        self.input(Input::Container {
            framework: "F".into(),
            executor: "E".into(),
            container,
            event,
        });
    }

    fn member_runs(&mut self, task: &str) {
        let (data, network_infos, pid) = (bytes::Bytes::new(), None, Some(42));
        self.member_event(task, ContainerEvent::Launched { data, network_infos, pid });
    }

    fn member_exits(&mut self, task: &str, code: i32) {
        let message = format!("Command exited with status {code}");
        let exit = Exit { code: Some(code), out_of_memory: false, message };
        self.member_event(task, ContainerEvent::Ended(exit));
    }

    /// States of the tasks as the agent knows them.
    fn known(&self, tasks: &[&str]) -> Vec<S> {
        let executor = &self.agent.frameworks[&"F".into()].executors[&"E".into()];
        tasks.iter().map(|task| executor.tasks[&(*task).into()].latest()).collect()
    }
}

#[test]
fn a_group_runs_each_task_in_a_container_of_its_own_and_ends_with_the_last() {
    let mut rig = Rig::registered();
    run_group(&mut rig, &["a", "b"]);
    assert_eq!(rig.states(), [S::TaskStarting, S::TaskStarting]);
    let launched: Vec<ContainerId> = rig
        .did
        .iter()
        .filter_map(|output| match output {
            Output::Launch(launch) => {
                assert!(launch.task.is_some() && launch.group.is_some());
                Some(launch.container_id.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(launched, [rig.member("a"), rig.member("b")]);
    let outer = rig.container("E");
    assert!(launched.iter().all(|it| it.split().is_some_and(|(parent, _)| parent == outer)));
    for task in ["a", "b"] {
        rig.member_runs(task);
        rig.acknowledge(task);
    }
    let told = rig.statuses();
    assert!(told.iter().all(|status| status.state() == S::TaskRunning), "{told:?}");
    let id = told[0].container_status.as_ref().and_then(|it| it.container_id.clone());
    assert_eq!(id.and_then(|id| id.parent).map(|id| id.value), Some(outer.to_string()));
    assert_eq!(told[0].executor_id.as_ref().map(|id| id.value.as_str()), Some("E"));
    // One that finishes leaves the others alone.
    rig.did.clear();
    rig.member_exits("a", 0);
    assert_eq!(rig.known(&["a", "b"]), [S::TaskFinished, S::TaskRunning]);
    assert!(!rig.did.iter().any(|output| matches!(output, Output::Stop { .. })));
    rig.sent.clear();
    rig.member_exits("b", 0);
    let exited = |m: &FromAgent| matches!(m, FromAgent::ExitedExecutor(m) if m.status == 0);
    assert!(rig.sent.iter().any(exited), "{:?}", rig.sent);
    let gone = [rig.member("a"), rig.member("b")];
    for task in ["a", "a", "b", "b"] {
        rig.acknowledge(task);
    }
    assert!(rig.agent.frameworks.is_empty());
    let removed: Vec<ContainerId> = rig
        .did
        .iter()
        .filter_map(|output| match output {
            Output::Remove { container } => Some(container.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(removed, gone);
}

#[test]
fn a_task_that_fails_or_is_killed_takes_its_group_along_and_no_other() {
    for kill in [false, true] {
        let mut rig = Rig::registered();
        run_group(&mut rig, &["a", "b"]);
        run_group(&mut rig, &["c"]);
        for task in ["a", "b", "c"] {
            rig.member_runs(task);
        }
        rig.did.clear();
        if kill {
            rig.kill("a", None);
        }
        rig.member_exits("a", 1);
        let first = if kill { S::TaskKilled } else { S::TaskFailed };
        assert_eq!(rig.known(&["a", "b", "c"]), [first, S::TaskKilling, S::TaskRunning]);
        let grace = Duration::from_secs(3);
        let stop = Output::Stop { container: rig.member("b"), grace };
        assert!(rig.did.contains(&stop), "{:?}", rig.did);
        rig.member_exits("b", 143);
        assert_eq!(rig.known(&["b", "c"]), [S::TaskKilled, S::TaskRunning]);
    }
}

#[test]
fn a_task_that_cannot_start_takes_its_group_along() {
    let mut rig = Rig::registered();
    run_group(&mut rig, &["a", "b", "c"]);
    rig.member_runs("a");
    let (reason, message) = (Reason::ContainerLaunchFailed, "no such image".to_owned());
    rig.member_event("b", ContainerEvent::Refused { reason, message });
    assert_eq!(rig.known(&["a", "b", "c"]), [S::TaskKilling, S::TaskFailed, S::TaskStarting]);
    assert!(rig.did.contains(&Output::Destroy { container: rig.member("c") }));
}

#[test]
fn a_restarted_agent_looks_after_its_groups_again() {
    let mut rig = Rig::registered();
    run_group(&mut rig, &["a", "b"]);
    rig.member_runs("a");
    rig.member_runs("b");
    rig.kill("a", None);
    let mut rig = rig.restarted();
    let again: Vec<&ContainerId> = rig
        .did
        .iter()
        .filter_map(|output| match output {
            Output::Reattach(launch) => Some(&launch.container_id),
            _ => None,
        })
        .collect();
    assert_eq!(again, [&rig.member("a"), &rig.member("b")]);
    rig.did.clear();
    // Whoever was to kill it for good is gone.
    rig.member_runs("a");
    assert!(
        matches!(&rig.did[..], [Output::Stop { container, .. }] if *container == rig.member("a"))
    );
    rig.member_runs("b");
    rig.member_exits("a", 143);
    assert_eq!(rig.known(&["a", "b"]), [S::TaskKilled, S::TaskKilling]);
}

/// The master counts the executor already, and nobody else would tell it.
#[test]
fn an_executor_that_is_not_started_is_told_to_have_ended() {
    let mut rig = Rig::registered();
    run_group(&mut rig, &["a"]);
    rig.member_runs("a");
    rig.member_exits("a", 0);
    rig.sent.clear();
    // Until its last update is acknowledged the executor is in the agent's books.
    for launch_executor in [false, true] {
        let mut executor = ExecutorInfo { executor_id: "E".into(), ..ExecutorInfo::default() };
        executor.set_type(executor_info::Type::Default);
        let task = if launch_executor { "c" } else { "b" };
        rig.hear(ToAgent::RunTaskGroup(wire::RunTaskGroupMessage {
            framework: framework_info(),
            executor,
            task_group: TaskGroupInfo { tasks: vec![command(task)] },
            launch_executor: Some(launch_executor),
            ..wire::RunTaskGroupMessage::default()
        }));
        let exited = |message: &FromAgent| matches!(message, FromAgent::ExitedExecutor(_));
        assert_eq!(rig.sent.iter().any(exited), launch_executor);
        assert_eq!(rig.states(), [S::TaskLost]);
    }
}

/// The agent wrote down that a task failed, and died before it had killed the others.
#[test]
fn a_restarted_agent_ends_groups_that_had_failed() {
    let mut rig = Rig::registered();
    run_group(&mut rig, &["a", "b"]);
    rig.member_runs("a");
    rig.member_runs("b");
    rig.member_exits("a", 1);
    rig.records.retain(|record| !matches!(record, Record::Killing { .. }));
    let mut rig = rig.restarted();
    let b = rig.member("b");
    assert!(
        matches!(
            &rig.did[..],
            [Output::Reattach(launch), Output::Stop { container, .. }]
                if launch.container_id == b && *container == b
        ),
        "{:?}",
        rig.did
    );
    rig.member_runs("b");
    rig.member_exits("b", 143);
    let b = &rig.records.iter().rev().find_map(|record| match record {
        Record::Update { record, .. } => record.update.clone(),
        _ => None,
    });
    assert_eq!(b.as_ref().map(|update| update.status.state()), Some(S::TaskKilled));
}

#[test]
fn a_group_is_shut_down_with_its_executor_and_takes_no_more() {
    let mut rig = Rig::registered();
    run_group(&mut rig, &["a", "b"]);
    rig.member_runs("a");
    rig.member_runs("b");
    rig.hear(ToAgent::ShutdownExecutor(wire::ShutdownExecutorMessage {
        framework_id: Some("F".into()),
        executor_id: Some("E".into()),
    }));
    assert_eq!(rig.known(&["a", "b"]), [S::TaskKilling, S::TaskKilling]);
    rig.sent.clear();
    run_group(&mut rig, &["c"]);
    assert_eq!(rig.states(), [S::TaskLost]);
}

#[test]
fn a_custom_executor_gets_its_group_in_one_piece_and_loses_it_whole() {
    let mut rig = Rig::registered();
    let info = ExecutorInfo { executor_id: "E".into(), ..ExecutorInfo::default() };
    let group = |ids: &[&str]| wire::RunTaskGroupMessage {
        framework: framework_info(),
        executor: info.clone(),
        task_group: TaskGroupInfo { tasks: ids.iter().map(|id| command(id)).collect() },
        ..wire::RunTaskGroupMessage::default()
    };
    rig.hear(ToAgent::RunTaskGroup(group(&["a", "b"])));
    rig.hear(ToAgent::RunTaskGroup(group(&["c", "d"])));
    rig.kill("c", None);
    assert_eq!(rig.states(), [S::TaskKilled, S::TaskKilled]);
    let (_, outputs) = rig.agent.executor_call(rig.now, subscribe(), None).expect("subscribed");
    use executor::event::Type;
    assert_eq!(events(&outputs), [Type::Subscribed, Type::LaunchGroup]);
}
