//! Executors: their number, their messages, groups of tasks, and their end by request.

use mesos_api::internal::ExecutorToFrameworkMessage;
use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::offer::{Operation, operation};
use mesos_api::v1::scheduler::call;
use mesos_api::v1::task_status::Reason;

use super::harness::*;
use crate::wire::{FromAgent, ToAgent};

fn executor(id: &str) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        executor_id: id.into(),
        command: Some(v1::CommandInfo { value: Some("x".into()), ..v1::CommandInfo::default() }),
        resources: wire("cpus:0.5;mem:32"),
        ..v1::ExecutorInfo::default()
    }
}

fn on_executor(task_id: &str, executor_id: &str, agent: &Agent) -> v1::TaskInfo {
    let executor = Some(executor(executor_id).into());
    v1::TaskInfo { command: None, executor, ..task(task_id, agent, "cpus:1;mem:64") }
}

#[test]
fn framework_message() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![on_executor("t", "e", &agent)]);
    world.messages(&agent);
    world.call(&framework, call::Type::Message, |call| {
        call.message = Some(call::Message {
            agent_id: (&agent.id).into(),
            executor_id: "e".into(),
            data: bytes::Bytes::from_static(b"to"),
        });
    });
    let told = world.messages(&agent);
    let [ToAgent::FrameworkToExecutor(message)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&message.data[..], message.executor_id.value.as_str()), (&b"to"[..], "e"));
    let back = ExecutorToFrameworkMessage {
        agent_id: (&agent.id).into(),
        framework_id: (&framework.id).into(),
        executor_id: "e".into(),
        data: bytes::Bytes::from_static(b"back"),
    };
    world.events(&framework);
    world.say(&agent, FromAgent::ExecutorToFramework(back.clone()));
    let events = world.events(&framework);
    assert_eq!(events[0].message.as_ref().unwrap().data, "back");
    // An agent speaks for itself only.
    let other = world.agent("cpus:4;mem:4096");
    world.say(&other, FromAgent::ExecutorToFramework(back));
    assert!(world.events(&framework).iter().all(|event| event.message.is_none()));
    let counters = world.master.counters();
    assert_eq!(
        (counters.messages_of_executors.valid, counters.messages_of_executors.invalid),
        (1, 1)
    );
    assert_eq!(counters.messages_to_executors.valid, 1);
}

#[test]
fn shutdown_executor() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![on_executor("t", "e", &agent)]);
    world.messages(&agent);
    world.call(&framework, call::Type::Shutdown, |call| {
        let executor_id = "e".into();
        call.shutdown = Some(call::Shutdown { executor_id, agent_id: (&agent.id).into() });
    });
    let told = world.messages(&agent);
    let [ToAgent::ShutdownExecutor(message)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(message.executor_id, Some("e".into()));
    assert_eq!(message.framework_id, Some((&framework.id).into()));
}

#[test]
fn max_executors_per_slave() {
    let mut config = config();
    config.max_executors_per_agent = Some(1);
    let mut world = World::new(config);
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    let tasks = vec![
        on_executor("a", "e", &agent),
        on_executor("b", "e", &agent),
        on_executor("c", "f", &agent),
    ];
    world.launch(&framework, &offers, tasks);
    let refused: Vec<_> = world.updates(&framework);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(
        (refused[0].task_id.value.as_str(), refused[0].state()),
        ("c", TaskState::TaskError)
    );
}

fn group(tasks: Vec<v1::TaskInfo>) -> Operation {
    let mut executor = executor("pod");
    executor.set_type(v1::executor_info::Type::Default);
    executor.command = None;
    let task_group = v1::TaskGroupInfo { tasks };
    let mut operation = Operation::default();
    operation.set_type(operation::Type::LaunchGroup);
    operation.launch_group = Some(operation::LaunchGroup { executor, task_group });
    operation
}

/// Has a group of two tasks accepted, the second one of these resources.
fn with_group(second: &str) -> (World, Agent, Framework) {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.messages(&agent);
    let tasks = vec![task("a", &agent, "cpus:1;mem:64"), task("b", &agent, second)];
    world.accept(&framework, &offers, vec![group(tasks)]);
    (world, agent, framework)
}

#[test]
fn launch_group() {
    let (mut world, agent, framework) = with_group("cpus:1;mem:64");
    let told = world.messages(&agent);
    let [ToAgent::RunTaskGroup(run)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((run.task_group.tasks.len(), run.launch_executor), (2, Some(true)));
    let used = world.master.agents.get(&agent.id).unwrap().all_used();
    assert_eq!(used.amount("cpus").unwrap().as_milli(), 2500, "the executor's and the tasks'");
    // The tasks know their executor, which ends with them.
    let tasks = &world.master.frameworks[&framework.id].tasks;
    assert!(tasks.values().all(|task| task.wire.executor_id == Some("pod".into())));
}

#[test]
fn a_group_starts_as_a_whole_or_not_at_all() {
    let (mut world, agent, framework) = with_group("cpus:9;mem:64");
    assert!(world.messages(&agent).is_empty());
    let states: Vec<_> = world.updates(&framework).iter().map(v1::TaskStatus::state).collect();
    assert_eq!(states, [TaskState::TaskError; 2]);
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

/// What is left of an offer has to hold the executor as well.
#[test]
fn a_group_whose_executor_does_not_fit_does_not_start() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.messages(&agent);
    let mut group = group(vec![task("a", &agent, "mem:64")]);
    let executor = &mut group.launch_group.as_mut().unwrap().executor;
    executor.resources = wire("cpus:5;mem:32");
    world.accept(&framework, &offers, vec![group]);
    assert!(world.messages(&agent).is_empty());
    let updates = world.updates(&framework);
    let [status] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!((status.state(), status.reason()), (TaskState::TaskError, Reason::TaskGroupInvalid));
    assert!(status.message().starts_with("Total resources "), "{status:?}");
}

/// Only the executor's own tasks can still start it.
#[test]
fn an_executor_that_its_agent_does_not_know_is_not_there() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    let tasks = vec![task("a", &agent, "cpus:1;mem:64")];
    world.accept(&framework, &offers, vec![group(tasks)]);
    world.update(&agent, &framework, "a", TaskState::TaskFinished);
    world.acknowledge(&framework, &agent, "a", TaskState::TaskFinished);
    world.call(&framework, call::Type::Revive, |_| {});
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![task("b", &agent, "cpus:1;mem:64")]);
    // That the executor ended, and that there is a task for the agent, was lost with the link.
    world.break_link(&agent);
    world.reregister(&agent, Vec::new());
    assert!(world.master.agents.get(&agent.id).unwrap().executors.is_empty());
}

#[test]
fn an_executor_whose_tasks_never_came_is_not_there() {
    for (last, there) in [(TaskState::TaskDropped, false), (TaskState::TaskRunning, true)] {
        let (mut world, agent, framework) = with_group("cpus:1;mem:64");
        world.break_link(&agent);
        world.reregister(&agent, Vec::new());
        let executors = |world: &World| world.master.agents.get(&agent.id).unwrap().executors.len();
        assert_eq!(executors(&world), 1, "it may be on its way");
        world.update(&agent, &framework, "a", TaskState::TaskDropped);
        assert_eq!(executors(&world), 1, "as may be the other task");
        world.update(&agent, &framework, "b", last);
        assert_eq!(executors(&world), usize::from(there), "{last:?}");
    }
}

/// The agent died after it had written down half of a group: it knows how that half ended, and that
/// says nothing of the other.
#[test]
fn the_end_of_a_known_task_is_no_sign_of_its_executor() {
    let (mut world, agent, framework) = with_group("cpus:1;mem:64");
    world.break_link(&agent);
    world.reregister(&agent, vec![reported(&framework, &agent, "a", TaskState::TaskFailed)]);
    world.update(&agent, &framework, "a", TaskState::TaskFailed);
    world.update(&agent, &framework, "b", TaskState::TaskDropped);
    assert!(world.master.agents.get(&agent.id).unwrap().executors.is_empty());
}
