//! Tasks: launched, refused, updated, acknowledged, killed.

use mesos_api::v1::scheduler::call;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::id::TaskId;
use crate::master::Input;
use crate::wire::ToAgent;

#[test]
fn task_running() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    let messages = world.messages(&agent);
    let run = messages.iter().find_map(|message| match message {
        ToAgent::RunTask(run) => Some(run),
        _ => None,
    });
    let run = run.expect("the agent is told");
    assert_eq!(run.pid(), "@0.0.0.0:0");
    assert_eq!(run.launch_executor, Some(true));
    assert!(run.task.resources.iter().all(|it| it.allocation_info.as_ref().unwrap().role() == "*"));
    world.update(&agent, &framework, "t", TaskState::TaskRunning);
    let updates = world.updates(&framework);
    assert_eq!(updates[0].state(), TaskState::TaskRunning);
    assert_eq!(updates[0].uuid, Some(uuid("t", TaskState::TaskRunning)));
    world.acknowledge(&framework, &agent, "t", TaskState::TaskRunning);
    let acknowledged = |message: &ToAgent| matches!(message, ToAgent::AcknowledgeStatus(_));
    assert!(world.messages(&agent).iter().any(acknowledged));
}

fn refused(tasks: impl Fn(&Agent) -> Vec<v1::TaskInfo>) -> Vec<v1::TaskStatus> {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, tasks(&agent));
    let updates = world.updates(&framework);
    // Whatever was refused is free again once the filter is over.
    let held = world.master.allocator.agent_used(&agent.id).unwrap().clone();
    assert_eq!(held, world.master.agents.get(&agent.id).unwrap().all_used().unallocated());
    updates
}

fn error_of(tasks: impl Fn(&Agent) -> Vec<v1::TaskInfo>) -> String {
    let updates = refused(tasks);
    let [status] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(status.state(), TaskState::TaskError);
    assert_eq!(status.reason(), Reason::TaskInvalid);
    assert!(status.uuid.is_none());
    status.message().to_owned()
}

#[test]
fn task_uses_more_resources_than_offered() {
    let error = error_of(|agent| vec![task("t", agent, "cpus:5;mem:64")]);
    assert!(error.starts_with("Task uses more resources cpus(allocated: *):5; "), "{error}");
}

#[test]
fn task_uses_no_resources() {
    assert_eq!(error_of(|agent| vec![task("t", agent, "")]), "Task uses no resources");
}

#[test]
fn task_with_tiny_resources() {
    let tiny = |agent: &Agent| {
        let mut task = task("t", agent, "cpus:1");
        task.resources[0].scalar = Some(v1::value::Scalar { value: 0.00001 });
        vec![task]
    };
    assert!(error_of(tiny).starts_with("Task uses no resources"));
}

#[test]
fn duplicated_task_id() {
    let twice =
        |agent: &Agent| vec![task("t", agent, "cpus:1;mem:64"), task("t", agent, "cpus:1;mem:64")];
    assert_eq!(error_of(twice), "Task has duplicate ID: t");
}

#[test]
fn task_uses_invalid_agent_or_id() {
    let error = error_of(|agent| {
        vec![v1::TaskInfo { agent_id: "other".into(), ..task("t", agent, "cpus:1") }]
    });
    assert_eq!(error, "Task uses invalid agent other while agent m0-S0 is expected");
    let error = error_of(|agent| vec![task("a/b", agent, "cpus:1")]);
    assert_eq!(error, "'a/b' contains invalid characters");
}

#[test]
fn task_needs_one_of_command_and_executor() {
    let expected =
        "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present";
    let none = |agent: &Agent| vec![v1::TaskInfo { command: None, ..task("t", agent, "cpus:1") }];
    assert_eq!(error_of(none), expected);
    let executor = v1::ExecutorInfo { executor_id: "e".into(), ..v1::ExecutorInfo::default() };
    let both = |agent: &Agent| {
        vec![v1::TaskInfo { executor: Some(executor.clone().into()), ..task("t", agent, "cpus:1") }]
    };
    assert_eq!(error_of(both), expected);
}

#[test]
fn task_missing_docker_info() {
    let mut container = v1::ContainerInfo::default();
    container.set_type(v1::container_info::Type::Docker);
    let missing = |agent: &Agent| {
        let container = Some(container.clone().into());
        vec![v1::TaskInfo { container, ..task("t", agent, "cpus:1") }]
    };
    assert_eq!(
        error_of(missing),
        "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed \
         ContainerInfo"
    );
}

#[test]
fn an_invalid_task_does_not_hinder_a_valid_one() {
    let updates = refused(|agent| {
        vec![
            task("a", agent, "cpus:5"),
            task("b", agent, "cpus:4;mem:64"),
            task("c", agent, "cpus:1"),
        ]
    });
    let names: Vec<_> = updates.iter().map(|status| status.task_id.value.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn launch_combined_offer() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "a", "cpus:2;mem:2048");
    let rest = world.master.allocator.available(&agent.id);
    assert_eq!(rest.amount("cpus").unwrap().as_milli(), 2000);
    world.call(&framework, call::Type::Revive, |_| {});
    let first = world.offers(&framework);
    world.update(&agent, &framework, "a", TaskState::TaskFinished);
    let second = world.offers(&framework);
    assert_eq!((first.len(), second.len()), (1, 1));
    let both = [first[0].clone(), second[0].clone()];
    world.launch(&framework, &both, vec![task("b", &agent, "cpus:4;mem:4096")]);
    assert!(world.updates(&framework).is_empty(), "the task is not refused");
    assert!(world.master.frameworks[&framework.id].tasks.contains_key(&"b".into()));
}

fn invalid_offers(info: v1::FrameworkInfo, spoil: impl Fn(&mut Vec<v1::Offer>)) -> v1::TaskStatus {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    world.agent("cpus:4;mem:4096");
    let framework = world.framework(info);
    let mut offers = world.offers(&framework);
    assert_eq!(offers.len(), 2);
    spoil(&mut offers);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    let status = world.updates(&framework).remove(0);
    assert_eq!(status.reason(), Reason::InvalidOffers);
    world.advance(std::time::Duration::from_secs(2));
    let again = world.offers(&framework).len();
    let open = world.master.frameworks[&framework.id].offers.len();
    assert!(again <= open && open == 2, "both agents are offered again");
    status
}

#[test]
fn launch_across_slaves_lost_and_dropped() {
    let status = invalid_offers(framework_info(&[]), |_| {});
    assert_eq!(status.state(), TaskState::TaskLost);
    assert!(status.message().starts_with(
        "Task launched with invalid offers: Aggregated offers must belong to one single agent."
    ));
    assert_eq!(invalid_offers(aware(), |_| {}).state(), TaskState::TaskDropped);
}

#[test]
fn launch_duplicate_offer_lost_and_dropped() {
    let twice = |offers: &mut Vec<v1::Offer>| offers[1] = offers[0].clone();
    let status = invalid_offers(aware(), twice);
    assert_eq!(status.state(), TaskState::TaskDropped);
    assert!(status.message().contains("Duplicate offer m0-O"));
    assert_eq!(invalid_offers(framework_info(&[]), twice).state(), TaskState::TaskLost);
}

#[test]
fn launch_with_an_offer_that_is_gone() {
    let unknown = |offers: &mut Vec<v1::Offer>| {
        offers.truncate(1);
        offers[0].id = "m0-O99".into();
    };
    assert!(
        invalid_offers(aware(), unknown).message().ends_with("Offer m0-O99 is no longer valid")
    );
}

#[test]
fn release_resources_for_terminal_task_with_pending_updates() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:4;mem:4096");
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    assert_eq!(world.offers(&framework).len(), 1, "free before the acknowledgement");
    assert!(world.master.frameworks[&framework.id].tasks.contains_key(&"t".into()));
    world.acknowledge(&framework, &agent, "t", TaskState::TaskFinished);
    let state = &world.master.frameworks[&framework.id];
    assert!(state.tasks.is_empty());
    assert_eq!(state.completed.back().unwrap().state(), TaskState::TaskFinished);
}

#[test]
fn an_acknowledgement_of_an_older_update_does_not_end_the_task() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    world.acknowledge(&framework, &agent, "t", TaskState::TaskRunning);
    assert!(world.master.frameworks[&framework.id].tasks.contains_key(&"t".into()));
}

#[test]
fn kill_task() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.messages(&agent);
    let kill = |call: &mut v1::scheduler::Call| {
        call.kill = Some(call::Kill { task_id: "t".into(), ..call::Kill::default() });
    };
    world.call(&framework, call::Type::Kill, kill);
    assert!(matches!(world.messages(&agent).as_slice(), [ToAgent::KillTask(_)]));
    // While the agent is away the wish is kept.
    world.break_link(&agent);
    world.call(&framework, call::Type::Kill, kill);
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    let killed = |message: &ToAgent| matches!(message, ToAgent::KillTask(_));
    assert!(world.messages(&agent).iter().any(killed));
}

#[test]
fn an_executor_is_started_once() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let with_executor = |id: &str, world: &World, agent: &Agent| {
        let executor = v1::ExecutorInfo {
            executor_id: "e".into(),
            framework_id: Some((&framework.id).into()),
            command: Some(v1::CommandInfo { value: Some("x".into()), ..Default::default() }),
            resources: wire("cpus:0.5;mem:32"),
            ..v1::ExecutorInfo::default()
        };
        let _ = world;
        v1::TaskInfo {
            command: None,
            executor: Some(executor.into()),
            ..task(id, agent, "cpus:1;mem:64")
        }
    };
    let offers = world.offers(&framework);
    let tasks = vec![with_executor("a", &world, &agent), with_executor("b", &world, &agent)];
    world.launch(&framework, &offers, tasks);
    let starts: Vec<_> = world
        .messages(&agent)
        .iter()
        .filter_map(|message| match message {
            ToAgent::RunTask(run) => run.launch_executor,
            _ => None,
        })
        .collect();
    assert_eq!(starts, [true, false]);
    let used = world.master.agents.get(&agent.id).unwrap().all_used();
    assert_eq!(used.amount("cpus").unwrap().as_milli(), 2500);
    assert!(world.master.frameworks[&framework.id].tasks.contains_key(&TaskId::from("b")));
}

/// `teu task run -d` has left: nobody else would acknowledge, and the agent would repeat itself.
#[test]
fn the_master_acknowledges_for_a_framework_that_left_its_only_task() {
    for (label, ends) in [("teu.task", true), ("other", false)] {
        let mut world = world();
        let agent = world.agent("cpus:4;mem:4096");
        let label = v1::Label { key: label.to_owned(), value: None };
        let labels = Some(v1::Labels { labels: vec![label] });
        let info = v1::FrameworkInfo { labels, failover_timeout: Some(1e6), ..aware() };
        let framework = world.framework(info);
        world.run(&framework, &agent, "t", "cpus:1;mem:64");
        world.messages(&agent);
        world.update(&agent, &framework, "t", TaskState::TaskRunning);
        let acknowledged = |world: &mut World| {
            let messages = world.messages(&agent);
            messages.iter().any(|message| matches!(message, ToAgent::AcknowledgeStatus(_)))
        };
        assert!(!acknowledged(&mut world), "it is there to do so itself");
        world.input(Input::SchedulerGone(framework.at.clone()));
        world.update(&agent, &framework, "t", TaskState::TaskKilling);
        assert_eq!(acknowledged(&mut world), ends);
        assert!(world.master.frameworks.contains_key(&framework.id), "its task is not over");
        world.update(&agent, &framework, "t", TaskState::TaskKilled);
        assert_eq!(acknowledged(&mut world), ends);
        assert_eq!(!world.master.frameworks.contains_key(&framework.id), ends);
    }
}
