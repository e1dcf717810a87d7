//! Agents that are not heard of, and come back or not.

use std::time::Duration;

use mesos_api::v1::scheduler::event;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::wire::ToAgent;

/// Longer than five pings of fifteen seconds, and the spread of the first.
const LONG: Duration = Duration::from_secs(110);

fn partitioned(info: v1::FrameworkInfo) -> (World, Agent, Framework) {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(info);
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.messages(&agent);
    world.advance(LONG);
    (world, agent, framework)
}

#[test]
fn partitioned_slave() {
    let (mut world, agent, framework) = partitioned(aware());
    assert!(world.master.agents.is_empty());
    assert!(world.master.registry.unreachable.contains_key(&agent.id));
    let events = world.events(&framework);
    let status = &events.iter().find_map(|event| event.update.as_ref()).unwrap().status;
    assert_eq!(status.state(), TaskState::TaskUnreachable);
    assert_eq!(status.reason(), Reason::AgentRemoved);
    assert!(status.unreachable_time.is_some() && status.uuid.is_none());
    let kinds: Vec<_> = events.iter().map(v1::scheduler::Event::r#type).collect();
    assert!(kinds.contains(&event::Type::Failure), "{kinds:?}");
}

#[test]
fn an_agent_that_answers_is_kept() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    world.live(Duration::from_secs(1000), &[&agent]);
    assert!(world.master.agents.contains_key(&agent.id));
}

#[test]
fn reregister_slave_partition_aware() {
    let (mut world, agent, framework) = partitioned(aware());
    world.events(&framework);
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    let updates = world.updates(&framework);
    assert_eq!(updates[0].state(), TaskState::TaskRunning);
    assert_eq!(updates[0].reason(), Reason::AgentReregistered);
    let state = &world.master.frameworks[&framework.id];
    assert!(state.unreachable.is_empty() && state.tasks.contains_key("t"));
    assert!(world.master.registry.unreachable.is_empty());
    assert!(!world.messages(&agent).iter().any(|it| matches!(it, ToAgent::KillTask(_))));
    let used = world.master.agents[&agent.id].all_used();
    assert_eq!(used.amount("cpus").unwrap().as_milli(), 1000);
}

#[test]
fn reregister_slave_not_partition_aware() {
    let (mut world, agent, framework) = partitioned(framework_info(&[]));
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskLost);
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    let messages = world.messages(&agent);
    assert!(messages.iter().any(|it| matches!(it, ToAgent::KillTask(_))), "{messages:?}");
    assert!(!messages.iter().any(|it| matches!(it, ToAgent::Shutdown(_))), "the agent stays");
}

#[test]
fn partitioned_slave_status_updates() {
    let (mut world, agent, framework) = partitioned(aware());
    world.events(&framework);
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    assert!(world.updates(&framework).is_empty(), "it has to register first");
}

#[test]
fn partitioned_slave_orphaned_task() {
    let (mut world, agent, framework) = partitioned(aware());
    let task = reported(&framework, &agent, "t", TaskState::TaskRunning);
    world.call(&framework, v1::scheduler::call::Type::Teardown, |_| {});
    world.reregister_with(&agent, vec![task], vec![framework.info.clone()]);
    let shut = |it: &ToAgent| matches!(it, ToAgent::ShutdownFramework(_));
    assert!(world.messages(&agent).iter().any(shut));
    assert!(world.master.frameworks.is_empty(), "it does not come back to life");
    assert!(world.master.agents[&agent.id].used.is_empty());
}

#[test]
fn partitioned_slave_reregistration_master_failover() {
    let (mut world, agent, framework) = partitioned(aware());
    world.fail_over();
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    assert!(world.master.frameworks[&framework.id].tasks.contains_key("t"));
    let at = world.stream();
    let back = world.subscribe(at, framework.info);
    world.reconcile(&back, &[]);
    assert_eq!(world.updates(&back)[0].state(), TaskState::TaskRunning);
}

#[test]
fn recovered_slave_can_reregister() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.fail_over();
    assert!(world.master.recovered.contains(&agent.id));
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    assert!(world.master.recovered.is_empty());
    world.live(Duration::from_secs(590), &[&agent]);
    assert!(world.master.agents.contains_key(&agent.id));
    let at = world.stream();
    let back = world.subscribe(at, framework.info);
    let offers = world.offers(&back);
    let cpus = offers[0].resources.iter().find(|resource| resource.name == "cpus").unwrap();
    assert!((cpus.scalar.unwrap().value - 3.0).abs() < 1e-9, "the task holds the rest");
}

#[test]
fn an_agent_that_does_not_come_back_after_failover_is_unreachable() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    world.fail_over();
    world.advance(Duration::from_secs(599));
    assert!(world.master.registry.agents.contains_key(&agent.id));
    world.advance(Duration::from_secs(2));
    assert!(world.master.registry.unreachable.contains_key(&agent.id));
}

#[test]
fn rate_limit_recovered_slave_removal() {
    let mut config = config();
    config.agent_removal_interval = Some(Duration::from_secs(100));
    let mut world = World::new(config.clone());
    for _ in 0..3 {
        world.agent("cpus:4;mem:4096");
    }
    let registry = crate::registry::Registry::load(&world.store).unwrap();
    world.master = crate::master::Master::new(config, registry, world.now);
    world.advance(Duration::from_secs(650));
    assert_eq!(world.master.registry.unreachable.len(), 1);
    world.advance(Duration::from_secs(100));
    assert_eq!(world.master.registry.unreachable.len(), 2);
}

#[test]
fn agent_restart_no_reregister() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.break_link(&agent);
    assert!(world.offers(&framework).is_empty(), "no offers of a disconnected agent");
    world.live(Duration::from_secs(599), &[&agent]);
    assert!(world.master.agents.contains_key(&agent.id), "it answers pings");
    world.live(Duration::from_secs(2), &[&agent]);
    assert!(world.master.registry.unreachable.contains_key(&agent.id));
}

#[test]
fn non_checkpointing_framework_agent_disconnection() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(v1::FrameworkInfo { checkpoint: None, ..framework_info(&[]) });
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.break_link(&agent);
    let status = world.updates(&framework).remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskLost, Reason::AgentDisconnected));
    assert!(world.master.agents[&agent.id].used.is_empty());
}

#[test]
fn spurious_slave_reregistration() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.messages(&agent);
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    let messages = world.messages(&agent);
    let ToAgent::Reregistered(message) = &messages[0] else { panic!("{messages:?}") };
    assert!(message.reconciliations.is_empty());
    let used = world.master.agents[&agent.id].all_used();
    assert_eq!(used.amount("cpus").unwrap().as_milli(), 1000, "counted once");
}

#[test]
fn registry_gc_by_count_and_age() {
    let mut config = config();
    config.registry_max_agent_count = 1;
    let mut world = World::new(config);
    world.agent("cpus:4;mem:4096");
    world.agent("cpus:4;mem:4096");
    world.advance(LONG);
    assert_eq!(world.master.registry.unreachable.len(), 2);
    world.advance(Duration::from_secs(900));
    assert_eq!(world.master.registry.unreachable.len(), 1);
    world.advance(Duration::from_secs(15 * 24 * 3600));
    assert!(world.master.registry.unreachable.is_empty());
    assert!(world.store.keys().all(|key| !key.starts_with("unreachable/")));
}
