//! A master in this process, and those who speak to it.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use master::{Options, RunError};
use mesos_api::internal::{RegisterSlaveMessage, StatusUpdateMessage};
use mesos_api::json::{self, Json};
use mesos_api::libprocess::{self, Upid};
use mesos_api::v1::agent_info::capability::Type as Capability;
use mesos_api::v1::scheduler::{Call, Event, call, event};
use mesos_api::v1::{self, AgentInfo, FrameworkInfo, Resource, value};
use mesos_api::{internal, recordio};
use prost::{Message, Name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// A running master.
pub(crate) struct World {
    pub(crate) address: SocketAddrV4,
    stop: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

/// An answer whose body has come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl World {
    /// Starts a master whose registry is in memory.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--registry=in_memory"]).await
    }

    /// Starts a master with more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let usual = ["--ip=127.0.0.1", "--port=0", "--hostname=localhost", "--logging_level=ERROR"];
        let args = usual.iter().chain(flags).map(|flag| (*flag).to_owned());
        let options = Options::from_args(args).unwrap();
        let stop = CancellationToken::new();
        let (ready, listening) = oneshot::channel();
        let running = tokio::spawn(master::run(options, stop.clone(), |address| {
            ready.send(address).unwrap();
        }));
        let address = timeout(WAIT, listening).await.unwrap().expect("the master starts");
        Self { address, stop, running }
    }

    /// Stops the master.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(WAIT, self.running).await.unwrap().unwrap().unwrap();
    }

    /// Sends a request; the answer's head has come when this returns.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        timeout(WAIT, sender.send_request(request)).await.unwrap().unwrap()
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "master");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        whole(self.send(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// The id of the master, with which the ids of all it names begin.
    pub(crate) async fn id(&self) -> String {
        let answer = self.operate(r#"{"type":"GET_MASTER"}"#).await;
        let answer: v1::master::Response = json::from_slice(answer.body.as_bytes()).unwrap();
        answer.get_master.unwrap().master_info.unwrap().id
    }

    /// An operator's call in JSON.
    pub(crate) async fn operate(&self, call: &str) -> Answer {
        self.ask("POST", "/api/v1", &[("content-type", "application/json")], call).await
    }

    /// Subscribes a framework.
    pub(crate) async fn subscribe(&self, info: FrameworkInfo) -> Framework<'_> {
        let call = Call {
            framework_id: info.id.clone(),
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(call::Subscribe { framework_info: info, ..Default::default() }),
            ..Default::default()
        };
        let request = Request::post("/api/v1/scheduler")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(json::to_vec(&call))))
            .unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["transfer-encoding"], "chunked");
        let stream = response.headers()["mesos-stream-id"].to_str().unwrap().to_owned();
        let events = Events::new(response);
        let mut framework = Framework { world: self, stream, id: None, events };
        let first = framework.event().await;
        if let Some(subscribed) = first.subscribed {
            framework.id = Some(subscribed.framework_id);
        }
        framework
    }
}

async fn whole(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = timeout(WAIT, body.collect()).await.unwrap().unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// A stream of records.
pub(crate) struct Events {
    body: Incoming,
    decoder: recordio::Decoder,
}

impl Events {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), decoder: recordio::Decoder::new(1 << 24) }
    }

    /// The next record; none at the stream's end.
    pub(crate) async fn next<T: Json>(&mut self) -> Option<T> {
        loop {
            if let Some(record) = self.decoder.next_record().unwrap() {
                return Some(json::from_slice(&record).unwrap());
            }
            let frame = timeout(WAIT, self.body.frame()).await.expect("an event in time")?;
            self.decoder.feed(frame.unwrap().data_ref().unwrap());
        }
    }
}

/// A subscribed framework.
pub(crate) struct Framework<'a> {
    world: &'a World,
    pub(crate) stream: String,
    pub(crate) id: Option<v1::FrameworkId>,
    pub(crate) events: Events,
}

impl Framework<'_> {
    /// The next event that is no heartbeat.
    pub(crate) async fn event(&mut self) -> Event {
        self.next_event().await.expect("the stream goes on")
    }

    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        loop {
            let event: Event = self.events.next().await?;
            if event.r#type() != event::Type::Heartbeat {
                return Some(event);
            }
        }
    }

    /// The next event of this type; others are passed over.
    pub(crate) async fn until(&mut self, kind: event::Type) -> Event {
        loop {
            let event = self.event().await;
            if event.r#type() == kind {
                return event;
            }
        }
    }

    /// The next offers.
    pub(crate) async fn offers(&mut self) -> Vec<v1::Offer> {
        self.event().await.offers.expect("offers").offers
    }

    /// The next update.
    pub(crate) async fn update(&mut self) -> v1::TaskStatus {
        self.event().await.update.expect("an update").status
    }

    /// Makes a call that is accepted.
    pub(crate) async fn call(&self, kind: call::Type, call: Call) {
        let answer = self.try_call(kind, call).await;
        assert_eq!((answer.status, &*answer.body), (202, ""));
    }

    pub(crate) async fn try_call(&self, kind: call::Type, mut call: Call) -> Answer {
        call.set_type(kind);
        call.framework_id = self.id.clone();
        let headers = [("content-type", "application/json"), ("mesos-stream-id", &*self.stream)];
        self.world.ask("POST", "/api/v1/scheduler", &headers, &json::to_string(&call)).await
    }
}

/// A framework's description.
pub(crate) fn framework() -> FrameworkInfo {
    FrameworkInfo { user: "root".to_owned(), name: "test".to_owned(), ..Default::default() }
}

/// An agent that does what the test says.
pub(crate) struct Agent {
    pub(crate) pid: Upid,
    listener: TcpListener,
    out: TcpStream,
    link: Option<TcpStream>,
    decoder: libprocess::Decoder,
    pub(crate) id: Option<v1::AgentId>,
    pub(crate) info: AgentInfo,
}

impl Agent {
    /// Connects, and registers.
    pub(crate) async fn register(world: &World) -> Self {
        Self::register_with(world, &[]).await
    }

    /// Connects, and registers as one that can do more.
    pub(crate) async fn register_with(world: &World, more: &[Capability]) -> Self {
        let mut agent = Self::connect(world).await;
        agent.ask_to_register(more).await;
        let registered: internal::SlaveRegisteredMessage = agent.receive().await;
        agent.id = Some(registered.agent_id);
        agent
    }

    pub(crate) async fn ask_to_register(&mut self, more: &[Capability]) {
        let message = RegisterSlaveMessage {
            agent: self.info.clone(),
            version: Some("1.11.0".to_owned()),
            agent_capabilities: capabilities(more),
            ..Default::default()
        };
        self.send(&message).await;
    }

    pub(crate) async fn connect(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("bound to IPv4");
        };
        let info = AgentInfo {
            hostname: "localhost".to_owned(),
            port: Some(i32::from(address.port())),
            resources: vec![scalar("cpus", 4.0), scalar("mem", 4096.0), scalar("disk", 10_000.0)],
            checkpoint: Some(true),
            ..Default::default()
        };
        Self {
            pid: Upid::new("slave(1)", address),
            listener,
            out: TcpStream::connect(world.address).await.unwrap(),
            link: None,
            decoder: libprocess::Decoder::new(1 << 24),
            id: None,
            info,
        }
    }

    pub(crate) async fn send<T: Message + Name>(&mut self, message: &T) {
        self.send_as(&T::full_name(), message).await;
    }

    /// Sends a message under a name that is not its own.
    pub(crate) async fn send_as(&mut self, name: &str, message: &impl Message) {
        let master = Upid::new("master", self.pid.address);
        let mut bytes = Vec::new();
        libprocess::encode(&mut bytes, &self.pid, &master, name, &message.encode_to_vec());
        self.out.write_all(&bytes).await.unwrap();
        let mut answer = [0; libprocess::ACCEPTED.len()];
        timeout(WAIT, self.out.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, libprocess::ACCEPTED);
    }

    /// The next message, which must be of this type; pings are answered meanwhile.
    pub(crate) async fn receive<T: Message + Name + Default>(&mut self) -> T {
        let request = self.receive_any().await;
        assert_eq!(request.name, T::full_name());
        T::decode(request.body).unwrap()
    }

    /// The next message that is no ping.
    pub(crate) async fn receive_any(&mut self) -> libprocess::Request {
        if self.link.is_none() {
            let (link, _) = timeout(WAIT, self.listener.accept()).await.unwrap().unwrap();
            self.link = Some(link);
        }
        loop {
            while let Some(request) = self.decoder.next_request().unwrap() {
                let link = self.link.as_mut().unwrap();
                link.write_all(libprocess::ACCEPTED).await.unwrap();
                if request.name != internal::PingSlaveMessage::full_name() {
                    return request;
                }
            }
            let link = self.link.as_mut().unwrap();
            let read = timeout(WAIT, link.read_buf(self.decoder.buffer())).await;
            assert!(read.expect("a message in time").unwrap() > 0, "the master closed the link");
        }
    }

    /// Tells of a task's state.
    pub(crate) async fn update(
        &mut self,
        framework_id: v1::FrameworkId,
        task_id: v1::TaskId,
        state: v1::TaskState,
    ) {
        let status = v1::TaskStatus { task_id, state: state.into(), ..Default::default() };
        self.tell(framework_id, status).await;
    }

    /// Tells of a task what the status says; it gets the agent's id, a time and an id of its own.
    pub(crate) async fn tell(&mut self, framework_id: v1::FrameworkId, status: v1::TaskStatus) {
        let uuid =
            Bytes::from_static(b"\x01\x02\x03\x04\x05\x06\x47\x08\x89\x0a\x0b\x0c\x0d\x0e\x0f\x10");
        let latest_state = Some(status.state);
        let status = v1::TaskStatus {
            agent_id: self.id.clone(),
            timestamp: Some(1.0),
            uuid: Some(uuid.clone()),
            ..status
        };
        let update = internal::StatusUpdate {
            framework_id,
            agent_id: self.id.clone(),
            status,
            timestamp: 1.0,
            uuid: Some(uuid),
            latest_state,
            ..Default::default()
        };
        let pid = Some(self.pid.to_string());
        self.send(&StatusUpdateMessage { update, pid }).await;
    }
}

fn capabilities(more: &[Capability]) -> Vec<v1::agent_info::Capability> {
    use Capability as Type;

    let all =
        [Type::MultiRole, Type::HierarchicalRole, Type::ReservationRefinement, Type::AgentDraining];
    all.iter()
        .chain(more)
        .map(|kind| v1::agent_info::Capability { r#type: Some((*kind).into()) })
        .collect()
}

/// An amount of something.
pub(crate) fn scalar(name: &str, amount: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        ..Default::default()
    }
}

/// An ACCEPT that launches a task with a command on an offer.
pub(crate) fn launch(offer: &v1::Offer, task: &str) -> Call {
    use v1::offer::{Operation, operation};

    let task = v1::TaskInfo {
        name: "t".to_owned(),
        task_id: task.into(),
        agent_id: offer.agent_id.clone(),
        resources: vec![scalar("cpus", 1.0), scalar("mem", 64.0)],
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    };
    let launch = Operation {
        r#type: Some(operation::Type::Launch.into()),
        launch: Some(operation::Launch { task_infos: vec![task] }),
        ..Default::default()
    };
    Call {
        accept: Some(call::Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![launch],
            filters: None,
        }),
        ..Default::default()
    }
}
