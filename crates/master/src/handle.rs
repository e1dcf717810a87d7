//! The way to the driver: what servers hand it, and how they wait for its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::master::{Input, Reply, RequestId, Scheduler, Snapshot};
use mesos_api::v1;
use tokio::sync::{mpsc, oneshot};

use crate::explain::{Answer, Question};

/// How many inputs may wait for the driver before those who bring more have to wait.
const WAITING_MAX: usize = 8192;

/// How many events may wait for a scheduler to read them before its stream is closed.
const EVENTS_MAX: usize = 16 * 1024;

/// A scheduler's events on their way to its stream.
pub(crate) type Events = mpsc::Sender<Box<v1::scheduler::Event>>;

/// Something for the driver.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) input: Input,
    /// Who waits for the answer.
    pub(crate) waiting: Option<(RequestId, oneshot::Sender<Reply>)>,
    /// The stream that a SUBSCRIBE opens.
    pub(crate) stream: Option<(Arc<str>, Events)>,
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

/// Reaches the driver. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    jobs: mpsc::Sender<Job>,
    readers: mpsc::Sender<Read>,
    next_request: Arc<AtomicU64>,
}

/// The driver's ends of its queues.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) readers: mpsc::Receiver<Read>,
}

/// A handle, and the queues that it fills.
pub(crate) fn queues() -> (Handle, Queues) {
    let (jobs, jobs_queue) = mpsc::channel(WAITING_MAX);
    let (readers, readers_queue) = mpsc::channel(WAITING_MAX);
    let handle = Handle { jobs, readers, next_request: Arc::default() };
    (handle, Queues { jobs: jobs_queue, readers: readers_queue })
}

impl Handle {
    /// Tells the driver of something that nobody waits for.
    pub(crate) async fn tell(&self, input: Input) -> Result<(), Gone> {
        self.send(Job { input, waiting: None, stream: None }).await
    }

    /// Asks for something and waits for the answer.
    pub(crate) async fn ask(&self, input: impl FnOnce(RequestId) -> Input) -> Result<Reply, Gone> {
        let (request, waiting, answer) = self.request();
        self.send(Job { input: input(request), waiting, stream: None }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Opens a scheduler's stream; its events come after the answer.
    pub(crate) async fn subscribe(
        &self,
        stream: Arc<str>,
        call: Box<v1::scheduler::Call>,
    ) -> Result<(Reply, mpsc::Receiver<Box<v1::scheduler::Event>>), Gone> {
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (request, waiting, answer) = self.request();
        let input = Input::Call {
            request: Some(request),
            from: Some(Scheduler::Stream(Arc::clone(&stream))),
            principal: None,
            call,
        };
        self.send(Job { input, waiting, stream: Some((stream, events)) }).await?;
        Ok((answer.await.map_err(|_| Gone)?, received))
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

    async fn send(&self, job: Job) -> Result<(), Gone> {
        self.jobs.send(job).await.map_err(|_| Gone)
    }

    #[allow(clippy::type_complexity, reason = "the parts of one request, taken apart at once")]
    fn request(
        &self,
    ) -> (RequestId, Option<(RequestId, oneshot::Sender<Reply>)>, oneshot::Receiver<Reply>) {
        let request = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (waiting, answer) = oneshot::channel();
        (request, Some((request, waiting)), answer)
    }
}
