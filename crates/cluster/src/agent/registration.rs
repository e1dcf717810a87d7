//! How the agent finds its place with a master, and notices that it has lost it.

use std::time::Duration;

use bytes::Bytes;
use mesos_api::internal as wire;
use mesos_api::v1::agent_info::{Capability, capability};

use super::{Agent, Output, Record};
use crate::time::Time;
use crate::wire::FromAgent;
use crate::wire::ToAgent;

/// The pause between two attempts never exceeds this.
const BACKOFF_LAST: Duration = Duration::from_secs(60);
/// After so many attempts that got no answer the agent proves anew who it is: the master may have
/// forgotten it, if it took the end of an earlier connection for the end of this one.
const ATTEMPTS_PER_PROOF: u32 = 4;

/// How long the master may be silent, unless it says otherwise: five pings of fifteen seconds.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(75);

/// Where registration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No master leads, or it cannot be reached.
    Disconnected,
    /// Proves who it is, and begins again then.
    Authenticating {
        again_at: Time,
        attempt: u32,
        /// How often it has asked to register before.
        registrations: u32,
    },
    /// Asked, and will ask again then.
    Registering {
        again_at: Time,
        attempt: u32,
    },
    Running,
}

/// What this agent can do. Resource providers and operation feedback are not among it, so a Mesos
/// master checkpoints reservations and volumes through the simpler of its two messages.
pub(super) fn capabilities() -> Vec<Capability> {
    use capability::Type::{
        AgentDraining, HierarchicalRole, MultiRole, ReservationRefinement, ResizeVolume,
        TaskResourceLimits,
    };
    [
        MultiRole,
        HierarchicalRole,
        ReservationRefinement,
        ResizeVolume,
        AgentDraining,
        TaskResourceLimits,
    ]
    .into_iter()
    .map(|kind| {
        let mut capability = Capability::default();
        capability.set_type(kind);
        capability
    })
    .collect()
}

impl Agent {
    pub(super) fn master_changed(&mut self, present: bool) {
        self.ping_deadline = None;
        self.pause_streams();
        if !present {
            self.phase = Phase::Disconnected;
            return;
        }
        // Not at once: after a master's failover all agents hear of it in the same instant.
        let wait = self.random_below(self.config.registration_backoff);
        let again_at = self.now + wait;
        self.phase = match self.config.authentication {
            Some(_) => Phase::Authenticating { again_at, attempt: 0, registrations: 0 },
            None => Phase::Registering { again_at, attempt: 0 },
        };
    }

    /// How the attempt ended to prove who this is.
    pub(super) fn authenticated(&mut self, proved: Result<(), String>) {
        let Phase::Authenticating { registrations, .. } = self.phase else { return };
        match proved {
            Ok(()) => self.register(registrations),
            Err(why) => self.out.push(Output::Exit(why)),
        }
    }

    pub(super) fn registration_tick(&self) -> Option<Time> {
        match self.phase {
            Phase::Authenticating { again_at, .. } | Phase::Registering { again_at, .. } => {
                Some(again_at)
            }
            Phase::Disconnected | Phase::Running => None,
        }
    }

    pub(super) fn tick_registration(&mut self) {
        if self.ping_deadline.is_some_and(|deadline| deadline <= self.now) {
            self.master_changed(true);
        }
        match self.phase {
            Phase::Authenticating { again_at, attempt, registrations } if again_at <= self.now => {
                self.authenticate(attempt, registrations);
            }
            Phase::Registering { again_at, attempt } if again_at <= self.now => {
                let anew = attempt > 0 && attempt.is_multiple_of(ATTEMPTS_PER_PROOF);
                if anew && self.config.authentication.is_some() {
                    self.authenticate(0, attempt);
                } else {
                    self.register(attempt);
                }
            }
            _ => {}
        }
    }

    /// Begins to prove who this is; what takes too long is begun again.
    fn authenticate(&mut self, attempt: u32, registrations: u32) {
        let Some(times) = self.config.authentication else { return };
        self.out.push(Output::Authenticate);
        let spread = times.backoff_factor.saturating_mul(1 << (attempt + 1).min(16));
        let spread = spread.min(times.timeout_max.saturating_sub(times.timeout_min));
        let wait = times.timeout_min + self.random_below(spread);
        let again_at = self.now + wait;
        self.phase = Phase::Authenticating { again_at, attempt: attempt + 1, registrations };
    }

    fn register(&mut self, attempt: u32) {
        let message = self.registration();
        self.out.push(Output::send(message));
        let bound = self.config.registration_backoff.saturating_mul(1 << attempt.min(16));
        // Half of it is certain, so that a quick master is not asked twice.
        let bound = bound.min(BACKOFF_LAST);
        let wait = bound / 2 + self.random_below(bound);
        self.phase = Phase::Registering { again_at: self.now + wait, attempt: attempt + 1 };
    }

    fn random_below(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.rng.below(nanos))
    }

    fn resource_version(&self) -> mesos_api::v1::Uuid {
        mesos_api::v1::Uuid { value: Bytes::copy_from_slice(&self.resource_version) }
    }

    fn registration(&self) -> FromAgent {
        if self.info.id.is_none() {
            return FromAgent::Register(wire::RegisterSlaveMessage {
                agent: self.info.clone(),
                checkpointed_resources: self.checkpointed.clone(),
                version: Some(self.config.version.clone()),
                agent_capabilities: capabilities(),
                resource_version_uuid: Some(self.resource_version()),
            });
        }
        let mut message = wire::ReregisterSlaveMessage {
            agent: self.info.clone(),
            checkpointed_resources: self.checkpointed.clone(),
            version: Some(self.config.version.clone()),
            agent_capabilities: capabilities(),
            resource_version_uuid: Some(self.resource_version()),
            ..Default::default()
        };
        for framework in self.frameworks.values().filter(|f| !f.shutting_down) {
            message.frameworks.push(framework.info.clone());
            for executor in framework.executors.values() {
                if executor.kind != super::Kind::Command
                    && executor.state != super::ExecutorState::Terminated
                {
                    message.executor_infos.push(executor.info.clone());
                }
                message.tasks.extend(executor.tasks.values().map(|t| t.task.clone()));
            }
        }
        for framework in &self.completed {
            let tasks = framework.completed.iter().flat_map(|e| e.tasks.iter().cloned());
            message.completed_frameworks.push(wire::archive::Framework {
                framework_info: framework.info.clone(),
                pid: framework.pid.clone(),
                tasks: tasks.collect(),
            });
        }
        FromAgent::Reregister(message)
    }

    pub(super) fn registered(&mut self, message: wire::SlaveRegisteredMessage) {
        match &self.info.id {
            Some(id) if *id != message.agent_id => {
                let text = format!(
                    "the master registered this agent as {}, but it already is {id}",
                    message.agent_id
                );
                self.out.push(Output::Exit(text));
                return;
            }
            Some(_) => {}
            None => {
                self.info.id = Some(message.agent_id);
                self.out.push(Output::persist(Record::Agent(self.info.clone())));
            }
        }
        self.run_with(message.connection);
    }

    pub(super) fn reregistered(&mut self, message: wire::SlaveReregisteredMessage) {
        if self.info.id.as_ref() != Some(&message.agent_id) {
            let text = format!("the master reregistered this agent as {}", message.agent_id);
            self.out.push(Output::Exit(text));
            return;
        }
        // Once reregistered is enough: streams may already be on their way.
        if self.phase != Phase::Running {
            self.run_with(message.connection);
        }
        for reconciliation in message.reconciliations {
            self.reconcile_tasks(reconciliation);
        }
    }

    fn run_with(&mut self, connection: Option<wire::MasterSlaveConnection>) {
        if let Some(secs) = connection.and_then(|c| c.total_ping_timeout_seconds)
            && let Ok(timeout) = Duration::try_from_secs_f64(secs)
        {
            self.ping_timeout = timeout;
        }
        self.phase = Phase::Running;
        self.ping_deadline = Some(self.now + self.ping_timeout);
        self.tick_streams();
        self.resend_operations();
    }

    pub(super) fn pinged(&mut self, message: &wire::PingSlaveMessage) {
        self.out.push(Output::send(FromAgent::Pong(wire::PongSlaveMessage {})));
        if self.phase != Phase::Running {
            return;
        }
        if message.connected {
            self.ping_deadline = Some(self.now + self.ping_timeout);
        } else {
            // The master has seen our connection break and offers nothing of ours until we ask.
            self.master_changed(true);
        }
    }

    /// Whether a message may be acted on; before registration it is a stray of an earlier master.
    pub(super) fn is_running(&self, message: &ToAgent) -> bool {
        self.phase == Phase::Running
            || matches!(
                message,
                ToAgent::Registered(_)
                    | ToAgent::Reregistered(_)
                    | ToAgent::Ping(_)
                    | ToAgent::Shutdown(_)
            )
    }
}
