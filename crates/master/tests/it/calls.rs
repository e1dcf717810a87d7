//! Every call of the operator API, in both of its encodings.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use mesos_api::json;
use mesos_api::v1::maintenance::{Schedule, Window};
use mesos_api::v1::master::call::Type;
use mesos_api::v1::master::{Call, Response as Answer, call, response};
use mesos_api::v1::{
    DurationInfo, MachineId, TimeInfo, Unavailability, WeightInfo, scheduler::event,
};
use prost::Message;

use crate::endpoints::populate;
use crate::world::{WAIT, World};

const PROTOBUF: &str = "application/x-protobuf";

/// All types of calls but UNKNOWN.
fn types() -> impl Iterator<Item = Type> {
    (1..100).filter_map(|number| Type::try_from(number).ok())
}

fn typed(kind: Type) -> Call {
    let mut call = Call::default();
    call.set_type(kind);
    call
}

/// Makes a call in protobuf; the status, the answer's content type, and the answer.
async fn in_protobuf(world: &World, call: &Call) -> (u16, String, Bytes) {
    let request = Request::post("/api/v1")
        .header("content-type", PROTOBUF)
        .header("accept", PROTOBUF)
        .body(Full::new(Bytes::from(call.encode_to_vec())))
        .unwrap();
    let (head, body) = world.send(request).await.into_parts();
    let media = head.headers.get("content-type");
    let media = media.map(|media| media.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = tokio::time::timeout(WAIT, body.collect()).await.unwrap().unwrap().to_bytes();
    (head.status.as_u16(), media, body)
}

/// The call of this type that reads, if it is one.
fn reading(kind: Type) -> Option<Call> {
    let mut call = typed(kind);
    match kind {
        Type::GetMetrics => call.get_metrics = Some(call::GetMetrics { timeout: None }),
        kind if kind.as_str_name().starts_with("GET_") => {}
        _ => return None,
    }
    Some(call)
}

/// The name of the member that an answer of this type fills.
fn member(kind: Type) -> String {
    format!("\"{}\":", kind.as_str_name().to_ascii_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_the_same_in_both_encodings() {
    let world = World::start().await;
    let _members = populate(&world).await;
    assert_eq!(world.ask("PUT", "/weights", &[], r#"[{"role":"r","weight":2}]"#).await.status, 200);
    let mut read = 0;
    for call in types().filter_map(reading) {
        let kind = call.r#type();
        let text = world.operate(&json::to_string(&call)).await;
        assert_eq!(text.status, 200, "{kind:?}: {}", text.body);
        assert!(text.body.contains(&member(kind)), "{kind:?}: {}", text.body);
        let in_json: Answer = json::from_slice(text.body.as_bytes()).unwrap();
        let (status, media, body) = in_protobuf(&world, &call).await;
        assert_eq!((status, &*media), (200, PROTOBUF), "{kind:?}");
        let in_protobuf: Answer = mesos_api::decode(&body).unwrap();
        let types = [in_json.r#type(), in_protobuf.r#type()];
        assert_eq!(types.map(|it| it.as_str_name()), [kind.as_str_name(); 2]);
        if kind == Type::GetMetrics {
            // Some of them change with every reading.
            let names = |answer: &Answer| -> Vec<String> {
                let metrics = &answer.get_metrics.as_ref().unwrap().metrics;
                metrics.iter().map(|metric| metric.name.clone()).collect()
            };
            assert_eq!(names(&in_json), names(&in_protobuf));
        } else {
            assert_eq!(in_json, in_protobuf);
        }
        read += 1;
    }
    assert_eq!(read, 17);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_its_body_is_refused_by_name() {
    let world = World::start().await;
    let mut refused = 0;
    for kind in types().filter(|kind| *kind != Type::Subscribe) {
        if kind != Type::GetMetrics && reading(kind).is_some() {
            continue;
        }
        let name = kind.as_str_name().to_ascii_lowercase();
        let expected = format!("Failed to validate master::Call: Expecting '{name}' to be present");
        let (status, _, body) = in_protobuf(&world, &typed(kind)).await;
        assert_eq!((status, &*body), (400, expected.as_bytes()), "{kind:?}");
        refused += 1;
    }
    assert_eq!(refused, 22);
    for (call, expected) in [
        (r#"{"type":"GROW_VOLUME","grow_volume":{"volume":$V,"addition":$V}}"#, 400),
        (r#"{"type":"SHRINK_VOLUME","shrink_volume":{"volume":$V,"subtract":{"value":1}}}"#, 400),
    ] {
        let volume = r#"{"name":"disk","type":"SCALAR","scalar":{"value":1}}"#;
        let answer = world.operate(&call.replace("$V", volume)).await;
        assert_eq!(answer.status, expected);
        assert!(answer.body.contains("Expecting 'agent_id' to be present"), "{answer:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_change_things_in_protobuf_too() {
    let world = World::start().await;
    let (_agent, mut scheduler) = populate(&world).await;

    let set =
        call::SetLoggingLevel { level: 2, duration: DurationInfo { nanoseconds: 60_000_000_000 } };
    let call = Call { set_logging_level: Some(set), ..typed(Type::SetLoggingLevel) };
    assert_eq!(in_protobuf(&world, &call).await.0, 200);
    let level = answer(&world, Type::GetLoggingLevel).await.get_logging_level.unwrap().level;
    assert_eq!(level, 2);

    let weight = WeightInfo { role: Some("r".into()), weight: 3.0 };
    let update = call::UpdateWeights { weight_infos: vec![weight.clone()] };
    let call = Call { update_weights: Some(update), ..typed(Type::UpdateWeights) };
    assert_eq!(in_protobuf(&world, &call).await.0, 200);
    let weights = answer(&world, Type::GetWeights).await.get_weights.unwrap().weight_infos;
    assert_eq!(weights, [weight]);

    let machine = MachineId { hostname: Some("elsewhere".into()), ip: None };
    let window = Window {
        machine_ids: vec![machine.clone()],
        unavailability: Unavailability { start: TimeInfo { nanoseconds: 5 }, duration: None },
    };
    let schedule = Schedule { windows: vec![window] };
    let update = call::UpdateMaintenanceSchedule { schedule: schedule.clone() };
    let kind = typed(Type::UpdateMaintenanceSchedule);
    let call = Call { update_maintenance_schedule: Some(update), ..kind };
    assert_eq!(in_protobuf(&world, &call).await.0, 200);
    let read = answer(&world, Type::GetMaintenanceSchedule).await.get_maintenance_schedule;
    assert_eq!(read.unwrap().schedule, schedule);

    let start = call::StartMaintenance { machines: vec![machine.clone()] };
    let call = Call { start_maintenance: Some(start), ..typed(Type::StartMaintenance) };
    assert_eq!(in_protobuf(&world, &call).await.0, 200);
    assert_eq!(down(&world).await, std::slice::from_ref(&machine));
    let stop = call::StopMaintenance { machines: vec![machine] };
    let call = Call { stop_maintenance: Some(stop), ..typed(Type::StopMaintenance) };
    assert_eq!(in_protobuf(&world, &call).await.0, 200);
    assert_eq!(down(&world).await, []);

    let teardown = call::Teardown { framework_id: scheduler.id.clone().unwrap() };
    let call = Call { teardown: Some(teardown), ..typed(Type::Teardown) };
    assert_eq!(in_protobuf(&world, &call).await.0, 200);
    while let Some(event) = scheduler.next_event().await {
        assert_ne!(event.r#type(), event::Type::Error, "an operator's doing is no error of its");
    }
    assert_eq!(in_protobuf(&world, &call).await.0, 400, "nobody is torn down twice");
    world.stop().await;
}

/// The answer to a call that has no body.
async fn answer(world: &World, kind: Type) -> Answer {
    let (status, _, body) = in_protobuf(world, &typed(kind)).await;
    assert_eq!(status, 200, "{kind:?}");
    mesos_api::decode(&body).unwrap()
}

async fn down(world: &World) -> Vec<MachineId> {
    let answer = answer(world, Type::GetMaintenanceStatus).await;
    let response::GetMaintenanceStatus { status } = answer.get_maintenance_status.unwrap();
    status.down_machines
}
