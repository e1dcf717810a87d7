//! The framework: takes offers until all tasks are launched, acknowledges every update.
//!
//! Calls go out pipelined on one connection. The SDK waits for each answer, which is right for a
//! framework and would measure the framework here.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesos_api::recordio::Decoder;
use mesos_api::v1;
use mesos_api::v1::container_info;
use mesos_api::v1::framework_info::Capability;
use mesos_api::v1::framework_info::capability::Type as CapabilityType;
use mesos_api::v1::offer::{Operation, operation};
use mesos_api::v1::scheduler::{Call, Event, call, event};
use mesos_api::v1::{TaskState, value};
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::outbox::Outbox;

const RECORD_MAX: usize = 512 * 1024 * 1024;
const FOREVER_SECS: f64 = 1e7;
/// What is asked of the kernel at once.
const CHUNK: usize = 64 * 1024;

/// How much is asked of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tasks: usize,
    pub(crate) tasks_per_offer: usize,
    /// Tasks that are launched and not ended yet, at most.
    pub(crate) in_flight: usize,
    /// What the tasks' containers are made of, if they are to be containers.
    pub(crate) image: Option<String>,
}

/// When things happened, from the first ACCEPT on.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) first_offers: Duration,
    pub(crate) first_accept: Option<Instant>,
    /// From ACCEPT to RUNNING, one of each task.
    pub(crate) running_after: Vec<Duration>,
    /// Updates that are neither RUNNING nor FINISHED: the run is worth nothing then.
    pub(crate) wrong: Vec<String>,
}

/// A subscription, with what it has launched.
pub(crate) struct Framework {
    plan: Plan,
    head: String,
    id: v1::FrameworkId,
    outbox: Arc<Outbox>,
    accepted_at: Vec<Instant>,
    ended: usize,
    /// Offers kept until tasks may be launched again.
    kept: VecDeque<v1::Offer>,
    pub(crate) seen: Seen,
}

impl Framework {
    /// Subscribes and runs the plan; returns when the end of every task was heard. Acknowledging
    /// the last ones may still be under way.
    pub(crate) async fn run(master: SocketAddrV4, plan: Plan) -> Result<Self> {
        let subscribed_at = Instant::now();
        let (mut body, stream_id) = subscribe(master, plan.image.is_some()).await?;
        let mut this = Self {
            head: format!(
                "POST /api/v1/scheduler HTTP/1.1\r\nHost: {master}\r\nContent-Type: application/x-protobuf\r\n\
                 Accept: application/x-protobuf\r\nMesos-Stream-Id: {stream_id}\r\nContent-Length: "
            ),
            id: v1::FrameworkId::default(),
            outbox: connect_calls(master).await?,
            accepted_at: Vec::with_capacity(plan.tasks),
            ended: 0,
            kept: VecDeque::new(),
            seen: Seen::default(),
            plan,
        };
        let mut decoder = Decoder::new(RECORD_MAX);
        while this.ended < this.plan.tasks {
            let frame = body.frame().await.context("the master closed the stream of events")??;
            let Some(data) = frame.data_ref() else { continue };
            decoder.feed(data);
            while let Some(record) = decoder.next_record()? {
                let event = Event::decode(record)?;
                if event.offers.is_some() && this.seen.first_offers.is_zero() {
                    this.seen.first_offers = subscribed_at.elapsed();
                }
                this.receive(event)?;
            }
        }
        // The stream stays open: its end would kill nothing but would be work for the master.
        tokio::spawn(async move { while body.frame().await.is_some() {} });
        Ok(this)
    }

    /// Ends the framework.
    pub(crate) fn teardown(&self) {
        self.call(call::Type::Teardown, |_| {});
    }

    fn receive(&mut self, event: Event) -> Result<()> {
        match event.r#type() {
            event::Type::Subscribed => {
                self.id = event.subscribed.context("SUBSCRIBED without content")?.framework_id;
            }
            event::Type::Offers => {
                self.kept.extend(event.offers.context("OFFERS without content")?.offers);
                self.launch();
            }
            event::Type::Rescind => {
                let rescinded = event.rescind.context("RESCIND without content")?.offer_id;
                self.kept.retain(|offer| offer.id != rescinded);
            }
            event::Type::Update => {
                self.update(event.update.context("UPDATE without content")?.status)?;
            }
            event::Type::Error => {
                bail!(
                    "the master refuses the framework: {}",
                    event.error.unwrap_or_default().message
                )
            }
            _ => {}
        }
        Ok(())
    }

    fn launch(&mut self) {
        while !self.kept.is_empty() && self.accepted_at.len() < self.plan.tasks {
            let room = self.plan.in_flight - (self.accepted_at.len() - self.ended);
            let left = self.plan.tasks - self.accepted_at.len();
            let count = room.min(left).min(self.plan.tasks_per_offer);
            if count == 0 || (count < self.plan.tasks_per_offer && count < left) {
                return;
            }
            if let Some(offer) = self.kept.pop_front() {
                self.accept(offer, count);
            }
        }
        let unwanted: Vec<_> = self.kept.drain(..).map(|offer| offer.id).collect();
        if !unwanted.is_empty() {
            let filters = Some(v1::Filters { refuse_seconds: Some(FOREVER_SECS) });
            let decline = call::Decline { offer_ids: unwanted, filters };
            self.call(call::Type::Decline, |call| call.decline = Some(decline));
        }
    }

    fn accept(&mut self, offer: v1::Offer, count: usize) {
        let first = self.accepted_at.len();
        let image = self.plan.image.as_deref();
        let task_infos = (first..first + count).map(|number| task(number, &offer, image)).collect();
        let operation = Operation {
            r#type: Some(operation::Type::Launch.into()),
            launch: Some(operation::Launch { task_infos }),
            ..Default::default()
        };
        let accept = call::Accept {
            offer_ids: vec![offer.id],
            operations: vec![operation],
            filters: Some(v1::Filters { refuse_seconds: Some(0.0) }),
        };
        let now = Instant::now();
        self.seen.first_accept.get_or_insert(now);
        self.accepted_at.resize(first + count, now);
        self.call(call::Type::Accept, |call| call.accept = Some(accept));
    }

    fn update(&mut self, status: v1::TaskStatus) -> Result<()> {
        match status.state() {
            TaskState::TaskRunning => {
                let number = status.task_id.value.strip_prefix("task-").map(str::parse::<usize>);
                let number = number.context("a task of somebody else")??;
                self.seen.running_after.push(self.accepted_at[number].elapsed());
            }
            TaskState::TaskFinished => {
                self.ended += 1;
                self.launch();
            }
            TaskState::TaskStarting => {}
            other => {
                let message = status.message.clone().unwrap_or_default();
                self.seen.wrong.push(format!("{} {message}", other.as_str_name()));
                self.ended += 1;
            }
        }
        let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id) else { return Ok(()) };
        let acknowledge = call::Acknowledge { agent_id, task_id: status.task_id, uuid };
        self.call(call::Type::Acknowledge, |call| call.acknowledge = Some(acknowledge));
        Ok(())
    }

    fn call(&self, kind: call::Type, fill: impl FnOnce(&mut Call)) {
        let mut call = Call {
            framework_id: Some(self.id.clone()),
            r#type: Some(kind.into()),
            ..Default::default()
        };
        fill(&mut call);
        self.outbox.append(|bytes| {
            bytes.extend_from_slice(self.head.as_bytes());
            bytes.extend_from_slice(call.encoded_len().to_string().as_bytes());
            bytes.extend_from_slice(b"\r\n\r\n");
            call.encode(bytes).expect("a vector grows");
        });
    }
}

async fn subscribe(
    master: SocketAddrV4,
    checkpoint: bool,
) -> Result<(hyper::body::Incoming, String)> {
    let stream = TcpStream::connect(master).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let framework_info = v1::FrameworkInfo {
        user: "root".to_owned(),
        name: "load".to_owned(),
        checkpoint: Some(checkpoint),
        roles: vec!["*".to_owned()],
        capabilities: [CapabilityType::PartitionAware, CapabilityType::MultiRole]
            .map(|kind| Capability { r#type: Some(kind.into()) })
            .to_vec(),
        ..Default::default()
    };
    let call = Call {
        r#type: Some(call::Type::Subscribe.into()),
        subscribe: Some(call::Subscribe { framework_info, ..Default::default() }),
        ..Default::default()
    };
    let request = Request::post("/api/v1/scheduler")
        .header("Host", master.to_string())
        .header("Content-Type", "application/x-protobuf")
        .header("Accept", "application/x-protobuf")
        .body(Full::new(bytes::Bytes::from(call.encode_to_vec())))?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("SUBSCRIBE was answered by {}", response.status());
    }
    let stream_id = response.headers().get("mesos-stream-id").context("no Mesos-Stream-Id")?;
    let stream_id = stream_id.to_str()?.to_owned();
    Ok((response.into_body(), stream_id))
}

async fn connect_calls(master: SocketAddrV4) -> Result<Arc<Outbox>> {
    let stream = TcpStream::connect(master).await?;
    stream.set_nodelay(true)?;
    let (answers, writer) = stream.into_split();
    let outbox = Arc::new(Outbox::default());
    let sending = Arc::clone(&outbox);
    tokio::spawn(async move { sending.drain_to(writer).await });
    tokio::spawn(async move {
        if let Err(error) = judge(answers).await {
            eprintln!("the connection for calls: {error:#}");
        }
    });
    Ok(outbox)
}

/// Reads the answers to calls: each must be a 202 without content.
async fn judge(mut answers: tokio::net::tcp::OwnedReadHalf) -> Result<()> {
    let mut bytes = BytesMut::new();
    loop {
        bytes.reserve(CHUNK);
        if answers.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            if !bytes.starts_with(b"HTTP/1.1 202") {
                bail!("a call was answered by {:?}", String::from_utf8_lossy(&bytes));
            }
            bytes.advance(end + 4);
        }
    }
}

fn task(number: usize, offer: &v1::Offer, image: Option<&str>) -> v1::TaskInfo {
    let take = |name: &str, amount| v1::Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        allocation_info: offer.allocation_info.clone(),
        ..Default::default()
    };
    v1::TaskInfo {
        name: "load".to_owned(),
        task_id: v1::TaskId::from(format!("task-{number}")),
        agent_id: offer.agent_id.clone(),
        resources: vec![take("cpus", 0.1), take("mem", 32.0)],
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        container: image.map(|image| {
            Box::new(v1::ContainerInfo {
                r#type: container_info::Type::Docker.into(),
                docker: Some(container_info::DockerInfo {
                    image: image.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            })
        }),
        ..Default::default()
    }
}
