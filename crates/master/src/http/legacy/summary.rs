//! `/state-summary`: who is there, and how many tasks are in which state.

use std::collections::{BTreeMap, BTreeSet};

use cluster::master::Snapshot;
use mesos_api::json::Writer;
use mesos_api::v1::TaskState;

use super::{agents, frameworks, member};
use crate::facts::Facts;
use crate::view::Index;

/// The states that are counted, in the order in which they are shown.
const STATES: [TaskState; 10] = [
    TaskState::TaskStaging,
    TaskState::TaskStarting,
    TaskState::TaskRunning,
    TaskState::TaskKilling,
    TaskState::TaskFinished,
    TaskState::TaskKilled,
    TaskState::TaskFailed,
    TaskState::TaskLost,
    TaskState::TaskError,
    TaskState::TaskUnreachable,
];

#[derive(Default)]
struct Seen<'a> {
    states: BTreeMap<TaskState, u64>,
    /// The agents of a framework, or the frameworks of an agent.
    others: BTreeSet<&'a str>,
}

impl<'a> Seen<'a> {
    fn count(&mut self, state: TaskState, other: &'a str) {
        *self.states.entry(state).or_default() += 1;
        self.others.insert(other);
    }

    fn write(&self, others: &str, to: &mut Writer) {
        for state in STATES {
            to.name(state.as_str_name());
            to.u64(self.states.get(&state).copied().unwrap_or_default());
        }
        to.array(others, |to| self.others.iter().for_each(|other| to.string(other)));
    }
}

/// The endpoint.
pub(super) fn write(facts: &Facts, snapshot: &Snapshot) -> String {
    let mut by_agent: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    let mut by_framework: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    for framework in &snapshot.frameworks {
        let tasks = framework.tasks.iter();
        let tasks = tasks.chain(&framework.unreachable_tasks).chain(&framework.completed_tasks);
        for task in tasks {
            let (agent, framework) = (&*task.agent_id.value, framework.id.as_str());
            by_agent.entry(agent).or_default().count(task.state(), framework);
            by_framework.entry(framework).or_default().count(task.state(), agent);
        }
    }
    let nothing = Seen::default();
    let index = Index::new(snapshot);
    let mut to = Writer::new();
    to.begin_object();
    member(&mut to, "hostname", facts.hostname());
    if let Some(cluster) = &facts.cluster {
        member(&mut to, "cluster", cluster);
    }
    to.array("slaves", |to| {
        for agent in &snapshot.agents {
            to.begin_object();
            agents::summary(agent, to);
            by_agent.get(agent.facts.id.as_str()).unwrap_or(&nothing).write("framework_ids", to);
            to.end_object();
        }
    });
    to.array("frameworks", |to| {
        for framework in &snapshot.frameworks {
            to.begin_object();
            frameworks::summary(&index, framework, to);
            by_framework.get(framework.id.as_str()).unwrap_or(&nothing).write("slave_ids", to);
            to.end_object();
        }
    });
    to.end_object();
    to.into_string()
}
