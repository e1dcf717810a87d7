//! Draining: every task is killed, with the grace that the operator allows.

use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{DrainConfig, KillPolicy, TaskInfo, TaskState};

use super::model::is_terminal;
use super::updates::At;
use super::{Agent, Killing};
use crate::id::FrameworkId;

impl Agent {
    pub(super) fn drain(&mut self, config: DrainConfig) {
        let longest = config.max_grace_period;
        self.drain = Some(config);
        let mut all = Vec::new();
        for framework in self.frameworks.values() {
            for executor in framework.executors.values() {
                let live = executor.tasks.iter().filter(|(_, t)| !is_terminal(t.latest()));
                all.extend(live.map(|(id, task)| {
                    let at = At {
                        framework: framework.id.clone(),
                        executor: executor.id.clone(),
                        task: id.clone(),
                    };
                    (at, task.info.kill_policy)
                }));
            }
        }
        for (at, own) in all {
            let own = own.and_then(|policy| policy.grace_period);
            let grace = match (own, longest) {
                (Some(own), Some(longest)) if own.nanoseconds > longest.nanoseconds => {
                    Some(longest)
                }
                (None, longest) => longest,
                (own, _) => own,
            };
            let policy = grace.map(|grace| KillPolicy { grace_period: Some(grace) });
            self.kill(&at, Killing::ByDrain, policy.as_ref());
        }
        self.drained_if_idle();
    }

    /// Draining ends when nothing is left, not even an update that waits to be acknowledged.
    pub(super) fn drained_if_idle(&mut self) {
        if self.frameworks.is_empty() {
            self.drain = None;
        }
    }

    /// Answers tasks that were on their way when draining began; false when the agent takes them.
    pub(super) fn rejects_while_draining(
        &mut self,
        framework: &FrameworkId,
        tasks: &[TaskInfo],
    ) -> bool {
        if self.drain.is_none() {
            return false;
        }
        let dropped =
            self.frameworks.get(framework).map_or(TaskState::TaskLost, super::Framework::dropped);
        for task in tasks {
            let text = "The agent is draining";
            self.reject(framework, task.clone(), dropped, Reason::AgentDraining, text);
        }
        true
    }

    /// What the operator asked for, while the agent drains.
    pub fn draining(&self) -> Option<&DrainConfig> {
        self.drain.as_ref()
    }
}
