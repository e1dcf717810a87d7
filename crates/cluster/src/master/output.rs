//! What a master wants done: the closed list of outputs, in the order in which they must be done.

use std::sync::Arc;

use mesos_api::v1;

use super::input::{RequestId, Scheduler};
use crate::id::{AgentId, FrameworkId};
use crate::registry::Write;
use crate::wire::ToAgent;

/// The effects of one input. All of `persist` is durable before any of `send` leaves; `publish` is
/// last. If persisting fails the driver must end the process: the core has moved on.
#[derive(Debug, Default)]
pub struct Output {
    /// Changes of the registry, to be made durable in one transaction.
    pub persist: Vec<Write>,
    /// Messages and answers, in order.
    pub send: Vec<Send>,
    /// What changed, for subscribed operators.
    pub publish: Vec<Change>,
}

impl Output {
    /// Appends the effects of a later input.
    pub fn merge(&mut self, later: Self) {
        self.persist.extend(later.persist);
        self.send.extend(later.send);
        self.publish.extend(later.publish);
    }
}

/// Something to tell somebody.
#[derive(Debug, Clone)]
pub enum Send {
    /// Answers a request.
    Reply { request: RequestId, reply: Reply },
    /// Tells a scheduler. On a stream it is the next record; to a pid it is a
    /// `mesos.scheduler.Event` message.
    Event { to: Scheduler, event: Box<v1::scheduler::Event> },
    /// Ends a scheduler's stream after what was sent before. Nothing to do for a pid.
    Close(Scheduler),
    /// Tells an agent.
    Agent { pid: Arc<str>, message: Box<ToAgent> },
    /// Opens a persistent connection to an agent's process, whose breaking is reported as
    /// [`super::Input::AgentGone`].
    Link { pid: Arc<str> },
    /// Drops the persistent connection; its end is not reported.
    Unlink { pid: Arc<str> },
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 200: the stream is open; events follow.
    Streaming,
    /// 202 with an empty body.
    Accepted,
    /// 200 with an empty body.
    Ok,
    /// 400
    BadRequest(String),
    /// 403
    Forbidden(String),
    /// 404
    NotFound(String),
    /// 409
    Conflict(String),
    /// 503
    Unavailable(String),
}

/// Something that readers may want to know.
#[derive(Debug, Clone)]
pub enum Change {
    TaskAdded(Arc<v1::Task>),
    TaskUpdated {
        framework_id: FrameworkId,
        status: Box<v1::TaskStatus>,
        state: v1::TaskState,
    },
    AgentAdded(AgentId),
    AgentRemoved(AgentId),
    /// A part of what an agent said is not taken, in words for operators.
    AgentRefused {
        agent_id: AgentId,
        refusal: String,
    },
    FrameworkAdded(FrameworkId),
    FrameworkUpdated(FrameworkId),
    FrameworkRemoved(Arc<v1::FrameworkInfo>),
}
