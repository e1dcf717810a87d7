//! The driver of the core: one thread that hands in what happened and carries out what comes back,
//! in the order that the core demands: persist, send, publish.
//!
//! Inputs that wait are handled together, and one commit makes all their changes durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cluster::master::{Change, Input, Master, Output, Reply, RequestId, Scheduler, Send};
use cluster::wire::FromAuthenticatee;
use mesos_api::v1::scheduler::Event;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::authenticator::{Act, Authenticator, Verdict};
use crate::clock::Clock;
use crate::explain;
use crate::handle::{Events, Job, Queues, Read};
use crate::limits::{self, Limits};
use crate::links::Links;
use crate::store::{Store, StoreError};
use crate::subscribers::Subscribers;
use crate::timings::Timings;

/// After how many inputs messages leave and readers get their turn.
const BATCH: usize = 1024;

/// The same for what comes of them: one ACCEPT may launch hundreds of tasks.
const EFFECTS: usize = 2048;

/// The core with everything that it acts through.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) core: Master,
    /// None keeps nothing: `--registry=in_memory`.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) authenticator: Authenticator,
    pub(crate) limits: Limits,
    pub(crate) links: Links,
    pub(crate) subscribers: Subscribers,
    pub(crate) clock: Clock,
    pub(crate) queues: Queues,
    pub(crate) streams: Streams,
    /// Drivers to be told that something is not heard, after what came of all they said before.
    pub(crate) refusals: Vec<(Arc<str>, String)>,
    pub(crate) timings: Arc<Timings>,
    /// Since when something may be offered that the allocator has not looked at.
    pub(crate) due_since: Option<Instant>,
}

/// The open streams of schedulers, and the requests that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    events: HashMap<Arc<str>, Events>,
    waiting: HashMap<RequestId, oneshot::Sender<Reply>>,
    /// Streams of requests that are not answered yet.
    opening: HashMap<RequestId, Arc<str>>,
    /// Streams that did not take what was sent to them.
    stuck: Vec<Arc<str>>,
}

impl Driver {
    /// Drives until nobody is left who could bring an input.
    ///
    /// # Errors
    /// If the registry cannot be written: the core has moved on, so the process must end.
    pub(crate) async fn run(mut self) -> Result<(), StoreError> {
        loop {
            let due = self.core.next_wake().into_iter();
            let due = due.chain(self.authenticator.next_deadline()).chain(self.limits.next());
            let wake = due.min().map(|at| self.clock.until(at));
            let tick = async {
                match wake {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(reader) = self.queues.readers.recv() => {
                    self.read(reader);
                    continue;
                }
                job = self.queues.jobs.recv() => {
                    let Some(job) = job else { return Ok(()) };
                    self.take_batch(job);
                }
                () = tick => self.tick(),
            }
            self.authenticator.expire(self.clock.now());
            for input in self.limits.due(self.clock.now()) {
                self.handle(input);
            }
            self.carry_out()?;
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

    /// Handles a job and those that wait behind it.
    fn take_batch(&mut self, first: Job) {
        self.core.watch_tasks(!self.subscribers.is_empty());
        let mut count = self.take(first);
        while count < BATCH
            && self.core.pending() < EFFECTS
            && let Ok(job) = self.queues.jobs.try_recv()
        {
            count += self.take(job);
        }
        if self.core.wants_allocation() {
            self.due_since.get_or_insert_with(Instant::now);
        }
        if self.core.next_wake().is_some_and(|at| at <= self.clock.now()) {
            self.tick();
        }
    }

    fn tick(&mut self) {
        let (started, runs) = (Instant::now(), self.core.counters().allocation_runs);
        self.core.take_in(self.clock.now(), Input::Tick);
        if self.core.counters().allocation_runs > runs {
            if let Some(since) = self.due_since.take() {
                self.timings.allocation_latency.note(started.duration_since(since));
            }
            self.timings.allocation.note(started.elapsed());
        }
    }

    /// Handles a job; how many inputs it held.
    fn take(&mut self, job: Job) -> usize {
        match job {
            Job::Tell(input) => self.input(input),
            Job::TellAll(inputs) => {
                let count = inputs.len();
                inputs.into_iter().for_each(|input| self.input(input));
                return count;
            }
            Job::Refuse { pid, why } => self.links.refuse(&pid, why),
            Job::Authenticate { from, message } => self.authenticate(from, message),
            Job::Ask { input, request, waiting } => {
                self.streams.waiting.insert(request, waiting);
                self.input(input);
            }
            Job::Subscribe { input, request, waiting, stream, events } => {
                self.streams.waiting.insert(request, waiting);
                self.streams.opening.insert(request, Arc::clone(&stream));
                self.streams.events.insert(stream, events);
                self.input(input);
            }
        }
        1
    }

    fn input(&mut self, input: Input) {
        if let Some(principal) = self.limits.principal_of(&input) {
            self.timings.messages.received(&principal);
        }
        match self.limits.admit(self.clock.now(), input) {
            limits::Verdict::Pass(input) => self.handle(input),
            limits::Verdict::Wait => {}
            limits::Verdict::Exceeded { pid, why } => {
                tracing::warn!(%pid, "dropping a message: {why}");
                self.refusals.push((pid, why));
            }
        }
    }

    /// Handles what does not come too early.
    fn handle(&mut self, input: Input) {
        let principal = self.limits.principal_of(&input);
        match &input {
            Input::SchedulerGone(Scheduler::Stream(stream)) => self.close(stream),
            Input::SchedulerGone(Scheduler::Pid(pid)) | Input::AgentGone { pid } => {
                self.authenticator.forget(pid);
                self.limits.forget(pid);
            }
            _ => {}
        }
        match self.authenticator.admit(input) {
            Verdict::Pass(input) => {
                self.note_driver(&input);
                self.core.take_in(self.clock.now(), input);
            }
            Verdict::Wait => return,
            Verdict::Drop => {}
            Verdict::Refuse { pid, why } => self.refusals.push((pid, why)),
        }
        if let Some(principal) = principal {
            self.timings.messages.processed(&principal);
        }
    }

    fn authenticate(&mut self, from: Arc<str>, message: FromAuthenticatee) {
        if matches!(message, FromAuthenticatee::Authenticate(_)) {
            self.timings.authentications.fetch_add(1, Ordering::Relaxed);
        }
        let now = self.clock.now();
        for act in self.authenticator.take(now, from, message, rand::random()) {
            match act {
                Act::Tell { to, message } => self.links.authenticate(&to, message),
                Act::Resume(input) => self.handle(input),
            }
        }
    }

    /// What a driver says from its subscription on counts for its principal.
    fn note_driver(&mut self, input: &Input) {
        if let Input::Call { from: Some(Scheduler::Pid(pid)), principal, call, .. } = input
            && let Some(subscribe) = &call.subscribe
        {
            let claimed = subscribe.framework_info.principal.as_deref().map(Arc::from);
            self.limits.subscribed(pid, claimed.or_else(|| principal.clone()));
        }
    }

    /// Who has no framework left is not counted any more.
    fn forget_principals(&self, changes: &[Change]) {
        for change in changes {
            if let Change::FrameworkRemoved(info) = change
                && let Some(principal) = &info.principal
                && !self.limits.knows(principal)
            {
                self.timings.messages.forget(principal);
            }
        }
    }

    fn close(&mut self, stream: &Arc<str>) {
        self.streams.events.remove(stream);
        self.queues.sessions.close(stream);
    }

    fn carry_out(&mut self) -> Result<(), StoreError> {
        loop {
            let output = self.core.take_output();
            self.persist(&output)?;
            for send in output.send {
                self.send(send);
            }
            for (pid, why) in self.refusals.drain(..) {
                self.links.refuse(&pid, &why);
            }
            self.links.flush();
            log(&output.publish);
            self.forget_principals(&output.publish);
            self.subscribers.publish(output.publish, &self.core);
            // A scheduler that does not read is gone, which has effects of its own.
            if self.streams.stuck.is_empty() {
                return Ok(());
            }
            for stream in std::mem::take(&mut self.streams.stuck) {
                tracing::warn!(stream = &*stream, "scheduler does not read, its stream is closed");
                self.input(Input::SchedulerGone(Scheduler::Stream(stream)));
            }
        }
    }

    fn persist(&self, output: &Output) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        if output.persist.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let committed = store.commit(&output.persist);
        self.timings.store.note(started.elapsed());
        committed
    }

    fn send(&mut self, send: Send) {
        match send {
            Send::Reply { request, reply } => {
                if let Some(stream) = self.streams.opening.remove(&request)
                    && reply != Reply::Streaming
                {
                    self.close(&stream);
                }
                if let Some(waiting) = self.streams.waiting.remove(&request) {
                    // Who asked may have gone away.
                    let _ = waiting.send(reply);
                }
            }
            Send::Event { to: Scheduler::Stream(stream), event } => self.event(stream, event),
            Send::Event { to: Scheduler::Pid(pid), event } => self.links.event(&pid, event),
            Send::Close(Scheduler::Stream(stream)) => self.close(&stream),
            Send::Close(Scheduler::Pid(_)) => {}
            Send::Agent { pid, message } => self.links.send(&pid, message),
            Send::Link { pid } => self.links.link(&pid),
            Send::Unlink { pid } => {
                self.authenticator.forget(&pid);
                self.links.unlink(&pid);
            }
        }
    }
}

impl Driver {
    fn event(&mut self, stream: Arc<str>, event: Box<Event>) {
        let Some(events) = self.streams.events.get_mut(&stream) else { return };
        let subscribed = event.subscribed.as_ref().map(|it| it.framework_id.value.clone());
        if events.send(event, Instant::now).is_err() {
            self.close(&stream);
            self.streams.stuck.push(stream);
        } else if let Some(framework) = subscribed {
            self.queues.sessions.open(stream, &framework);
        }
    }
}

/// What an operator wants to know of from the log.
fn log(changes: &[Change]) {
    for change in changes {
        match change {
            Change::AgentAdded(id) => tracing::info!(agent_id = %id, "agent registered"),
            Change::AgentRemoved(id) => tracing::info!(agent_id = %id, "agent removed"),
            Change::AgentRefused { agent_id, refusal } => {
                tracing::warn!(%agent_id, "agent was not heard out: {refusal}");
            }
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
