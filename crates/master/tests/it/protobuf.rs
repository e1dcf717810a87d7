//! The scheduler API in protobuf: every call, and what comes back.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use mesos_api::v1::scheduler::{Call, Event, call, event};
use mesos_api::v1::{self, TaskState};
use mesos_api::{internal, recordio};
use prost::Message;

use crate::world::{Agent, WAIT, World, framework, launch};

const PROTOBUF: &str = "application/x-protobuf";

/// A framework that speaks protobuf.
struct Scheduler<'a> {
    world: &'a World,
    stream: String,
    id: v1::FrameworkId,
    body: Incoming,
    decoder: recordio::Decoder,
}

impl<'a> Scheduler<'a> {
    async fn subscribe(world: &'a World) -> Self {
        let mut call = Call {
            subscribe: Some(call::Subscribe { framework_info: framework(), ..Default::default() }),
            ..Call::default()
        };
        call.set_type(call::Type::Subscribe);
        let request = Request::post("/master/api/v1/scheduler")
            .header("content-type", PROTOBUF)
            .header("accept", PROTOBUF)
            .body(Full::new(Bytes::from(call.encode_to_vec())))
            .unwrap();
        let (head, body) = world.send(request).await.into_parts();
        assert_eq!(
            (head.status.as_u16(), &head.headers["content-type"]),
            (200, &PROTOBUF.parse().unwrap())
        );
        let stream = head.headers["mesos-stream-id"].to_str().unwrap().to_owned();
        let decoder = recordio::Decoder::new(1 << 20);
        let mut scheduler = Self { world, stream, id: "".into(), body, decoder };
        let first = scheduler.event().await;
        assert_eq!(first.r#type(), event::Type::Subscribed);
        scheduler.id = first.subscribed.unwrap().framework_id;
        scheduler
    }

    /// The next event that is no heartbeat.
    async fn event(&mut self) -> Event {
        loop {
            while let Some(record) = self.decoder.next_record().unwrap() {
                let event: Event = mesos_api::decode(&record).unwrap();
                if event.r#type() != event::Type::Heartbeat {
                    return event;
                }
            }
            let frame = tokio::time::timeout(WAIT, self.body.frame()).await.unwrap();
            self.decoder.feed(frame.unwrap().unwrap().data_ref().unwrap());
        }
    }

    async fn call(&self, kind: call::Type, mut call: Call) -> u16 {
        call.set_type(kind);
        call.framework_id = Some(self.id.clone());
        let request = Request::post("/api/v1/scheduler")
            .header("content-type", PROTOBUF)
            .header("mesos-stream-id", &self.stream)
            .body(Full::new(Bytes::from(call.encode_to_vec())))
            .unwrap();
        let (head, body) = self.world.send(request).await.into_parts();
        let body = tokio::time::timeout(WAIT, body.collect()).await.unwrap().unwrap().to_bytes();
        assert_eq!(body, "", "{kind:?}");
        head.status.as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_taken_in_protobuf() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let mut scheduler = Scheduler::subscribe(&world).await;
    let offers = scheduler.event().await.offers.unwrap().offers;

    let decline = call::Decline {
        offer_ids: vec![offers[0].id.clone()],
        filters: Some(v1::Filters { refuse_seconds: Some(3600.0) }),
    };
    let call = Call { decline: Some(decline), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Decline, call).await, 202);
    assert_eq!(scheduler.call(call::Type::Suppress, Call::default()).await, 202);
    assert_eq!(scheduler.call(call::Type::Revive, Call::default()).await, 202);
    let offers = scheduler.event().await.offers.unwrap().offers;

    assert_eq!(scheduler.call(call::Type::Accept, launch(&offers[0], "t-1")).await, 202);
    let run: internal::RunTaskMessage = agent.receive().await;
    assert_eq!(run.task.task_id.value, "t-1");
    agent.update(scheduler.id.clone(), "t-1".into(), TaskState::TaskRunning).await;
    let status = scheduler.event().await.update.unwrap().status;
    assert_eq!(status.state(), TaskState::TaskRunning);
    let agent_id = agent.id.clone().unwrap();
    let acknowledge = call::Acknowledge {
        agent_id: agent_id.clone(),
        task_id: status.task_id.clone(),
        uuid: status.uuid.unwrap(),
    };
    let call = Call { acknowledge: Some(acknowledge), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Acknowledge, call).await, 202);
    agent.receive::<internal::StatusUpdateAcknowledgementMessage>().await;

    let call = Call { reconcile: Some(call::Reconcile::default()), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Reconcile, call).await, 202);
    let told = scheduler.event().await.update.unwrap().status;
    assert_eq!((told.task_id, told.uuid), (status.task_id.clone(), None));

    let message = call::Message {
        agent_id: agent_id.clone(),
        executor_id: "t-1".into(),
        data: Bytes::from_static(b"\x00\xff"),
    };
    let call = Call { message: Some(message), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Message, call).await, 202);
    let message: internal::FrameworkToExecutorMessage = agent.receive().await;
    assert_eq!(&message.data[..], b"\x00\xff");

    let kill = call::Kill { task_id: status.task_id, ..call::Kill::default() };
    let call = Call { kill: Some(kill), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Kill, call).await, 202);
    agent.receive::<internal::KillTaskMessage>().await;
    let shutdown = call::Shutdown { agent_id, executor_id: "t-1".into() };
    let call = Call { shutdown: Some(shutdown), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Shutdown, call).await, 202);
    agent.receive::<internal::ShutdownExecutorMessage>().await;

    let info = v1::FrameworkInfo { id: Some(scheduler.id.clone()), ..framework() };
    let update = call::UpdateFramework {
        framework_info: v1::FrameworkInfo { name: "renamed".into(), ..info },
        ..call::UpdateFramework::default()
    };
    let call = Call { update_framework: Some(update), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::UpdateFramework, call).await, 200);
    let told: internal::UpdateFrameworkMessage = agent.receive().await;
    assert_eq!(told.framework_info.unwrap().name, "renamed");

    let call = Call { request: Some(call::Request::default()), ..Call::default() };
    assert_eq!(scheduler.call(call::Type::Request, call).await, 202);
    let operations = Some(call::ReconcileOperations::default());
    let call = Call { reconcile_operations: operations, ..Call::default() };
    assert_eq!(scheduler.call(call::Type::ReconcileOperations, call).await, 202);
    assert_eq!(scheduler.call(call::Type::Teardown, Call::default()).await, 202);
    agent.receive::<internal::ShutdownFrameworkMessage>().await;
    world.stop().await;
}
