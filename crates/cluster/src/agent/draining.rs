//! Draining: every task is killed, with the grace that the operator allows.

use mesos_api::v1::{DrainConfig, KillPolicy};

use super::model::is_terminal;
use super::updates::At;
use super::{Agent, Killing};

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
    }

    /// What the operator asked for, while the agent drains.
    pub fn draining(&self) -> Option<&DrainConfig> {
        self.drain.as_ref()
    }
}
