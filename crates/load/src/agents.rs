//! Simulated agents: they register, answer pings, and claim to run tasks.
//!
//! Agents share sockets in groups: `slave(1)`, `slave(2)`… of one address listen together and send
//! through one connection, as processes of one libprocess do. A task runs as soon as it arrives
//! and ends as soon as its RUNNING is acknowledged.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mesos_api::internal::{
    PingSlaveMessage, PongSlaveMessage, RegisterSlaveMessage, RunTaskMessage,
    SlaveRegisteredMessage, StatusUpdate, StatusUpdateAcknowledgementMessage, StatusUpdateMessage,
    UpdateSlaveMessage,
};
use mesos_api::libprocess::{self, Decoder, Request, Route, Upid};
use mesos_api::v1::agent_info::Capability;
use mesos_api::v1::agent_info::capability::Type as CapabilityType;
use mesos_api::v1::{self, AgentInfo, TaskState, TaskStatus, value};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::outbox::Outbox;

const MESSAGE_MAX: usize = 64 * 1024 * 1024;
/// What is asked of the kernel at once.
const CHUNK: usize = 32 * 1024;
const RUNNING: u8 = 1;
const FINISHED: u8 = 2;

/// What all agents together have seen.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    registered: AtomicUsize,
    finished: AtomicUsize,
    changed: Notify,
}

impl Progress {
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }

    pub(crate) async fn until_registered(&self, count: usize) {
        while self.registered.load(Ordering::Relaxed) < count {
            self.changed.notified().await;
        }
    }

    /// Waits until the ends of so many tasks were acknowledged.
    pub(crate) async fn until_finished(&self, count: usize) {
        while self.finished() < count {
            self.changed.notified().await;
        }
    }

    fn count(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// Agents that share an address.
#[derive(Debug)]
pub(crate) struct Group {
    address: SocketAddrV4,
    hostname: String,
    agents: Vec<Agent>,
    outbox: Outbox,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Agent {
    pid: String,
    to_master: Route,
    id: OnceLock<v1::AgentId>,
}

impl Agent {
    /// The agent `slave(number)` of an address.
    fn new(number: usize, address: SocketAddrV4, master: SocketAddrV4) -> Self {
        let upid = Upid::new(format!("slave({number})"), address);
        let to_master = Route::new(&upid, master);
        Self { pid: upid.to_string(), to_master, id: OnceLock::new() }
    }
}

impl Group {
    /// Listens for `count` agents and connects to the master; nothing is registered yet.
    pub(crate) async fn start(
        ip: Ipv4Addr,
        master: SocketAddrV4,
        count: usize,
        progress: Arc<Progress>,
    ) -> Result<Arc<Self>> {
        let listener = TcpListener::bind((ip, 0)).await.context("listen for the master")?;
        let std::net::SocketAddr::V4(address) = listener.local_addr()? else {
            anyhow::bail!("bound to an IPv6 address");
        };
        let stream = TcpStream::connect(master)
            .await
            .with_context(|| format!("connect to the master at {master}"))?;
        stream.set_nodelay(true)?;
        let group = Arc::new(Self {
            address,
            hostname: format!("agent-{}-{}", address.ip(), address.port()),
            agents: (1..=count).map(|number| Agent::new(number, address, master)).collect(),
            outbox: Outbox::default(),
            progress,
        });
        let (answers, writer) = stream.into_split();
        let sending = Arc::clone(&group);
        tokio::spawn(async move {
            if let Err(error) = sending.outbox.drain_to(writer).await {
                eprintln!("{}: the master hung up: {error}", sending.address);
            }
        });
        tokio::spawn(drain(answers));
        tokio::spawn(Arc::clone(&group).listen(listener));
        Ok(group)
    }

    /// Sends every agent's registration.
    pub(crate) fn register(&self) {
        for agent in &self.agents {
            let message = RegisterSlaveMessage {
                agent: AgentInfo {
                    hostname: self.hostname.clone(),
                    port: Some(self.address.port().into()),
                    resources: resources(),
                    checkpoint: Some(true),
                    ..Default::default()
                },
                version: Some("1.11.0".to_owned()),
                agent_capabilities: capabilities(),
                resource_version_uuid: Some(uuid()),
                ..Default::default()
            };
            self.send(agent, "RegisterSlaveMessage", &message);
        }
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let group = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = group.serve(stream).await {
                    eprintln!("{}: a connection of the master: {error:#}", group.address);
                }
            });
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut decoder = Decoder::new(MESSAGE_MAX);
        let mut answers = Vec::new();
        loop {
            decoder.buffer().reserve(CHUNK);
            if stream.read_buf(decoder.buffer()).await? == 0 {
                return Ok(());
            }
            while let Some(request) = decoder.next_request()? {
                self.receive(&request)?;
                answers.extend_from_slice(libprocess::ACCEPTED);
            }
            stream.write_all(&answers).await?;
            answers.clear();
        }
    }

    fn receive(&self, request: &Request) -> Result<()> {
        let agent = self.agent(&request.to).context("a message for an agent that is not here")?;
        let body = request.body.clone();
        match request.name.strip_prefix("mesos.internal.").unwrap_or(&request.name) {
            "SlaveRegisteredMessage" => {
                self.registered(agent, SlaveRegisteredMessage::decode(body)?.agent_id);
            }
            "PingSlaveMessage" => {
                PingSlaveMessage::decode(body)?;
                self.send(agent, "PongSlaveMessage", &PongSlaveMessage {});
            }
            "RunTaskMessage" => {
                let run = RunTaskMessage::decode(body)?;
                let framework_id = run.framework.id.context("a framework without id")?;
                self.update(agent, framework_id, run.task.task_id, RUNNING);
            }
            "StatusUpdateAcknowledgementMessage" => {
                let acknowledged = StatusUpdateAcknowledgementMessage::decode(body)?;
                if acknowledged.uuid.first() == Some(&RUNNING) {
                    let (framework, task) = (acknowledged.framework_id, acknowledged.task_id);
                    self.update(agent, framework, task, FINISHED);
                } else {
                    self.progress.count(&self.progress.finished);
                }
            }
            // Of no concern to an agent that keeps nothing.
            _ => {}
        }
        Ok(())
    }

    /// The agent of a process name, `slave(1)`.
    fn agent(&self, name: &str) -> Option<&Agent> {
        let number: usize = name.strip_prefix("slave(")?.strip_suffix(')')?.parse().ok()?;
        self.agents.get(number.checked_sub(1)?)
    }

    fn registered(&self, agent: &Agent, id: v1::AgentId) {
        let message = UpdateSlaveMessage {
            agent_id: id.clone(),
            update_oversubscribed_resources: Some(false),
            resource_version_uuid: Some(uuid()),
            ..Default::default()
        };
        if agent.id.set(id).is_ok() {
            self.send(agent, "UpdateSlaveMessage", &message);
            self.progress.count(&self.progress.registered);
        }
    }

    fn update(&self, agent: &Agent, framework_id: v1::FrameworkId, task_id: v1::TaskId, kind: u8) {
        let agent_id = agent.id.get().cloned();
        // The first byte tells the acknowledgement apart, so that nothing is remembered per task.
        let uuid = Some(random_uuid(Some(kind)));
        let state = if kind == RUNNING { TaskState::TaskRunning } else { TaskState::TaskFinished };
        let timestamp = now();
        let update = StatusUpdate {
            framework_id,
            executor_id: Some(v1::ExecutorId::from(task_id.value.as_str())),
            agent_id: agent_id.clone(),
            status: TaskStatus {
                task_id,
                state: state.into(),
                source: Some(v1::task_status::Source::Executor.into()),
                agent_id,
                timestamp: Some(timestamp),
                uuid: uuid.clone(),
                ..Default::default()
            },
            timestamp,
            uuid,
            latest_state: Some(state.into()),
        };
        let message = StatusUpdateMessage { update, pid: Some(agent.pid.clone()) };
        self.send(agent, "StatusUpdateMessage", &message);
    }

    fn send(&self, agent: &Agent, name: &str, message: &impl Message) {
        let body = message.encode_to_vec();
        let name = format!("mesos.internal.{name}");
        self.outbox.append(|bytes| agent.to_master.encode(bytes, "master", &name, &body));
    }
}

/// Reads the 202s, which nobody needs.
async fn drain(mut answers: tokio::net::tcp::OwnedReadHalf) {
    let mut bytes = vec![0; 64 * 1024];
    while matches!(answers.read(&mut bytes).await, Ok(1..)) {}
}

fn resources() -> Vec<v1::Resource> {
    let scalar = |name: &str, value| v1::Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value }),
        ..Default::default()
    };
    let ports = v1::Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range: vec![value::Range { begin: 31000, end: 32000 }] }),
        ..Default::default()
    };
    vec![scalar("cpus", 64.0), scalar("mem", 262_144.0), scalar("disk", 1_000_000.0), ports]
}

fn capabilities() -> Vec<Capability> {
    [
        CapabilityType::MultiRole,
        CapabilityType::HierarchicalRole,
        CapabilityType::ReservationRefinement,
        CapabilityType::ResourceProvider,
        CapabilityType::ResizeVolume,
        CapabilityType::AgentOperationFeedback,
        CapabilityType::AgentDraining,
        CapabilityType::TaskResourceLimits,
    ]
    .map(|kind| Capability { r#type: Some(kind.into()) })
    .to_vec()
}

fn uuid() -> v1::Uuid {
    v1::Uuid { value: random_uuid(None) }
}

/// A UUID of version 4; the original ignores updates whose uuid is merely sixteen bytes.
fn random_uuid(first: Option<u8>) -> Bytes {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    if let Some(first) = first {
        bytes[0] = first;
    }
    Bytes::copy_from_slice(&bytes)
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
