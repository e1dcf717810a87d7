//! Offers: resources on their way to a framework, and what becomes of them.

use mesos_api::v1;
use mesos_api::v1::scheduler::{Event, event};

use super::agent::split_pid;
use super::output::Send;
use super::timer::Timer;
use super::{Master, event_of};
use crate::allocator::{Grant, Scope};
use crate::id::{AgentId, ExecutorId, FrameworkId, OfferId, Role};
use crate::resources::{Format, Resources};
use crate::time::Time;

/// An offer that is out.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) framework: FrameworkId,
    pub(super) agent: AgentId,
    pub(super) role: Role,
    pub(super) resources: Resources,
    pub(super) made: Time,
}

/// What an offer tells its framework.
pub(super) struct OfferParts<'a> {
    pub(super) id: &'a OfferId,
    pub(super) framework: &'a FrameworkId,
    pub(super) agent: &'a AgentId,
    pub(super) role: &'a Role,
    pub(super) resources: &'a Resources,
    pub(super) info: &'a v1::AgentInfo,
    pub(super) pid: &'a str,
    pub(super) multi_role: bool,
    pub(super) format: Format,
    pub(super) unavailability: Option<v1::Unavailability>,
}

impl OfferParts<'_> {
    /// The offer as a message. Frameworks of one role do not see to which role it is made.
    pub(super) fn wire(&self, executors: impl Iterator<Item = ExecutorId>) -> v1::Offer {
        let (name, ip, port) = split_pid(self.pid);
        let (resources, allocation_info) = if self.multi_role {
            let role = Some(self.role.to_string());
            (self.resources.clone(), Some(v1::resource::AllocationInfo { role }))
        } else {
            (self.resources.unallocated(), None)
        };
        v1::Offer {
            id: self.id.into(),
            framework_id: self.framework.into(),
            agent_id: self.agent.into(),
            hostname: self.info.hostname.clone(),
            url: Some(v1::Url {
                scheme: "http".into(),
                address: v1::Address {
                    hostname: Some(self.info.hostname.clone()),
                    ip: Some(ip.to_owned()),
                    port: port.into(),
                },
                path: Some(format!("/{name}")),
                query: Vec::new(),
                fragment: None,
            }),
            domain: self.info.domain.clone(),
            resources: resources.to_wire(self.format),
            attributes: self.info.attributes.clone(),
            executor_ids: executors.map(|id| (&id).into()).collect(),
            unavailability: self.unavailability,
            allocation_info,
        }
    }
}

impl Master {
    /// Runs the allocator if something may have become free, and sends what comes of it.
    pub(super) fn allocate(&mut self) {
        let periodic = self.next_batch <= self.now;
        if !periodic && (!self.allocator.wants_run() || self.now < self.paused_until) {
            return;
        }
        self.paused_until = self.now + self.config.allocation_pause;
        if periodic {
            self.next_batch = self.now + self.config.allocation_interval;
        }
        self.counters.allocation_runs += 1;
        let scope = if periodic { Scope::All } else { Scope::Changed };
        let grants = self.allocator.allocate(self.now, &mut self.rng, scope);
        self.make_offers(grants);
        self.make_inverse_offers();
    }

    fn make_offers(&mut self, grants: Vec<Grant>) {
        let mut batch: Vec<v1::Offer> = Vec::new();
        let mut to: Option<FrameworkId> = None;
        // Grants come sorted by framework: each framework gets one event.
        for grant in grants {
            if to.as_ref() != Some(&grant.framework) {
                if let Some(framework) = to.take() {
                    self.send_offers(&framework, std::mem::take(&mut batch));
                }
                to = Some(grant.framework.clone());
            }
            batch.extend(self.make_offer(grant));
        }
        if let Some(framework) = to {
            self.send_offers(&framework, batch);
        }
    }

    fn send_offers(&mut self, framework: &FrameworkId, offers: Vec<v1::Offer>) {
        if !offers.is_empty() {
            let mut event = event_of(event::Type::Offers);
            event.offers = Some(event::Offers { offers });
            self.tell(framework, event);
        }
    }

    fn make_offer(&mut self, grant: Grant) -> Option<v1::Offer> {
        let known = self.frameworks.get(&grant.framework).is_some_and(|it| it.is_connected())
            && self.agents.get(&grant.agent).is_some_and(|agent| agent.connected);
        if !known {
            let Grant { framework, agent, resources, .. } = grant;
            self.allocator.recover(self.now, &framework, &agent, &resources, None);
            return None;
        }
        let number = self.next_offer;
        self.next_offer += 1;
        self.counters.offers_made += 1;
        let wire = self.offer_wire(number, &grant);
        if let Some(framework) = self.frameworks.get_mut(&grant.framework) {
            framework.offers.insert(number);
            framework.counters.offers_sent += 1;
        }
        if let Some(agent) = self.agents.get_mut(&grant.agent) {
            agent.offers.insert(number);
        }
        let offer = Offer {
            framework: grant.framework,
            agent: grant.agent,
            role: grant.role,
            resources: grant.resources,
            made: self.now,
        };
        self.offers.insert(number, offer);
        if let Some(timeout) = self.config.offer_timeout {
            self.timers.set(self.now + timeout, Timer::Offer(number));
        }
        wire
    }

    /// An offer as its framework reads it.
    pub(super) fn offer_wire(&self, number: u64, grant: &Grant) -> Option<v1::Offer> {
        let framework = self.frameworks.get(&grant.framework)?;
        let agent = self.agents.get(&grant.agent)?;
        let id = self.offer_id(number);
        let parts = OfferParts {
            id: &id,
            framework: &grant.framework,
            agent: &grant.agent,
            role: &grant.role,
            resources: &grant.resources,
            info: &agent.info,
            pid: &agent.pid,
            multi_role: framework.capabilities.multi_role,
            format: framework.format(),
            unavailability: self.unavailability_wire(&agent.machine),
        };
        let executors = agent
            .executors
            .range((grant.framework.clone(), "".into())..)
            .take_while(|((framework, _), _)| *framework == grant.framework)
            .map(|((_, executor), _)| executor.clone());
        Some(parts.wire(executors))
    }

    pub(super) fn offer_id(&self, number: u64) -> OfferId {
        OfferId::from(format!("{}-O{number}", self.config.info.id))
    }

    /// The number in an offer's id; none when this master made no such offer.
    pub(super) fn offer_number(&self, id: &v1::OfferId) -> Option<u64> {
        id.value.strip_prefix(self.config.info.id.as_str())?.strip_prefix("-O")?.parse().ok()
    }

    /// Takes an offer out of the books. Its resources stay allocated: the caller uses or returns
    /// them.
    pub(super) fn take_offer(&mut self, number: u64) -> Option<Offer> {
        let offer = self.offers.remove(&number)?;
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.offers.remove(&number);
        }
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.offers.remove(&number);
        }
        Some(offer)
    }

    /// Ends an offer, returns its resources, and tells the framework.
    pub(super) fn rescind(&mut self, number: u64) {
        let Some(offer) = self.take_offer(number) else { return };
        self.allocator.recover(self.now, &offer.framework, &offer.agent, &offer.resources, None);
        self.count(&offer.framework, |it| it.offers_rescinded += 1);
        let mut event = event_of(event::Type::Rescind);
        event.rescind = Some(event::Rescind { offer_id: (&self.offer_id(number)).into() });
        self.tell(&offer.framework, event);
    }

    /// Ends all offers of an agent.
    pub(super) fn rescind_agent(&mut self, agent: &AgentId) {
        let numbers: Vec<u64> = self
            .agents
            .get(agent)
            .map(|agent| agent.offers.iter().copied().collect())
            .unwrap_or_default();
        for number in numbers {
            self.rescind(number);
        }
        self.rescind_inverse_offers(agent);
    }

    /// Returns all offers of a framework that does not listen any more.
    pub(super) fn drop_offers(&mut self, framework: &FrameworkId) {
        let Some(state) = self.frameworks.get(framework) else { return };
        let numbers: Vec<u64> = state.offers.iter().copied().collect();
        let inverse: Vec<u64> = state.inverse_offers.iter().copied().collect();
        for number in numbers {
            if let Some(offer) = self.take_offer(number) {
                let Offer { framework, agent, resources, .. } = offer;
                self.allocator.recover(self.now, &framework, &agent, &resources, None);
            }
        }
        for number in inverse {
            self.take_inverse_offer(number);
        }
    }

    pub(super) fn offer_timed_out(&mut self, number: u64) {
        self.rescind(number);
    }

    /// Sends an event to a framework, if it listens.
    pub(super) fn tell(&mut self, framework: &FrameworkId, event: Event) {
        let Some(state) = self.frameworks.get_mut(framework) else { return };
        let Some(to) = state.scheduler().cloned() else { return };
        *state.counters.events.entry(event.r#type()).or_default() += 1;
        self.out.send.push(Send::Event { to, event: Box::new(event) });
    }
}
