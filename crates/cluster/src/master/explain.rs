//! Answers in words: why a framework gets no offers, and why a task did not start.

use std::collections::BTreeMap;

use mesos_api::v1;
use mesos_api::v1::TaskState;

use super::framework::Link;
use super::{Master, is_terminal};
use crate::allocator::Explanation;
use crate::id::{AgentId, FrameworkId, Role, TaskId};

/// Why a framework gets offers, or not.
#[derive(Debug, Clone)]
pub struct FrameworkExplanation {
    pub framework_id: FrameworkId,
    /// Offers that it has and has not answered.
    pub offers_out: usize,
    /// Agent by agent counts, for each of its roles.
    pub roles: BTreeMap<Role, Explanation>,
    /// The same in sentences, the most telling first.
    pub sentences: Vec<String>,
}

/// What is known of a task.
#[derive(Debug, Clone)]
pub struct TaskExplanation {
    pub task_id: TaskId,
    /// None: nobody knows such a task.
    pub state: Option<TaskState>,
    pub sentences: Vec<String>,
}

impl Master {
    /// Why a framework gets no offers, or no more. None: there is no such live framework.
    pub fn explain_framework(&self, id: &FrameworkId) -> Option<FrameworkExplanation> {
        let framework = self.frameworks.get(id)?;
        let roles = self.allocator.explain(self.now, id)?;
        let mut sentences = Vec::new();
        match &framework.link {
            Link::Connected(_) => {}
            Link::Disconnected => sentences.push(
                "The framework is disconnected: it gets offers when it subscribes again.".into(),
            ),
            Link::Recovered => sentences
                .push("The framework has not subscribed since this master was elected.".into()),
        }
        if self.agents.is_empty() {
            sentences.push(if self.recovered.is_empty() {
                "No agent is registered.".into()
            } else {
                format!(
                    "None of the {} agents of the registry has come back since this master was \
                     elected.",
                    self.recovered.len()
                )
            });
        }
        let offers_out = framework.offers.len();
        if offers_out > 0 {
            let oldest = framework.offers.iter().filter_map(|number| self.offers.get(number));
            let oldest = oldest.map(|offer| self.now.since(offer.made).as_secs()).max();
            sentences.push(format!(
                "It holds {offers_out} offers, the oldest for {} s: what they hold is offered to \
                 nobody until it accepts or declines them.",
                oldest.unwrap_or(0)
            ));
        }
        let held = self.offers.values().filter(|offer| offer.framework != *id).count();
        if held > 0 {
            sentences.push(format!("{held} offers are held by other frameworks."));
        }
        for (role, explanation) in &roles {
            sentences.extend(sentences_of(role, explanation));
        }
        Some(FrameworkExplanation { framework_id: id.clone(), offers_out, roles, sentences })
    }

    /// What is known of a task, and why it does not run. None: there is no such live framework.
    pub fn explain_task(&self, id: &FrameworkId, task: &TaskId) -> Option<TaskExplanation> {
        let framework = self.frameworks.get(id)?;
        let live = framework.tasks.get(task).map(|task| &task.wire);
        let past = || {
            let ended = framework.completed.iter().rev().chain(framework.refused.iter().rev());
            framework
                .unreachable
                .get(task)
                .or_else(|| ended.into_iter().find(|wire| wire.task_id.value == task.as_str()))
        };
        let Some(wire) = live.or_else(past) else {
            let sentences = vec![
                "The master knows no such task of this framework. It was never launched, or it \
                 ended so long ago that it was forgotten."
                    .into(),
            ];
            return Some(TaskExplanation { task_id: task.clone(), state: None, sentences });
        };
        let mut sentences: Vec<String> = wire.statuses.iter().map(told).collect();
        sentences.extend(self.waiting(wire));
        Some(TaskExplanation { task_id: task.clone(), state: Some(wire.state()), sentences })
    }

    /// What a task that is not running and not over waits for.
    fn waiting(&self, wire: &v1::Task) -> Option<String> {
        let state = wire.state();
        let agent = AgentId::from(&wire.agent_id);
        if is_terminal(state) || state == TaskState::TaskRunning {
            return None;
        }
        let Some(known) = self.agents.get(&agent) else {
            return Some(format!("Its agent {agent} is not registered."));
        };
        let host = &known.info.hostname;
        if !known.connected {
            return Some(format!(
                "Its agent {agent} on {host} is disconnected; the agent will tell when it is back."
            ));
        }
        match state {
            TaskState::TaskStaging => Some(format!(
                "Agent {agent} on {host} has it and has not said that it starts: it fetches URIs or \
                 the image, or its executor has not registered."
            )),
            TaskState::TaskStarting => Some(format!("Its executor on {host} is starting it.")),
            TaskState::TaskKilling => Some(format!("Its executor on {host} is killing it.")),
            _ => None,
        }
    }
}

fn sentences_of(role: &Role, explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    if explanation.offerable > 0 {
        sentences.push(format!(
            "Role {role}: {} agents can be offered at the next allocation.",
            explanation.offerable
        ));
    }
    let mut obstacles: Vec<_> = explanation.obstacles.iter().collect();
    obstacles.sort_by_key(|(obstacle, count)| (std::cmp::Reverse(**count), **obstacle));
    for (obstacle, count) in obstacles {
        let agents = if *count == 1 { "agent" } else { "agents" };
        sentences.push(format!("Role {role}: {count} {agents}: {obstacle}."));
    }
    sentences
}

fn told(status: &v1::TaskStatus) -> String {
    let mut text = status.state().as_str_name().to_owned();
    if status.reason.is_some() {
        text.push_str(" (");
        text.push_str(status.reason().as_str_name());
        text.push(')');
    }
    if let Some(message) = status.message.as_deref().filter(|message| !message.is_empty()) {
        text.push_str(": ");
        text.push_str(message);
    }
    text
}
