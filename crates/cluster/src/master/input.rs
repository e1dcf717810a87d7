//! What can happen to a master: the closed list of inputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesos_api::v1;

use crate::wire::FromAgent;

/// Names a request of a client that waits for an answer; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Where a scheduler can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheduler {
    /// The response stream of a SUBSCRIBE over HTTP, by its `Mesos-Stream-Id`.
    Stream(Arc<str>),
    /// A driver of the older kind, by its libprocess pid.
    Pid(Arc<str>),
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A scheduler's call.
    ///
    /// Over HTTP, SUBSCRIBE comes with the stream id the driver has made for the answer, any other
    /// call with the one in its header, if there was one. `request` is none for messages of
    /// libprocess drivers: nobody waits for an answer.
    Call {
        request: Option<RequestId>,
        from: Option<Scheduler>,
        principal: Option<Arc<str>>,
        call: Box<v1::scheduler::Call>,
    },
    /// A scheduler's stream was closed, or the link to its process broke.
    SchedulerGone(Scheduler),
    /// A message from the agent process at `pid` (`slave(1)@10.0.0.1:5051`).
    Agent { pid: Arc<str>, message: Box<FromAgent> },
    /// The link to an agent's process broke.
    AgentGone { pid: Arc<str> },
    /// A call that changes something, by an operator; those that only read are answered from the
    /// snapshot by the driver.
    Operator { request: RequestId, principal: Option<Arc<str>>, call: Box<v1::master::Call> },
    /// Offers are made of agents on these hosts only, from now on.
    Whitelist(BTreeSet<String>),
    /// Time has passed: due when [`super::Master::next_wake`] says so.
    Tick,
}
