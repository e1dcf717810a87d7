//! A worker's side: its session with the manager, begun again whenever it breaks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ca::{NodeKey, validity};
use crate::client::{
    Failure, ManagerConnection, connect, own_address, refusal, unexpected, within,
};
use crate::disk::{Disk, File, Part, Record};
use crate::error::{Code, Error, Result};
use crate::held::{Account, Key};
use crate::host::HostSlot;
use crate::model::{AttachRequest, View};
use crate::presence::GRACE;
use crate::tls;
use crate::wire::{Answer, Call, Networks, PATIENCE, Session, Started, ToManager, ToNode, VERSION};

/// How long whoever asks the manager for something waits.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Between one attempt to reach the manager and the next, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// How long who gives something back waits for a manager that is connected.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);
/// The most calls that wait for their answers.
const MAX_CALLS: usize = 1024;

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) node_id: String,
    disk: Disk,
    /// Held for one look.
    state: Mutex<State>,
    account: Arc<Account>,
    /// Wakes the session when something was given back.
    released: Notify,
    calls: mpsc::Sender<Pending>,
    view: Arc<watch::Sender<Arc<View>>>,
    host: Arc<HostSlot>,
    /// How many sessions there were.
    pub(crate) sessions: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    record: Record,
    is_connected: bool,
    /// Why there is no session.
    problem: String,
    is_final: bool,
}

/// What a worker has in common with the rest of this host.
pub(crate) struct Shared {
    pub(crate) disk: Disk,
    pub(crate) account: Arc<Account>,
    pub(crate) view: Arc<watch::Sender<Arc<View>>>,
    pub(crate) host: Arc<HostSlot>,
}

/// Something asked of the manager.
#[derive(Debug)]
pub(crate) struct Pending {
    call: Call,
    /// Nobody waits for the answer any more.
    deadline: std::time::Instant,
    reply: std::sync::mpsc::SyncSender<Result<Answer>>,
}

impl Worker {
    pub(crate) fn new(
        node_id: String,
        record: Record,
        shared: Shared,
    ) -> (Arc<Self>, mpsc::Receiver<Pending>) {
        let (calls, pending) = mpsc::channel(MAX_CALLS);
        let Shared { disk, account, view, host } = shared;
        view.send_replace(Arc::new(disk.known_networks()));
        let state = State { record, is_connected: false, problem: String::new(), is_final: false };
        let worker = Self {
            node_id,
            disk,
            state: Mutex::new(state),
            account,
            released: Notify::new(),
            calls,
            view,
            host,
            sessions: watch::Sender::new(0),
        };
        (Arc::new(worker), pending)
    }

    /// Where this host takes VXLAN packets, and at which port; `None` until it is known.
    pub(crate) fn vtep(&self) -> Option<(IpAddr, u16)> {
        let state = self.state();
        let Part::Worker { address, data_path_port, .. } = &state.record.part else { return None };
        let address = state.record.data_path.or(state.record.advertise).or(*address)?;
        Some((address, *data_path_port))
    }

    /// The address that other nodes know this one by.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let state = self.state();
        match &state.record.part {
            Part::Worker { address, .. } => state.record.advertise.or(*address),
            _ => None,
        }
    }

    /// Ids and control addresses of the managers.
    pub(crate) fn managers(&self) -> Vec<(String, String)> {
        match &self.state().record.part {
            Part::Worker { managers, .. } => managers.clone(),
            _ => Vec::new(),
        }
    }

    /// Why there is no session, and whether that stays so.
    pub(crate) fn problem(&self) -> (String, bool) {
        let state = self.state();
        (state.problem.clone(), state.is_final)
    }

    /// Asks the manager for an address; the account knows of it already.
    pub(crate) fn attach(&self, request: AttachRequest) -> Result<Ipv4Addr> {
        match self.call(Call::Attach(request), CALL_TIMEOUT)? {
            Answer::Attached { ipv4 } => Ok(ipv4),
            _ => Err(Error::new(Code::Internal, "the manager answers something else")),
        }
    }

    /// Tells the manager what a container is called now, without waiting. One that is away is told by
    /// the account when it is back; one that comes back at this moment by this.
    pub(crate) fn rename(&self, request: AttachRequest) {
        let (reply, _) = std::sync::mpsc::sync_channel(1);
        let deadline = std::time::Instant::now() + CALL_TIMEOUT;
        let pending = Pending { call: Call::Attach(request), deadline, reply };
        if self.calls.try_send(pending).is_err() {
            tracing::warn!("the manager hears of a new name with the next session only");
        }
    }

    /// Lets the manager hear of what the account has released, and waits a moment for it where the
    /// manager is there: who removes a container and then its network finds it unused.
    pub(crate) fn detach(&self, network_id: &str, container_id: &str) {
        self.released.notify_one();
        if self.state().is_connected {
            self.account.wait_until_heard(network_id, container_id, RELEASE_PATIENCE);
        }
    }

    /// Tells the manager that this node goes, if it can be told at once.
    pub(crate) fn say_goodbye(&self) -> Result<()> {
        if !self.state().is_connected {
            return Err(Error::new(Code::Unavailable, "the manager is not connected"));
        }
        self.call(Call::Leave, PATIENCE).map(drop)
    }

    /// Asks the manager for something and waits.
    fn call(&self, call: Call, limit: Duration) -> Result<Answer> {
        let (problem, is_final) = self.problem();
        if is_final {
            return Err(Error::new(Code::Unavailable, problem));
        }
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let pending = Pending { call, deadline: std::time::Instant::now() + limit, reply };
        self.calls.try_send(pending).map_err(|_| {
            Error::new(Code::Unavailable, "too much is asked of the manager at once")
        })?;
        answer.recv_timeout(limit).unwrap_or_else(|_| {
            let (problem, _) = self.problem();
            let reason = if problem.is_empty() { String::new() } else { format!(": {problem}") };
            let text = format!("the manager has not answered{reason}");
            Err(Error::answer(Code::DeadlineExceeded, text))
        })
    }

    /// Keeps a session with the manager until `stop`, or until there is no use in it.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut pending: mpsc::Receiver<Pending>,
        stop: CancellationToken,
    ) {
        let [shortest, longest] = PAUSES;
        let mut pause = shortest;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.session(&mut pending) => ended,
            };
            let was_connected = std::mem::replace(&mut self.state().is_connected, false);
            if was_connected {
                pause = shortest;
            }
            let Err(failure) = ended else { continue };
            let problem = failure.error().to_string();
            if self.state().problem != problem {
                tracing::warn!(error = problem, "no session with the swarm's manager");
            }
            let is_final = matches!(failure, Failure::Final(_));
            {
                let mut state = self.state();
                state.problem = problem;
                state.is_final = is_final;
            }
            if is_final {
                return stop.cancelled().await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    async fn session(&self, pending: &mut mpsc::Receiver<Pending>) -> Result<(), Failure> {
        let mut connection = self.reach().await?;
        let own = own_address(&connection)?.ip();
        let vtep = {
            let state = self.state();
            state.record.data_path.or(state.record.advertise).unwrap_or(own)
        };
        let opening = self.opening(vtep).await?;
        connection.send(&ToManager::Session(Box::new(opening))).await?;
        let started = match within(PATIENCE, connection.next()).await?? {
            Some(ToNode::Started(started)) => started,
            Some(ToNode::Refused(error)) => return Err(self.refused(error)),
            Some(other) => return Err(unexpected(&other)),
            None => return Err(hung_up()),
        };
        self.enter(&started, own)?;
        let mut open = Open {
            worker: self,
            connection,
            period: Duration::from_nanos(started.period_nanos),
            waiting: BTreeMap::new(),
            next_id: 0,
            is_whole: false,
        };
        open.run(pending).await
    }

    /// Connects to the first manager that can be reached.
    async fn reach(&self) -> Result<ManagerConnection, Failure> {
        let read = |file| self.disk.read(file);
        let config = tls::member(
            &read(File::NodeCertificate)?,
            &read(File::NodeKey)?,
            &read(File::RootCertificate)?,
        )?;
        let none = Error::new(Code::Unavailable, "no manager of the swarm is known");
        let mut failure = Failure::Passing(none);
        for (_, address) in self.managers() {
            match connect(&address, config.clone()).await {
                Ok(connection) => return Ok(connection),
                // A certificate may be right again after the clock is; the session goes on trying.
                Err(failed) => failure = Failure::Passing(failed.error().clone()),
            }
        }
        Err(failure)
    }

    async fn opening(&self, vtep: IpAddr) -> Result<Session> {
        let host = self.host.get();
        let asked = tokio::task::spawn_blocking(move || {
            host.map(|host| (host.describe(), host.attachments())).unwrap_or_default()
        });
        let (description, of_host) =
            asked.await.map_err(|error| Error::internal("describe this host", &error))?;
        Ok(Session { version: VERSION, description, vtep, held: self.account.all(of_host) })
    }

    /// What a manager says no to at the beginning of a session.
    fn refused(&self, error: Error) -> Failure {
        match refusal(error) {
            Failure::Final(error) if error.code == Code::NotFound => {
                let text = format!(
                    "this node ({}) was removed from the swarm: leave it with `swarm leave`, and \
                     join again",
                    self.node_id
                );
                Failure::Final(Error::new(Code::NotFound, text))
            }
            // The manager may be of another version some time.
            Failure::Final(error) if error.code == Code::Unimplemented => Failure::Passing(error),
            failure => failure,
        }
    }

    fn enter(&self, started: &Started, own: IpAddr) -> Result<()> {
        {
            let mut state = self.state();
            state.is_connected = true;
            state.problem.clear();
            let part = Part::Worker {
                node_id: self.node_id.clone(),
                managers: started.managers.clone(),
                address: Some(own),
                data_path_port: started.data_path_port,
            };
            if state.record.part != part {
                state.record.part = part;
                self.disk.keep_record(&state.record)?;
            }
        }
        tracing::info!(node_id = self.node_id, "session with the swarm's manager");
        self.sessions.send_modify(|sessions| *sessions += 1);
        Ok(())
    }

    /// Takes over what is another in the swarm's networks.
    fn take(&self, networks: Networks, is_whole: bool) {
        self.view.send_modify(|view| {
            let mut next = if is_whole { View::new() } else { (**view).clone() };
            for id in &networks.gone {
                next.remove(id);
            }
            for network in networks.changed {
                next.insert(network.network.id.clone(), network);
            }
            if **view != next {
                *view = Arc::new(next);
            }
        });
    }

    /// The request for a new certificate, once half the life of the present one is over.
    fn renewal(&self) -> Result<Option<Call>> {
        let (made, to) = validity(&self.disk.read(File::NodeCertificate)?)?;
        if !is_half_over(made, to, SystemTime::now()) {
            return Ok(None);
        }
        let key = NodeKey::from_pem(&self.disk.read(File::NodeKey)?)?;
        Ok(Some(Call::Renew { request: key.request()? }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether half of a certificate's life is over.
pub(crate) fn is_half_over(made: SystemTime, to: SystemTime, now: SystemTime) -> bool {
    let life = to.duration_since(made).unwrap_or_default();
    now.duration_since(made).unwrap_or_default() >= life / 2
}

/// Who waits for an answer of the manager.
enum Waiting {
    Caller(std::sync::mpsc::SyncSender<Result<Answer>>),
    Released(Key),
    Renewal,
}

/// One session.
struct Open<'a> {
    worker: &'a Worker,
    connection: ManagerConnection,
    period: Duration,
    waiting: BTreeMap<u64, Waiting>,
    next_id: u64,
    /// Whether all networks were told.
    is_whole: bool,
}

impl Open<'_> {
    async fn run(&mut self, pending: &mut mpsc::Receiver<Pending>) -> Result<(), Failure> {
        self.send_released().await?;
        self.renew().await?;
        let mut heartbeat = Instant::now() + self.until_next();
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = self.connection.next() => {
                    heard = Instant::now();
                    match message? {
                        Some(message) => self.take(message)?,
                        None => return Err(hung_up()),
                    }
                }
                call = pending.recv() => match call {
                    Some(pending) => self.ask(pending).await?,
                    None => return Ok(()),
                },
                () = self.worker.released.notified() => self.send_released().await?,
                () = tokio::time::sleep_until(heartbeat) => {
                    if heard.elapsed() > self.period * GRACE {
                        let text = "the manager is silent";
                        return Err(Error::new(Code::DeadlineExceeded, text).into());
                    }
                    self.connection.send(&ToManager::Heartbeat).await?;
                    self.renew().await?;
                    heartbeat = Instant::now() + self.until_next();
                }
            }
        }
    }

    /// The period, up to a tenth longer or shorter: nodes that began together do not stay together.
    fn until_next(&self) -> Duration {
        self.period.mul_f64(rand::random_range(0.9..=1.1))
    }

    async fn ask(&mut self, pending: Pending) -> Result<(), Failure> {
        if pending.deadline <= std::time::Instant::now() {
            return Ok(());
        }
        if let Call::Attach(request) = &pending.call
            && !self.worker.account.is_asked(request)
        {
            // Given back since, of which the manager may have heard already.
            return Ok(());
        }
        self.send(pending.call, Waiting::Caller(pending.reply)).await
    }

    async fn send_released(&mut self) -> Result<(), Failure> {
        for key in self.worker.account.released() {
            let (network_id, container_id) = key.clone();
            self.send(Call::Detach { network_id, container_id }, Waiting::Released(key)).await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let is_asked = self.waiting.values().any(|waiting| matches!(waiting, Waiting::Renewal));
        match self.worker.renewal()? {
            Some(call) if !is_asked => self.send(call, Waiting::Renewal).await,
            _ => Ok(()),
        }
    }

    async fn send(&mut self, call: Call, waiting: Waiting) -> Result<(), Failure> {
        self.next_id += 1;
        self.waiting.insert(self.next_id, waiting);
        Ok(self.connection.send(&ToManager::Call { id: self.next_id, call }).await?)
    }

    fn take(&mut self, message: ToNode) -> Result<(), Failure> {
        match message {
            ToNode::Networks(networks) => {
                self.worker.take(networks, !self.is_whole);
                self.is_whole = true;
            }
            ToNode::Heartbeat { period_nanos } => {
                self.period = Duration::from_nanos(period_nanos);
            }
            ToNode::Answer { id, answer } => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    self.answer(waiting, answer)?;
                }
            }
            ToNode::Refused(error) => return Err(self.worker.refused(error)),
            other => return Err(unexpected(&other)),
        }
        Ok(())
    }

    fn answer(&mut self, waiting: Waiting, answer: Result<Answer>) -> Result<(), Failure> {
        match (waiting, answer) {
            // Whoever asked may have given up.
            (Waiting::Caller(reply), answer) => drop(reply.try_send(answer)),
            (Waiting::Released(key), Ok(_)) => self.worker.account.heard(&key),
            (Waiting::Renewal, Ok(Answer::Renewed { certificate })) => {
                self.worker.disk.write(File::NodeCertificate, &certificate)?;
                tracing::info!("this node's certificate is renewed");
            }
            (Waiting::Released(_) | Waiting::Renewal, answer) => {
                tracing::warn!(?answer, "the manager refuses");
            }
        }
        Ok(())
    }
}

fn hung_up() -> Failure {
    Failure::Passing(Error::new(Code::Unavailable, "the manager hung up"))
}
