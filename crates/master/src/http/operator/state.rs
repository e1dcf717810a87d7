//! The answers that hold the whole state. As JSON they are written straight from the snapshot: they
//! are big, and Mesos prints their lists even where these are empty.

use std::time::Duration;

use cluster::master::{AgentSnapshot, ExecutorSnapshot, FrameworkSnapshot, Snapshot};
use mesos_api::json::{Json, Writer};
use mesos_api::v1::master::call;
use mesos_api::v1::master::response::get_executors::Executor;
use mesos_api::v1::master::response::{GetAgents, GetExecutors, GetFrameworks, GetState, GetTasks};

use super::answer_of;
use crate::view::{self, Index};

/// The answer to a call of this type; none if it is not one of these.
pub(super) fn json(kind: call::Type, snapshot: &Snapshot) -> Option<String> {
    Some(match kind {
        call::Type::GetState => answer_of("GET_STATE", "get_state", |to| state(snapshot, to)),
        call::Type::GetAgents => answer_of("GET_AGENTS", "get_agents", |to| agents(snapshot, to)),
        call::Type::GetFrameworks => {
            answer_of("GET_FRAMEWORKS", "get_frameworks", |to| frameworks(snapshot, to))
        }
        call::Type::GetExecutors => {
            answer_of("GET_EXECUTORS", "get_executors", |to| executors(snapshot, to))
        }
        call::Type::GetTasks => answer_of("GET_TASKS", "get_tasks", |to| tasks(snapshot, to)),
        _ => return None,
    })
}

/// The first event of a stream.
pub(super) fn subscribed(snapshot: &Snapshot, heartbeat: Duration) -> String {
    answer_of("SUBSCRIBED", "subscribed", |to| {
        to.object("get_state", |to| state(snapshot, to));
        to.name("heartbeat_interval_seconds");
        to.f64(heartbeat.as_secs_f64());
    })
}

fn state(snapshot: &Snapshot, to: &mut Writer) {
    to.object("get_tasks", |to| tasks(snapshot, to));
    to.object("get_executors", |to| executors(snapshot, to));
    to.object("get_frameworks", |to| frameworks(snapshot, to));
    to.object("get_agents", |to| agents(snapshot, to));
}

fn tasks(snapshot: &Snapshot, to: &mut Writer) {
    to.array("tasks", |to| {
        let tasks = snapshot.frameworks.iter().flat_map(|framework| &framework.tasks);
        tasks.for_each(|task| task.write_json(to));
    });
    to.array("unreachable_tasks", |to| {
        let tasks = snapshot.frameworks.iter().flat_map(|framework| &framework.unreachable_tasks);
        tasks.for_each(|task| task.write_json(to));
    });
    to.array("completed_tasks", |to| {
        let tasks = view::all_frameworks(snapshot).flat_map(view::ended_tasks);
        tasks.for_each(|task| task.write_json(to));
    });
}

fn executors(snapshot: &Snapshot, to: &mut Writer) {
    to.array("executors", |to| {
        for (agent, executor) in all_executors(snapshot) {
            to.begin_object();
            to.name("executor_info");
            view::executor_info(executor).write_json(to);
            to.object("agent_id", |to| {
                to.name("value");
                to.string(agent.facts.id.as_str());
            });
            to.end_object();
        }
    });
}

fn all_executors(snapshot: &Snapshot) -> impl Iterator<Item = (&AgentSnapshot, &ExecutorSnapshot)> {
    let agents = snapshot.agents.iter();
    agents.flat_map(|agent| agent.executors.iter().map(move |executor| (&**agent, executor)))
}

fn frameworks(snapshot: &Snapshot, to: &mut Writer) {
    let index = Index::new(snapshot);
    let shown = |it: &FrameworkSnapshot| view::framework(snapshot, &index.used(&it.id), it);
    to.array("frameworks", |to| {
        snapshot.frameworks.iter().for_each(|it| shown(it).write_json(to));
    });
    to.array("completed_frameworks", |to| {
        view::completed_frameworks(snapshot).for_each(|it| shown(it).write_json(to));
    });
}

fn agents(snapshot: &Snapshot, to: &mut Writer) {
    to.array("agents", |to| {
        snapshot.agents.iter().for_each(|agent| view::agent(agent).write_json(to));
    });
    to.array("recovered_agents", |to| {
        view::recovered_agents(snapshot).for_each(|info| info.write_json(to));
    });
}

/// All of it as a message.
pub(super) fn get_state(snapshot: &Snapshot) -> GetState {
    GetState {
        get_tasks: Some(get_tasks(snapshot)),
        get_executors: Some(get_executors(snapshot)),
        get_frameworks: Some(get_frameworks(snapshot)),
        get_agents: Some(get_agents(snapshot)),
    }
}

pub(super) fn get_tasks(snapshot: &Snapshot) -> GetTasks {
    let mut tasks = GetTasks::default();
    for framework in &snapshot.frameworks {
        tasks.tasks.extend(framework.tasks.iter().map(|task| (**task).clone()));
        let unreachable = framework.unreachable_tasks.iter().map(|task| (**task).clone());
        tasks.unreachable_tasks.extend(unreachable);
    }
    tasks.completed_tasks =
        view::all_frameworks(snapshot).flat_map(view::ended_tasks).cloned().collect();
    tasks
}

pub(super) fn get_executors(snapshot: &Snapshot) -> GetExecutors {
    let executors = all_executors(snapshot).map(|(agent, executor)| Executor {
        executor_info: view::executor_info(executor),
        agent_id: (&agent.facts.id).into(),
    });
    GetExecutors { executors: executors.collect(), ..GetExecutors::default() }
}

pub(super) fn get_frameworks(snapshot: &Snapshot) -> GetFrameworks {
    let index = Index::new(snapshot);
    let shown = |it: &FrameworkSnapshot| view::framework(snapshot, &index.used(&it.id), it);
    GetFrameworks {
        frameworks: snapshot.frameworks.iter().map(shown).collect(),
        completed_frameworks: view::completed_frameworks(snapshot).map(shown).collect(),
        ..GetFrameworks::default()
    }
}

pub(super) fn get_agents(snapshot: &Snapshot) -> GetAgents {
    GetAgents {
        agents: snapshot.agents.iter().map(|agent| view::agent(agent)).collect(),
        recovered_agents: view::recovered_agents(snapshot).cloned().collect(),
    }
}
