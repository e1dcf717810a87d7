//! Draining: an agent is emptied, then kept empty or given up for good.

use std::time::Duration;

use mesos_api::internal;
use mesos_api::v1;

use super::Master;
use super::output::Reply;
use super::remove::Removal;
use crate::id::AgentId;
use crate::registry::{AdmittedAgent, Drain, Op};
use crate::wire::ToAgent;

impl Master {
    pub(super) fn drain(&mut self, call: &v1::master::call::DrainAgent) -> Reply {
        let id = AgentId::from(&call.agent_id);
        let max_grace_period = match read_duration(call.max_grace_period.as_ref()) {
            Ok(duration) => duration,
            Err(error) => return Reply::BadRequest(error),
        };
        if self.registry.gone.contains_key(&id) {
            return Reply::BadRequest(format!("Agent {id} has been marked gone"));
        }
        if let Some(agent) = self.agents.get(&id)
            && !agent.capabilities.draining
        {
            return Reply::BadRequest(format!(
                "Agent {id} does not have the capability AGENT_DRAINING"
            ));
        }
        let drain = Drain {
            max_grace_period,
            mark_gone: call.mark_gone.unwrap_or(false),
            drained: false,
            started: self.now,
        };
        let set = |agent: &mut AdmittedAgent| {
            agent.deactivated = true;
            agent.drain = Some(drain.clone());
        };
        if !self.change_admitted(&id, set) {
            return Reply::BadRequest(format!("Unknown agent {id}"));
        }
        self.refresh_activity(&id);
        self.rescind_agent(&id);
        self.resume_drain(&id);
        self.drained_while_away(&id);
        Reply::Ok
    }

    pub(super) fn deactivate_agent(&mut self, id: &AgentId) -> Reply {
        if !self.change_admitted(id, |agent| agent.deactivated = true) {
            return Reply::BadRequest(format!("Unknown agent {id}"));
        }
        self.refresh_activity(id);
        self.rescind_agent(id);
        Reply::Ok
    }

    pub(super) fn reactivate_agent(&mut self, id: &AgentId) -> Reply {
        let draining = self
            .admitted(id)
            .and_then(|agent| agent.drain.as_ref())
            .is_some_and(|drain| !drain.drained);
        if draining {
            return Reply::BadRequest(format!("Agent {id} is still in the DRAINING state"));
        }
        let set = |agent: &mut AdmittedAgent| {
            agent.deactivated = false;
            agent.drain = None;
        };
        if !self.change_admitted(id, set) {
            return Reply::BadRequest(format!("Unknown agent {id}"));
        }
        self.refresh_activity(id);
        Reply::Ok
    }

    /// What the registry holds of an agent, whether it is here or unreachable.
    pub(super) fn admitted(&self, id: &AgentId) -> Option<&AdmittedAgent> {
        self.registry
            .agents
            .get(id)
            .or_else(|| self.registry.unreachable.get(id).and_then(|lost| lost.agent.as_ref()))
    }

    /// Changes what the registry holds of an agent. False: it holds nothing.
    fn change_admitted(&mut self, id: &AgentId, change: impl Fn(&mut AdmittedAgent)) -> bool {
        let Some(mut agent) = self.admitted(id).cloned() else { return false };
        change(&mut agent);
        let since = self.registry.unreachable.get(id).map(|lost| lost.since);
        self.persist(Op::Admit { id: id.clone(), agent });
        if let Some(since) = since {
            // It stays unreachable, and drains when it comes back.
            self.persist(Op::MarkUnreachable { id: id.clone(), now: since });
        }
        true
    }

    /// Has an agent drain, if it is to: now, or again after it has come back.
    pub(super) fn resume_drain(&mut self, id: &AgentId) {
        let Some(drain) = self.registry.agents.get(id).and_then(|agent| agent.drain.clone()) else {
            return;
        };
        let message = internal::DrainSlaveMessage { config: drain_config(&drain) };
        self.tell_agent(id, ToAgent::Drain(message));
        self.drained_if_idle(id);
    }

    /// An agent that is being drained and runs nothing any more is drained.
    pub(super) fn drained_if_idle(&mut self, id: &AgentId) {
        let draining = self
            .registry
            .agents
            .get(id)
            .and_then(|agent| agent.drain.as_ref())
            .is_some_and(|drain| !drain.drained || drain.mark_gone);
        if !draining {
            return;
        }
        let idle = self.agents.get(id).is_some_and(|agent| {
            agent.connected
                && agent.operations.is_empty()
                && agent.tasks.iter().all(|(framework, task)| {
                    self.task_of(framework, task).is_none_or(|task| task.released)
                })
        });
        if !idle {
            return;
        }
        self.change_admitted(id, |agent| {
            if let Some(drain) = &mut agent.drain {
                drain.drained = true;
            }
        });
        let mark_gone = self
            .registry
            .agents
            .get(id)
            .and_then(|agent| agent.drain.as_ref())
            .is_some_and(|drain| drain.mark_gone);
        if mark_gone {
            self.mark_gone(id);
        }
    }

    /// An unreachable agent that is to be given up once drained is given up at once: nobody can
    /// tell whether it still runs something, and it will not be let in again.
    pub(super) fn drained_while_away(&mut self, id: &AgentId) {
        let mark_gone = self
            .registry
            .unreachable
            .get(id)
            .and_then(|lost| lost.agent.as_ref()?.drain.as_ref())
            .is_some_and(|drain| drain.mark_gone);
        if mark_gone {
            self.mark_gone(id);
        }
    }

    /// An operator knows that the agent will never come back.
    pub(super) fn mark_gone(&mut self, id: &AgentId) -> Reply {
        if self.registry.gone.contains_key(id) {
            return Reply::Ok;
        }
        if let Some(agent) = self.agents.get(id) {
            let pid = agent.pid.clone();
            self.send_away(pid, "Agent has been marked gone".into());
            self.remove_agent(id, Removal::Gone, "Agent marked gone by operator");
            return Reply::Ok;
        }
        if self.admitted(id).is_none() {
            return Reply::NotFound(format!("Agent {id} is unknown"));
        }
        self.recovered.remove(id);
        self.persist(Op::MarkGone { id: id.clone(), now: self.now });
        self.tell_gone(id);
        Reply::Ok
    }

    /// Tasks that were unreachable with the agent are gone now.
    fn tell_gone(&mut self, id: &AgentId) {
        let gone: Vec<_> = self
            .frameworks
            .iter()
            .flat_map(|(framework, state)| {
                state
                    .unreachable
                    .iter()
                    .filter(|(_, wire)| wire.agent_id.value == id.as_str())
                    .map(|(task, _)| (framework.clone(), task.clone()))
            })
            .collect();
        for (framework, task) in gone {
            self.unreachable_task_gone(&framework, &task);
        }
    }
}

pub(super) fn drain_config(drain: &Drain) -> v1::DrainConfig {
    v1::DrainConfig {
        max_grace_period: drain.max_grace_period.map(|period| v1::DurationInfo {
            nanoseconds: i64::try_from(period.as_nanos()).unwrap_or(i64::MAX),
        }),
        mark_gone: Some(drain.mark_gone),
    }
}

fn read_duration(wire: Option<&v1::Duration>) -> Result<Option<Duration>, String> {
    let Some(wire) = wire else { return Ok(None) };
    let seconds = u64::try_from(wire.seconds.unwrap_or(0));
    let nanos = u32::try_from(wire.nanos.unwrap_or(0));
    match (seconds, nanos) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            Ok(Some(Duration::new(seconds, nanos)))
        }
        _ => Err("'max_grace_period' must be a duration that is not negative".into()),
    }
}
