//! The way to the driver: what servers hand it, and how they wait for its answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cluster::master::{Input, Reply, RequestId, Scheduler, Snapshot};
use cluster::wire::FromAuthenticatee;
use mesos_api::v1;
use tokio::sync::{mpsc, oneshot};

use crate::explain::{Answer, Question};

/// How many jobs may wait for the driver before those who bring more have to wait. What waits in
/// front of that waits as bytes, which take a fraction of what calls and messages take.
const WAITING_MAX: usize = 256;

/// How many events may wait for a scheduler at all. One call to reconcile is answered by an event for
/// each task.
const EVENTS_MAX: usize = 1 << 20;

/// With so many events waiting a scheduler has to read some, now and then.
const EVENTS_MANY: usize = 16 * 1024;

/// How long it may take to do so.
const EVENTS_STALLED: Duration = Duration::from_secs(30);

/// A scheduler's events on their way to its stream.
#[derive(Debug)]
pub(crate) struct Events {
    stream: mpsc::Sender<Box<v1::scheduler::Event>>,
    sent: usize,
    /// How many were taken when somebody looked last, and since when it is so many.
    taken: usize,
    since: Instant,
}

/// A scheduler does not read.
#[derive(Debug)]
pub(crate) struct Stalled;

impl Events {
    pub(crate) fn new(now: Instant) -> (Self, mpsc::Receiver<Box<v1::scheduler::Event>>) {
        let (stream, received) = mpsc::channel(EVENTS_MAX);
        (Self { stream, sent: 0, taken: 0, since: now }, received)
    }

    pub(crate) fn send(
        &mut self,
        event: Box<v1::scheduler::Event>,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Stalled> {
        self.stream.try_send(event).map_err(|_| Stalled)?;
        self.sent += 1;
        let waiting = self.stream.max_capacity() - self.stream.capacity();
        if waiting < EVENTS_MANY {
            return Ok(());
        }
        let (taken, now) = (self.sent - waiting, now());
        if taken > self.taken {
            (self.taken, self.since) = (taken, now);
        }
        if now.duration_since(self.since) < EVENTS_STALLED { Ok(()) } else { Err(Stalled) }
    }
}

/// Something for the driver.
#[derive(Debug)]
pub(crate) enum Job {
    /// One thing that nobody waits for.
    Tell(Input),
    /// Things that nobody waits for, in their order.
    TellAll(Vec<Input>),
    /// Something whose answer somebody waits for.
    Ask { input: Input, request: RequestId, waiting: oneshot::Sender<Reply> },
    /// A driver of a framework that speaks what is not spoken here any more: it is told so.
    Refuse { pid: Arc<str>, why: &'static str },
    /// A step of somebody who proves who it is.
    Authenticate { from: Arc<str>, message: FromAuthenticatee },
    /// A SUBSCRIBE, with the stream that it opens.
    Subscribe {
        input: Input,
        request: RequestId,
        waiting: oneshot::Sender<Reply>,
        stream: Arc<str>,
        events: Events,
    },
}

/// What readers ask for. They do not wait behind inputs.
#[derive(Debug)]
pub(crate) enum Read {
    /// What the cluster looks like now.
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    /// The same, and every change from then on.
    Listen(oneshot::Sender<(Arc<Snapshot>, Changes)>),
    /// Why something does not happen.
    Explain(Question, oneshot::Sender<Answer>),
}

/// Changes on their way to an operator that listens.
pub(crate) type Changes = mpsc::Receiver<Arc<v1::master::Event>>;

/// Why the driver does not answer: the master is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master is ending")]
pub(crate) struct Gone;

/// Which stream speaks for which framework. The driver writes it; servers that read it can answer
/// calls without waiting for the driver's turn.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sessions(Arc<RwLock<HashMap<Arc<str>, Arc<str>>>>);

impl Sessions {
    pub(crate) fn open(&self, stream: Arc<str>, framework: &str) {
        let mut sessions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(stream, framework.into());
    }

    pub(crate) fn close(&self, stream: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(stream);
    }

    fn speaks_for(&self, stream: &str, framework: &str) -> bool {
        let sessions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(stream).is_some_and(|known| **known == *framework)
    }
}

/// Reaches the driver. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    jobs: mpsc::Sender<Job>,
    readers: mpsc::Sender<Read>,
    next_request: Arc<AtomicU64>,
    sessions: Sessions,
}

/// Room for one job that is kept for whoever has this.
#[derive(Debug)]
pub(crate) struct Turn<'a>(mpsc::Permit<'a, Job>);

impl Turn<'_> {
    /// Tells the driver of things that nobody waits for, in this order.
    pub(crate) fn tell_all(self, inputs: Vec<Input>) {
        self.0.send(Job::TellAll(inputs));
    }
}

/// The driver's ends of its queues.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) readers: mpsc::Receiver<Read>,
    pub(crate) sessions: Sessions,
}

/// A handle, and the queues that it fills.
pub(crate) fn queues() -> (Handle, Queues) {
    let (jobs, jobs_queue) = mpsc::channel(WAITING_MAX);
    let (readers, readers_queue) = mpsc::channel(WAITING_MAX);
    let sessions = Sessions::default();
    let handle = Handle { jobs, readers, next_request: Arc::default(), sessions: sessions.clone() };
    (handle, Queues { jobs: jobs_queue, readers: readers_queue, sessions })
}

impl Handle {
    /// Tells the driver of something that nobody waits for.
    pub(crate) async fn tell(&self, input: Input) -> Result<(), Gone> {
        self.send(Job::Tell(input)).await
    }

    /// Waits until there is room for a job. Who decodes only then waits with bytes.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Gone> {
        self.jobs.reserve().await.map(Turn).map_err(|_| Gone)
    }

    /// Tells the driver of things that nobody waits for, in this order.
    pub(crate) async fn tell_all(&self, inputs: Vec<Input>) -> Result<(), Gone> {
        self.send(Job::TellAll(inputs)).await
    }

    /// Has a framework's driver told that it is not served.
    pub(crate) async fn refuse(&self, pid: Arc<str>, why: &'static str) -> Result<(), Gone> {
        self.send(Job::Refuse { pid, why }).await
    }

    /// Hands on what an authenticatee says.
    pub(crate) async fn authenticate(
        &self,
        from: Arc<str>,
        message: FromAuthenticatee,
    ) -> Result<(), Gone> {
        self.send(Job::Authenticate { from, message }).await
    }

    /// Asks for something and waits for the answer.
    pub(crate) async fn ask(&self, input: impl FnOnce(RequestId) -> Input) -> Result<Reply, Gone> {
        let (waiting, answer) = oneshot::channel();
        let request = self.request();
        self.send(Job::Ask { input: input(request), request, waiting }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Opens a scheduler's stream; its events come after the answer.
    pub(crate) async fn subscribe(
        &self,
        stream: Arc<str>,
        principal: Option<Arc<str>>,
        call: Box<v1::scheduler::Call>,
    ) -> Result<(Reply, mpsc::Receiver<Box<v1::scheduler::Event>>), Gone> {
        let (events, received) = Events::new(Instant::now());
        let (waiting, answer) = oneshot::channel();
        let request = self.request();
        let input = Input::Call {
            request: Some(request),
            from: Some(Scheduler::Stream(Arc::clone(&stream))),
            principal,
            call,
        };
        self.send(Job::Subscribe { input, request, waiting, stream, events }).await?;
        Ok((answer.await.map_err(|_| Gone)?, received))
    }

    /// Whether the scheduler of this stream speaks for the framework, as far as is known here.
    pub(crate) fn speaks_for(&self, stream: &str, framework: &str) -> bool {
        self.sessions.speaks_for(stream, framework)
    }

    /// What the cluster looks like now.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Gone> {
        let (request, answer) = oneshot::channel();
        self.readers.send(Read::Snapshot(request)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// What the cluster looks like now, and what changes from then on.
    pub(crate) async fn listen(&self) -> Result<(Arc<Snapshot>, Changes), Gone> {
        let (request, answer) = oneshot::channel();
        self.readers.send(Read::Listen(request)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Why something does not happen.
    pub(crate) async fn explain(&self, question: Question) -> Result<Answer, Gone> {
        let (request, answer) = oneshot::channel();
        self.readers.send(Read::Explain(question, request)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// How many jobs and how many readers wait for the driver.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (
            self.jobs.max_capacity() - self.jobs.capacity(),
            self.readers.max_capacity() - self.readers.capacity(),
        )
    }

    async fn send(&self, job: Job) -> Result<(), Gone> {
        self.jobs.send(job).await.map_err(|_| Gone)
    }

    fn request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_may_be_slow_and_may_not_stand_still() {
        let started = Instant::now();
        let (mut events, mut received) = Events::new(started);
        let mut send = |secs| events.send(Box::default(), || started + Duration::from_secs(secs));
        for _ in 0..2 * EVENTS_MANY {
            send(0).expect("many may come at once");
        }
        received.try_recv().expect("one");
        send(29).expect("one was read");
        send(58).expect("that is not long ago");
        assert!(send(59).is_err(), "nothing was read for as long as may be");
    }
}
