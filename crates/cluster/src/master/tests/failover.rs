//! Schedulers and masters that are replaced while things go on.

use std::time::Duration;

use mesos_api::internal::ExecutorToFrameworkMessage;
use mesos_api::v1::scheduler::{call, event};
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::master::{Input, Reply};
use crate::wire::{FromAgent, ToAgent};

#[test]
fn scheduler_failover_status_update() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.input(Input::SchedulerGone(framework.at.clone()));
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    assert!(
        world.master.frameworks[&framework.id].tasks.contains_key(&"t".into()),
        "not acknowledged"
    );
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    // The agent repeats what nobody has acknowledged.
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskFinished);
    world.acknowledge(&framework, &agent, "t", TaskState::TaskFinished);
    assert!(world.master.frameworks[&framework.id].tasks.is_empty());
}

#[test]
fn disconnected_scheduler_launch() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.input(Input::SchedulerGone(framework.at.clone()));
    world.messages(&agent);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    assert!(matches!(world.reply(), Some(Reply::Forbidden(_))));
    assert!(world.messages(&agent).is_empty(), "nothing was launched");
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    world.events(&framework);
    // The offers of the old stream are gone, also for the new one.
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskDropped);
}

#[test]
fn update_framework_info_on_scheduler_failover() {
    let mut world = world();
    let framework = world.framework(aware());
    let at = world.stream();
    let info = v1::FrameworkInfo {
        name: "other".into(),
        webui_url: Some("http://other".into()),
        failover_timeout: Some(7.0),
        ..framework.info
    };
    let framework = world.subscribe(at, info);
    let known = &world.master.frameworks[&framework.id].info;
    assert_eq!((known.name.as_str(), known.webui_url()), ("other", "http://other"));
    assert_eq!(known.failover_timeout, Some(7.0));
    world.fail_over();
    assert_eq!(world.master.frameworks[&framework.id].info.name, "other", "and it is kept");
}

#[test]
fn failover_agent_reregister_first() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.fail_over();
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    assert!(world.master.frameworks[&framework.id].tasks.contains_key(&"t".into()));
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    world.acknowledge(&framework, &agent, "t", TaskState::TaskFinished);
    assert!(world.master.frameworks[&framework.id].tasks.is_empty());
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

#[test]
fn executor_message_to_recovered_framework() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.fail_over();
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    let message = ExecutorToFrameworkMessage {
        agent_id: (&agent.id).into(),
        framework_id: (&framework.id).into(),
        executor_id: "e".into(),
        data: bytes::Bytes::from_static(b"x"),
    };
    // Nobody listens: the message is lost, which messages may be, and nothing else is.
    world.say(&agent, FromAgent::ExecutorToFramework(message.clone()));
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    assert!(!world.kinds(&framework).contains(&event::Type::Message));
    world.say(&agent, FromAgent::ExecutorToFramework(message));
    let events = world.events(&framework);
    assert_eq!(events[0].message.as_ref().unwrap().data, "x");
}

#[test]
fn recovered_framework_is_torn_down_after_master_failover() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.fail_over();
    world.advance(Duration::from_secs(601));
    assert!(!world.master.frameworks.contains_key(&framework.id), "it had as long as agents have");
    world.reregister_with(
        &agent,
        vec![reported(&framework, &agent, "t", TaskState::TaskRunning)],
        vec![framework.info.clone()],
    );
    let shut = |message: &ToAgent| matches!(message, ToAgent::ShutdownFramework(_));
    assert!(world.messages(&agent).iter().any(shut), "its tasks end");
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

#[test]
fn max_completed_frameworks_and_tasks() {
    let mut config = config();
    (config.max_completed_frameworks, config.max_completed_tasks_per_framework) = (2, 3);
    let mut world = World::new(config);
    let agent = world.agent("cpus:4;mem:4096");
    for _ in 0..4 {
        let framework = world.framework(aware());
        for number in 0..5 {
            let id = format!("t{number}");
            world.call(&framework, call::Type::Revive, |_| {});
            world.run(&framework, &agent, &id, "cpus:1;mem:64");
            world.update(&agent, &framework, &id, TaskState::TaskFinished);
            world.acknowledge(&framework, &agent, &id, TaskState::TaskFinished);
        }
        world.call(&framework, call::Type::Teardown, |_| {});
    }
    let snapshot = world.master.snapshot();
    let kept: Vec<usize> =
        snapshot.completed_frameworks.iter().map(|it| it.completed_tasks.len()).collect();
    assert_eq!(kept, [3, 3]);
    let last = &snapshot.completed_frameworks[1].completed_tasks;
    assert_eq!(last.last().unwrap().task_id.value, "t4", "the latest are kept");
}
