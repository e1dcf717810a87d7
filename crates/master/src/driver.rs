//! The driver of the core: one thread that hands in what happened and carries out what comes back,
//! in the order that the core demands: persist, send, publish.
//!
//! Inputs that wait are handled together, and one commit makes all their changes durable.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::master::{Change, Input, Master, Output, Reply, RequestId, Scheduler, Send};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::explain;
use crate::handle::{Events, Job, Queues, Read};
use crate::links::Links;
use crate::store::{Store, StoreError};
use crate::subscribers::Subscribers;

/// How many inputs are handled before messages leave and readers get their turn.
const BATCH: usize = 512;

/// The core with everything that it acts through.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) core: Master,
    /// None keeps nothing: `--registry=in_memory`.
    pub(crate) store: Option<Store>,
    pub(crate) links: Links,
    pub(crate) subscribers: Subscribers,
    pub(crate) clock: Clock,
    pub(crate) queues: Queues,
    pub(crate) streams: Streams,
}

/// The open streams of schedulers, and the requests that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    events: HashMap<Arc<str>, Events>,
    waiting: HashMap<RequestId, oneshot::Sender<Reply>>,
    /// Streams that did not take what was sent to them.
    stuck: Vec<Arc<str>>,
}

impl Driver {
    /// Drives until nobody is left who could bring an input.
    ///
    /// # Errors
    /// If the registry cannot be written: the core has moved on, so the process must end.
    pub(crate) async fn run(mut self) -> Result<(), StoreError> {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            let wake = self.core.next_wake().map(|at| self.clock.until(at));
            let tick = async {
                match wake {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            let mut output = Output::default();
            tokio::select! {
                biased;
                Some(reader) = self.queues.readers.recv() => {
                    self.read(reader);
                    continue;
                }
                taken = self.queues.jobs.recv_many(&mut jobs, BATCH) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    for job in jobs.drain(..) {
                        output.merge(self.take(job));
                    }
                    if self.core.next_wake().is_some_and(|at| at <= self.clock.now()) {
                        output.merge(self.core.handle(self.clock.now(), Input::Tick));
                    }
                }
                () = tick => output.merge(self.core.handle(self.clock.now(), Input::Tick)),
            }
            self.carry_out(output)?;
        }
    }

    fn read(&mut self, reader: Read) {
        // A reader that went away meanwhile needs no answer.
        match reader {
            Read::Snapshot(answer) => drop(answer.send(Arc::new(self.core.snapshot()))),
            Read::Listen(answer) => {
                let snapshot = Arc::new(self.core.snapshot());
                drop(answer.send((snapshot, self.subscribers.add())));
            }
            Read::Explain(question, answer) => {
                drop(answer.send(explain::answer(&self.core, &question)));
            }
        }
    }

    fn take(&mut self, job: Job) -> Output {
        if let Some((request, waiting)) = job.waiting {
            self.streams.waiting.insert(request, waiting);
        }
        if let Some((stream, events)) = job.stream {
            self.streams.events.insert(stream, events);
        }
        if let Input::SchedulerGone(Scheduler::Stream(stream)) = &job.input {
            self.streams.events.remove(stream);
        }
        self.core.handle(self.clock.now(), job.input)
    }

    fn carry_out(&mut self, mut output: Output) -> Result<(), StoreError> {
        loop {
            self.persist(&output)?;
            for send in output.send {
                self.send(send);
            }
            log(&output.publish);
            if !output.publish.is_empty() && !self.subscribers.is_empty() {
                self.subscribers.publish(output.publish, &self.core.snapshot());
            }
            // A scheduler that does not read is gone, which has effects of its own.
            let stuck = std::mem::take(&mut self.streams.stuck);
            if stuck.is_empty() {
                return Ok(());
            }
            output = Output::default();
            for stream in stuck {
                tracing::warn!(stream = &*stream, "scheduler does not read, its stream is closed");
                let gone = Input::SchedulerGone(Scheduler::Stream(stream));
                output.merge(self.core.handle(self.clock.now(), gone));
            }
        }
    }

    fn persist(&self, output: &Output) -> Result<(), StoreError> {
        match &self.store {
            Some(store) if !output.persist.is_empty() => store.commit(&output.persist),
            _ => Ok(()),
        }
    }

    fn send(&mut self, send: Send) {
        match send {
            Send::Reply { request, reply } => {
                if let Some(waiting) = self.streams.waiting.remove(&request) {
                    // Who asked may have gone away.
                    let _ = waiting.send(reply);
                }
            }
            Send::Event { to: Scheduler::Stream(stream), event } => {
                let full = match self.streams.events.get(&stream) {
                    Some(events) => events.try_send(event).is_err(),
                    None => false,
                };
                if full {
                    self.streams.events.remove(&stream);
                    self.streams.stuck.push(stream);
                }
            }
            Send::Event { to: Scheduler::Pid(pid), event } => self.links.event(&pid, event),
            Send::Close(Scheduler::Stream(stream)) => drop(self.streams.events.remove(&stream)),
            Send::Close(Scheduler::Pid(_)) => {}
            Send::Agent { pid, message } => self.links.send(&pid, message),
            Send::Link { pid } => self.links.link(&pid),
            Send::Unlink { pid } => self.links.unlink(&pid),
        }
    }
}

/// What an operator wants to know of from the log.
fn log(changes: &[Change]) {
    for change in changes {
        match change {
            Change::AgentAdded(id) => tracing::info!(agent_id = %id, "agent registered"),
            Change::AgentRemoved(id) => tracing::info!(agent_id = %id, "agent removed"),
            Change::FrameworkAdded(id) => {
                tracing::info!(framework_id = %id, "framework subscribed")
            }
            Change::FrameworkUpdated(id) => {
                tracing::info!(framework_id = %id, "framework changed");
            }
            Change::FrameworkRemoved(info) => {
                let id = info.id.as_ref().map(ToString::to_string);
                tracing::info!(framework_id = id, "framework removed");
            }
            Change::TaskAdded(task) => {
                let (task_id, agent_id) = (&task.task_id.value, &task.agent_id.value);
                tracing::debug!(task_id, agent_id, "task launched");
            }
            Change::TaskUpdated { status, state, .. } => {
                let (task_id, state) = (&status.task_id.value, state.as_str_name());
                tracing::debug!(task_id, state, "task changed");
            }
        }
    }
}
