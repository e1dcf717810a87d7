//! What is told of tasks that are asked after.

use std::time::Duration;

use mesos_api::v1::master::call as operator;
use mesos_api::v1::scheduler::call;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::id::AgentId;
use crate::master::{Input, RequestId};
use crate::wire::{FromAgent, ToAgent};

#[test]
fn task_state_match() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.reconcile(&framework, &[("t", None)]);
    let updates = world.updates(&framework);
    let [status] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(status.state(), TaskState::TaskRunning);
    assert_eq!(status.reason(), Reason::Reconciliation);
    assert_eq!(status.message(), "Reconciliation: Latest task state");
    assert!(status.uuid.is_none());
}

fn unknown(info: v1::FrameworkInfo, agent: impl Fn(&Agent) -> Option<AgentId>) -> TaskState {
    let mut world = world();
    let here = world.agent("cpus:4;mem:4096");
    let framework = world.framework(info);
    world.events(&framework);
    let agent = agent(&here);
    world.reconcile(&framework, &[("nobody", agent.as_ref())]);
    world.updates(&framework)[0].state()
}

#[test]
fn unknown_slave_and_unknown_task() {
    let other = |_: &Agent| Some(AgentId::from("other"));
    assert_eq!(unknown(framework_info(&[]), other), TaskState::TaskLost);
    assert_eq!(unknown(aware(), other), TaskState::TaskUnknown);
    assert_eq!(unknown(aware(), |_| None), TaskState::TaskUnknown);
    let here = |agent: &Agent| Some(agent.id.clone());
    assert_eq!(unknown(framework_info(&[]), here), TaskState::TaskLost);
    assert_eq!(unknown(aware(), here), TaskState::TaskGone);
}

/// The whole table of what is said of a task that the master does not know, by its agent; who asks
/// to kill one hears the same.
#[test]
fn what_is_told_of_an_unknown_task_depends_on_its_agent() {
    use TaskState as S;
    type Row = (fn(&mut World, &Agent), Option<&'static str>, Option<(S, &'static str)>);
    let table: [Row; 6] = [
        (|_, _| {}, None, Some((S::TaskUnknown, "unknown"))),
        (|_, _| {}, Some("other"), Some((S::TaskUnknown, "unknown"))),
        (|_, _| {}, Some("its"), Some((S::TaskGone, "unknown to the agent"))),
        (partition, Some("its"), Some((S::TaskUnreachable, "unreachable"))),
        (mark_gone, Some("its"), Some((S::TaskGoneByOperator, "gone"))),
        (|world, _| world.fail_over(), Some("its"), None),
    ];
    for (row, (happens, named, expected)) in table.into_iter().enumerate() {
        for info in [aware(), framework_info(&[])] {
            let is_aware = info == aware();
            let mut world = world();
            let agent = world.agent("cpus:4;mem:4096");
            happens(&mut world, &agent);
            let framework = world.framework(info);
            world.events(&framework);
            let its = agent.id.clone();
            let named = named.map(|name| if name == "its" { its } else { AgentId::from(name) });
            world.reconcile(&framework, &[("nobody", named.as_ref())]);
            let told = world.updates(&framework);
            world.call(&framework, call::Type::Kill, |call| {
                let (task_id, agent_id) = ("nobody".into(), named.as_ref().map(Into::into));
                call.kill = Some(call::Kill { task_id, agent_id, ..call::Kill::default() });
            });
            let killed = world.updates(&framework);
            assert_eq!(told, killed, "row {row}");
            let Some((to_aware, what)) = expected else {
                assert!(told.is_empty(), "row {row}: {told:?}");
                continue;
            };
            let [status] = told.as_slice() else { panic!("row {row}: {told:?}") };
            let state = if is_aware { to_aware } else { S::TaskLost };
            assert_eq!((status.state(), status.reason()), (state, Reason::Reconciliation), "{row}");
            assert_eq!(status.message(), format!("Reconciliation: Task is {what}"), "row {row}");
            assert!(status.uuid.is_none(), "nobody has to acknowledge it");
            let unreachable = to_aware == S::TaskUnreachable;
            assert_eq!(status.unreachable_time.is_some(), unreachable, "row {row}");
        }
    }
}

fn partition(world: &mut World, agent: &Agent) {
    world.advance(Duration::from_secs(110));
    assert!(world.master.registry.unreachable.contains_key(&agent.id));
}

fn mark_gone(world: &mut World, agent: &Agent) {
    let gone = operator::MarkAgentGone { agent_id: (&agent.id).into() };
    let mut call = v1::master::Call { mark_agent_gone: Some(gone), ..Default::default() };
    call.set_type(operator::Type::MarkAgentGone);
    let (request, principal) = (RequestId(0), None);
    world.input(Input::Operator { request, principal, call: Box::new(call) });
    assert!(world.master.registry.gone.contains_key(&agent.id));
}

#[test]
fn unknown_kill_task() {
    let mut world = world();
    world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.call(&framework, call::Type::Kill, |call| {
        call.kill = Some(call::Kill { task_id: "nobody".into(), ..call::Kill::default() });
    });
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskUnknown);
}

#[test]
fn recovered_agent() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.fail_over();
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    world.reconcile(&framework, &[("t", Some(&agent.id))]);
    world.reconcile(&framework, &[("t", None)]);
    assert!(world.updates(&framework).is_empty(), "nobody can tell yet");
}

#[test]
fn implicit_reconciliation_tells_of_live_tasks_only() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "a", "cpus:1;mem:64");
    world.call(&framework, call::Type::Revive, |_| {});
    world.run(&framework, &agent, "b", "cpus:1;mem:64");
    world.update(&agent, &framework, "a", TaskState::TaskFinished);
    world.updates(&framework);
    world.reconcile(&framework, &[]);
    let states: Vec<_> = world.updates(&framework).iter().map(v1::TaskStatus::state).collect();
    assert_eq!(states, [TaskState::TaskFinished, TaskState::TaskRunning], "not acknowledged yet");
    world.acknowledge(&framework, &agent, "a", TaskState::TaskFinished);
    world.reconcile(&framework, &[]);
    assert_eq!(world.updates(&framework).len(), 1);
}

#[test]
fn reconcile_lost_task() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    // The message was lost with the link.
    world.break_link(&agent);
    world.messages(&agent);
    world.reregister(&agent, Vec::new());
    let messages = world.messages(&agent);
    let ToAgent::Reregistered(message) = &messages[0] else { panic!("{messages:?}") };
    let [reconciliation] = message.reconciliations.as_slice() else { panic!("{message:?}") };
    assert_eq!(reconciliation.statuses[0].task_id.value, "t");
    world.update(&agent, &framework, "t", TaskState::TaskDropped);
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskDropped);
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

#[test]
fn slave_reregister_terminated_executor() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    let executor = v1::ExecutorInfo {
        executor_id: "e".into(),
        command: Some(v1::CommandInfo::default()),
        resources: wire("cpus:1;mem:32"),
        ..v1::ExecutorInfo::default()
    };
    let with = v1::TaskInfo {
        command: None,
        executor: Some(executor.into()),
        ..task("t", &agent, "cpus:1;mem:64")
    };
    world.launch(&framework, &offers, vec![with]);
    assert_eq!(world.master.agents.get(&agent.id).unwrap().executors.len(), 1);
    world.update(&agent, &framework, "t", TaskState::TaskFailed);
    world.acknowledge(&framework, &agent, "t", TaskState::TaskFailed);
    world.break_link(&agent);
    world.reregister(&agent, Vec::new());
    assert!(world.master.agents.get(&agent.id).unwrap().executors.is_empty());
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
    assert!(world.master.allocator.agent_used(&agent.id).unwrap().is_empty());
}

#[test]
fn an_executor_that_ended_is_told() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.events(&framework);
    let message = mesos_api::internal::ExitedExecutorMessage {
        agent_id: (&agent.id).into(),
        framework_id: (&framework.id).into(),
        executor_id: "e".into(),
        status: 9,
    };
    world.say(&agent, FromAgent::ExitedExecutor(message));
    let failure = world.events(&framework)[0].failure.clone().unwrap();
    assert_eq!((failure.status, failure.executor_id.unwrap().value.as_str()), (Some(9), "e"));
}

/// The agent says that it is over, the acknowledgement that it was waiting for is under way: nobody
/// would acknowledge it again.
#[test]
fn an_acknowledged_end_does_not_come_back_with_its_agent() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    world.acknowledge(&framework, &agent, "t", TaskState::TaskFinished);
    let over = reported(&framework, &agent, "t", TaskState::TaskFinished);
    world.reregister(&agent, vec![over]);
    assert!(world.master.frameworks[&framework.id].tasks.is_empty());
    assert!(world.master.agents.get(&agent.id).unwrap().tasks.is_empty());
}

#[test]
fn kill_unknown_task_slave_in_transition() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.fail_over();
    let at = world.stream();
    let framework = world.subscribe(at, framework.info);
    world.events(&framework);
    world.call(&framework, call::Type::Kill, |call| {
        let agent_id = Some((&agent.id).into());
        call.kill = Some(call::Kill { task_id: "t".into(), agent_id, ..call::Kill::default() });
    });
    assert!(world.updates(&framework).is_empty(), "nobody can tell yet whether it is there");
}

#[test]
fn task_state_mismatch() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.update(&agent, &framework, "t", TaskState::TaskFailed);
    world.updates(&framework);
    // The framework missed it and believes that the task runs.
    world.reconcile(&framework, &[("t", Some(&agent.id))]);
    let status = world.updates(&framework).remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskFailed, Reason::Reconciliation));
}
