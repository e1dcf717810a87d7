//! Agents that are not heard of, and come back or not.

use std::time::Duration;

use mesos_api::v1::scheduler::event;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::master::Input;
use crate::wire::{FromAgent, ToAgent};

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
    assert!(state.unreachable.is_empty() && state.tasks.contains_key(&"t".into()));
    assert!(world.master.registry.unreachable.is_empty());
    assert!(!world.messages(&agent).iter().any(|it| matches!(it, ToAgent::KillTask(_))));
    let used = world.master.agents.get(&agent.id).unwrap().all_used();
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
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

#[test]
fn partitioned_slave_reregistration_master_failover() {
    let (mut world, agent, framework) = partitioned(aware());
    world.fail_over();
    world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskRunning)]);
    assert!(world.master.frameworks[&framework.id].tasks.contains_key(&"t".into()));
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
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
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
    let used = world.master.agents.get(&agent.id).unwrap().all_used();
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

#[test]
fn disconnected_framework() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.input(Input::SchedulerGone(framework.at.clone()));
    world.live(Duration::from_secs(61), &[&agent]);
    world.break_link(&agent);
    world.advance(LONG);
    assert!(world.master.agents.is_empty());
    world.reregister_with(
        &agent,
        vec![reported(&framework, &agent, "t", TaskState::TaskRunning)],
        vec![framework.info.clone()],
    );
    let shut = |it: &ToAgent| matches!(it, ToAgent::ShutdownFramework(_));
    assert!(world.messages(&agent).iter().any(shut), "it ended while the agent was away");
}

#[test]
fn task_completed_on_partitioned_agent() {
    for info in [aware(), framework_info(&[])] {
        let (mut world, agent, framework) = partitioned(info);
        world.events(&framework);
        world.reregister(&agent, vec![reported(&framework, &agent, "t", TaskState::TaskFinished)]);
        world.messages(&agent);
        // The agent goes on to say so until it is acknowledged.
        world.update(&agent, &framework, "t", TaskState::TaskFinished);
        let last = world.updates(&framework).pop().expect("an update");
        assert_eq!(last.state(), TaskState::TaskFinished);
        world.acknowledge(&framework, &agent, "t", TaskState::TaskFinished);
        let state = &world.master.frameworks[&framework.id];
        assert!(state.tasks.is_empty() && state.unreachable.is_empty());
        assert!(
            world.messages(&agent).iter().any(|it| matches!(it, ToAgent::AcknowledgeStatus(_)))
        );
    }
}

#[test]
fn agent_with_terminal_task_partitioned() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    world.updates(&framework);
    world.advance(LONG);
    assert!(world.master.agents.is_empty());
    assert!(world.updates(&framework).is_empty(), "it was over: it is not unreachable");
    let state = &world.master.frameworks[&framework.id];
    assert!(state.unreachable.is_empty());
    assert_eq!(state.completed.back().unwrap().state(), TaskState::TaskFinished);
}

#[test]
fn partitioned_slave_exited_executor() {
    let (mut world, agent, framework) = partitioned(aware());
    world.events(&framework);
    let message = mesos_api::internal::ExitedExecutorMessage {
        agent_id: (&agent.id).into(),
        framework_id: (&framework.id).into(),
        executor_id: "e".into(),
        status: 1,
    };
    world.say(&agent, FromAgent::ExitedExecutor(message));
    assert!(world.events(&framework).is_empty(), "it has to register first");
}

/// The agent never heard of the task: its message was lost with the partition.
#[test]
fn reregister_partitioned_agent_with_enroute_task() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    world.messages(&agent);
    world.advance(LONG);
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskUnreachable);
    world.reregister(&agent, Vec::new());
    world.reconcile(&framework, &[("t", Some(&agent.id))]);
    assert_eq!(world.updates(&framework).pop().unwrap().state(), TaskState::TaskGone);
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

#[test]
fn partitioned_agent_then_master_failover() {
    let (mut world, agent, framework) = partitioned(aware());
    world.fail_over();
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    world.events(&framework);
    world.reconcile(&framework, &[("t", Some(&agent.id))]);
    let status = world.updates(&framework).remove(0);
    assert_eq!(status.state(), TaskState::TaskUnreachable);
    assert!(status.unreachable_time.is_some(), "since when is in the registry");
}

#[test]
fn cancel_recovered_slave_removal() {
    let mut config = config();
    config.agent_removal_interval = Some(Duration::from_secs(100));
    let mut world = World::new(config.clone());
    world.agent("cpus:4;mem:4096");
    let late = world.agent("cpus:4;mem:4096");
    let registry = crate::registry::Registry::load(&world.store).unwrap();
    world.master = crate::master::Master::new(config, registry, world.now);
    world.advance(Duration::from_secs(601));
    assert_eq!(world.master.registry.unreachable.len(), 1, "the other waits for its turn");
    world.reregister(&late, Vec::new());
    world.live(Duration::from_secs(200), &[&late]);
    assert!(world.master.agents.contains_key(&late.id));
    assert_eq!(world.master.registry.unreachable.len(), 1);
    assert_eq!(world.master.counters().recovered_agents_unreachable, 1);
}

#[test]
fn unreachable_agents_are_spared_when_they_answer_in_time() {
    let mut config = config();
    config.agent_removal_interval = Some(Duration::from_secs(1000));
    let mut world = World::new(config);
    let agents: Vec<Agent> = (0..2).map(|_| world.agent("cpus:4;mem:4096")).collect();
    world.advance(LONG);
    assert_eq!(world.master.agents.keys().count(), 1, "one at a time");
    let left = agents.iter().find(|agent| world.master.agents.contains_key(&agent.id)).unwrap();
    world.live(Duration::from_secs(1100), &[left]);
    assert!(world.master.agents.contains_key(&left.id));
    let counters = world.master.counters();
    let counts = (counters.agents_to_be_unreachable, counters.agents_spared);
    assert_eq!(counts, (2, 1));
}
