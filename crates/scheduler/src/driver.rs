//! The two handles a framework holds: [`Events`] to hear, [`Scheduler`] to act.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mesos_api::v1;
use mesos_api::v1::offer::{Operation, operation};
use mesos_api::v1::scheduler::{Call, call};
use mesos_api::v1::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::framework::Framework;
use crate::masters::Masters;
use crate::offer::Offer;
use crate::session::{Session, Shared};
use crate::store;
use crate::update::TaskUpdate;

/// Events that may wait for the framework before the master's stream is left unread.
const EVENTS_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) encoding: Encoding,
    pub(crate) id_file: Option<PathBuf>,
    pub(crate) suppressed_roles: Vec<String>,
    manual_acknowledgement: bool,
}

/// Where and how to subscribe.
#[derive(Debug)]
pub struct Builder {
    masters: String,
    framework: Framework,
    options: Options,
}

impl Builder {
    /// A subscription of the framework at one of the masters: `host[:port]`, several separated by
    /// commas. Whichever answers is asked; a redirect to the leader is followed. Where masters ask
    /// who comes, `principal:secret@` stands before the first. Or where they stand for election:
    /// `zk://host:2181,host:2181/path`, as Mesos writes it.
    pub fn new(masters: impl Into<String>, framework: Framework) -> Self {
        Self { masters: masters.into(), framework, options: Options::default() }
    }

    /// Chooses the encoding; protobuf unless said.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.options.encoding = encoding;
        self
    }

    /// Keeps the framework's id in this file: read now, written when the master gives one,
    /// removed by [`Scheduler::teardown`]. A process that starts with it takes over the tasks of
    /// the one before, if [`Framework::failover_timeout`] has not passed.
    #[must_use]
    pub fn id_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.id_file = Some(path.into());
        self
    }

    /// Gets no offers for these roles until [`Scheduler::revive`].
    #[must_use]
    pub fn suppressed<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.options.suppressed_roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves acknowledging to the framework: [`Scheduler::acknowledge`]. For those that first
    /// write updates to a store of their own, on another task.
    #[must_use]
    pub fn manual_acknowledgement(mut self) -> Self {
        self.options.manual_acknowledgement = true;
        self
    }

    /// Starts subscribing, in the background, and goes on for as long as [`Events`] is held.
    /// An unreachable master is no error here: it is [`Event::Disconnected`], and tried again.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the masters' addresses cannot be used, or the id file not be read.
    pub fn subscribe(self) -> Result<(Scheduler, Events)> {
        let Self { masters, framework, options } = self;
        let masters = Masters::parse(&masters)?;
        let mut info = framework.info().clone();
        if let Some(path) = &options.id_file
            && let Some(id) = store::read(path)?
        {
            info.id = Some(id.clone());
        }
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let session = Session {
            options: options.clone(),
            masters,
            info,
            shared: Arc::clone(&shared),
            events: sender,
            backoff: Backoff::default(),
        };
        let scheduler = Scheduler { shared, options: Arc::new(options) };
        let events = Events {
            scheduler: scheduler.clone(),
            receiver,
            unacknowledged: None,
            session: tokio::spawn(session.run()),
        };
        Ok((scheduler, events))
    }
}

/// What happens to the framework, in order. Dropping it ends the subscription: the master then
/// waits for the framework's failover timeout, and tears it down.
#[derive(Debug)]
pub struct Events {
    scheduler: Scheduler,
    receiver: mpsc::Receiver<Result<Event>>,
    /// What the framework has got and may still be working on.
    unacknowledged: Option<Event>,
    session: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.session.abort();
    }
}

impl Events {
    /// Waits for the next event; `None` after [`Scheduler::teardown`] or [`Scheduler::stop`], even
    /// if some were waiting.
    ///
    /// Asking for the next event says that the one before is dealt with: an update is
    /// acknowledged now and not when it was handed out, so that one the framework crashed upon
    /// comes again. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] and others that trying again does not cure; `None` follows.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        // What waits was meant for a framework that is no more: offers in it are void.
        if self.scheduler.shared.stop.is_cancelled() {
            return Ok(None);
        }
        if let Some(event) = &self.unacknowledged {
            self.scheduler.settle(event).await;
            self.unacknowledged = None;
        }
        let event = match self.receiver.recv().await {
            None => return Ok(None),
            Some(event) => event?,
        };
        if !self.scheduler.options.manual_acknowledgement {
            self.unacknowledged = match &event {
                Event::Update(update) if update.needs_acknowledgement() => {
                    Some(Event::Update(update.clone()))
                }
                Event::OperationUpdate(status) if status.uuid.is_some() => {
                    Some(Event::OperationUpdate(status.clone()))
                }
                _ => None,
            };
        }
        Ok(Some(event))
    }
}

/// Acts for the framework: cheap to clone, usable from any task.
///
/// Every method returns when the master has taken the call; what comes of it arrives as events.
/// Calls are made in order. Each fails with [`Error::NotSubscribed`] while no subscription is up,
/// and with [`Error::Status`] if the master refuses.
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    options: Arc<Options>,
}

impl Scheduler {
    /// The framework's id, while it is subscribed.
    pub fn framework_id(&self) -> Option<FrameworkId> {
        self.shared.link().map(|link| link.framework_id.clone())
    }

    /// Launches tasks that were cut out of the offer by [`Offer::place`]. What is left of the
    /// offer goes back, and may be offered again at once.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn launch(
        &self,
        offer: &Offer,
        tasks: impl IntoIterator<Item = v1::TaskInfo>,
    ) -> Result<()> {
        let launch = Operation {
            r#type: Some(operation::Type::Launch.into()),
            launch: Some(operation::Launch { task_infos: tasks.into_iter().collect() }),
            ..Default::default()
        };
        self.accept([offer.id()], [launch], Duration::ZERO).await
    }

    /// Accepts offers of one agent and applies operations to them in order. What is left is not
    /// offered again before `refuse` has passed.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn accept(
        &self,
        offers: impl IntoIterator<Item = OfferId>,
        operations: impl IntoIterator<Item = Operation>,
        refuse: Duration,
    ) -> Result<()> {
        let accept = call::Accept {
            offer_ids: offers.into_iter().collect(),
            operations: operations.into_iter().collect(),
            filters: Some(filters(refuse)),
        };
        self.call(call::Type::Accept, |call| call.accept = Some(accept)).await
    }

    /// Gives offers back; the same resources are not offered before `refuse` has passed.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn decline(
        &self,
        offers: impl IntoIterator<Item = OfferId>,
        refuse: Duration,
    ) -> Result<()> {
        let decline = call::Decline {
            offer_ids: offers.into_iter().collect(),
            filters: Some(filters(refuse)),
        };
        self.call(call::Type::Decline, |call| call.decline = Some(decline)).await
    }

    /// Agrees to give resources back by the time the inverse offers say.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn accept_inverse(&self, offers: impl IntoIterator<Item = OfferId>) -> Result<()> {
        let accept = call::AcceptInverseOffers {
            inverse_offer_ids: offers.into_iter().collect(),
            filters: None,
        };
        self.call(call::Type::AcceptInverseOffers, |call| {
            call.accept_inverse_offers = Some(accept);
        })
        .await
    }

    /// Declines to give resources back; the agent goes away all the same.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn decline_inverse(
        &self,
        offers: impl IntoIterator<Item = OfferId>,
        refuse: Duration,
    ) -> Result<()> {
        let decline = call::DeclineInverseOffers {
            inverse_offer_ids: offers.into_iter().collect(),
            filters: Some(filters(refuse)),
        };
        self.call(call::Type::DeclineInverseOffers, |call| {
            call.decline_inverse_offers = Some(decline);
        })
        .await
    }

    /// Wants offers again, of everything: forgets what was declined and suppressed.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn revive(&self) -> Result<()> {
        self.call(call::Type::Revive, |call| call.revive = Some(call::Revive::default())).await
    }

    /// Wants no offers until [`Scheduler::revive`].
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn suppress(&self) -> Result<()> {
        self.call(call::Type::Suppress, |call| call.suppress = Some(call::Suppress::default()))
            .await
    }

    /// Kills a task; an unknown one is answered by an update. The agent, if known, spares the
    /// master of a recovering cluster the search.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn kill(&self, task: &TaskId, agent: Option<&AgentId>) -> Result<()> {
        self.kill_message(task, agent, None).await
    }

    /// As [`Scheduler::kill`], with another time to end than the task's own.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn kill_within(
        &self,
        task: &TaskId,
        agent: Option<&AgentId>,
        grace: Duration,
    ) -> Result<()> {
        let nanoseconds = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
        let grace_period = Some(v1::DurationInfo { nanoseconds });
        self.kill_message(task, agent, Some(v1::KillPolicy { grace_period })).await
    }

    async fn kill_message(
        &self,
        task: &TaskId,
        agent: Option<&AgentId>,
        kill_policy: Option<v1::KillPolicy>,
    ) -> Result<()> {
        let agent_id = agent.cloned();
        let kill = call::Kill { task_id: task.clone(), agent_id, kill_policy };
        self.call(call::Type::Kill, |call| call.kill = Some(kill)).await
    }

    /// Says that an update is dealt with, so that the agent stops repeating it. Only for
    /// [`Builder::manual_acknowledgement`]; does nothing for updates that need none.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn acknowledge(&self, update: &TaskUpdate) -> Result<()> {
        let status = update.status();
        let (Some(agent_id), Some(uuid)) = (status.agent_id.clone(), status.uuid.clone()) else {
            return Ok(());
        };
        if uuid.is_empty() {
            return Ok(());
        }
        let task_id = status.task_id.clone();
        let acknowledge = call::Acknowledge { agent_id, task_id, uuid };
        self.call(call::Type::Acknowledge, |call| call.acknowledge = Some(acknowledge)).await
    }

    /// As [`Scheduler::acknowledge`], for an update of an operation.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn acknowledge_operation(&self, status: &v1::OperationStatus) -> Result<()> {
        let (Some(operation_id), Some(uuid)) = (status.operation_id.clone(), status.uuid.clone())
        else {
            return Ok(());
        };
        let acknowledge = call::AcknowledgeOperationStatus {
            agent_id: status.agent_id.clone(),
            resource_provider_id: status.resource_provider_id.clone(),
            uuid: uuid.value,
            operation_id,
        };
        self.call(call::Type::AcknowledgeOperationStatus, |call| {
            call.acknowledge_operation_status = Some(acknowledge);
        })
        .await
    }

    /// Asks for the state of these tasks; updates answer. A task whose agent has not come back
    /// yet gets no answer: ask again later.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn reconcile(
        &self,
        tasks: impl IntoIterator<Item = (TaskId, Option<AgentId>)>,
    ) -> Result<()> {
        let tasks = tasks.into_iter().map(|(task_id, agent_id)| call::reconcile::Task {
            task_id: task_id.clone(),
            agent_id: agent_id.as_ref().cloned(),
        });
        let reconcile = call::Reconcile { tasks: tasks.collect() };
        // None asked is not all asked.
        if reconcile.tasks.is_empty() {
            return Ok(());
        }
        self.call(call::Type::Reconcile, |call| call.reconcile = Some(reconcile)).await
    }

    /// Asks for the state of every task that the master knows of this framework and that has not
    /// ended.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn reconcile_all(&self) -> Result<()> {
        self.call(call::Type::Reconcile, |call| call.reconcile = Some(call::Reconcile::default()))
            .await
    }

    /// Sends something to an executor; it may get lost.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn message(
        &self,
        agent: &AgentId,
        executor: &ExecutorId,
        data: impl Into<Bytes>,
    ) -> Result<()> {
        let message = call::Message {
            agent_id: agent.clone(),
            executor_id: executor.clone(),
            data: data.into(),
        };
        self.call(call::Type::Message, |call| call.message = Some(message)).await
    }

    /// Ends an executor and all its tasks.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn shutdown(&self, agent: &AgentId, executor: &ExecutorId) -> Result<()> {
        let shutdown = call::Shutdown { executor_id: executor.clone(), agent_id: agent.clone() };
        self.call(call::Type::Shutdown, |call| call.shutdown = Some(shutdown)).await
    }

    /// Changes what the master knows of the framework. The subscription after a broken
    /// connection still says what the first one said.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn update_framework(&self, framework: &Framework) -> Result<()> {
        let mut framework_info = framework.info().clone();
        framework_info.id = self.framework_id().as_ref().cloned();
        let update = call::UpdateFramework { framework_info, ..Default::default() };
        self.call(call::Type::UpdateFramework, |call| call.update_framework = Some(update)).await
    }

    /// Ends the framework: its tasks are killed, its id is good for nothing, [`Events::next`]
    /// returns `None`.
    ///
    /// # Errors
    /// See [`Scheduler`]; also if the id file cannot be removed.
    pub async fn teardown(&self) -> Result<()> {
        self.shared.ending.store(true, Ordering::Release);
        let result = self.call(call::Type::Teardown, |_| {}).await;
        if result.is_err() {
            self.shared.ending.store(false, Ordering::Release);
            return result;
        }
        self.stop();
        let Some(path) = &self.options.id_file else { return Ok(()) };
        store::remove(path)
    }

    /// Ends the subscription and leaves the tasks to the failover timeout.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Makes a call that has no method here; `fill` sets its content.
    ///
    /// # Errors
    /// See [`Scheduler`].
    pub async fn call(&self, kind: call::Type, fill: impl FnOnce(&mut Call)) -> Result<()> {
        let name = kind.as_str_name();
        let link = self.shared.link().ok_or(Error::NotSubscribed { call: name })?;
        let mut call = Call { r#type: Some(kind.into()), ..Default::default() };
        fill(&mut call);
        link.call(call, name, self.options.encoding).await
    }

    /// Acknowledges what the framework has dealt with. A failure is no harm: the agent repeats.
    async fn settle(&self, event: &Event) {
        let result = match event {
            Event::Update(update) => self.acknowledge(update).await,
            Event::OperationUpdate(status) => self.acknowledge_operation(status).await,
            _ => Ok(()),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "an acknowledgement was not taken; the update will come again");
        }
    }
}

fn filters(refuse: Duration) -> v1::Filters {
    v1::Filters { refuse_seconds: Some(refuse.as_secs_f64()) }
}
