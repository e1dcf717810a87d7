//! What a framework is told, as closed types.

use bytes::Bytes;
use mesos_api::v1;
use mesos_api::v1::scheduler::event::Type;
use mesos_api::v1::{AgentId, ExecutorId, FrameworkId, OfferId};

use crate::error::Error;
use crate::offer::Offer;
use crate::update::TaskUpdate;

/// One thing that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The subscription is up. Offers of an earlier one are void; ask what became of tasks with
    /// [`crate::Scheduler::reconcile`] if `again` is set.
    Subscribed(Subscribed),
    /// Resources to use or to decline.
    Offers(Vec<Offer>),
    /// Resources that their agents want back, for maintenance.
    InverseOffers(Vec<v1::InverseOffer>),
    /// An offer is void.
    Rescinded(OfferId),
    /// A request to give resources back is void.
    InverseOfferRescinded(OfferId),
    /// A task changed its state, or its state was asked for.
    Update(TaskUpdate),
    /// An operation on resources changed its state.
    OperationUpdate(v1::OperationStatus),
    /// An executor sent something of its own.
    Message {
        /// Where it runs.
        agent_id: AgentId,
        /// Which one it is.
        executor_id: ExecutorId,
        /// What it sent.
        data: Bytes,
    },
    /// An agent is gone; its tasks' updates follow or came before.
    AgentLost(AgentId),
    /// An executor ended.
    ExecutorLost {
        /// Where it ran.
        agent_id: AgentId,
        /// Which one it was.
        executor_id: ExecutorId,
        /// Its status as wait(2) gives it, if it is known.
        status: Option<i32>,
    },
    /// The subscription is down; a new one is being made. Every offer is void.
    Disconnected {
        /// Why it is down, or why the latest attempt failed.
        cause: Error,
    },
}

/// What the master says when a subscription is up.
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// The framework's id; new unless one was given or stored.
    pub framework_id: FrameworkId,
    /// The master, if it tells.
    pub master: Option<v1::MasterInfo>,
    /// Whether this process was subscribed before, or took over a framework.
    pub again: bool,
}

/// What is done with an event of the wire.
#[derive(Debug)]
pub(crate) enum Received {
    /// For the framework.
    Event(Event),
    /// The first event of a subscription.
    Subscribed {
        framework_id: FrameworkId,
        master: Option<v1::MasterInfo>,
        heartbeat_secs: Option<f64>,
    },
    /// A sign of life, or of a newer master: nothing to tell.
    Nothing,
}

/// Reads an event of the wire. What it lacks, or an ERROR, is an error.
pub(crate) fn receive(event: v1::scheduler::Event) -> Result<Received, Refusal> {
    let kind = event.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or_default();
    let incomplete = || Refusal::Incomplete(kind.as_str_name());
    let event = match kind {
        Type::Subscribed => {
            let subscribed = event.subscribed.ok_or_else(incomplete)?;
            return Ok(Received::Subscribed {
                framework_id: subscribed.framework_id,
                master: subscribed.master_info,
                heartbeat_secs: subscribed.heartbeat_interval_seconds,
            });
        }
        Type::Offers => {
            let offers = event.offers.ok_or_else(incomplete)?.offers;
            Event::Offers(offers.into_iter().map(Offer::new).collect())
        }
        Type::InverseOffers => {
            Event::InverseOffers(event.inverse_offers.ok_or_else(incomplete)?.inverse_offers)
        }
        Type::Rescind => Event::Rescinded(event.rescind.ok_or_else(incomplete)?.offer_id),
        Type::RescindInverseOffer => Event::InverseOfferRescinded(
            event.rescind_inverse_offer.ok_or_else(incomplete)?.inverse_offer_id,
        ),
        Type::Update => Event::Update(TaskUpdate::new(event.update.ok_or_else(incomplete)?.status)),
        Type::UpdateOperationStatus => {
            Event::OperationUpdate(event.update_operation_status.ok_or_else(incomplete)?.status)
        }
        Type::Message => {
            let message = event.message.ok_or_else(incomplete)?;
            Event::Message {
                agent_id: message.agent_id,
                executor_id: message.executor_id,
                data: message.data,
            }
        }
        Type::Failure => {
            let failure = event.failure.ok_or_else(incomplete)?;
            let agent_id = failure.agent_id.ok_or_else(incomplete)?;
            match failure.executor_id {
                None => Event::AgentLost(agent_id),
                Some(executor_id) => {
                    Event::ExecutorLost { agent_id, executor_id, status: failure.status }
                }
            }
        }
        Type::Error => {
            return Err(Refusal::Refused(event.error.ok_or_else(incomplete)?.message));
        }
        Type::Heartbeat | Type::Unknown => return Ok(Received::Nothing),
    };
    Ok(Received::Event(event))
}

/// Why an event ends the subscription.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The master's ERROR event.
    Refused(String),
    /// An event of this kind without what makes one.
    Incomplete(&'static str),
}
