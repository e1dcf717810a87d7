//! Inverse offers: agents on machines with scheduled maintenance are asked back from the frameworks
//! that use them.

use mesos_api::v1;
use mesos_api::v1::allocator::inverse_offer_status::Status;
use mesos_api::v1::scheduler::event;

use super::accept::refuse_for;
use super::agent::split_pid;
use super::{Master, event_of};
use crate::id::{AgentId, FrameworkId};
use crate::time::Time;

/// A request for an agent that a framework has not answered.
#[derive(Debug, Clone)]
pub(super) struct InverseOffer {
    pub(super) framework: FrameworkId,
    pub(super) agent: AgentId,
}

/// What a framework said.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) accepted: bool,
    pub(super) at: Time,
    /// It is not asked again before.
    pub(super) quiet_until: Time,
}

impl Master {
    /// Asks each framework that uses an agent whose machine drains, unless it is being asked or has
    /// just answered.
    pub(super) fn make_inverse_offers(&mut self) {
        if self.registry.machines.is_empty() {
            return;
        }
        let mut wanted: Vec<(FrameworkId, AgentId)> = Vec::new();
        for agent in self.agents.values().filter(|agent| agent.connected) {
            if self.unavailability_wire(&agent.machine).is_none() {
                continue;
            }
            for framework in agent.used.keys() {
                let key = (agent.id.clone(), framework.clone());
                let quiet = self
                    .inverse_answers
                    .get(&key)
                    .is_some_and(|answer| answer.quiet_until > self.now);
                let asked = agent.inverse_offers.iter().any(|number| {
                    self.inverse_offers
                        .get(number)
                        .is_some_and(|offer| offer.framework == *framework)
                });
                let listens = self
                    .frameworks
                    .get(framework)
                    .is_some_and(|framework| framework.is_connected());
                if listens && !asked && !quiet {
                    wanted.push((framework.clone(), agent.id.clone()));
                }
            }
        }
        for (framework, agent) in wanted {
            self.make_inverse_offer(&framework, &agent);
        }
    }

    fn make_inverse_offer(&mut self, framework: &FrameworkId, agent: &AgentId) {
        let number = self.next_offer;
        let Some(wire) = self.inverse_offer_wire(number, framework, agent) else { return };
        self.next_offer += 1;
        let offer = InverseOffer { framework: framework.clone(), agent: agent.clone() };
        self.inverse_offers.insert(number, offer);
        if let Some(state) = self.frameworks.get_mut(framework) {
            state.inverse_offers.insert(number);
        }
        if let Some(state) = self.agents.get_mut(agent) {
            state.inverse_offers.insert(number);
        }
        let mut event = event_of(event::Type::InverseOffers);
        event.inverse_offers = Some(event::InverseOffers { inverse_offers: vec![wire] });
        self.tell(framework, event);
    }

    /// An inverse offer as its framework reads it. Without resources: it is for the whole agent.
    pub(super) fn inverse_offer_wire(
        &self,
        number: u64,
        framework: &FrameworkId,
        agent: &AgentId,
    ) -> Option<v1::InverseOffer> {
        let agent = self.agents.get(agent)?;
        let (name, ip, port) = split_pid(&agent.pid);
        Some(v1::InverseOffer {
            id: (&self.offer_id(number)).into(),
            url: Some(v1::Url {
                scheme: "http".into(),
                address: v1::Address {
                    hostname: Some(agent.info.hostname.clone()),
                    ip: Some(ip.to_owned()),
                    port: port.into(),
                },
                path: Some(format!("/{name}")),
                query: Vec::new(),
                fragment: None,
            }),
            framework_id: framework.into(),
            agent_id: Some((&agent.id).into()),
            unavailability: self.unavailability_wire(&agent.machine)?,
            resources: Vec::new(),
        })
    }

    pub(super) fn take_inverse_offer(&mut self, number: u64) -> Option<InverseOffer> {
        let offer = self.inverse_offers.remove(&number)?;
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.inverse_offers.remove(&number);
        }
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.inverse_offers.remove(&number);
        }
        Some(offer)
    }

    /// Ends the inverse offers of an agent and tells the frameworks.
    pub(super) fn rescind_inverse_offers(&mut self, agent: &AgentId) {
        let numbers: Vec<u64> = self
            .agents
            .get(agent)
            .map(|agent| agent.inverse_offers.iter().copied().collect())
            .unwrap_or_default();
        for number in numbers {
            let Some(offer) = self.take_inverse_offer(number) else { continue };
            let mut event = event_of(event::Type::RescindInverseOffer);
            let inverse_offer_id = (&self.offer_id(number)).into();
            event.rescind_inverse_offer = Some(event::RescindInverseOffer { inverse_offer_id });
            self.tell(&offer.framework, event);
        }
    }

    pub(super) fn answer_inverse_offers(
        &mut self,
        framework: &FrameworkId,
        ids: &[v1::OfferId],
        filters: Option<v1::Filters>,
        accepted: bool,
    ) {
        let quiet = refuse_for(filters).max(self.config.allocation_interval);
        for id in ids {
            let number = self.offer_number(id).filter(|number| {
                self.inverse_offers.get(number).is_some_and(|offer| offer.framework == *framework)
            });
            let Some(offer) = number.and_then(|number| self.take_inverse_offer(number)) else {
                self.counters.messages_dropped += 1;
                continue;
            };
            let answer = Answer { accepted, at: self.now, quiet_until: self.now + quiet };
            self.inverse_answers.insert((offer.agent, offer.framework), answer);
        }
    }

    /// How frameworks answered for an agent.
    pub(super) fn inverse_statuses(
        &self,
        agent: &AgentId,
    ) -> Vec<v1::allocator::InverseOfferStatus> {
        self.inverse_answers
            .iter()
            .filter(|((other, _), _)| other == agent)
            .map(|((_, framework), answer)| {
                let mut status = v1::allocator::InverseOfferStatus {
                    framework_id: framework.into(),
                    timestamp: self.time_wire(answer.at),
                    ..v1::allocator::InverseOfferStatus::default()
                };
                status.set_status(if answer.accepted { Status::Accept } else { Status::Decline });
                status
            })
            .collect()
    }
}
